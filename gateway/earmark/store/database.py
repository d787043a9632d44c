"""A SQLite file whose transactions are on disk, synced, when they end."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from earmark.errors import CorruptLog, StoreError


class Database:
    """One SQLite file: write-ahead log, synchronous=FULL.  For one thread, or threads that take turns."""

    _db: sqlite3.Connection

    def __init__(self, path: Path) -> None:
        self._path = path

    def _connect(self, busy_s: float, *, one_thread: bool = True) -> None:
        """Open the file, waiting so long for whoever writes it; for `one_thread`, or threads that take turns."""
        self._db = sqlite3.connect(self._path, timeout=busy_s, isolation_level=None, check_same_thread=one_thread)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")

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
