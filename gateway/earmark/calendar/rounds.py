"""Rounds: digests that came within a second, under one commitment that is on disk before any of them is answered."""

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from earmark import ots
from earmark.calendar import tree
from earmark.calendar.folder import CalendarSettings
from earmark.calendar.ledger import Ledger
from earmark.errors import CorruptLog, EarmarkError
from earmark.process import clock_ms

NONCE_SIZE = 16
ANSWER_S = 4.0
"""A digest is answered within this, or refused: shorter than the server's patience."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Waiting:
    """A digest whose round is open."""

    digest: bytes
    is_done: threading.Event = field(default_factory=threading.Event)
    answer: bytes | None = None


class Rounds:
    """Gathers digests and answers them; `submit` from any thread, `run` in one.

    `failure` is set where `run` cannot go on: nothing is answered any more, and the service has to end.
    """

    def __init__(self, database: Path, settings: CalendarSettings, clock: Callable[[], int] = clock_ms) -> None:
        self._database = database
        self._settings = settings
        self._clock_ms = clock
        self._attestation = ots.pending(settings.url)
        self._lock = threading.Lock()
        self._open: list[_Waiting] = []
        self._is_full = threading.Event()
        self._minute = 0
        self._left = settings.most_a_minute
        self.failure: Exception | None = None

    def submit(self, digest: bytes) -> bytes | None:
        """Return the timestamp from a digest to the calendar's address; its commitment is on disk.

        Waits for the round to close.  None where there is no room, or the disk takes nothing.
        """
        waiting = _Waiting(digest)
        with self._lock:
            if not self._has_room():
                return None
            self._open.append(waiting)
            if len(self._open) >= self._settings.round_most:
                self._is_full.set()
        waiting.is_done.wait(ANSWER_S)
        return waiting.answer

    def _has_room(self) -> bool:
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            self._minute, self._left = minute, self._settings.most_a_minute
        if self._left <= 0 or len(self._open) >= self._settings.round_most:
            return False
        self._left -= 1
        return True

    def run(self, stop: threading.Event) -> None:
        """Close a round every `round_s`, or when it is full, until told to stop."""
        try:
            self._run(stop)
        except Exception as error:  # noqa: BLE001 - whoever runs the service raises it
            self.failure = error

    def _run(self, stop: threading.Event) -> None:
        ledger = Ledger(self._database)
        try:
            while not stop.is_set():
                self._is_full.wait(self._settings.round_s)
                self.close(ledger)
            self.close(ledger)
        finally:
            ledger.close()

    def close(self, ledger: Ledger) -> None:
        """Commit the open round and answer its digests; where that fails, none of them has an answer."""
        with self._lock:
            waiting, self._open = self._open, []
            self._is_full.clear()
        if not waiting:
            return
        try:
            self._commit(waiting, ledger)
        except CorruptLog:
            raise
        except EarmarkError as error:
            _log.error("%d digests are not answered: %s", len(waiting), error)
        finally:
            for one in waiting:
                one.is_done.set()

    def _commit(self, waiting: list[_Waiting], ledger: Ledger) -> None:
        # A nonce hides each digest from those beside it, and nobody can guess the commitment.
        first = [(ots.append(secrets.token_bytes(NONCE_SIZE)), ots.HASH) for _ in waiting]
        leaves = [ots.commit(one.digest, ops) for one, ops in zip(waiting, first, strict=True)]
        made = tree.levels(leaves)
        ledger.add_round(made[-1][0], len(waiting), self._clock_ms())
        for index, (one, ops) in enumerate(zip(waiting, first, strict=True)):
            branch = ots.Branch((*ops, *tree.way(made, index)), self._attestation)
            one.answer = ots.encode([branch])
