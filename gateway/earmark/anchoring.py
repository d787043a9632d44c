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
from earmark.store import CLOSED, AnchorRow, Store

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
        if self._is_due():
            plan(self._store, self._target.name, self._target.kind, self._clock_ms())
        for row in self._store.anchor_rows(self._target.name, open_only=True):
            self._advance(row)

    def _is_due(self) -> bool:
        rows = self._store.anchor_rows(self._target.name)
        return not rows or self._clock_ms() - rows[-1].planned_at_ms >= self._plan.every_s * 1000

    def _advance(self, row: AnchorRow) -> None:
        """Take the next step of a row, each from what is on disk: a payload, once signed, is never let go of."""
        try:
            if row.state == "planned":
                row = self._put(replace(row, state="signed", payload=self._target.sign(row.block_hash), reason=""))
            if row.state == "signed":
                self._put(replace(row, state="broadcast", payload=self._target.send(row.payload), reason=""))
            else:
                self._look(row)
        except AnchorError as error:
            if str(error) != row.reason:
                _log.warning("the anchor of block %s on %s waits: %s", row.height, row.target, error)
            self._put(replace(row, reason=str(error), attempts=row.attempts + 1))

    def _look(self, row: AnchorRow) -> None:
        """Ask how far the payload has come, and write down what is new."""
        progress = self._target.poll(row.payload)
        seen = replace(row, reference=progress.reference, evidence=progress.evidence or b"", reason="")
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
    with store.transaction():
        block, rows = store.newest_block(), store.anchor_rows(target)
        if block is None or any(row.height == block.height or row.state not in CLOSED for row in rows):
            return None
        block_hash = decode_header(block.header).hash
        row = AnchorRow(target, kind, block.height, block_hash, "planned", planned_at_ms=at_ms, changed_at_ms=at_ms)
        store.put_anchor(row)
        return row


def is_overdue(row: AnchorRow, overdue_s: int, now_ms: int) -> bool:
    """Say whether an anchor should have been final by now."""
    return row.state not in CLOSED and now_ms - row.planned_at_ms > overdue_s * 1000
