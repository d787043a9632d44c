"""evidence.json and beacon.json: what public chains say (§6, §7)."""

import hashlib
from dataclasses import dataclass
from typing import Any

import rlp
import satoshi
from actors import T0

import chain
from chain import BEACON, CHAIN, OTHER
from earmark import beacon, cbor, evidence, ots
from earmark.evidence import ChainBlock
from earmark.evidence.bitcoin import MAINNET, REGTEST, encode_ots
from earmark.evidence.evm import encode_evm

DIGEST = hashlib.sha256(b"earmark vectors: a block").digest()
MESSAGE = beacon.encode([BEACON.block])


def _valid(name: str, kind: str, found: ChainBlock, octets: bytes) -> dict[str, Any]:
    return {
        "name": name,
        "kind": kind,
        "chain": found.chain,
        "digest": DIGEST.hex(),
        "bytes": octets.hex(),
        "block": {"number": found.number, "hash": found.hash.hex(), "time_s": found.time_s},
    }


def _in_evm(name: str, block: chain.Block, index: int) -> dict[str, Any]:
    return _valid(name, evidence.EVM, block.block, block.evidence(index))


def _refused(
    name: str, why: str, octets: bytes, chain_id: str = CHAIN, digest: bytes = DIGEST, kind: str = evidence.EVM
) -> dict[str, Any]:
    given = {"kind": kind, "chain": chain_id, "digest": digest.hex()}
    return {"name": name, "error": "ProofError", "why": why, **given, "bytes": octets.hex()}


def evidence_vectors() -> dict[str, Any]:
    """The content of evidence.json."""
    crowd, single, coins = chain.crowd(DIGEST), chain.anchor(DIGEST), satoshi.anchor(DIGEST)
    calendar = _calendar(coins)
    valid = [
        _in_evm("type 2, alone in its block", single, 0),
        _in_evm("type 0 among 140, at index 0", crowd, 0),
        _in_evm("type 1", crowd, 1),
        _in_evm("type 2", crowd, 2),
        _in_evm("type 0 at index 139", crowd, 139),
        _valid("in a Bitcoin transaction of its own", evidence.OTS, coins.block, coins.evidence(2, DIGEST)),
        _valid("by a calendar", evidence.OTS, calendar.block, calendar.evidence),
        _edge("160 operations", [ots.HASH] * 160),
        _edge("a message of 4,096 bytes", [ots.append(bytes(4064)), ots.HASH]),
    ]
    refused = [*_wrong_transactions(crowd), *_wrong_forms(crowd, single), *_wrong_bitcoin(coins)]
    unknown = _refused("a kind that is not known", "kind", single.evidence(0), kind="evn")
    return {"valid": valid, "must_reject": [*refused, unknown]}


@dataclass(frozen=True)
class _Calendar:
    block: ChainBlock
    evidence: bytes


def _calendar(coins: satoshi.Block) -> _Calendar:
    """A digest that went into a calendar's tree with others, and its root into a transaction."""
    ops = [ots.append(b"\x11" * 16), ots.HASH, ots.prepend(b"\x22" * 32), ots.HASH, ots.append(b"\x33" * 12)]
    total = ots.commit(DIGEST, [*ops, ots.HASH])
    found = satoshi.anchor(total)
    branch = found.branch(2, total)
    whole = ots.Branch((*ops, ots.HASH, *branch.ops), branch.attestation)
    return _Calendar(found.block, encode_ots(whole, found.header))


def _over(ops: list[ots.Op]) -> bytes:
    """Evidence whose block's Merkle root is what these operations make of the digest, whatever their bounds."""
    message = DIGEST
    for tag, argument in ops:
        message = hashlib.sha256(message).digest() if tag == ots.SHA256 else message + argument
    return encode_ots(ots.Branch(tuple(ops), ots.bitcoin(800_003)), satoshi.mined(message))


def _edge(name: str, ops: list[ots.Op]) -> dict[str, Any]:
    octets = _over(ops)
    return _valid(name, evidence.OTS, evidence.check(evidence.OTS, REGTEST, octets, DIGEST), octets)


