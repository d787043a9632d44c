"""A small Bitcoin chain of our own, under regtest's rules: real headers with their work, transactions, Merkle paths."""

import hashlib
import struct

from actors import T0

from earmark import ots
from earmark.evidence import ChainBlock
from earmark.evidence.bitcoin import REGTEST, encode_ots

EASY = 0x207FFFFF


def _filler(name: str, size: int) -> bytes:
    return hashlib.shake_256(f"earmark vectors: {name}".encode()).digest(size)


def twice(octets: bytes) -> bytes:
    """SHA-256 of SHA-256, as everything in Bitcoin is hashed."""
    return hashlib.sha256(hashlib.sha256(octets).digest()).digest()


def transaction(digest: bytes) -> bytes:
    """One that spends a coin and carries a digest in an OP_RETURN, without its witness."""
    coin = _filler("coin", 32) + struct.pack("<I", 1) + b"\0" + struct.pack("<I", 0xFFFFFFFD)
    carrier = struct.pack("<Q", 0) + b"\x22\x6a\x20" + digest
    change = struct.pack("<Q", 90_000) + b"\x16\x00\x14" + _filler("change", 20)
    return struct.pack("<I", 2) + b"\x01" + coin + b"\x02" + carrier + change + struct.pack("<I", 0)


def mined(root: bytes, time_s: int = T0 + 1200, bits: int = EASY) -> bytes:
    """A header over a Merkle root, with the work that it states."""
    fixed = struct.pack("<I", 0x20000000) + _filler("previous", 32) + root
    target = (bits & 0xFFFFFF) << 8 * ((bits >> 24) - 3)
    tries = (fixed + struct.pack("<III", time_s, bits, nonce) for nonce in range(1 << 20))
    return next(header for header in tries if int.from_bytes(twice(header), "little") <= target)


class Block:
    """A block over these transactions; `header` has the work that it states."""

    def __init__(self, number: int, time_s: int, transactions: list[bytes], bits: int = EASY) -> None:
        self.transactions = transactions
        self.levels = [[twice(raw) for raw in transactions]]
        while len(self.levels[-1]) > 1:
            level = self.levels[-1] + self.levels[-1][-1:] * (len(self.levels[-1]) % 2)
            self.levels[-1] = level
            self.levels.append([twice(level[at] + level[at + 1]) for at in range(0, len(level), 2)])
        self.header = mined(self.levels[-1][0], time_s, bits)
        self.block = ChainBlock(REGTEST, number, twice(self.header)[::-1], time_s)

    def branch(self, index: int, digest: bytes) -> ots.Branch:
        """The way of a digest inside a transaction to the Merkle root."""
        raw = self.transactions[index]
        at = raw.index(digest)
        ops = [*ots.around(raw, slice(at, at + len(digest))), ots.HASH, ots.HASH]
        for level in self.levels[:-1]:
            sibling = level[index ^ 1]
            ops += [ots.prepend(sibling) if index & 1 else ots.append(sibling), ots.HASH, ots.HASH]
            index >>= 1
        return ots.Branch(tuple(ops), ots.bitcoin(self.block.number))

    def evidence(self, index: int, digest: bytes) -> bytes:
        """The evidence of one transaction."""
        return encode_ots(self.branch(index, digest), self.header)


BEACON = Block(800_000, T0 - 600, [_filler("alone", 100)])


def anchor(digest: bytes) -> Block:
    """A block twenty minutes after `T0` whose third transaction of five holds the digest."""
    others = [_filler(f"transaction {number}", 120) for number in range(4)]
    return Block(800_003, T0 + 1200, [*others[:2], transaction(digest), *others[2:]])
