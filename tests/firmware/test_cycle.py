"""The deep-sleep life: when it sends, what it keeps over a sleep, and that a wake is no new start."""

import asyncio

import scratch
import unittest_mini as unittest

import app
import cbor
import cycle
import retained
import settings
import statement
from clock import KEPT, NTP, UNSET, Clock, elapsed_ms, ticks_ms
from cycle import Cycle
from identity import Identity
from outbox import Outbox
from pulse import Pulse

KEY = bytes(range(32))
STATE = {
    "boot_count": 3,
    "seq": 9,
    "clock": [1790000000123, 250, 86400000],
    "wakes": 7,
    "reached": True,
    "nonce": bytes(16),
    "checkpoint": b"earmark/farm/58ef67058cf6a689\n9\nroot\n",
    "names": [["broker.farm", "192.0.2.7"]],
}


class Retained(unittest.TestCase):
    def test_what_was_kept_comes_back(self):
        self.assertEqual(retained.decode(retained.encode(STATE), 3, 9), STATE)

    def test_it_fits_the_memory_that_sleep_keeps(self):
        full = dict(STATE, checkpoint=bytes(400), names=[["x" * 63 + "." + "y" * 63, "192.168.100.100"]] * 2)
        self.assertTrue(len(retained.encode(full)) + 16 < 2048)

    def test_of_another_start_or_storage_it_is_nothing(self):
        kept = retained.encode(STATE)
        self.assertTrue(retained.decode(kept, 4, 9) is None)
        self.assertTrue(retained.decode(kept, 3, 10) is None)

    def test_damaged_it_is_nothing(self):
        kept = retained.encode(STATE)
        for at in range(len(kept)):
            self.assertTrue(retained.decode(kept[:at], 3, 9) is None)
            bad = bytearray(kept)
            bad[at] ^= 1 << at % 8
            self.assertTrue(retained.decode(bytes(bad), 3, 9) is None)


class Away(Exception):
    """The board of a test sleeps."""


class Board:
    """A board that ends at its sleep like an ESP32, or goes on."""

    NAME = "none"
    SLEEP_DRIFT = 20

    def __init__(self, kept=None, wakes=1):
        self.given = kept
        self.left = wakes
        self.slept = []
        self.off = 0

    def reset_cause(self):
        return "test"

    def name_server(self):
        return None

    def kept(self):
        return self.given

    def online(self):
        return True

    def led(self, named):
        return None

    def network_off(self):
        self.off += 1

    async def network(self, settings, clock, names, say):
        """There is one."""

    async def watchdog(self, pulse, say):
        """There is none."""

    async def sleep(self, ms, keep):
        self.slept.append((ms, keep))
        self.left -= 1
        if not self.left:
            raise Away(keep)


class Time:
    """A clock that goes on only where it is told to."""

    def __init__(self):
        self.ms = 0

    def uptime_ms(self):
        return self.ms


class Gateway:
    """As much of a node as a cycle asks for: `answers` says whether the gateway frees what waits."""

    def __init__(self, answers, time):
        self.answers = answers
        self.time = time
        self.log = []
        self.count = 0
        self.is_half_full = self.is_updating = False

    def updating(self):
        return self.is_updating

    async def measure(self):
        self.count += 1
        self.log.append("measure")

    def connecting(self):
        self.log.append("connect")
        return [self._answer()]

    async def _answer(self):
        if self.answers:
            self.count = 0

    async def freed(self):
        self.time.ms += 50
        await asyncio.sleep(0)

    async def leave(self, word):
        self.log.append(word.decode())

    def state(self):
        return dict(STATE)


