"""What a witness keeps: of each log the newest checkpoint that it cosigned, and evidence against logs.

One SQLite file, synced with every transaction.  It is bound to one witness' key: with an older copy of it, or a new
one, the witness could cosign a second history.
"""

import sqlite3
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from earmark.errors import ConfigError, StoreError
from earmark.keys import sync_folder
from earmark.store.database import Database

VERSION = 1
BUSY_S = 10.0
MOST_EVIDENCE = 32
"""Kept of each kind for one log: one fork proves all, so the first ones stay; anybody can send a checkpoint with a
proof of nothing, so that the newest of these take the place of the oldest."""
FORK, UNPROVEN = "fork", "unproven"

_SCHEMA = """
CREATE TABLE owner (vkey TEXT NOT NULL) STRICT;
CREATE TABLE logs (
    origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL, text BLOB NOT NULL, line TEXT NOT NULL,
    cosigned TEXT NOT NULL, cosigned_at_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE evidence (
    origin TEXT NOT NULL, text BLOB NOT NULL, kind TEXT NOT NULL, found_at_s INTEGER NOT NULL, ours BLOB NOT NULL,
    request BLOB NOT NULL, PRIMARY KEY (origin, text)
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest checkpoint of a log that the witness cosigned: `text`, the log's signature line, the witness' own."""

    origin: str
    size: int
    root: bytes
    text: bytes
    line: str
    cosigned: str
    cosigned_at_s: int

    @property
    def note(self) -> bytes:
        """The checkpoint with both signatures."""
        return self.text + f"\n{self.line}{self.cosigned}".encode()


@dataclass(frozen=True, slots=True)
class Evidence:
    """A checkpoint `text` that a log signed beside `ours`, the note that the witness had cosigned; `request` is all
    that came, the log's signature in it.

    A `fork` contradicts `ours` by itself.  `unproven` came with a proof that does not hold: the log's doing, or that of
    whoever sent it.
    """

    origin: str
    text: bytes
    kind: str
    found_at_s: int
    ours: bytes
    request: bytes


class Ledger(Database):
    """The file.  One thread at a time uses it, inside `transaction`; any number of processes may read."""

    def __init__(self, path: Path) -> None:
        """Open the file; `ConfigError` where there is none, since a new one would have forgotten what was cosigned."""
        super().__init__(path)
        if not path.is_file():
            raise ConfigError(
                f"{path} is missing. A witness without its memory could cosign a second history: find the file, or "
                "make a new witness with `earmark witness init` in another folder, under a new key"
            )
        with self._translated():
            self._connect(BUSY_S, one_thread=False)
        found = self._one("PRAGMA user_version")[0]
        if found != VERSION:
            raise ConfigError(f"{path} has schema {found}; this version of Earmark reads {VERSION}")

    @property
    def owner(self) -> str:
        """The verifier key of the witness that the file belongs to."""
        return str(self._one("SELECT vkey FROM owner")[0])

    def _all(self, sql: str, *values: Any) -> list[Any]:
        return list(self._rows(sql, *values))

    def seen(self, origin: str) -> Seen | None:
        """Return the newest of a log."""
        rows = self._all("SELECT * FROM logs WHERE origin = ?", origin)
        return Seen(*rows[0]) if rows else None

    def all_seen(self) -> list[Seen]:
        """Return the newest of every log."""
        return [Seen(*row) for row in self._all("SELECT * FROM logs ORDER BY origin")]

    def put(self, seen: Seen) -> None:
        """Take this as a log's newest.  Who calls it has checked it against the one before, in the same transaction."""
        self._all("INSERT OR REPLACE INTO logs VALUES (?, ?, ?, ?, ?, ?, ?)", *astuple(seen))

    def accuse(self, evidence: Evidence) -> bool:
        """Keep evidence; False where the checkpoint was kept before, or the log has enough forks."""
        count = "SELECT count(*) FROM evidence WHERE origin = ? AND kind = ?"
        known = "SELECT kind FROM evidence WHERE origin = ? AND text = ?"
        found = self._all(known, evidence.origin, evidence.text)
        if found and (evidence.kind != FORK or found[0][0] == FORK):
            return False
        if self._all(count, evidence.origin, evidence.kind)[0][0] >= MOST_EVIDENCE:
            if evidence.kind == FORK:
                return False
            sql = "DELETE FROM evidence WHERE rowid = (SELECT min(rowid) FROM evidence WHERE origin = ? AND kind = ?)"
            self._all(sql, evidence.origin, evidence.kind)
        self._all("INSERT OR REPLACE INTO evidence VALUES (?, ?, ?, ?, ?, ?)", *astuple(evidence))
        return True

    def forks(self) -> dict[str, int]:
        """Return how many forks are kept of each log that has some."""
        return dict(self._all("SELECT origin, count(*) FROM evidence WHERE kind = ? GROUP BY origin", FORK))

    def evidence(self) -> list[Evidence]:
        """Return what is kept against logs, oldest first."""
        return [Evidence(*row) for row in self._all("SELECT * FROM evidence ORDER BY found_at_s, rowid")]


def create_ledger(path: Path, owner: str) -> None:
    """Make the empty file of a witness whose key was never used; what an interrupted call left is replaced."""
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)
    try:
        db = sqlite3.connect(path, isolation_level=None)
        try:
            path.chmod(0o600)
            db.execute("PRAGMA synchronous=FULL")
            db.execute("BEGIN")
            for statement in _SCHEMA.split(";")[:-1]:
                db.execute(statement)
            db.execute("INSERT INTO owner VALUES (?)", (owner,))
            db.execute(f"PRAGMA user_version={VERSION}")
            db.execute("COMMIT")
        finally:
            db.close()
    except sqlite3.Error as error:
        raise StoreError(f"{path} cannot be written: {error}") from error
    sync_folder(path.parent)
