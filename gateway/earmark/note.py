"""C2SP signed notes: text, signature lines, key ids and verifier keys, docs/protocol.md §5.1 and §5.4."""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from earmark.cose import is_point
from earmark.errors import EncodingError

ED25519 = 1
"""The type byte of a log's key: plain Ed25519 over the text."""
COSIGNATURE = 4
"""The type byte of a witness' key: timestamped Ed25519 (tlog-cosignature)."""
MOST_NAME = 128
MOST_SIGNATURES = 32
"""Signature lines of a note that is read at all; the specification wants at least 16."""

_KINDS = {ED25519: "a log's", COSIGNATURE: "a witness'"}
_DASH = "\u2014 "
_NAME = re.compile(r"[!-*,-~]{1,128}")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,19}")
_HEX = re.compile(r"[0-9a-f]{8}")
_CONTROL = re.compile(r"[\0-\x09\x0b-\x1f]")


def check_key_name(name: str) -> None:
    """Raise `EncodingError` unless this can name a key: 1 to 128 visible ASCII characters other than `+`."""
    if not _NAME.fullmatch(name):
        raise EncodingError(f"{name[:140]!r} cannot name a key: 1 to {MOST_NAME} visible ASCII characters without +")


def key_id(name: str, kind: int, key: bytes) -> bytes:
    """Return the 4-byte id of a key under its name and type byte."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + key).digest()[:4]


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key with its name and type byte, as a note's reader is configured with it."""

    name: str
    kind: int
    key: bytes

    @property
    def id(self) -> bytes:
        """The 4-byte key id."""
        return key_id(self.name, self.kind, self.key)

    def encode(self) -> str:
        """Return the text form: name, key id and key, joined by `+`."""
        return f"{self.name}+{self.id.hex()}+{b64(bytes([self.kind]) + self.key)}"


def decode_verifier_key(text: str, kind: int) -> VerifierKey:
    """Decode the text form of an Ed25519 key of this type; `EncodingError` unless it is canonical and fits its id."""
    name, _, rest = text.partition("+")
    identifier, plus, encoded = rest.partition("+")
    if not (plus and _HEX.fullmatch(identifier)):
        raise EncodingError(f"{text[:200]!r} is not a verifier key: NAME+8 hexadecimal digits+base64")
    check_key_name(name)
    octets = unb64(encoded, 33, "a verifier key")
    found = VerifierKey(name, octets[0], octets[1:])
    if found.kind != kind:
        what = _KINDS.get(found.kind, f"one of type {found.kind}")
        raise EncodingError(f"the key of {name} is {what}; {_KINDS[kind]} is needed here (type {kind})")
    if found.id.hex() != identifier:
        raise EncodingError(f"the key of {name} has not the id {identifier} that it is written with: copied in part?")
    if not is_point(found.key):
        raise EncodingError(f"the key of {name} is not an Ed25519 key")
    return found


@dataclass(frozen=True, slots=True)
class Note:
    """A note: `text` with its last line end, and (name, key id ‖ signature) of each signature line."""

    text: bytes
    signatures: tuple[tuple[str, bytes], ...]


def decode_note(encoded: bytes) -> Note:
    """Decode any signed note with 1 to 32 signature lines; `EncodingError` otherwise.  Verifies nothing."""
    try:
        whole = encoded.decode()
    except UnicodeDecodeError as error:
        raise EncodingError("a note that is not UTF-8") from error
    at = whole.rfind("\n\n")
    if at < 0 or not whole.endswith("\n") or _CONTROL.search(whole):
        raise EncodingError("a note is text, an empty line and signature lines, each ended by a line feed")
    lines = whole[at + 2 : -1].split("\n")
    if len(lines) > MOST_SIGNATURES:
        raise EncodingError(f"a note with {len(lines)} signature lines; at most {MOST_SIGNATURES} are read")
    return Note(whole[: at + 1].encode(), tuple(map(decode_line, lines)))


def encode_line(name: str, blob: bytes) -> str:
    """Return the signature line of a name and of key id ‖ signature, with its line end."""
    return f"{_DASH}{name} {b64(blob)}\n"


def decode_line(line: str) -> tuple[str, bytes]:
    """Decode a signature line without its line end into (name, key id ‖ signature); `EncodingError` otherwise."""
    name, blank, encoded = line.removeprefix(_DASH).partition(" ")
    if not (line.startswith(_DASH) and blank and name) or "+" in name or any(map(str.isspace, name)):
        raise EncodingError(f"{line[:60]!r} is not a signature line: a dash, a name and base64")
    blob = unb64(encoded, None, "a signature line")
    if len(blob) < 5:
        raise EncodingError("a signature line without a signature")
    return name, blob


def b64(octets: bytes) -> str:
    """Return base64 with padding."""
    return base64.b64encode(octets).decode()


def unb64(text: str, size: int | None, what: str) -> bytes:
    """Decode base64 in its canonical form, of this many bytes where a size is given; `EncodingError` otherwise."""
    try:
        octets = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise EncodingError(f"{what} with base64 that is none") from error
    if b64(octets) != text or size not in (None, len(octets)):
        of = "" if size is None else f" of {size} bytes"
        raise EncodingError(f"{what} with base64 that is not the canonical form{of}")
    return octets


def decimal(text: str, what: str) -> int:
    """Decode a decimal number of at most 20 digits without leading zeros; `EncodingError` otherwise."""
    if not _DECIMAL.fullmatch(text):
        raise EncodingError(f"{what} with {text[:30]!r} where a decimal number stands")
    return int(text)
