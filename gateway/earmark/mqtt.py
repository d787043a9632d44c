"""The gateway's MQTT connection: messages in, acknowledged by hand, and messages out, docs/protocol.md §10.

A client of our own, on asyncio: at the rates that a gateway is to keep up with, a general one costs as much as
verifying half the signatures (docs/performance.md).
"""

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

from earmark import packets
from earmark.errors import ConfigError, EncodingError

KEEPALIVE_S = 30
CONNECT_S = 10.0
CLOSE_S = 1.0
RECONNECT_S = (1.0, 30.0)
CHUNK = 1 << 18
MOST_UNSENT = 10_000
MOST_UNREAD = 16 << 20
"""Bytes that a broker may leave unread before answers to it are dropped."""

_REFUSALS = {
    1: "it does not speak MQTT 3.1.1",
    2: "it does not take our session's name",
    3: "it is not available",
    4: "wrong user or password",
    5: "our user is not allowed in",
}

_log = logging.getLogger(__name__)


class Message(NamedTuple):
    """One message of a broker that waits for its PUBACK; `connection` counts this client's connections."""

    topic: str
    payload: bytes
    mid: int
    qos: int
    connection: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a broker is, and as whom to go there; `authority` is a PEM file that TLS trusts, None for no TLS."""

    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)
    authority: Path | None = None


class Link:
    """A lasting session with a broker, kept up across its restarts; all in the thread of its event loop but `publish`.

    `receive` gets messages as they come.  At QoS 1 the broker keeps what has no PUBACK and sends it again after a
    reconnect.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        session: str,
        topics: Sequence[str],
        receive: Callable[[list[Message]], None],
        qos: int = 1,
    ) -> None:
        """`session` names it at the broker; who knows it can take it over, so it is not to be guessed."""
        self._endpoint = endpoint
        self._session = session
        self._topics = list(topics)
        self._receive = receive
        self._qos = qos
        self._connection = 0
        self._mid = 0
        self._is_held = False
        self._wire: _Wire | None = None
        self._unsent: deque[bytes] = deque(maxlen=MOST_UNSENT)
        self._retained: dict[str, bytes] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """Connect, and connect again, until cancelled; then disconnect: the broker keeps the session."""
        self._loop = asyncio.get_running_loop()
        wait_s, longest_s = RECONNECT_S
        while True:
            was = self._connection
            try:
                await self._connect_once()
            except (OSError, UnicodeError) as error:  # the latter from a host name that is none
                where = f"{self._endpoint.host}:{self._endpoint.port}"
                _log.warning("no broker at %s (%s); trying again", where, str(error) or type(error).__name__)
            wait_s = RECONNECT_S[0] if self._connection > was else min(2 * wait_s, longest_s)
            await asyncio.sleep(wait_s)

    async def _connect_once(self) -> None:
        """Serve one connection to its end, which is an exception."""
        there = self._endpoint
        tls = ssl.create_default_context(cafile=str(there.authority)) if there.authority else None
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_S):
            opening = loop.create_connection(lambda: _Wire(self._on_packets), there.host, there.port, ssl=tls)
            transport, wire = await opening
        try:
            transport.write(packets.connect(f"earmark-{self._session}", there.user, there.password, KEEPALIVE_S))
            either: list[asyncio.Future[Any]] = [wire.welcomed, wire.ended]
            await asyncio.wait(either, timeout=CONNECT_S, return_when=asyncio.FIRST_COMPLETED)
            if not (wire.welcomed.done() or wire.ended.done()):
                raise TimeoutError(f"it takes connections, but did not answer within {CONNECT_S:.0f} s")
            await self._keep_alive(wire)
        except asyncio.CancelledError:
            transport.write(packets.DISCONNECT)
            transport.close()
            await asyncio.wait([wire.ended], timeout=CLOSE_S)
            raise
        finally:
            self._wire = None
            transport.abort()

    async def _keep_alive(self, wire: "_Wire") -> None:
        """Send PINGREQ in time, until the connection ends; raises `OSError` with the reason."""
        while not wire.ended.done():
            await asyncio.wait([wire.ended], timeout=KEEPALIVE_S / 3)
            silent_s = asyncio.get_running_loop().time() - wire.heard_at_s
            if silent_s > 1.5 * KEEPALIVE_S and not self._is_held:
                raise TimeoutError(f"it said nothing for {silent_s:.0f} s")
            wire.transport.write(packets.PINGREQ)
        raise wire.ended.result()

    def _on_packets(self, wire: "_Wire", found: list[packets.Packet]) -> None:
        messages = []
        for kind, mid, topic, body, qos in found:
            if kind == packets.PUBLISH:
                messages.append(Message(topic.decode(errors="replace"), body, mid, qos, self._connection))
            elif kind == packets.CONNACK:
                self._on_connected(wire, body)
            elif kind == packets.SUBACK and any(code & 0x80 for code in body[2:]):
                _log.error("the broker does not let us subscribe to %s: allow it for our user", self._topics)
        if messages:
            self._receive(messages)

    def _on_connected(self, wire: "_Wire", body: bytes) -> None:
        if wire.welcomed.done():
            return
        if len(body) != 2 or body[1]:
            wire.end(OSError(f"it refuses us: {_REFUSALS.get(body[-1] if body else 0, 'no reason given')}"))
            return
        wire.welcomed.set_result(None)
        self._connection += 1
        self._wire = wire
        _log.info("connected to the broker at %s:%s", self._endpoint.host, self._endpoint.port)
        wire.transport.write(packets.subscribe(self._next_mid(), self._topics, self._qos))
        for topic, payload in self._retained.items():
            wire.transport.write(packets.publish(self._next_mid(), topic, payload, retain=True))
        while self._unsent:
            wire.transport.write(self._unsent.popleft())
        if self._is_held:
            wire.transport.pause_reading()

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Send the PUBACKs: what a message said is on disk.

        A message of an earlier connection is left out: its number may be another's now, and the broker sends it again.
        """
        if self._wire:
            now = self._connection
            acks = [packets.puback(mid) for _, _, mid, qos, connection in messages if qos and connection == now]
            self._wire.transport.write(b"".join(acks))

    def hold(self, held: bool) -> None:
        """Read nothing more from the broker, or read again."""
        self._is_held = held
        if self._wire and held:
            self._wire.transport.pause_reading()
        elif self._wire:
            self._wire.heard_at_s = asyncio.get_running_loop().time()  # it was us who did not listen
            self._wire.transport.resume_reading()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Send a message at QoS 1, now or after the next reconnect; retained ones are sent again at every connect."""
        if retain:
            self._retained[topic] = payload
        packet = packets.publish(self._next_mid(), topic, payload, retain=retain)
        if self._wire:
            self._wire.transport.write(packet)
        elif not retain:
            self._unsent.append(packet)

    def answer(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Send (topic, payload) of each at QoS 0, now or after the next reconnect.

        Whoever misses one asks again; so a broker that asks and does not read costs no more memory than `MOST_UNREAD`.
        """
        answers = [packets.publish(0, topic, payload) for topic, payload in messages]
        if self._wire:
            if self._wire.transport.get_write_buffer_size() <= MOST_UNREAD:
                self._wire.transport.write(b"".join(answers))
        else:
            self._unsent += answers

    def publish_from_thread(self, topic: str, payload: bytes) -> None:
        """Send a retained message, from another thread."""
        if self._loop:
            with suppress(RuntimeError):  # the loop is closed: we are ending
                self._loop.call_soon_threadsafe(lambda: self.publish(topic, payload, retain=True))
        else:
            self._retained[topic] = payload

    @property
    def is_connected(self) -> bool:
        """Whether the broker is there."""
        return self._wire is not None

    def _next_mid(self) -> int:
        self._mid = self._mid % 0xFFFF + 1
        return self._mid


class _Wire(asyncio.BufferedProtocol):
    """One connection: cuts what comes into packets; `welcomed` is set by the broker's CONNACK, and `ended` gets the
    reason when it is over.
    """

    transport: asyncio.Transport

    def __init__(self, receive: "Callable[[_Wire, list[packets.Packet]], None]") -> None:
        self._receive = receive
        self._reader = packets.Reader()
        self._buffer = memoryview(bytearray(CHUNK))
        loop = asyncio.get_running_loop()
        self.heard_at_s = loop.time()
        self.welcomed: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[OSError] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.end(OSError(f"the connection ended: {exc or 'closed by the broker'}"))

    def end(self, reason: OSError) -> None:
        """Break the connection off."""
        if not self.ended.done():
            self.ended.set_result(reason)
        self.transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self.ended.done():  # TLS hands on what it still had
            return
        self.heard_at_s = asyncio.get_running_loop().time()
        try:
            self._receive(self, self._reader.feed(bytes(self._buffer[:nbytes])))
        except EncodingError as error:
            self.end(OSError(f"it sent what is not MQTT: {error}"))


def parse_url(url: str) -> tuple[str, int, bool]:
    """Return host, port and whether TLS is used, of `mqtt://host[:port]` or `mqtts://…`; `ConfigError` otherwise."""
    with suppress(ValueError):
        parts = urlsplit(url)
        rest = "@" in parts.netloc or parts.path.strip("/") or parts.query or parts.fragment or parts.port == 0
        if parts.hostname and parts.scheme in ("mqtt", "mqtts") and not rest:
            port = parts.port or (8883 if parts.scheme == "mqtts" else 1883)
            return parts.hostname, port, parts.scheme == "mqtts"
    shown = url.rpartition("@")[2]  # what stands before it may be a password
    raise ConfigError(f"broker address {shown!r}: it is mqtt://host:port, or mqtts://host:port for TLS")
