"""A CBOR writer that can also write what the protocol refuses, for the must-reject vectors."""

from typing import Any

import nacl.bindings

from earmark import cose

L = 2**252 + 27742317777372353535851937790883648493


class Raw(bytes):
    """Bytes that go into the encoding as they are."""


class Pairs(list[Any]):
    """A map whose pairs keep the order given, repeated keys included."""


def head(major: int, number: int, size: int | None = None) -> bytes:
    """Initial byte and argument; `size` (0, 1, 2, 4 or 8 bytes) is the shortest unless given."""
    if size is None:
        size = next(width for width in (0, 1, 2, 4, 8) if number < (24 if width == 0 else 1 << 8 * width))
    if size == 0:
        return bytes([major << 5 | number])
    return bytes([major << 5 | {1: 24, 2: 25, 4: 26, 8: 27}[size]]) + number.to_bytes(size, "big")


def encode(value: Any) -> bytes:
    """The deterministic encoding, but for the `Raw` and `Pairs` in it."""
    if isinstance(value, Raw):
        return bytes(value)
    if isinstance(value, bool) or value is None:
        return {False: b"\xf4", True: b"\xf5", None: b"\xf6"}[value]
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, Pairs):
        return head(5, len(value)) + b"".join(encode(key) + encode(item) for key, item in value)
    if isinstance(value, dict):
        rows = sorted((encode(key), encode(item)) for key, item in value.items())
        return head(5, len(rows)) + b"".join(key + item for key, item in rows)
    return head(4, len(value)) + b"".join(map(encode, value))


def fraction(exponent: Any, mantissa: Any) -> Raw:
    """Tag 4 over any two items."""
    return Raw(b"\xc4" + encode([exponent, mantissa]))


def sign1(signer: cose.Signer, protected: bytes, payload: bytes) -> bytes:
    """The signature over a protected header and payload, whatever they are."""
    return signer.sign(b"\x84\x6aSignature1" + encode(protected) + b"\x40" + encode(payload))


def unreduced(signature: bytes) -> bytes:
    """The same signature with L added to S."""
    return signature[:32] + (int.from_bytes(signature[32:], "little") + L).to_bytes(32, "little")


def small_order_r(seed: bytes, message: bytes) -> bytes:
    """A signature with R the neutral point that satisfies the equation of RFC 8032."""
    public, secret = nacl.bindings.crypto_sign_seed_keypair(seed)
    scalar = nacl.bindings.crypto_hash_sha512(secret[:32])[:32]
    number = int.from_bytes(scalar, "little") & (1 << 254) - 8 | 1 << 254
    neutral = b"\x01" + bytes(31)
    challenge = int.from_bytes(nacl.bindings.crypto_hash_sha512(neutral + public + message), "little")
    return neutral + (challenge * number % L).to_bytes(32, "little")
