"""Updates of this node: what the operator releases, fetched piece by piece into the other slot (protocol.md §10.3).

Nothing that comes over the network counts by itself: all of it hangs, by a hash, from the operator's signature.
"""

import asyncio
import sys

import identity
from asking import Asking, Wait
from link import LinkDown
from outbox import OutboxError

_OUTCOMES = (None, "confirmed", "returned")


def running(slots):
    """What the manifest of the slot that runs begins with; None where it has none, as when it was put there by hand."""
    return _head_in(slots.path(slots.running))


def _head_in(path):
    import release

    try:
        with open(path + "/" + release.MANIFEST, "rb") as stream:
            return release.head(stream.read(release.HEAD_SIZE))
    except (OSError, ValueError):
        return None
    finally:
        sys.modules.pop("release", None)


class Updates:
    """Asks for updates and carries them out.

    `slots` is the loader's, `own` the `release.Manifest` that runs, without its files.  `tell(entry, number had,
    number, outcome, reason)` signs and stores; `ask(payload)` sends, or raises `LinkDown`; `restart()` has the loader
    start the node anew; `ready()` waits for a connection.
    """

    def __init__(self, settings, slots, own, sync, say, tell, ask, restart, ready):
        self._operator = settings["operator_key"]
        self._name = settings["name"]
        gateway = "".join("%02x" % octet for octet in identity.kid(settings["gateway_key"]))
        self._origin = "earmark/%s/%s" % (settings["site"], gateway)
        self._every_s = settings["update_s"]
        self._trial_s = settings["trial_s"]
        self._slots, self._own, self._sync, self._say = slots, own, sync, say
        self._tell, self._restart, self._ready = tell, restart, ready
        self._asking = Asking(ask)
        self._other = slots.path(1 - slots.running)
        self.on_trial = bool(slots.trial and slots.running != slots.active)
        self.busy = self.is_installing = False
        self._begun = None

    def take(self, payload):
        """Something came from the gateway; quick."""
        self._asking.take(payload)

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
            elif not self._asking.offer:
                await self._asking.until(self._every_s, lambda: self._asking.offer)

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
        other = _head_in(self._other)
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
        raw, self._asking.offer = self._asking.offer, None
        if raw is None:
            raw = await self._asking.newest(self._own.target, self._own.number)
        if raw is None:
            return True
        import release

        wanted = release.update(raw, self._operator, self._origin, self._name, self._own.target)
        if wanted is None or wanted.entry == self._slots.entry:
            return True
        await self._install(wanted)
        return False

    async def _install(self, wanted):
        import installing

        installation = installing.Installation(wanted, self._other, self._asking, self._sync)
        why = self._downward(wanted) or await self._attempt(installation, wanted)
        if not why:
            return
        if not self._slots.is_whole(1 - self._slots.running):
            installation.clean(())  # the outbox may need the room
        self._slots.entry, self._slots.release, self._slots.trial = wanted.entry, wanted.number, 0
        self._save()
        self._said(wanted.entry, self._own.number, wanted.number, "refused", _cut(why))

    async def _attempt(self, installation, wanted):
        """Fetch it and have it tried; returns why it will not be, or nothing."""
        if self._begun != wanted.entry:
            self._begun = wanted.entry
            self._said(wanted.entry, self._own.number, wanted.number, "downloading")
        self.is_installing = True
        try:
            await installation.run()
            self._said(wanted.entry, self._own.number, wanted.number, "trial")
            self._slots.switch(wanted.entry, wanted.number)
            self._restart()
        except (installation.Refused, OSError) as why:
            return str(why) or "OSError"
        finally:
            self.is_installing = False
        return ""

    def _downward(self, wanted):
        """Why there is no way to this release, or nothing."""
        if wanted.number > self._own.number and wanted.number >= self._slots.floor:
            return ""
        said = (wanted.number, self._own.number, max(self._slots.floor, self._own.number))
        return "release %d after release %d, of at most %d: there is no way down" % said


def _cut(text):
    return text[:100]
