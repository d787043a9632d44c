"""Statements: what a node says and signs, docs/protocol.md §3."""

import hashlib
from collections import namedtuple

import cose

READINGS = 112
BODY = "application/vnd.earmark+cbor"
MAX_SIZE = 8192
NO_ENTRY = bytes(32)
MEASURED, MODELLED, REPLAYED = range(3)
UNSET, KEPT, NTP, GATEWAY, HOST = range(5)

_ISS, _SUB, _IAT, _NONCE, _BOOT_COUNT, _SOFTWARE = 1, 2, 6, 10, 267, 271
_CHAIN, _CLOCK, _METHOD = -65537, -65538, -65539
_NAME = "abcdefghijklmnopqrstuvwxyz0123456789-"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from identity import Identity

# What set the clock (`UNSET` and so on), the signer's own bound on its error, the time since the boot.
Clock = namedtuple("Clock", ("source", "error_s", "uptime_s"))


def sign(
    identity: "Identity",
    sub: str,
    seq: int,
    prev: bytes,
    content_type: "int | str",
    payload: bytes,
    iat: int,
    clock: "tuple[int, int, int]",
    boot_count: int,
    beacon: "bytes | None" = None,
    software: "str | None" = None,
    method: "int | None" = None,
) -> bytes:
    """Return the bytes of a node's statement; ValueError where §3 would have them refused.

    `payload` is an encoded SenML pack (`READINGS`) or body (`BODY`) and is signed as it comes. `iat` is Unix
    seconds; `beacon` the 16-byte nonce of the newest beacon, None before the first; `method` stands with readings
    only, `software` with the body `boot` only.
    """
    _check_chain(sub, seq, prev)
    _check_times(iat, clock, boot_count)
    claims: dict[int, object] = {
        _ISS: identity.did,
        _SUB: sub,
        _IAT: iat,
        _BOOT_COUNT: boot_count,
        _CHAIN: (seq, prev),
        _CLOCK: clock,
    }
    if beacon is not None:
        claims[_NONCE] = _check(beacon, len(beacon) == 16, "a nonce has 16 bytes")
    if software is not None:
        fits = content_type == BODY and 1 <= len(software.encode()) <= 32
        claims[_SOFTWARE] = [_check(software, fits, "a software version stands in `boot` and has 1 to 32 bytes")]
    if content_type == READINGS:
        claims[_METHOD] = _check(method, method in (MEASURED, MODELLED, REPLAYED), "readings need their method")
    elif content_type != BODY or method is not None:
        raise ValueError("statement: the content type is READINGS, with a method, or BODY, without one")
    header: dict[int, object] = {
        cose.ALG: identity.algorithm,
        cose.CONTENT_TYPE: content_type,
        cose.KID: identity.kid,
        cose.CLAIMS: claims,
    }
    signed = cose.sign1(identity, header, payload)
    _check(signed, len(signed) <= MAX_SIZE, "longer than 8192 bytes: split the readings")
    return signed


def entry(signed: bytes) -> bytes:
    """Return the 32 bytes by which the log and the next statement's `prev` know a statement (§4)."""
    return hashlib.sha256(signed).digest()


def _check(value: object, fits: bool, rule: str) -> object:
    if not fits:
        raise ValueError("statement: " + rule)
    return value


def _check_chain(sub: str, seq: int, prev: bytes) -> None:
    named = 1 <= len(sub) <= 32 and sub[0] != "-" and all(character in _NAME for character in sub)
    _check(sub, named, "a node's name is 1 to 32 of a-z, 0-9 and -, the first not -")
    _check(seq, 1 <= seq < 1 << 53, "seq is from 1 to 2^53 - 1")
    _check(prev, len(prev) == 32, "prev has 32 bytes")
    _check(prev, (seq == 1) == (prev == NO_ENTRY), "prev is 32 zero bytes at seq 1 and nowhere else")


def _check_times(iat: int, clock: "tuple[int, int, int]", boot_count: int) -> None:
    source, error_s, uptime_s = clock
    _check(iat, 0 <= iat < 1 << 40, "iat is from 0 to 2^40 - 1")
    _check(clock, UNSET <= source <= HOST, "the clock's source is 0 to 4")
    _check(clock, source != UNSET or iat == error_s == 0, "an unset clock has no time and no error bound")
    for number in (error_s, uptime_s, boot_count):
        _check(number, 0 <= number < 1 << 32, "error_s, uptime_s and boot count are below 2^32")
