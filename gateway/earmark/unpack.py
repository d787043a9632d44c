"""Take a proof file apart into files that other people's tools check, docs/protocol.md §3, §5, §6 and §7.

Nothing is checked here but the file's form: `earmark.proof` does that, with the operator's key.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from earmark import beacon, merkle
from earmark.block import decode_header, encode_receipt
from earmark.errors import EarmarkError, ProofError
from earmark.evidence import ChainBlock
from earmark.proof import Proof
from earmark.statement import Statement, decode

_UNSAFE = re.compile(r"[^a-zA-Z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Part:
    """One file: its name (letters, digits, `-`, `_` and `.` only), its bytes, and what it is."""

    name: str
    octets: bytes
    standard: str


def unpack(proof: Proof) -> Iterator[Part]:
    """Give the parts of a proof, a README last; `ProofError` where it does not fit together enough to make them.

    Each statement gets an RFC 9942 receipt; its path comes from the other statements and hashes of the proof.
    """
    try:
        parts = [*_statements(proof), *_block(proof), *_times(proof)]
    except EarmarkError as error:
        raise ProofError(f"the file cannot be taken apart: {error}") from error
    yield from parts
    yield Part("README.txt", _readme(parts).encode(), "")


def paths(leaves: Sequence[tuple[int, bytes]], size: int, rest: Sequence[bytes]) -> dict[int, list[bytes]]:
    """Return the RFC 9162 §2.1.3.1 path of each leaf, leaf to root.

    `leaves` are ascending (index, leaf hash) and `rest` the hashes of protocol §8.1; `ProofError` where they do not
    make up a tree of `size` leaves.
    """
    merkle.root_of_leaves(leaves, size, rest)
    indexes = [index for index, _ in leaves]
    found: dict[int, list[bytes]] = {index: [] for index in indexes}
    others = iter(rest)

    def walk(low: int, high: int, start: int, stop: int) -> bytes:
        if start == stop:
            return next(others)
        if high - low == 1:
            return leaves[start][1]
        middle = low + merkle.split(high - low)
        at = bisect_left(indexes, middle, start, stop)
        left = walk(low, middle, start, at)
        right = walk(middle, high, at, stop)
        for place in range(start, stop):
            found[indexes[place]].append(right if place < at else left)
        return merkle.node_hash(left, right)

    walk(0, size, 0, len(leaves))
    return found


def _statements(proof: Proof) -> Iterator[Part]:
    gateway, origin = _gateway(proof)
    size = decode_header(proof.header).size
    leaves = [(index, merkle.leaf_hash(sha256(raw).digest())) for index, raw in proof.statements]
    found = paths(leaves, size, proof.rest)
    for index, raw in proof.statements:
        yield Part(f"statement-{index}.cose", raw, "COSE_Sign1 (RFC 9052), readings as SenML-CBOR (RFC 8428)")
        receipt = encode_receipt(gateway, origin, proof.receipt, size, index, found[index])
        standard = "COSE receipt of inclusion (RFC 9942) for the statement of the same number"
        yield Part(f"statement-{index}.receipt.cbor", receipt, standard)


def _gateway(proof: Proof) -> tuple[bytes, str]:
    """Return the key and origin that the file's own first statement names."""
    first: Statement | None = decode(proof.statements[0][1]) if proof.statements[0][0] == 0 else None
    body = first.body if first and first.kind == "enrolment" else None
    if body is None or body[2] != "gateway":
        raise ProofError("statement 0, which enrols the gateway, is not in it")
    return body[1], body[3]


def _block(proof: Proof) -> Iterator[Part]:
    yield Part("checkpoint", proof.checkpoint, "signed checkpoint (C2SP tlog-checkpoint), as text")
    yield Part("header.bin", proof.header, "Earmark block header (protocol.md §5); its SHA-256 is what is anchored")


def _times(proof: Proof) -> Iterator[Part]:
    for number, (message, headers) in enumerate(proof.beacons, 1):
        yield Part(f"beacon-{number}.cbor", message, "beacon, deterministic CBOR (protocol.md §6)")
        for place, (source, header) in enumerate(zip(_sources(message, headers), headers, strict=True), 1):
            name = f"beacon-{number}-{place}-{_safe(source.chain)}.rlp"
            yield Part(
                name,
                header,
                f"header of block {source.number} of {_safe(source.chain)}: RLP, its Keccak-256 is the hash",
            )
    for number, (kind, chain, octets) in enumerate(proof.anchors, 1):
        standard = "anchor evidence (protocol.md §7): block header as RLP, Merkle-Patricia proof of the transaction"
        yield Part(f"anchor-{number}-{_safe(kind)}-{_safe(chain)}.cbor", octets, standard)


def _sources(message: bytes, headers: Sequence[bytes]) -> list[ChainBlock]:
    sources = beacon.decode(message)
    if len(sources) != len(headers):
        raise ProofError("a beacon with another number of block headers than sources")
    return sources


def _safe(text: str) -> str:
    """Return a text from the file as part of a file's name: it can lead nowhere."""
    return _UNSAFE.sub("-", text)[:48] or "-"


def _readme(parts: Sequence[Part]) -> str:
    rows = "\n".join(f"{part.name}\n    {part.standard}" for part in parts)
    return f"""The parts of an Earmark proof file.

Taking it apart checked nothing but the file's form. `earmark check` checks it, with
the operator's did and with block hashes that you looked up yourself.

A receipt's payload is detached: it is the root in the checkpoint. Its leaf is the
SHA-256 of the statement's bytes; the tree is the one of RFC 9162. The statements
by the operator say which key is the gateway's and which are the nodes'.

{rows}
"""
