"""Recompute a log from its store alone, trusting only the operator's public key, docs/protocol.md §3 to §7.

All cores examine the log, stretch by stretch; what a stretch leaves open is settled here, in order.  No leaf is kept:
memory grows with nodes, holes and anchors, not with leaves.
What does not fit is collected by name instead of raised, so that one fault does not hide the next.
"""

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256

from earmark import merkle
from earmark.audit.blocks import Beacons, Blocks
from earmark.audit.finding import MOST_CONTRADICTIONS, Audit, Contradiction, Enough
from earmark.audit.rest import check_anchors, check_cosignatures, check_quarantine
from earmark.audit.sequence import Sequence
from earmark.audit.stretch import Place, Run, Stretch, SurveyAll, by_all_cores, kind_of, span_of, survey
from earmark.audit.tiles import Tiles
from earmark.cose import did
from earmark.errors import EarmarkError, EncodingError
from earmark.registry import Registry
from earmark.statement import Claims, decode
from earmark.store import Store
from earmark.tiles import WIDTH
from earmark.verifier import examine

__all__ = ["MOST_CONTRADICTIONS", "Audit", "Contradiction", "by_all_cores", "check_log"]

LONGEST = 16 * WIDTH
"""Leaves of a stretch; the last ones are shorter, so that all cores end together."""

_SHOWN_RUNS = 4


def check_log(
    store: Store,
    operator: bytes,
    progress: Callable[[int, int], None] = lambda done, total: None,
    survey_all: SurveyAll | None = None,
) -> Audit:
    """Recompute everything in a store that does not change meanwhile, and return what was found.

    Every statement: that it decodes, its signature, its right to its leaf (registry replayed, `seq` and `prev` of its
    chain), and that the store finds it; the tree from the statements, against every stored tile and every block's root;
    headers, checkpoints and receipts; beacons (an unfit one is named once a stretch), anchors' evidence, runs and
    quarantine.  `progress` gets the number of leaves done, and of all.  What was cut off the log's end with its blocks,
    nothing in the store can show.

    `survey_all` gives `survey` of each (start, stop), in order, as `by_all_cores` does; else this process does all.
    """
    audit = Audit(size=store.size())
    walk = _Walk(store, operator, audit)
    places = _stretches(audit.size)
    surveyed = survey_all(places) if survey_all else (survey(store, *place) for place in places)
    try:
        for stretches in surveyed:
            for stretch in stretches:
                walk.advance(stretch)
            progress(stretches[-1].stop, audit.size)
        if not audit.size:
            audit.note("leaf 0", "is missing: a log begins with the gateway's enrolment, and nothing is here")
        walk.finish()
        check_anchors(store, audit)
        check_cosignatures(store, audit)
        check_quarantine(store, audit)
    except Enough:
        pass
    return audit


