"""Recompute a log from its store alone, trusting only the operator's public key, docs/protocol.md §3 to §7.

Leaves are read once, in order, and none is kept: memory grows with nodes, holes and anchors, not with leaves.
What does not fit is collected by name instead of raised, so that one fault does not hide the next.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256

from earmark import beacon, cbor, merkle
from earmark.block import (
    NO_BEACON,
    NO_BLOCK,
    Header,
    check_block,
    decode_checkpoint,
    decode_header,
    origin_hash,
    verify_receipt,
)
from earmark.cose import did
from earmark.errors import EarmarkError, EncodingError, ProofError
from earmark.evidence import EVM, check_evm, check_evm_header
from earmark.merkle import HASH_SIZE
from earmark.registry import Registry
from earmark.statement import METHODS, NO_ENTRY, Statement, decode
from earmark.store import AnchorRow, Chain, Quarantined, SealedBlock, Store
from earmark.tiles import WIDTH

MOST_CONTRADICTIONS = 20
PROGRESS_LEAVES = 500

_MOST_BEACONS = 4096
_HELD = ("UnknownNode", "FutureTime", "MissingPredecessor")
_STATES = ("planned", "signed", "broadcast", "mined", "final", "failed")

Note = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Contradiction:
    """One thing in the store that does not fit: where it stands, and what is wrong."""

    where: str
    what: str


@dataclass(slots=True)
class Audit:
    """What a check of the whole log found.

    `sealed` leaves are under the newest block; `kinds` counts statements by method or kind; `missing` are the `seq` that
    nodes used and the log has not, `explained` those of them that a `gap` statement explains; `anchored` maps a chain to
    the size of the tree that is final there.  `is_cut` says that there are more contradictions than were collected.
    """

    size: int = 0
    blocks: int = 0
    sealed: int = 0
    nodes: int = 0
    origin: str = ""
    kinds: Counter[str] = field(default_factory=Counter)
    missing: int = 0
    explained: int = 0
    quarantined: int = 0
    anchored: dict[str, int] = field(default_factory=dict)
    contradictions: list[Contradiction] = field(default_factory=list)
    is_cut: bool = False

    @property
    def holds(self) -> bool:
        """Whether nothing contradicts."""
        return not self.contradictions

    def note(self, where: str, what: str) -> None:
        """Take in a contradiction; ends the check after `MOST_CONTRADICTIONS`."""
        if len(self.contradictions) == MOST_CONTRADICTIONS:
            self.is_cut = True
            raise _Enough
        self.contradictions.append(Contradiction(where, what))


class _Enough(Exception):
    """There is nothing to be gained from looking on."""


def check_log(store: Store, operator: bytes, progress: Callable[[int, int], None] = lambda done, total: None) -> Audit:
    """Recompute everything in a store that does not change meanwhile, and return what was found.

    Every statement: it decodes, its signature, its right to its leaf (registry replayed, `seq` and `prev` of its chain),
    and that the store finds it; the tree from the statements, against every stored tile and every block's root; headers,
    checkpoints and receipts; beacons, anchors' evidence, runs and quarantine.  `progress` gets (leaves done, all leaves).
    What left the log before it got here, off its end and with all its blocks, nothing in the store can show.
    """
    audit = Audit(size=store.size())
    walk = _Walk(store, operator, audit)
    try:
        for done in walk.leaves():
            if done % PROGRESS_LEAVES == 0 or done == audit.size:
                progress(done, audit.size)
        walk.finish()
        _check_anchors(store, audit)
        _check_quarantine(store, audit)
    except _Enough:
        pass
    return audit


class _Walk:
    """The state of one check, leaf by leaf."""

    def __init__(self, store: Store, operator: bytes, audit: Audit) -> None:
        self._store = store
        self._audit = audit
        self._registry = Registry(operator)
        self._tree = merkle.Frontier()
        self._tiles = _Tiles(store.tile, audit.note)
        self._stored = {(chain.key, chain.sub): chain for chain in store.chains()}
        self._chains: dict[tuple[bytes, str], _Sequence] = {}
        self._beacons = _Beacons(store)
        self._blocks = _Blocks(store.blocks(), self._registry, self._beacons, audit)

    def leaves(self) -> Iterator[int]:
        """Check leaf after leaf, and the blocks where they end; gives how many leaves are done."""
        for index, _, raw in self._store.statements(0, self._audit.size):
            for missing in range(self._tree.size, index):
                self._audit.note(f"leaf {missing}", "has no statement in the store")
                self._append(self._tiles.stored_leaf(missing))
            self._append(merkle.leaf_hash(sha256(raw).digest()))
            self._leaf(index, raw)
            if not self._registry.gateway:
                who = did(self._registry.operator)
                self._audit.note("leaf 0", f"does not enrol a gateway under {who}: another operator's log, or altered")
                raise _Enough
            self._blocks.advance(self._tree)
            yield self._tree.size

    def _append(self, leaf: bytes) -> None:
        self._tree.append(leaf)
        self._tiles.append(leaf)

    def _leaf(self, index: int, raw: bytes) -> None:
        try:
            statement = decode(raw)
            statement.verify()
            self._registry.check_signer(statement)
            self._follow(index, statement)
        except EarmarkError as error:
            self._audit.note(f"leaf {index}", f"{type(error).__name__}: {error}")
            return
        kind = statement.kind if statement.method is None else METHODS[statement.method]
        self._audit.kinds[kind] += 1
        fault = self._beacons.fault(statement.beacon) if statement.beacon else ""
        if fault:
            self._audit.note(f"leaf {index}", fault)

    def _follow(self, index: int, statement: Statement) -> None:
        """Check the statement's place in its chain, and that the store finds it there."""
        name = statement.key, statement.sub
        sequence = self._chains.setdefault(name, _Sequence())
        fault = sequence.add(statement)
        if fault:
            self._audit.note(f"leaf {index}", f"seq {statement.seq} of {statement.sub} {fault}")
        stored = self._stored.get(name)
        if stored is None or self._store.find(stored.id, statement.seq) != (index, statement.raw):
            self._audit.note(f"leaf {index}", f"the store does not find it as seq {statement.seq} of {statement.sub}")
        if self._registry.is_registry(statement):
            if sequence.numbers() != [(1, statement.seq)]:
                self._audit.note(f"leaf {index}", f"seq {statement.seq} of the operator came before its predecessor")
            self._registry.apply(index, statement)

    def finish(self) -> None:
        """Check what shows only at the end: tiles, blocks beyond the log, runs."""
        self._tiles.finish()
        self._blocks.finish(self._tree.size)
        for key, sub in sorted(self._stored.keys() | self._chains.keys()):
            found = self._chains.get((key, sub), _Sequence()).numbers()
            stored = self._stored.get((key, sub))
            if stored and list(stored.runs) != found:
                counted = f"has seq {_shown(found)}, the store counts {_shown(stored.runs)}"
                self._audit.note(f"runs of {sub}", f"{did(key)} {counted}")
        self._audit.nodes = len(self._registry.nodes())
        self._audit.origin = self._registry.origin
        for sequence in self._chains.values():
            missing, explained = sequence.missing()
            self._audit.missing += missing
            self._audit.explained += explained


