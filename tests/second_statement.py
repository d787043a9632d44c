"""A second reader of statements, written from docs/protocol.md alone (§1 to §3).

It shares no line with `earmark`: cbor2, PyNaCl and hashlib, and the protocol's page in front of the writer.
"""

import functools
import hashlib
import re
from decimal import Decimal
from itertools import pairwise
from typing import Any

import cbor2
import nacl.exceptions
import nacl.signing
from nacl.bindings import crypto_core_ed25519_is_valid_point

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
NAME = r"[a-z0-9][a-z0-9-]{0,31}"
KINDS = {"enrolment": 3, "revocation": 2, "rotation": 3, "update": 7, "boot": 3, "gap": 3, "updated": 5}
BY_OPERATOR = ("enrolment", "revocation", "rotation", "update")


class Refused(Exception):
    """The bytes, or the proof, do not hold."""


def need(holds: object) -> None:
    if not holds:
        raise Refused


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def unpack(octets: bytes) -> Any:
    try:
        value = cbor2.loads(octets)
        canonical = cbor2.dumps(value, canonical=True)
    except Exception as error:
        raise Refused from error
    need(canonical == octets and is_plain(value, 8))
    return value


def is_plain(value: Any, depth: int) -> bool:
    if isinstance(value, Decimal):
        _, digits, exponent = value.as_tuple()
        return isinstance(exponent, int) and -18 <= exponent <= -1 and int("".join(map(str, digits))) < 1 << 53
    if isinstance(value, cbor2.CBORTag):
        return value.tag == 18 and depth > 0 and is_plain(value.value, depth - 1)
    if isinstance(value, list):
        return depth > 0 and all(is_plain(item, depth - 1) for item in value)
    if isinstance(value, dict):
        keys = all(type(key) in (int, str) for key in value)
        return depth > 0 and keys and all(is_plain(item, depth - 1) for item in value.values())
    return isinstance(value, bool | bytes | str | None) or (type(value) is int and -(1 << 64) <= value < 1 << 64)


def is_uint(value: Any, limit: int, least: int = 0) -> bool:
    return type(value) is int and least <= value < limit


def is_text(value: Any, longest: int = 200, shortest: int = 1) -> bool:
    return type(value) is str and shortest <= len(value.encode()) <= longest


def is_octets(value: Any, size: int) -> bool:
    return type(value) is bytes and len(value) == size


def is_name(value: Any) -> bool:
    return type(value) is str and re.fullmatch(NAME, value) is not None


def key_of(did: Any) -> bytes:
    need(type(did) is str and re.fullmatch(f"did:key:z[{BASE58}]{{47}}", did))
    number = functools.reduce(lambda total, digit: total * 58 + BASE58.index(digit), did[9:], 0)
    need(number >> 256 == 0xED01)
    return (number & (1 << 256) - 1).to_bytes(32, "big")


