"""Bitcoin transactions that carry a digest: their bytes, sizes and fees, and their place in a block.  No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass

from earmark import cbor, ots
from earmark.errors import EncodingError
from earmark.evidence.bitcoin import double_sha256

DUST = 294
"""Satoshi: a change output of less is relayed by nobody, so it is left to the fee."""

REPLACEABLE = 0xFFFFFFFD
"""The sequence number of every input: it may be replaced with a higher fee (BIP 125), and its lock time holds."""

MOST_INPUTS = 50

_CARRIES = b"\x6a\x20"
_DIGEST_SIZE, _KEY_SIZE, _HEADER_SIZE = 32, 33, 80
_CHANGE_SCRIPT = b"\x00\x14"


@dataclass(frozen=True, slots=True)
class Coin:
    """An unspent output: transaction id as everybody writes it, output number, satoshi."""

    txid: str
    vout: int
    amount: int

    @property
    def wire(self) -> bytes:
        """How a transaction's input names it."""
        return bytes.fromhex(self.txid)[::-1] + self.vout.to_bytes(4, "little")


@dataclass(frozen=True, slots=True)
class Anchor:
    """What a signed transaction of ours says.

    `bare` are its bytes without witnesses, of which `digest_at` is the digest; `change` is the amount of output 1 and
    `script` what it is paid to, 0 and empty where there is none.  `key` is the public key that its inputs show.
    """

    bare: bytes
    inputs: tuple[bytes, ...]
    digest_at: slice
    change: int
    script: bytes
    key: bytes
    lock_time: int
    vsize: int

    @property
    def txid(self) -> str:
        """Its id as everybody writes it."""
        return double_sha256(self.bare)[::-1].hex()

    @property
    def digest(self) -> bytes:
        """The 32 bytes that it anchors."""
        return self.bare[self.digest_at]


@dataclass(frozen=True, slots=True)
class Payload:
    """A digest's signed transactions, the newest last; all spend `coins` and nothing else, so one at most is mined."""

    raws: tuple[bytes, ...]
    anchors: tuple[Anchor, ...]
    coins: tuple[Coin, ...]

    @property
    def newest(self) -> Anchor:
        """The one that pays most."""
        return self.anchors[-1]

    def fee(self, anchor: Anchor) -> int:
        """Return what one of them pays, in satoshi."""
        return sum(coin.amount for coin in self.coins) - anchor.change


@dataclass(frozen=True, slots=True)
class Spend:
    """Which coins an anchor spends, what it pays and what comes back; 0 for no change output."""

    coins: tuple[Coin, ...]
    fee: int
    change: int


