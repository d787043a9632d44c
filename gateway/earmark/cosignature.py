"""C2SP tlog-cosignature: what a witness signs of a log's checkpoint, docs/protocol.md §5.4.

A witness signs, with its own time, that a checkpoint continues every one that it signed before.  Nothing here does I/O
or reads a clock.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from earmark import cose
from earmark.errors import BadSignature, EncodingError
from earmark.note import COSIGNATURE, VerifierKey, check_key_name, decimal, decode_line, encode_line, key_id, unb64

MOST = 16
"""Cosignature lines of a checkpoint in a proof file."""
MOST_SIZE = (1 << 63) - 1
MOST_TIME_S = (1 << 63) - 1

_BLOB = struct.Struct(">4sQ64s")
_LINES = 6
"""Lines of a checkpoint of ours up to the gateway's signature (§5.1)."""


@dataclass(frozen=True, slots=True)
class Cosignature:
    """One witness' signature over a checkpoint's text, made at `time_s` of its own clock."""

    name: str
    key_id: bytes
    time_s: int
    signature: bytes

    @property
    def place(self) -> tuple[bytes, bytes]:
        """What cosignatures are ordered by."""
        return self.name.encode(), self.key_id

    def encode(self) -> str:
        """Return the signature line, with its line end."""
        return encode_line(self.name, _BLOB.pack(self.key_id, self.time_s, self.signature))

    def is_by(self, witness: VerifierKey) -> bool:
        """Say whether it is under this witness' name and key id; no proof that the witness made it."""
        return (self.name, self.key_id) == (witness.name, witness.id)

    def verify(self, witness: VerifierKey, text: bytes) -> None:
        """Raise `BadSignature` unless this witness made it over this text of a checkpoint."""
        if not self.is_by(witness):
            raise BadSignature(f"a cosignature by {self.name} {self.key_id.hex()}, not by {witness.encode()}")
        try:
            cose.verify(witness.key, _message(self.time_s, text), self.signature)
        except BadSignature as error:
            raise BadSignature(f"the cosignature of {self.name} does not verify under its key") from error


def _message(time_s: int, text: bytes) -> bytes:
    return b"cosignature/v1\ntime %d\n" % time_s + text


def cosign(signer: cose.Signer, name: str, text: bytes, time_s: int) -> Cosignature:
    """Sign a checkpoint's text (up to and including the line end before the empty line) as the witness `name`.

    Only a witness may call this that has stored the checkpoint as its newest, synced; `time_s` is 1 … 2^63−1.
    """
    assert 0 < time_s <= MOST_TIME_S
    return Cosignature(name, key_id(name, COSIGNATURE, signer.key), time_s, signer.sign(_message(time_s, text)))


def decode_cosignature(line: str) -> Cosignature:
    """Decode a signature line without its line end; `EncodingError` unless it is a canonical Ed25519 cosignature's."""
    name, blob = decode_line(line)
    check_key_name(name)
    if len(blob) != _BLOB.size:
        raise EncodingError(f"a cosignature line of {len(blob)} bytes; key id, time and signature are {_BLOB.size}")
    found = Cosignature(name, *_BLOB.unpack(blob))
    if not 0 < found.time_s <= MOST_TIME_S:
        raise EncodingError(f"a cosignature of {name} at {found.time_s} s; it is 1 to 2^63 - 1")
    return found


def find(lines: str, witness: VerifierKey) -> Cosignature | None:
    """Return a witness' own among signature lines, as it answers with them; others are passed over.

    `EncodingError` where they are no signature lines, or the witness' own is no cosignature.
    """
    for line in lines.removesuffix("\n").split("\n"):
        name, blob = decode_line(line)
        if (name, blob[:4]) == (witness.name, witness.id):
            return decode_cosignature(line)
    return None


def join(checkpoint: bytes, cosignatures: Iterable[Cosignature]) -> bytes:
    """Return a checkpoint of one signature line with these after it, in the order of a proof file, at most 16."""
    ordered = sorted(cosignatures, key=lambda each: each.place)[:MOST]
    return checkpoint + "".join(each.encode() for each in ordered).encode()


def split(encoded: bytes) -> tuple[bytes, tuple[Cosignature, ...]]:
    """Return a proof file's checkpoint with the gateway's line only, and the cosignatures that follow that one.

    `EncodingError` where those are more than 16, not ascending by (name, key id), or not canonical.  The checkpoint
    itself is not looked at.
    """
    parts = encoded.split(b"\n", _LINES)
    rest = parts.pop() if len(parts) > _LINES else b""
    if not rest:
        return encoded, ()
    if not rest.endswith(b"\n") or rest.count(b"\n") > MOST:
        raise EncodingError(f"a checkpoint with more than {MOST} cosignature lines, or a last one without its end")
    try:
        found = tuple(map(decode_cosignature, rest[:-1].decode().split("\n")))
    except UnicodeDecodeError as error:
        raise EncodingError("a cosignature line that is not UTF-8") from error
    if any(a.place >= b.place for a, b in pairwise(found)):
        raise EncodingError("cosignature lines that are not ascending by name and key id, or twice the same")
    return encoded[: -len(rest)], found


@dataclass(frozen=True, slots=True)
class TreeHead:
    """The three lines that every C2SP tlog-checkpoint begins with."""

    origin: str
    size: int
    root: bytes


def decode_tree_head(text: bytes) -> TreeHead:
    """Decode the text of any log's checkpoint, extension lines passed over; `EncodingError` unless it is one."""
    try:
        lines = text.decode().split("\n")
    except UnicodeDecodeError as error:
        raise EncodingError("a checkpoint that is not UTF-8") from error
    if len(lines) < 4 or not all(lines[:-1]) or lines[-1]:
        raise EncodingError("a checkpoint is three lines or more, none of them empty")
    size = decimal(lines[1], "a checkpoint")
    if size > MOST_SIZE:
        raise EncodingError(f"a checkpoint of {size} leaves; at most 2^63 - 1 are taken")
    return TreeHead(lines[0], size, unb64(lines[2], 32, "a checkpoint"))
