"""The portable proof and its offline check, docs/protocol.md §8 and §9.

An auditor reads this file and those below it: no I/O, no clock, no environment.  What is trusted
(the operator's key, block hashes of public chains) comes in as arguments, never from the file.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, pairwise
from operator import itemgetter, lt
from typing import Any, NamedTuple

from earmark import beacon, cbor, cosignature, evidence, merkle
from earmark.block import Header, check_block, decode_checkpoint, decode_header, verify_receipt
from earmark.cose import did
from earmark.cosignature import Cosignature
from earmark.errors import EarmarkError, EncodingError, ProofError
from earmark.evidence import RFC3161, Authority, ChainBlock
from earmark.evidence.drand import NETWORKS, Network, verify_known
from earmark.findings import not_established, say_not_after, say_not_before, say_signers, say_unproven, say_witness
from earmark.note import VerifierKey
from earmark.registry import Enrolment, Registry
from earmark.report import TITLES, Report, Step, Subject
from earmark.statement import NO_ENTRY, REGISTRY, Claims, decode
from earmark.verifier import Examination

MAGIC = "earmark-proof-3"
MAX_STATEMENTS = 100_000


@dataclass(frozen=True, slots=True)
class Proof:
    """The parts of a proof file (§8).

    `checkpoint` has the gateway's signature line, and those of witnesses after it; `statements` are (index, raw)
    ascending; `subjects` the indexes the file is about; `beacons` are (message, evidence of each source), `anchors`
    (kind, chain, evidence).
    """

    header: bytes
    checkpoint: bytes
    receipt: bytes
    statements: tuple[tuple[int, bytes], ...]
    subjects: tuple[int, ...]
    rest: tuple[bytes, ...]
    beacons: tuple[tuple[bytes, tuple[bytes, ...]], ...] = ()
    anchors: tuple[tuple[str, str, bytes], ...] = ()

    def encode(self) -> bytes:
        """Return the bytes of the `.earmark` file."""
        body = cbor.encode(
            {
                1: self.header,
                2: self.checkpoint,
                3: self.receipt,
                4: [list(pair) for pair in self.statements],
                5: list(self.subjects),
                6: b"".join(self.rest),
                7: [[message, list(headers)] for message, headers in self.beacons],
                8: [list(anchor) for anchor in self.anchors],
            }
        )
        return cbor.encode([MAGIC, hashlib.sha256(body).digest(), body])


class _Read(NamedTuple):
    """A statement of the file, and its claims."""

    raw: bytes
    claims: Claims


def decode_proof(encoded: bytes) -> Proof:
    """Decode a proof file (step 1 of §9); `ProofError` unless it is whole and of the format."""
    with _step(1):
        return _decode_body(_open(encoded))


def check(
    encoded: bytes,
    operator: bytes,
    blocks: Collection[tuple[str, bytes]] = (),
    witnesses: Sequence[VerifierKey] = (),
    examine: Callable[[Sequence[bytes]], Examination] = Examination,
    authorities: Sequence[Authority] = (),
    networks: Mapping[str, Network] = NETWORKS,
) -> Report:
    """Check a proof file by the numbered steps of §9 and return what it establishes.

    `operator` is the operator's 32-byte key, `blocks` are (`ChainBlock.place`, hash) that the verifier took from
    a source of his own, and `witnesses` the keys of those whose word counts for him; cosignatures of others are passed
    over.  Raises `ProofError` with the number of the first step that fails.  `examine` reads and
    verifies the statements; `bulk` has one that does it by all cores.  `authorities` are the certificates of those
    whose time stamps count, `networks` the networks of drand whose rounds do, by their ids.
    """
    proof, view = decode_proof(encoded), _View(blocks, networks)
    steps = [Step(1, True, f"whole, {len(encoded):,} bytes, {len(proof.subjects):,} statement(s) to prove")]
    with _step(2):
        examination = examine([raw for _, raw in proof.statements])
        statements, unread = _read(proof, examination)
        registry, last = _check_registry(proof, operator, statements)
    steps.append(Step(2, True, f"the operator's statements without a hole, the last at leaf {last}"))
    gateway, origin = registry.gateway, registry.origin
    with _step(3):
        signed, cosignatures = cosignature.split(proof.checkpoint)
        checkpoint = decode_checkpoint(signed)
        checkpoint.verify(origin, gateway)
        verify_receipt(gateway, origin, checkpoint.root, proof.receipt)
    steps.append(Step(3, True, f"signed by the gateway {did(gateway)} of {origin}"))
    with _step(4):
        header = decode_header(proof.header)
        check_block(header, checkpoint)
        if header.registry != registry.head:
            raise ProofError(
                "the block knows a newer statement of the operator: the registry in this file is cut short"
            )
    steps.append(Step(4, True, f"block {header.height}, {header.size:,} leaves, hash {header.hash.hex()}"))
    steps.append(Step(4, True, "it names the operator's last statement above: none before it was left out"))
    with _step(5):
        _check_log(proof, statements, header)
    steps.append(Step(5, True, f"every statement of the file stands at its leaf of the {header.size:,}"))
    said = {index: statements[index].claims for index in proof.subjects}
    with _step(6):
        _check_chains(said.values())
        signers = _check_signers(registry, said)
        faults = {proof.statements[place][0]: error for place, error in examination.faults().items()} | unread
        for index in sorted(faults.keys() & said.keys()):
            raise ProofError(f"leaf {index}: {faults[index]}")
    steps += say_signers(signers.values())
    with _step(7):
        newest = _check_beacons(proof, {claims.beacon for claims in said.values()}, view, networks, steps)
    before = [newest.get(claims.beacon or b"") for claims in said.values()]
    steps += say_not_before(before)
    with _step(8):
        judged, stamps = _check_anchors(proof, header.hash, view, authorities)
    steps += say_not_after(judged, stamps, list(dict.fromkeys(authorities)))
    with _step(9):
        steps += view.check_used()
    with _step(10):
        witnessed = _check_witnesses(cosignatures, checkpoint.signed, witnesses)
    steps += [say_witness(witness, witnessed) for witness in dict.fromkeys(witnesses)]
    subjects = tuple(
        Subject(index, statements[index].raw, claims, signers[claims.key], block)
        for (index, claims), block in zip(said.items(), before, strict=True)
    )
    vouched = [block for block, is_vouched in judged if is_vouched] + [stamp for _, stamp in stamps if stamp]
    not_after = min(vouched, key=lambda block: block.time_s, default=None)
    stamped = not_after.chain if not_after and not_after.is_stamp else ""
    return Report(
        registry=registry,
        header=header,
        steps=tuple(steps),
        subjects=subjects,
        blocks=tuple(view.seen),
        rounds=view.rounds,
        tighter=frozenset(view.tighter),
        anchors=judged,
        stamps=stamps,
        not_after=not_after,
        witnessed=tuple(witnessed.values()),
        not_established=not_established(
            {subject.method for subject in subjects},
            len(witnessed),
            stamped,
            by_rounds=any(block in view.rounds for block in before),
        ),
    )


class _View:
    """The verifier's view of public chains, and the blocks (in order) that a file was seen to lead to."""

    def __init__(self, blocks: Collection[tuple[str, bytes]], networks: Collection[str]) -> None:
        self._blocks = frozenset(blocks)
        self._networks = networks
        self.seen: dict[ChainBlock, None] = {}
        self.rounds: frozenset[ChainBlock] = frozenset()
        self.tighter: set[ChainBlock] = set()

    def vouches(self, block: ChainBlock) -> bool:
        """Say whether the verifier gave this block's hash, or it is one of `rounds`, the rounds of drand that verified.

        Remembers that the file leads to it, but for a round of an unknown network: its time is the file's word alone.
        """
        if block.is_round and block.chain not in self._networks:
            return False
        self.seen[block] = None
        return block in self.rounds or (block.place, block.hash) in self._blocks

    def check_used(self) -> list[Step]:
        """Raise `ProofError` if the file leads to none of the blocks of one of the verifier's hashes."""
        unused = sorted(self._blocks - {(block.place, block.hash) for block in self.seen})
        if unused:
            place, octets = unused[0]
            raise ProofError(f"your {place} block 0x{octets.hex()} is not one that this file leads to")
        return [Step(9, True, f"each of the {len(self._blocks)} that you gave is used")] if self._blocks else []


