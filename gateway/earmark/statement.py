"""Statements: what a node or the operator says and signs, docs/protocol.md §3.

`decode` gives a value that fits the format in every field; it verifies no signature.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from earmark import cbor, cose, senml
from earmark.errors import EncodingError

MAX_SIZE = 8192
SENML = 112
BODY = "application/vnd.earmark+cbor"
REGISTRY = "registry"
NO_ENTRY = bytes(32)
MAX_SEQ = (1 << 53) - 1

ISS, SUB, IAT, NONCE, BOOT_COUNT, SOFTWARE = 1, 2, 6, 10, 267, 271
CHAIN, CLOCK, METHOD = -65537, -65538, -65539

READINGS = "readings"
BY_OPERATOR = ("enrolment", "revocation", "rotation")
METHODS = ("measured", "modelled", "replayed")
CLOCK_SOURCES = ("unset", "kept", "NTP", "gateway", "host")

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_KIND = 0


@dataclass(frozen=True, slots=True)
class Clock:
    """What the signer says of its clock: the source (an index of `CLOCK_SOURCES`), its own bound on the error, its
    uptime.
    """

    source: int
    error_s: int
    uptime_s: int

    def __str__(self) -> str:
        if self.source == 0:
            return f"clock unset, {self.uptime_s} s after boot"
        return f"{CLOCK_SOURCES[self.source]} clock, stated error {self.error_s} s"


class Claims(NamedTuple):
    """What the log needs to know of a statement: a value of plain types, cheap to make and to hand to a process.

    `entry` is SHA-256 of the bytes (§4); `method` is None for bodies, `beacon` where there was none; `clock` is its
    source and stated error in seconds.
    """

    key: bytes
    sub: str
    issued_at_s: int
    seq: int
    prev: bytes
    entry: bytes
    kind: str
    method: int | None
    beacon: bytes | None
    clock: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Statement:
    """One decoded statement.  `raw` is what was received and what is kept, hashed and verified.

    `beacon` is the 16-byte nonce (§6) or None; `method` indexes `METHODS`, None for bodies; `readings` is
    empty for bodies and `body` None for readings.
    """

    raw: bytes
    sign1: cose.Sign1
    key: bytes
    sub: str
    issued_at_s: int
    seq: int
    prev: bytes
    clock: Clock
    beacon: bytes | None
    boot_count: int | None
    software: str | None
    method: int | None
    readings: tuple[senml.Reading, ...]
    body: dict[int, Any] | None

    @property
    def entry(self) -> bytes:
        """SHA-256 of the statement: what the log holds (§4)."""
        return hashlib.sha256(self.raw).digest()

    @property
    def kind(self) -> str:
        """`readings`, or the kind of the body."""
        return READINGS if self.body is None else str(self.body[_KIND])

    @property
    def claims(self) -> Claims:
        """What the log needs of it."""
        signed = self.key, self.sub, self.issued_at_s, self.seq, self.prev, self.entry
        return Claims(*signed, self.kind, self.method, self.beacon, (self.clock.source, self.clock.error_s))

    def verify(self) -> None:
        """Raise `BadSignature` unless the key that the statement names signed it."""
        self.sign1.verify(self.key)


def check_name(name: str) -> str:
    """Return the name of a site or node; `EncodingError` unless it is one (§2)."""
    if not _NAME.fullmatch(name):
        raise EncodingError(f"{name[:60]!r} is not a name: 1 to 32 of a-z, 0-9 and -, the first not -")
    return name


def sign(
    signer: cose.Signer,
    sub: str,
    seq: int,
    prev: bytes,
    payload: Any,
    *,
    issued_at_s: int,
    clock: Clock,
    beacon: bytes | None = None,
    boot_count: int | None = None,
    software: str | None = None,
    method: int | None = None,
) -> bytes:
    """Return the signed bytes of a statement: a list payload is a SenML pack, a dict a body (§3)."""
    claims = {ISS: signer.did, SUB: sub, IAT: issued_at_s, NONCE: beacon, BOOT_COUNT: boot_count}
    claims |= {SOFTWARE: None if software is None else [software], CHAIN: [seq, prev], METHOD: method}
    claims[CLOCK] = [clock.source, clock.error_s, clock.uptime_s]
    content = SENML if isinstance(payload, list) else BODY
    present = {label: value for label, value in claims.items() if value is not None}
    header = {cose.ALG: cose.EDDSA, cose.CONTENT_TYPE: content, cose.KID: signer.kid, cose.CLAIMS: present}
    return cose.sign1(signer, header, cbor.encode(payload))


def decode(raw: bytes) -> Statement:
    """Decode a statement in full; `EncodingError` names the first thing that is not the format (§3.3)."""
    if len(raw) > MAX_SIZE:
        raise EncodingError(f"{len(raw)} bytes; a statement has at most {MAX_SIZE}")
    sign1 = cose.decode_sign1(raw)
    if sign1.unprotected:
        raise EncodingError("an unprotected header that is not empty")
    if sign1.payload is None:
        raise EncodingError("a statement without its payload")
    header = sign1.header
    if set(header) != {cose.ALG, cose.CONTENT_TYPE, cose.KID, cose.CLAIMS}:
        raise EncodingError(f"protected header with the labels {sorted(header, key=str)[:8]}; it has 1, 3, 4 and 15")
    if type(header[cose.ALG]) is not int or header[cose.ALG] not in (cose.EDDSA, cose.ED25519):
        raise EncodingError(f"alg {header[cose.ALG]!r}; it is -8 or -19")
    claims = header[cose.CLAIMS]
    if type(claims) is not dict:
        raise EncodingError("claims that are not a map")
    key = cose.key_of(_typed(claims, ISS, str))
    if header[cose.KID] != cose.kid(key):
        raise EncodingError("a kid that is not the kid of iss")
    return _decode_content(raw, sign1, key, claims)


def _decode_content(raw: bytes, sign1: cose.Sign1, key: bytes, claims: dict[Any, Any]) -> Statement:
    sub = check_name(_typed(claims, SUB, str))
    payload = cbor.decode(sign1.payload or b"")
    content = sign1.header[cose.CONTENT_TYPE]
    readings: tuple[senml.Reading, ...] = ()
    body = None
    if type(content) is int and content == SENML:
        senml.check_profile(payload, sub + "/")
        readings = tuple(senml.resolve(payload))
    elif content == BODY:
        check_body(payload)
        body = payload
    else:
        raise EncodingError(f"content type {str(content)[:60]!r}; it is {SENML} or {BODY}")
    seq, prev = _chain(claims)
    statement = Statement(
        raw=raw,
        sign1=sign1,
        key=key,
        sub=sub,
        issued_at_s=_bounded(claims, IAT, 1 << 40),
        seq=seq,
        prev=prev,
        clock=_clock(claims),
        beacon=_optional_octets(claims, NONCE, 16),
        boot_count=_bounded(claims, BOOT_COUNT, 1 << 32) if BOOT_COUNT in claims else None,
        software=_software(claims),
        method=_bounded(claims, METHOD, len(METHODS)) if METHOD in claims else None,
        readings=readings,
        body=body,
    )
    _check_presence(statement, claims)
    return statement


def _check_presence(statement: Statement, claims: dict[Any, Any]) -> None:
    """Refuse unknown claims, and those that stand, or are missing, where §3's last column forbids it."""
    unknown = set(claims) - {ISS, SUB, IAT, NONCE, BOOT_COUNT, SOFTWARE, CHAIN, CLOCK, METHOD}
    if unknown:
        raise EncodingError(f"unknown claim {sorted(unknown, key=str)[0]!r}")
    by_operator = statement.kind in BY_OPERATOR
    if (statement.boot_count is None) != by_operator:
        raise EncodingError("the boot count stands in what nodes sign, and only there")
    if (statement.software is None) != (statement.kind != "boot"):
        raise EncodingError("the software version stands in boot statements, and only there")
    if (statement.method is None) != (statement.body is not None):
        raise EncodingError("the method (measured, modelled, replayed) stands with readings, and only there")
    if statement.clock.source == 0 and (statement.issued_at_s or statement.clock.error_s):
        raise EncodingError("an unset clock with a time or an error bound")
    if any(_is_misdated(reading.taken_at_s, statement.clock.source) for reading in statement.readings):
        raise EncodingError("a reading's time must be absolute where the clock is set, and 0 where it is not")
    if statement.body is not None and statement.kind == "gap" and statement.body[2] >= statement.seq:
        raise EncodingError("a gap that does not lie before its own seq")


