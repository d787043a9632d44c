"""proof.json: proof files that hold, and those that fail, each with the step of §9 that refuses it."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from actors import CELLAR, GATEWAY, OPERATOR, ORIGIN, STRANGER, T0, TOMATO, operator_says, sign
from evidences import MESSAGE
from small_log import Log, first_log, pack
from statements import says

import chain
from chain import BEACON, CHAIN, OTHER
from earmark import beacon, block, cbor, cose, evidence, statement
from earmark.evidence import ChainBlock
from earmark.proof import MAGIC, Proof

Case = tuple[str, int, bytes]
BEACONS = ((MESSAGE, (BEACON.header,)),)


def anchored(log: Log, subjects: list[int], **changes: Any) -> tuple[Proof, chain.Block]:
    """A proof with its beacon and anchor, and the chain's block."""
    found = chain.anchor(log.header().hash)
    anchors = ((evidence.EVM, CHAIN, found.evidence(0)),)
    return log.proof(subjects, beacons=BEACONS, anchors=anchors, **changes), found


def single_log() -> Log:
    """One node that said one thing, at leaf 2 of 4: the smallest proof."""
    log = Log()
    log.enrol(GATEWAY.key, "gateway", ORIGIN)
    log.enrol(TOMATO.key, "node", "tomato-1")
    log.node(TOMATO, "tomato-1", pack("tomato-1", 215), method=0, beacon=beacon.nonce(MESSAGE))
    log.node(TOMATO, "tomato-1", pack("tomato-1", 216), method=0)
    return log


def _valid(name: str, proof: Proof, blocks: list[ChainBlock], lower: bool, upper: bool) -> dict[str, Any]:
    anchors = [evidence.check_evm(where, octets, _hash(proof)) for _, where, octets in proof.anchors]
    return {
        "name": name,
        "operator": OPERATOR.did,
        "blocks": [[found.chain, found.hash.hex()] for found in blocks],
        "subjects": list(proof.subjects),
        "not_before_s": BEACON.block.time_s if lower else None,
        "not_after_s": anchors[0].time_s if upper else None,
        "bytes": proof.encode().hex(),
    }


def _hash(proof: Proof) -> bytes:
    return hashlib.sha256(proof.header).digest()


def vectors() -> dict[str, Any]:
    """The content of proof.json."""
    log = first_log()
    whole, after = anchored(log, [4, 6])
    both = [BEACON.block, after.block]
    small, small_after = anchored(single_log(), [2])
    valid = [
        _valid("one node", small, [BEACON.block, small_after.block], True, True),
        _valid("two nodes", whole, both, True, True),
        _valid("two nodes, no block hash given", whole, [], False, False),
        _valid("two nodes, hash of the anchor's block given", whole, [after.block], False, True),
        _valid("two nodes, hash of the beacon's block given", whole, [BEACON.block], True, False),
        _valid("two nodes, without beacon and anchor", log.proof([4, 6]), [], False, False),
        _valid("the operator's own statements", log.proof([1, 8]), [], False, False),
    ]
    given = [[found.chain, found.hash.hex()] for found in (BEACON.block, small_after.block)]
    refused = [(row, OPERATOR.did, []) for group in (_files, _registries, _blocks, _trees, _signers) for row in group()]
    refused += [(row, OPERATOR.did, []) for row in _times(small)]
    refused += [(("another operator's key", 2, small.encode()), STRANGER.did, [])]
    refused += [(("the gateway's key as the operator's", 2, small.encode()), GATEWAY.did, [])]
    for name, blocks in (
        ("a block hash that the file does not lead to", [*given, [CHAIN, "11" * 32]]),
        ("a block hash under another chain", [[OTHER, given[1][1]]]),
    ):
        refused.append(((name, 9, small.encode()), OPERATOR.did, blocks))
    rows = [
        {"name": name, "step": step, "operator": operator, "blocks": blocks, "bytes": octets.hex()}
        for (name, step, octets), operator, blocks in refused
    ]
    return {"valid": valid, "must_reject": rows}


def _wrap(body: bytes, magic: str = MAGIC) -> bytes:
    return cbor.encode([magic, hashlib.sha256(body).digest(), body])


def _body(proof: Proof) -> dict[int, Any]:
    body: dict[int, Any] = cbor.decode(cbor.decode(proof.encode())[2])
    return body


