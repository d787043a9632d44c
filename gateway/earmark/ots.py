"""OpenTimestamps: operations that lead from a digest to attestations, and the `.ots` file, docs/protocol.md §7.2.

Our own small codec, so that whoever checks a proof needs no other: what it writes the stock client reads.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from earmark.errors import EncodingError

MAGIC = bytes.fromhex("004f70656e54696d657374616d7073000050726f6f6600bf89e2e884e89294")
FILE_VERSION = 1

APPEND, PREPEND, SHA256 = 0xF0, 0xF1, 0x08
_BINARY = frozenset({APPEND, PREPEND})
_UNARY = frozenset({0x02, 0x03, SHA256, 0x67, 0xF2, 0xF3})  # SHA-1, RIPEMD-160, SHA-256, Keccak-256, reverse, hex
_FORK, _ATTESTATION = 0xFF, 0x00

BITCOIN = bytes.fromhex("0588960d73d71901")
PENDING = bytes.fromhex("83dfe30d2ef90c8e")

MAX_SIZE = 65_536
MAX_MESSAGE = 4_096
MAX_DEPTH = 256
MAX_PAYLOAD = 8_192
MAX_BRANCHES = 64
MAX_URI = 1_000
_URI_LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._/:")

Op = tuple[int, bytes]
"""An operation's tag and its argument, which is empty but for append and prepend."""

HASH: Op = (SHA256, b"")


@dataclass(frozen=True, slots=True)
class Attestation:
    """What is said of the message at the end of a branch: a tag of 8 bytes and its payload."""

    tag: bytes
    payload: bytes

    @property
    def height(self) -> int | None:
        """The Bitcoin block whose Merkle root the message is said to be; None for any other attestation."""
        return _whole_number(self.payload) if self.tag == BITCOIN else None

    @property
    def uri(self) -> str | None:
        """The calendar that is to be asked for the message; None for any other attestation."""
        return _uri(self.payload) if self.tag == PENDING else None


@dataclass(frozen=True, slots=True)
class Branch:
    """One way through a timestamp: its operations in order, and what is attested of their result."""

    ops: tuple[Op, ...]
    attestation: Attestation


def bitcoin(height: int) -> Attestation:
    """Return the attestation that a message is the Merkle root of this Bitcoin block."""
    return Attestation(BITCOIN, _varuint(height))


def pending(uri: str) -> Attestation:
    """Return the attestation that a calendar at this address will have more to say; `EncodingError` for a bad one."""
    octets = uri.encode()
    payload = _varuint(len(octets)) + octets
    _uri(payload)
    return Attestation(PENDING, payload)


def append(octets: bytes) -> Op:
    """Return the operation that puts bytes behind the message."""
    return APPEND, octets


def prepend(octets: bytes) -> Op:
    """Return the operation that puts bytes before the message."""
    return PREPEND, octets


def around(octets: bytes, part: slice) -> tuple[Op, Op]:
    """Return the operations that make these bytes of the part of them."""
    return prepend(octets[: part.start]), append(octets[part.stop :])


def commit(message: bytes, ops: Sequence[Op]) -> bytes:
    """Return what a message becomes; `EncodingError` for operations other than append, prepend and SHA-256.

    Those are all that calendars use.  Weaker hashes would let somebody make two messages of one result.
    """
    for tag, argument in ops:
        if tag == SHA256:
            message = hashlib.sha256(message).digest()
        elif tag in _BINARY:
            message = message + argument if tag == APPEND else argument + message
        else:
            raise EncodingError(f"a timestamp with operation {tag:02x}; append, prepend and SHA-256 are read")
        if len(message) > MAX_MESSAGE:
            raise EncodingError(f"a timestamp whose message grows beyond {MAX_MESSAGE} bytes")
    return message


def encode(branches: Sequence[Branch]) -> bytes:
    """Return a timestamp; branches that begin with the same operations share them."""
    if not branches:
        raise EncodingError("a timestamp without an attestation")
    return _encode([(branch.ops, branch.attestation) for branch in branches])


def decode(encoded: bytes) -> list[Branch]:
    """Decode a timestamp into its branches, in the order of the bytes; `EncodingError` unless it is whole and bounded.

    At most `MAX_SIZE` bytes, `MAX_DEPTH` operations and `MAX_BRANCHES` attestations.
    """
    if len(encoded) > MAX_SIZE:
        raise EncodingError(f"a timestamp of {len(encoded)} bytes; at most {MAX_SIZE} are read")
    reader = _Reader(encoded)
    branches = list(_branches(reader, ()))
    if reader.at != len(encoded):
        raise EncodingError(f"a timestamp with {len(encoded) - reader.at} bytes left over")
    return branches