@dataclass(slots=True)
class _Run:
    """Statements of a chain without a hole: the first's `prev` and the last's entry are what neighbours must fit."""

    first: int
    last: int
    prev: bytes
    entry: bytes


class _Sequence:
    """One chain's statements so far, as runs in ascending order, and the gaps that its signer declared."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []
        self._gaps: list[tuple[int, int]] = []

    def numbers(self) -> list[tuple[int, int]]:
        """Return the runs as (first, last)."""
        return [(run.first, run.last) for run in self._runs]

    def add(self, statement: Statement) -> str:
        """Take in a statement; returns what is wrong with its `seq` and `prev` (§4.2 rules 7 and 8), or nothing."""
        if statement.kind == "gap" and statement.body:
            self._gaps.append((statement.body[1], statement.body[2]))
        new = _Run(statement.seq, statement.seq, statement.prev, statement.entry)
        at = bisect_right(self._runs, new.first, key=lambda run: run.first)
        before, after = self._runs[max(0, at - 1) : at], self._runs[at : at + 1]
        if before and before[0].last >= new.first:
            return "is in the log twice"
        fault = "" if (new.first == 1) == (new.prev == NO_ENTRY) else "is first and not, by its prev"
        if before and before[0].last == new.first - 1:
            fault = fault if before[0].entry == new.prev else f"does not follow the logged seq {new.first - 1}"
            new = _Run(before[0].first, new.last, before[0].prev, new.entry)
            at -= 1
        else:
            before = []
        if after and after[0].first == new.last + 1:
            fault = fault if after[0].prev == new.entry else f"is not what the logged seq {new.last + 1} follows"
            new = _Run(new.first, after[0].last, new.prev, after[0].entry)
        else:
            after = []
        self._runs[at : at + len(before) + len(after)] = [new]
        return fault

    def missing(self) -> tuple[int, int]:
        """Return how many `seq` below the newest are not in the log, and how many of these a gap explains."""
        ends = [0, *(run.last for run in self._runs)]
        holes = [(end + 1, run.first - 1) for end, run in zip(ends, self._runs, strict=False) if run.first > end + 1]
        return sum(last - first + 1 for first, last in holes), _overlap(holes, sorted(self._gaps))


def _overlap(holes: list[tuple[int, int]], gaps: list[tuple[int, int]]) -> int:
    """Return how many numbers lie in a hole (ascending, disjoint) and in a gap (ascending)."""
    total = at = reached = 0
    for gap_first, last in gaps:
        first = max(gap_first, reached + 1)
        reached = max(reached, last)
        while at < len(holes) and holes[at][1] < first:
            at += 1
        for hole in holes[at:]:
            if hole[0] > last:
                break
            total += max(0, min(hole[1], last) - max(hole[0], first) + 1)
    return total


class _Tiles:
    """The tiles that the leaves so far give, each held against the stored one when it is full."""

    def __init__(self, read: Callable[[int, int], bytes], note: Note) -> None:
        self._read = read
        self._note = note
        self._levels: list[tuple[int, bytearray]] = []

    def append(self, node: bytes, level: int = 0) -> None:
        """Add one leaf hash, or the root of a full tile to the level above."""
        if level == len(self._levels):
            self._levels.append((0, bytearray()))
        number, hashes = self._levels[level]
        hashes += node
        if len(hashes) == WIDTH * HASH_SIZE:
            self._compare(level, number, bytes(hashes))
            self._levels[level] = number + 1, bytearray()
            self.append(_root(bytes(hashes)), level + 1)

    def finish(self) -> None:
        """Compare the tiles that are not full, and see that there is none beyond."""
        for level, (number, hashes) in enumerate([*self._levels, (0, bytearray())]):
            self._compare(level, number, bytes(hashes))

    def stored_leaf(self, index: int) -> bytes:
        """Return the stored hash of a leaf whose statement is gone; zeros where that is gone too."""
        place = index % WIDTH * HASH_SIZE
        return self._read(0, index // WIDTH)[place : place + HASH_SIZE].ljust(HASH_SIZE, b"\0")

    def _compare(self, level: int, number: int, hashes: bytes) -> None:
        stored = self._read(level, number)
        if stored == hashes:
            return
        where = f"tile {level}/{number}"
        if len(stored) != len(hashes):
            self._note(where, f"holds {len(stored) // HASH_SIZE} hashes, the log gives it {len(hashes) // HASH_SIZE}")
            return
        place = next(at for at in range(len(hashes)) if stored[at] != hashes[at]) // HASH_SIZE
        what = f"leaf {number * WIDTH + place}" if level == 0 else f"tile {level - 1}/{number * WIDTH + place}"
        self._note(where, f"hash {place} is not the one of {what}")


def _root(hashes: bytes) -> bytes:
    tree = merkle.Frontier()
    nodes = [hashes[at : at + HASH_SIZE] for at in range(0, len(hashes), HASH_SIZE)]
    for node in nodes:
        tree.append(node)
    return tree.root()


class _Blocks:
    """The sealed blocks, each checked when the leaves that it seals are there."""

    def __init__(
        self, blocks: Iterator[SealedBlock], registry: Registry, beacons: "_Beacons", audit: Audit
    ) -> None:
        self._blocks = blocks
        self._registry = registry
        self._beacons = beacons
        self._audit = audit
        self._next = next(blocks, None)
        self._last: Header | None = None
        self._height = 0
        self._bad_roots = 0

    def advance(self, tree: merkle.Frontier) -> None:
        """Check the blocks over the leaves so far."""
        while self._next is not None and self._next.size <= tree.size:
            self._check(self._next, tree)
            self._next = next(self._blocks, None)

    def finish(self, size: int) -> None:
        """Name the blocks that seal more than there is."""
        while self._next is not None:
            what = f"seals {self._next.size} leaves, the log has {size}"
            self._audit.note(f"block {self._next.height}", what)
            self._next = next(self._blocks, None)
        if self._bad_roots > 1:
            self._audit.note("blocks", f"the roots of {self._bad_roots - 1} later ones do not fit the statements either")

    def _check(self, block: SealedBlock, tree: merkle.Frontier) -> None:
        where, before = f"block {block.height}", len(self._audit.contradictions)
        self._audit.blocks += 1
        try:
            header = decode_header(block.header)
            self._check_order(where, block, header, tree)
            self._last = header
            self._check_signatures(block, header)
        except EarmarkError as error:
            self._audit.note(where, f"{type(error).__name__}: {error}")
        if len(self._audit.contradictions) == before:
            self._audit.sealed = block.size

    def _check_order(self, where: str, block: SealedBlock, header: Header, tree: merkle.Frontier) -> None:
        last = self._last
        faults = {
            f"stands where block {self._height} should": header.height != self._height,
            "is stored under another height than its header's": header.height != block.height,
            f"is stored with {block.size} leaves, its header says {header.size}": header.size != block.size,
            "is of another log": header.origin_hash != origin_hash(self._registry.origin),
            "does not follow the block before it": header.prev != (last.hash if last else NO_BLOCK) and not self._is_lost(),
            "seals no more than the block before it": last is not None and header.size <= last.size,
            "is older than the block before it": last is not None and header.sealed_at_ms < last.sealed_at_ms,
            "has a beacon that the store has not": header.beacon not in (NO_BEACON,) and self._beacons.is_lost(header.beacon),
        }
        for fault, is_so in faults.items():
            if is_so:
                self._audit.note(where, fault)
        self._height = header.height + 1
        if header.size == tree.size and header.root != tree.root():
            self._bad_roots += 1
            if self._bad_roots == 1:
                self._audit.note(where, f"its root is not the one over the first {tree.size} statements")