def _stretches(size: int) -> Iterator[Place]:
    """Give the stretches that a log of this size is examined in."""
    start = 0
    while start < size:
        stop = start + min(LONGEST, max(WIDTH, (size - start) // 16 // WIDTH * WIDTH))
        yield start, min(size, stop)
        start = stop


class _Walk:
    """The state of one check, stretch by stretch."""

    def __init__(self, store: Store, operator: bytes, audit: Audit) -> None:
        self._store = store
        self._audit = audit
        self._registry = Registry(operator)
        self._tree = Tiles(store.tile, audit.note)
        self._stored = {(chain.key, chain.sub): chain for chain in store.chains()}
        self._chains: dict[tuple[bytes, str], Sequence] = {}
        self._beacons = Beacons(store)
        self._blocks = Blocks(store.blocks(), self._registry, self._beacons, audit)

    def advance(self, stretch: Stretch) -> None:
        """Check the next leaves, and the blocks that end there."""
        if stretch.leaves and self._registry.gateway:
            self._grow(stretch.leaves)
            for run in stretch.runs:
                self._run(stretch, run)
            for nonce, index in stretch.beacons.items():
                self._beacon(index, nonce)
        else:
            self._leaves(stretch.start, stretch.stop)
            self._fill(stretch.stop)

    def _grow(self, leaves: list[bytes]) -> None:
        """Add leaf hashes to the tree, and check the blocks that end at one of them."""
        at = 0
        while at < len(leaves):
            part = leaves[at : at + max(1, self._blocks.next_size - self._tree.size)]
            self._tree.extend(part)
            self._blocks.advance(self._tree)
            at += len(part)

    def _fill(self, size: int) -> None:
        """Take for the leaves up to this size, which the store has no statements for, what its tiles say."""
        for missing in range(self._tree.size, size):
            self._audit.note(f"leaf {missing}", "has no statement in the store")
            self._grow([self._tree.stored_leaf(missing)])

    def _leaves(self, start: int, stop: int) -> None:
        """Check leaf by leaf."""
        for index, place, raw in self._store.leaves(start, stop):
            self._fill(index)
            claims, error = examine(raw)
            self._leaf(index, place, raw, claims, error)
            if not self._registry.gateway:
                who = did(self._registry.operator)
                self._audit.note("leaf 0", f"does not enrol a gateway under {who}: another operator's log, or altered")
                raise Enough
            self._grow([merkle.leaf_hash(claims.entry if claims else sha256(raw).digest())])

    def _leaf(
        self, index: int, place: tuple[int, int], raw: bytes, claims: Claims | None, error: EarmarkError | None
    ) -> None:
        try:
            if error or claims is None:
                raise error or EncodingError("nothing was decoded")
            self._registry.check_signer(claims)
            self._follow(index, place, raw, claims)
        except EarmarkError as fault:
            self._audit.note(f"leaf {index}", f"{type(fault).__name__}: {fault}")
            return
        self._audit.kinds[kind_of(claims)] += 1
        if claims.beacon:
            self._beacon(index, claims.beacon)

    def _beacon(self, index: int, nonce: bytes) -> None:
        unfit = self._beacons.fault(nonce, is_ours=False)
        if unfit:
            self._audit.note(f"leaf {index}", unfit)

    def _follow(self, index: int, place: tuple[int, int], raw: bytes, claims: Claims) -> None:
        """Check the statement's place in its chain, and that the store finds it there."""
        name = claims.key, claims.sub
        sequence = self._chains.get(name) or self._chains.setdefault(name, Sequence())
        link = claims.seq, claims.seq, claims.prev, claims.entry
        fault = sequence.fault(*link)
        sequence.add(*link)
        if fault:
            self._audit.note(f"leaf {index}", f"seq {claims.seq} of {claims.sub} {fault}")
        stored = self._stored.get(name)
        if stored is None or place != (stored.id, claims.seq):
            self._audit.note(f"leaf {index}", f"the store does not find it as seq {claims.seq} of {claims.sub}")
        if claims.kind == "gap":
            sequence.explain(*span_of(raw))
        if self._registry.is_registry(claims):
            if sequence.numbers() != [(1, claims.seq)]:
                self._audit.note(f"leaf {index}", f"seq {claims.seq} of the operator came before its predecessor")
            self._registry.apply(index, decode(raw))

    def _run(self, stretch: Stretch, run: Run) -> None:
        """Check a whole run as its leaves would be; where it does not fit, these say one by one why."""
        name = run.first.key, run.first.sub
        sequence, stored = self._chains.get(name) or self._chains.setdefault(name, Sequence()), self._stored.get(name)
        links = run.first.seq, run.last, run.first.prev, run.entry
        if stored is None or stored.id != run.chain or sequence.fault(*links) or not self._may_sign(run.first):
            self._one_by_one(stretch, run)
            return
        sequence.add(*links)
        self._audit.kinds += run.kinds
        for gap in run.gaps:
            sequence.explain(*gap)

    def _may_sign(self, claims: Claims) -> bool:
        try:
            self._registry.check_signer(claims)
        except EarmarkError:
            return False
        return True

    def _one_by_one(self, stretch: Stretch, run: Run) -> None:
        said = {(run.chain, seq) for seq in range(run.first.seq, run.last + 1)}
        for index, place, raw in self._store.leaves(stretch.start, stretch.stop):
            if place in said:
                self._leaf(index, place, raw, *examine(raw))

    def finish(self) -> None:
        """Check what shows only at the end: tiles, blocks beyond the log, runs."""
        self._tree.finish()
        self._blocks.finish(self._tree.size)
        for key, sub in sorted(self._stored.keys() | self._chains.keys()):
            found = self._chains.get((key, sub), Sequence()).numbers()
            stored = self._stored.get((key, sub))
            if stored and list(stored.runs) != found:
                counted = f"has seq {_shown(found)}, the store counts {_shown(stored.runs)}"
                self._audit.note(f"runs of {sub}", f"{did(key)} {counted}")
        self._audit.nodes = len(self._registry.nodes())
        self._audit.origin = self._registry.origin
        for key, since in self._registry.in_other_hands().items():
            stolen = [chain for (signer, _), chain in self._stored.items() if signer == key]
            self._audit.not_counting += sum(self._store.count_from(chain.id, since) for chain in stolen)
        for sequence in self._chains.values():
            missing, explained = sequence.missing()
            self._audit.missing += missing
            self._audit.explained += explained


def _shown(runs: Iterable[tuple[int, int]]) -> str:
    shown = [f"{first}-{last}" for first, last in runs]
    more = f" and {len(shown) - _SHOWN_RUNS} more runs" if len(shown) > _SHOWN_RUNS else ""
    return ", ".join(shown[:_SHOWN_RUNS]) + more or "none"
