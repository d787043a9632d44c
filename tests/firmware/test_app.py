"""The node's own loops on a medium that refuses writes: what is stored counts, whatever is refused after it."""

import asyncio

import scratch
import unittest_mini as unittest

import ack
import app
import cbor
import replaying
import sensors
import settings
from clock import HOST, Clock
from identity import Identity
from outbox import Outbox, OutboxError
from sensors import MEASURED, REPLAYED, SensorError, failed

KEY = bytes(range(32))
ROWS = 40


class Board:
    """As much of a board as a node without a network asks for."""

    NAME = "none"

    SLEEP_DRIFT = 20

    def reset_cause(self):
        return "test"

    def name_server(self):
        return None

    def kept(self):
        return None

    def online(self):
        return True

    def led(self, named):
        return None


class FullMedium(Outbox):
    """An outbox whose medium refuses every gap statement for a while."""

    refuses = True

    def append(self, seq, statement, mark=None, gap=None):
        if gap and self.refuses:
            raise OutboxError("no room for the gap")
        super().append(seq, statement, mark, gap)


class Node(unittest.TestCase):
    def setUp(self):
        self.path = scratch.folder()
        self.said = []
        with open(self.path + "/rows.csv", "w") as stream:
            stream.write("time,a\n" + "".join("2022-01-01 00:%02d,%d\n" % (row, row) for row in range(ROWS)))

    def tearDown(self):
        scratch.remove(self.path)

    def replay(self, **changes):
        columns = {"a": {"name": "a"}}
        sensor = {"driver": "replay", "file": self.path + "/rows.csv", "columns": columns, "time_column": "time"}
        sensor.update(changes)
        return sensor

    def node(self, outbox, *entries):
        given = {"site": "farm", "name": "n", "gateway_key": KEY.hex(), "broker": {"host": "b"}, "backlog": 1000}
        given["sensors"] = list(entries)
        clock = Clock(HOST, 1)
        chosen = settings.check(given)
        sensors = settings.make_sensors(chosen, clock)
        return app.Node(chosen, Identity(KEY), outbox, sensors, Board(), clock, self.said.append), sensors

    def test_rows_are_signed_once_although_the_gap_after_them_is_refused(self):
        outbox = FullMedium(scratch.MemoryFolder(), 4096, 1024)
        node, sensors = self.node(outbox, self.replay())
        sensor = sensors[0]
        stored = []
        readings = node._chain.readings

        def counted(method, payload, positions=None):
            seq = readings(method, payload, positions)
            stored.append(payload)
            return seq

        node._chain.readings = counted
        replaying.RETRY_S = 0
        try:
            node._boot()
            asyncio.run(asyncio.wait_for(node._replay(sensor), 20))
        finally:
            replaying.RETRY_S = 5
        self.assertEqual(sensor.method, REPLAYED)
        self.assertTrue(any("told later" in text for text in self.said))
        self.assertEqual((len(stored), len(set(stored))), (ROWS, ROWS))
        outbox.refuses = False
        node._tell_dropped()
        self.assertEqual(outbox.dropped, [])

    def test_the_light_stays_on_while_an_update_is_installed(self):
        class Installing:
            is_installing = True

        node, _ = self.node(Outbox(scratch.MemoryFolder(), 4096, 1024), {"driver": "waiting"})
        self.assertTrue(node.code() != "update")
        node._updates = Installing()
        self.assertEqual(node.code(), "update")

    def test_a_node_says_how_much_waits_in_its_outbox(self):
        outbox = Outbox(scratch.MemoryFolder(), 4096, 1024)
        node, sensors = self.node(outbox, {"driver": "waiting"})
        node._boot()
        signed = []
        node._chain.readings = lambda method, payload, positions=None: signed.append((method, payload)) or 2
        asyncio.run(node._sample(MEASURED, sensors))
        method, payload = signed[0]
        record = cbor.decode(payload)[0]
        self.assertEqual((method, record[0], record[1], record[2]), (MEASURED, "outbox", "count", 1))

    def test_a_failed_reading_is_signed_by_its_name(self):
        class Broken:
            name, driver, method, detail, quantities = "air", "sht3x", MEASURED, "", ["temperature"]

            async def read(self):
                raise SensorError("crc", "what was seen")

        class Half(Broken):
            async def read(self):
                await asyncio.sleep(0)
                return [("a", None, 1), failed("b", "out-of-range")]

        node, _ = self.node(Outbox(scratch.MemoryFolder(), 4096, 1024))
        signed = []
        node._chain.readings = lambda method, payload, positions=None: signed.append(cbor.decode(payload)) or 2
        asyncio.run(node._sample(MEASURED, [Broken(), Half()]))
        named = [(record[0], record.get(2, record.get(3))) for record in signed[0]]
        self.assertEqual(named, [("air/error", "crc"), ("a", 1), ("b/error", "out-of-range")])
        self.assertTrue("no reading of air: crc: what was seen" in self.said)
        self.assertTrue("no reading of b: out-of-range" in self.said)

    def test_a_sensor_that_hangs_or_breaks_takes_no_other_with_it(self):
        class Hung:
            name, driver, method, detail, quantities = "bed", "modbus", MEASURED, "", ["a"]

            async def read(self):
                await asyncio.sleep(1000)

        class Taken(Hung):
            name = "soil"

            async def read(self):
                raise OSError(116, "ESP_ERR_TIMEOUT")

        class Well(Hung):
            async def read(self):
                return [("a", None, 1)]

        node, _ = self.node(Outbox(scratch.MemoryFolder(), 4096, 1024))
        signed = []
        node._chain.readings = lambda method, payload, positions=None: signed.append(cbor.decode(payload)) or 2
        most_s, sensors._MOST_S = sensors._MOST_S, 0.05
        try:
            asyncio.run(node._sample(MEASURED, [Hung(), Taken(), Well()]))
        finally:
            sensors._MOST_S = most_s
        named = [(record[0], record.get(2, record.get(3))) for record in signed[0]]
        self.assertEqual(named, [("bed/error", "no-answer"), ("soil/error", "no-answer"), ("a", 1)])

    def test_an_acknowledgement_too_large_for_the_memory_is_ignored(self):
        def verify(payload, gateway_key, kid):
            raise MemoryError("memory allocation failed")

        node, _ = self.node(Outbox(scratch.MemoryFolder(), 4096, 1024))
        genuine, ack.verify = ack.verify, verify
        try:
            node._answers.free(b"\x99\x0f\xfa" + b"\xa0" * 4090)
        finally:
            ack.verify = genuine
        self.assertTrue("ignored" in self.said[-1])

    def answered(self, node, first, last, checkpoint):
        """Hand the node an acknowledgement of a run over this checkpoint; how many statements wait then."""
        genuine, ack.verify = ack.verify, lambda *_: ack.Ack([(first, last)], [], checkpoint, 0)
        try:
            node._answers.free(b"")
        finally:
            ack.verify = genuine
        return node._outbox.count

    def test_a_log_that_went_back_frees_nothing_and_is_told(self):
        node, _ = self.node(Outbox(scratch.MemoryFolder(), 4096, 1024))
        for _ in range(6):
            node._chain.readings(0, cbor.encode([{0: "n/a", 2: 1}]))
        told = []
        node._sender.tell = lambda: told.append(node._sender.checkpoint)
        self.assertEqual(self.answered(node, 1, 1, b""), 5)
        self.assertEqual(self.answered(node, 2, 2, b"o\n7\nroot\n"), 4)
        self.assertEqual(self.answered(node, 3, 3, b"o\n7\nroot\n"), 3)
        for older in (b"", b"o\n6\nroot\n", b"o\n7\nanother\n"):
            self.assertEqual(self.answered(node, 4, 6, older), 3)
            self.assertTrue("had sealed 7 before" in self.said[-1])
        self.assertEqual(told, [b"o\n7\nroot\n"] * 3)
        self.assertEqual(self.answered(node, 4, 6, b"no checkpoint"), 3)
        self.assertTrue("ignored" in self.said[-1])
        self.assertEqual(self.answered(node, 4, 6, b"o\n8\nroot\n"), 0)


if __name__ == "__main__":
    unittest.main()
