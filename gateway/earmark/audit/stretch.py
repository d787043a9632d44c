"""Stretches of the log, examined by themselves in any process: what remains is to hold them against the log before."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from earmark.body import BY_OPERATOR, METHODS
from earmark.bulk import TYPICAL, Pool
from earmark.merkle import leaf_hash
from earmark.statement import REGISTRY, Claims, decode
from earmark.store import Store
from earmark.store.sqlite import SqliteStore
from earmark.verifier import examine


@dataclass(slots=True)
class Run:
    """Statements of one chain that follow each other without a hole.

    `chain` is the store's number of the chain; `first` is what the first one says, `last` and `entry` are the last
    one's; `kinds` counts them by method or kind, `gaps` are the (first, last) that `gap` statements among them explain.
    """

    chain: int
    first: Claims
    last: int
    entry: bytes
    kinds: Counter[str] = field(default_factory=Counter)
    gaps: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True)
class Stretch:
    """Leaves `start` … `stop`−1, every statement of which is a node's, is verified, is stored under its own `seq`, and
    stands in one of the runs.

    `leaves` are their hashes; `beacons` has the first leaf that carries each nonce.  A stretch without `leaves` is of
    statements of which this cannot be said: whoever knows the log before them looks at them one by one.
    """

    start: int
    stop: int
    leaves: list[bytes] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    beacons: dict[bytes, int] = field(default_factory=dict)


Place = tuple[int, int]
"""The first leaf of a stretch, and the one behind its last."""

SurveyAll = Callable[[Iterable[Place]], Iterable[list[Stretch]]]


def survey(store: Store, start: int, stop: int) -> list[Stretch]:
    """Examine leaves start … stop−1, and return them as stretches, in order."""
    return list(_survey(store, start, stop))


def _survey(store: Store, start: int, stop: int) -> Iterator[Stretch]:
    stretch, newest = Stretch(start, start), dict[tuple[bytes, str], Run]()
    for index, (chain, seq), raw in store.leaves(start, stop):
        claims, error = examine(raw)
        is_plain = claims and not error and seq == claims.seq and claims.sub != REGISTRY
        if claims is None or not is_plain or claims.kind in BY_OPERATOR or index != stretch.stop:
            if stretch.leaves:
                yield stretch
                stretch, newest = Stretch(stretch.stop, stretch.stop), {}
            stretch.stop = index + 1
            continue
        if stretch.stop > stretch.start and not stretch.leaves:
            yield stretch
            stretch = Stretch(index, index)
        stretch.stop = index + 1
        stretch.leaves.append(leaf_hash(claims.entry))
        name = claims.key, claims.sub
        run = newest.get(name)
        if run is None or run.entry != claims.prev or run.last + 1 != seq or run.chain != chain:
            run = newest[name] = Run(chain, claims, seq, claims.entry)
            stretch.runs.append(run)
        else:
            run.last, run.entry = seq, claims.entry
        run.kinds[kind_of(claims)] += 1
        if claims.beacon:
            stretch.beacons.setdefault(claims.beacon, index)
        if claims.kind == "gap":
            run.gaps.append(span_of(raw))
    yield stretch
    if stretch.stop < stop:
        yield Stretch(stretch.stop, stop)


@contextmanager
def by_all_cores(path: Path) -> Iterator[SurveyAll | None]:
    """Have stretches of the log in this file examined by a process of each core, which start at once; each opens the
    store for itself, and this process may do so only within the block.  None where that is not worth it.
    """
    size = path.stat().st_size if path.exists() else 0
    with Pool(size // TYPICAL) as pool:
        yield partial(pool.map, partial(_survey_file, path)) if pool.has_processes else None


def _survey_file(path: Path, place: Place) -> list[Stretch]:
    with closing(SqliteStore(path, snapshot=True)) as store:  # not kept open: a gateway's write-ahead log would grow
        return survey(store, *place)


def kind_of(claims: Claims) -> str:
    """Return how a statement is counted: readings by their method, all others by their kind."""
    return claims.kind if claims.method is None else METHODS[claims.method]


def span_of(gap: bytes) -> tuple[int, int]:
    """Return the first and last `seq` that a `gap` statement explains."""
    body = decode(gap).body or {}
    return body[1], body[2]
