"""Take a proof file apart into files that other people's tools check, docs/protocol.md §3, §5, §6, §7 and §11.

Nothing is checked here but the file's form: `earmark.proof` does that, with the operator's key.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from earmark import beacon, merkle, ots
from earmark.block import ROOT, decode_header, encode_receipt, encode_transparent
from earmark.errors import EarmarkError, ProofError
from earmark.evidence import EVM, OTS, RFC3161, ChainBlock
from earmark.evidence.bitcoin import decode_ots, is_bitcoin
from earmark.inclusion import encode_inclusion
from earmark.proof import Proof
from earmark.statement import Statement, decode

_EVIDENCE = {
    EVM: "block header as RLP, Merkle-Patricia proof of the transaction",
    OTS: "OpenTimestamps operations from the block's hash to a Bitcoin block, and that block's header",
}
_UNSAFE = re.compile(r"[^a-zA-Z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Part:
    """One file: its name (letters, digits, `-`, `_` and `.` only), its bytes, and what it is."""

    name: str
    octets: bytes
    standard: str


def unpack(proof: Proof) -> Iterator[Part]:
    """Give the parts of a proof, a README last; `ProofError` where it does not fit together enough to make them.

    Each statement gets an RFC 9942 receipt, beside it and within it, and a C2SP tlog-proof; its path comes from the
    other statements and hashes of the proof.
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
        standard = "SCITT transparent statement (RFC 9943): the statement with that receipt in its unprotected header"
        yield Part(f"statement-{index}.transparent.cose", encode_transparent(raw, receipt), standard)
        inclusion = encode_inclusion(index, found[index], proof.checkpoint)
        standard = "proof of inclusion (C2SP tlog-proof), as text; the entry is the SHA-256 of the statement's bytes"
        yield Part(f"statement-{index}.tlog-proof", inclusion, standard)
        ops = (*inclusion_ops(index, size, found[index]), *header_ops(proof.header))
        yield from _timestamps(f"statement-{index}.cose", sha256(raw).digest(), ops, proof)


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
    yield from _timestamps("header.bin", sha256(proof.header).digest(), (), proof)
    stamps = [(chain, octets) for kind, chain, octets in proof.anchors if kind == RFC3161]
    for chain, octets in stamps:
        middle = "" if len(stamps) == 1 else f".{_safe(chain)}"
        standard = f"time-stamp token (RFC 3161) for header.bin by {_safe(chain)}: `openssl ts -verify -token_in`"
        yield Part(f"header.bin{middle}.tst", octets, standard)


def inclusion_ops(index: int, size: int, path: Sequence[bytes]) -> Iterator[ots.Op]:
    """Give the operations that lead from an entry to the root, by its RFC 9162 §2.1.3.1 path."""
    yield from (ots.prepend(b"\0"), ots.HASH)
    last = size - 1
    for sibling in path:
        while index == last and not index & 1:  # a node without a sibling stands for itself one level up
            index, last = index >> 1, last >> 1
        if index & 1:
            yield from (ots.prepend(b"\1" + sibling), ots.HASH)
        else:
            yield from (ots.prepend(b"\1"), ots.append(sibling), ots.HASH)
        index, last = index >> 1, last >> 1


def header_ops(header: bytes) -> Iterator[ots.Op]:
    """Give the operations that lead from the root in a block's header to the block's hash."""
    yield from (*ots.around(header, ROOT), ots.HASH)


def _timestamps(name: str, digest: bytes, ops: Sequence[ots.Op], proof: Proof) -> Iterator[Part]:
    """Give a file's `.ots` for each Bitcoin chain that the block is anchored on; the chain's name is in it from the
    second one on.
    """
    anchors = [(chain, octets) for kind, chain, octets in proof.anchors if kind == OTS]
    for chain, octets in anchors:
        branch, _ = decode_ots(octets)
        whole = ots.Branch((*ops, *branch.ops), branch.attestation)
        middle = "" if len(anchors) == 1 else f".{_safe(chain)}"
        standard = f"OpenTimestamps proof for {name}, complete: `ots verify` needs a Bitcoin node, and nothing of ours"
        yield Part(f"{name}{middle}.ots", ots.encode_file(digest, [whole]), standard)


def _times(proof: Proof) -> Iterator[Part]:
    for number, (message, headers) in enumerate(proof.beacons, 1):
        yield Part(f"beacon-{number}.cbor", message, "beacon, deterministic CBOR (protocol.md §6)")
        for place, (source, header) in enumerate(zip(_sources(message, headers), headers, strict=True), 1):
            name = f"beacon-{number}-{place}-{_safe(source.chain)}"
            block = f"header of block {source.number} of {_safe(source.chain)}"
            if source.is_round:
                standard = f"signature of round {source.number} of {_safe(source.chain)}: a compressed point of G1"
                yield Part(f"{name}.signature", header, f"{standard}, its SHA-256 is the round's randomness")
            elif is_bitcoin(source.chain):
                yield Part(f"{name}.header", header, f"{block}: 80 bytes, SHA-256 of their SHA-256 is the hash")
            else:
                yield Part(f"{name}.rlp", header, f"{block}: RLP, its Keccak-256 is the hash")
    for number, (kind, chain, octets) in enumerate(proof.anchors, 1):
        if kind == RFC3161:
            continue
        standard = f"anchor evidence (protocol.md §7): {_EVIDENCE.get(kind, 'of a kind that is not known here')}"
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

A receipt's payload is detached: it is the root in the checkpoint. Its entry is the
SHA-256 of the bytes of the .cose file, which is what a .transparent.cose file is with
its unprotected header emptied again; the tree is the one of RFC 9162. The statements
by the operator say which key is the gateway's and which are the nodes'.

{rows}
"""
