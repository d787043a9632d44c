"""proof.json: proof files that hold, and those that fail, each with the step of §9 that refuses it."""

import hashlib
from dataclasses import replace
from typing import Any

import rounds
import satoshi
import stamps
from actors import GATEWAY, NEIGHBOUR, OPERATOR, ORIGIN, STRANGER, TOMATO, sign
from cosigners import NEIGHBOURS, VKEY, bad_lines, cosigned, false_witnesses
from evidences import MESSAGE
from registries import registries, signers
from small_log import Log, first_log, flip, pack, rotated_log, single_log, stolen_log, updated_log
from statements import says

import chain
from chain import BEACON, CHAIN, OTHER
from earmark import beacon, block, cbor, cosignature, evidence, statement
from earmark.evidence import ChainBlock
from earmark.evidence.bitcoin import MAINNET, REGTEST
from earmark.evidence.drand import QUICKNET, Network, make_round
from earmark.proof import MAGIC, Proof

Case = tuple[str, int, bytes]
BEACONS = ((MESSAGE, (BEACON.header,)),)


def anchored(log: Log, subjects: list[int], **changes: Any) -> tuple[Proof, chain.Block]:
    """A proof with its beacon and anchor, and the chain's block."""
    found = chain.anchor(log.header().hash)
    anchors = ((evidence.EVM, CHAIN, found.evidence(0)),)
    return log.proof(subjects, beacons=BEACONS, anchors=anchors, **changes), found


def _in_bitcoin(log: Log, subjects: list[int]) -> tuple[Proof, list[ChainBlock]]:
    """A proof with complete evidence on Bitcoin beside that on an EVM chain, and the blocks."""
    evm, coins = chain.anchor(log.header().hash), satoshi.anchor(log.header().hash)
    anchors = (
        (evidence.EVM, CHAIN, evm.evidence(0)),
        (evidence.OTS, REGTEST, coins.evidence(2, log.header().hash)),
    )
    return log.proof(subjects, beacons=BEACONS, anchors=anchors), [BEACON.block, evm.block, coins.block]


def _valid(
    name: str,
    proof: Proof,
    blocks: list[ChainBlock],
    lower: bool,
    upper: bool,
    witnesses: tuple[str, ...] = (),
    witnessed: tuple[tuple[str, int], ...] = (),
    networks: tuple[Network, ...] = (),
) -> dict[str, Any]:
    """A row; `lower` says that the beacon's first source counts."""
    anchors = [evidence.check(*anchor, _hash(proof)) for anchor in proof.anchors if anchor[0] != evidence.RFC3161]
    anchors = [found for found in anchors if found in blocks]
    return {
        "name": name,
        "operator": OPERATOR.did,
        "blocks": [[found.place, found.hash.hex()] for found in blocks],
        "networks": [rounds.told(network) for network in networks],
        "witnesses": list(witnesses),
        "witnessed": [list(row) for row in witnessed],
        "subjects": list(proof.subjects),
        "not_before_s": beacon.decode(proof.beacons[0][0])[0].time_s if lower else None,
        "not_after_s": min(found.time_s for found in anchors) if upper else None,
        "bytes": proof.encode().hex(),
    }


def _hash(proof: Proof) -> bytes:
    return hashlib.sha256(proof.header).digest()


def vectors() -> dict[str, Any]:
    """The content of proof.json."""
    log = first_log()
    whole, after = anchored(log, [4, 6])
    both = [BEACON.block, after.block]
    twice, blocks_of_both = _in_bitcoin(log, [4, 6])
    small, small_after = anchored(single_log(), [2])
    both_small = [BEACON.block, small_after.block]
    valid = [
        _valid("one node", small, [BEACON.block, small_after.block], True, True),
        _valid("two nodes", whole, both, True, True),
        _valid("two nodes, no block hash given", whole, [], False, False),
        _valid("two nodes, hash of the anchor's block given", whole, [after.block], False, True),
        _valid("two nodes, hash of the beacon's block given", whole, [BEACON.block], True, False),
        _valid("two nodes, on Bitcoin and an EVM chain", twice, blocks_of_both, True, True),
        _valid("two nodes, on both, Bitcoin's block hash given", twice, blocks_of_both[2:], False, True),
        _valid("two nodes, without beacon and anchor", log.proof([4, 6]), [], False, False),
        _valid("the operator's own statements", log.proof([1, 8]), [], False, False),
        _valid(
            "a name under two keys, the one rotated to the other", rotated_log().proof([2, 3, 5, 6]), [], False, False
        ),
        _valid("a rotation itself", rotated_log().proof([4]), [], False, False),
        _valid(
            "below the leaf from which on the key was in other hands", stolen_log().proof([2, 5, 6]), [], False, False
        ),
        _valid("the word that a key was in other hands", stolen_log().proof([7]), [], False, False),
        *_in_other_hands(),
        _valid("updates, and what a node says of one", updated_log().proof([3, 4]), [], False, False),
    ]
    valid += _witnessed(small)
    valid += [
        _valid("a time stamp without its certificate, and an anchor", _stamped(small), both_small, True, True),
        _valid("a time stamp that no reader without its certificate judges", _stamped(small, b"?"), [], False, False),
    ]
    valid += _drand()
    given = [[found.chain, found.hash.hex()] for found in (BEACON.block, small_after.block)]
    refused = [(row, OPERATOR.did, []) for group in (_files, registries, _blocks, _trees, signers) for row in group()]
    refused += [(row, OPERATOR.did, []) for row in _times(small)]
    refused += [(("another operator's key", 2, small.encode()), STRANGER.did, [])]
    refused += [(("the gateway's key as the operator's", 2, small.encode()), GATEWAY.did, [])]
    for name, blocks in (
        ("a block hash that the file does not lead to", [*given, [CHAIN, "11" * 32]]),
        ("a block hash under another chain", [[OTHER, given[1][1]]]),
    ):
        refused.append(((name, 9, small.encode()), OPERATOR.did, blocks))
    rows = [_refused(*case, operator=operator, blocks=blocks) for case, operator, blocks in refused]
    rows += _false_randomness()
    rows += [_refused(name, 10, octets, witnesses=[VKEY.encode()]) for name, octets in false_witnesses(small)]
    return {"valid": valid, "must_reject": rows}


