"""MQTT 3.1.1 client (protocol.md §10): QoS 1, clean sessions, reconnecting, never in the way of other tasks.

A PUBACK only makes room in the window; that a statement reached the log is for the gateway to say.  What was
in flight when the connection went is forgotten here: the outbox still has it.
"""

import asyncio
import random

import packets
from clock import elapsed_ms, ticks_ms
from dial import dial

OFFLINE, ONLINE, ASLEEP = b"offline", b"online", b"asleep"
_LEAVE_MS, _AGAIN_MS, _POLL_MS = 2000, 200, 20
_AHEAD = 4  # packets in memory beside the one that is written, before no message is taken
_QUEUE = 64  # packets waiting beyond the window before a broker that does not read is given up
_FAILURES = (OSError, EOFError, ValueError, MemoryError, asyncio.TimeoutError, packets.PacketError)


class LinkDown(Exception):
    """There is no connection; `wait_up` tells when there is one again."""


async def within(waiting, seconds):
    """Wait, but no longer than this; returns whether what was waited for came."""
    try:
        await asyncio.wait_for(waiting, seconds)
    except asyncio.TimeoutError:
        return False
    return True


async def stop(tasks):
    """Cancel tasks and wait for their end.

    MicroPython's `wait_for` loses a cancellation that comes as its time is over, so what does not end is asked again.
    """
    for task in tasks:
        task.cancel()
    for task in tasks:
        waited_ms = 0
        while not task.done():
            await asyncio.sleep(_POLL_MS / 1000)
            waited_ms += _POLL_MS
            if waited_ms % _AGAIN_MS == 0:
                task.cancel()


class Link:
    """A connection that `run` keeps up for ever.

    `on_message(topic, payload)` is called for every message on `topics`; it must be quick.  `on_state(text)` is told,
    in words, of connections made and lost.  `tls` is an SSLContext, or None.  `session` counts connections, so that a
    sender knows to start over.  Delays between attempts double from `retry_s[0]` to `retry_s[1]` seconds, each
    shortened at random by up to half; one takes at most `connect_s`.  A packet above `max_packet` bytes closes the
    connection.  `names` finds the host's address (names.py); where it is None the host is one.  On the topic `presence`
    a retained word says how things stand (protocol.md §10): `online` after each connect, `offline` by the broker's last
    will, and what `close` says.
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
        self.names = options.pop("names", None)
        self.presence = options.pop("presence", None)
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
        self._leaving = False

    @property
    def up(self):
        """Whether messages can be sent now."""
        return self._up.is_set()

    async def wait_up(self):
        """Wait until messages can be sent."""
        await self._up.wait()

    async def publish(self, topic, payload, wait_s=None):
        """Hand a message to the connection; waits while the window is full, or messages still wait to be written, at
        most `wait_s` at a time.

        Returns whether it was taken.  Raises `LinkDown`.
        """
        while self.up and (len(self._in_flight) >= self.window or len(self._queue) >= _AHEAD):
            self._room.clear()
            if wait_s is None:
                await self._room.wait()
            elif not await within(self._room.wait(), wait_s):
                return False
        if not self.up:
            raise LinkDown("not connected to %s:%d" % (self.host, self.port))
        self._put(topic, payload)
        return True

    async def close(self, word):
        """Say a last word and take leave, so that the broker does not send the will; `run` ends, now or when it is
        cancelled."""
        self._leaving = True
        if self.up and self.presence:
            self._put(self.presence, word, retain=True)
        for _ in range(_LEAVE_MS // _POLL_MS):
            if not self.up or not (self._in_flight or self._queue):
                break
            await asyncio.sleep(_POLL_MS / 1000)
        if self.up:
            self._send(packets.DISCONNECT)
            await asyncio.sleep(2 * _POLL_MS / 1000)

    def _put(self, topic, payload, retain=False):
        if not self._in_flight:
            self._answered = ticks_ms()
        number = self._next_id()
        self._in_flight.add(number)
        self._send(packets.publish(topic, payload, number, retain))

    async def run(self):
        """Connect, and connect again, until cancelled or closed."""
        self._leaving = False
        delay_s = self.retry_s[0]
        while True:
            before = self.session
            reason = ""
            try:
                await self._connection()
            except _FAILURES as failure:
                reason = _words(failure, self.tls)
            if self._leaving:
                return
            if self.session != before:
                delay_s = self.retry_s[0]
            wait_ms = int(delay_s * 1000)
            wait_ms -= random.getrandbits(16) * (wait_ms // 2) >> 16
            self.on_state("no connection to %s:%d (%s); next try in %d ms" % (self.host, self.port, reason, wait_ms))
            delay_s = min(2 * delay_s, self.retry_s[1])
            await asyncio.sleep(wait_ms / 1000)

    async def _connection(self):
        reader, writer = await asyncio.wait_for(self._dial(), self.connect_s)
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
            await stop(tasks)
            await _close(writer)

    async def _dial(self):
        host = await self.names.find(self.host) if self.names else self.host
        try:
            return await dial(host, self.port, self.tls, self.server_name or self.host)
        except (OSError, asyncio.CancelledError):
            if self.names:
                self.names.doubt(self.host)
            raise

    async def _greet(self, reader, writer):
        """CONNECT and its answer: four bytes, and in place of them whatever a portal or another service says."""
        will = (self.presence, OFFLINE) if self.presence else None
        writer.write(packets.connect(self.client_id, self.keepalive_s, self.user, self.password, will))
        await writer.drain()
        first = (await _first(reader))[0]
        if first != packets.CONNACK << 4:
            raise packets.PacketError("%s, not MQTT%s" % (_service(first), _PORTAL))
        rest = await reader.readexactly(3)
        packets.decode(first, rest[1:] if rest[0] == 2 else b"")

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
            if self.presence:
                self._put(self.presence, ONLINE, retain=True)
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
            self._room.set()
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


_PORTAL = ": a captive portal in the network, or the port of another service"
_NO_TLS = ("invalid_record", "invalid ssl record", "wrong_version", "unexpected_message", "unexpected message")


async def _first(reader):
    try:
        return await reader.readexactly(1)
    except EOFError:
        raise OSError("it takes connections and closes them without a word: no MQTT broker, or one that refuses us")


def _service(first):
    """What begins its answer with this byte, in words."""
    if first == 0x48:
        return "HTTP answers"
    return "something answers with the byte 0x%02x" % first


def _words(failure, tls=None):
    """A failure in words; asyncio's time-outs and ends of file carry none."""
    if isinstance(failure, asyncio.TimeoutError) and not failure.args:
        return "no answer in time"
    if isinstance(failure, EOFError):
        return "the broker closed the connection"
    words = " ".join(str(failure).split()) or type(failure).__name__
    if tls and any(sign in words.lower() for sign in _NO_TLS):
        return words + ": no TLS there" + _PORTAL
    if tls and ("certificate" in words.lower() or "CERT" in words or "X509" in words):
        return words + ": a captive portal, or a broker of another farm"
    return words


async def _close(writer):
    """Close at once, without waiting for a peer that does not read."""
    transport = getattr(writer, "transport", None)
    if transport is not None:
        transport.abort()
        await asyncio.sleep(0)
    else:
        await writer.wait_closed()
