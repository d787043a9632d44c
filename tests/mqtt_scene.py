"""Both ends of the gateway's MQTT connection: a link and what it received, a real Mosquitto, brokers that are none."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from earmark.mqtt import Endpoint, Link, Message
from services import Mosquitto, free_port, wait_for

WAIT_S = 30.0
TOPIC = "earmark/v1/home/n1/up"
TOPICS = ["earmark/v1/home/+/up"]
CONNACK = b"\x20\x02\x00\x00"
SUBACK = b"\x90\x03\x00\x01\x01"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Broker(Mosquitto):
    """A Mosquitto that can also end in good order, when it keeps its sessions, or be set up otherwise."""

    def __init__(self, folder: Path, port: int, *more: str) -> None:
        super().__init__(folder, port)
        self.port = port
        settings = folder / "mosquitto.conf"
        settings.write_text(settings.read_text() + "".join(f"{line}\n" for line in more))

    def end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(30)

    def restart(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.end(number)
        self.start()


class Held:
    """A link and what it received."""

    def __init__(self, port: int, qos: int = 1, **named: object) -> None:
        self.received: list[Message] = []
        self.link = Link(Endpoint("127.0.0.1", port, **named), "session", TOPICS, self.received.extend, qos)  # type: ignore[arg-type]

    @property
    def payloads(self) -> list[bytes]:
        return [message.payload for message in self.received]

    async def cut(self) -> None:
        """Break the connection off and wait for the next one."""
        before = self.link._connection
        assert self.link._wire is not None
        self.link._wire.transport.abort()
        await until(lambda: self.link._connection > before)


@asynccontextmanager
async def running(link: Link, *, is_connected: bool = True) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(link.run())
    try:
        if is_connected:
            await until(lambda: link.is_connected)
        yield task
    finally:
        task.cancel()
        async with asyncio.timeout(WAIT_S):
            with suppress(asyncio.CancelledError):
                await task


async def until(condition: Callable[[], bool], limit_s: float = WAIT_S) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.01)


class Peer:
    """Another client: publishes, and keeps what its subscription brings."""

    def __init__(self, port: int, topic: str = "") -> None:
        self.received: list[paho.MQTTMessage] = []
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"peer{free_port()}")
        ready: list[int] = []
        self.client.on_message = lambda _client, _user, message: self.received.append(message)
        self.client.on_subscribe = lambda *_: ready.append(1)
        self.client.on_connect = lambda *_: self.client.subscribe(topic or "nothing", qos=1)
        self.client.max_inflight_messages_set(1000)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        wait_for(lambda: bool(ready), "the peer is subscribed")

    def publish(self, payloads: Sequence[bytes], topic: str = TOPIC) -> None:
        """Return when the broker has them."""
        for sent in [self.client.publish(topic, payload, qos=1) for payload in payloads]:
            sent.wait_for_publish(WAIT_S)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


async def publish(port: int, payloads: Sequence[bytes]) -> None:
    def work() -> None:
        peer = Peer(port)
        peer.publish(payloads)
        peer.close()

    await asyncio.to_thread(work)


@asynccontextmanager
async def pretending(serve: Serve) -> AsyncIterator[int]:
    """A broker that is none."""
    open_ones: set[asyncio.StreamWriter] = set()

    async def kept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones.add(writer)
        with suppress(OSError, EOFError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(kept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in open_ones:
            writer.transport.abort()
        await asyncio.sleep(0.05)


def welcoming(heard: list[bytes]) -> Serve:
    """Return a broker for `pretending` that lets us in, says nothing more, and keeps what it hears from then on."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(CONNACK)
        while octets := await reader.read(100):
            heard.append(octets)

    return listen
