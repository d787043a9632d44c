"""A second checker of proof files, written from docs/protocol.md §6 to §9 alone, against the pinned vectors."""

import base64
import re
from itertools import pairwise
from typing import Any

import cbor2
import pytest

import second_bitcoin
import second_chain
import second_drand
from pinned import named, vectors
from second_note import check_consistency_file, check_witness, cosignatures, key_of_witness
from second_statement import (
    BY_OPERATOR,
    Refused,
    Said,
    did_of,
    key_of,
    kid_of,
    need,
    sha256,
    to_be_signed,
    unpack,
    verify,
)

EVIDENCE = {"evm": second_chain.anchored, "ots": second_bitcoin.anchored}


def anchored(kind: str, chain: str, octets: bytes, digest: bytes) -> tuple[str, int, bytes, int]:
    need(kind in EVIDENCE and len(octets) <= 65536)
    return EVIDENCE[kind](chain, octets, digest)


def beacon(
    message: bytes, octets: list[bytes], networks: dict[str, second_drand.Network]
) -> list[tuple[tuple[str, int, bytes, int], bool]]:
    """The blocks and rounds of a beacon's sources, by their evidence, and whether each is proven by its signature."""
    sources = second_chain.sources(message)
    need(len(octets) == len(sources))
    return [source_of(tuple(source), each, networks) for source, each in zip(sources, octets, strict=True)]


def source_of(
    source: Any, octets: bytes, networks: dict[str, second_drand.Network]
) -> tuple[tuple[str, int, bytes, int], bool]:
    chain, height, _, _ = source
    if chain.startswith("drand:"):
        return source, second_drand.round_of(source, octets, networks)
    is_bitcoin = chain.startswith("bip122:")
    block = second_bitcoin.chain_block(chain, octets, height) if is_bitcoin else second_chain.chain_block(chain, octets)
    need(block == source)
    return block, False


def split(low: int, high: int) -> int:
    return low + (1 << (high - low - 1).bit_length() - 1)


