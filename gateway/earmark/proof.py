"""The portable proof and its offline check, docs/protocol.md §8 and §9.

An auditor reads this file and those below it: no I/O, no clock, no environment.  What is trusted
(the operator's key, block hashes of public chains) comes in as arguments, never from the file.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from earmark import beacon, cbor, evidence, merkle
from earmark.block import Checkpoint, Header, check_block, decode_checkpoint, decode_header, verify_receipt
from earmark.cose import did
from earmark.errors import EarmarkError, EncodingError, ProofError
from earmark.evidence import ChainBlock
from earmark.registry import Enrolment, Registry
from earmark.statement import METHODS, NO_ENTRY, Statement, decode

MAGIC = "earmark-proof-1"
MAX_STATEMENTS = 100_000
TITLES = (
    "",
    "File",
    "Registry",
    "Checkpoint",
    "Block",
    "Log",
    "Signer",
    "Not before",
    "Not after",
    "Your block hashes",
)

_CHECK_EVIDENCE: dict[str, Callable[[str, bytes, bytes], ChainBlock]] = {evidence.EVM: evidence.check_evm}


@dataclass(frozen=True, slots=True)
class Proof:
    """The parts of a proof file (§8).

    `statements` are (index, raw) ascending; `subjects` the indexes the file is about; `beacons` are
    (message, headers), `anchors` (kind, chain, evidence).
    """

    header: bytes
    checkpoint: bytes
    receipt: bytes
    statements: tuple[tuple[int, bytes], ...]
    subjects: tuple[int, ...]
    rest: tuple[bytes, ...]
    beacons: tuple[tuple[bytes, tuple[bytes, ...]], ...] = ()
    anchors: tuple[tuple[str, str, bytes], ...] = ()

    def encode(self) -> bytes:
        """Return the bytes of the `.earmark` file."""
        body = cbor.encode(
            {
                1: self.header,
                2: self.checkpoint,
                3: self.receipt,
                4: [list(pair) for pair in self.statements],
                5: list(self.subjects),
                6: b"".join(self.rest),
                7: [[message, list(headers)] for message, headers in self.beacons],
                8: [list(anchor) for anchor in self.anchors],
            }
        )
        return cbor.encode([MAGIC, hashlib.sha256(body).digest(), body])


@dataclass(frozen=True, slots=True)
class Subject:
    """One proven statement: where it stands, who signed it, and the newest trusted block it was signed after."""

    index: int
    statement: Statement
    signer: Enrolment | None
    not_before: ChainBlock | None

    @property
    def method(self) -> str:
        """`measured`, `modelled` or `replayed`; empty for what is not a reading."""
        return "" if self.statement.method is None else METHODS[self.statement.method]


@dataclass(frozen=True, slots=True)
class Step:
    """One numbered step of §9: what it established, or, where `proven` is false, what is missing."""

    number: int
    proven: bool
    finding: str

    @property
    def title(self) -> str:
        """The step's name in §9."""
        return TITLES[self.number]


@dataclass(frozen=True, slots=True)
class Report:
    """What a check that held established.

    `blocks` are the chain blocks that the file leads to, by beacon or anchor; `anchors` pairs each anchor's with whether
    the verifier vouches for it; `not_after` is the earliest vouched one, None where there is none.
    """

    registry: Registry
    header: Header
    steps: tuple[Step, ...]
    subjects: tuple[Subject, ...]
    blocks: tuple[ChainBlock, ...]
    anchors: tuple[tuple[ChainBlock, bool], ...]
    not_after: ChainBlock | None
    not_established: tuple[str, ...]


def decode_proof(encoded: bytes) -> Proof:
    """Decode a proof file (step 1 of §9); `ProofError` unless it is whole and of the format."""
    with _step(1):
        return _decode_body(_open(encoded))


def check(encoded: bytes, operator: bytes, blocks: Collection[tuple[str, bytes]] = ()) -> Report:
    """Check a proof file by the numbered steps of §9 and return what it establishes.

    `operator` is the operator's 32-byte key, `blocks` are (CAIP-2 id, hash) that the verifier took from
    a source of his own.  Raises `ProofError` with the number of the first step that fails.
    """
    proof = decode_proof(encoded)
    work = _Check(proof, operator, frozenset(blocks))
    work.note(1, f"whole, {len(encoded):,} bytes, {len(proof.subjects):,} statement(s) to prove")
    for number, run in enumerate((work.registry_, work.checkpoint_, work.block_, work.log_, work.signer_), 2):
        with _step(number):
            run()
    with _step(7):
        earliest = work.not_before()
    with _step(8):
        work.not_after()
    with _step(9):
        work.blocks_used()
    return work.report(earliest)