def _refused(name: str, step: int, octets: bytes, operator: str = OPERATOR.did, **given: Any) -> dict[str, Any]:
    inputs = {"operator": operator, "blocks": [], "networks": [], "witnesses": []} | given
    return {"name": name, "step": step, **inputs, "bytes": octets.hex()}


def _with_rounds(*made: rounds.Round) -> Proof:
    """A proof of one statement that was signed after these rounds, or blocks."""
    message, evidence = rounds.row(list(made))
    return single_log(message).proof([2], beacons=((message, evidence),))


def _drand() -> list[dict[str, Any]]:
    own, block = rounds.OWN.round(rounds.NEWEST), (satoshi.BEACON.block, satoshi.BEACON.header)
    mine, theirs = (rounds.OWN.network,), (rounds.OTHERS.network,)
    return [
        _valid("a round of quicknet", _with_rounds(rounds.real(1000)), [], True, False),
        _valid("a round of quicknet and a Bitcoin block", _with_rounds(rounds.real(657413), block), [], True, False),
        _valid("a round of a network of the verifier's", _with_rounds(own), [], True, False, networks=mine),
        _valid("a round of another network than the verifier's", _with_rounds(own), [], False, False, networks=theirs),
        _valid("a round whose randomness the verifier gave", _with_rounds(own), [own[0]], True, False, networks=mine),
        _valid("a false round that the verifier knows no network of", _false_round(), [], False, False),
    ]


def _false_randomness() -> list[dict[str, Any]]:
    """The verifier's randomness where it shows no time: of an unknown network the file alone says it."""
    made, network = rounds.OWN.round(rounds.NEWEST), rounds.told(rounds.OWN.network)
    later, octets = replace(made[0], number=rounds.NEWEST + 1), _with_rounds(made).encode()
    return [
        _refused("the randomness of an unknown network's round", 9, octets, blocks=[_given(made[0].place, made[0])]),
        *(
            _refused(f"a round's randomness {said}", 9, octets, blocks=[_given(place, made[0])], networks=[network])
            for said, place in (("under another number", later.place), ("without its number", made[0].chain))
        ),
    ]


def _given(place: str, block: ChainBlock) -> list[str]:
    return [place, block.hash.hex()]


def _false_round() -> Proof:
    false = rounds.OTHERS.sign(rounds.NEWEST)
    return _with_rounds((make_round(rounds.OWN.network, rounds.NEWEST, false), false))


def _stamped(proof: Proof, octets: bytes = b"", chain_id: str = "") -> Proof:
    """The same with a time stamp, a right one unless it is given."""
    stamp = octets or stamps.Stamp(digest=_hash(proof)).encode()
    return replace(proof, anchors=(*proof.anchors, (evidence.RFC3161, chain_id or stamps.ROOT.authority.id, stamp)))


def _witnessed(proof: Proof) -> list[dict[str, Any]]:
    own, other = cosigned(proof.checkpoint), cosigned(proof.checkpoint, NEIGHBOUR, NEIGHBOURS.name)
    both = replace(proof, checkpoint=cosignature.join(proof.checkpoint, [own, other]))
    one = replace(proof, checkpoint=cosignature.join(proof.checkpoint, [other]))
    forged = replace(own, signature=other.signature)
    unknown = replace(proof, checkpoint=cosignature.join(proof.checkpoint, [forged, other]))
    told = (NEIGHBOURS.name, other.time_s), (VKEY.name, own.time_s)
    return [
        _valid("two witnesses", both, [], False, False, (NEIGHBOURS.encode(), VKEY.encode()), told),
        _valid("two witnesses, one of them the verifier's", both, [], False, False, (VKEY.encode(),), told[1:]),
        _valid("a witness that the verifier does not know", one, [], False, False),
        _valid("a witness that did not cosign", one, [], False, False, (VKEY.encode(),)),
        _valid("a forged cosignature of an unknown one", unknown, [], False, False, (NEIGHBOURS.encode(),), told[:1]),
    ]


