"""A signer's chain, followed through the log in whatever order its statements were admitted."""

from bisect import bisect_right
from dataclasses import dataclass

from earmark.statement import NO_ENTRY


@dataclass(slots=True)
class _Run:
    """Statements of a chain without a hole: the first's `prev` and the last's entry are what neighbours must fit."""

    first: int
    last: int
    prev: bytes
    entry: bytes


class Sequence:
    """One chain's statements so far, as runs in ascending order, and the gaps that its signer declared."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []
        self._gaps: list[tuple[int, int]] = []

    def numbers(self) -> list[tuple[int, int]]:
        """Return the runs as (first, last)."""
        return [(run.first, run.last) for run in self._runs]

    def explain(self, first: int, last: int) -> None:
        """Take note of what a `gap` statement says."""
        self._gaps.append((first, last))

    def fault(self, first: int, last: int, prev: bytes, entry: bytes) -> str:
        """Say what is wrong with statements without a hole, from seq `first` after `prev` to seq `last` with `entry`
        (§4.2 rules 7 and 8), or nothing.
        """
        newest = self._runs[-1] if self._runs else None
        if newest and (newest.last + 1, newest.entry) == (first, prev):
            return ""
        before, after = self._neighbours(first)
        if (before and before.last >= first) or (after and after.first <= last):
            return "is in the log twice"
        if after and after.first == last + 1 and after.prev != entry:
            return f"is not what the logged seq {last + 1} follows"
        if before and before.last == first - 1 and before.entry != prev:
            return f"does not follow the logged seq {first - 1}"
        return "" if (first == 1) == (prev == NO_ENTRY) else "is first and not, by its prev"

    def add(self, first: int, last: int, prev: bytes, entry: bytes) -> None:
        """Take in statements without a hole, but for those that are there."""
        newest = self._runs[-1] if self._runs else None
        if newest and newest.last + 1 == first:
            newest.last, newest.entry = last, entry
            return
        before, after = self._neighbours(first)
        if (before and before.last >= first) or (after and after.first <= last):
            return
        low = high = bisect_right(self._runs, first, key=_first)
        new = _Run(first, last, prev, entry)
        if before and before.last == first - 1:
            new.first, new.prev, low = before.first, before.prev, low - 1
        if after and after.first == last + 1:
            new.last, new.entry, high = after.last, after.entry, high + 1
        self._runs[low:high] = [new]

    def _neighbours(self, seq: int) -> tuple[_Run | None, _Run | None]:
        """Return the run that begins at or before a `seq`, and the one after it."""
        at = bisect_right(self._runs, seq, key=_first)
        return self._runs[at - 1] if at else None, self._runs[at] if at < len(self._runs) else None

    def missing(self) -> tuple[int, int]:
        """Return how many `seq` below the newest are not in the log, and how many of these a gap explains."""
        ends = [0, *(run.last for run in self._runs)]
        holes = [(end + 1, run.first - 1) for end, run in zip(ends, self._runs, strict=False) if run.first > end + 1]
        return sum(last - first + 1 for first, last in holes), _overlap(holes, sorted(self._gaps))


def _first(run: _Run) -> int:
    return run.first


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