def vsize(inputs: int, has_change: bool) -> int:
    """Return the most virtual bytes that an anchor of so many P2WPKH inputs has, with signatures of low R."""
    bare = 4 + 1 + 41 * inputs + 1 + 43 + 31 * has_change + 4
    return -(-(4 * bare + 2 + 107 * inputs) // 4)


def fee_of(rate: int, size: int) -> int:
    """Return the fee of so many virtual bytes at a rate in satoshi per 1,000 of them, rounded up."""
    return -(-rate * size // 1000)


def spend(coins: Sequence[Coin], rate: int, least: int = 0) -> Spend | None:
    """Return how these coins, all of them, pay for an anchor at a rate, but at least `least`; None where they cannot.

    Change below `DUST` goes to the fee.
    """
    amount = sum(coin.amount for coin in coins)
    fee = max(least, fee_of(rate, vsize(len(coins), has_change=True)))
    if amount - fee >= DUST:
        return Spend(tuple(coins), fee, amount - fee)
    bare = max(least, fee_of(rate, vsize(len(coins), has_change=False)))
    return Spend(tuple(coins), amount, 0) if amount >= bare else None


def choose(coins: Sequence[Coin], rate: int, cap: int) -> Spend | None:
    """Return how an anchor is paid at a rate out of as few coins as do it, the largest first; None where none do.

    What change too small to come back leaves to the fee may not bring that above the rate `cap`.
    """
    largest = sorted(coins, key=lambda coin: (-coin.amount, coin.txid, coin.vout))[:MOST_INPUTS]
    for count in range(1, len(largest) + 1):
        spent = spend(largest[:count], rate)
        if spent and spent.fee <= most_fee(spent, cap):
            return spent
    return None


def most_fee(spent: Spend, cap: int) -> int:
    """Return what a transaction may pay under a cap in satoshi per 1,000 vbytes."""
    return fee_of(cap, vsize(len(spent.coins), has_change=spent.change > 0))


def encode_payload(raws: Sequence[bytes], coins: Sequence[Coin]) -> bytes:
    """Return signed transactions of the same coins as they are stored."""
    return cbor.encode([list(raws), [coin.amount for coin in coins]])


def decode_payload(payload: bytes) -> Payload:
    """Read back what `encode_payload` wrote; `EncodingError` for anything else."""
    match cbor.decode(payload):
        case [[bytes(), *_] as raws, [int(), *_] as amounts]:
            pass
        case _:
            raise EncodingError("the payload is not [[transaction, …], [amount, …]]")
    if not all(type(raw) is bytes for raw in raws) or not all(type(a) is int and a >= 0 for a in amounts):
        raise EncodingError("the payload is not [[transaction, …], [amount, …]]")
    anchors = tuple(decode(raw) for raw in raws)
    first = anchors[0]
    if any((anchor.inputs, anchor.digest) != (first.inputs, first.digest) for anchor in anchors):
        raise EncodingError("the payload's transactions do not spend the same coins for the same digest")
    if len(amounts) != len(first.inputs):
        raise EncodingError(f"the payload has {len(amounts)} amounts for {len(first.inputs)} coins")
    coins = zip(first.inputs, amounts, strict=True)
    spent = tuple(Coin(wire[:32][::-1].hex(), int.from_bytes(wire[32:], "little"), amount) for wire, amount in coins)
    return Payload(tuple(raws), anchors, spent)


def decode(raw: bytes) -> Anchor:
    """Read a signed transaction in the one form that ours have; `EncodingError` for any other.

    Version 2; P2WPKH inputs; output 0 is OP_RETURN with 32 bytes, output 1, if any, the change.
    """
    reader = _Reader(raw)
    head = reader.take(6)
    if head != b"\x02\0\0\0\0\1":
        raise EncodingError("the payload is not a signed Bitcoin transaction of version 2")
    start = reader.at
    inputs = tuple(_input(reader) for _ in range(reader.few("inputs")))
    has_change = reader.few("outputs") == 2
    reader.expect(bytes(8) + bytes([len(_CARRIES) + _DIGEST_SIZE]) + _CARRIES, "output 0")
    digest_end = reader.skip(_DIGEST_SIZE)
    change, script = 0, b""
    if has_change:
        change, script = int.from_bytes(reader.take(8), "little"), reader.sized()
        if script[:2] != _CHANGE_SCRIPT or len(script) != 22:
            raise EncodingError("the payload's change goes to no P2WPKH address")
    end = reader.at
    key = {_key(reader) for _ in inputs}
    lock_time = reader.take(4)
    if reader.at != len(raw) or len(key) != 1:
        raise EncodingError("the payload's transaction does not end where it should, or is of several keys")
    bare = raw[:4] + raw[start:end] + lock_time
    shift = start - 4
    digest_at = slice(digest_end - _DIGEST_SIZE - shift, digest_end - shift)
    size = -(-(3 * len(bare) + len(raw)) // 4)
    number = int.from_bytes(lock_time, "little")
    return Anchor(bare, inputs, digest_at, change, script, key.pop(), number, size)


def merkle_ops(txids: Sequence[bytes], index: int) -> list[ots.Op]:
    """Return the operations that lead from a transaction's hash to its block's Merkle root, hashes as in headers.

    The last one of an odd level is paired with itself.
    """
    ops: list[ots.Op] = []
    level = list(txids)
    while len(level) > 1:
        level += level[-1:] if len(level) % 2 else []
        sibling = level[index ^ 1]
        ops += [ots.prepend(sibling) if index % 2 else ots.append(sibling), ots.HASH, ots.HASH]
        level = [double_sha256(left + right) for left, right in zip(level[::2], level[1::2], strict=True)]
        index //= 2
    return ops


def spends(block: bytes, coin: Coin) -> bool:
    """Say whether a transaction of a block, as the network serialises it, has a coin among its inputs.

    Bytes that name the coin elsewhere, such as in an output of a stranger's, spend nothing.  `EncodingError` for what
    is no block.
    """
    wire = coin.wire
    if wire not in block:
        return False
    reader = _Reader(block)
    reader.skip(_HEADER_SIZE)
    return any(wire in _inputs(reader) for _ in range(reader.number()))


def _inputs(reader: "_Reader") -> list[bytes]:
    """Read any transaction, and return what it spends."""
    reader.skip(4)
    count = reader.number()
    has_witness = count == 0  # where a count of inputs would be, the marker of BIP 144
    if has_witness:
        reader.skip(1)
        count = reader.number()
    found = []
    for _ in range(count):
        found.append(reader.take(36))
        reader.skip(reader.number())
        reader.skip(4)
    for _ in range(reader.number()):
        reader.skip(8)
        reader.skip(reader.number())
    for _ in found if has_witness else ():
        for _ in range(reader.number()):
            reader.skip(reader.number())
    reader.skip(4)
    return found


class _Reader:
    """Takes bytes off the front; `EncodingError` where there are none left."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.at = 0

    def take(self, count: int) -> bytes:
        return self._octets[self.at : self.skip(count)]

    def skip(self, count: int) -> int:
        if self.at + count > len(self._octets):
            raise EncodingError(f"the payload's transaction is cut short at byte {self.at}")
        self.at += count
        return self.at

    def number(self) -> int:
        """Take a number as Bitcoin writes counts and sizes."""
        first = self.take(1)[0]
        return first if first < 0xFD else int.from_bytes(self.take(1 << (first - 0xFC)), "little")

    def few(self, what: str) -> int:
        count = self.take(1)[0]
        most = MOST_INPUTS if what == "inputs" else 2
        if not 1 <= count <= most:
            raise EncodingError(f"the payload's transaction has {count} {what}; 1 to {most} are read")
        return count

    def expect(self, octets: bytes, what: str) -> None:
        if self.take(len(octets)) != octets:
            raise EncodingError(f"the payload's transaction has another {what} than an anchor has")

    def sized(self) -> bytes:
        return self.take(self.take(1)[0])


def _input(reader: _Reader) -> bytes:
    wire = reader.take(36)
    reader.expect(b"\0" + REPLACEABLE.to_bytes(4, "little"), "input")
    return wire


def _key(reader: _Reader) -> bytes:
    reader.expect(b"\2", "witness")
    reader.sized()
    key = reader.sized()
    if len(key) != _KEY_SIZE:
        raise EncodingError(f"the payload's transaction shows a key of {len(key)} bytes, not {_KEY_SIZE}")
    return key
