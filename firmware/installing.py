"""Into the other slot: the files of a release, piece by piece, and its manifest last (protocol.md §10.3).

In a board's memory only from when there is an update on.
"""

import asyncio
import hashlib
import os
import sys

import release
from files import make_folder

_WRONG = 3  # files with wrong bytes before the update is refused
_READ = 1024
_BLOCK = 4096  # of the boards' flash
_SPARE = 65536  # bytes that stay free for the outbox
_NEW = ".new"  # ends the name of a file that is not checked yet


class Refused(Exception):
    """It will not be done; says why."""


class Installation:
    """Brings the release of a `release.Update` into the slot at `other`, by way of an `asking.Asking`."""

    Refused = Refused

    def __init__(self, wanted, other, asking, sync):
        self._wanted = wanted
        self._other = other
        self._asking = asking
        self._sync = sync

    async def run(self):
        """Fetch, check and hand over to the loader; raises `Refused`, `Wait`, `LinkDown` and `OSError`."""
        wanted = self._wanted
        raw = await self._manifest(wanted)
        found = self._fitting(raw, wanted)
        make_folder(self._other, self._sync)
        kept = []
        for row in found.files:
            if await self._holds(*row):
                kept.append(row[0])
        self._check_room([row for row in found.files if row[0] not in kept], kept)
        self._remove(release.MANIFEST)  # until it is whole again
        self.clean(kept)
        for path, size, digest in found.files:
            await self._file(path, size, digest)
        for path, size, digest in found.files:
            if not await self._holds(path, size, digest):
                raise Refused("the medium does not hold %s as it was written" % path)
        self._write(release.MANIFEST, raw)

    def _check_room(self, due, kept):
        """Leave room beside the files that are due: where there is none the outbox gives up what was signed."""
        gone = [os.stat(self._other + "/" + path)[6] for path in _below(self._other, "") if path not in kept]
        found = os.statvfs(self._other)
        room = found[1] * found[4] + sum(_whole_blocks(size) for size in gone)
        wanted = sum(_whole_blocks(row[1]) for row in due) + _SPARE
        if room < wanted:
            said = "no room: %d KiB are free, %d are needed; sign it again once the outbox is delivered"
            raise Refused(said % (room // 1024, wanted // 1024))

    async def _manifest(self, wanted):
        raw = b""
        while len(raw) < wanted.size:
            raw += await self._asking.piece(wanted.digest, len(raw), wanted.size - len(raw))
        if hashlib.sha256(raw).digest() != wanted.digest:
            raise Refused("the manifest that came is not the one that the operator signed")
        return raw

    def _fitting(self, raw, wanted):
        try:
            found = release.manifest(raw)
        except (ValueError, MemoryError) as wrong:
            raise Refused("the manifest: %s" % wrong)
        if (found.number, found.version, found.target) != (wanted.number, wanted.version, wanted.target):
            raise Refused("the manifest is not of the release that the operator named")
        if not release.loads(found.mpy, getattr(sys.implementation, "_mpy", 0)):
            raise Refused("the files are compiled for another interpreter: mpy %d" % found.mpy)
        return found

    async def _file(self, path, size, digest):
        """Fetch a file, unless it is there; its hash is made while it comes.

        What is not checked yet lies under a name that nothing imports, whoever starts this slot.
        """
        for _ in range(_WRONG):
            if await self._holds(path, size, digest):
                return
            if "/" in path:
                make_folder(self._other + "/" + path.split("/")[0], self._sync)
            came, at = hashlib.sha256(), 0
            with open(self._other + "/" + path + _NEW, "wb") as stream:
                while at < size:
                    piece = await self._asking.piece(digest, at, size - at)
                    if stream.write(piece) != len(piece):
                        raise Refused("the medium has no room for " + path)
                    came.update(piece)
                    at += len(piece)
                self._sync.file(stream)
            if came.digest() == digest:
                self._put(path)
        if not await self._holds(path, size, digest):
            raise Refused("what came as %s is not what the operator signed" % path)

    async def _holds(self, path, size, digest):
        await asyncio.sleep(0)
        found = hashlib.sha256()
        try:
            if os.stat(self._other + "/" + path)[6] != size:
                return False
            with open(self._other + "/" + path, "rb") as stream:
                piece = stream.read(_READ)
                while piece:
                    found.update(piece)
                    piece = stream.read(_READ)
        except OSError:
            return False
        return found.digest() == digest

    def clean(self, kept):
        """Remove what the release does not have."""
        try:
            found = _below(self._other, "")
        except OSError:  # there is no such slot yet
            return
        for path in found:
            if path not in kept:
                self._remove(path)

    def _remove(self, path):
        try:
            os.remove(self._other + "/" + path)
        except OSError:
            return
        self._sync.folder(self._other)

    def _write(self, path, content):
        with open(self._other + "/" + path + _NEW, "wb") as stream:
            if stream.write(content) != len(content):
                raise Refused("the medium has no room for " + path)
            self._sync.file(stream)
        self._put(path)

    def _put(self, path):
        os.rename(self._other + "/" + path + _NEW, self._other + "/" + path)
        self._sync.folder((self._other + "/" + path).rsplit("/", 1)[0])


def _below(root, folder):
    found = []
    for name in os.listdir(root + "/" + folder if folder else root):
        path = folder + "/" + name if folder else name
        if os.stat(root + "/" + path)[0] & 0x4000:
            found += _below(root, path)
        else:
            found.append(path)
    return found


def _whole_blocks(size):
    return (size + _BLOCK - 1) // _BLOCK * _BLOCK