def _files() -> list[Case]:
    proof = single_log().proof([2])
    whole = proof.encode()
    body = _body(proof)
    rows = body[4]
    beacons = [[MESSAGE, [BEACON.header]]]
    anchor = [evidence.EVM, CHAIN, b""]
    bodies: dict[str, Any] = {
        "a label missing": {label: body[label] for label in range(1, 8)},
        "a label too many": {**body, 9: b""},
        "a body that is no map": list(body.values()),
        "header of text": {**body, 1: "x"},
        "statements a map": {**body, 4: dict(rows)},
        "a statement of text": {**body, 4: [*rows[:2], [2, "x"]]},
        "a statement with three items": {**body, 4: [*rows[:2], [*rows[2], 0]]},
        "an index of text": {**body, 4: [*rows[:2], ["2", rows[2][1]]]},
        "statements out of order": {**body, 4: rows[::-1]},
        "a statement twice": {**body, 4: [*rows, rows[2]]},
        "no statements": {**body, 4: []},
        "no subjects": {**body, 5: []},
        "a subject that is not in the file": {**body, 5: [2, 3]},
        "a subject twice": {**body, 5: [2, 2]},
        "subjects out of order": {**body, 5: [2, 1]},
        "a subject that is true": {**body, 5: [True]},
        "a hash of 31 bytes": {**body, 6: body[6][:-1]},
        "a beacon twice": {**body, 7: beacons * 2},
        "a beacon without headers": {**body, 7: [[MESSAGE]]},
        "a beacon's header of text": {**body, 7: [[MESSAGE, ["x"]]]},
        "an anchor twice": {**body, 8: [anchor, anchor]},
        "anchors out of order": {**body, 8: [["evm", OTHER + "0", b""], ["evm", OTHER, b""]]},
        "an anchor of two items": {**body, 8: [anchor[:2]]},
    }
    found = [(name, 1, _wrap(cbor.encode(value))) for name, value in bodies.items()]
    return [
        ("nothing", 1, b""),
        ("cut in half", 1, whole[: len(whole) // 2]),
        ("last byte missing", 1, whole[:-1]),
        ("a byte left over", 1, whole + b"\0"),
        ("a byte left over in the body", 1, _wrap(cbor.encode(body) + b"\0")),
        ("a bit of the digest flipped", 1, _flip(whole, 20)),
        ("a bit of the body flipped", 1, _flip(whole, len(whole) - 1)),
        ("another version", 1, _wrap(cbor.encode(body), "earmark-proof-2")),
        ("a statement in the file's place", 1, rows[2][1]),
        *found,
    ]


def _flip(octets: bytes, at: int) -> bytes:
    return octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :]


def _registries() -> list[Case]:
    log = first_log()
    unsigned = first_log()
    unsigned.statements[8] = _flip(unsigned.statements[8], len(unsigned.statements[8]) - 1)
    garbled = first_log()
    garbled.statements[4] = garbled.statements[4][:-1]
    boot = {0: "boot", 1: "power-on", 2: "esp32", 3: []}

    def ending(*more: Callable[[Log], Any]) -> bytes:
        changed = single_log()
        for step in more:
            step(changed)
        return changed.proof([2]).encode()

    def talk(changed: Log, **said: Any) -> None:
        last = hashlib.sha256(changed.statements[1]).digest()
        usual = operator_says(3, last, {})
        changed.registry.append(changed.add(sign(OPERATOR, {**usual, **said})))

    foreign, late = Log(), Log()
    foreign.enrol(TOMATO.key, "node", "tomato-1")
    late.node(TOMATO, "tomato-1", pack("tomato-1", 1), method=0)
    late.enrol(GATEWAY.key, "gateway", ORIGIN)
    return [
        ("statement 0 left out", 2, log.proof([4], without=[0]).encode()),
        ("a hole in the operator's chain", 2, log.proof([4], without=[1]).encode()),
        ("a statement that is nobody's subject", 2, log.proof([4], also=[7]).encode()),
        ("a signature of the operator's that is none", 2, unsigned.proof([4]).encode()),
        ("a statement that is none", 2, garbled.proof([4]).encode()),
        ("a log that begins with a node", 2, foreign.proof([0]).encode()),
        ("a log that begins with a reading", 2, late.proof([0]).encode()),
        ("a name enrolled twice", 2, ending(lambda to: to.enrol(CELLAR.key, "node", "tomato-1"))),
        ("a key enrolled twice", 2, ending(lambda to: to.enrol(TOMATO.key, "node", "tomato-2"))),
        ("the operator enrolled", 2, ending(lambda to: to.enrol(OPERATOR.key, "node", "operator"))),
        ("the gateway enrolled as a node", 2, ending(lambda to: to.enrol(GATEWAY.key, "node", "gateway"))),
        (
            "a second gateway",
            2,
            ending(lambda to: to.enrol(CELLAR.key, "gateway", statement.origin("hillside", CELLAR.key))),
        ),
        ("a stranger revoked", 2, ending(lambda to: to.operator({0: "revocation", 1: STRANGER.key, 2: "x"}))),
        ("the gateway revoked", 2, ending(lambda to: to.operator({0: "revocation", 1: GATEWAY.key, 2: "x"}))),
        ("a node revoked twice", 2, ending(*[lambda to: to.operator({0: "revocation", 1: TOMATO.key, 2: "x"})] * 2)),
        ("the operator's boot", 2, ending(lambda to: talk(to, payload=boot, boot_count=1, software="1"))),
        (
            "the operator's readings",
            2,
            ending(lambda to: talk(to, payload=[{-2: "registry/", -3: T0, 2: 1}], boot_count=1, method=0)),
        ),
        ("seq that skips", 2, ending(lambda to: talk(to, seq=4, payload={0: "revocation", 1: TOMATO.key, 2: "x"}))),
        (
            "prev of another statement",
            2,
            ending(lambda to: talk(to, prev=bytes(32), payload={0: "revocation", 1: TOMATO.key, 2: "x"})),
        ),
    ]


def _blocks() -> list[Case]:
    log = single_log()
    proof, header = log.proof([2]), log.header()
    text = proof.checkpoint
    other = Log(STRANGER, statement.origin("hillside", STRANGER.key))
    renamed = Log(GATEWAY, statement.origin("seaside", GATEWAY.key))
    other.statements = renamed.statements = log.statements

    def checkpoint(octets: bytes) -> bytes:
        return replace(proof, checkpoint=octets).encode()

    def block_of(**changes: Any) -> bytes:
        return replace(proof, header=replace(header, **changes).encode()).encode()

    stranger = block.sign_receipt(STRANGER, ORIGIN, header.root)
    root = block.sign_receipt(GATEWAY, ORIGIN, bytes(32))
    return [
        ("checkpoint by a stranger under a name of his own", 3, checkpoint(other.proof([]).checkpoint)),
        ("checkpoint by a stranger", 3, checkpoint(block.sign_checkpoint(STRANGER, ORIGIN, header))),
        ("checkpoint of another site", 3, checkpoint(renamed.proof([]).checkpoint)),
        ("checkpoint of another size", 3, checkpoint(text.replace(b"\n4\n", b"\n5\n"))),
        ("checkpoint of a size with a leading zero", 3, checkpoint(text.replace(b"\n4\n", b"\n04\n"))),
        ("checkpoint of no size", 3, checkpoint(text.replace(b"\n4\n", b"\n\n"))),
        ("checkpoint with a second signature line", 3, checkpoint(text + text.split(b"\n\n")[1])),
        ("checkpoint without a last line end", 3, checkpoint(text[:-1])),
        ("checkpoint with CRLF", 3, checkpoint(text.replace(b"\n", b"\r\n"))),
        ("checkpoint with base64 that is not canonical", 3, checkpoint(text.replace(b"=\n", b"\n", 1))),
        ("checkpoint of bytes that are no text", 3, checkpoint(b"\xff" + text)),
        ("checkpoint empty", 3, checkpoint(b"")),
        ("receipt by a stranger", 3, replace(proof, receipt=stranger).encode()),
        ("receipt over another root", 3, replace(proof, receipt=root).encode()),
        ("receipt of 63 bytes", 3, replace(proof, receipt=proof.receipt[:63]).encode()),
        ("header of another origin", 4, block_of(origin_hash=bytes(32))),
        ("header of another height", 4, block_of(height=8)),
        ("header of another size", 4, block_of(size=5)),
        ("header of another time", 4, block_of(sealed_at_ms=1)),
        ("header of another root", 4, block_of(root=bytes(32))),
        ("header after another block", 4, block_of(prev=bytes(32))),
        ("header with another beacon", 4, block_of(beacon=b"\x22" * 16)),
        ("header that names another statement of the operator", 4, block_of(registry=bytes(32))),
        ("the operator's last statement left out", 4, first_log().proof([4], without=[8]).encode()),
        ("a revocation that came after the block", 4, _with_revocation(log)),
        ("header of no leaves", 4, block_of(size=0)),
        ("header of version 2", 4, replace(proof, header=proof.header[:7] + b"\2" + proof.header[8:]).encode()),
        ("header of 175 bytes", 4, replace(proof, header=proof.header[:-1]).encode()),
        ("header of 177 bytes", 4, replace(proof, header=proof.header + b"\0").encode()),
    ]


def _trees() -> list[Case]:
    log = single_log()
    proof = log.proof([2])
    first, second, third = proof.statements
    said = sign(TOMATO, says(pack("tomato-1", 999), seq=1, prev=bytes(32), method=0))
    moved = replace(proof, statements=(first, second, (3, third[1])), subjects=(3,))
    far = replace(proof, statements=(first, second, (1 << 40, third[1])), subjects=(1 << 40,))
    return [
        ("a hash missing", 5, replace(proof, rest=()).encode()),
        ("a hash left over", 5, replace(proof, rest=(*proof.rest, bytes(32))).encode()),
        ("a hash altered", 5, replace(proof, rest=(_flip(proof.rest[0], 0),)).encode()),
        ("a statement at its neighbour's index", 5, moved.encode()),
        ("a statement beyond the tree", 5, far.encode()),
        (
            "a statement of the node's that is not in the log",
            5,
            replace(proof, statements=(first, second, (2, said))).encode(),
        ),
    ]


def _with_revocation(log: Log) -> bytes:
    header, longer = log.header(), single_log()
    longer.operator({0: "revocation", 1: TOMATO.key, 2: "x"})
    proof = longer.proof([2])
    return replace(
        proof,
        header=header.encode(),
        checkpoint=block.sign_checkpoint(GATEWAY, ORIGIN, header),
        receipt=block.sign_receipt(GATEWAY, ORIGIN, header.root),
    ).encode()


def _signers() -> list[Case]:
    def log(*before: Callable[[Log], Any]) -> Log:
        begun = Log()
        begun.enrol(GATEWAY.key, "gateway", ORIGIN)
        for step in before:
            step(begun)
        return begun

    def ending(name: str, begun: Log) -> Case:
        return name, 6, begun.proof([len(begun.statements) - 1]).encode()

    def tomato(to: Log) -> int:
        return to.enrol(TOMATO.key, "node", "tomato-1")

    def reads(to: Log, signer: cose.Signer = TOMATO, name: str = "tomato-1") -> int:
        return to.node(signer, name, pack(name, 215), method=0)

    def revoked(to: Log) -> int:
        return to.operator({0: "revocation", 1: TOMATO.key, 2: "stolen"})

    later = log(reads, tomato)
    enrols = {0: "enrolment", 1: CELLAR.key, 2: "node", 3: "cellar-2"}
    alike = {**operator_says(1, bytes(32), enrols), "sub": "tomato-1"}
    by_operator = log(lambda to: reads(to, OPERATOR, "operator"))
    twice = log(tomato, reads)
    twice.add(sign(TOMATO, says(pack("tomato-1", 216), sub="tomato-1", seq=1, prev=bytes(32), method=0)))
    forked = log(tomato, reads)
    forked.add(sign(TOMATO, says(pack("tomato-1", 216), sub="tomato-1", seq=2, prev=b"\x77" * 32, method=0)))
    anew = log(tomato)
    anew.add(sign(TOMATO, says(pack("tomato-1", 215), sub="tomato-1", seq=7, prev=bytes(32), method=0)))
    return [
        ("a statement that does not follow the one before", 6, forked.proof([2, 3]).encode()),
        ending("a later statement with the zero prev", anew),
        ("two statements with one seq", 6, twice.proof([2, 3]).encode()),
        ("one statement at two leaves", 6, _logged_twice(log(tomato, reads)).encode()),
        ending("a signer that nobody enrolled", log(tomato, lambda to: reads(to, STRANGER))),
        ending("the gateway as a node", log(tomato, lambda to: reads(to, GATEWAY, "hillside"))),
        ("a signer enrolled later", 6, later.proof([1]).encode()),
        ending("a signer revoked before", log(tomato, revoked, reads)),
        ending("a node under another's name", log(tomato, lambda to: reads(to, TOMATO, "cellar-2"))),
        ending("a node that enrols", log(tomato, lambda to: to.add(sign(TOMATO, alike)))),
        ending("the operator's readings on a chain of its own", by_operator),
        ending(
            "a signature that is none",
            log(tomato, reads, lambda to: to.add(_flip(to.statements[2], len(to.statements[2]) - 1))),
        ),
    ]


def _logged_twice(log: Log) -> Proof:
    log.add(log.statements[2])
    return log.proof([2, 3])


def _times(proof: Proof) -> list[Case]:
    foreign = chain.anchor(bytes(32))
    other = beacon.encode([foreign.block])
    (kind, where, octets), header = proof.anchors[0], BEACON.header

    def beacons(*rows: Any) -> bytes:
        return replace(proof, beacons=rows).encode()

    def anchors(*rows: Any) -> bytes:
        return replace(proof, anchors=rows).encode()

    return [
        ("a beacon that no subject carries", 7, beacons((other, (foreign.header,)))),
        ("a beacon's header missing", 7, beacons((MESSAGE, ()))),
        ("a beacon's header twice", 7, beacons((MESSAGE, (header, header)))),
        ("a beacon's header of another block", 7, beacons((MESSAGE, (foreign.header,)))),
        ("a beacon's header altered", 7, beacons((MESSAGE, (_flip(header, 40),)))),
        ("anchor evidence of another block", 8, anchors((kind, where, foreign.evidence(0)))),
        ("anchor evidence on another chain", 8, anchors((kind, OTHER, octets))),
        ("anchor evidence of unknown kind", 8, anchors(("ots", where, octets))),
        ("anchor evidence cut short", 8, anchors((kind, where, octets[:-1]))),
        ("anchor evidence empty", 8, anchors((kind, where, b""))),
    ]