def _is_misdated(taken_at_s: senml.Number, source: int) -> bool:
    return taken_at_s < senml.ABSOLUTE_FROM if source else taken_at_s != 0


def check_body(body: Any) -> None:
    """Raise `EncodingError` unless a payload is a body of a known kind with exactly its labels (§3.2)."""
    kind = body.get(_KIND) if type(body) is dict else None
    if kind == "enrolment":
        _labels(body, {1, 2, 3})
        if not cose.is_point(_typed(body, 1, bytes)):
            raise EncodingError("enrolment of 32 bytes that are not an Ed25519 key")
        if body[2] == "node":
            check_name(_typed(body, 3, str))
        elif body[2] != "gateway" or not is_origin(body[3], body[1]):
            raise EncodingError("enrolment with a role or origin that is not of the protocol's form")
    elif kind == "revocation":
        _labels(body, {1, 2, 3} if 3 in body else {1, 2})
        _octets(body, 1, 32)
        _text(body, 2)
        if 3 in body:
            _bounded(body, 3, 1 << 53)
    elif kind == "rotation":
        _labels(body, {1, 2, 3})
        _octets(body, 1, 32)
        if not cose.is_point(_typed(body, 2, bytes)):
            raise EncodingError("rotation to 32 bytes that are not an Ed25519 key")
        _text(body, 3)
    elif kind == "boot":
        _labels(body, {1, 2, 3})
        _text(body, 1)
        _text(body, 2)
        _check_sensors(body[3])
    elif kind == "gap":
        _labels(body, {1, 2, 3})
        if not 1 <= _bounded(body, 1, MAX_SEQ) <= _bounded(body, 2, MAX_SEQ):
            raise EncodingError("a gap that ends before it begins")
        _text(body, 3)
    else:
        raise EncodingError(f"a body of unknown kind {str(kind)[:40]!r}")