def encode_file(digest: bytes, branches: Sequence[Branch]) -> bytes:
    """Return the `.ots` file for a file whose SHA-256 is `digest`."""
    if len(digest) != 32:
        raise EncodingError(f"a digest of {len(digest)} bytes, SHA-256 has 32")
    return MAGIC + _varuint(FILE_VERSION) + bytes([SHA256]) + digest + encode(branches)


def decode_file(encoded: bytes) -> tuple[bytes, list[Branch]]:
    """Return the SHA-256 that a `.ots` file is about, and its branches; `EncodingError` for anything else."""
    head = MAGIC + _varuint(FILE_VERSION) + bytes([SHA256])
    if not encoded.startswith(head) or len(encoded) < len(head) + 32:
        raise EncodingError("not an OpenTimestamps file of version 1 over a SHA-256")
    end = len(head) + 32
    return encoded[len(head) : end], decode(encoded[end:])


def _encode(branches: Sequence[tuple[tuple[Op, ...], Attestation]]) -> bytes:
    pieces = [_leaf(attestation) for ops, attestation in branches if not ops]
    groups: dict[Op, list[tuple[tuple[Op, ...], Attestation]]] = {}
    for ops, attestation in branches:
        if ops:
            groups.setdefault(ops[0], []).append((ops[1:], attestation))
    for (tag, argument), rest in groups.items():
        operand = _varuint(len(argument)) + argument if tag in _BINARY else b""
        pieces.append(bytes([tag]) + operand + _encode(rest))
    return b"".join(bytes([_FORK]) + piece for piece in pieces[:-1]) + pieces[-1]


def _leaf(attestation: Attestation) -> bytes:
    return bytes([_ATTESTATION]) + attestation.tag + _varuint(len(attestation.payload)) + attestation.payload


class _Reader:
    """Takes bytes off the front, in bounds."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.at = 0
        self.left = MAX_BRANCHES

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self._octets):
            raise EncodingError(f"a timestamp cut short at byte {self.at}")
        octets, self.at = self._octets[self.at : end], end
        return octets

    def number(self) -> int:
        """Read a number of at most 63 bits, in its shortest form."""
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 56:
                raise EncodingError(f"a timestamp with a number of more than 63 bits at byte {self.at}")
        if byte == 0 and shift:
            raise EncodingError(f"a timestamp with a number not in its shortest form at byte {self.at}")
        return value

    def sized(self, least: int, most: int) -> bytes:
        size = self.number()
        if not least <= size <= most:
            raise EncodingError(f"a timestamp with {size} bytes at {self.at}, where {least} to {most} may be")
        return self.take(size)


def _branches(reader: _Reader, before: tuple[Op, ...]) -> Iterator[Branch]:
    """Give the branches that begin with the operations `before`."""
    if len(before) > MAX_DEPTH:
        raise EncodingError(f"a timestamp with more than {MAX_DEPTH} operations one after another")
    is_last = False
    while not is_last:
        tag = reader.take(1)[0]
        is_last = tag != _FORK
        if not is_last:
            tag = reader.take(1)[0]
        if tag == _ATTESTATION:
            reader.left -= 1
            if reader.left < 0:
                raise EncodingError(f"a timestamp with more than {MAX_BRANCHES} attestations")
            yield Branch(before, Attestation(reader.take(8), reader.sized(0, MAX_PAYLOAD)))
        elif tag in _BINARY:
            yield from _branches(reader, (*before, (tag, reader.sized(1, MAX_MESSAGE))))
        elif tag in _UNARY:
            yield from _branches(reader, (*before, (tag, b"")))
        else:
            raise EncodingError(f"a timestamp with unknown operation {tag:02x} at byte {reader.at - 1}")


def _varuint(value: int) -> bytes:
    octets = bytearray()
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def _whole_number(payload: bytes) -> int:
    reader = _Reader(payload)
    value = reader.number()
    if reader.at != len(payload):
        raise EncodingError("a Bitcoin attestation that is more than a height")
    return value


def _uri(payload: bytes) -> str:
    reader = _Reader(payload)
    octets = reader.sized(1, MAX_URI)
    if reader.at != len(payload) or not _URI_LETTERS.issuperset(octets):
        raise EncodingError("a pending attestation whose calendar is not a plain address")
    return octets.decode()