class Sending(unittest.TestCase):
    def wakes(self, number, answers=True, filling=False, updating=False, **changes):
        chosen = {"interval_s": 60, "send_every": 3, "awake_s": 1}
        chosen.update(changes)
        time, said = Time(), []
        self.node, self.board = Gateway(answers, time), Board(wakes=number)
        self.node.is_half_full, self.node.is_updating = filling, updating
        self.cycle = Cycle(self.node, chosen, self.node, self.board, time, Pulse(), said.append)
        with self.assertRaises(Away):
            asyncio.run(self.cycle.run())
        return self.node.log

    def test_the_first_wake_and_every_nth_send(self):
        log = self.wakes(7)
        sending = ["measure", "connect", "asleep"]
        self.assertEqual(log, sending + ["measure"] * 2 + sending + ["measure"] * 2 + sending)
        self.assertEqual((self.board.off, self.node.count), (3, 0))
        self.assertTrue(all(59000 <= ms <= 60000 for ms, _ in self.board.slept), self.board.slept)

    def test_a_gateway_that_is_away_is_waited_for_no_longer_than_allowed(self):
        self.assertEqual(self.wakes(2, answers=False), ["measure", "connect", "asleep", "measure"])
        self.assertEqual(self.node.count, 2)
        self.assertEqual([ms for ms, _ in self.board.slept], [59000, 60000])

    def test_an_update_that_never_ends_ends_no_life(self):
        cycle._UPDATE_MS, before = 500, cycle._UPDATE_MS
        self.wakes(1, updating=True)
        cycle._UPDATE_MS = before
        self.assertEqual(self.board.slept[0][0], 58500)

    def test_an_outbox_that_fills_is_sent_where_somebody_answers(self):
        self.assertEqual(self.wakes(3, filling=True).count("connect"), 3)
        self.assertEqual(self.wakes(3, answers=False, filling=True).count("connect"), 1)

    def test_the_count_of_wakes_and_the_answer_go_over_the_sleep(self):
        self.wakes(2)
        state = retained.decode(self.board.slept[-1][1], 3, 9)
        self.assertEqual((state["wakes"], state["reached"]), (2, True))
        self.cycle.resume(dict(STATE, wakes=3))
        self.assertTrue(self.cycle.is_due())
        self.cycle.resume(dict(STATE, wakes=4))
        self.assertFalse(self.cycle.is_due())


class Wake(unittest.TestCase):
    def setUp(self):
        self.folder = scratch.MemoryFolder()

    def life(self, board, set_to=None):
        """One start of a real node over the same storage, until it sleeps; returns what it keeps."""
        given = {"site": "farm", "name": "n", "gateway_key": KEY.hex(), "broker": {"host": "127.0.0.1", "port": 1}}
        given.update({"sensors": [{"driver": "modelled"}], "mode": "deep-sleep", "awake_s": 1, "send_every": 50})
        chosen = settings.check(given)
        self.clock = Clock(UNSET, 0)
        if set_to:
            self.clock.set(*set_to)
        self.outbox = Outbox(self.folder, 8192, 4096)
        made = settings.make_sensors(chosen, self.clock)
        node = app.Node(chosen, Identity(KEY), self.outbox, made, board, self.clock, lambda text: None)
        with self.assertRaises(Away):
            asyncio.run(node.run())
        return board.slept[-1][1]

    def claims(self):
        """[(boot count, clock, whether it is a boot statement), …] of all that was signed."""
        found = []
        for _, signed in self.outbox.pending():
            header = cbor.decode(cbor.decode(signed).value[0])
            claims = header[15]
            found.append((claims[267], list(claims[-65538]), header[3] == statement.BODY))
        return found

    def test_a_wake_is_no_new_start(self):
        began = ticks_ms()
        keep = self.life(Board(), (NTP, 100, 1790000000000))
        kept = self.life(Board((keep, 600000)))
        again = self.life(Board((kept, 600000)))
        awake = elapsed_ms(began) // 1000 + 1
        boot, first, second, third = self.claims()
        self.assertEqual([boot[0], first[0], second[0], third[0]], [1, 1, 1, 1])
        self.assertEqual([boot[2], first[2], second[2], third[2]], [True, False, False, False])
        self.assertEqual([row[1][0] for row in (first, second, third)], [NTP, KEPT, KEPT])
        self.assertTrue(31 <= second[1][1] <= 33 and 61 <= third[1][1] <= 64, (second, third))
        self.assertTrue(600 <= second[1][2] <= 600 + awake and 1200 <= third[1][2] <= 1200 + awake, (second, third))
        self.assertTrue(len(again) < 200)

    def test_where_the_memory_is_lost_it_is_a_start(self):
        keep = self.life(Board(), (NTP, 100, 1790000000000))
        self.life(Board((b"\x00" + keep, 600000)))
        self.assertEqual([row[0] for row in self.claims()], [1, 1, 2, 2])
        self.assertEqual(self.claims()[3][1][:2], [UNSET, 0])


if __name__ == "__main__":
    unittest.main()
