"""Keys, dids and COSE_Sign1 (RFC 9052), docs/protocol.md §2 and §3."""

import hashlib
from dataclasses import dataclass
from typing import Any

import cbor2
from nacl.bindings import crypto_core_ed25519_is_valid_point, crypto_sign_open
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey

from earmark import cbor
from earmark.errors import BadSignature, EncodingError

try:
    from dryoc.exceptions import DryocError
    from dryoc.sign import VerifyKey
except ImportError:  # no wheel for this machine, such as a 32-bit one
    has_dryoc = False
else:
    has_dryoc = True

ALG = 1
CONTENT_TYPE = 3
KID = 4
CLAIMS = 15
EDDSA = -8
ED25519 = -19
KEY_SIZE = 32
SIGNATURE_SIZE = 64
SIG_STRUCTURE = b"\x84\x6aSignature1"
"""How the bytes begin that a COSE_Sign1's signature is over (RFC 9052 §4.4)."""

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DID_PREFIX = "did:key:z"
_DID_SIZE = 56


def did(key: bytes) -> str:
    """Return the did:key of a 32-byte Ed25519 public key (§2)."""
    number = int.from_bytes(b"\xed\x01" + key, "big")
    digits = ""
    while number:
        number, digit = divmod(number, 58)
        digits = _BASE58[digit] + digits
    return _DID_PREFIX + digits


def key_of(text: str) -> bytes:
    """Return the 32-byte key of a did:key; `EncodingError` unless it is the canonical did of an Ed25519 key."""
    if not (text.startswith(_DID_PREFIX) and len(text) == _DID_SIZE):
        raise EncodingError(
            f"{text[:70]!r} is not a did of an Ed25519 key: did:key:z6Mk and {_DID_SIZE} characters in all"
        )
    number = 0
    for digit in text[len(_DID_PREFIX) :]:
        place = _BASE58.find(digit)
        if place < 0:
            raise EncodingError(f"{text!r} has {digit!r} in it, which base58 has not")
        number = number * 58 + place
    octets = number.to_bytes(35, "big")
    if octets[:3] != b"\0\xed\x01":
        raise EncodingError(f"{text!r} is not the did of an Ed25519 key")
    return octets[3:]


def kid(key: bytes) -> bytes:
    """Return the 8-byte key id: the head of the RFC 9679 thumbprint (§2)."""
    return hashlib.sha256(b"\xa3\x01\x01\x20\x06\x21\x58\x20" + key).digest()[:8]


class Signer:
    """An Ed25519 private key: signs, and shows nothing of itself but the public half."""

    __slots__ = ("_key", "did", "key", "kid")

    def __init__(self, seed: bytes) -> None:
        """Take the 32-byte seed of RFC 8032."""
        self._key = SigningKey(seed)
        self.key = bytes(self._key.verify_key)
        self.kid = kid(self.key)
        self.did = did(self.key)

    def __repr__(self) -> str:
        return f"Signer({self.did})"

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of a message."""
        return self._key.sign(message).signature


def verify(key: bytes, message: bytes, signature: bytes) -> None:
    """Raise `BadSignature` unless the 64-byte signature is the key's over the message, as libsodium judges (§1).

    dryoc accepts what libsodium accepts, in less time (tests/test_ed25519.py and the fuzz target `verifiers` hold the
    two against each other); what it does not accept, and everything where it is not installed, libsodium judges.
    """
    if not (has_dryoc and accepts_dryoc(key, message, signature)) and not accepts_libsodium(key, message, signature):
        raise BadSignature(f"the signature does not verify under {did(key)}")


def accepts_dryoc(key: bytes, message: bytes, signature: bytes) -> bool:
    """Say whether dryoc takes a signature for the key's over the message."""
    try:
        VerifyKey(key).verify(signature, message)
    except DryocError:
        return False
    return True


def accepts_libsodium(key: bytes, message: bytes, signature: bytes) -> bool:
    """Say whether libsodium takes a signature for the key's over the message."""
    if len(key) != KEY_SIZE or len(signature) != SIGNATURE_SIZE:  # the library itself does not look
        return False
    try:
        crypto_sign_open(signature + message, key)
    except BadSignatureError:
        return False
    return True


def is_point(key: bytes) -> bool:
    """Say whether 32 bytes are a usable public key: canonical, on the curve, of the main subgroup."""
    return len(key) == 32 and bool(crypto_core_ed25519_is_valid_point(key))


@dataclass(frozen=True, slots=True)
class Sign1:
    """A decoded COSE_Sign1: `protected` as received, `header` its map; `payload` is None where detached."""

    protected: bytes
    header: dict[Any, Any]
    unprotected: dict[Any, Any]
    payload: bytes | None
    signature: bytes

    def verify(self, key: bytes, detached: bytes | None = None) -> None:
        """Raise `BadSignature` unless the key signed this; `detached` is the payload where it is not inside."""
        payload = self.payload if self.payload is not None else detached
        if payload is None:
            raise BadSignature("the signed payload is detached and was not given")
        verify(key, signed_bytes(self.protected, payload), self.signature)


def signed_bytes(protected: bytes, payload: bytes) -> bytes:
    """Return the Sig_structure that Ed25519 signs (RFC 9052 §4.4)."""
    return SIG_STRUCTURE + cbor.octets(protected) + b"\x40" + cbor.octets(payload)


def sign1(signer: Signer, header: dict[Any, Any], payload: bytes, *, detached: bool = False) -> bytes:
    """Return a tagged COSE_Sign1 with an empty unprotected header; a detached payload is signed but left out."""
    protected = cbor.encode(header)
    signature = signer.sign(signed_bytes(protected, payload))
    return encode_sign1(protected, {}, None if detached else payload, signature)


def encode_sign1(protected: bytes, unprotected: dict[Any, Any], payload: bytes | None, signature: bytes) -> bytes:
    """Return the tagged COSE_Sign1 of these parts."""
    return cbor.encode(cbor2.CBORTag(18, [protected, unprotected, payload, signature]))


def decode_sign1(encoded: bytes) -> Sign1:
    """Decode a tagged COSE_Sign1, strictly; `EncodingError` otherwise.  Verifies nothing."""
    value = cbor.decode(encoded)
    if not (isinstance(value, cbor2.CBORTag) and isinstance(value.value, list) and len(value.value) == 4):
        raise EncodingError("not a COSE_Sign1: tag 18 over four items")
    protected, unprotected, payload, signature = value.value
    if type(protected) is not bytes or type(unprotected) is not dict or type(signature) is not bytes:
        raise EncodingError("a COSE_Sign1 with an item of the wrong type")
    if payload is not None and type(payload) is not bytes:
        raise EncodingError("a COSE_Sign1 with a payload that is not a byte string")
    if len(signature) != SIGNATURE_SIZE:
        raise EncodingError(f"a signature of {len(signature)} bytes; Ed25519 makes 64")
    header = cbor.decode(protected)
    if type(header) is not dict:
        raise EncodingError("a protected header that is not a map")
    return Sign1(protected, header, unprotected, payload, signature)
