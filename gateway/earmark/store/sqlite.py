"""The SQLite store: one file, write-ahead log, synchronous=FULL."""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, fields, replace
from pathlib import Path
from typing import Any

from earmark.block import decode_header
from earmark.cosignature import Cosignature
from earmark.errors import ConfigError, CorruptLog
from earmark.store import AnchorRow, Chain, Entry, Quarantined, SealedBlock, WitnessRow
from earmark.store.anchors import COLUMNS, AnchorTable
from earmark.store.schema import MIGRATIONS, SCHEMA, VERSION, statements

BUSY_S = 30.0
CACHE_KIB = 16 << 10
CHECKPOINT_PAGES = 2500
"""Pages of the write-ahead log before they go into the database: a page of the index that many batches change is then
written there once."""

_QUARANTINE = ", ".join(field.name for field in fields(Quarantined))
_COST = "length(raw) + length(topic) + length(message) + 256"


class SqliteStore(AnchorTable):
    """`Store` over one SQLite file; any number of processes read while one writes."""

    def __init__(self, path: Path, *, create: bool = False, snapshot: bool = False) -> None:
        """Open the file, or make a new one where `create` is set (`ConfigError` where that does not fit).

        A `snapshot` shows the store as it stood when it was opened; it holds nobody up, and nothing is written to it.
        """
        super().__init__(path)
        with self._translated():
            self._open(create=create, snapshot=snapshot)

    def _open(self, *, create: bool, snapshot: bool) -> None:
        if self._path.exists() == create:
            why = "is there already" if create else "is missing: run `earmark init` first"
            raise ConfigError(f"{self._path} {why}")
        self._connect(BUSY_S)
        self._db.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        self._db.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        if create:
            with self.transaction():
                self._run(SCHEMA, VERSION)
        while (found := self._one("PRAGMA user_version")[0]) in MIGRATIONS:
            with self.transaction():
                if self._one("PRAGMA user_version")[0] == found:  # nobody else was quicker
                    self._run(MIGRATIONS[found], found + 1)
        if found != VERSION:
            raise ConfigError(f"{self._path} has schema {found}; this version of Earmark reads {VERSION}")
        if snapshot:
            self._db.execute("BEGIN")
            self.size()  # the first read fixes the moment

    def _run(self, script: str, version: int) -> None:
        for statement in statements(script):
            self._db.execute(statement)
        self._db.execute(f"PRAGMA user_version={version}")

    def faults(self) -> list[str]:
        """Return what is wrong with the file itself: a table that is not ours, an index that does not fit its table."""
        schema = self._rows("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'")
        if {sql for (sql,) in schema} != set(statements(SCHEMA)):
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

    def received_from(self, chain: int, since_ms: int) -> int | None:
        """Return the first of a chain's leaves that was received at or after a time; None where none was."""
        row = self._one("SELECT min(idx) FROM entries WHERE chain = ? AND received_at_ms >= ?", chain, since_ms)
        return None if row[0] is None else int(row[0])

    def count_from(self, chain: int, index: int) -> int:
        """Return how many of a chain's statements are at a leaf or above it."""
        return int(self._one("SELECT count(*) FROM entries WHERE chain = ? AND idx >= ?", chain, index)[0])

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

    def newest_digest(self, target: str) -> tuple[int, bytes] | None:
        """Return height and hash of the highest block, which is what is anchored next, wherever to."""
        block = self.newest_block()
        return (block.height, decode_header(block.header).hash) if block else None

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

    def final_anchors(self, height: int, *besides: str) -> list[AnchorRow]:
        """Return the final anchors of the lowest block at or above a height that has one on a chain `besides` these.

        Each is a chain's id, or a pattern of SQLite's GLOB.
        """
        sql = "SELECT min(height) FROM anchors WHERE state = 'final' AND height >= ?"
        found = self._one(sql + " AND chain NOT GLOB ?" * len(besides), height, *besides)[0]
        rows = self._rows(f"SELECT {COLUMNS} FROM anchors WHERE state = 'final' AND height = ? ORDER BY target", found)
        return [AnchorRow(*row) for row in rows]

    # witnesses

    def add_cosignature(self, height: int, cosignature: Cosignature) -> None:
        """Keep a witness' cosignature of a block's checkpoint; a newer one of the same witness takes its place."""
        self._db.execute("INSERT OR REPLACE INTO cosignatures VALUES (?, ?, ?, ?, ?)", (height, *astuple(cosignature)))

    def cosignatures(self, height: int) -> list[Cosignature]:
        """Return a block's cosignatures, by (name, key id)."""
        sql = "SELECT name, key_id, time_s, signature FROM cosignatures WHERE height = ? ORDER BY name, key_id"
        return [Cosignature(*row) for row in self._rows(sql, height)]

    def newest_cosigned(self, name: str, key_id: bytes) -> tuple[int, Cosignature] | None:
        """Return (height, cosignature) of the highest block that a witness cosigned."""
        sql = "SELECT height, name, key_id, time_s, signature FROM cosignatures WHERE name = ? AND key_id = ?"
        row = self._one(f"{sql} ORDER BY height DESC LIMIT 1", name, key_id)
        return (row[0], Cosignature(*row[1:])) if row else None

    def all_cosignatures(self) -> Iterator[tuple[int, Cosignature]]:
        """Give (height, cosignature) of all, by height."""
        for row in self._rows("SELECT * FROM cosignatures ORDER BY height, name, key_id"):
            yield row[0], Cosignature(*row[1:])

    def put_witness(self, row: WitnessRow) -> None:
        """Say how a witness answered last."""
        self._db.execute("INSERT OR REPLACE INTO witnesses VALUES (?, ?, ?, ?)", astuple(row))

    def witnesses(self) -> list[WitnessRow]:
        """Return how each witness answered last."""
        return [WitnessRow(*row) for row in self._rows("SELECT * FROM witnesses ORDER BY vkey")]


def _quarantined(row: tuple[Any, ...]) -> Quarantined:
    stored = Quarantined(*row)
    return replace(stored, held=bool(stored.held))
