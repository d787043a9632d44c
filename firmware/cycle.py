"""A node's life in mode deep-sleep: wake, measure, sign, store; now and then connect and send; sleep again."""

import asyncio

import retained
from link import ASLEEP, stop, within
from pulse import LOOK_S

_NAME = "cycle"  # of the loop, and in app.py
_SHORTEST_MS = 1000
_UPDATE_MS = 180000  # that an update may keep it from its next measurement; what came is not fetched again


class Cycle:
    """The wakes of a node, over boards that start anew at each and boards that go on where they slept.

    It sends at the first wake after a start, at every `send_every`-th, and, where the gateway answered the last time,
    whenever the outbox is more than half full: a network that is away costs no more than the wakes that were to send.
    """

    def __init__(self, node, settings, outbox, board, clock, pulse, say):
        self._node = node
        self._settings = settings
        self._outbox = outbox
        self._board = board
        self._clock = clock
        self._pulse = pulse
        self._say = say
        self._wakes = 0
        self._reached = False

    def kept(self, octets, boot_count, seq):
        """What the board kept over its sleep, or None where it is not of this start and this newest statement."""
        return retained.decode(octets, boot_count, seq)

    def resume(self, state):
        """Take up where the board fell asleep."""
        self._wakes, self._reached = state["wakes"], state["reached"]

    async def run(self):
        """Wake after wake; ends only where the board cannot sleep otherwise than by ending."""
        while True:
            began_ms = self._clock.uptime_ms()
            self._pulse.beat(_NAME)
            await self._node.measure()
            if self.is_due():
                await self._connect()
            self._wakes += 1
            self._pulse.rest(_NAME)
            rest_ms = self._settings["interval_s"] * 1000 - (self._clock.uptime_ms() - began_ms)
            await self._board.sleep(max(rest_ms, _SHORTEST_MS), retained.encode(self._state()))

    def is_due(self):
        """Whether this wake is to send."""
        is_full = self._outbox.is_half_full
        return self._wakes % self._settings["send_every"] == 0 or (self._reached and is_full)

    def _state(self):
        state = self._node.state()
        state["wakes"], state["reached"] = self._wakes, self._reached
        return state

    async def _connect(self):
        """Send, until nothing waits any more or `awake_s` is over; an update has a while more."""
        tasks = [asyncio.create_task(work) for work in self._node.connecting()]
        until_ms = self._clock.uptime_ms() + self._settings["awake_s"] * 1000
        before = self._outbox.count
        while self._outbox.count or self._node.updating():
            if self._clock.uptime_ms() >= until_ms + (_UPDATE_MS if self._node.updating() else 0):
                break
            self._pulse.beat(_NAME)
            await within(self._node.freed(), min(LOOK_S, max(until_ms - self._clock.uptime_ms(), 100) / 1000))
        self._reached = self._outbox.count < before
        self._say("%d statements were acknowledged, %d wait" % (before - self._outbox.count, self._outbox.count))
        await self._node.leave(ASLEEP)
        await stop(tasks)
        self._board.network_off()