class Checker:
    """§9, a method a step."""

    def __init__(
        self,
        operator: str,
        blocks: set[tuple[str, bytes]],
        witnesses: list[str],
        networks: dict[str, second_drand.Network],
    ) -> None:
        self.witnesses, self.networks = witnesses, networks
        self.operator, self.blocks, self.used = key_of(operator), blocks, set[tuple[str, bytes]]()

    def file(self, octets: bytes) -> None:
        outer = unpack(octets)
        need(type(outer) is list and len(outer) == 3 and outer[0] == "earmark-proof-3" and type(outer[2]) is bytes)
        need(outer[1] == sha256(outer[2]))
        body = unpack(outer[2])
        need(type(body) is dict and set(body) == set(range(1, 9)))
        kinds = [bytes, bytes, bytes, list, list, bytes, list, list]
        need([type(body[label]) for label in range(1, 9)] == kinds)
        forms: dict[int, list[type]] = {4: [int, bytes], 7: [bytes, list], 8: [str, str, bytes]}
        for label, form in forms.items():
            need(all(type(row) is list and [type(part) for part in row] == form for row in body[label]))
        need(all(type(header) is bytes for _, headers in body[7] for header in headers))
        need(all(type(index) is int for index in body[5]))
        for rows in ([r[0] for r in body[4]], body[5], [r[0] for r in body[7]], [r[:2] for r in body[8]]):
            need(all(a < b for a, b in pairwise(rows)))
        need(body[5] and set(body[5]) <= {row[0] for row in body[4]} and len(body[6]) % 32 == 0)
        need(len(body[4]) <= 100_000)
        self.header, self.checkpoint, self.receipt, rows, self.subjects, self.hashes, self.beacons, self.anchors = (
            body[label] for label in range(1, 9)
        )
        self.rows: list[tuple[int, bytes]] = rows

    def registry(self) -> None:
        self.said = {index: Said(raw) for index, raw in self.rows}
        mine = {i: s for i, s in self.said.items() if s.key == self.operator and s.sub == "registry"}
        need(0 in mine and set(self.said) == set(mine) | set(self.subjects))
        self.nodes: dict[bytes, list[Any]] = {}
        prev, names = bytes(32), dict[str, bytes]()
        released: dict[str, tuple[int, str, bytes]] = {}
        for seq, (index, said) in enumerate(mine.items(), 1):
            self.last = said
            need((said.seq, said.prev) == (seq, prev))
            said.verify()
            prev, body = said.entry, said.body
            if seq == 1:
                need(said.kind == "enrolment" and body[2] == "gateway" and body[1] != self.operator)
                self.gateway, self.origin = body[1], body[3]
            elif said.kind == "enrolment":
                need(body[2] == "node" and body[1] not in {self.operator, self.gateway, *self.nodes})
                need(body[3] not in names or self.nodes[names[body[3]]][2] is not None)
                self.nodes[body[1]], names[body[3]] = [body[3], index, None, None], body[1]
            elif said.kind == "rotation":
                need(body[1] in self.nodes and self.nodes[body[1]][2] is None)
                need(body[2] not in {self.operator, self.gateway, *self.nodes})
                name = self.nodes[body[1]][0]
                self.nodes[body[1]][2] = index
                self.nodes[body[2]], names[name] = [name, index, None, None], body[2]
            elif said.kind == "update":
                release = (body[1], body[2], body[4])
                last = released.setdefault(body[3], release)
                need(body[6] == self.origin and (release == last or body[1] > last[0]))
                released[body[3]] = release
            else:
                need(said.kind == "revocation" and body[1] in self.nodes)
                _, bound, ended, since = self.nodes[body[1]]
                if 3 in body:
                    end = index if ended is None else ended
                    need(bound + 1 <= body[3] <= end and (since is None or body[3] < since))
                    self.nodes[body[1]][2:] = [end, body[3]]
                else:
                    need(ended is None)
                    self.nodes[body[1]][2] = index

    def signed_by_gateway(self) -> None:
        b64 = "[A-Za-z0-9+/]"
        self.cosigned = self.checkpoint
        self.checkpoint, _ = cosignatures(self.cosigned)
        form = rf"(.+)\n(0|[1-9][0-9]*)\n({b64}{{43}}=)\nearmark-block (0|[1-9][0-9]*) ({b64}{{43}}=)\n"
        match = re.fullmatch(form.encode() + f"\n— (.+) ({b64}{{91}}=)\n".encode(), self.checkpoint)
        need(match)
        origin, size, root, height, block, name, blob = match.groups()  # type: ignore[union-attr]
        need(all(base64.b64encode(base64.b64decode(text)) == text for text in (root, block, blob)))
        note = base64.b64decode(blob)
        need(origin == name == self.origin.encode() and note[:4] == sha256(origin, b"\n\1", self.gateway)[:4])
        verify(self.gateway, self.checkpoint[: self.checkpoint.index(b"\n\n") + 1], note[4:])
        self.root, self.size = base64.b64decode(root), int(size)
        self.expected = int(height), base64.b64decode(block)
        claims = {1: did_of(self.gateway), 2: self.origin}
        protected = cbor2.dumps({1: -8, 4: kid_of(self.gateway), 15: claims, 395: 1}, canonical=True)
        verify(self.gateway, to_be_signed(protected, self.root), self.receipt)

    def block(self) -> None:
        header = self.header
        need(
            len(header) == 176
            and header[128:160] == self.last.entry
            and header[:8] == b"earmark\1"
            and header[8:40] == sha256(self.origin.encode())
        )
        need(0 < self.size == int.from_bytes(header[48:56], "big") and header[96:128] == self.root)
        need((int.from_bytes(header[40:48], "big"), sha256(header)) == self.expected)

    def log(self) -> None:
        hashes = [self.hashes[at : at + 32] for at in range(0, len(self.hashes), 32)]

        def subtree(low: int, high: int) -> bytes:
            inside = [index for index in self.said if low <= index < high]
            if not inside:
                need(hashes)
                return hashes.pop(0)
            if high - low == 1:
                return sha256(b"\0", self.said[low].entry)
            middle = split(low, high)
            pair = self.pairs[low, high] = subtree(low, middle), subtree(middle, high)
            return sha256(b"\1", *pair)

        need(min(self.said) >= 0 and max(self.said) < self.size)
        self.pairs: dict[tuple[int, int], tuple[bytes, bytes]] = {}
        need(subtree(0, self.size) == self.root and not hashes)

    def path(self, index: int) -> list[tuple[bytes, bytes]]:
        """(left, right) from a leaf of the file up, the side that it is on empty."""
        low, high, down = 0, self.size, list[tuple[bytes, bytes]]()
        while high - low > 1:
            middle, (left, right) = split(low, high), self.pairs[low, high]
            down.append((b"", right) if index < middle else (left, b""))
            low, high = (low, middle) if index < middle else (middle, high)
        return down[::-1]

    def signer(self) -> None:
        need(len({(said.key, said.sub, said.seq) for said in map(self.said.get, self.subjects)}) == len(self.subjects))
        entries = {(said.key, said.sub, said.seq): said.entry for said in map(self.said.get, self.subjects)}
        for index in self.subjects:
            said = self.said[index]
            need(entries.get((said.key, said.sub, said.seq - 1), said.prev) == said.prev)
            need((said.prev == bytes(32)) == (said.seq == 1))
            if said.key == self.operator:
                need(said.sub == "registry" and said.kind in BY_OPERATOR)
            else:
                need(said.key in self.nodes and said.kind not in BY_OPERATOR)
                name, bound, ended, since = self.nodes[said.key]
                need(said.sub == name and bound < index and (ended is None or index <= ended))
                need(since is None or index < since)
            said.verify()

    def vouched(self, block: tuple[str, int, bytes, int]) -> bool:
        place = block[0]
        if place.startswith("drand:"):
            if place not in self.networks:
                return False
            place += f"/{block[1]}"
        self.used |= {(place, block[2])} & self.blocks
        return (place, block[2]) in self.blocks

    def not_before(self) -> None:
        self.before: dict[bytes, int] = {}
        for message, headers in self.beacons:
            nonce = sha256(message)[:16]
            need(nonce in {self.said[index].nonce for index in self.subjects})
            found = beacon(message, headers, self.networks)
            times = [block[3] for block, proven in found if self.vouched(block) or proven]
            self.before |= {nonce: max(times)} if times else {}

    def not_after(self) -> None:
        for kind, chain, octets in self.anchors:  # this checker brings no authority's certificate, so it reads no more
            if kind == "rfc3161":
                need(re.fullmatch("tsa:[0-9a-f]{32}", chain) is not None and 0 < len(octets) <= 65536)
        chains = [anchor for anchor in self.anchors if anchor[0] != "rfc3161"]
        blocks = [anchored(*anchor, digest=sha256(self.header)) for anchor in chains]
        self.after = min((block[3] for block in blocks if self.vouched(block)), default=None)

    def hashes_used(self) -> None:
        need(self.used == self.blocks)

    def witness(self) -> None:
        self.witnessed = {vkey: check_witness(self.cosigned, vkey) for vkey in self.witnesses}