def _read(proof: Proof, examination: Examination) -> tuple[dict[int, _Read], dict[int, EarmarkError]]:
    """Return all statements by index, and what is wrong with the signatures of a few; of the rest step 6 asks."""
    statements, faults = {}, {}
    for (index, raw), (claims, error) in zip(proof.statements, examination.verdicts(), strict=True):
        if claims is None:
            raise error or EncodingError(f"statement {index} was not decoded")
        statements[index] = _Read(raw, claims)
        if error:
            faults[index] = error
    return statements, faults


def _check_registry(proof: Proof, operator: bytes, statements: dict[int, _Read]) -> tuple[Registry, int]:
    """Return the replayed registry, and the index of the operator's last statement."""
    registry = Registry(operator)
    own = operator, REGISTRY
    chain = [index for index, found in statements.items() if (found.claims.key, found.claims.sub) == own]
    if not chain or chain[0] != 0:
        raise ProofError(f"statement 0 is not the registry's beginning by {did(operator)}: another operator's log")
    prev = NO_ENTRY
    for seq, index in enumerate(chain, 1):
        raw, claims = statements[index]
        if claims.seq != seq or claims.prev != prev:
            raise ProofError(f"the operator's statement at leaf {index} does not follow the one before")
        statement = decode(raw)
        statement.verify()
        registry.apply(index, statement)
        prev = claims.entry
    others = statements.keys() - {*chain, *proof.subjects}
    if others:
        raise ProofError(f"statement {min(others)} is neither of the registry nor a subject")
    return registry, chain[-1]


