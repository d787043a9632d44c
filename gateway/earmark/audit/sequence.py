"""A signer's chain, followed through the log in whatever order its statements were admitted."""

from bisect import bisect_right
from dataclasses import dataclass

from earmark.statement import NO_ENTRY, Claims, Statement


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

    def explain(self, gap: Statement) -> None:
        """Take note of what a `gap` statement says."""
        if gap.body:
            self._gaps.append((gap.body[1], gap.body[2]))

    def add(self, statement: Claims) -> str:
        """Take in a statement; returns what is wrong with its `seq` and `prev` (§4.2 rules 7 and 8), or nothing."""
        newest = self._runs[-1] if self._runs else None
        if newest and (newest.last + 1, newest.entry) == (statement.seq, statement.prev):
            newest.last, newest.entry = statement.seq, statement.entry
            return ""
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
