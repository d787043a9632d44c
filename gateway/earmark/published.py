"""The log as anybody may read it over HTTP: checkpoint, tiles and entries by C2SP tlog-tiles, docs/protocol.md §11.3.

What is served are hashes and signatures.  A statement, or anything else of its bytes, never is.
"""

import logging
import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from earmark import cosignature
from earmark.errors import CorruptLog, EarmarkError
from earmark.merkle import HASH_SIZE
from earmark.serving import Answer, Served, text
from earmark.store import SealedBlock, Store
from earmark.store.sqlite import SqliteStore
from earmark.tiles import HEIGHT, WIDTH

CONNECTIONS = 32
MOST_A_SECOND = 100
"""Requests that are taken up in a second: they share an interpreter with the writer of the log."""

_FOREVER = "public, max-age=31536000, immutable"
_OCTETS = "application/octet-stream"
_NOTHING = (
    "not here: there are /checkpoint, and of the trees that a checkpoint was made of "
    "/tile/<L>/<N>[.p/<W>] and /tile/entries/<N>[.p/<W>], as C2SP tlog-tiles has them"
)
_LEVEL = r"(?P<level>entries|[0-9]|[1-5][0-9]|6[0-3])"
_NUMBER = r"(?P<number>[0-9]{3}|x(?!000)[0-9]{3}(?:/x[0-9]{3}){0,5}/[0-9]{3})"
_TILE = re.compile(rf"{_LEVEL}/{_NUMBER}(?:\.p/(?P<width>[1-9][0-9]{{0,2}}))?")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tile:
    """The name of a tile of hashes at a level, or of a bundle of entries; `width` is below 256 where it is partial."""

    level: int
    number: int
    width: int
    is_entries: bool

    @property
    def end(self) -> int:
        """How many nodes its level has up to its own last one."""
        return self.number * WIDTH + self.width


def decode_tile(path: str) -> Tile | None:
    """Return what a path behind `/tile/` names, None unless it is exactly of the specification's form."""
    match = _TILE.fullmatch(path)
    width = int(match["width"] or WIDTH) if match else 0
    if match is None or width > WIDTH or (width == WIDTH and match["width"]):
        return None
    is_entries = match["level"] == "entries"
    number = int(match["number"].replace("/", "").replace("x", ""))
    return Tile(0 if is_entries else int(match["level"]), number, width, is_entries)


class PublishedLog:
    """Answers each request, in any thread, from the store as it stands, by a connection of that request's own."""

    def __init__(self, database: Path) -> None:
        """`height` is the newest block that may leave this machine, -1 before the first; whoever seals sets it."""
        self.height = -1
        self._database = database

    def served(self) -> Served:
        """Return what is answered where."""
        return Served(
            get={"/checkpoint": self.checkpoint},
            below={"/tile/": self.tile},
            connections=CONNECTIONS,
            most_a_second=MOST_A_SECOND,
        )

    def checkpoint(self) -> Answer:
        """Return the newest checkpoint, with the cosignatures that there are of it."""
        return self._answer(_checkpoint)

    def tile(self, path: str) -> Answer:
        """Return a tile or bundle; 404 unless the tree of a checkpoint up to the newest has it."""
        tile = decode_tile(path)
        if tile is None:
            return text(404, _NOTHING)
        return self._answer(lambda store, newest: _tile(store, newest, tile))

    def _answer(self, make: Callable[[Store, SealedBlock], Answer]) -> Answer:
        height = self.height
        if height < 0:
            return text(404, "there is no checkpoint yet: the first comes with the first block")
        try:
            with closing(SqliteStore(self._database)) as store:
                newest = store.block(height)
                if newest is None:
                    raise CorruptLog(f"block {height} is not in the store")
                return make(store, newest)
        except EarmarkError as error:
            _log.error("the log cannot be shown: %s", error)
            return text(503, "the log cannot be read at the moment: ask again later")


def _checkpoint(store: Store, newest: SealedBlock) -> Answer:
    note = cosignature.join(newest.checkpoint, store.cosignatures(newest.height))
    return Answer(200, "text/plain; charset=utf-8", note)


def _tile(store: Store, newest: SealedBlock, tile: Tile) -> Answer:
    if not _is_of_a_checkpoint(store, newest, tile):
        return text(404, _NOTHING)
    octets = _entries(store, tile) if tile.is_entries else store.tile(tile.level, tile.number)[: tile.width * HASH_SIZE]
    if len(octets) != tile.width * (HASH_SIZE + 2 * tile.is_entries):
        raise CorruptLog(f"the store lacks a part of {tile}, which block {newest.height} covers")
    return Answer(200, _OCTETS, octets, _FOREVER)


def _is_of_a_checkpoint(store: Store, newest: SealedBlock, tile: Tile) -> bool:
    """Say whether the newest tree has a full tile, or the tree of any checkpoint up to it a partial one."""
    shift = HEIGHT * tile.level
    if tile.end > newest.size >> shift:
        return False
    if tile.width == WIDTH:
        return True
    first = store.block_over((tile.end << shift) - 1)
    return first is not None and first.height <= newest.height and first.size >> shift == tile.end


def _entries(store: Store, tile: Tile) -> bytes:
    """Return a bundle: of each statement the entry alone, which is its SHA-256, behind its length."""
    length = HASH_SIZE.to_bytes(2, "big")
    rows = store.statements(tile.number * WIDTH, tile.end)
    return b"".join(length + sha256(statement).digest() for _, _, statement in rows)