def _check_log(proof: Proof, statements: dict[int, _Read], header: Header) -> None:
    leaves = [(index, merkle.leaf_hash(found.claims.entry)) for index, found in statements.items()]
    if merkle.root_of_leaves(leaves, header.size, proof.rest) != header.root:
        raise ProofError("the statements and hashes do not give the block's root")


def _check_chains(subjects: Iterable[Claims]) -> None:
    """Raise unless each `seq` of a chain is there once, and follows the one before where that is a subject too."""
    chains: dict[tuple[bytes, str], list[Claims]] = {}
    for claims in subjects:
        chains.setdefault((claims.key, claims.sub), []).append(claims)
        if (claims.seq == 1) != (claims.prev == NO_ENTRY):
            raise _forked(claims)
    for chain in chains.values():
        for before, claims in pairwise(sorted(chain, key=_seq)):
            if claims.seq == before.seq:
                raise ProofError(
                    "two statements with one seq of one chain: the gateway logged a reading twice, or a key was copied"
                )
            if claims.seq == before.seq + 1 and claims.prev != before.entry:
                raise _forked(claims)


def _seq(claims: Claims) -> int:
    return claims.seq


def _forked(claims: Claims) -> ProofError:
    place = f"seq {claims.seq} of {claims.sub}"
    return ProofError(f"{place} does not follow the one before: the chain was forked, or a key was copied")


def _check_signers(registry: Registry, subjects: dict[int, Claims]) -> dict[bytes, Enrolment | None]:
    """Return who says to have signed, by key, None for the operator.

    What a key signed counts from one leaf on and until another one: the first and the last leaf of each that a signer
    says as the same show it for all between.
    """
    first: dict[tuple[bytes, str, str], int] = {}
    last: dict[tuple[bytes, str, str], int] = {}
    for index, claims in subjects.items():
        name = claims.key, claims.sub, claims.kind
        first.setdefault(name, index)
        last[name] = index
    for index in sorted([*first.values(), *last.values()]):
        try:
            registry.check_signer(subjects[index], index)
        except EarmarkError as error:
            raise ProofError(f"leaf {index}: {error}") from error
    return {key: None if key == registry.operator else registry.node(key) for key, _, _ in first}


def _check_beacons(
    proof: Proof, nonces: Collection[bytes | None], view: _View, networks: Mapping[str, Network], steps: list[Step]
) -> dict[bytes, ChainBlock]:
    """Return, per nonce, the newest block or round that counts for the verifier; note the beacons without one."""
    carried = {}
    for message, octets in proof.beacons:
        nonce = beacon.nonce(message)
        if nonce not in nonces:
            raise ProofError("a beacon that no statement of the file carries")
        carried[nonce] = list(_beacon_sources(message, octets, networks))
    view.rounds = verify_known((pair for pairs in carried.values() for pair in pairs), networks)
    newest = {}
    for nonce, pairs in carried.items():
        sources = [source for source, _ in pairs]
        counted = [source for source in sources if view.vouches(source)]
        if counted:
            newest[nonce] = max(counted, key=lambda block: block.time_s)
        else:
            steps.append(say_unproven(sources, networks))
        view.tighter |= {source for source in sources if not counted or source.time_s > newest[nonce].time_s}
    return newest


