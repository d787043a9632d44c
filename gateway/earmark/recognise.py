"""Recognise the common form of a statement in one pass: readings of a node whose clock is set, docs/protocol.md §3.

A regular expression over the bytes takes a twentieth of the time that decoding takes, so that the signature is what an
arriving statement costs.  It knows less than the format: what it does not recognise, `statement.decode` judges, and
what it recognises `decode` accepts with the same claims.  Outside it are bodies, clocks that are not set, numbers of
2^32 and more, relative times that are not whole or go back, text that is not short ASCII, and packs of more than 32
records or less than 24 bytes.
"""

import re
from functools import lru_cache
from hashlib import sha256
from itertools import product

from earmark import cbor, cose
from earmark.errors import EncodingError
from earmark.statement import READINGS, Claims, decode

MOST_RECORDS = 32
KEPT_SIGNERS = 16_384

_TAIL = 66  # 58 40 and the signature


def _any(*forms: bytes) -> bytes:
    return b"(?:" + b"|".join(forms) + b")"


def _text(letters: bytes, shortest: int, longest: int) -> bytes:
    """Match a text of one-byte letters, each length under its own prefix."""
    sizes = range(shortest, longest + 1)
    prefixes = (bytes([0x60 + size]) if size < 24 else bytes([0x78, size]) for size in sizes)
    return _any(*(re.escape(prefix) + letters + b"{%d}" % size for prefix, size in zip(prefixes, sizes, strict=True)))


_UINT = _any(rb"[\x00-\x17]", rb"\x18[\x18-\xff]", rb"\x19(?!\x00).{2}", rb"\x1a(?!\x00\x00).{4}")
_NINT = _any(rb"[\x20-\x37]", rb"\x38[\x18-\xff]", rb"\x39(?!\x00).{2}", rb"\x3a(?!\x00\x00).{4}")
_INT = _any(_UINT, _NINT)
_ASCII = _text(rb"[\x20-\x7e]", 0, 23)

_STATEMENT = re.compile(
    rb"\xd2\x84\x58.(?P<protected>\xa4\x01[\x27\x32]\x03\x18\x70\x04\x48(?P<kid>.{8})\x0f(?:\xa7|(?P<eight>\xa8))"
    rb"\x01\x78\x38(?P<did>did:key:z[1-9A-Za-z]{47})\x02(?![\x61-\x77]-|\x78.-)(?P<sub>" + _text(rb"[a-z0-9\-]", 1, 32)
    + rb")\x06(?P<iat>" + _UINT + rb")(?(eight)\x0a\x50(?P<beacon>.{16}))\x19\x01\x0b" + _UINT
    + rb"\x3a\x00\x01\x00\x00\x82(?!\x00)(?P<seq>" + _UINT + rb")\x58\x20(?P<prev>.{32})"
    rb"\x3a\x00\x01\x00\x01\x83(?P<source>[\x01-\x04])(?P<error>" + _UINT + rb")" + _UINT
    + rb"\x3a\x00\x01\x00\x02(?P<method>[\x00-\x02]))"
    rb"\xa0(?P<head>\x58[\x18-\xff]|\x59(?!\x00)..)(?P<count>[\x81-\x97]|\x98[\x18-\x20])",
    re.DOTALL,
)  # fmt: skip
_BEGINNING = re.compile(
    rb"\xd2\x84\x58.\xa4\x01[\x27\x32]\x03\x18\x70\x04\x48.{8}\x0f[\xa7\xa8]\x01\x78\x38did:key:z", re.DOTALL
)
_CLAIMS = ("did", "kid", "sub", "iat", "beacon", "seq", "prev", "source", "error", "method", "head", "count")

_VALUE = _any(rb"\x02(?:\xc4\x82[\x20-\x31])?" + _INT, rb"\x03" + _ASCII, rb"\x04[\xf4\xf5]")
_NAME = (rb"\x00" + _text(rb"[A-Za-z0-9\-:./_]", 0, 23), b"")
_UNIT = (rb"\x01" + _ASCII, b"")
_TIME = (rb"\x06" + _UINT, b"")