def did_of(key: bytes) -> str:
    number, digits = 0xED01 << 256 | int.from_bytes(key, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        digits = BASE58[digit] + digits
    return f"did:key:z{digits}"


def kid_of(key: bytes) -> bytes:
    return sha256(bytes.fromhex("a301012006215820"), key)[:8]


def verify(key: bytes, message: bytes, signature: bytes) -> None:
    try:
        nacl.signing.VerifyKey(key).verify(message, signature)
    except (nacl.exceptions.CryptoError, ValueError) as error:
        raise Refused from error


def to_be_signed(protected: bytes, payload: bytes) -> bytes:
    return b"\x84\x6aSignature1" + cbor2.dumps(protected) + b"\x40" + cbor2.dumps(payload)


class Said:
    """A statement, decoded by §3; `verify` is apart."""

    def __init__(self, raw: bytes) -> None:
        need(len(raw) <= 8192)
        self.tagged, self.entry = unpack(raw), sha256(raw)
        need(isinstance(self.tagged, cbor2.CBORTag) and type(self.tagged.value) is list and len(self.tagged.value) == 4)
        self.protected, unprotected, self.payload, self.signature = self.tagged.value
        need(type(self.protected) is bytes and unprotected == {} and type(self.payload) is bytes)
        need(is_octets(self.signature, 64))
        header, self.body = unpack(self.protected), unpack(self.payload)
        need(type(header) is dict and set(header) == {1, 3, 4, 15} and type(header[15]) is dict)
        need(type(header[1]) is int and header[1] in (-8, -19))
        claims = header[15]
        self.key, self.sub = key_of(claims.get(1)), claims.get(2)
        need(header[4] == kid_of(self.key) and is_name(self.sub))
        need(type(header[3]) in (int, str) and header[3] in (112, "application/vnd.earmark+cbor"))
        self.kind = self.body.get(0) if header[3] != 112 and type(self.body) is dict else None
        need(header[3] == 112 or (type(self.kind) is str and self.kind in KINDS))
        self.check_claims(claims)
        self.check_body() if self.kind else self.check_pack()

    def check_claims(self, claims: dict[Any, Any]) -> None:
        expected = {1, 2, 6, -65537, -65538} | ({10} & set(claims))
        expected |= set() if self.kind in BY_OPERATOR else {267}
        expected |= {271} if self.kind == "boot" else set() if self.kind else {-65539}
        need(set(claims) == expected and is_uint(claims[6], 1 << 40) and is_uint(claims.get(267, 0), 1 << 32))
        self.nonce, software, chain, clock = claims.get(10), claims.get(271, ["x"]), claims[-65537], claims[-65538]
        need((10 not in claims or is_octets(self.nonce, 16)) and is_uint(claims.get(-65539, 0), 3))
        need(type(software) is list and len(software) == 1 and is_text(software[0], 32))
        need(type(chain) is list and len(chain) == 2 and is_uint(chain[0], 1 << 53, 1) and is_octets(chain[1], 32))
        need(type(clock) is list and len(clock) == 3 and all(is_uint(part, 1 << 32) for part in clock) and clock[0] < 5)
        need(clock[0] or claims[6] == clock[1] == 0)
        self.seq, self.prev, self.source = *chain, clock[0]

    def check_body(self) -> None:
        body = self.body
        more = {3} & set(body) if self.kind == "revocation" else set()
        need(set(body) == set(range(KINDS[self.kind] + 1)) | more)
        one, two, three = body[1], body[2], body.get(3)
        if self.kind == "enrolment":
            need(is_octets(one, 32) and crypto_core_ed25519_is_valid_point(one) and two in ("node", "gateway"))
            origin = f"earmark/{NAME}/{kid_of(one).hex()}"
            need(is_name(three) if two == "node" else type(three) is str and re.fullmatch(origin, three))
        elif self.kind == "revocation":
            need(is_octets(one, 32) and is_text(two) and is_uint(body.get(3, 0), 1 << 53))
        elif self.kind == "rotation":
            need(is_octets(one, 32) and is_octets(two, 32) and crypto_core_ed25519_is_valid_point(two))
            need(is_text(three))
        elif self.kind == "update":
            self.check_update(body)
        elif self.kind == "updated":
            need(is_octets(one, 32) and is_uint(two, 1 << 32) and is_uint(three, 1 << 32) and is_text(body[5], 200, 0))
            need(type(body[4]) is str and body[4] in ("downloading", "trial", "confirmed", "returned", "refused"))
        elif self.kind == "gap":
            need(is_uint(two, self.seq) and is_uint(one, two + 1, 1) and is_text(three))
        else:
            need(is_text(one) and is_text(two) and type(three) is list and len(three) <= 32)
            need(all(type(row) is list and len(row) == 4 and is_uint(row[2], 3) for row in three))
            need(all(is_text(row[0]) and is_text(row[1]) and is_text(row[3], 200, 0) for row in three))

    def check_update(self, body: dict[int, Any]) -> None:
        need(is_uint(body[1], 1 << 32, 1) and is_text(body[2], 32) and is_name(body[3]) and is_octets(body[4], 32))
        need(is_uint(body[5], 8193, 1) and type(body[6]) is str)
        need(re.fullmatch(f"earmark/{NAME}/[0-9a-f]{{16}}", body[6]))
        names = body[7]
        need(type(names) is list and len(names) <= 100 and all(is_name(name) for name in names))
        need(all(a < b for a, b in pairwise(names)))

    def check_pack(self) -> None:
        need(type(self.body) is list and 1 <= len(self.body) <= 256)
        time: Any = 0
        for number, record in enumerate(self.body):
            need(type(record) is dict and set(record) <= {-2, -3, -4, 0, 1, 2, 3, 4, 6})
            need((-2 in record) == (number == 0) and len({2, 3, 4} & set(record)) == 1)
            need(
                all(type(record.get(label, "")) is str for label in (-4, 0, 1, 3)) and type(record.get(4, True)) is bool
            )
            numbers = {label: record[label] for label in (-3, 2, 6) if label in record}
            need(all(type(n) is Decimal or is_uint(n, 1 << 53, 1 - (1 << 53)) for n in numbers.values()))
            need(all(Decimal(n).as_tuple().exponent >= -3 for label, n in numbers.items() if label != 2))  # type: ignore[operator]
            name, time = self.sub + "/" + record.get(0, ""), record.get(-3, time)
            need(len(name) <= 96 and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9:./_-]*", name))
            at = time + record.get(6, 0)
            need(at >= 1 << 28 if self.source else at == 0)
        need(self.body[0][-2] == self.sub + "/")

    def verify(self) -> None:
        verify(self.key, to_be_signed(self.protected, self.payload), self.signature)