def _check_anchors(
    proof: Proof, digest: bytes, view: _View, authorities: Sequence[Authority]
) -> tuple[tuple[tuple[ChainBlock, bool], ...], tuple[tuple[str, ChainBlock | None], ...]]:
    """Return the chains' blocks, each with whether the verifier vouches for it, and the time stamps by their ids."""
    judged: list[tuple[ChainBlock, bool]] = []
    stamps: list[tuple[str, ChainBlock | None]] = []
    for kind, chain, octets in proof.anchors:
        if kind == RFC3161:
            stamps.append((chain, evidence.check_under(authorities, chain, octets, digest)))
        else:
            block = evidence.check(kind, chain, octets, digest)
            judged.append((block, view.vouches(block)))
    return tuple(judged), tuple(stamps)


def _check_witnesses(
    cosignatures: Sequence[Cosignature], text: bytes, witnesses: Sequence[VerifierKey]
) -> dict[VerifierKey, Cosignature]:
    """Return the cosignatures of the verifier's witnesses; `BadSignature` where one that is there does not verify."""
    found = {}
    for witness in witnesses:
        for each in cosignatures:
            if each.is_by(witness):
                each.verify(witness, text)
                found[witness] = each
    return found


def _beacon_sources(
    message: bytes, octets: Sequence[bytes], networks: Mapping[str, Network]
) -> Iterator[tuple[ChainBlock, bytes]]:
    sources = beacon.decode(message)
    if len(sources) != len(octets):
        raise ProofError("a beacon with evidence of another number of sources than it has")
    for source, each in zip(sources, octets, strict=True):
        evidence.check_source(source, each, networks)
        yield source, each


@contextmanager
def _step(number: int) -> Iterator[None]:
    try:
        yield
    except EarmarkError as error:
        raise ProofError(f"step {number} ({TITLES[number].lower()}): {error}", number) from error


def _open(encoded: bytes) -> dict[Any, Any]:
    outer = cbor.decode(encoded)
    if type(outer) is not list or [type(item) for item in outer] != [str, bytes, bytes] or outer[0] != MAGIC:
        raise EncodingError("not an Earmark proof file of version 3")
    if hashlib.sha256(outer[2]).digest() != outer[1]:
        raise EncodingError("the digest does not match: the file was damaged or altered")
    body = cbor.decode(outer[2])
    if type(body) is not dict or set(body) != set(range(1, 9)):
        raise EncodingError("the body is not a map of the labels 1 to 8")
    return body


def _decode_body(body: dict[Any, Any]) -> Proof:
    if [type(body[label]) for label in range(1, 9)] != [bytes, bytes, bytes, list, list, bytes, list, list]:
        raise EncodingError("a label of the wrong type")
    rows = {label: body[label] for label in (4, 7, 8)}
    for label, types in ((4, [int, bytes]), (7, [bytes, list]), (8, [str, str, bytes])):
        if any(type(row) is not list or [type(item) for item in row] != types for row in rows[label]):
            raise EncodingError(f"a row of label {label} of the wrong form")
    if any(type(index) is not int for index in body[5]) or any(type(h) is not bytes for _, hs in rows[7] for h in hs):
        raise EncodingError("a subject that is not an index, or evidence of a beacon that is not bytes")
    indexes = list(map(itemgetter(0), rows[4]))
    for what, keys in (("statements", indexes), ("subjects", body[5]), ("beacons", [row[0] for row in rows[7]])):
        _ascending(what, keys)
    _ascending("anchors", [(kind, chain) for kind, chain, _ in rows[8]])
    if not body[5] or not set(body[5]) <= set(indexes) or len(indexes) > MAX_STATEMENTS or len(body[6]) % 32:
        raise EncodingError("no subject, a subject that is not in the file, too many statements, or a cut hash")
    return Proof(
        header=body[1],
        checkpoint=body[2],
        receipt=body[3],
        statements=tuple(map(tuple, rows[4])),
        subjects=tuple(body[5]),
        rest=tuple(body[6][at : at + 32] for at in range(0, len(body[6]), 32)),
        beacons=tuple((message, tuple(headers)) for message, headers in rows[7]),
        anchors=tuple((kind, chain, octets) for kind, chain, octets in rows[8]),
    )


def _ascending(what: str, keys: Sequence[Any]) -> None:
    if not all(map(lt, keys, islice(keys, 1, None))):
        raise EncodingError(f"{what} that are not ascending, or twice the same")