def _fields(more: int) -> bytes:
    """Match name, unit, value and time, the value alone needed, under the count that they make with `more`."""
    forms = []
    for name, unit, time in product(_NAME, _UNIT, _TIME):
        count = more + 1 + sum(map(bool, (name, unit, time)))
        forms.append(re.escape(bytes([0xA0 + count])) + name + unit + _VALUE + time)
    return _any(*forms)


_BASE = rb"\x21(?P<base>" + _text(rb"[a-z0-9\-/]", 2, 33) + rb")\x22\x1a[\x10-\xff].{3}(?(unit)\x23" + _ASCII + rb")"
_FIRST = _any(rb"(?P<unit>" + _fields(3) + rb")", _fields(2)) + _BASE
_NEXT = _fields(0)


@lru_cache(MOST_RECORDS)
def _pack(count: bytes) -> re.Pattern[bytes]:
    """Return the pattern of a pack under its array head."""
    records = count[0] - 0x80 if len(count) == 1 else count[1]
    return re.compile(re.escape(count) + _FIRST + _NEXT + b"{%d}" % (records - 1), re.DOTALL)


@lru_cache(KEPT_SIGNERS)
def _signer(did: bytes, kid: bytes, sub: bytes) -> tuple[bytes, str, bytes] | None:
    """Return the key, the name, and the encoded base name of its packs; None where the kid or the did is wrong."""
    try:
        key = cose.key_of(did.decode())
    except EncodingError:
        return None
    if kid != cose.kid(key):
        return None
    name = sub[2 if sub[0] == 0x78 else 1 :].decode()
    return key, name, cbor.encode(name + "/")


def recognise(raw: bytes) -> tuple[Claims, bytes] | None:
    """Return a statement's claims, and what its last 64 bytes sign; None where `decode` has to judge."""
    found = _STATEMENT.match(raw)
    if found is None:
        return None
    did, kid, sub, iat, beacon, seq, prev, source, error_s, method, head, count = found.group(*_CLAIMS)
    end, start, number = found.end("protected"), found.start("count"), int.from_bytes
    tail = len(raw) - _TAIL
    if raw[3] != end - 4 or number(head[1:]) != tail - start or raw[tail : tail + 2] != b"\x58\x40":
        return None
    signer = _signer(did, kid, sub)
    pack = _pack(count).fullmatch(raw, start, tail)
    if signer is None or pack is None or pack["base"] != signer[2]:
        return None
    entry = sha256(raw).digest()
    clock = source[0], number(error_s[1:] or error_s)
    issued_at_s, place = number(iat[1:] or iat), number(seq[1:] or seq)
    claims = Claims(signer[0], signer[1], issued_at_s, place, prev, entry, READINGS, method[0], beacon, clock)
    return claims, cose.SIG_STRUCTURE + raw[2:end] + b"\x40" + raw[end + 1 : tail]


def begins_as_usual(raw: bytes) -> bool:
    """Say whether a statement's header begins like those of all readings, so that `signed_by` can tell of it."""
    return _BEGINNING.match(raw) is not None


def signed_by(raw: bytes) -> tuple[bytes, bytes] | None:
    """Return the key and the signed bytes of a statement that is known to decode; None where it takes decoding.

    Those of readings of a node, whose header begins like all others of the kind: much less work than recognising them.
    """
    if not begins_as_usual(raw):
        return None
    end = 4 + raw[3]
    return _key_of(raw[25:81]), cose.SIG_STRUCTURE + raw[2:end] + b"\x40" + raw[end + 1 : -_TAIL]


@lru_cache(KEPT_SIGNERS)
def _key_of(did: bytes) -> bytes:
    return cose.key_of(did.decode())


def claims_of(raw: bytes) -> Claims:
    """Return a statement's claims, recognised or decoded, without verifying it; `EncodingError` where it is none."""
    found = recognise(raw)
    return found[0] if found else decode(raw).claims
