"""The MQTT link against brokers that misbehave: it never ends, never hangs, and is there once the broker is."""

import asyncio
import gc
import random

import unittest_mini as unittest

import packets
from link import Link, LinkDown, stop, within

if hasattr(gc, "threshold"):
    gc.threshold(65536)  # what the cases keep would otherwise lie scattered over the whole heap

CONNACK = b"\x20\x02\x00\x00"
SUBACK = b"\x90\x04\x00\x01\x01\x01"


class Broker:
    """A TCP server that treats each connection by the next of its scripts, and the last for ever."""

    def __init__(self, *scripts):
        self.scripts = list(scripts)
        self.connections = 0
        self.received = []
        self.got = asyncio.Event()
        self.port = 0
        self.open = []

    async def start(self):
        while True:
            self.port = 20000 + random.getrandbits(15)
            try:
                self.server = await asyncio.start_server(self.serve, "127.0.0.1", self.port)
                return self
            except OSError:
                continue

    async def serve(self, reader, writer):
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        self.connections += 1
        task = asyncio.current_task()
        self.open.append(task)
        await over(script(self, reader, writer))
        writer.close()
        await over(writer.wait_closed())
        self.open.remove(task)

    async def stop(self):
        for task in list(self.open):
            task.cancel()
        self.server.close()
        await self.server.wait_closed()
        while self.open:
            await asyncio.sleep(0)


async def over(work):
    """Wait for work that may end by a broken connection or by being cancelled; returns how it ended, None if well."""
    try:
        await work
    except (OSError, EOFError, asyncio.CancelledError) as end:
        return end


async def packet(reader):
    first = (await reader.readexactly(1))[0]
    size = shift = 0
    while True:
        digit = (await reader.readexactly(1))[0]
        size |= (digit & 127) << shift
        shift += 7
        if not digit & 128:
            return first, await reader.readexactly(size) if size else b""


async def send(writer, content):
    writer.write(content)
    await writer.drain()


def after_connect(content, linger=False):
    """A script: take CONNECT, answer with these bytes, then close or stay silent until the link closes."""

    async def script(broker, reader, writer):
        await packet(reader)
        await send(writer, content)
        while linger:
            await reader.readexactly(1)

    return script


def after_subscribe(content, linger=False):
    """The same after a proper CONNACK and SUBACK."""

    async def script(broker, reader, writer):
        await packet(reader)
        await send(writer, CONNACK)
        subscription = await packet(reader)
        await send(writer, b"\x90\x04" + subscription[1][:2] + b"\x01\x01" + content)
        while linger:
            await reader.readexactly(1)

    return script


async def close_at_once(broker, reader, writer):
    pass


def proper(acknowledge=True):
    """A script: a broker that does what it should; without `acknowledge` it keeps its PUBACKs to itself."""

    async def script(broker, reader, writer):
        while True:
            first, body = await packet(reader)
            kind = first >> 4
            if kind == 1:
                await send(writer, CONNACK)
            elif kind == 8:
                await send(writer, b"\x90\x04" + body[:2] + b"\x01\x01")
                await send(writer, b"\x32\x08\x00\x03t/d\x00\x09x")
            elif kind == 3:
                end = 2 + body[1]
                broker.received.append(body[end + 2 :])
                broker.got.set()
                if acknowledge:
                    await send(writer, b"\x40\x02" + body[end : end + 2])
            elif kind == 4:
                broker.received.append(b"PUBACK" + body)
                broker.got.set()
            elif kind == 12:
                await send(writer, b"\xd0\x00")

    return script


def noise():
    random.seed(7)
    return bytes(random.getrandbits(8) for _ in range(300))


