"""Statements: what a node or the operator says and signs, docs/protocol.md §3.

`decode` gives a value that fits the format in every field; it verifies no signature.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, NamedTuple

from earmark import cbor, cose, senml
from earmark.body import (
    BY_OPERATOR,
    KIND,
    MAX_SEQ,
    METHODS,
    bounded,
    check_body,
    check_name,
    octets,
    text,
    typed,
)
from earmark.errors import EncodingError

MAX_SIZE = 8192
SENML = 112
BODY = "application/vnd.earmark+cbor"
REGISTRY = "registry"
NO_ENTRY = bytes(32)

ISS, SUB, IAT, NONCE, BOOT_COUNT, SOFTWARE = 1, 2, 6, 10, 267, 271
CHAIN, CLOCK, METHOD = -65537, -65538, -65539

READINGS = "readings"
CLOCK_SOURCES = ("unset", "kept", "NTP", "gateway", "host")


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
        return READINGS if self.body is None else str(self.body[KIND])

    @property
    def claims(self) -> Claims:
        """What the log needs of it."""
        signed = self.key, self.sub, self.issued_at_s, self.seq, self.prev, self.entry
        return Claims(*signed, self.kind, self.method, self.beacon, (self.clock.source, self.clock.error_s))

    def verify(self) -> None:
        """Raise `BadSignature` unless the key that the statement names signed it."""
        self.sign1.verify(self.key)


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
    key = cose.key_of(typed(claims, ISS, str))
    if header[cose.KID] != cose.kid(key):
        raise EncodingError("a kid that is not the kid of iss")
    return _decode_content(raw, sign1, key, claims)


def _decode_content(raw: bytes, sign1: cose.Sign1, key: bytes, claims: dict[Any, Any]) -> Statement:
    sub = check_name(typed(claims, SUB, str))
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
        issued_at_s=bounded(claims, IAT, 1 << 40),
        seq=seq,
        prev=prev,
        clock=_clock(claims),
        beacon=_optional_octets(claims, NONCE, 16),
        boot_count=bounded(claims, BOOT_COUNT, 1 << 32) if BOOT_COUNT in claims else None,
        software=_software(claims),
        method=bounded(claims, METHOD, len(METHODS)) if METHOD in claims else None,
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


def origin(site: str, gateway: bytes) -> str:
    """Return the origin of the gateway's log (§2)."""
    return f"earmark/{check_name(site)}/{cose.kid(gateway).hex()}"


def _optional_octets(fields: dict[Any, Any], label: int, size: int) -> bytes | None:
    return octets(fields, label, size) if label in fields else None


def _software(claims: dict[Any, Any]) -> str | None:
    if SOFTWARE not in claims:
        return None
    version = claims[SOFTWARE]
    if type(version) is not list or len(version) != 1:
        raise EncodingError("the software version is a list of one text")
    return text({0: version[0]}, 0, longest=32)


def _chain(claims: dict[Any, Any]) -> tuple[int, bytes]:
    link = claims.get(CHAIN)
    if type(link) is not list or len(link) != 2:
        raise EncodingError("the chain is [seq, prev]")
    row = dict(enumerate(link))
    seq = bounded(row, 0, MAX_SEQ + 1)
    if seq == 0:
        raise EncodingError("seq is 0; chains count from 1")
    return seq, octets(row, 1, 32)


def _clock(claims: dict[Any, Any]) -> Clock:
    clock = claims.get(CLOCK)
    if type(clock) is not list or len(clock) != 3:
        raise EncodingError("the clock is [source, error_s, uptime_s]")
    row = dict(enumerate(clock))
    return Clock(bounded(row, 0, len(CLOCK_SOURCES)), bounded(row, 1, 1 << 32), bounded(row, 2, 1 << 32))
