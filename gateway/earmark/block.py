"""Blocks: the header that is anchored, the checkpoint and receipts that the gateway signs, docs/protocol.md §5, §11."""

import hashlib
import struct
from dataclasses import dataclass

from earmark import cbor, cose
from earmark.errors import BadSignature, EncodingError, ProofError
from earmark.note import ED25519, b64, decimal, encode_line, key_id, unb64

MAGIC = b"earmark\x01"
NO_BLOCK = bytes(32)
NO_BEACON = bytes(16)
HEADER_SIZE = 176
ROOT = slice(96, 128)
"""Where the root stands in a header."""

_LAYOUT = struct.Struct(">8s32sQQQ32s32s32s16s")
_EXTENSION = "earmark-block"
_WHAT = "a checkpoint"
_RECEIPTS, _VDS, _VDP, _RFC9162 = 394, 395, 396, 1


@dataclass(frozen=True, slots=True)
class Header:
    """A block header: `size` leaves under `root`.

    `registry` is the entry of the operator's newest registry statement among them; `beacon` is 16 zero bytes where the
    gateway had none.
    """

    origin_hash: bytes
    height: int
    size: int
    sealed_at_ms: int
    prev: bytes
    root: bytes
    registry: bytes
    beacon: bytes

    def encode(self) -> bytes:
        """Return the 176 bytes of §5."""
        fields = self.height, self.size, self.sealed_at_ms, self.prev, self.root, self.registry, self.beacon
        return _LAYOUT.pack(MAGIC, self.origin_hash, *fields)

    @property
    def hash(self) -> bytes:
        """The block hash: what is anchored."""
        return hashlib.sha256(self.encode()).digest()


def origin_hash(origin: str) -> bytes:
    """Return SHA-256(origin)."""
    return hashlib.sha256(origin.encode()).digest()


def decode_header(encoded: bytes) -> Header:
    """Decode 176 bytes; `EncodingError` for another length, magic or version, or an empty tree."""
    if len(encoded) != HEADER_SIZE:
        raise EncodingError(f"a header of {len(encoded)} bytes; it has {HEADER_SIZE}")
    magic, *fields = _LAYOUT.unpack(encoded)
    if magic != MAGIC:
        raise EncodingError(f"a header that begins with {magic.hex()}; version 1 begins with {MAGIC.hex()}")
    header = Header(*fields)
    if header.size == 0:
        raise EncodingError("a header over an empty tree")
    return header


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The signed text of a C2SP checkpoint, decoded; `signed` is the part under the signature."""

    origin: str
    size: int
    root: bytes
    height: int
    block_hash: bytes
    signed: bytes
    key_id: bytes
    signature: bytes

    def verify(self, origin: str, key: bytes) -> None:
        """Raise `BadSignature` unless the gateway with this key signed it for this log (§5.3)."""
        if self.origin != origin or self.key_id != key_id(origin, ED25519, key):
            raise BadSignature(f"a checkpoint of {self.origin!r}; expected is {origin!r} under {cose.did(key)}")
        cose.verify(key, self.signed, self.signature)


def sign_checkpoint(signer: cose.Signer, origin: str, header: Header) -> bytes:
    """Return the checkpoint of a block, with the gateway's one signature line (§5.1)."""
    extension = f"{_EXTENSION} {header.height} {b64(header.hash)}"
    signed = f"{origin}\n{header.size}\n{b64(header.root)}\n{extension}\n".encode()
    blob = key_id(origin, ED25519, signer.key) + signer.sign(signed)
    return signed + b"\n" + encode_line(origin, blob).encode()


def decode_checkpoint(encoded: bytes) -> Checkpoint:
    """Decode a checkpoint with exactly one signature line; `EncodingError` unless every byte is canonical."""
    try:
        lines = encoded.decode().split("\n")
    except UnicodeDecodeError as error:
        raise EncodingError("a checkpoint that is not UTF-8") from error
    if len(lines) != 7 or lines[4] or lines[6]:
        raise EncodingError("a checkpoint has four lines, an empty one and one signature line")
    origin, size, root, extension, _, signature = lines[:6]
    word, _, block = extension.partition(" ")
    height, _, block_hash = block.partition(" ")
    dash, _, signature = signature.partition(" ")
    name, _, blob = signature.partition(" ")
    if word != _EXTENSION or dash != "\u2014" or name != origin:
        raise EncodingError("a checkpoint with another extension line, or signed by another name than its origin")
    signed = encoded[: encoded.index(b"\n\n") + 1]
    note = unb64(blob, 68, _WHAT)
    sizes = decimal(size, _WHAT), unb64(root, 32, _WHAT), decimal(height, _WHAT), unb64(block_hash, 32, _WHAT)
    return Checkpoint(origin, *sizes, signed, note[:4], note[4:])


def check_block(header: Header, checkpoint: Checkpoint) -> None:
    """Raise `ProofError` unless the header is the checkpoint's block (§5.3)."""
    pairs = {
        "origin": (header.origin_hash, origin_hash(checkpoint.origin)),
        "tree size": (header.size, checkpoint.size),
        "root": (header.root, checkpoint.root),
        "height": (header.height, checkpoint.height),
        "hash": (header.hash, checkpoint.block_hash),
    }
    for what, (ours, signed) in pairs.items():
        if ours != signed:
            raise ProofError(f"the block header's {what} is not the checkpoint's")


def sign_receipt(signer: cose.Signer, origin: str, root: bytes) -> bytes:
    """Return the gateway's 64-byte signature over the receipt payload of a block (§5.2)."""
    return signer.sign(cose.signed_bytes(_receipt_protected(signer.key, origin), root))


def verify_receipt(key: bytes, origin: str, root: bytes, signature: bytes) -> None:
    """Raise `BadSignature` unless the gateway signed this root as a receipt."""
    cose.verify(key, cose.signed_bytes(_receipt_protected(key, origin), root), signature)


def encode_receipt(key: bytes, origin: str, signature: bytes, size: int, index: int, path: list[bytes]) -> bytes:
    """Return the RFC 9942 receipt of one leaf."""
    proof = cbor.encode([size, index, path])
    return cose.encode_sign1(_receipt_protected(key, origin), {_VDP: {-1: [proof]}}, None, signature)


def encode_transparent(statement: bytes, receipt: bytes) -> bytes:
    """Return the RFC 9943 transparent statement: these same signed bytes with the receipt in the unprotected header
    (§11.1).  `EncodingError` where the statement is no COSE_Sign1, or has something in that header already.
    """
    signed = cose.decode_sign1(statement)
    if signed.unprotected:
        raise EncodingError("a statement with an unprotected header; Earmark's have none")
    return cose.encode_sign1(signed.protected, {_RECEIPTS: [receipt]}, signed.payload, signed.signature)


def _receipt_protected(key: bytes, origin: str) -> bytes:
    claims = {1: cose.did(key), 2: origin}
    return cbor.encode({cose.ALG: cose.EDDSA, cose.KID: cose.kid(key), cose.CLAIMS: claims, _VDS: _RFC9162})
