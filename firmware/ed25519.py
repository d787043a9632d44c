"""Ed25519 (RFC 8032) by the fastest code that computes it rightly on this machine.

Until `choose` was called, and wherever the viper code is not for, that is the portable one.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VIPER, PORTABLE = "viper", "portable"

_code: "Any" = None

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
    key: bytes = _chosen().public_key(seed)
    return key


def sign(seed: bytes, key: bytes, message: bytes) -> bytes:
    """Return the 64-byte signature of a message; `key` must be the public key of `seed`.

    A foreign key here would give the seed away: `Identity` keeps the two together and is what others call.
    """
    signature: bytes = _chosen().sign(seed, key, message)
    return signature


def verify(key: bytes, message: bytes, signature: bytes) -> None:
    """Raise ValueError unless this is the key's signature of the message, as libsodium judges it.

    Refused are S >= L, a key that is not canonical, a key or R of small order, and any R that is not byte for byte the
    encoding of S*B - h*A: no cofactor is multiplied away.  Time depends on the (public) arguments.
    """
    _chosen().verify(key, message, signature)


def choose() -> str:
    """Take the viper code if this is a 32-bit MicroPython where it passes the self-test, else the portable one.

    Returns what is said of it: "viper", or "portable" and why.  Raises RuntimeError if not even that passes: nothing
    may be signed on this machine.  At boot, before Wi-Fi takes the memory that viper needs.
    """
    global _code
    why = _take_viper()
    if not why:
        return VIPER
    _code = None
    self_test()
    return "%s (%s)" % (PORTABLE, why)


def _chosen() -> "Any":
    """The code in use; the portable one is not even loaded where another was chosen before: it takes 12 KB."""
    global _code
    if _code is None:
        import ed25519_portable

        _code = ed25519_portable
    return _code


def name() -> str:
    """Which code is in use."""
    return VIPER if _code is not None and _code.__name__ == "ed25519_viper" else PORTABLE


def _take_viper() -> str:
    """Use the viper code; returns why it cannot be, or nothing."""
    global _code
    if sys.implementation.name != "micropython":
        return "this is not MicroPython"
    if sys.maxsize != 0x7FFFFFFF:
        return "this is not a 32-bit interpreter"
    try:
        import ed25519_viper

        _code = ed25519_viper
        self_test()
    except Exception as failure:  # noqa: BLE001 - whatever keeps the fast code from working, the slow one is there
        return "viper does not run here: %s" % failure
    return ""


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
