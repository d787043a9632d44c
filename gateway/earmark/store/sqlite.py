"""The SQLite store: one file, write-ahead log, synchronous=FULL."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, fields, replace
from pathlib import Path
from typing import Any

from earmark.errors import ConfigError, CorruptLog, StoreError
from earmark.store import AnchorRow, Chain, Entry, Quarantined, SealedBlock

VERSION = 1
BUSY_S = 30.0
CACHE_KIB = 16 << 10
CHECKPOINT_PAGES = 2500
"""Pages of the write-ahead log before they go into the database: a page of the index that many batches change is then
written there once."""

_SCHEMA = """
CREATE TABLE chains (id INTEGER PRIMARY KEY, key BLOB NOT NULL, sub TEXT NOT NULL, UNIQUE (key, sub)) STRICT;
CREATE TABLE entries (
    idx INTEGER PRIMARY KEY, chain INTEGER NOT NULL, seq INTEGER NOT NULL, received_at_ms INTEGER NOT NULL,
    statement BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX entries_seq ON entries (chain, seq);
CREATE TABLE runs (
    chain INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (chain, first)
) STRICT, WITHOUT ROWID;
CREATE TABLE tiles (
    level INTEGER NOT NULL, number INTEGER NOT NULL, hashes BLOB NOT NULL, PRIMARY KEY (level, number)
) STRICT;
CREATE TABLE blocks (
    height INTEGER PRIMARY KEY, size INTEGER NOT NULL, header BLOB NOT NULL, checkpoint BLOB NOT NULL,
    receipt BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX blocks_size ON blocks (size);
CREATE TABLE submissions (id INTEGER PRIMARY KEY AUTOINCREMENT, statement BLOB NOT NULL) STRICT;
CREATE TABLE quarantine (
    entry BLOB NOT NULL UNIQUE, received_at_ms INTEGER NOT NULL, topic TEXT NOT NULL, size INTEGER NOT NULL,
    raw BLOB NOT NULL, reason TEXT NOT NULL, message TEXT NOT NULL, held INTEGER NOT NULL, key BLOB NOT NULL,
    sub TEXT NOT NULL, seq INTEGER NOT NULL, due_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX quarantine_held ON quarantine (reason, key, seq) WHERE held;
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE beacons (
    nonce BLOB PRIMARY KEY, message BLOB NOT NULL, headers BLOB NOT NULL, at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE anchors (
    target TEXT NOT NULL, kind TEXT NOT NULL, height INTEGER NOT NULL, block_hash BLOB NOT NULL, state TEXT NOT NULL,
    payload BLOB NOT NULL, reference TEXT NOT NULL, reason TEXT NOT NULL, evidence BLOB NOT NULL,
    planned_at_ms INTEGER NOT NULL, changed_at_ms INTEGER NOT NULL, attempts INTEGER NOT NULL,
    PRIMARY KEY (target, height)
) STRICT, WITHOUT ROWID;
"""

_QUARANTINE = ", ".join(field.name for field in fields(Quarantined))
_COST = "length(raw) + length(topic) + length(message) + 256"
_ANCHOR = ", ".join(field.name for field in fields(AnchorRow))


class SqliteStore:
    """`Store` over one SQLite file; any number of processes read while one writes."""

    def __init__(self, path: Path, *, create: bool = False, snapshot: bool = False) -> None:
        """Open the file, or make a new one where `create` is set (`ConfigError` where that does not fit).

        A `snapshot` shows the store as it stood when it was opened; it holds nobody up, and nothing is written to it.
        """
        self._path = path
        with self._translated():
            self._open(create=create, snapshot=snapshot)

    def _open(self, *, create: bool, snapshot: bool) -> None:
        if self._path.exists() == create:
            why = "is there already" if create else "is missing: run `earmark init` first"
            raise ConfigError(f"{self._path} {why}")
        self._db = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        self._db.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        if create:
            with self.transaction():
                for statement in _SCHEMA.split(";")[:-1]:
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version={VERSION}")
        found = self._one("PRAGMA user_version")[0]
        if found != VERSION:
            raise ConfigError(f"{self._path} has schema {found}; this version of Earmark reads {VERSION}")
        if snapshot:
            self._db.execute("BEGIN")
            self.size()  # the first read fixes the moment

    def close(self) -> None:
        """Close the file.  What was committed is on disk already, so that a failure loses nothing."""
        with suppress(sqlite3.Error):
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is committed and synced together, or not at all where an exception leaves the block."""
        with self._translated():
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    with suppress(sqlite3.Error):
                        self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Give the database's errors as ours: `StoreError` for what may pass, `CorruptLog` for what will not."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise StoreError(f"{self._path} cannot be read or written: {error}") from error
        except sqlite3.Error as error:
            raise CorruptLog(f"{self._path} is damaged or contradicts itself: {error}") from error

    def _rows(self, sql: str, *values: Any) -> Iterator[Any]:
        with self._translated():
            for row in self._db.execute(sql, values):  # noqa: UP028 - it would close the cursor after the file
                yield row

    def _one(self, sql: str, *values: Any) -> Any:
        with self._translated():
            return self._db.execute(sql, values).fetchone()

    def faults(self) -> list[str]:
        """Return what is wrong with the file itself: a table that is not ours, an index that does not fit its table."""
        schema = self._rows("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'")
        ours = {statement.strip() for statement in _SCHEMA.split(";")} - {""}
        if {sql for (sql,) in schema} != ours:
            return ["its tables are not the ones that Earmark makes"]
        return [said for (said,) in self._rows("PRAGMA integrity_check(20)") if said != "ok"]

    # the log

    def size(self) -> int:
        """Return the number of leaves."""
        row = self._one("SELECT max(idx) FROM entries")
        return 0 if row[0] is None else int(row[0]) + 1

    def add_entries(self, rows: Sequence[Entry]) -> None:
        """Add the statements of the next leaves."""
        self._db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", rows)

    def statement(self, index: int) -> bytes:
        """Return the statement at a leaf; `CorruptLog` where there is none."""
        row = self._one("SELECT statement FROM entries WHERE idx = ?", index)
        if row is None:
            raise CorruptLog(f"leaf {index} has no statement in the store")
        return bytes(row[0])

    def statements(self, start: int, stop: int) -> Iterator[tuple[int, int, bytes]]:
        """Give (index, received_at_ms, statement) of leaves start … stop−1, in order."""
        sql = "SELECT idx, received_at_ms, statement FROM entries WHERE idx >= ? AND idx < ? ORDER BY idx"
        yield from self._rows(sql, start, stop)

    def leaves(self, start: int, stop: int) -> Iterator[tuple[int, tuple[int, int], bytes]]:
        """Give (index, (chain's id, seq), statement) of leaves start … stop−1, in order."""
        sql = "SELECT idx, chain, seq, statement FROM entries WHERE idx >= ? AND idx < ? ORDER BY idx"
        for index, chain, seq, statement in self._rows(sql, start, stop):
            yield index, (chain, seq), statement

    def find(self, chain: int, seq: int) -> tuple[int, bytes] | None:
        """Return (index, statement) of a chain's `seq`."""
        found: tuple[int, bytes] | None = self._one(
            "SELECT idx, statement FROM entries WHERE chain = ? AND seq = ?", chain, seq
        )
        return found

    def chains(self) -> list[Chain]:
        """Return all chains with their runs."""
        runs: dict[int, list[tuple[int, int]]] = {}
        for chain, first, last in self._rows("SELECT chain, first, last FROM runs ORDER BY chain, first"):
            runs.setdefault(chain, []).append((first, last))
        rows = self._rows("SELECT id, key, sub FROM chains ORDER BY id")
        return [Chain(number, key, sub, runs.get(number, [])) for number, key, sub in rows]

    def chain(self, key: bytes, sub: str) -> Chain | None:
        """Return one chain."""
        row = self._one("SELECT id FROM chains WHERE key = ? AND sub = ?", key, sub)
        if row is None:
            return None
        runs = list(self._rows("SELECT first, last FROM runs WHERE chain = ? ORDER BY first", row[0]))
        return Chain(row[0], key, sub, runs)

    def add_chain(self, key: bytes, sub: str) -> Chain:
        """Add a chain without statements."""
        added = self._db.execute("INSERT INTO chains (key, sub) VALUES (?, ?)", (key, sub)).lastrowid
        assert added is not None
        return Chain(added, key, sub, [])

    def lengthen_runs(self, rows: Sequence[tuple[int, int, int]]) -> None:
        """Set where runs end that are there: (chain, first, last) of each."""
        self._db.executemany("INSERT OR REPLACE INTO runs VALUES (?, ?, ?)", rows)

    def change_runs(self, chain: int, gone: list[tuple[int, int]], new: tuple[int, int]) -> None:
        """Put one run of a chain in the place of those that are gone."""
        self._db.executemany("DELETE FROM runs WHERE chain = ? AND first = ?", [(chain, first) for first, _ in gone])
        self._db.execute("INSERT INTO runs VALUES (?, ?, ?)", (chain, *new))

    def chain_statements(self, chain: int, below: int) -> Iterator[tuple[int, bytes]]:
        """Give (index, statement) of a chain's statements below a leaf, by `seq`."""
        sql = "SELECT idx, statement FROM entries WHERE chain = ? AND idx < ? ORDER BY seq"
        yield from self._rows(sql, chain, below)

    def tile(self, level: int, number: int) -> bytes:
        """Return a tile's hashes joined, up to 256; empty where there is none."""
        row = self._one("SELECT hashes FROM tiles WHERE level = ? AND number = ?", level, number)
        return bytes(row[0]) if row else b""

    def set_tile(self, level: int, number: int, hashes: bytes) -> None:
        """Write a tile."""
        self._db.execute("INSERT OR REPLACE INTO tiles VALUES (?, ?, ?)", (level, number, hashes))

    def add_block(self, block: SealedBlock) -> None:
        """Add the next block."""
        self._db.execute("INSERT INTO blocks VALUES (?, ?, ?, ?, ?)", astuple(block))

    def newest_block(self) -> SealedBlock | None:
        """Return the highest block."""
        row = self._one("SELECT * FROM blocks ORDER BY height DESC LIMIT 1")
        return SealedBlock(*row) if row else None

    def block(self, height: int) -> SealedBlock | None:
        """Return the block at a height."""
        row = self._one("SELECT * FROM blocks WHERE height = ?", height)
        return SealedBlock(*row) if row else None

    def block_over(self, index: int) -> SealedBlock | None:
        """Return the lowest block that covers a leaf."""
        row = self._one("SELECT * FROM blocks WHERE size > ? ORDER BY size LIMIT 1", index)
        return SealedBlock(*row) if row else None

    def blocks(self, start: int = 0) -> Iterator[SealedBlock]:
        """Give all blocks from a height on."""
        for row in self._rows("SELECT * FROM blocks WHERE height >= ? ORDER BY height", start):
            yield SealedBlock(*row)

    # what waits outside it

    def submit(self, raw: bytes) -> int:
        """Leave an operator's statement for the gateway to admit."""
        added = self._db.execute("INSERT INTO submissions (statement) VALUES (?)", (raw,)).lastrowid
        assert added is not None
        return added

    def submitted(self) -> list[tuple[int, bytes]]:
        """Return (id, statement) of what was submitted and not yet taken, oldest first."""
        return list(self._rows("SELECT id, statement FROM submissions ORDER BY id"))

    def withdraw(self, submission: int) -> None:
        """Take a submission away: it is in the log or the quarantine."""
        self._db.execute("DELETE FROM submissions WHERE id = ?", (submission,))

    def quarantine(self, row: Quarantined) -> None:
        """Keep a message outside the log; the same bytes again replace the reason."""
        marks = ", ".join("?" * len(fields(Quarantined)))
        changes = "reason = excluded.reason, message = excluded.message, held = excluded.held, due_ms = excluded.due_ms"
        sql = f"INSERT INTO quarantine ({_QUARANTINE}) VALUES ({marks}) ON CONFLICT (entry) DO UPDATE SET {changes}"
        self._db.execute(sql, astuple(row))

    def quarantined(self, entry: bytes) -> Quarantined | None:
        """Return the row of these bytes."""
        row = self._one(f"SELECT {_QUARANTINE} FROM quarantine WHERE entry = ?", entry)
        return _quarantined(row) if row else None

    def quarantine_rows(self, held: bool | None = None, limit: int = 1000) -> list[Quarantined]:
        """Return the newest rows, newest first: all, or only those that are (not) held."""
        where = "" if held is None else f"WHERE held = {int(held)}"
        rows = self._rows(f"SELECT {_QUARANTINE} FROM quarantine {where} ORDER BY rowid DESC LIMIT ?", limit)
        return [_quarantined(row) for row in rows]

    def due(self, reason: str, key: bytes | None, before_ms: int, limit: int) -> list[Quarantined]:
        """Return held rows of a reason, of one key or of all, due before a time, by (key, seq)."""
        sql = f"SELECT {_QUARANTINE} FROM quarantine WHERE held AND reason = ? AND due_ms <= ?"
        values: list[Any] = [reason, before_ms]
        if key is not None:
            sql, values = sql + " AND key = ?", [*values, key]
        rows = self._rows(f"{sql} ORDER BY key, seq LIMIT ?", *values, limit)
        return [_quarantined(row) for row in rows]

    def release(self, entries: Sequence[bytes]) -> None:
        """Take rows out, where there are any: they are in the log."""
        if self._one("SELECT EXISTS (SELECT 1 FROM quarantine)")[0]:
            self._db.executemany("DELETE FROM quarantine WHERE entry = ?", [(entry,) for entry in entries])

    def quarantine_counts(self) -> dict[str, int]:
        """Return how many rows there are by reason, and under `dropped` how many were let go for want of room."""
        counts: dict[str, int] = dict(
            self._rows("SELECT reason, count(*) FROM quarantine GROUP BY reason ORDER BY reason")
        )
        dropped = self._one("SELECT value FROM counters WHERE name = 'quarantine.dropped'")
        return counts | ({"dropped": dropped[0]} if dropped else {})

    def quarantine_size(self) -> int:
        """Return the bytes that the quarantine takes."""
        return int(self._one(f"SELECT coalesce(sum({_COST}), 0) FROM quarantine")[0])

    def trim_quarantine(self, most_bytes: int) -> int:
        """Let rows go until the rest fits; they are counted, and the count is returned.

        What anybody can send goes first, oldest first; what an enrolled node signed stays as long as there is room.
        """
        total, gone = self.quarantine_size(), []
        order = "reason NOT IN ('EncodingError', 'BadSignature', 'UnknownNode'), rowid"
        for row, size in self._rows(f"SELECT rowid, {_COST} FROM quarantine ORDER BY {order}"):
            if total <= most_bytes:
                break
            gone.append((row,))
            total -= size
        self._db.executemany("DELETE FROM quarantine WHERE rowid = ?", gone)
        add = "INSERT INTO counters VALUES ('quarantine.dropped', ?)"
        self._db.execute(f"{add} ON CONFLICT DO UPDATE SET value = value + excluded.value", (len(gone),))
        return len(gone)

    # beacons and anchors

    def add_beacon(self, nonce: bytes, message: bytes, headers: bytes, at_ms: int) -> None:
        """Keep a beacon and its evidence (deterministic CBOR of the headers)."""
        self._db.execute("INSERT OR IGNORE INTO beacons VALUES (?, ?, ?, ?)", (nonce, message, headers, at_ms))

    def beacon(self, nonce: bytes) -> tuple[bytes, bytes] | None:
        """Return (message, headers) of a beacon that this gateway published."""
        found: tuple[bytes, bytes] | None = self._one("SELECT message, headers FROM beacons WHERE nonce = ?", nonce)
        return found

    def newest_beacon(self) -> bytes | None:
        """Return the nonce of the beacon published last."""
        row = self._one("SELECT nonce FROM beacons ORDER BY at_ms DESC LIMIT 1")
        return bytes(row[0]) if row else None

    def put_anchor(self, row: AnchorRow) -> None:
        """Add or replace the row of (target, height)."""
        marks = ", ".join("?" * len(fields(AnchorRow)))
        self._db.execute(f"INSERT OR REPLACE INTO anchors ({_ANCHOR}) VALUES ({marks})", astuple(row))

    def anchor_rows(self, target: str | None = None, open_only: bool = False) -> list[AnchorRow]:
        """Return anchors by height: of one target or all, perhaps without the final ones."""
        sql = f"SELECT {_ANCHOR} FROM anchors WHERE (?1 IS NULL OR target = ?1)"
        sql += " AND state <> 'final'" if open_only else ""
        return [AnchorRow(*row) for row in self._rows(f"{sql} ORDER BY height, target", target)]

    def newest_anchor(self, target: str) -> AnchorRow | None:
        """Return a target's anchor of the highest block."""
        row = self._one(f"SELECT {_ANCHOR} FROM anchors WHERE target = ? ORDER BY height DESC LIMIT 1", target)
        return AnchorRow(*row) if row else None

    def final_anchors(self, height: int, besides: str = "") -> list[AnchorRow]:
        """Return the final anchors of the lowest block at or above a height that has one on a target `besides` this."""
        sql = "SELECT min(height) FROM anchors WHERE state = 'final' AND height >= ? AND target <> ?"
        found = self._one(sql, height, besides)[0]
        rows = self._rows(f"SELECT {_ANCHOR} FROM anchors WHERE state = 'final' AND height = ? ORDER BY target", found)
        return [AnchorRow(*row) for row in rows]


def _quarantined(row: tuple[Any, ...]) -> Quarantined:
    stored = Quarantined(*row)
    return replace(stored, held=bool(stored.held))
