"""A month of anchors through calendars, simulated, with faults at random: none lost, none twice.

EARMARK_MONTH_BLOCKS sets how many blocks (1,000 are a month at one every 43 minutes), EARMARK_SEED the faults.
"""

import os
import random
from pathlib import Path

import calendar_fakes as fakes
from calendar_fakes import Calendar, Chain, ChainSource, Clock, Reply
from earmark.anchor.calendars import CalendarsTarget
from earmark.anchor.headers import Headers
from earmark.anchoring import Anchoring, Plan
from earmark.evidence import check
from earmark.evidence.bitcoin import REGTEST, decode_ots
from earmark.store.sqlite import SqliteStore
from farm import Bench, new_store
from test_calendars import WRONG_ANSWERS, WRONG_RESTS

BLOCKS = int(os.environ.get("EARMARK_MONTH_BLOCKS", "120"))
SEED = int(os.environ.get("EARMARK_SEED", "0")) or random.randrange(1, 1 << 31)
EVERY_S = 2592
QUICK = ("drips",)
"""Faults that take true time, and are left out."""


class Month:
    """The world: a farm that seals, calendars that fail, a chain that goes back, and a process that dies."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.rng = rng
        self.chain, self.clock = Chain(), Clock()
        self.sources = [ChainSource(self.chain, f"http://headers{at}.example") for at in range(2)]
        self.calendars = [Calendar(self.chain) for _ in range(3)]
        self.folder = folder
        self.bench = Bench(new_store(folder)).found()
        self.node = self.bench.enrol(3, "n1")
        self.events: list[str] = []
        self.start()

    def start(self) -> None:
        """Begin from the store, as after the end of the process."""
        headers = Headers(REGTEST, self.sources, self.clock)
        urls = [calendar.url for calendar in self.calendars]
        target = CalendarsTarget(urls, headers, chain=REGTEST, ask_every_s=3600, timeout_s=2, clock=self.clock)
        plan = Plan(EVERY_S)
        self.anchoring = Anchoring(self.bench.store, target, plan, lambda: self.bench.now_ms, self._hear)

    def _hear(self, event: str, _: object) -> None:
        self.events.append(event)

    def turn(self) -> None:
        """Let a third of an hour go by."""
        self.clock.now_s += EVERY_S / 2
        self.bench.now_ms += EVERY_S * 500
        self._fail()
        self._move_chain()
        self.anchoring.step()
        if self.rng.random() < 0.1:
            self.bench.store.close()
            self.bench.store = SqliteStore(self.folder / "earmark.db")
            self.bench.open()
            self.start()

    def _fail(self) -> None:
        for calendar in self.calendars:
            for faults, wrong in ((calendar.posts, WRONG_ANSWERS), (calendar.gets, WRONG_RESTS)):
                if self.rng.random() < 0.15:
                    names = [name for name in wrong if name not in QUICK]
                    faults.append(wrong[self.rng.choice(names)][0])
                    faults.extend([_as_it_is] * self.rng.randrange(3))
            calendar.forgets = self.rng.random() < 0.05
        for source in self.sources:
            source.down = self.rng.random() < 0.15
            source.behind = self.rng.choice((0, 0, 0, 1, 2))

    def _move_chain(self) -> None:
        self.chain.mine(count=self.rng.randrange(1, 4))
        if self.rng.random() < 0.05:
            self.chain.drop(self.rng.randrange(1, 4))
            self.chain.mine(count=4)
            for calendar in self.calendars:
                calendar.undo()
        for calendar in self.calendars:
            if calendar.waiting and self.rng.random() < 0.15:
                calendar.complete()

    def seal(self) -> None:
        self.bench.admit(self.node.read())
        self.bench.log.seal()

    def end(self) -> None:
        """Let all that is under way come to its end, with no more faults."""
        for calendar in self.calendars:
            calendar.posts, calendar.gets, calendar.forgets = [], [], False
        for source in self.sources:
            source.down, source.behind = False, 0
        for _ in range(400):
            if not self.bench.store.anchor_rows(open_only=True):
                return
            for calendar in self.calendars:
                calendar.complete()
            self.chain.mine(count=2)
            self.clock.now_s += 3601
            self.bench.now_ms += 3_601_000
            self.anchoring.step()


def _as_it_is(reply: Reply) -> Reply:
    return reply


def test_a_month_of_anchors_with_random_faults_loses_none_and_doubles_none(tmp_path: Path) -> None:
    print(f"EARMARK_SEED={SEED} EARMARK_MONTH_BLOCKS={BLOCKS}")
    month = Month(tmp_path, random.Random(SEED))
    with fakes.serving(*month.calendars):
        for _ in range(BLOCKS):
            month.seal()
            month.turn()
            month.turn()
        month.end()
    rows = month.bench.store.anchor_rows()
    assert {row.state for row in rows} == {"final"}
    assert len(rows) > 0.9 * BLOCKS
    assert len({row.height for row in rows}) == len({row.block_hash for row in rows}) == len(rows)
    for row in rows:
        block = check(row.kind, row.chain, row.evidence, row.block_hash)
        assert decode_ots(row.evidence)[1] == month.chain.headers[block.number]
    took = sum(len(calendar.requests) for calendar in month.calendars)
    events = {name: month.events.count(name) for name in set(month.events)}
    print(f"{len(rows)} anchors final, {took} requests, {events}")
