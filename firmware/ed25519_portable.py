"""Ed25519 (RFC 8032) for every interpreter: no module beyond its own.

Not constant time: see edwards.py for what an observer at the board could learn. Over the network only the moment
of sending shows.
"""

import edwards
from sha512 import sha512


def public_key(seed: bytes) -> bytes:
    """Return the 32-byte public key of a 32-byte seed."""
    return edwards.encode(edwards.multiply_base(_secret(seed)[0]))


def sign(seed: bytes, key: bytes, message: bytes) -> bytes:
    """Return the 64-byte signature of a message; `key` must be the public key of `seed`.

    A foreign key here would give the seed away: `Identity` keeps the two together and is what others call.
    """
    scalar, prefix = _secret(seed)
    nonce = _hash(prefix + message)
    point = edwards.encode(edwards.multiply_base(nonce))
    s = (nonce + _hash(point + key + message) * scalar) % edwards.ORDER
    return point + s.to_bytes(edwards.SIZE, "little")


def verify(key: bytes, message: bytes, signature: bytes) -> None:
    """Raise ValueError unless this is the key's signature of the message, as libsodium judges it.

    Refused are S >= L, a key that is not canonical, a key or R of small order, and any R that is not byte for
    byte the encoding of S*B - h*A: no cofactor is multiplied away. Time depends on the (public) arguments.
    """
    if len(key) != edwards.SIZE or len(signature) != 2 * edwards.SIZE:
        raise ValueError("Ed25519: a key has 32 bytes, a signature 64")
    s = int.from_bytes(signature[edwards.SIZE :], "little")
    if s >= edwards.ORDER:
        raise ValueError("Ed25519: the signature's S is not reduced")
    point = edwards.decode(key)
    if edwards.is_small_order(point):
        raise ValueError("Ed25519: a key of small order")
    h = _hash(signature[: edwards.SIZE] + key + message)
    r = edwards.add(edwards.multiply_base(s), edwards.multiply(edwards.negate(point), h))
    if edwards.encode(r) != signature[: edwards.SIZE] or edwards.is_small_order(r):
        raise ValueError("Ed25519: the signature does not verify")


def _secret(seed: bytes) -> tuple[int, bytes]:
    """Return the clamped scalar and the prefix of the nonce (RFC 8032 §5.1.5)."""
    if len(seed) != edwards.SIZE:
        raise ValueError("Ed25519: a seed has 32 bytes")
    digest = sha512(seed)
    scalar = int.from_bytes(digest[: edwards.SIZE], "little") & (1 << 254) - 8 | 1 << 254
    return scalar, digest[edwards.SIZE :]


def _hash(message: bytes) -> int:
    return int.from_bytes(sha512(message), "little") % edwards.ORDER