@dataclass
class _Check:
    """The state of one check: filled in step by step."""

    proof: Proof
    operator: bytes
    blocks: frozenset[tuple[str, bytes]]
    steps: list[Step] = field(default_factory=list)
    seen: dict[ChainBlock, None] = field(default_factory=dict)
    used: set[tuple[str, bytes]] = field(default_factory=set)
    anchors: list[tuple[ChainBlock, bool]] = field(default_factory=list)

    def note(self, number: int, finding: str, proven: bool = True) -> None:
        self.steps.append(Step(number, proven, finding))

    def registry_(self) -> None:
        self.statements = {index: decode(raw) for index, raw in self.proof.statements}
        self.registry = Registry(self.operator)
        self.chain = [(i, s) for i, s in self.statements.items() if self.registry.is_registry(s)]
        if not self.chain or self.chain[0][0] != 0:
            raise ProofError(
                f"statement 0 is not the registry's beginning by {did(self.operator)}: another operator's log"
            )
        prev = NO_ENTRY
        for seq, (index, statement) in enumerate(self.chain, 1):
            if statement.seq != seq or statement.prev != prev:
                raise ProofError(f"the operator's statement at leaf {index} does not follow the one before")
            statement.verify()
            self.registry.apply(index, statement)
            prev = statement.entry
        others = set(self.statements) - {index for index, _ in self.chain} - set(self.proof.subjects)
        if others:
            raise ProofError(f"statement {min(others)} is neither of the registry nor a subject")
        self.note(2, f"{len(self.chain)} statement(s) by the operator, complete up to leaf {self.chain[-1][0]}")

    def checkpoint_(self) -> None:
        self.checkpoint: Checkpoint = decode_checkpoint(self.proof.checkpoint)
        self.checkpoint.verify(self.registry.origin, self.registry.gateway)
        verify_receipt(self.registry.gateway, self.registry.origin, self.checkpoint.root, self.proof.receipt)
        self.note(3, f"signed by the gateway {did(self.registry.gateway)} of {self.registry.origin}")

    def block_(self) -> None:
        self.header = decode_header(self.proof.header)
        check_block(self.header, self.checkpoint)
        self.note(4, f"block {self.header.height}, {self.header.size:,} leaves, hash {self.header.hash.hex()}")

    def log_(self) -> None:
        leaves = [(index, merkle.leaf_hash(s.entry)) for index, s in self.statements.items()]
        if merkle.root_of_leaves(leaves, self.header.size, self.proof.rest) != self.header.root:
            raise ProofError("the statements and hashes do not give the block's root")
        self.note(5, f"every statement of the file stands at its leaf of the {self.header.size:,}")

    def signer_(self) -> None:
        self.signers: dict[int, Enrolment | None] = {}
        for index in self.proof.subjects:
            statement = self.statements[index]
            try:
                statement.verify()
                self.registry.check_signer(statement, index)
            except EarmarkError as error:
                raise ProofError(f"leaf {index}: {error}") from error
            self.signers[index] = None if statement.key == self.operator else self.registry.node(statement.key)
        names = sorted({node.name if node else "the operator" for node in self.signers.values()})
        self.note(6, f"signed by {', '.join(names[:8])}; enrolled before, and not revoked before, by leaf order")

    def not_before(self) -> dict[int, ChainBlock]:
        """Return, per subject, the newest block it was signed after, of those that the verifier vouches for."""
        nonces = {self.statements[index].beacon for index in self.proof.subjects}
        newest: dict[bytes, ChainBlock] = {}
        for message, headers in self.proof.beacons:
            nonce = beacon.nonce(message)
            if nonce not in nonces:
                raise ProofError("a beacon that no statement of the file carries")
            sources = list(_beacon_blocks(message, headers))
            trusted = [block for block in sources if self.vouched(block)]
            if not trusted:
                where = ", ".join(_where(block) for block in sources)
                self.note(7, f"carries {where}: compare that hash with your own view of the chain", proven=False)
            if trusted:
                newest[nonce] = max(trusted, key=lambda block: block.time_s)
        subjects = ((index, self.statements[index].beacon) for index in self.proof.subjects)
        found = {index: newest[nonce] for index, nonce in subjects if nonce in newest}
        missing = len(self.proof.subjects) - len(found)
        if found:
            first = min(found.values(), key=lambda block: block.time_s)
            self.note(7, f"{len(found):,} statement(s) signed after {_where(first)}, or a later one of yours")
        if missing and not self.proof.beacons:
            self.note(7, f"{missing:,} statement(s) carry no beacon that this file has evidence for", proven=False)
        return found

    def not_after(self) -> None:
        for kind, chain, octets in self.proof.anchors:
            if kind not in _CHECK_EVIDENCE:
                raise ProofError(f"anchor evidence of unknown kind {kind[:40]!r}")
            block = _CHECK_EVIDENCE[kind](chain, octets, self.header.hash)
            self.anchors.append((block, self.vouched(block)))
        for block, trusted in self.anchors:
            if trusted:
                self.note(8, f"existed before {_where(block)}, which is one of yours")
            else:
                self.note(
                    8, f"leads to {_where(block)}: compare that hash with your own view of the chain", proven=False
                )
        if not self.anchors:
            self.note(8, "no anchor in this file yet: ask for a newer proof", proven=False)

    def vouched(self, block: ChainBlock) -> bool:
        """Say whether the verifier gave this block's hash, and remember that it was of use."""
        name = block.chain, block.hash
        self.seen[block] = None
        self.used |= {name} & self.blocks
        return name in self.blocks

    def blocks_used(self) -> None:
        unused = sorted(self.blocks - self.used)
        if unused:
            chain, octets = unused[0]
            raise ProofError(f"your {chain} block 0x{octets.hex()} is not one that this file leads to")
        if self.blocks:
            self.note(9, f"each of the {len(self.blocks)} that you gave is used")

    def report(self, earliest: dict[int, ChainBlock]) -> Report:
        subjects = tuple(Subject(i, self.statements[i], self.signers[i], earliest.get(i)) for i in self.proof.subjects)
        trusted = [block for block, vouched in self.anchors if vouched]
        latest = min(trusted, key=lambda block: block.time_s, default=None)
        return Report(
            registry=self.registry,
            header=self.header,
            steps=tuple(self.steps),
            subjects=subjects,
            blocks=tuple(self.seen),
            anchors=tuple(self.anchors),
            not_after=latest,
            not_established=_not_established(self, subjects),
        )