def _in_other_hands() -> list[dict[str, Any]]:
    """What the bounds of `since` let stand."""

    def proof(*since: int, subjects: list[int]) -> Proof:
        log = single_log()
        for leaf in since:
            log.operator({0: "revocation", 1: TOMATO.key, 2: "stolen", 3: leaf})
        return log.proof(subjects)

    return [
        _valid("in other hands from the revocation's own leaf on", proof(4, subjects=[2, 3]), [], False, False),
        _valid("in other hands earlier than it was said first", proof(4, 3, subjects=[2]), [], False, False),
        _valid("in other hands from the first leaf on, nothing of it shown", proof(2, subjects=[4]), [], False, False),
    ]


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
        ("a bit of the digest flipped", 1, flip(whole, 20)),
        ("a bit of the body flipped", 1, flip(whole, len(whole) - 1)),
        ("the version before", 1, _wrap(cbor.encode(body), "earmark-proof-2")),
        ("another version", 1, _wrap(cbor.encode(body), "earmark-proof-4")),
        ("a statement in the file's place", 1, rows[2][1]),
        *found,
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
        *((name, 3, checkpoint(octets)) for name, octets in bad_lines(text).items()),
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
        ("a hash altered", 5, replace(proof, rest=(flip(proof.rest[0], 0),)).encode()),
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


def _false_rounds() -> list[Case]:
    block, signature = rounds.real(1000)
    later = rounds.real(657413)[1]
    whole = _with_rounds((block, signature))
    made: dict[str, rounds.Round] = {
        "a round of quicknet under another round's signature": (make_round(QUICKNET, 1000, later), later),
        "a round of quicknet with another randomness": (replace(block, hash=bytes(32)), signature),
        "a round of quicknet at another time": (replace(block, time_s=block.time_s + 1), signature),
        "a round of quicknet under a name": (replace(block, chain="drand:quicknet"), signature),
    }
    message = whole.beacons[0][0]
    return [
        *((name, 7, _with_rounds(each).encode()) for name, each in made.items()),
        ("a round's signature missing", 7, replace(whole, beacons=((message, ()),)).encode()),
        ("a round's signature altered", 7, replace(whole, beacons=((message, (flip(signature, 40),)),)).encode()),
    ]


def _times(proof: Proof) -> list[Case]:
    foreign = chain.anchor(bytes(32))
    other = beacon.encode([foreign.block])
    (kind, where, octets), header = proof.anchors[0], BEACON.header
    digest = _hash(proof)
    bitcoin = satoshi.anchor(digest).evidence(2, digest)

    def beacons(*rows: Any) -> bytes:
        return replace(proof, beacons=rows).encode()

    def anchors(*rows: Any) -> bytes:
        return replace(proof, anchors=rows).encode()

    return [
        ("a beacon that no subject carries", 7, beacons((other, (foreign.header,)))),
        ("a beacon's header missing", 7, beacons((MESSAGE, ()))),
        ("a beacon's header twice", 7, beacons((MESSAGE, (header, header)))),
        ("a beacon's header of another block", 7, beacons((MESSAGE, (foreign.header,)))),
        ("a beacon's header altered", 7, beacons((MESSAGE, (flip(header, 40),)))),
        *_false_rounds(),
        ("a time stamp on a chain", 8, _stamped(proof, chain_id=where).encode()),
        ("a time stamp under an id that is too short", 8, _stamped(proof, chain_id="tsa:" + "0" * 31).encode()),
        ("a time stamp under an id in capitals", 8, _stamped(proof, chain_id="tsa:" + "A" * 32).encode()),
        ("a time stamp of no bytes", 8, anchors((evidence.RFC3161, stamps.ROOT.authority.id, b""))),
        ("anchor evidence of another block", 8, anchors((kind, where, foreign.evidence(0)))),
        ("anchor evidence on another chain", 8, anchors((kind, OTHER, octets))),
        ("anchor evidence of unknown kind", 8, anchors(("otc", where, octets))),
        ("anchor evidence of another kind than it says", 8, anchors((evidence.OTS, where, octets))),
        (
            "Bitcoin evidence of another block",
            8,
            anchors((evidence.OTS, REGTEST, satoshi.anchor(bytes(32)).evidence(2, bytes(32)))),
        ),
        ("Bitcoin evidence said to be of the main chain", 8, anchors((evidence.OTS, MAINNET, bitcoin))),
        (
            "Bitcoin evidence whose header has no work",
            8,
            anchors((evidence.OTS, REGTEST, flip(bitcoin, len(bitcoin) - 1))),
        ),
        ("anchor evidence cut short", 8, anchors((kind, where, octets[:-1]))),
        ("anchor evidence empty", 8, anchors((kind, where, b""))),
    ]
