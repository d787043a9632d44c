"""Updates of this node: what the operator releases, fetched piece by piece into the other slot (protocol.md §10.3).

Nothing that comes over the network counts by itself: all of it hangs, by a hash, from the operator's signature.
"""

import asyncio
import hashlib
import os
import sys

import cbor
import identity
import release
from files import make_folder
from link import LinkDown, within
from outbox import OutboxError

_PIECE = 2048  # bytes asked for at once: with its packet, twice that in memory
_ANSWER_S = 10
_ASKS = 6  # times that a piece is asked for before the update waits
_WRONG = 3  # files with wrong bytes before the update is refused
_READ = 1024
_BLOCK = 4096  # of the boards' flash
_SPARE = 65536  # bytes that stay free for the outbox
_NEW = ".new"  # ends the name of a file that is not checked yet
_OUTCOMES = (None, "confirmed", "returned")


class Wait(Exception):
    """It cannot go on now, and may later."""


class Refused(Exception):
    """It will not be done; says why."""


def running(slots):
    """The manifest of the slot that runs; None where it has none, as when it was put there by hand."""
    return _manifest_in(slots.path(slots.running))


def _manifest_in(path):
    try:
        with open(path + "/" + release.MANIFEST, "rb") as stream:
            return release.manifest(stream.read(release.MAX_SIZE + 1))
    except (OSError, ValueError):
        return None