MISBEHAVIOURS = (
    close_at_once,
    after_connect(b""),
    after_connect(b"", linger=True),
    after_connect(b"\x20\x02\x00", linger=True),
    after_connect(b"\x20\x02\x00"),
    after_connect(b"\x20\x02\x00\x05"),
    after_connect(b"\x20\x02\x01\x00", linger=True),
    after_connect(b"\xd0\x00", linger=True),
    after_connect(noise(), linger=True),
    after_connect(b"HTTP/1.1 400 Bad Request\r\n\r\n", linger=True),
    after_connect(CONNACK + b"\xff" * 8, linger=True),
    after_connect(CONNACK + CONNACK, linger=True),
    after_connect(CONNACK + b"\x90\x04\x00\x01\x80\x01", linger=True),
    after_connect(CONNACK + b"\x90\x03\xff\xff\x01", linger=True),
    after_subscribe(b""),
    after_subscribe(b"\x30\xff\xff\xff\x7f", linger=True),
    after_subscribe(b"\x30\x80\x80\x80\x80\x01", linger=True),
    after_subscribe(b"\x40\x02\x12\x34", linger=True),
    after_subscribe(b"\x36\x05\x00\x01t\x00\x01", linger=True),
    after_subscribe(b"\x30\x03\x00\x09t", linger=True),
    after_subscribe(b"\x30\x20\x00\x01t", linger=True),
    after_subscribe(b"", linger=True),
)


class Harness:
    """A link and what it said."""

    def __init__(self, broker, **options):
        self.messages = []
        self.states = []
        self.changed = asyncio.Event()
        options.setdefault("retry_s", (0.01, 0.05))
        options.setdefault("keepalive_s", 1)
        options.setdefault("connect_s", 0.3)
        self.link = Link("127.0.0.1", broker.port, "n", ["t/d", "t/b"], self.message, self.state, **options)

    def message(self, topic, payload):
        self.messages.append((topic, payload))
        self.changed.set()

    def state(self, text):
        self.states.append(text)
        self.changed.set()


async def stopped(task):
    task.cancel()
    await over(task)


async def with_link(broker, steps, **options):
    """Run `steps(broker, harness)` beside a link to the broker, within 30 s, and end both."""
    await broker.start()
    harness = Harness(broker, **options)
    task = asyncio.create_task(harness.link.run())
    try:
        await asyncio.wait_for(steps(broker, harness), 30)
    finally:
        await stopped(task)
        await broker.stop()
    return harness


class Misbehaviour(unittest.TestCase):
    def test_every_kind_then_a_proper_broker(self):
        async def steps(broker, harness):
            while len(harness.messages) < 1:
                harness.changed.clear()
                await harness.changed.wait()
            await harness.link.publish("t/u", b"hello")
            while b"hello" not in broker.received:
                broker.got.clear()
                await broker.got.wait()

        broker = Broker(*MISBEHAVIOURS, proper())
        harness = asyncio.run(with_link(broker, steps))
        self.assertEqual(broker.connections, len(MISBEHAVIOURS) + 1)
        self.assertEqual(harness.messages, [("t/d", b"x")])
        self.assertTrue(b"PUBACK\x00\x09" in broker.received)
        failures = [text for text in harness.states if text.startswith("no connection")]
        self.assertEqual(len(failures), len(MISBEHAVIOURS))

    def test_a_programming_error_is_not_hidden(self):
        async def steps():
            broker = await Broker(proper()).start()
            harness = Harness(broker)
            harness.link.on_message = None
            try:
                with self.assertRaises(TypeError):
                    await asyncio.wait_for(harness.link.run(), 10)
            finally:
                await broker.stop()

        asyncio.run(steps())

    def test_a_packet_too_large_for_the_memory_costs_only_the_connection(self):
        async def steps(broker, harness):
            def full(topic, payload):
                harness.link.on_message = harness.message
                raise MemoryError("memory allocation failed")

            harness.link.on_message = full
            while not harness.messages:
                harness.changed.clear()
                await harness.changed.wait()
            self.assertEqual(harness.link.session, 2)

        asyncio.run(with_link(Broker(proper()), steps))

    def test_nobody_listens(self):
        async def steps(broker, harness):
            await broker.stop()
            while len(harness.states) < 3:
                harness.changed.clear()
                await harness.changed.wait()
            with self.assertRaises(LinkDown):
                await harness.link.publish("t/u", b"x")

        harness = asyncio.run(with_link(Broker(close_at_once), steps))
        self.assertFalse(harness.link.up)


