"""Brings the outbox to the gateway: oldest first, a window at a time, again after each connect and each silence."""

import asyncio

from clock import elapsed_ms, ticks_ms
from link import LinkDown, within
from pulse import LOOK_S


class Sender:
    """Publishes what the outbox holds until it is freed; `wake` after every change of outbox or connection.

    At most `window` statements are under way.  When one was not answered for `resend_s` seconds, the next window goes
    out, so that what the gateway holds does not hold up what is newer; after the newest the oldest is sent again.
    After each connect and each `tell` goes `checkpoint`, the newest one that the gateway sent, and again before
    whatever is published until the gateway is `heard`: one that went back to an old copy of its log, and came later
    than what was sent first, learns so before it takes a statement (protocol.md §10).
    """

    def __init__(self, outbox, link, topic, window, resend_s, say, beat=lambda: None):
        self._outbox = outbox
        self._link = link
        self._topic = topic
        self._window = window
        self._resend_ms = resend_s * 1000
        self._say = say
        self._beat = beat
        self._newest = outbox.head[0]  # the highest seq that was ever sent, or may have been before this start
        self._probe = (0, ticks_ms())
        self._changed = asyncio.Event()
        self._sent = {}
        self._told = False
        self._heard = False
        self.published = 0
        self.checkpoint = b""

    def wake(self):
        """Something changed: look again."""
        self._changed.set()

    def tell(self):
        """Send the checkpoint again."""
        self._told = self._heard = False
        self.wake()

    def heard(self):
        """The gateway answered, over a log that goes on from the checkpoint."""
        self._heard = True

    def round_trip_ms(self, runs):
        """How long ago what these runs of an acknowledgement answer was sent, None where that is not known.

        Only a statement that was signed since this start and sent once tells: no answer to it can be older.
        """
        seq, at = self._probe
        if seq and any(first <= seq <= last for first, last in runs):
            self._probe = (0, ticks_ms())
            return elapsed_ms(at)
        return None

    async def run(self):
        """Send for ever."""
        while True:
            self._beat()
            if not await within(self._link.wait_up(), LOOK_S):
                continue
            try:
                await self._session(self._link.session)
            except LinkDown:
                pass
            except OSError as failure:
                self._say("the outbox cannot be read (%s); trying again" % failure)
                await asyncio.sleep(LOOK_S)

    async def _session(self, session):
        self._sent = {}
        self._probe = (0, ticks_ms())
        self._told = self._heard = False
        after = 0
        while self._link.up and self._link.session == session:
            self._beat()
            self._changed.clear()
            self._sent = {seq: at for seq, at in self._sent.items() if self._outbox.waits(seq)}
            if any(elapsed_ms(at) >= self._resend_ms for at in self._sent.values()):
                said = (len(self._sent), self._resend_ms // 1000)
                self._say("%d statements without an answer from the gateway for %d s; they are sent again" % said)
                self._sent = {}
                self._probe = (0, ticks_ms())
            after = await self._fill(after)
            if not self._sent and self._outbox.count:
                after = await self._fill(0)
            if not self._told:
                await self._remind()
            await within(self._changed.wait(), min(LOOK_S, self._resend_ms / 2000))

    async def _remind(self):
        self._told = True
        if self.checkpoint:
            await self._publish(self.checkpoint)

    async def _fill(self, after):
        """Publish on from `after` until the window is full or all is sent; returns the last seq sent."""
        if len(self._sent) >= self._window:
            return after
        reminded = False
        for seq, signed in self._outbox.pending(after):
            if not (reminded or self._heard):
                reminded = True
                await self._remind()
            await self._publish(signed)
            self.published += 1
            self._sent[seq] = ticks_ms()
            if seq > self._newest:
                self._newest = seq
                if not self._outbox.waits(self._probe[0]):
                    self._probe = (seq, ticks_ms())
            after = seq
            if len(self._sent) >= self._window:
                break
        return after

    async def _publish(self, payload):
        while not await self._link.publish(self._topic, payload, LOOK_S):
            self._beat()
