"""COSE_Sign1 (RFC 9052 §4.2) with one protected header and nothing unprotected, docs/protocol.md §3 and §10.1."""

import cbor

ALG = 1
CONTENT_TYPE = 3
KID = 4
CLAIMS = 15
EDDSA = -8

TYPE_CHECKING = False
if TYPE_CHECKING:
    from identity import Identity


def sign1(identity: "Identity", header: dict[int, object], payload: bytes) -> bytes:
    """Return the tagged COSE_Sign1 of a protected header and a payload."""
    protected = cbor.encode(header)
    signature = identity.sign(signed_bytes(protected, payload))
    return cbor.encode(cbor.Tagged(cbor.COSE_SIGN1, [protected, {}, payload, signature]))


def decode_sign1(encoded: bytes) -> tuple[bytes, bytes, bytes]:
    """Return protected header, payload and signature, each as bytes; verifies nothing.

    ValueError unless it is a tagged COSE_Sign1 with an empty unprotected header and its payload inside.
    """
    sign1 = cbor.decode(encoded)
    parts = sign1.value if isinstance(sign1, cbor.Tagged) else None
    if not isinstance(parts, list) or len(parts) != 4:
        raise ValueError("COSE_Sign1: not tag 18 over four items")
    protected, unprotected, payload, signature = parts
    octets = isinstance(protected, bytes) and isinstance(payload, bytes) and isinstance(signature, bytes)
    if not octets or unprotected != {}:
        raise ValueError("COSE_Sign1: not byte strings and an empty unprotected header")
    return protected, payload, signature


def signed_bytes(protected: bytes, payload: bytes) -> bytes:
    """Return the Sig_structure, the bytes that Ed25519 signs (RFC 9052 §4.4)."""
    return cbor.encode(["Signature1", protected, b"", payload])
