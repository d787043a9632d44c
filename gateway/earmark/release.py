"""Releases of the node firmware: their manifest, and how a node asks for one piece by piece, docs/protocol.md §10.3."""

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from earmark import cbor
from earmark.body import MAX_MANIFEST, check_name
from earmark.errors import EncodingError

MANIFEST = "release.cbor"
"""The name of the manifest beside the files."""

MOST_FILES = 128
MAX_PATH = 48
MAX_FILE = 1 << 20
MAX_PIECE = 4096

_BOARDS = (
    ("esp32: .*ESP32C", ("esp32-c3",)),
    ("esp32: ", ("esp32",)),
    ("rp2: .*RP2040", ("pico-w",)),
    ("rp2: .*RP2350", ("pico-2-w",)),
    ("[^,:]+, (micropython|cpython) ", ("linux", "linux-x86", "linux-x64")),
)
"""What begins the board of a boot statement of Earmark's own firmware, and the targets that it may be of."""

_PATH = re.compile(r"(?:[a-z0-9_]+/)?[a-z0-9_]+\.(?:mpy|py)")
_VERSION = 1


@dataclass(frozen=True, slots=True)
class File:
    """One file of a release: its path below the slot, with at most one folder, its size and SHA-256."""

    path: str
    size: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Manifest:
    """A release: `number` counts up and never down, `target` names the boards, `mpy` the compiled files' format and
    architecture as MicroPython's `sys.implementation._mpy` has them, 0 for sources.
    """

    number: int
    version: str
    target: str
    mpy: int
    files: tuple[File, ...]

    def encode(self) -> bytes:
        """Return the manifest's bytes; `EncodingError` where a reader would refuse them."""
        files = [[file.path, file.size, file.digest] for file in self.files]
        raw = cbor.encode({1: self.number, 2: self.version, 3: self.target, 4: self.mpy, 5: files})
        decode(raw)
        return raw


@dataclass(frozen=True, slots=True)
class Wanted:
    """A node asks which update of its target is above release `above`."""

    target: str
    above: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A node asks for at most `most` bytes from `offset` on of the file with this SHA-256."""

    digest: bytes
    offset: int
    most: int


def decode(raw: bytes) -> Manifest:
    """Decode a manifest; `EncodingError` names the first thing that is not the format."""
    if len(raw) > MAX_MANIFEST:
        raise EncodingError(f"{len(raw)} bytes; a manifest has at most {MAX_MANIFEST}")
    fields = cbor.decode(raw)
    if type(fields) is not dict or [type(fields.get(label)) for label in range(1, 6)] != [int, str, str, int, list]:
        raise EncodingError("not a map of the labels 1 to 5: number, version, target, mpy, files")
    number, version, target, mpy, rows = (fields[label] for label in range(1, 6))
    if len(fields) != 5 or not 0 < number < 1 << 32 or not 0 <= mpy < 1 << 32 or not 1 <= len(version.encode()) <= 32:
        raise EncodingError("a release's number, version or mpy that is out of bounds, or a further label")
    if not 1 <= len(rows) <= MOST_FILES:
        raise EncodingError(f"a release of {len(rows)} files; it has 1 to {MOST_FILES}")
    files = tuple(map(_file, rows))
    paths = [file.path for file in files]
    if sorted(set(paths)) != paths:
        raise EncodingError("files that are not ascending by path, or twice the same")
    return Manifest(number, version, check_name(target), mpy, files)


def _file(row: Any) -> File:
    if type(row) is not list or [type(part) for part in row] != [str, int, bytes]:
        raise EncodingError("a file that is not [path, size, SHA-256]")
    path, size, digest = row
    if len(path) > MAX_PATH or not _PATH.fullmatch(path):
        raise EncodingError(f"{path[:60]!r} is not the path of a file of a release")
    if not 0 <= size <= MAX_FILE or len(digest) != 32:
        raise EncodingError(f"{path}: a size or digest that is out of bounds")
    return File(path, size, digest)


def sha256(octets: bytes) -> bytes:
    """Return the digest under which a file is asked for."""
    return hashlib.sha256(octets).digest()


def decode_ask(raw: bytes) -> Wanted | Piece:
    """Decode what a node asks; `EncodingError` where it is not of the form."""
    if len(raw) > 64:
        raise EncodingError("more than 64 bytes")
    fields = cbor.decode(raw)
    kinds = [type(part) for part in fields] if type(fields) is list else []
    if kinds == [int, str, int] and fields[0] == _VERSION and 0 <= fields[2] < 1 << 32:
        return Wanted(check_name(fields[1]), fields[2])
    if kinds == [int, bytes, int, int] and fields[0] == _VERSION and len(fields[1]) == 32:
        ask = Piece(*fields[1:])
        if 0 <= ask.offset <= MAX_FILE and 1 <= ask.most <= MAX_PIECE:
            return ask
    raise EncodingError("neither [1, target, number] nor [1, SHA-256, offset, most]")


def encode_ask(ask: Wanted | Piece) -> bytes:
    """Return the bytes of an ask."""
    if isinstance(ask, Wanted):
        return cbor.encode([_VERSION, ask.target, ask.above])
    return cbor.encode([_VERSION, ask.digest, ask.offset, ask.most])


def answer_piece(ask: Piece, piece: bytes) -> bytes:
    """Return the answer to an ask for a piece; an empty one says that there is no such byte here."""
    return cbor.encode([_VERSION, ask.digest, ask.offset, piece])


def targets_of(board: str) -> tuple[str, ...]:
    """Return the targets that a node may be of by its boot statement's board; none where that is not of ours."""
    return next((targets for words, targets in _BOARDS if re.match(words, board)), ())
