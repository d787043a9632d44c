"""The gateway's MQTT connection: messages in, acknowledged by hand, and messages out, docs/protocol.md §10."""

import logging
import queue
import ssl
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from earmark.errors import ConfigError

QUEUE = 10_000
QUEUE_BYTES = 64 << 20
CHUNK = 8192
FULL_S = 0.2
RECONNECT_S = (1, 30)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Message:
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
    """A lasting session with a broker, kept up across its restarts.

    Messages wait in a queue of bounded number and bytes; when it is full, reading from the broker waits too.  The
    broker keeps what has no PUBACK and sends it again after a reconnect.
    """

    def __init__(self, endpoint: Endpoint, site: str, session: str) -> None:
        """`session` names it at the broker; who knows it can take it over, so it is not to be guessed."""
        self._endpoint = endpoint
        self._filter = f"earmark/v1/{site}/+/up"
        self._connection = 0
        self._messages: queue.Queue[Message] = queue.Queue(QUEUE)
        self._room = threading.Semaphore(QUEUE_BYTES // CHUNK)
        self._ending = threading.Event()
        self._retained: dict[str, bytes] = {}
        client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=f"earmark-{session}", clean_session=False, manual_ack=True
        )
        client.on_connect, client.on_disconnect, client.on_message = (
            self._on_connect,
            self._on_disconnect,
            self._on_message,
        )
        client.on_subscribe = self._on_subscribe
        client.reconnect_delay_set(*RECONNECT_S)
        client.max_queued_messages_set(QUEUE)
        if endpoint.user:
            client.username_pw_set(endpoint.user, endpoint.password)
        if endpoint.authority:
            client.tls_set_context(ssl.create_default_context(cafile=str(endpoint.authority)))
        self._client = client

    def start(self) -> None:
        """Connect, now or as soon as the broker is there, in a thread of its own."""
        self._client.connect_async(self._endpoint.host, self._endpoint.port, keepalive=30)
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnect; the broker keeps the session, and what still waited here."""
        self._ending.set()
        self._client.disconnect()
        self._client.loop_stop()

    def collect(self, most: int, wait_s: float) -> list[Message]:
        """Return up to `most` messages: what is there, after waiting at most `wait_s` for a first one."""
        messages: list[Message] = []
        if most < 1:
            return messages
        try:
            messages.append(self._messages.get(timeout=wait_s))
            while len(messages) < most:
                messages.append(self._messages.get_nowait())
        except queue.Empty:
            pass
        for message in messages:
            self._room.release(_chunks(message))
        return messages

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Send the PUBACKs: what a message said is on disk.

        A message of an earlier connection is left out: its number may be another's now, and the broker sends it again.
        """
        for message in messages:
            if message.connection == self._connection:
                self._client.ack(message.mid, message.qos)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Send a message at QoS 1, now or after the next reconnect; retained ones are sent again at every connect."""
        if retain:
            self._retained[topic] = payload
        if self._client.is_connected() or not retain:
            self._client.publish(topic, payload, qos=1, retain=retain)

    @property
    def is_connected(self) -> bool:
        """Whether the broker is there."""
        return self._client.is_connected()

    def _on_connect(
        self, client: paho.Client, _: object, flags: paho.ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        if code.is_failure:
            _log.error("the broker at %s:%s refuses us: %s", self._endpoint.host, self._endpoint.port, code)
            return
        self._connection += 1
        _log.info("connected to the broker at %s:%s", self._endpoint.host, self._endpoint.port)
        client.subscribe(self._filter, qos=1)
        for topic, payload in self._retained.items():
            client.publish(topic, payload, qos=1, retain=True)

    def _on_disconnect(
        self,
        client: paho.Client,
        _: object,
        flags: paho.DisconnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if code.is_failure:
            _log.warning("lost the broker (%s); trying again", code)

    def _on_subscribe(
        self, client: paho.Client, _: object, mid: int, codes: list[ReasonCode], properties: Properties | None
    ) -> None:
        if any(code.is_failure for code in codes):
            _log.error("the broker does not let us subscribe to %s: allow it for our user", self._filter)

    def _on_message(self, client: paho.Client, _: object, message: paho.MQTTMessage) -> None:
        arrived = Message(message.topic, bytes(message.payload), message.mid, message.qos, self._connection)
        needed = _chunks(arrived)
        while needed and not self._ending.is_set():
            needed -= self._room.acquire(timeout=FULL_S)
        while not self._ending.is_set():
            with suppress(queue.Full):
                self._messages.put(arrived, timeout=FULL_S)
                return


def _chunks(message: Message) -> int:
    return min(1 + (len(message.topic) + len(message.payload)) // CHUNK, QUEUE_BYTES // CHUNK)


def parse_url(url: str) -> tuple[str, int, bool]:
    """Return host, port and whether TLS is used, of `mqtt://host[:port]` or `mqtts://…`; `ConfigError` otherwise."""
    scheme, _, rest = url.partition("://")
    host, _, port = rest.rstrip("/").partition(":")
    if scheme not in ("mqtt", "mqtts") or not host or (port and not port.isdecimal()):
        raise ConfigError(f"broker address {url!r}: it is mqtt://host:port, or mqtts://host:port for TLS")
    return host, int(port or (8883 if scheme == "mqtts" else 1883)), scheme == "mqtts"