def network(row: dict[str, Any]) -> second_drand.Network:
    return row["hash"], bytes.fromhex(row["key"]), row["genesis_s"], row["period_s"]


def check(row: dict[str, Any]) -> tuple[int, Checker]:
    """The number of the step that fails, or 0, and the checker."""
    blocks = {(chain, bytes.fromhex(octets)) for chain, octets in row["blocks"]}
    networks = second_drand.known([second_drand.QUICKNET, *map(network, row["networks"])])
    checker = Checker(row["operator"], blocks, row["witnesses"], networks)
    steps = [checker.registry, checker.signed_by_gateway, checker.block, checker.log, checker.signer]
    steps += [checker.not_before, checker.not_after, checker.hashes_used, checker.witness]
    for number_, step in enumerate([lambda: checker.file(bytes.fromhex(row["bytes"])), *steps], 1):
        try:
            step()
        except Refused:
            return number_, checker
    return 0, checker


@pytest.mark.parametrize("row", **named(vectors("proof")["valid"]))
def test_valid_proofs_hold(row: dict[str, Any]) -> None:
    failed, checker = check(row)
    assert failed == 0
    assert checker.subjects == row["subjects"]
    assert checker.after == row["not_after_s"]
    assert [time_s for time_s in checker.witnessed.values() if time_s] == [time_s for _, time_s in row["witnessed"]]
    found = {checker.before.get(checker.said[index].nonce) for index in checker.subjects}
    assert found == {row["not_before_s"]}


@pytest.mark.parametrize("row", **named(vectors("proof")["must_reject"]))
def test_must_reject_proofs_fail_in_the_same_step(row: dict[str, Any]) -> None:
    assert check(row)[0] == row["step"]


@pytest.mark.parametrize("row", **named(vectors("statement")["valid"]))
def test_valid_statements_verify(row: dict[str, Any]) -> None:
    said = Said(bytes.fromhex(row["bytes"]))
    said.verify()
    assert (said.sub, said.seq, said.entry.hex()) == (row["sub"], row["seq"], row["entry"])


@pytest.mark.parametrize("row", **named(vectors("statement")["must_reject"]))
def test_must_reject_statements_are_refused_for_the_same_reason(row: dict[str, Any]) -> None:
    if row["error"] == "EncodingError":
        with pytest.raises(Refused):
            Said(bytes.fromhex(row["bytes"]))
    else:
        said = Said(bytes.fromhex(row["bytes"]))
        with pytest.raises(Refused):
            said.verify()


@pytest.mark.parametrize("row", **named(vectors("evidence")["valid"]))
def test_valid_evidence_holds(row: dict[str, Any]) -> None:
    found = anchored(row["kind"], row["chain"], bytes.fromhex(row["bytes"]), bytes.fromhex(row["digest"]))
    assert (found[1], found[2].hex(), found[3]) == tuple(row["block"].values())


