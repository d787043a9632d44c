"""The running calendar: rounds, anchors and HTTP, until it is told to stop."""

import logging
import threading
import time

from earmark.anchor.target import Target
from earmark.anchoring import UNLIMITED, Anchoring, Plan
from earmark.calendar.folder import CalendarFolder
from earmark.calendar.ledger import Ledger
from earmark.calendar.pages import Pages, overdue_since
from earmark.calendar.rounds import Rounds
from earmark.errors import CorruptLog, EarmarkError
from earmark.export import iso
from earmark.process import clock_ms
from earmark.public import open_target
from earmark.serving import serving
from earmark.settings import AnchorSettings

STEP_S = 1.0
REMIND_S = 3600.0
_SATOSHIS = 10**8

_log = logging.getLogger(__name__)


def run(calendar: CalendarFolder, stop: threading.Event, target: Target | None = None) -> None:
    """Run the calendar until `stop` is set; `target` in place of the one in its settings.

    `ConfigError` where it cannot begin, `CorruptLog` where its records contradict themselves; whatever else ends the
    thread that answers digests ends all of it.
    """
    settings = calendar.settings
    with calendar.lock():
        Ledger(calendar.database).close()
        to = target or open_target(calendar.folder, calendar.anchor, None)
        rounds = Rounds(calendar.database, settings)
        ended = threading.Event()
        gathering = threading.Thread(target=rounds.run, args=(ended,), name="earmark-rounds")
        gathering.start()
        try:
            with serving(settings.listen, settings.port, Pages(calendar, rounds).served(), "a calendar"):
                _anchor(calendar, to, rounds, stop)
        finally:
            ended.set()
            gathering.join()


def _anchor(calendar: CalendarFolder, target: Target, rounds: Rounds, stop: threading.Event) -> None:
    """Bring the anchors on, step by step, and say each hour where digests wait for too long."""
    ledger = Ledger(calendar.database)
    anchoring = Anchoring(ledger, target, plan_of(calendar.anchor), clock_ms)
    next_s = 0.0
    try:
        while not stop.wait(STEP_S):
            if rounds.failure:
                raise rounds.failure
            try:
                anchoring.step()
                if time.monotonic() >= next_s:
                    next_s = time.monotonic() + REMIND_S
                    _remind(calendar, ledger)
            except CorruptLog:
                raise
            except EarmarkError as error:
                _log.warning("anchoring on %s waits: %s", target.place.name, error)
            except Exception:  # noqa: BLE001 - an anchor's fault must not end the calendar
                _log.exception("anchoring on %s failed in a way that it should not", target.place.name)
    finally:
        ledger.close()


def _remind(calendar: CalendarFolder, ledger: Ledger) -> None:
    since_ms = overdue_since(calendar, ledger, clock_ms())
    if since_ms is not None:
        said = "digests that came at %s are still in no block: look at the endpoint, the fee cap and the funds"
        _log.error(said, iso(since_ms // 1000))


def plan_of(settings: AnchorSettings) -> Plan:
    """Return how often to anchor, by a table of settings."""
    budget = round(settings.month_budget * _SATOSHIS) if settings.month_budget else UNLIMITED
    return Plan(round(settings.every_s), round(settings.overdue_s), round(settings.replace_after_s), budget)
