"""The farm that a command is about, and its store as it stands at one moment."""

import argparse
import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from earmark.config import Farm, open_farm
from earmark.errors import CorruptLog
from earmark.store.sqlite import SqliteStore

FARM = "EARMARK_FARM"


def folder_of(args: argparse.Namespace) -> Path:
    """Return the farm's folder: --farm, else the environment's, else the current one."""
    return args.farm or Path(os.environ.get(FARM) or ".")


def farm_of(args: argparse.Namespace) -> Farm:
    """Open the farm."""
    return open_farm(folder_of(args))


@contextlib.contextmanager
def reading(farm: Farm, *, live: bool = False) -> Iterator[SqliteStore]:
    """Open a farm's store to read it as it stands now, or with `live` as it grows; a broken file is a `CorruptLog`."""
    try:
        store = SqliteStore(farm.database) if live else Snapshot(farm.database)
        try:
            yield store
        finally:
            store.close()
    except sqlite3.Error as error:
        raise CorruptLog(f"{farm.database} cannot be read: {error}") from error


class Snapshot(SqliteStore):
    """A store as it stood when it was opened: what a gateway writes meanwhile does not show, and is not held up."""

    def __init__(self, path: Path) -> None:
        """Open it; the first read fixes the moment."""
        super().__init__(path)
        self._db.execute("BEGIN")
        self.size()
