"""Copies of a farm's folder: made while its gateway runs, checked before they count, and taken back into use.

A backup is a folder of the same shape as a farm's, so restoring is copying it once more.
"""

import os
import secrets
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from earmark import keys
from earmark.block import Header, decode_header
from earmark.config import Farm
from earmark.errors import ConfigError, CorruptLog, StoreError
from earmark.highwater import HighWater
from earmark.log import check_newest, load_registry
from earmark.registry import Registry
from earmark.store.sqlite import SqliteStore
from earmark.tiles import TileTree

PUBLIC = ("earmark.toml", "operator.did", "authority.pem", "development.chain")
"""What a copy has beside the database and the releases, where it is there."""

STEP_PAGES = 1024

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Copied:
    """What is in a copy: `size` leaves, the newest block, and the private files (names below the folder)."""

    folder: Path
    bytes: int
    size: int
    block: Header | None
    private: tuple[str, ...]


def copy_farm(source: Farm, target: Path, *, with_keys: bool, progress: Progress) -> Copied:
    """Copy a farm, as it stands when this begins, into a folder that is not there yet; only its owner may read it.

    The gateway may run and write meanwhile: it is never made to wait, its write-ahead log grows until the copy is made.
    When this returns, the copy's database was read in full, its newest block checked, and all of it is on disk; where
    anything fails there is no `target`.  `progress` gets the database's pages done, and all.
    """
    if target.exists() or target.is_symlink():
        raise ConfigError(f"{target} is there already and is not overwritten: name a new folder")
    if not source.database.is_file():
        raise ConfigError(f"{source.database} is missing: there is no log in {source.folder}")
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    part.mkdir(mode=0o700)
    try:
        copied = _fill(Farm(part, source.config), source, with_keys, progress)
        _sync(part)
        part.rename(target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    _sync(target.parent)
    return Copied(target, *copied)


def _fill(
    copy: Farm, source: Farm, with_keys: bool, progress: Progress
) -> tuple[int, int, Header | None, tuple[str, ...]]:
    known = (
        source.high_water.read_bytes() if source.high_water.exists() else b""
    )  # before the copy: it may not be newer
    _copy_database(source.database, copy.database, progress)
    store = SqliteStore(copy.database)
    try:
        registry = _check_end(store, source.operator_key())
        size, newest = store.size(), store.newest_block()
        mark = HighWater(store, copy.high_water, registry.origin, registry.gateway)
        mark.hold(known, str(source.high_water))
        mark.keep(newest)
    finally:
        store.close()
    _settle(copy.database)
    for name in PUBLIC:
        if (source.folder / name).is_file():
            _copy_file(source.folder / name, copy.folder / name)
    _copy_folder(source.releases, copy.releases)
    names = _copy_folder(source.folder / "keys", copy.folder / "keys") if with_keys else []
    private = tuple(f"keys/{name}" for name in names)
    files = [path for path in copy.folder.rglob("*") if path.is_file()]
    total = sum(path.stat().st_size for path in files)
    return total, size, decode_header(newest.header) if newest else None, private


def _copy_database(source: Path, target: Path, progress: Progress) -> None:
    """Copy page by page within one read transaction: a moment's state, however much is written meanwhile."""
    try:
        with closing(sqlite3.connect(source, isolation_level=None)) as live, closing(sqlite3.connect(target)) as copy:
            live.execute("BEGIN")
            live.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # the first read fixes the moment
            copy.execute("PRAGMA synchronous=OFF")  # `_settle` syncs
            live.backup(copy, pages=STEP_PAGES, progress=lambda _, left, total: progress(total - left, total))
    except sqlite3.Error as error:
        raise StoreError(f"{source} cannot be copied to {target}: {error}") from error


def _settle(database: Path) -> None:
    """Make the file complete in itself, so that it opens on a medium that cannot be written, and sync it."""
    try:
        with closing(sqlite3.connect(database)) as copy:
            copy.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise StoreError(f"{database} cannot be written: {error}") from error
    database.chmod(0o600)
    _sync(database)


def _check_end(store: SqliteStore, operator: bytes) -> Registry:
    """Return the registry; `CorruptLog` where the file is damaged, or its end is not what the gateway signed."""
    faults = store.faults()
    if faults:
        raise CorruptLog(f"the copied database is damaged: {faults[0]}")
    registry = load_registry(store, operator)
    check_newest(store, TileTree(store.size(), store.tile), store.newest_block(), registry, registry.gateway)
    return registry


def _copy_folder(source: Path, target: Path) -> list[str]:
    """Copy the finished files of a folder, where it is there, and return their names."""
    if not source.is_dir():
        return []
    target.mkdir(mode=0o700)
    names = sorted(path.name for path in source.iterdir() if path.is_file() and path.suffix != keys.UNFINISHED)
    for name in names:
        _copy_file(source / name, target / name)
    _sync(target)
    return names


def _copy_file(source: Path, target: Path) -> None:
    with (
        source.open("rb") as original,
        os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copy,
    ):
        shutil.copyfileobj(original, copy)
        copy.flush()
        os.fsync(copy.fileno())


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
