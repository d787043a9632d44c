"""The order in which a node's checkpoint and statements go out."""

import asyncio

import scratch  # noqa: F401 - it finds the firmware
import unittest_mini as unittest

from sender import Sender


class Outbox:
    """Statements that wait, by seq."""

    head = (0, bytes(32))

    def __init__(self, *seqs):
        self.seqs = list(seqs)

    @property
    def count(self):
        return len(self.seqs)

    def pending(self, after):
        return [(seq, b"%d" % seq) for seq in self.seqs if seq > after]

    def waits(self, seq):
        return seq in self.seqs


class Link:
    """A connection that writes down what is published."""

    def __init__(self):
        self.up = True
        self.session = 1
        self.sent = []
        self.meanwhile = {}

    async def wait_up(self):
        while not self.up:
            await asyncio.sleep(0)

    async def publish(self, topic, payload, wait_s=None):
        self.sent.append(payload.decode())
        self.meanwhile.get(self.sent[-1], lambda: None)()
        return True


class SenderCase(unittest.TestCase):
    def setUp(self):
        self.link = Link()
        self.outbox = Outbox(1, 2)
        self.sender = Sender(self.outbox, self.link, "up", 8, 30, lambda said: None)
        self.sender.checkpoint = b"cp"

    def sent_after(self, *steps):
        """What is published, in one connection, with a step after each turn."""

        async def all_of_it():
            task = asyncio.create_task(self.sender.run())
            for step in (None,) + steps:
                if step:
                    step()
                self.sender.wake()
                for _ in range(8):
                    await asyncio.sleep(0)
            task.cancel()
            try:  # noqa: SIM105 - MicroPython has no contextlib
                await task
            except asyncio.CancelledError:
                pass

        asyncio.run(all_of_it())
        return self.link.sent

    def more(self):
        self.outbox.seqs.append(self.outbox.seqs[-1] + 1)

    def test_the_checkpoint_goes_before_statements_until_it_is_heard(self):
        sent = self.sent_after(self.more, lambda: None, self.more, self.sender.heard, self.more)
        self.assertEqual(sent, ["cp", "1", "2", "cp", "3", "cp", "4", "5"])

    def test_it_goes_alone_where_nothing_waits(self):
        self.outbox.seqs = []
        self.assertEqual(self.sent_after(lambda: None), ["cp"])

    def test_it_goes_again_when_told_to(self):
        sent = self.sent_after(self.sender.heard, self.sender.tell, self.more)
        self.assertEqual(sent, ["cp", "1", "2", "cp", "cp", "3"])

    def test_it_goes_before_the_rest_of_a_window_when_told_to_meanwhile(self):
        self.link.meanwhile["4"] = self.sender.tell
        sent = self.sent_after(self.sender.heard, lambda: self.outbox.seqs.extend([3, 4, 5, 6]))
        self.assertEqual(sent, ["cp", "1", "2", "3", "4", "cp", "5", "6"])

    def test_only_what_was_signed_since_the_start_and_sent_once_tells_of_the_round_trip(self):
        self.outbox.head = (2, bytes(32))
        self.sender = Sender(self.outbox, self.link, "up", 8, 30, lambda said: None)
        found = []
        self.sent_after(
            lambda: found.append(self.sender.round_trip_ms([(1, 2)])),
            self.more,
            lambda: found.append(self.sender.round_trip_ms([(1, 2)])),
            lambda: found.append(self.sender.round_trip_ms([(1, 3)])),
            lambda: found.append(self.sender.round_trip_ms([(1, 3)])),
            self.more,
            lambda: setattr(self.link, "session", 2),
            lambda: found.append(self.sender.round_trip_ms([(1, 4)])),
        )
        self.assertEqual([each is None for each in found], [True, True, False, True, True])
        self.assertTrue(0 <= found[2] < 1000)
        self.assertTrue(self.link.sent.count("4") > 1)  # once more, over another connection

    def test_a_node_that_knows_none_sends_none(self):
        self.sender.checkpoint = b""
        self.assertEqual(self.sent_after(self.more), ["1", "2", "3"])

    def test_what_the_gateway_holds_does_not_hold_up_the_rest(self):
        self.outbox.seqs = [1, 2, 3, 4, 5]
        self.sender = Sender(self.outbox, self.link, "up", 2, 0.02, lambda said: None)

        async def nine():
            task = asyncio.create_task(self.sender.run())
            while len(self.link.sent) < 9:
                await asyncio.sleep(0.005)
            task.cancel()

        asyncio.run(asyncio.wait_for(nine(), 20))
        self.assertEqual(self.link.sent[:9], ["1", "2", "3", "4", "5", "1", "2", "3", "4"])


if __name__ == "__main__":
    unittest.main()
