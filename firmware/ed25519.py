"""Ed25519 (RFC 8032) for every board: no module beyond the interpreter's own.

Not constant time: see edwards.py for what an observer at the board could learn. Over the network only the moment
of sending shows.
"""

import edwards
from sha512 import sha512

# RFC 8032 §7.1: seed, public key, message, signature of TEST 2.
_SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
_KEY = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
_MESSAGE = b"\x72"
_SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


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


def self_test() -> None:
    """Raise RuntimeError unless this machine computes RFC 8032's TEST 2 and refuses it altered; for the boot."""
    if public_key(_SEED) != _KEY or sign(_SEED, _KEY, _MESSAGE) != _SIGNATURE:
        raise RuntimeError("Ed25519 self-test: wrong key or signature; nothing may be signed on this machine")
    try:
        verify(_KEY, _MESSAGE, _SIGNATURE)
    except ValueError as error:
        raise RuntimeError("Ed25519 self-test: a good signature was refused") from error
    try:
        verify(_KEY, b"\x73", _SIGNATURE)
    except ValueError:
        return
    raise RuntimeError("Ed25519 self-test: a false signature was accepted")


def _secret(seed: bytes) -> tuple[int, bytes]:
    """Return the clamped scalar and the prefix of the nonce (RFC 8032 §5.1.5)."""
    if len(seed) != edwards.SIZE:
        raise ValueError("Ed25519: a seed has 32 bytes")
    digest = sha512(seed)
    scalar = int.from_bytes(digest[: edwards.SIZE], "little") & (1 << 254) - 8 | 1 << 254
    return scalar, digest[edwards.SIZE :]


def _hash(message: bytes) -> int:
    return int.from_bytes(sha512(message), "little") % edwards.ORDER
