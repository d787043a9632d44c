"""What a calendar keeps: the commitment of each round, and the anchors that cover them.

A round's digests need not be kept: whoever sent one has its way to the commitment.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from earmark.calendar import tree
from earmark.errors import ConfigError, CorruptLog
from earmark.store import AnchorRow
from earmark.store.anchors import ANCHORS, COLUMNS, AnchorTable

VERSION = 1
BUSY_S = 10.0

_SCHEMA = f"""
CREATE TABLE rounds (
    number INTEGER PRIMARY KEY, commitment BLOB NOT NULL UNIQUE, digests INTEGER NOT NULL, closed_at_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE batches (
    target TEXT NOT NULL, last INTEGER NOT NULL, first INTEGER NOT NULL, PRIMARY KEY (target, last)
) STRICT, WITHOUT ROWID;
{ANCHORS}
"""


@dataclass(frozen=True, slots=True)
class Count:
    """How many digests came in how many rounds, and how many of these no final anchor covers yet."""

    digests: int
    rounds: int
    waiting: int


class Ledger(AnchorTable):
    """A calendar's file.  An anchor's `height` is the number of the last round that it covers.

    Any number of processes and threads read, each with an instance of its own, while others write.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """Open the file; where `create` is set, make one that is missing, or that an interrupted call left empty.

        `ConfigError` where it is missing, or of another version.
        """
        super().__init__(path)
        if not create and not path.exists():
            raise ConfigError(f"{path} is missing: run `earmark calendar init`")
        with self._translated():
            self._connect(BUSY_S)
        if create and not self._one("SELECT count(*) FROM sqlite_schema")[0]:
            with self.transaction():
                for statement in _SCHEMA.split(";")[:-1]:
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version={VERSION}")
        found = self._one("PRAGMA user_version")[0]
        if found != VERSION:
            raise ConfigError(f"{path} has schema {found}; this version of Earmark reads {VERSION}")

    def add_round(self, commitment: bytes, digests: int, at_ms: int) -> None:
        """Add the next round; it is on disk when this returns."""
        with self.transaction():
            sql = "INSERT INTO rounds (commitment, digests, closed_at_ms) VALUES (?, ?, ?)"
            self._db.execute(sql, (commitment, digests, at_ms))

    def find(self, commitment: bytes) -> int | None:
        """Return the number of the round with this commitment."""
        row = self._one("SELECT number FROM rounds WHERE commitment = ?", commitment)
        return int(row[0]) if row else None

    def commitments(self, first: int, last: int) -> list[bytes]:
        """Return the commitments of rounds first … last."""
        sql = "SELECT commitment FROM rounds WHERE number BETWEEN ? AND ? ORDER BY number"
        found = [bytes(commitment) for (commitment,) in self._rows(sql, first, last)]
        if len(found) != last - first + 1:
            raise CorruptLog(f"{self._path} lacks some of the rounds {first} to {last}")
        return found

    def count(self) -> Count:
        """Return how much there is."""
        digests, rounds = self._one("SELECT coalesce(sum(digests), 0), count(*) FROM rounds")
        return Count(digests, rounds, rounds - sum(last - first + 1 for first, last in self._covered()))

    def waiting_since(self) -> int | None:
        """Return when the first round closed that no final anchor covers, in milliseconds."""
        row = self._one("SELECT closed_at_ms FROM rounds WHERE number = ?", self._first_gap(self._covered()))
        return int(row[0]) if row else None

    # anchors

    def newest_digest(self, target: str) -> tuple[int, bytes] | None:
        """Return the newest round's number, and the root over all rounds from the first that an anchor has to cover."""
        newest = self._one("SELECT max(number) FROM rounds")[0]
        last = self.newest_anchor(target)
        if newest is None or (last and last.height >= newest):
            return None
        first = self._first(target)
        if newest < first:
            return None
        return newest, tree.levels(self.commitments(first, newest))[-1][0]

    def put_anchor(self, row: AnchorRow) -> None:
        """Add or replace an anchor; a new one covers all rounds from the first that had none."""
        if row.state == "planned":
            sql = "INSERT OR IGNORE INTO batches (target, last, first) VALUES (?, ?, ?)"
            self._db.execute(sql, (row.target, row.height, self._first(row.target)))
        super().put_anchor(row)

    def _first(self, target: str) -> int:
        """Return the first round that neither an anchor at the target nor a final one anywhere covers.

        There may be covered ones after it: anchors become final in any order, and a target that was in the settings
        once is not asked any more.
        """
        return self._first_gap(self._covered(target))

    @staticmethod
    def _first_gap(covered: Iterator[tuple[int, int]]) -> int:
        first, last = next(covered, (1, 0))
        return last + 1 if first == 1 else 1

    def _covered(self, target: str = "") -> Iterator[tuple[int, int]]:
        """Give (first, last) of each stretch of rounds under final anchors or any at the target, in order."""
        sql = (
            "SELECT first, last FROM batches JOIN anchors ON anchors.target = batches.target AND height = last "
            "WHERE state = 'final' OR anchors.target = ? ORDER BY first"
        )
        begin, end = 1, 0
        for first, last in self._rows(sql, target):
            if first > end + 1:
                if end:
                    yield begin, end
                begin = first
            end = max(end, last)
        if end:
            yield begin, end

    def newest_final(self) -> AnchorRow | None:
        """Return the final anchor that covers the newest round."""
        row = self._one(f"SELECT {COLUMNS} FROM anchors WHERE state = 'final' ORDER BY height DESC LIMIT 1")
        return AnchorRow(*row) if row else None

    def covering(self, number: int) -> tuple[AnchorRow, int] | None:
        """Return a final anchor that covers a round, and the first round that it covers."""
        columns = ", ".join(f"anchors.{name}" for name in COLUMNS.split(", "))
        row = self._one(
            f"SELECT {columns}, first FROM anchors JOIN batches ON anchors.target = batches.target AND height = last "
            "WHERE state = 'final' AND first <= ?1 AND height >= ?1 ORDER BY height LIMIT 1",
            number,
        )
        return (AnchorRow(*row[:-1]), int(row[-1])) if row else None
