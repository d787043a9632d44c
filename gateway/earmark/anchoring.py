"""The state machine that takes block hashes to their targets: planned → signed → broadcast → mined → final.

Every step is on disk before the next begins, so it may stop anywhere: after a restart the stored payload is polled,
and sent again in identical bytes where the target does not know it.  One block is under way to a target at a time.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from earmark.anchor.target import Target
from earmark.block import decode_header
from earmark.errors import AnchorError
from earmark.store import FINAL, AnchorRow, SealedBlock, Store

MOST_WAIT_S = 60

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """How often to anchor to a target, and after which time an anchor that is not final is called overdue."""

    every_s: int
    overdue_s: int = 48 * 3600


class Anchoring:
    """Drives one target over the store; the caller calls `step` every now and then, from one thread."""

    def __init__(self, store: Store, target: Target, plan: Plan, clock_ms: Callable[[], int]) -> None:
        self._store = store
        self._target = target
        self._plan = plan
        self._clock_ms = clock_ms

    def step(self) -> None:
        """Bring the open anchor on by one state, or plan the next one when it is due.

        An `AnchorError` is kept as the row's reason, and the same state is tried again at the next step.
        """
        last = self._store.newest_anchor(self._target.name)
        if (last is None or last.state == FINAL) and self._is_due(last):
            last = plan(self._store, self._target.name, self._target.kind, self._clock_ms())
        if last and last.state != FINAL and self._may_try(last):
            self._advance(last)

    def _is_due(self, last: AnchorRow | None) -> bool:
        """Say whether it is time for the next anchor; a clock that went back does not put it off."""
        waited_ms = self._clock_ms() - last.planned_at_ms if last else 0
        return last is None or not 0 <= waited_ms < self._plan.every_s * 1000

    def _may_try(self, row: AnchorRow) -> bool:
        """Say whether a row that failed has waited long enough: twice as long after each failure, up to a minute."""
        waited_ms = self._clock_ms() - row.changed_at_ms
        return not (row.attempts and 0 <= waited_ms < 1000 * min(MOST_WAIT_S, 1 << min(row.attempts, 10)))

    def _advance(self, row: AnchorRow) -> None:
        """Take the next step of a row, each from what is on disk: a payload, once signed, is never let go of."""
        try:
            if row.state == "planned":
                row = self._put(_moved(row, "signed", self._target.sign(row.block_hash)))
            if row.state == "signed":
                self._put(_moved(row, "broadcast", self._target.send(row.payload)))
            else:
                self._look(row)
        except AnchorError as error:
            if str(error) != row.reason:
                _log.warning("the anchor of block %s on %s waits: %s", row.height, row.target, error)
            self._put(replace(row, reason=str(error), attempts=row.attempts + 1))

    def _look(self, row: AnchorRow) -> None:
        """Ask how far the payload has come, and write down what is new."""
        progress = self._target.poll(row.payload)
        seen = replace(row, reference=progress.reference, evidence=progress.evidence or b"", reason="", attempts=0)
        match progress.state:
            case "mined" | "final":
                seen = replace(seen, state=progress.state)
            case "unknown":
                seen = replace(seen, state="signed", reason="the target does not know it: sent again")
            case "void":
                seen = replace(seen, state="planned", payload=b"", reason="displaced for good by another: signed anew")
            case "pending" if row.state == "mined":
                seen = replace(seen, state="broadcast", reason="its block was reorganised away: waiting for another")
            case "pending":
                seen = replace(seen, reason=row.reason)
        if seen != row:
            self._put(seen)
        if seen.state == "final":
            _log.info("block %s is anchored for good on %s: %s", row.height, row.target, seen.reference)

    def _put(self, row: AnchorRow) -> AnchorRow:
        with self._store.transaction():
            self._store.put_anchor(replace(row, changed_at_ms=self._clock_ms()))
        return row


def plan(store: Store, target: str, kind: str, at_ms: int) -> AnchorRow | None:
    """Plan the newest block's anchor to a target; None where there is no block, it has one, or one is under way."""
    if _next_block(store, target) is None:
        return None
    with store.transaction():
        block = _next_block(store, target)
        if block is None:
            return None
        block_hash = decode_header(block.header).hash
        row = AnchorRow(target, kind, block.height, block_hash, "planned", planned_at_ms=at_ms, changed_at_ms=at_ms)
        store.put_anchor(row)
        return row


def _next_block(store: Store, target: str) -> SealedBlock | None:
    block, last = store.newest_block(), store.newest_anchor(target)
    if last and (last.state != FINAL or block is None or last.height >= block.height):
        return None
    return block


def _moved(row: AnchorRow, state: str, payload: bytes) -> AnchorRow:
    return replace(row, state=state, payload=payload, reason="", attempts=0)


def is_overdue(row: AnchorRow, overdue_s: int, now_ms: int) -> bool:
    """Say whether an anchor should have been final by now."""
    return row.state != FINAL and now_ms - row.planned_at_ms > overdue_s * 1000
