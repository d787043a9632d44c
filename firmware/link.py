"""MQTT 3.1.1 client (protocol.md §10): QoS 1, clean sessions, reconnecting, never in the way of other tasks.

A PUBACK only makes room in the window; that a statement reached the log is for the gateway to say.  What was
in flight when the connection went is forgotten here: the outbox still has it.
"""

import asyncio
import random

import packets
from clock import elapsed_ms, ticks_ms
from dial import dial

_QUEUE = 64  # packets waiting beyond the window before a broker that does not read is given up
_FAILURES = (OSError, EOFError, ValueError, MemoryError, asyncio.TimeoutError, packets.PacketError)


class LinkDown(Exception):
    """There is no connection; `wait_up` tells when there is one again."""


class Link:
    """A connection that `run` keeps up for ever.

    `on_message(topic, payload)` is called for every message on `topics`; it must be quick.  `on_state(text)` is told,
    in words, of connections made and lost.  `tls` is an SSLContext, or None.  `session` counts connections, so that a
    sender knows to start over.  Delays between attempts double from `retry_s[0]` to `retry_s[1]` seconds, each
    shortened at random by up to half; one takes at most `connect_s`.  A packet above `max_packet` bytes closes the
    connection.
    """

    def __init__(self, host, port, client_id, topics, on_message, on_state=print, **options):
        self.host = host
        self.port = port
        self.client_id = client_id
        self.topics = topics
        self.on_message = on_message
        self.on_state = on_state
        self.user = options.pop("user", None)
        self.password = options.pop("password", None)
        self.tls = options.pop("tls", None)
        self.server_name = options.pop("server_name", None)
        self.will = options.pop("will", None)
        self.keepalive_s = options.pop("keepalive_s", 30)
        self.connect_s = options.pop("connect_s", 15)
        self.window = options.pop("window", 32)
        self.max_packet = options.pop("max_packet", 16384)
        self.retry_s = options.pop("retry_s", (1, 60))
        if options:
            raise TypeError("unknown options: " + ", ".join(sorted(options)))
        self.session = 0
        self._up = asyncio.Event()
        self._room = asyncio.Event()
        self._over = asyncio.Event()
        self._waiting = asyncio.Event()
        self._queue = []
        self._in_flight = set()
        self._packet_id = 0
        self._heard = ticks_ms()
        self._answered = ticks_ms()  # the last SUBACK or PUBACK, or when the first one came due
        self._failure = None

    @property
    def up(self):
        """Whether messages can be sent now."""
        return self._up.is_set()

    async def wait_up(self):
        """Wait until messages can be sent."""
        await self._up.wait()

    async def publish(self, topic, payload):
        """Hand a message to the connection; waits while the window is full.  Raises `LinkDown`."""
        while self.up and len(self._in_flight) >= self.window:
            self._room.clear()
            await self._room.wait()
        if not self.up:
            raise LinkDown("not connected to %s:%d" % (self.host, self.port))
        if not self._in_flight:
            self._answered = ticks_ms()
        number = self._next_id()
        self._in_flight.add(number)
        self._send(packets.publish(topic, payload, number))

    async def run(self):
        """Connect, and connect again, until cancelled."""
        delay_s = self.retry_s[0]
        while True:
            before = self.session
            reason = ""
            try:
                await self._connection()
            except _FAILURES as failure:
                reason = _words(failure)
            if self.session != before:
                delay_s = self.retry_s[0]
            wait_ms = int(delay_s * 1000)
            wait_ms -= random.getrandbits(16) * (wait_ms // 2) >> 16
            self.on_state("no connection to %s:%d (%s); next try in %d ms" % (self.host, self.port, reason, wait_ms))
            delay_s = min(2 * delay_s, self.retry_s[1])
            await asyncio.sleep(wait_ms / 1000)

    async def _connection(self):
        reader, writer = await asyncio.wait_for(dial(self.host, self.port, self.tls, self.server_name), self.connect_s)
        tasks = []
        try:
            await asyncio.wait_for(self._greet(reader, writer), self.connect_s)
            self._begin()
            for work in (self._read(reader), self._write(writer), self._watch()):
                tasks.append(asyncio.create_task(self._guard(work)))
            await self._over.wait()
            raise self._failure or OSError("the connection ended")
        finally:
            self._end()
            await _stop(tasks)
            await _close(writer)

    async def _greet(self, reader, writer):
        """CONNECT and its answer."""
        writer.write(packets.connect(self.client_id, self.keepalive_s, self.user, self.password, self.will))
        await writer.drain()
        if (await self._packet(reader))[0] != packets.CONNACK:
            raise packets.PacketError("another packet in place of CONNACK")

    def _begin(self):
        self._over.clear()
        self._failure = None
        self._queue = []
        self._in_flight = set()
        self._heard = self._answered = ticks_ms()
        self._subscription = self._next_id()
        self._send(packets.subscribe(self.topics, self._subscription))

    def _end(self):
        if self.up:
            self._up.clear()
        self._room.set()

    async def _guard(self, work):
        """One of a connection's tasks: the first that ends ends them all."""
        try:
            await work
        except Exception as failure:  # noqa: BLE001 - `run` lets through what it does not know
            if self._failure is None:
                self._failure = failure
        finally:
            self._over.set()

    async def _read(self, reader):
        while True:
            packet = await self._packet(reader)
            self._heard = ticks_ms()
            self._take(*packet)

    def _take(self, kind, *rest):
        if kind == packets.PUBLISH:
            topic, payload, number = rest
            if number is not None:
                self._send(packets.puback(number))
            self.on_message(topic, payload)
        elif kind == packets.PUBACK:
            if rest[0] not in self._in_flight:
                raise packets.PacketError("PUBACK of what was not sent")
            self._in_flight.remove(rest[0])
            self._answered = ticks_ms()
            self._room.set()
        elif kind == packets.SUBACK:
            if self.up or rest[0] != self._subscription:
                raise packets.PacketError("SUBACK of what was not asked")
            self.session += 1
            self._up.set()
            self.on_state("connected to %s:%d" % (self.host, self.port))
        elif kind == packets.CONNACK:
            raise packets.PacketError("a second CONNACK")

    async def _packet(self, reader):
        first = (await reader.readexactly(1))[0]
        size = shift = 0
        while True:
            digit = (await reader.readexactly(1))[0]
            size |= (digit & 0x7F) << shift
            shift += 7
            if size > self.max_packet or (digit & 0x80 and shift > 21):
                raise packets.PacketError("a packet above %d bytes" % self.max_packet)
            if not digit & 0x80:
                break
        return packets.decode(first, await reader.readexactly(size) if size else b"")

    async def _write(self, writer):
        while True:
            while self._queue:
                writer.write(self._queue.pop(0))
                await writer.drain()
            self._waiting.clear()
            await self._waiting.wait()

    async def _watch(self):
        """Ping, and give up a broker that for one and a half keep-alive times was silent or left out its PUBACK or
        SUBACK: what it owes would hold up the window for ever."""
        while True:
            await asyncio.sleep(self.keepalive_s / 2)
            if elapsed_ms(self._heard) > 1500 * self.keepalive_s:
                raise OSError("silent for %d s" % (elapsed_ms(self._heard) // 1000))
            owing = self._in_flight or not self.up
            if owing and elapsed_ms(self._answered) > 1500 * self.keepalive_s:
                raise OSError("no PUBACK or SUBACK for %d s" % (elapsed_ms(self._answered) // 1000))
            self._send(packets.PINGREQ)

    def _send(self, packet):
        if len(self._queue) > self.window + _QUEUE:
            raise packets.PacketError("the broker does not read")
        self._queue.append(packet)
        self._waiting.set()

    def _next_id(self):
        while True:
            self._packet_id = self._packet_id % 0xFFFF + 1
            if self._packet_id not in self._in_flight:
                return self._packet_id


def _words(failure):
    """A failure in words; asyncio's time-outs and ends of file carry none."""
    if isinstance(failure, asyncio.TimeoutError) and not failure.args:
        return "no answer in time"
    if isinstance(failure, EOFError):
        return "the broker closed the connection"
    return " ".join(str(failure).split()) or type(failure).__name__


async def _stop(tasks):
    for task in tasks:
        task.cancel()
    for task in tasks:
        try:
            await task
        except asyncio.CancelledError:
            pass


async def _close(writer):
    """Close at once, without waiting for a peer that does not read."""
    transport = getattr(writer, "transport", None)
    if transport is not None:
        transport.abort()
        await asyncio.sleep(0)
    else:
        await writer.wait_closed()
