"""key.json, tree.json, header.json, checkpoint.json, receipt.json and acknowledgement.json (§2, §4, §5, §10.1)."""

import hashlib
from dataclasses import replace
from typing import Any

from actors import CELLAR, GATEWAY, OPERATOR, ORIGIN, SEEDS, STRANGER, TOMATO
from loose import Raw, encode, sign1
from small_log import first_log

from earmark import ack, block, cose, merkle, statement
from earmark.block import Header

LEAVES = 11


def keys() -> dict[str, Any]:
    """The content of key.json."""
    signers = [*(cose.Signer(seed) for seed in SEEDS.values()), cose.Signer(bytes(32)), cose.Signer(b"\xff" * 32)]
    seeds = [*SEEDS.values(), bytes(32), b"\xff" * 32]
    rows = [
        {
            "seed": seed.hex(),
            "key": signer.key.hex(),
            "did": signer.did,
            "thumbprint": hashlib.sha256(bytes.fromhex("a301012006215820") + signer.key).hexdigest(),
            "kid": signer.kid.hex(),
            "origin": statement.origin("hillside", signer.key),
        }
        for seed, signer in zip(seeds, signers, strict=True)
    ]
    did, base58 = TOMATO.did, "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    number, longer = 0x1ED01 << 256, ""
    while number:
        number, digit = divmod(number, 58)
        longer = base58[digit] + longer
    wrong = [
        did[:-1],
        f"did:key:z{longer}",
        did + "1",
        did[:-1] + "l",
        did.replace("z6Mk", "z6LS"),
        did[8:],
        did.upper(),
        "did:key:z" + "1" * 47,
        "",
    ]
    return {"valid": rows, "must_reject": [{"did": text, "error": "EncodingError"} for text in wrong]}