class Portals(unittest.TestCase):
    def said(self, script, word, **options):
        async def steps(broker, harness):
            while not any(word in text for text in harness.states):
                harness.changed.clear()
                await harness.changed.wait()

        asyncio.run(with_link(Broker(script), steps, **options))

    def test_http_in_place_of_mqtt_is_named(self):
        self.said(after_connect(b"HTTP/1.1 302 Found\r\nLocation: http://portal/\r\n\r\n"), "captive portal")

    def test_another_service_is_named(self):
        self.said(after_connect(b"220 mail ESMTP\r\n", linger=True), "not MQTT")

    def test_who_closes_without_a_word_is_named(self):
        self.said(close_at_once, "without a word")


class Presence(unittest.TestCase):
    def test_it_is_said_at_the_connect_as_a_will_and_at_the_end(self):
        kept = []

        async def script(broker, reader, writer):
            while True:
                first, body = await packet(reader)
                kept.append((first, body))
                if first >> 4 == 14:
                    broker.got.set()
                    return
                if first >> 4 == 3:
                    end = 2 + body[1]
                    await send(writer, b"\x40\x02" + body[end : end + 2])
                if first >> 4 in (1, 8):
                    await send(writer, CONNACK if first >> 4 == 1 else b"\x90\x04" + body[:2] + b"\x01\x01")

        async def steps(broker, harness):
            await harness.link.wait_up()
            await harness.link.close(b"asleep")
            await broker.got.wait()

        asyncio.run(with_link(Broker(script), steps, presence="t/s", retry_s=(5, 5)))
        connect, _, online, asleep, leave = kept
        self.assertEqual(connect[1][7] & 0x3C, 0x2C)
        self.assertTrue(b"\x00\x03t/s\x00\x07offline" in connect[1])
        self.assertEqual(
            [(first, body[:5], body[7:]) for first, body in (online, asleep)],
            [(0x33, b"\x00\x03t/s", b"online"), (0x33, b"\x00\x03t/s", b"asleep")],
        )
        self.assertEqual(leave[0], 0xE0)


class Window(unittest.TestCase):
    def test_publish_waits_while_it_is_full(self):
        async def steps(broker, harness):
            await harness.link.wait_up()
            for number in range(4):
                await harness.link.publish("t/u", bytes([number]))
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(harness.link.publish("t/u", b"\x04"), 0.2)
            while len(broker.received) < 5:  # four messages and the PUBACK of the broker's own
                broker.got.clear()
                await broker.got.wait()

        asyncio.run(with_link(Broker(proper(acknowledge=False)), steps, window=4))

    def test_publish_says_when_there_was_no_room_in_time(self):
        async def steps(broker, harness):
            await harness.link.wait_up()
            self.assertTrue(await harness.link.publish("t/u", b"1", 0.05))
            self.assertFalse(await harness.link.publish("t/u", b"2", 0.05))

        asyncio.run(with_link(Broker(proper(acknowledge=False)), steps, window=1))

    def test_a_window_of_large_messages_is_not_all_in_memory(self):
        async def steps(broker, harness):
            await harness.link.wait_up()
            for number in range(32):
                await harness.link.publish("t/u", bytes([number]) * 4000)
                most.append(len(harness.link._queue))

        most = []
        asyncio.run(with_link(Broker(proper(acknowledge=False)), steps, window=32))
        self.assertTrue(max(most) <= 4)

    def test_a_thousand_messages_pass_in_order(self):
        async def steps(broker, harness):
            await harness.link.wait_up()
            for number in range(1000):
                await harness.link.publish("t/u", b"%d" % number)
            while len(broker.received) < 1001:
                broker.got.clear()
                await broker.got.wait()

        broker = Broker(proper())
        asyncio.run(with_link(broker, steps, window=8))
        numbers = [int(content) for content in broker.received if not content.startswith(b"PUBACK")]
        self.assertEqual(numbers, list(range(1000)))

    def test_who_waits_is_told_when_the_connection_goes(self):
        async def steps(broker, harness):
            await harness.link.wait_up()
            await harness.link.publish("t/u", b"1")
            with self.assertRaises(LinkDown):
                await harness.link.publish("t/u", b"2")

        asyncio.run(with_link(Broker(after_subscribe(b"", linger=True)), steps, window=1, retry_s=(5, 5)))


