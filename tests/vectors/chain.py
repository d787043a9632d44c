"""A small chain of our own: two blocks with real headers and tries, made with the `rlp` and `trie` libraries."""

import hashlib
from typing import Any

import rlp
from actors import T0
from trie import HexaryTrie

from earmark.evidence import ChainBlock
from earmark.evidence.evm import encode_evm
from earmark.mpt import keccak256

CHAIN = "eip155:1337"
CHAIN_ID = 1337
OTHER = "eip155:1"


def _filler(name: str, size: int) -> bytes:
    return hashlib.shake_256(f"earmark vectors: {name}".encode()).digest(size)


def legacy(calldata: bytes, v: int = 35 + 2 * CHAIN_ID) -> bytes:
    """A transaction of type 0."""
    return rlp.encode([1, 10**9, 25_000, _filler("to", 20), 0, calldata, v, _filler("r", 32), _filler("s", 32)])


def typed(kind: int, calldata: bytes, chain_id: int = CHAIN_ID) -> bytes:
    """A transaction of type 1, 2, 3 (with one blob) or 4."""
    prices = [10**9] if kind == 1 else [10**9, 2 * 10**9]
    tail = {3: [1, [_filler("blob", 32)]], 4: [[]]}.get(kind, [])
    fields = [
        chain_id,
        1,
        *prices,
        25_000,
        _filler("to", 20),
        0,
        calldata,
        [],
        *tail,
        1,
        *(_filler(x, 32) for x in "rs"),
    ]
    return bytes([kind]) + rlp.encode(fields)


class Block:
    """A block over these transactions; `header` is its RLP."""

    def __init__(self, number: int, time_s: int, transactions: list[bytes]) -> None:
        self.trie = HexaryTrie({})
        for index, transaction in enumerate(transactions):
            self.trie[rlp.encode(index)] = transaction
        fixed = [_filler(name, size) for name, size in (("parent", 32), ("uncles", 32), ("miner", 20), ("state", 32))]
        fields: list[Any] = [*fixed, self.trie.root_hash, _filler("receipts", 32), bytes(256), 0, number, 30_000_000]
        self.header = rlp.encode([*fields, 21_000 * len(transactions), time_s, b"", bytes(32), bytes(8), 7])
        self.block = ChainBlock(CHAIN, number, keccak256(self.header), time_s)

    def nodes(self, index: int) -> list[bytes]:
        """The trie nodes on the way to a transaction; embedded ones stand inside their parents."""
        way = self.trie.get_proof(rlp.encode(index))
        return [encoded for n, node in enumerate(way) if len(encoded := rlp.encode(node)) >= 32 or n == 0]

    def evidence(self, index: int) -> bytes:
        """The evidence of one transaction."""
        return encode_evm(self.header, index, self.nodes(index))


BEACON = Block(4_000_000, T0 - 12, [])


def anchor(digest: bytes) -> Block:
    """A block 24 s after `T0` that holds the digest in one transaction."""
    return Block(4_000_003, T0 + 24, [typed(2, digest)])


def crowd(digest: bytes) -> Block:
    """A block of 140 transactions, some with the digest in a form that does not count."""
    special = [
        legacy(digest),
        typed(1, digest),
        typed(2, digest),
        typed(3, digest),
        typed(4, digest),
        legacy(digest, 27),
        typed(2, digest, 1),
        typed(2, digest + b"\0"),
        typed(2, b""),
    ]
    return Block(4_000_004, T0 + 36, [*special, *(typed(2, bytes([n])) for n in range(9, 139)), legacy(digest)])