def tree() -> dict[str, Any]:
    """The content of tree.json: every size up to 11 leaves."""
    entries = [hashlib.sha256(bytes([n])).digest() for n in range(LEAVES)]
    hashes = [merkle.leaf_hash(entry) for entry in entries]

    def subtree(level: int, index: int) -> bytes:
        if level == 0:
            return hashes[index]
        return merkle.node_hash(subtree(level - 1, 2 * index), subtree(level - 1, 2 * index + 1))

    sizes = range(1, LEAVES + 1)
    roots = [merkle.EMPTY_ROOT, *(merkle.range_hash(0, size, subtree) for size in sizes)]
    chosen: list[list[int]] = [[0], [LEAVES - 1], [0, 1, 5], [2, 3], [7, 8, 9], list(range(LEAVES)), []]
    return {
        "entries": [entry.hex() for entry in entries],
        "leaf_hashes": [leaf.hex() for leaf in hashes],
        "roots": [root.hex() for root in roots],
        "inclusion": [
            {"index": index, "size": size, "path": _hexes(merkle.prove_inclusion(index, size, subtree))}
            for size in (1, 2, 7, 8, LEAVES)
            for index in sorted({0, size // 2, size - 1})
        ],
        "consistency": [
            {"old": old, "new": new, "proof": _hexes(merkle.prove_consistency(old, new, subtree))}
            for new in (2, 7, 8, LEAVES)
            for old in sorted({1, new // 2, new - 1, new})
        ],
        "rest": [
            {"indexes": indexes, "size": LEAVES, "hashes": _hexes(merkle.prove_leaves(indexes, LEAVES, subtree))}
            for indexes in chosen
        ],
    }


def _hexes(hashes: list[bytes]) -> list[str]:
    return [node.hex() for node in hashes]


def _header() -> Header:
    return first_log().header(bytes(range(16)))


def headers() -> dict[str, Any]:
    """The content of header.json."""
    first = replace(_header(), height=0, size=1, prev=block.NO_BLOCK, beacon=block.NO_BEACON)
    most = replace(_header(), height=(1 << 64) - 1, size=(1 << 64) - 1, sealed_at_ms=(1 << 64) - 1)
    whole = _header().encode()
    wrong = {
        "empty": b"",
        "175 bytes": whole[:-1],
        "177 bytes": whole + b"\0",
        "another magic": b"E" + whole[1:],
        "version 0": whole[:7] + b"\0" + whole[8:],
        "version 2": whole[:7] + b"\2" + whole[8:],
        "no leaves": whole[:48] + bytes(8) + whole[56:],
    }
    refused = [{"name": name, "error": "EncodingError", "bytes": octets.hex()} for name, octets in wrong.items()]
    return {"valid": [_fields(header) for header in (_header(), first, most)], "must_reject": refused}


def _fields(header: Header) -> dict[str, Any]:
    return {
        "origin": ORIGIN,
        "height": header.height,
        "size": header.size,
        "sealed_at_ms": header.sealed_at_ms,
        "prev": header.prev.hex(),
        "root": header.root.hex(),
        "registry": header.registry.hex(),
        "beacon": header.beacon.hex(),
        "bytes": header.encode().hex(),
        "hash": header.hash.hex(),
    }


def checkpoints() -> dict[str, Any]:
    """The content of checkpoint.json; every text, with the gateway's key and origin, is to be decoded and verified."""
    text = block.sign_checkpoint(GATEWAY, ORIGIN, _header()).decode()
    lines = text.split("\n")
    signature = lines[5].rsplit(" ", 1)[1]
    stranger = block.sign_checkpoint(STRANGER, ORIGIN, _header()).decode()
    changed = {
        "empty": "",
        "no last line end": text[:-1],
        "a line more at the end": text + "\n",
        "a second signature line": text + lines[5] + "\n",
        "no signature line": "\n".join(lines[:4]) + "\n\n",
        "carriage returns": text.replace("\n", "\r\n"),
        "size with a leading zero": text.replace("\n9\n", "\n09\n"),
        "size with a sign": text.replace("\n9\n", "\n+9\n"),
        "size in other digits": text.replace("\n9\n", "\n\u0669\n"),
        "size of 21 digits": text.replace("\n9\n", "\n" + "9" * 21 + "\n"),
        "root without padding": text.replace(lines[2], lines[2][:-1]),
        "root of 31 bytes": text.replace(lines[2], lines[2][:40] + "AA=="),
        "root with bits left over": text.replace(lines[2], lines[2][:-2] + "B="),
        "root with a blank": text.replace(lines[2], " " + lines[2]),
        "another extension": text.replace("earmark-block", "earmark-blocks"),
        "no extension": text.replace(lines[3] + "\n", ""),
        "two extensions": text.replace(lines[3], lines[3] + "\n" + lines[3]),
        "height with a leading zero": text.replace("block 7 ", "block 07 "),
        "a hyphen for the dash": text.replace("\u2014", "-"),
        "signed under another name": text.replace("\u2014 earmark/hillside", "\u2014 earmark/seaside"),
        "signature of 63 bytes": text.replace(signature, signature[:-4]),
    }
    unsigned = {
        "another size": text.replace("\n9\n", "\n8\n"),
        "another height": text.replace("block 7 ", "block 8 "),
        "another site": text.replace("hillside", "seaside"),
        "another key": stranger,
        "another key under the gateway's key id": text.replace(
            signature, signature[:4] + stranger.rsplit(" ", 1)[1][4:-1]
        ),
    }
    rows = [
        *((n, "EncodingError", t) for n, t in changed.items()),
        *((n, "BadSignature", t) for n, t in unsigned.items()),
    ]
    valid = {"header": _header().encode().hex(), "key": GATEWAY.key.hex(), "origin": ORIGIN, "text": text}
    return {"valid": [valid], "must_reject": [{"name": n, "error": e, "text": t} for n, e, t in rows]}


def receipts() -> dict[str, Any]:
    """The content of receipt.json."""
    log = first_log()
    root = log.header().root
    signature = block.sign_receipt(GATEWAY, ORIGIN, root)
    rows = []
    for index in (0, 4, 8):
        path = merkle.prove_inclusion(index, 9, log.subtree)
        octets = block.encode_receipt(GATEWAY.key, ORIGIN, signature, 9, index, path)
        entry = hashlib.sha256(log.statements[index]).hexdigest()
        rows.append({"index": index, "size": 9, "entry": entry, "path": _hexes(path), "bytes": octets.hex()})
    return {"key": GATEWAY.key.hex(), "origin": ORIGIN, "root": root.hex(), "signature": signature.hex(), "valid": rows}


ACKED_MS = 1_790_000_006_250


def acknowledgements() -> dict[str, Any]:
    """The content of acknowledgement.json; the key to verify under is the gateway's."""
    checkpoint = block.sign_checkpoint(GATEWAY, ORIGIN, _header())
    several = (1, 40), (42, 42), (44, (1 << 53) - 1)
    acks = {
        "one statement": ack.Acknowledgement(TOMATO.kid, ((2, 2),), (), b"", ACKED_MS),
        "runs, a refusal and a checkpoint": ack.Acknowledgement(
            TOMATO.kid, several, ((41, "BadSignature"),), checkpoint, ACKED_MS
        ),
        "nothing yet": ack.Acknowledgement(CELLAR.kid, (), (), checkpoint, 0),
        "16 runs and 16 refusals": ack.Acknowledgement(
            TOMATO.kid,
            tuple((3 * n, 3 * n + 1) for n in range(1, 17)),
            tuple((3 * n + 2, "Equivocation") for n in range(1, 17)),
            checkpoint,
            (1 << 53) - 1,
        ),
    }
    valid = [
        {
            "name": name,
            "kid": row.kid.hex(),
            "runs": [list(run) for run in row.runs],
            "refused": [list(one) for one in row.refused],
            "checkpoint": row.checkpoint.decode(),
            "time_ms": row.time_ms,
            "bytes": ack.sign(GATEWAY, row).hex(),
        }
        for name, row in acks.items()
    ]
    return {"seed": SEEDS[GATEWAY.key].hex(), "key": GATEWAY.key.hex(), "valid": valid, "must_reject": _wrong_acks()}


def _wrong_acks() -> list[dict[str, str]]:
    header = {1: -8, 3: "application/vnd.earmark.ack+cbor", 4: GATEWAY.kid}
    kid = TOMATO.kid
    right = [2, kid, [[2, 2]], [], b"", ACKED_MS]

    def made(payload: Any, fields: Any = header, signer: cose.Signer = GATEWAY, unprotected: Any = None) -> bytes:
        protected, octets = encode(fields), encode(payload)
        parts = [protected, unprotected or {}, octets, sign1(signer, protected, octets)]
        return b"\xd2" + encode(parts)

    def runs(*rows: Any) -> bytes:
        return made([2, kid, list(rows), [], b"", ACKED_MS])

    whole = made(right)
    wrong = {
        "nothing": b"",
        "cut short": whole[:-1],
        "a byte left over": whole + b"\0",
        "untagged": whole[1:],
        "kid of another gateway": made(right, {**header, 4: STRANGER.kid}),
        "no kid": made(right, {1: -8, 3: header[3]}),
        "content type of a statement": made(right, {**header, 3: 112}),
        "a header more": made(right, {**header, 5: b""}),
        "an unprotected header": made(right, unprotected={4: GATEWAY.kid}),
        "version 1": made([1, *right[1:5]]),
        "version 3": made([3, *right[1:]]),
        "version true": made([True, *right[1:]]),
        "five items": made(right[:5]),
        "seven items": made([*right, 0]),
        "a time before 1970": made([*right[:5], -1]),
        "a time of 2^53": made([*right[:5], 1 << 53]),
        "a time of text": made([*right[:5], "0"]),
        "a map": made(dict(enumerate(right))),
        "kid of 7 bytes": made([2, kid[:7], *right[2:]]),
        "17 runs": runs(*([3 * n, 3 * n] for n in range(1, 18))),
        "17 refusals": made([2, kid, [], [[n, "x"] for n in range(1, 18)], b"", ACKED_MS]),
        "a run from 0": runs([0, 2]),
        "a run that ends before it begins": runs([3, 2]),
        "a run of one number": runs([2]),
        "a run of text": runs(["2", 2]),
        "runs out of order": runs([5, 6], [2, 3]),
        "runs that overlap": runs([2, 5], [5, 6]),
        "a refusal without its reason": made([2, kid, [], [[2]], b"", ACKED_MS]),
        "a refusal with bytes for a reason": made([2, kid, [], [[2, b"x"]], b"", ACKED_MS]),
        "payload with a byte left over": made(Raw(encode(right) + b"\0")),
        "checkpoint of text": made([*right[:4], "", right[5]]),
        "4,097 bytes": made([*right[:4], bytes(4097 - len(whole) - 3), right[5]]),
    }
    unsigned = {
        "by a node": made(right, signer=TOMATO),
        "by the operator": made(right, signer=OPERATOR),
        "a bit flipped": whole[:-1] + bytes([whole[-1] ^ 1]),
    }
    rows = [
        *((n, "EncodingError", b) for n, b in wrong.items()),
        *((n, "BadSignature", b) for n, b in unsigned.items()),
    ]
    return [{"name": name, "error": error, "bytes": octets.hex()} for name, error, octets in rows]