class Liveness(unittest.TestCase):
    def test_other_tasks_go_on_while_it_connects_and_waits(self):
        """The broker ends the attempt once another task has had its turns, which needs no speed."""
        enough = asyncio.Event()

        async def silent(broker, reader, writer):
            await packet(reader)
            broker.got.set()
            await enough.wait()

        async def steps(broker, harness):
            await broker.got.wait()
            for _ in range(60):
                await asyncio.sleep(0.01)
            self.assertEqual((harness.states, broker.connections), ([], 1))
            enough.set()
            while not harness.states:
                await asyncio.sleep(0.01)
            self.assertFalse("no answer in time" in harness.states[0], harness.states)

        asyncio.run(with_link(Broker(silent), steps, connect_s=20))

    def test_a_broker_that_only_answers_pings_is_given_up(self):
        async def no_suback(broker, reader, writer):
            while True:
                kind = (await packet(reader))[0] >> 4
                if kind in (1, 12):
                    await send(writer, CONNACK if kind == 1 else b"\xd0\x00")

        async def steps(broker, harness):
            await harness.link.wait_up()
            with self.assertRaises(LinkDown):
                await harness.link.publish("t/u", b"1")
                await harness.link.publish("t/u", b"2")
            while len([text for text in harness.states if "SUBACK" in text]) < 2:
                harness.changed.clear()
                await harness.changed.wait()

        asyncio.run(with_link(Broker(no_suback, proper(acknowledge=False)), steps, window=1))

    def test_pings_keep_it_up(self):
        async def steps(broker, harness):
            await harness.link.wait_up()
            await asyncio.sleep(2.2)
            self.assertEqual(harness.link.session, 1)
            self.assertTrue(harness.link.up)

        asyncio.run(with_link(Broker(proper()), steps))


class Delays(unittest.TestCase):
    def test_they_double_up_to_the_longest_and_are_shortened_by_up_to_half(self):
        async def steps(broker, harness):
            await broker.stop()
            while len(harness.states) < 9:
                harness.changed.clear()
                await harness.changed.wait()

        harness = asyncio.run(with_link(Broker(close_at_once), steps, retry_s=(0.016, 0.128)))
        waits = [int(text.split(" in ")[-1].split(" ")[0]) for text in harness.states[:9]]
        for number, wait_ms in enumerate(waits):
            full_ms = min(16 << number, 128)
            self.assertTrue(full_ms // 2 <= wait_ms <= full_ms, waits)
        self.assertTrue(len(set(waits[3:])) > 1, waits)


class Stopping(unittest.TestCase):
    def test_a_cancellation_that_comes_as_a_wait_is_over_is_not_lost(self):
        async def loop(event):
            while True:
                await within(event.wait(), 0.002)

        async def steps():
            event = asyncio.Event()
            for _ in range(60):
                tasks = [asyncio.create_task(loop(event)) for _ in range(3)]
                await asyncio.sleep(0.0061)
                await asyncio.wait_for(stop(tasks), 5)
                self.assertTrue(all(task.done() for task in tasks))

        asyncio.run(steps())


class Texts(unittest.TestCase):
    def test_unknown_options_are_refused(self):
        with self.assertRaises(TypeError):
            Link("h", 1, "n", [], None, None, windows=3)

    def test_refusals_have_words(self):
        try:
            packets.decode(0x20, b"\x00\x04")
        except packets.PacketError as refused:
            self.assertTrue("password" in str(refused))


if __name__ == "__main__":
    unittest.main()
