"""The state machine that takes block hashes to their targets: planned → signed → broadcast → mined → final.

Every step is on disk before the next begins, so it may stop anywhere: after a restart the stored payload is polled,
and sent again in identical bytes where the target does not know it.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from earmark import evidence as proofs
from earmark.anchor.target import Deferred, Place, Progress, Target
from earmark.errors import AnchorError, CorruptLog, EarmarkError, ProofError, StoreError
from earmark.store import FINAL, AnchorRow, AnchorStore

MOST_WAIT_S = 60
OVERDUE_S = 48 * 3600
DAY_MS = 24 * 3600 * 1000
MONTH_MS = 30 * DAY_MS
"""What a month's budget is for: any thirty days."""

WATCHED_MS = DAY_MS
RECHECK_MS = 600_000
"""A final anchor is looked at again, so often and for so long: a chain may go back deeper than anybody expected."""

WARN_MS = 3600 * 1000
"""A failure that goes on is told of again so often, whatever numbers its words have meanwhile."""

UNLIMITED = 1 << 62

EVENTS = ("replaced", "reorganised", "deferred", "resent", "voided", "failed")
"""What can happen to an anchor beside coming on; metrics count them."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """How often to anchor to a target, and its bounds.

    An anchor that is not final after `overdue_s` is called overdue, and a free one that waits so long is handed in
    again; one that waits in a chain's pool for `replace_after_s` is sent with a higher fee.  `month_budget` is for any
    thirty days, in the chain's smallest unit.
    """

    every_s: int
    overdue_s: int = OVERDUE_S
    replace_after_s: int = 1800
    month_budget: int = UNLIMITED


def _untold(event: str, row: AnchorRow) -> None: ...


class Anchoring:
    """Drives one target over the store; the caller calls `step` every now and then, from one thread.

    What is anchored is the store's matter: the log's gives its newest block, a calendar's the digest of all rounds
    since its last anchor.
    """

    def __init__(
        self,
        store: AnchorStore,
        target: Target,
        plan: Plan,
        clock_ms: Callable[[], int],
        tell: Callable[[str, AnchorRow], None] = _untold,
    ) -> None:
        """`tell` hears of each of `EVENTS` as it happens."""
        self._store = store
        self._target = target
        self._plan = plan
        self._clock_ms = clock_ms
        self._tell = tell
        self._rechecked_ms = 0
        self._warned: dict[int, tuple[type[EarmarkError], int]] = {}

    def step(self) -> None:
        """Bring each open anchor on by one state, and plan the next one when it is due.

        What goes wrong with a row is kept as its reason, and the same state is tried again at a later step; only a
        store that cannot write or contradicts itself ends a step.
        """
        self._recheck()
        if self._is_due():
            plan(self._store, self._target.place, self._clock_ms(), self._plan.overdue_s)
        for row in self._store.anchor_rows(self._target.place.name, open_only=True):
            if self._may_try(row):
                self._advance(row)

    def _is_due(self) -> bool:
        """Say whether it is time for the next anchor; a clock that went back does not put it off."""
        last = self._store.newest_anchor(self._target.place.name)
        waited_ms = self._clock_ms() - last.planned_at_ms if last else 0
        return last is None or not 0 <= waited_ms < self._plan.every_s * 1000

    def _may_try(self, row: AnchorRow) -> bool:
        """Say whether a row that failed has waited long enough: twice as long after each failure, up to a minute.

        One that has just been sent has no reason to wait, however often it was.
        """
        waited_ms = self._clock_ms() - row.changed_at_ms
        has_failed = row.attempts and row.reason
        return not (has_failed and 0 <= waited_ms < 1000 * min(MOST_WAIT_S, 1 << min(row.attempts, 10)))

    def _advance(self, row: AnchorRow) -> None:
        """Take the next step of a row, each from what is on disk: a payload, once signed, is never let go of."""
        if row.state != "planned" and not self._is_ours(row):
            self._leave(row)
            return
        try:
            if row.state == "planned":
                signed = self._target.sign(row.block_hash, self._budget(row))
                moved = self._moved(row, "signed", payload=signed.payload, cost=signed.cost)
                place = self._target.place  # the settings may have named another when it was planned
                row = self._put(replace(moved, kind=place.kind, chain=place.chain))
            if row.state == "signed":
                self._send(row)
            else:
                row, tried = self._look(row), row.attempts
                if row.state in ("signed", "broadcast") and self._is_stuck(row):
                    row = replace(row, attempts=max(tried, row.attempts))
                    self._replace(row)
        except (StoreError, CorruptLog):
            raise
        except EarmarkError as error:
            self._failed(row, error)
        else:
            self._warned.pop(row.height, None)

    def _is_ours(self, row: AnchorRow) -> bool:
        """Say whether a row's payload is for this target: the settings may have given its name to another chain.

        The target of time stamps knows the requests of another authority itself.
        """
        place = self._target.place
        return row.kind == place.kind and (row.chain == place.chain or row.kind == proofs.RFC3161)

    def _leave(self, row: AnchorRow) -> None:
        place = self._target.place
        reason = (
            f"it was signed for {row.chain} ({row.kind}), and {place.name} is {place.chain} ({place.kind}) by now: "
        )
        reason += "give that one a name of its own, and the former its settings back"
        if row.reason != reason:
            _log.warning("the anchor of block %s on %s is left alone: %s", row.height, row.target, reason)
            self._put(replace(row, reason=reason))

    def _send(self, row: AnchorRow) -> None:
        """Give the payload to the network.

        Where that refuses it, it may be there or in a block all the same, have been displaced for good, or pay too
        little for what the network asks by now.
        """
        try:
            payload = self._target.send(row.payload)
        except AnchorError as error:
            progress = self._target.poll(row.payload)
            if progress.state in ("mined", FINAL, "void"):
                self._put(self._seen(row, progress))
            elif row.cost and self._is_stuck(row):
                self._replace(row)
            else:
                raise error from None
        else:
            # The same bytes are on their way since they were signed, and as often in vain as counted.
            since = {"state_at_ms": row.state_at_ms, "attempts": row.attempts}
            self._put(self._moved(row, "broadcast", payload=payload, **since))

    def _failed(self, row: AnchorRow, error: EarmarkError) -> None:
        now_ms = self._clock_ms()
        kind, at_ms = self._warned.get(row.height, (None, 0))
        if kind is not type(error) or not 0 <= now_ms - at_ms < WARN_MS:
            self._warned[row.height] = type(error), now_ms
            _log.warning("the anchor of block %s on %s waits: %s", row.height, row.target, error)
            self._tell("deferred" if isinstance(error, Deferred) else "failed", row)
        self._put(replace(row, reason=str(error), attempts=row.attempts + 1))

    def _look(self, row: AnchorRow) -> AnchorRow:
        """Ask how far the payload has come, and write down what is new."""
        progress = self._target.poll(row.payload)
        seen = self._seen(row, progress)
        if seen != row:
            self._put(seen)
        if seen.state == FINAL:
            _log.info("block %s is anchored for good on %s: %s", row.height, row.target, seen.reference)
        return seen

    def _seen(self, row: AnchorRow, progress: Progress) -> AnchorRow:
        """Return a row with what a poll found."""
        said, evidence = progress.reference or row.reference, progress.evidence or b""
        seen = replace(row, reference=said, evidence=evidence, reason=progress.reason, attempts=0)
        seen = replace(seen, payload=progress.payload or row.payload)
        match progress.state:
            case "mined" | "final":
                is_elsewhere = _is_elsewhere(row, progress)
                if is_elsewhere or (row.state, progress.state) == (FINAL, "mined"):
                    self._tell("reorganised", row)
                if is_elsewhere or progress.state != row.state:
                    return self._moved(seen, progress.state, cost=progress.cost or row.cost)
            case "unknown":
                self._tell("resent", row)
                # One that a pool takes and drops, again and again, has waited all the while: it is not new each time.
                since_ms = self._clock_ms() if row.state == "mined" else row.state_at_ms
                seen = self._moved(seen, "signed", state_at_ms=since_ms, attempts=row.attempts + 1)
                return replace(seen, reason="the target does not know it: sent again")
            case "void":
                self._tell("voided", row)
                seen = self._moved(seen, "planned", payload=b"", cost=0)
                return replace(seen, reason=progress.reason or "displaced for good by another: signed anew")
            case "pending" if row.state in ("mined", FINAL):
                self._tell("reorganised", row)
                _log.warning("the chain took back the block with the anchor of block %s on %s", row.height, row.target)
                seen = self._moved(seen, "broadcast")
                return replace(seen, reason="its block was reorganised away: waiting for another")
            case "pending" if not progress.reason:
                return replace(seen, reason=row.reason)
        return seen

    def _is_stuck(self, row: AnchorRow) -> bool:
        """Say whether it has waited too long: for a block at its fee, or for calendars that may have forgotten it."""
        waited_ms = self._clock_ms() - row.state_at_ms
        if row.cost:
            return not 0 <= waited_ms < self._plan.replace_after_s * 1000
        return self._target.place.at_once > 1 and waited_ms >= self._plan.overdue_s * 1000

    def _replace(self, row: AnchorRow) -> None:
        """Sign the same digest with a higher fee, or hand it in again where there is none.

        It is on disk, with those before it, before it is sent.
        """
        signed = self._target.replace(row.payload, self._budget(row))
        how = "sent with a higher fee" if row.cost else "handed in again"
        _log.info("the anchor of block %s waits on %s: %s", row.height, row.target, how)
        self._tell("replaced", row)
        moved = self._moved(row, "signed", payload=signed.payload, cost=signed.cost)
        self._put(replace(moved, reason=f"waited too long: {how}"))

    def _budget(self, row: AnchorRow) -> int:
        """Return what an anchor may cost: what the last thirty days, without the row itself, leave of the budget."""
        since_ms = self._clock_ms() - MONTH_MS
        return self._plan.month_budget - self._store.anchor_cost(row.target, since_ms, besides=row.height)

    def _recheck(self) -> None:
        """Look at the newest final anchors again: as many as may be under way together, for one block may hold all.

        No anchor is lost unnoticed to a chain that goes back very deep.
        """
        now_ms = self._clock_ms()
        if 0 <= now_ms - self._rechecked_ms < RECHECK_MS:
            return
        self._rechecked_ms = now_ms
        for row in self._store.final_anchors_of(self._target.place.name, self._target.place.at_once):
            if 0 <= now_ms - row.state_at_ms < WATCHED_MS and self._is_ours(row):
                self._recheck_one(row)

    def _recheck_one(self, row: AnchorRow) -> None:
        try:
            progress = self._target.poll(row.payload)
        except (StoreError, CorruptLog):
            raise
        except EarmarkError as error:
            _log.info("the final anchor of block %s on %s could not be seen: %s", row.height, row.target, error)
            return
        if progress.state in ("unknown", "pending", "mined") and self._is_behind(row):
            _log.info("%s is behind the block that has the anchor of block %s: looked at later", row.target, row.height)
        elif progress.state in ("unknown", "pending"):
            self._put(self._seen(row, replace(progress, state="pending")))
        elif progress.state != FINAL or progress.evidence != row.evidence:  # another block took it, or a rival did
            if progress.state == "void":
                self._tell("reorganised", row)
            self._put(self._seen(row, progress))

    def _is_behind(self, row: AnchorRow) -> bool:
        """Say whether the target is below the block with a row: then it says nothing that it does not find it."""
        if not row.evidence or not self._target.place.has_head:
            return False
        try:
            newest, _ = self._target.head()
            return newest.number < proofs.read(row.kind, row.chain, row.evidence, row.block_hash).number
        except (AnchorError, ProofError):
            return False

    def _moved(self, row: AnchorRow, state: str, **changes: object) -> AnchorRow:
        fields = {"state": state, "state_at_ms": self._clock_ms(), "reason": "", "attempts": 0}
        return replace(row, **{**fields, **changes})  # type: ignore[arg-type]

    def _put(self, row: AnchorRow) -> AnchorRow:
        with self._store.transaction():
            self._store.put_anchor(replace(row, changed_at_ms=self._clock_ms()))
        return row


def _is_elsewhere(row: AnchorRow, progress: Progress) -> bool:
    """Say whether a row that was in a block is in another one now."""
    if not row.evidence or progress.evidence == row.evidence:
        return False
    try:
        return proofs.read(row.kind, row.chain, row.evidence, row.block_hash) != progress.block
    except ProofError:
        return True


def plan(store: AnchorStore, place: Place, at_ms: int, overdue_s: int = OVERDUE_S) -> AnchorRow | None:
    """Plan an anchor of the newest digest; None where there is none, it has one, or too many are under way.

    Where several may be, as many again that are overdue do not count: calendars that forgot them keep no other waiting.
    """
    if _next_digest(store, place, at_ms, overdue_s) is None:
        return None
    with store.transaction():
        found = _next_digest(store, place, at_ms, overdue_s)
        if found is None:
            return None
        height, digest = found
        row = AnchorRow(place.name, place.kind, place.chain, height, digest, "planned")
        row = replace(row, planned_at_ms=at_ms, state_at_ms=at_ms, changed_at_ms=at_ms)
        store.put_anchor(row)
        return row


def _next_digest(store: AnchorStore, place: Place, at_ms: int, overdue_s: int) -> tuple[int, bytes] | None:
    rows = store.anchor_rows(place.name, open_only=True)
    late = sum(is_overdue(row, overdue_s, at_ms) for row in rows) if place.at_once > 1 else 0
    if len(rows) - min(late, place.at_once) >= place.at_once:
        return None
    found, last = store.newest_digest(place.name), store.newest_anchor(place.name)
    return None if found is None or (last and last.height >= found[0]) else found


def is_overdue(row: AnchorRow, overdue_s: int, now_ms: int) -> bool:
    """Say whether an anchor should have been final by now."""
    return row.state != FINAL and now_ms - row.planned_at_ms > overdue_s * 1000