def is_origin(origin: Any, key: bytes) -> bool:
    """Say whether this is the origin of the gateway with this key on some site (§2)."""
    if type(origin) is not str:
        return False
    parts = origin.split("/")
    return (
        len(parts) == 3
        and parts[0] == "earmark"
        and bool(_NAME.fullmatch(parts[1]))
        and parts[2] == cose.kid(key).hex()
    )


def origin(site: str, gateway: bytes) -> str:
    """Return the origin of the gateway's log (§2)."""
    return f"earmark/{check_name(site)}/{cose.kid(gateway).hex()}"


def _check_sensors(sensors: Any) -> None:
    if type(sensors) is not list or len(sensors) > 32:
        raise EncodingError("a boot statement's sensors are a list of at most 32")
    for sensor in sensors:
        if type(sensor) is not list or len(sensor) != 4:
            raise EncodingError("a sensor is [name, driver, method, detail]")
        row = dict(enumerate(sensor))
        _bounded(row, 2, len(METHODS))
        for place, shortest in ((0, 1), (1, 1), (3, 0)):
            _text(row, place, shortest)


def _labels(body: dict[Any, Any], labels: set[int]) -> None:
    if set(body) != labels | {_KIND}:
        raise EncodingError(f"{body[_KIND]} with the labels {sorted(body, key=str)[:8]}; it has 0 and {sorted(labels)}")


def _typed(fields: dict[Any, Any], label: int, kind: type) -> Any:
    value = fields.get(label)
    if type(value) is not kind:
        raise EncodingError(f"label {label} is {'missing' if value is None else f'not of type {kind.__name__}'}")
    return value


def _bounded(fields: dict[Any, Any], label: int, limit: int) -> int:
    value: int = _typed(fields, label, int)
    if not 0 <= value < limit:
        raise EncodingError(f"label {label} is {value}; it must be 0 to {limit - 1}")
    return value


def _octets(fields: dict[Any, Any], label: int, size: int) -> bytes:
    value: bytes = _typed(fields, label, bytes)
    if len(value) != size:
        raise EncodingError(f"label {label} has {len(value)} bytes; it has {size}")
    return value


def _optional_octets(fields: dict[Any, Any], label: int, size: int) -> bytes | None:
    return _octets(fields, label, size) if label in fields else None


def _text(fields: dict[Any, Any], label: int, shortest: int = 1, longest: int = 200) -> str:
    value: str = _typed(fields, label, str)
    if not shortest <= len(value.encode()) <= longest:
        raise EncodingError(f"label {label} has {len(value.encode())} bytes of text; it has {shortest} to {longest}")
    return value


def _software(claims: dict[Any, Any]) -> str | None:
    if SOFTWARE not in claims:
        return None
    version = claims[SOFTWARE]
    if type(version) is not list or len(version) != 1:
        raise EncodingError("the software version is a list of one text")
    return _text({0: version[0]}, 0, longest=32)


def _chain(claims: dict[Any, Any]) -> tuple[int, bytes]:
    link = claims.get(CHAIN)
    if type(link) is not list or len(link) != 2:
        raise EncodingError("the chain is [seq, prev]")
    row = dict(enumerate(link))
    seq = _bounded(row, 0, MAX_SEQ + 1)
    if seq == 0:
        raise EncodingError("seq is 0; chains count from 1")
    return seq, _octets(row, 1, 32)


def _clock(claims: dict[Any, Any]) -> Clock:
    clock = claims.get(CLOCK)
    if type(clock) is not list or len(clock) != 3:
        raise EncodingError("the clock is [source, error_s, uptime_s]")
    row = dict(enumerate(clock))
    return Clock(_bounded(row, 0, len(CLOCK_SOURCES)), _bounded(row, 1, 1 << 32), _bounded(row, 2, 1 << 32))
