"""What a calendar answers over HTTP: the OpenTimestamps calendar protocol, and a page for people."""

import html
import logging
import threading
import time
from functools import lru_cache
from pathlib import Path

from earmark import ots
from earmark.calendar import tree
from earmark.calendar.folder import CalendarFolder
from earmark.calendar.ledger import Ledger
from earmark.calendar.rounds import Rounds
from earmark.errors import EarmarkError
from earmark.evidence import check
from earmark.evidence.bitcoin import decode_ots
from earmark.export import iso
from earmark.process import clock_ms
from earmark.serving import Answer, Served, text
from earmark.store import AnchorRow

MAX_DIGEST = 64
COUNT_S = 5.0
"""What is on the page was counted so long ago at most: anybody may ask, and all rounds are counted."""

_TIMESTAMP = "application/octet-stream"
_A_MINUTE = "public, max-age=60"
_A_YEAR = "public, max-age=31536000"

_PAGE = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Calendar</title></head>
<body>
<h1>An OpenTimestamps calendar</h1>
<p>It takes digests, puts many of them together, and has Bitcoin say since when they exist. It never sees what they are
the digests of, and nobody has to trust it: what it answers is checked against Bitcoin.</p>
<ul>
<li>{digests} digests taken, in {rounds} rounds; {waiting} rounds wait for their block.</li>
<li>{anchor}</li>{overdue}
</ul>
<p>Use it: <code>ots stamp -c {url} -m 1 FILE</code>, some hours later <code>ots -l {url} upgrade FILE.ots</code>; in a
farm's earmark.toml: <code>calendars = ["{url}"]</code>.</p>
</body></html>
"""

_log = logging.getLogger(__name__)


class Pages:
    """Answers each request, in any thread, from the ledger as it stands."""

    def __init__(self, calendar: CalendarFolder, rounds: Rounds) -> None:
        self._calendar = calendar
        self._rounds = rounds
        self._lock = threading.Lock()
        self._page: Answer | None = None
        self._until_s = 0.0

    def served(self) -> Served:
        """Return what is answered where."""
        return Served(
            get={"/": self.home},
            post={"/digest": self.digest},
            most_body=MAX_DIGEST,
            connections=self._calendar.settings.connections,
            below={"/timestamp/": self.timestamp},
        )

    def digest(self, digest: bytes) -> Answer:
        """Take a digest of 1 to 64 bytes: its commitment is on disk before the answer."""
        if not digest:
            return text(400, "a digest has 1 to 64 bytes")
        answer = self._rounds.submit(digest)
        if answer is None:
            return text(503, "too many digests at the moment, or the disk takes none: send it again later")
        return Answer(200, _TIMESTAMP, answer)

    def timestamp(self, commitment: str) -> Answer:
        """Return the way from a commitment to a Bitcoin block, or say that it waits."""
        try:
            octets = bytes.fromhex(commitment) if commitment.isalnum() else b""
        except ValueError:
            octets = b""
        if not octets:
            return Answer(400, "text/plain", b"commitment must be hex-encoded bytes\n", _A_YEAR)
        ledger = Ledger(self._calendar.database)
        try:
            number = ledger.find(octets)
            if number is None:
                return Answer(404, "text/plain", b"Not found\n", _A_MINUTE)
            covering = ledger.covering(number)
            if covering is None:
                return Answer(404, "text/plain", b"Pending confirmation in Bitcoin blockchain\n", _A_MINUTE)
            return Answer(200, _TIMESTAMP, _way_to_block(self._calendar.database, number, *covering), _A_YEAR)
        except EarmarkError as error:
            _log.error("a timestamp cannot be told: %s", error)
            return text(503, "the calendar cannot read its records: ask again later")
        finally:
            ledger.close()

    def home(self) -> Answer:
        """Return the page for people, at most `COUNT_S` old."""
        with self._lock:
            if self._page is None or time.monotonic() >= self._until_s:
                self._page = self._count()
                self._until_s = time.monotonic() + COUNT_S
            return self._page

    def _count(self) -> Answer:
        ledger = Ledger(self._calendar.database)
        try:
            count, final = ledger.count(), ledger.newest_final()
            since_ms = overdue_since(self._calendar, ledger, clock_ms())
        finally:
            ledger.close()
        url = html.escape(self._calendar.settings.url)
        told = {"digests": f"{count.digests:,}", "rounds": f"{count.rounds:,}", "waiting": f"{count.waiting:,}"}
        late = ""
        if since_ms is not None:
            late = f"\n<li>OVERDUE: what came at {iso(since_ms // 1000)} is in no block yet.</li>"
        page = _PAGE.format(url=url, anchor=html.escape(_anchor(final)), overdue=late, **told)
        return Answer(200, "text/html; charset=utf-8", page.encode(), "public, max-age=5")


def overdue_since(calendar: CalendarFolder, ledger: Ledger, now_ms: int) -> int | None:
    """Return when the oldest round closed that no final anchor covers, where that is longer ago than `overdue_s`.

    An open anchor that is overdue has such a round under it, unless another one covers all of it.
    """
    since_ms = ledger.waiting_since()
    return since_ms if since_ms is not None and now_ms - since_ms > calendar.anchor.overdue_s * 1000 else None


def _anchor(row: AnchorRow | None) -> str:
    if row is None:
        return "Nothing is in a Bitcoin block for good yet."
    block = check(row.kind, row.chain, row.evidence, row.block_hash)
    return f"The last anchor is in Bitcoin block {block.number}, {block.hash.hex()}, of {iso(block.time_s)}."


def _way_to_block(database: Path, number: int, row: AnchorRow, first: int) -> bytes:
    """Return the timestamp from a round's commitment to the block."""
    made = _levels(database, first, row.height)
    way, _ = decode_ots(row.evidence)
    return ots.encode([ots.Branch((*tree.way(made, number - first), *way.ops), way.attestation)])


@lru_cache(maxsize=4)
def _levels(database: Path, first: int, last: int) -> list[list[bytes]]:
    """Return the tree over rounds that are under a final anchor: they do not change any more."""
    ledger = Ledger(database)
    try:
        return tree.levels(ledger.commitments(first, last))
    finally:
        ledger.close()