def _wrong_bitcoin(coins: satoshi.Block) -> list[dict[str, Any]]:
    right, branch, header = coins.evidence(2, DIGEST), coins.branch(2, DIGEST), coins.header
    path = ots.encode([branch])
    tries = (header[:76] + nonce.to_bytes(4, "little") for nonce in range(64))
    idle = next(each for each in tries if satoshi.twice(each)[-1] >> 7)
    tail = ots.encode([ots.Branch((), branch.attestation)])

    def said(attestation: ots.Attestation) -> bytes:
        return encode_ots(ots.Branch(branch.ops, attestation), header)

    def by(ops: list[ots.Op]) -> bytes:
        return encode_ots(ots.Branch(tuple(ops), branch.attestation), header)

    ops = list(branch.ops)
    rows = [
        ("bitcoin: another operation left out", "path", by(ops[:-1])),
        ("bitcoin: an operation more", "path", by([*ops, ots.HASH])),
        ("bitcoin: siblings on the wrong side", "path", by([(0xF1 if tag == 0xF0 else tag, arg) for tag, arg in ops])),
        ("bitcoin: SHA-1 on the way", "operation", by([(0x02, b""), *ops])),
        ("bitcoin: Keccak-256 on the way", "operation", by([(0x67, b""), *ops])),
        ("bitcoin: an unknown operation", "operation", cbor.encode([b"\x09" + path, header])),
        ("bitcoin: an empty argument", "form", cbor.encode([b"\xf0\x00" + path, header])),
        ("bitcoin: a message of 4,097 bytes", "size", _over([ots.append(bytes(4065)), ots.HASH])),
        ("bitcoin: 161 operations", "size", _over([ots.HASH] * 161)),
        ("bitcoin: pending at a calendar", "attestation", said(ots.pending("https://calendar.example"))),
        (
            "bitcoin: an attestation of another chain",
            "attestation",
            said(ots.Attestation(bytes.fromhex("06869a0d73d71b45"), b"\x01")),
        ),
        ("bitcoin: a height with bytes left over", "attestation", said(ots.Attestation(ots.BITCOIN, b"\x01\x01"))),
        ("bitcoin: a height in a longer form", "attestation", said(ots.Attestation(ots.BITCOIN, b"\x81\x00"))),
        ("bitcoin: a fork", "form", cbor.encode([b"\xff" + tail + path, header])),
        ("bitcoin: a byte left over in the timestamp", "form", cbor.encode([path + b"\0", header])),
        ("bitcoin: the timestamp cut short", "form", cbor.encode([path[:-1], header])),
        ("bitcoin: header of another block", "path", encode_ots(branch, satoshi.BEACON.header)),
        ("bitcoin: header altered", "path", encode_ots(branch, header[:36] + bytes([header[36] ^ 1]) + header[37:])),
        ("bitcoin: header of 79 bytes", "header", encode_ots(branch, header[:-1])),
        ("bitcoin: header of 81 bytes", "header", encode_ots(branch, header + b"\0")),
        ("bitcoin: header without the work that it states", "work", encode_ots(branch, idle)),
        ("bitcoin: a target of no size", "work", encode_ots(branch, header[:72] + bytes(4) + header[76:])),
        ("bitcoin: a target below 0", "work", encode_ots(branch, header[:72] + b"\xff\xff\xff\x20" + header[76:])),
        ("bitcoin: three items", "form", cbor.encode([path, header, 0])),
        ("bitcoin: a timestamp of text", "form", cbor.encode(["x", header])),
        ("bitcoin: a byte left over", "form", right + b"\0"),
    ]
    found = [_refused(name, why, octets, REGTEST, kind=evidence.OTS) for name, why, octets in rows]
    return [
        *found,
        _refused("bitcoin: another digest", "path", right, REGTEST, bytes(32), evidence.OTS),
        _refused("bitcoin: a digest of 31 bytes", "digest", right, REGTEST, DIGEST[:-1], evidence.OTS),
        _refused("bitcoin: too little work for the main chain", "work", right, MAINNET, kind=evidence.OTS),
        _refused("bitcoin: a chain that is not known", "chain", right, "bip122:" + "0" * 32, kind=evidence.OTS),
        _refused("bitcoin: said to be of an EVM chain", "chain", right, CHAIN, kind=evidence.OTS),
        _refused("bitcoin: said to be of the other kind", "form", right, REGTEST),
    ]


def _wrong_transactions(crowd: chain.Block) -> list[dict[str, Any]]:
    rows = {3: "blob transaction", 4: "type 4", 5: "no chain id", 6: "another chain", 7: "33 bytes", 8: "no calldata"}
    found = [_refused(f"transaction: {why}", "transaction", crowd.evidence(index)) for index, why in rows.items()]
    right = crowd.evidence(2)
    return [
        *found,
        _refused("another digest", "calldata", right, digest=bytes(32)),
        _refused("said to be of another chain", "chain", right, OTHER),
        _refused("said to be of a chain that is no EVM's", "chain", right, "bip122:000000000019d6689c085ae165831e93"),
        _refused("said to be of a chain in another form", "chain", right, "eip155:01337"),
    ]


