"""evidence.json and beacon.json: what public chains say (§6, §7)."""

import hashlib
from typing import Any

import rlp
from actors import T0

import chain
from chain import BEACON, CHAIN, OTHER
from earmark import beacon, cbor, evidence
from earmark.evidence import ChainBlock

DIGEST = hashlib.sha256(b"earmark vectors: a block").digest()
MESSAGE = beacon.encode([BEACON.block])


def _valid(name: str, block: chain.Block, index: int) -> dict[str, Any]:
    found = block.block
    return {
        "name": name,
        "kind": evidence.EVM,
        "chain": CHAIN,
        "digest": DIGEST.hex(),
        "bytes": block.evidence(index).hex(),
        "block": {"number": found.number, "hash": found.hash.hex(), "time_s": found.time_s},
    }


def _refused(name: str, why: str, octets: bytes, chain_id: str = CHAIN, digest: bytes = DIGEST) -> dict[str, Any]:
    kind = {"kind": evidence.EVM, "chain": chain_id, "digest": digest.hex()}
    return {"name": name, "error": "ProofError", "why": why, **kind, "bytes": octets.hex()}


def evidence_vectors() -> dict[str, Any]:
    """The content of evidence.json."""
    crowd, single = chain.crowd(DIGEST), chain.anchor(DIGEST)
    valid = [
        _valid("type 2, alone in its block", single, 0),
        _valid("type 0 among 140, at index 0", crowd, 0),
        _valid("type 1", crowd, 1),
        _valid("type 2", crowd, 2),
        _valid("type 0 at index 139", crowd, 139),
    ]
    return {"valid": valid, "must_reject": [*_wrong_transactions(crowd), *_wrong_forms(crowd, single)]}


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
    evm = evidence.encode_evm
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
            "evidence": [BEACON.header.hex()] if sources == [BEACON.block] else None,
        }
        for name, sources in (("one source", [BEACON.block]), ("two sources", two), ("four sources", four))
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
