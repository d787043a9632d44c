"""The table of anchors in a SQLite file, which the log's store and a calendar have in common."""

from dataclasses import astuple, fields

from earmark.store import AnchorRow
from earmark.store.database import Database

ANCHORS = """
CREATE TABLE anchors (
    target TEXT NOT NULL, kind TEXT NOT NULL, chain TEXT NOT NULL, height INTEGER NOT NULL, block_hash BLOB NOT NULL,
    state TEXT NOT NULL, payload BLOB NOT NULL, reference TEXT NOT NULL, reason TEXT NOT NULL, evidence BLOB NOT NULL,
    cost INTEGER NOT NULL, planned_at_ms INTEGER NOT NULL, state_at_ms INTEGER NOT NULL,
    changed_at_ms INTEGER NOT NULL, attempts INTEGER NOT NULL, PRIMARY KEY (target, height)
) STRICT;
CREATE INDEX anchors_open ON anchors (target, height) WHERE state <> 'final';
CREATE INDEX anchors_final ON anchors (height) WHERE state = 'final';
"""

COLUMNS = ", ".join(field.name for field in fields(AnchorRow))


class AnchorTable(Database):
    """What `AnchorStore` asks for but the digests; the file has the table `ANCHORS`."""

    def put_anchor(self, row: AnchorRow) -> None:
        """Add or replace the row of (target, height)."""
        marks = ", ".join("?" * len(fields(AnchorRow)))
        self._db.execute(f"INSERT OR REPLACE INTO anchors ({COLUMNS}) VALUES ({marks})", astuple(row))

    def anchor_rows(self, target: str | None = None, open_only: bool = False) -> list[AnchorRow]:
        """Return anchors by height: of one target or all, perhaps without the final ones."""
        sql = f"SELECT {COLUMNS} FROM anchors WHERE (?1 IS NULL OR target = ?1)"
        sql += " AND state <> 'final'" if open_only else ""
        return [AnchorRow(*row) for row in self._rows(f"{sql} ORDER BY height, target", target)]

    def newest_anchor(self, target: str) -> AnchorRow | None:
        """Return a target's anchor of the highest block."""
        row = self._one(f"SELECT {COLUMNS} FROM anchors WHERE target = ? ORDER BY height DESC LIMIT 1", target)
        return AnchorRow(*row) if row else None

    def anchor_cost(self, target: str, since_ms: int, besides: int) -> int:
        """Return what a target's anchors cost that became final since then, or are under way; without one height's.

        Whatever was paid since then is in it: an anchor is paid for when it is mined, and final later.
        """
        sql = "SELECT cost FROM anchors WHERE target = ? AND height <> ? AND (state_at_ms >= ? OR state <> 'final')"
        return sum(cost for (cost,) in self._rows(sql, target, besides, since_ms))  # SQLite's sum ends at 2^63

    def final_anchors_of(self, target: str, most: int) -> list[AnchorRow]:
        """Return at most so many of a target's final anchors, the highest block's first."""
        sql = f"SELECT {COLUMNS} FROM anchors WHERE state = 'final' AND target = ? ORDER BY height DESC LIMIT ?"
        return [AnchorRow(*row) for row in self._rows(sql, target, most)]
