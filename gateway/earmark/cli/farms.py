"""The farm that a command is about, and its store as it stands at one moment."""

import argparse
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from earmark.cli.passphrases import passphrases
from earmark.config import Farm, open_farm
from earmark.store.sqlite import SqliteStore

FARM = "EARMARK_FARM"


def folder_of(args: argparse.Namespace) -> Path:
    """Return the farm's folder: --farm, else the environment's, else the current one."""
    return args.farm or Path(os.environ.get(FARM) or ".")


def farm_of(args: argparse.Namespace) -> Farm:
    """Open the farm; a passphrase is asked for when a sealed key is needed."""
    return open_farm(folder_of(args), passphrases(args))


@contextlib.contextmanager
def reading(farm: Farm, *, live: bool = False) -> Iterator[SqliteStore]:
    """Open a farm's store to read it as it stands now, or with `live` as it grows; a broken file is a `CorruptLog`."""
    store = SqliteStore(farm.database, snapshot=not live)
    try:
        yield store
    finally:
        store.close()