def _where(block: ChainBlock) -> str:
    return f"block {block.number} of {block.chain}, 0x{block.hash.hex()}"


def _not_established(work: _Check, subjects: Sequence[Subject]) -> tuple[str, ...]:
    last = work.chain[-1][0]
    said = [
        "that a sensor told the truth, or stood where its name says",
        "that nothing was left out between the statements shown",
        f"that the operator revoked no key in a statement that was held back, or that came after leaf {max(last, work.header.size - 1)}",
    ]
    for method in ("modelled", "replayed"):
        if any(subject.method == method for subject in subjects):
            said.append(f"that anything was measured where a reading is {method}: its signer says that it is not")
    return tuple(said)


def _beacon_blocks(message: bytes, headers: Sequence[bytes]) -> Iterator[ChainBlock]:
    sources = beacon.decode(message)
    if len(sources) != len(headers):
        raise ProofError("a beacon with another number of block headers than sources")
    for source, header in zip(sources, headers, strict=True):
        if evidence.check_evm_header(source.chain, header) != source:
            raise ProofError(f"a beacon whose header is not block {source.number} of {source.chain}")
        yield source


@contextmanager
def _step(number: int) -> Iterator[None]:
    try:
        yield
    except EarmarkError as error:
        raise ProofError(f"step {number} ({TITLES[number].lower()}): {error}", number) from error


def _open(encoded: bytes) -> dict[Any, Any]:
    outer = cbor.decode(encoded)
    if type(outer) is not list or [type(item) for item in outer] != [str, bytes, bytes] or outer[0] != MAGIC:
        raise EncodingError("not an Earmark proof file of version 1")
    if hashlib.sha256(outer[2]).digest() != outer[1]:
        raise EncodingError("the digest does not match: the file was damaged or altered")
    body = cbor.decode(outer[2])
    if type(body) is not dict or set(body) != set(range(1, 9)):
        raise EncodingError("the body is not a map of the labels 1 to 8")
    return body


def _decode_body(body: dict[Any, Any]) -> Proof:
    if [type(body[label]) for label in range(1, 9)] != [bytes, bytes, bytes, list, list, bytes, list, list]:
        raise EncodingError("a label of the wrong type")
    rows = {label: body[label] for label in (4, 7, 8)}
    for label, types in ((4, [int, bytes]), (7, [bytes, list]), (8, [str, str, bytes])):
        if any(type(row) is not list or [type(item) for item in row] != types for row in rows[label]):
            raise EncodingError(f"a row of label {label} of the wrong form")
    if any(type(index) is not int for index in body[5]) or any(type(h) is not bytes for _, hs in rows[7] for h in hs):
        raise EncodingError("a subject that is not an index, or a block header that is not bytes")
    indexes = [index for index, _ in rows[4]]
    for what, keys in (("statements", indexes), ("subjects", body[5]), ("beacons", [row[0] for row in rows[7]])):
        _ascending(what, keys)
    _ascending("anchors", [(kind, chain) for kind, chain, _ in rows[8]])
    if not body[5] or not set(body[5]) <= set(indexes) or len(indexes) > MAX_STATEMENTS or len(body[6]) % 32:
        raise EncodingError("no subject, a subject that is not in the file, too many statements, or a cut hash")
    return Proof(
        header=body[1],
        checkpoint=body[2],
        receipt=body[3],
        statements=tuple((index, raw) for index, raw in rows[4]),
        subjects=tuple(body[5]),
        rest=tuple(body[6][at : at + 32] for at in range(0, len(body[6]), 32)),
        beacons=tuple((message, tuple(headers)) for message, headers in rows[7]),
        anchors=tuple((kind, chain, octets) for kind, chain, octets in rows[8]),
    )


def _ascending(what: str, keys: Sequence[Any]) -> None:
    if any(a >= b for a, b in zip(keys, keys[1:], strict=False)):
        raise EncodingError(f"{what} that are not ascending, or twice the same")
