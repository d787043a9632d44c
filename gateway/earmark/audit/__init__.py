"""Recompute a log from its store alone, trusting only the operator's public key, docs/protocol.md §3 to §7.

Leaves are read once, in order, verified by all cores, and none is kept: memory grows with nodes, holes and anchors, not
with leaves.
What does not fit is collected by name instead of raised, so that one fault does not hide the next.
"""

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from itertools import tee

from earmark import merkle
from earmark.audit.blocks import Beacons, Blocks
from earmark.audit.finding import MOST_CONTRADICTIONS, Audit, Contradiction, Enough
from earmark.audit.rest import check_anchors, check_quarantine
from earmark.audit.sequence import Sequence
from earmark.audit.tiles import Tiles
from earmark.bulk import examine_all
from earmark.cose import did
from earmark.errors import EarmarkError, EncodingError
from earmark.registry import Registry
from earmark.statement import METHODS, Claims, decode
from earmark.store import Store

__all__ = ["MOST_CONTRADICTIONS", "Audit", "Contradiction", "check_log"]

PROGRESS_LEAVES = 500
_SHOWN_RUNS = 4


def check_log(store: Store, operator: bytes, progress: Callable[[int, int], None] = lambda done, total: None) -> Audit:
    """Recompute everything in a store that does not change meanwhile, and return what was found.

    Every statement: that it decodes, its signature, its right to its leaf (registry replayed, `seq` and `prev` of its
    chain), and that the store finds it; the tree from the statements, against every stored tile and every block's root;
    headers, checkpoints and receipts; beacons, anchors' evidence, runs and quarantine.  `progress` gets the number of
    leaves done, and of all.  What was cut off the log's end with its blocks, nothing in the store can show.
    """
    audit = Audit(size=store.size())
    walk = _Walk(store, operator, audit)
    try:
        for done in walk.leaves():
            if done % PROGRESS_LEAVES == 0 or done == audit.size:
                progress(done, audit.size)
        if not audit.size:
            audit.note("leaf 0", "is missing: a log begins with the gateway's enrolment, and nothing is here")
        walk.finish()
        check_anchors(store, audit)
        check_quarantine(store, audit)
    except Enough:
        pass
    return audit


class _Walk:
    """The state of one check, leaf by leaf."""

    def __init__(self, store: Store, operator: bytes, audit: Audit) -> None:
        self._store = store
        self._audit = audit
        self._registry = Registry(operator)
        self._tree = Tiles(store.tile, audit.note)
        self._stored = {(chain.key, chain.sub): chain for chain in store.chains()}
        self._chains: dict[tuple[bytes, str], Sequence] = {}
        self._beacons = Beacons(store)
        self._blocks = Blocks(store.blocks(), self._registry, self._beacons, audit)

    def leaves(self) -> Iterator[int]:
        """Check leaf after leaf, and the blocks where they end; gives how many leaves are done."""
        ahead, rows = tee(self._store.leaves(0, self._audit.size))
        verdicts = examine_all((raw for *_, raw in ahead), self._audit.size)
        for (index, place, raw), verdict in zip(rows, verdicts, strict=True):
            for missing in range(self._tree.size, index):
                self._audit.note(f"leaf {missing}", "has no statement in the store")
                self._tree.append(self._tree.stored_leaf(missing))
            claims, error = verdict
            self._tree.append(merkle.leaf_hash(claims.entry if claims else sha256(raw).digest()))
            self._leaf(index, place, raw, claims, error)
            if not self._registry.gateway:
                who = did(self._registry.operator)
                self._audit.note("leaf 0", f"does not enrol a gateway under {who}: another operator's log, or altered")
                raise Enough
            self._blocks.advance(self._tree)
            yield self._tree.size

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
        kind = claims.kind if claims.method is None else METHODS[claims.method]
        self._audit.kinds[kind] += 1
        unfit = self._beacons.fault(claims.beacon, is_ours=False) if claims.beacon else ""
        if unfit:
            self._audit.note(f"leaf {index}", unfit)

    def _follow(self, index: int, place: tuple[int, int], raw: bytes, claims: Claims) -> None:
        """Check the statement's place in its chain, and that the store finds it there."""
        name = claims.key, claims.sub
        sequence = self._chains.get(name) or self._chains.setdefault(name, Sequence())
        fault = sequence.add(claims)
        if fault:
            self._audit.note(f"leaf {index}", f"seq {claims.seq} of {claims.sub} {fault}")
        stored = self._stored.get(name)
        if stored is None or place != (stored.id, claims.seq):
            self._audit.note(f"leaf {index}", f"the store does not find it as seq {claims.seq} of {claims.sub}")
        if claims.kind == "gap":
            sequence.explain(decode(raw))
        if self._registry.is_registry(claims):
            if sequence.numbers() != [(1, claims.seq)]:
                self._audit.note(f"leaf {index}", f"seq {claims.seq} of the operator came before its predecessor")
            self._registry.apply(index, decode(raw))

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
        for sequence in self._chains.values():
            missing, explained = sequence.missing()
            self._audit.missing += missing
            self._audit.explained += explained


def _shown(runs: Iterable[tuple[int, int]]) -> str:
    shown = [f"{first}-{last}" for first, last in runs]
    more = f" and {len(shown) - _SHOWN_RUNS} more runs" if len(shown) > _SHOWN_RUNS else ""
    return ", ".join(shown[:_SHOWN_RUNS]) + more or "none"
