"""What the operator says of a release, and its manifest, as a node must see them before it takes a byte (protocol.md
§10.3)."""

from collections import namedtuple

import cbor
import cose
import ed25519
import identity
import statement

MANIFEST = "release.cbor"
MAX_SIZE = 8192
HEAD_SIZE = 128  # bytes, in which all of a manifest but its files lies

_MAX_FILES = 128
_NAME = "abcdefghijklmnopqrstuvwxyz0123456789-"
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789_"

# What an operator's statement asks for; `entry` names the statement.
Update = namedtuple("Update", ("entry", "number", "version", "target", "digest", "size"))
# `files` is [[path, size, SHA-256], ...].
Manifest = namedtuple("Manifest", ("number", "version", "target", "mpy", "files"))


def update(raw, operator, origin, name, target):
    """The `Update` that a statement of the operator says is for this node; None where it is for others.

    `ValueError` where it is not a statement of this operator's, or none of the form.
    """
    if len(raw) > statement.MAX_SIZE:
        raise ValueError("an update of more than %d bytes" % statement.MAX_SIZE)
    protected, content, signature = cose.decode_sign1(raw)
    header = cbor.decode(protected)
    claims = header.get(cose.CLAIMS) if isinstance(header, dict) else None
    if not isinstance(header, dict) or not isinstance(claims, dict) or header.get(cose.CONTENT_TYPE) != statement.BODY:
        raise ValueError("an update that is no statement")
    if claims.get(1) != identity.did(operator) or claims.get(2) != "registry" or header.get(cose.ALG) not in (-8, -19):
        raise ValueError("an update by another than the operator")
    ed25519.verify(operator, cose.signed_bytes(protected, content), signature)
    body = cbor.decode(content)
    if not isinstance(body, dict) or set(body) != set(range(8)) or body[0] != "update":
        raise ValueError("the operator's, but no update")
    _, number, version, meant, digest, size, log, names = [body[label] for label in range(8)]
    shaped = cbor.is_uint(number, 1 << 32) and number and cbor.is_uint(size, MAX_SIZE + 1) and size
    if not shaped or not isinstance(digest, bytes) or len(digest) != 32 or not isinstance(names, list):
        raise ValueError("an update that is not of the form")
    if log != origin or meant != target or (names and name not in names):
        return None
    return Update(statement.entry(raw), number, version, meant, digest, size)


def manifest(raw):
    """The `Manifest` in these bytes; `ValueError` where they are none."""
    fields = cbor.decode(raw) if len(raw) <= MAX_SIZE else None
    if not isinstance(fields, dict) or set(fields) != set(range(1, 6)):
        raise ValueError("a manifest is a map of the labels 1 to 5")
    number, version, target, mpy, files = [fields[label] for label in range(1, 6)]
    numbers = cbor.is_uint(number, 1 << 32) and number and cbor.is_uint(mpy, 1 << 32)
    texts = isinstance(version, str) and 1 <= len(version.encode()) <= 32 and isinstance(target, str)
    if not numbers or not texts or not isinstance(files, list) or not 1 <= len(files) <= _MAX_FILES:
        raise ValueError("a manifest that is not of the form")
    if not 1 <= len(target) <= 32 or any(letter not in _NAME for letter in target):
        raise ValueError("a manifest whose target is no name")
    last = ""
    for row in files:
        if not isinstance(row, list) or len(row) != 3 or not isinstance(row[0], str) or not last < row[0]:
            raise ValueError("a manifest's files are [path, size, SHA-256], ascending")
        last, size, digest = row
        if not _is_path(last) or not cbor.is_uint(size, (1 << 20) + 1) or not isinstance(digest, bytes):
            raise ValueError("a manifest with the file " + last[:60])
        if len(digest) != 32:
            raise ValueError("a manifest without the SHA-256 of " + last)
    return Manifest(number, version, target, mpy, files)


def head(raw):
    """The `Manifest` that begins with these bytes, its files left out: they take more memory than a board has to spare.

    `ValueError` where none begins so.  The rest was checked before it was written.
    """
    reader = cbor.Reader(raw)
    if reader.head() != (5, 5):
        raise ValueError("a manifest is a map of the labels 1 to 5")
    fields = [reader.item(0) for _ in range(8)]
    number, version, target, mpy = fields[1::2]
    texts = isinstance(version, str) and isinstance(target, str)
    if fields[::2] != [1, 2, 3, 4] or not texts or not cbor.is_uint(number, 1 << 32) or not cbor.is_uint(mpy, 1 << 32):
        raise ValueError("a manifest that is not of the form")
    return Manifest(number, version, target, mpy, None)


def _is_path(path):
    parts = path.split("/")
    name, _, kind = parts[-1].rpartition(".")
    words = parts[:-1]
    words.append(name)
    letters = all(word and all(letter in _LETTERS for letter in word) for word in words)
    return len(path) <= 48 and len(parts) <= 2 and kind in ("mpy", "py") and letters


def loads(mpy, own):
    """Whether an interpreter whose `_mpy` is `own` takes files of `mpy`: sources, or its own format and native code."""
    return mpy == 0 or (own != 0 and mpy & 0x3FFF == own & 0x3FFF)