class Updates:
    """Asks for updates and carries them out.

    `slots` is the loader's, `own` the `release.Manifest` that runs.  `tell(entry, number had, number, outcome, reason)`
    signs and stores; `ask(payload)` sends, or raises `LinkDown`; `restart()` has the loader start the node anew;
    `ready()` waits for a connection.
    """

    def __init__(self, settings, slots, own, sync, say, tell, ask, restart, ready):
        self._operator = settings["operator_key"]
        self._name = settings["name"]
        gateway = "".join("%02x" % octet for octet in identity.kid(settings["gateway_key"]))
        self._origin = "earmark/%s/%s" % (settings["site"], gateway)
        self._every_s = settings["update_s"]
        self._trial_s = settings["trial_s"]
        self._slots, self._own, self._sync, self._say = slots, own, sync, say
        self._tell, self._ask, self._restart, self._ready = tell, ask, restart, ready
        self._offer = None
        self._answer = None
        self._came = asyncio.Event()
        self._other = slots.path(1 - slots.running)
        self.on_trial = bool(slots.trial and slots.running != slots.active)
        self.busy = self.is_installing = False
        self._begun = None

    def take(self, payload):
        """Something came from the gateway; quick."""
        if payload[:1] == b"\xd2":
            self._offer = payload
        else:
            self._answer = payload
        self._came.set()

    def acknowledged(self):
        """The gateway has this start's boot statement: a release on trial has reached it."""
        if self.on_trial:
            self._slots.confirm()
            self.on_trial = False
            self._say("release %d reached the gateway and stays" % self._own.number)
        self._tell_outcome()

    async def run(self):
        """Ask for updates and carry them out, for ever."""
        self._tell_outcome()
        if self.on_trial:
            await self._trial()
        while True:
            await self._ready()
            is_done = False
            try:
                self.busy = True
                is_done = await self._look()
            except (Wait, LinkDown) as why:
                self._say("no update now: %s" % why)
            except (ValueError, MemoryError) as wrong:
                self._say("what came as an update was ignored: %s" % wrong)
            finally:
                self.busy = False
            if not is_done:  # whoever repeats old updates wears the flash and fills the log no faster than this
                await asyncio.sleep(self._every_s)
            elif not self._offer:
                await self._until(self._every_s, lambda: self._offer)

    async def _trial(self):
        """Wait for the confirmation, and start anew without it: the loader counts."""
        left_s = self._trial_s
        while self.on_trial:
            if left_s <= 0:
                self._say("release %d did not reach the gateway in %d s" % (self._own.number, self._trial_s))
                self._restart()
            await asyncio.sleep(1)
            left_s -= 1

    def _tell_outcome(self):
        """Sign what became of the last update, where the medium says that it is not said yet."""
        outcome = _OUTCOMES[self._slots.told]
        if not outcome:
            return
        other = _manifest_in(self._other)
        had = self._own.number
        reason = "the new release was not confirmed by the gateway, or did not start"
        if outcome == "confirmed":
            had, reason = other.number if other else 0, ""
        if self._said(self._slots.entry, had, self._slots.release, outcome, reason):
            self._slots.told = 0
            self._save()

    def _save(self):
        try:
            self._slots.save()
        except OSError as failure:
            self._say("the state of the slots cannot be written: %s" % failure)

    def _said(self, entry, had, number, outcome, reason=""):
        try:
            self._tell(entry, had, number, outcome, reason)
        except OutboxError as failure:
            self._say("an update's outcome is told later: %s" % failure)
            return False
        self._say("update to release %d: %s %s" % (number, outcome, reason))
        return True

    # What there is.

    async def _look(self):
        """Carry out what there is; returns whether there was nothing."""
        raw, self._offer = self._offer, None
        if raw is None:
            raw = await self._wanted()
        if raw is None:
            return True
        wanted = release.update(raw, self._operator, self._origin, self._name, self._own.target)
        if wanted is None or wanted.entry == self._slots.entry:
            return True
        try:
            self._check(wanted)
            self.is_installing = True
            await self._install(wanted)
        except (Refused, OSError) as why:
            if not self._slots.is_whole(1 - self._slots.running):
                self._clean(())  # the outbox may need the room
            self._slots.entry, self._slots.release, self._slots.trial = wanted.entry, wanted.number, 0
            self._save()
            self._said(wanted.entry, self._own.number, wanted.number, "refused", _cut(str(why)))
        finally:
            self.is_installing = False
        return False

    async def _wanted(self):
        """The operator's newest statement for this node above its release, or None."""
        ask = cbor.encode([1, self._own.target, self._own.number])
        for _ in range(2):
            self._answer = None
            await self._ask(ask)
            if await self._until(_ANSWER_S, lambda: self._offer or self._answer):
                raw, self._offer = self._offer, None
                return raw
        return None

    def _check(self, wanted):
        if wanted.number <= self._own.number or wanted.number < self._slots.floor:
            said = (wanted.number, self._own.number, max(self._slots.floor, self._own.number))
            raise Refused("release %d after release %d, of at most %d: there is no way down" % said)

    # Into the other slot.

    async def _install(self, wanted):
        if self._begun != wanted.entry:
            self._begun = wanted.entry
            self._said(wanted.entry, self._own.number, wanted.number, "downloading")
        raw = await self._manifest(wanted)
        found = self._fitting(raw, wanted)
        make_folder(self._other, self._sync)
        kept = []
        for row in found.files:
            if await self._holds(*row):
                kept.append(row[0])
        self._check_room([row for row in found.files if row[0] not in kept], kept)
        self._remove(release.MANIFEST)  # until it is whole again
        self._clean(kept)
        for path, size, digest in found.files:
            await self._file(path, size, digest)
        for path, size, digest in found.files:
            if not await self._holds(path, size, digest):
                raise Refused("the medium does not hold %s as it was written" % path)
        self._write(release.MANIFEST, raw)
        self._said(wanted.entry, self._own.number, wanted.number, "trial")
        self._slots.switch(wanted.entry, wanted.number)
        self._restart()

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
            raw += await self._piece(wanted.digest, len(raw), wanted.size - len(raw))
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
                    piece = await self._piece(digest, at, size - at)
                    if stream.write(piece) != len(piece):
                        raise Refused("the medium has no room for " + path)
                    came.update(piece)
                    at += len(piece)
                self._sync.file(stream)
            if came.digest() == digest:
                self._put(path)
        if not await self._holds(path, size, digest):
            raise Refused("what came as %s is not what the operator signed" % path)

    async def _piece(self, digest, at, left):
        most = min(_PIECE, left)
        ask = cbor.encode([1, digest, at, most])
        for _ in range(_ASKS):
            self._answer = None
            await self._ask(ask)
            if await self._until(_ANSWER_S, lambda: self._answer):
                piece = self._matching(digest, at, most)
                if piece is not None:
                    return piece
        raise Wait("the gateway does not answer")

    def _matching(self, digest, at, most):
        """The piece that was asked for, out of the answer that came; None where it is another."""
        try:
            fields = cbor.decode(self._answer or b"")
        except (ValueError, MemoryError):
            return None
        if not isinstance(fields, list) or len(fields) != 4 or fields[:3] != [1, digest, at]:
            return None
        piece = fields[3]
        if not isinstance(piece, bytes) or len(piece) > most:
            return None
        if not piece:
            raise Wait("the gateway does not have what the operator released")
        return piece

    async def _until(self, seconds, there):
        """Wait until something is there, so many seconds at most; returns whether it is."""
        return bool(there()) or await within(self._comes(there), seconds)

    async def _comes(self, there):
        while not there():
            self._came.clear()
            await self._came.wait()

    # The other slot's files.

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

    def _clean(self, kept):
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


def _cut(text):
    return text[:100]