@pytest.mark.parametrize("row", **named(vectors("evidence")["must_reject"]))
def test_must_reject_evidence_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        anchored(row["kind"], row["chain"], bytes.fromhex(row["bytes"]), bytes.fromhex(row["digest"]))


@pytest.mark.parametrize("row", **named(vectors("beacon")["valid"]))
def test_valid_beacons_name_the_blocks_of_their_evidence(row: dict[str, Any]) -> None:
    message = bytes.fromhex(row["bytes"])
    assert [[*source[:2], source[2].hex(), source[3]] for source in second_chain.sources(message)] == row["sources"]
    assert sha256(message)[:16].hex() == row["nonce"]
    if row["evidence"]:
        beacon(message, [bytes.fromhex(header) for header in row["evidence"]], {})


@pytest.mark.parametrize("row", **named(vectors("drand")["valid"]))
def test_valid_rounds_verify(row: dict[str, Any]) -> None:
    message, octets = unpack(bytes.fromhex(row["bytes"]))
    [((chain, number, _, time_s), is_proven)] = beacon(message, octets, second_drand.known([network(row["network"])]))
    assert is_proven
    assert {"chain": chain, "round": number, "time_s": time_s} == row["source"]


@pytest.mark.parametrize("row", **named(vectors("drand")["must_reject"]))
def test_must_reject_rounds_are_refused(row: dict[str, Any]) -> None:
    message, octets = unpack(bytes.fromhex(row["bytes"]))
    with pytest.raises(Refused):
        beacon(message, octets, second_drand.known([network(row["network"])]))
    if row["why"] == "signature":  # that of a network that is not known nobody can judge
        assert [is_proven for _, is_proven in beacon(message, octets, {})] == [False]


@pytest.mark.parametrize("row", **named(vectors("beacon")["must_reject"]))
def test_must_reject_beacons_are_refused(row: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        second_chain.sources(bytes.fromhex(row["bytes"]))


def test_a_proof_on_bitcoin_holds_a_complete_ots_file_of_each_subject() -> None:
    checkers = [check(row)[1] for row in vectors("proof")["valid"]]
    anchors = [(checker, unpack(anchor[2])) for checker in checkers for anchor in checker.anchors if anchor[0] == "ots"]
    assert anchors
    for checker, (timestamp, header) in anchors:
        for index in checker.subjects:
            entry, path = checker.said[index].entry, checker.path(index)
            file = second_bitcoin.file_of(entry, path, checker.header, timestamp)
            assert second_bitcoin.read_file(file)[:2] == (entry, header[36:68])


COSIGNATURES, CONSISTENCIES = vectors("cosignature"), vectors("consistency")


@pytest.mark.parametrize("row", **named(COSIGNATURES["valid"]))
def test_valid_cosignatures_are_read(row: dict[str, Any]) -> None:
    found = [
        {"name": name, "key_id": identifier.hex(), "time_s": time_s}
        for name, identifier, time_s, _ in cosignatures(row["text"].encode())[1]
    ]
    assert found == row["cosignatures"]
    times = [each["time_s"] for each in found if each["key_id"] == COSIGNATURES["vkey"].split("+")[1]]
    assert check_witness(row["text"].encode(), COSIGNATURES["vkey"]) == (times[0] if times else None)


@pytest.mark.parametrize("row", **named(COSIGNATURES["must_reject"]))
def test_must_reject_cosignatures_are_refused(row: dict[str, Any]) -> None:
    if row["error"] == "BadSignature":
        cosignatures(row["text"].encode())
    with pytest.raises(Refused):
        check_witness(row["text"].encode(), COSIGNATURES["vkey"])


@pytest.mark.parametrize("row", **named(COSIGNATURES["refused_keys"]))
def test_keys_of_witnesses_that_are_none(row: dict[str, Any]) -> None:
    if row["name"] != "a key of small order":  # it verifies nothing
        with pytest.raises(Refused):
            key_of_witness(row["vkey"])


def log_key() -> tuple[str, bytes]:
    name, _, encoded = CONSISTENCIES["log"].split("+", 2)
    return name, base64.b64decode(encoded)[1:]


@pytest.mark.parametrize("row", **named(CONSISTENCIES["valid"]))
def test_valid_consistency_files_hold(row: dict[str, Any]) -> None:
    assert check_consistency_file(row["text"].encode(), *log_key()) == (row["from"], row["to"])


@pytest.mark.parametrize("row", **named(CONSISTENCIES["must_reject"]))
def test_must_reject_consistency_files_fail(row: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        check_consistency_file(row["text"].encode(), *log_key())
