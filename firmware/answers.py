"""What the gateway's acknowledgements change: the outbox, the clock, and what is known of the gateway's log."""

import asyncio

import ack
from clock import GATEWAY
from link import within
from pulse import LOOK_S

_MAX_WAITING = 4  # verified one after the other; a later one covers what an earlier one said


class Answers:
    """Verifies acknowledgements and does what they say.

    `on_answer(runs, freed)` is told of each that counted, with how many statements it freed.  `acknowledged` and
    `refused` count them since the start.
    """

    def __init__(self, settings, kid, outbox, sender, clock, pulse, say, on_answer):
        self._gateway_key = settings["gateway_key"]
        self._kid = kid
        self._outbox = outbox
        self._sender = sender
        self._clock = clock
        self._pulse = pulse
        self._say = say
        self._on_answer = on_answer
        self._waiting = []
        self._came = asyncio.Event()
        self._heard_at_s = 0
        self._ahead = 0
        self.acknowledged = 0
        self.refused = 0

    def take(self, payload):
        """One came; quick."""
        if len(self._waiting) >= _MAX_WAITING:
            self._waiting.pop(0)
        self._waiting.append(payload)
        self._came.set()

    def heard(self):
        """Count the gateway's silence from now on."""
        self._heard_at_s = self._clock.uptime_s()

    def quiet_s(self):
        """For how long the gateway has said nothing."""
        return self._clock.uptime_s() - self._heard_at_s

    async def run(self):
        """Do what comes, for ever."""
        while True:
            self._pulse.beat("answers")
            await within(self._came.wait(), LOOK_S)
            self._came.clear()
            while self._waiting:
                self.free(self._waiting.pop(0))
                await asyncio.sleep(0)

    def free(self, payload):
        """Do what one says; whatever is wrong with it is said, and it changes nothing."""
        self._pulse.feed()  # where viper is missing this takes seconds
        try:
            answer = ack.verify(payload, self._gateway_key, self._kid)
            if not self._follows(answer.checkpoint):
                return
            self._sender.heard()
            self.heard()
            self._set_clock(answer)
        except (ValueError, MemoryError) as wrong:  # 4 KB of nobody's empty lists are 130 KB once decoded
            self._say("an acknowledgement was ignored: %s" % wrong)
            return
        refused = [pair for pair in answer.refused if self._outbox.waits(pair[0])]
        freed = self._outbox.free(answer.runs, [seq for seq, _ in refused])
        for seq, reason in refused:
            self._say("the gateway refused seq %d for good: %s" % (seq, reason))
        self.refused += len(refused)
        self.acknowledged += freed - len(refused)
        self._doubt(answer)
        self._on_answer(answer.runs, freed)
        if freed:
            self._sender.wake()

    def _set_clock(self, answer):
        """Take the gateway's time where it is better than what is known: it signed after what it answers was sent."""
        round_trip_ms = self._sender.round_trip_ms(answer.runs)
        if round_trip_ms is None or not self._clock.wants(round_trip_ms // 2 + 1):
            return
        half_ms = round_trip_ms // 2 + 1
        off_s = self._clock.set(GATEWAY, half_ms, answer.unix_ms + half_ms)
        said = "; it was off by %d s, more than was stated" % off_s if off_s else ""
        self._say("the clock is set by the gateway, to %d ms%s" % (half_ms, said))

    def _follows(self, checkpoint):
        """Whether the gateway still has the log that it had: one that has not, or an acknowledgement that was
        overtaken by a newer one, frees nothing.  A node that started anew has forgotten."""
        size, seen = ack.tree_size(checkpoint), ack.tree_size(self._sender.checkpoint)
        if size > seen:
            self._sender.checkpoint = checkpoint
        elif checkpoint != self._sender.checkpoint:
            said = (size, seen)
            self._say("an acknowledgement over %d leaves was ignored: the gateway had sealed %d before" % said)
            self._sender.tell()
            return False
        return True

    def _doubt(self, answer):
        newest = max([last for _, last in answer.runs] + [seq for seq, _ in answer.refused] + [0])
        head = self._outbox.head[0]
        if newest > head and self._ahead < newest:
            self._ahead = newest
            said = (newest, head)
            self._say(
                "the gateway has seq %d of this key, this storage ends at %d: the key signs elsewhere too, or the "
                "storage went back in time; revoke the key and give the node a new one" % said
            )