def _wrong_forms(crowd: chain.Block, single: chain.Block) -> list[dict[str, Any]]:
    header, nodes = crowd.header, crowd.nodes(2)
    evm = encode_evm
    longer = rlp.encode([*rlp.decode(header)[:8], b"\0\x3d", *rlp.decode(header)[9:]])
    short = rlp.encode(rlp.decode(header)[:14])
    flipped = [bytes([nodes[-1][0]]) + bytes([nodes[-1][1] ^ 1]) + nodes[-1][2:]]
    unlisted = rlp.encode([*rlp.decode(header), [b"x"]])
    rows = [
        ("a node missing", "trie", evm(header, 2, nodes[:-1])),
        ("a node twice", "trie", evm(header, 2, [*nodes, nodes[-1]])),
        ("an unused node", "trie", evm(header, 2, [*nodes, single.nodes(0)[0]])),
        ("nodes in another order", "trie", evm(header, 2, nodes[::-1])),
        ("a node altered", "trie", evm(header, 2, nodes[:-1] + flipped)),
        ("no nodes", "trie", evm(header, 2, [])),
        ("17 nodes", "too many nodes", evm(header, 2, [*nodes, *[b""] * (17 - len(nodes))])),
        ("index of another transaction", "trie", evm(header, 1, nodes)),
        ("index of no transaction", "trie", evm(header, 140, crowd.nodes(140))),
        ("index below 0", "form", evm(header, -1, nodes)),
        ("header of another block", "trie", evm(single.header, 2, nodes)),
        ("header with a byte left over", "RLP", evm(header + b"\0", 2, nodes)),
        ("header cut short", "RLP", evm(header[:-1], 2, nodes)),
        ("header with a length in a longer form", "RLP", evm(b"\xfa\x00" + header[1:], 2, nodes)),
        ("header with a number in a longer form", "RLP", evm(longer, 2, nodes)),
        ("header with 14 fields", "header", evm(short, 2, nodes)),
        ("header with a list in it", "header", evm(unlisted, 2, nodes)),
        ("header of a string", "RLP", evm(rlp.encode(header), 2, nodes)),
        ("header empty", "RLP", evm(b"", 2, nodes)),
        ("no array", "form", b"\xa0"),
        ("four items", "form", cbor.encode([header, 2, nodes, 0])),
        ("not CBOR", "form", crowd.evidence(2)[:-1]),
        ("a byte left over", "form", crowd.evidence(2) + b"\0"),
    ]
    return [_refused(name, why, octets) for name, why, octets in rows]


def beacon_vectors() -> dict[str, Any]:
    """The content of beacon.json."""
    two = [BEACON.block, ChainBlock("bip122:000000000019d6689c085ae165831e93", 900_000, bytes(32), T0 - 700)]
    four = [*two, ChainBlock(OTHER, 1 << 32, b"\xff" * 32, T0), ChainBlock("drand:" + "a" * 32, 0, bytes(32), 0)]
    valid = [
        {
            "name": name,
            "sources": [[s.chain, s.number, s.hash.hex(), s.time_s] for s in sources],
            "bytes": (message := beacon.encode(sources)).hex(),
            "nonce": beacon.nonce(message).hex(),
            "evidence": [header.hex() for header in headers] if headers else None,
        }
        for name, sources, headers in (
            ("one source", [BEACON.block], [BEACON.header]),
            (
                "a Bitcoin block and an EVM block",
                [satoshi.BEACON.block, BEACON.block],
                [satoshi.BEACON.header, BEACON.header],
            ),
            ("two sources", two, []),
            ("four sources", four, []),
        )
    ]
    source: list[Any] = [CHAIN, 1, bytes(32), T0]
    rows: list[tuple[str, Any]] = [
        ("no source", [1, []]),
        ("five sources", [1, [source] * 5]),
        ("version 2", [2, [source]]),
        ("version true", [True, [source]]),
        ("no sources", [1]),
        ("three items", [1, [source], 0]),
        ("a map", {1: [source]}),
        ("source of three", [1, [source[:3]]]),
        ("source of five", [1, [[*source, 0]]]),
        ("hash of 31 bytes", [1, [[CHAIN, 1, bytes(31), T0]]]),
        ("hash of text", [1, [[CHAIN, 1, "0" * 32, T0]]]),
        ("height below 0", [1, [[CHAIN, -1, bytes(32), T0]]]),
        ("time below 0", [1, [[CHAIN, 1, bytes(32), -1]]]),
        ("chain without a namespace", [1, [["1337", 1, bytes(32), T0]]]),
        ("chain with a blank", [1, [["eip155:13 37", 1, bytes(32), T0]]]),
        ("chain of 33 characters", [1, [["eip155:" + "1" * 33, 1, bytes(32), T0]]]),
        ("chain of bytes", [1, [[b"eip155:1", 1, bytes(32), T0]]]),
    ]
    refused = [
        *((name, cbor.encode(value)) for name, value in rows),
        ("cut short", MESSAGE[:-1]),
        ("longer", MESSAGE + b"\0"),
    ]
    return {
        "valid": valid,
        "must_reject": [{"name": n, "error": "EncodingError", "why": "form", "bytes": b.hex()} for n, b in refused],
    }
