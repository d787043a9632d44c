"""Gather what became of each node's statements, and answer: at once when it is quiet, else once an interval."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from earmark import ack, cose
from earmark.errors import BadSignature, EarmarkError, Rejected
from earmark.log import Log, Outcome, Run
from earmark.process import clock_ms

Signer = tuple[bytes, str]


@dataclass(slots=True)
class _Pending:
    seqs: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)


class Acknowledger:
    """Turns outcomes that are on disk into signed acknowledgements, at most one a node and interval (§10.1)."""

    def __init__(self, log: Log, gateway: cose.Signer, interval_ms: int) -> None:
        self._log = log
        self._gateway = gateway
        self._interval_ms = interval_ms
        self._pending: dict[Signer, _Pending] = {}
        self._answered_at_ms: dict[bytes, int] = {}  # by key: one may sign under any number of names
        self._due: list[tuple[int, Signer]] = []

    def note(self, outcomes: list[Outcome]) -> None:
        """Take in outcomes of `Log`: logged or repeated ones, and what was refused for good of signers that are
        known.
        """
        for outcome in outcomes:
            claims, error = outcome.arrival.claims, outcome.error
            if claims is None or (error is not None and _is_unanswered(error)):
                continue
            pending = self._pending.get((claims.key, claims.sub)) or self._begin(claims.key, claims.sub)
            if pending is None:
                continue
            if error is None:
                pending.seqs.append(claims.seq)
            else:
                pending.refused[claims.seq] = type(error).__name__

    def _begin(self, key: bytes, sub: str) -> _Pending | None:
        if self._log.registry.node(key) is None:
            return None
        pending = self._pending[key, sub] = _Pending()
        due_ms = self._answered_at_ms.get(key, -self._interval_ms) + self._interval_ms
        heappush(self._due, (due_ms, (key, sub)))
        return pending

    def due(self, now_ms: int) -> list[tuple[str, bytes]]:
        """Return (node name, acknowledgement) of every node that is to be answered now."""
        answers = []
        while self._due and self._due[0][0] <= now_ms:
            _, signer = heappop(self._due)
            self._answered_at_ms[signer[0]] = now_ms
            answers += [(signer[1], payload) for payload in self._sign(signer, self._pending.pop(signer))]
        return answers

    def _sign(self, signer: Signer, pending: _Pending) -> list[bytes]:
        runs = covering(self._log.runs(*signer), sorted(pending.seqs))
        refused = tuple(sorted(pending.refused.items()))
        newest = self._log.newest
        checkpoint = newest.checkpoint if newest else b""
        kid = cose.kid(signer[0])
        parts = range(0, max(len(runs), len(refused)), ack.MAX_ROWS)
        cut = [(runs[at : at + ack.MAX_ROWS], refused[at : at + ack.MAX_ROWS]) for at in parts]
        now_ms = clock_ms()
        return [ack.sign(self._gateway, ack.Acknowledgement(kid, *rows, checkpoint, now_ms)) for rows in cut]


def covering(runs: Sequence[Run], seqs: list[int]) -> tuple[Run, ...]:
    """Return the runs that hold any of these ascending `seq`, each only up to the last one that came.

    What lies beyond was not sent now: a board that went back in time may have signed other bytes there.
    """
    found: list[Run] = []
    for seq in seqs:
        at = bisect_right(runs, seq, key=lambda run: run[0]) - 1
        if at < 0 or runs[at][1] < seq:
            continue
        first = runs[at][0]
        if found and found[-1][0] == first:
            found.pop()
        found.append((first, seq))
    return tuple(found)


def _is_unanswered(error: EarmarkError) -> bool:
    """Say whether nobody is to be told: held statements come in by themselves, and anyone can forge a signature."""
    return isinstance(error, BadSignature) or (isinstance(error, Rejected) and error.held)
