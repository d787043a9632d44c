"""Real processes for tests: a gateway of a farm, Mosquitto, and a small node that keeps what is not acknowledged."""

import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from earmark import ack, operator
from earmark.access import node_password
from earmark.config import Farm, create_farm
from earmark.cose import key_of
from earmark.statement import decode
from earmark.store.sqlite import SqliteStore
from farm import Signing

WAIT_S = 60.0

CONFIGURATION = """\
[farm]
site = "home"
[broker]
{broker}
[log]
seal_every_s = 0.5
[ingest]
ack_every_s = 0.1
"""


def free_port() -> int:
    """Return a port that was free a moment ago, of those that the system gives to nobody who does not ask for one."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_for(condition: Callable[[], bool], what: str, limit_s: float = WAIT_S) -> None:
    """Return as soon as the condition holds; fail the test after the limit."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {limit_s} s")
        time.sleep(0.02)


def make_farm(folder: Path, port: int, *, embedded: bool = True, batch: int = 50, tls: bool = False) -> Farm:
    """Make a farm whose broker is embedded, or one at the port."""
    own = f'listen = "127.0.0.1"\nport = {port}\ntls = {str(tls).lower()}'
    other = f'embedded = false\nurl = "mqtt{"s" * tls}://127.0.0.1:{port}"' + '\nuser = "gateway"' * tls
    broker = own if embedded else other
    text = CONFIGURATION.format(broker=broker, batch=batch)
    farm = create_farm(folder, text)
    operator.found(farm)
    return farm


class GatewayProcess:
    """`earmark run` on a farm, perhaps under another program (`prefix`); `kill` is a power cut of the gateway."""

    def __init__(self, farm: Farm, prefix: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> None:
        self._farm = farm
        self.prefix = prefix
        self._environment = os.environ | (environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._farm.folder / "gateway.log").open("ab") as log:
            command = [*self.prefix, sys.executable, "-m", "earmark", "run", "--farm", str(self._farm.folder)]
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, env=self._environment
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)

    def stop(self) -> int:
        """End it in good order and return its exit status."""
        if self._process is None:
            return 0
        self._process.terminate()
        return self._process.wait(30)

    def wait(self) -> int:
        """Wait for its own end and return its exit status."""
        assert self._process is not None
        return self._process.wait(30)

    @property
    def said(self) -> str:
        return (self._farm.folder / "gateway.log").read_text()


@contextlib.contextmanager
def gateway(farm: Farm) -> Iterator[GatewayProcess]:
    """Run a gateway for the length of a block."""
    process = GatewayProcess(farm)
    process.start()
    try:
        yield process
    finally:
        process.stop()


def find_mosquitto() -> str:
    """Return Mosquitto's path."""
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if program is None:
        pytest.fail("no mosquitto here: apt-get install mosquitto (`make test` does)")
    return program


def takes_connections(port: int) -> bool:
    """Say whether something listens on the port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


class Mosquitto:
    """A Mosquitto on a port of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        folder.mkdir()
        settings = folder / "mosquitto.conf"
        settings.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\nset_tcp_nodelay true\n"
            f"max_inflight_messages 1000\nmax_queued_messages 0\npersistence true\npersistence_location {folder}/\n"
        )
        self._command = [find_mosquitto(), "-c", str(settings)]
        self._process: subprocess.Popen[bytes] | None = None
        self._port = port

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: takes_connections(self._port), "Mosquitto takes connections")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """End it in good order: it writes down what it retained."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(30)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)


class TestNode:
    """A node's outbox in memory: publishes what is not acknowledged, again and again, until the gateway says it has
    it.
    """

    __test__ = False

    def __init__(self, farm: Farm, port: int, seed: int, name: str) -> None:
        self.signing = Signing(seed, name)
        self.refused: dict[int, str] = {}
        self.acknowledged: set[int] = set()
        self.checkpoints: set[bytes] = set()
        self.said: dict[int, bytes] = {}
        self._waiting: dict[int, bytes] = {}
        self._lock = threading.Lock()
        self._gateway = farm.signer("gateway").key
        self._topic = f"earmark/v1/{farm.config.farm.site}/{name}"
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"test-{name}")
        client.username_pw_set(name, node_password(farm, self.signing.key))
        client.on_connect = lambda *_: client.subscribe(f"{self._topic}/down", qos=1)
        client.on_message = self._on_message
        client.reconnect_delay_set(1, 1)
        client.connect_async("127.0.0.1", port, keepalive=10)
        client.loop_start()
        self._client = client

    def say(self, raw: bytes) -> None:
        """Put a statement into the outbox."""
        seq = decode(raw).seq
        with self._lock:
            self._waiting[seq] = self.said[seq] = raw

    def send(self) -> None:
        """Publish all that waits, oldest first."""
        with self._lock:
            waiting = [self._waiting[seq] for seq in sorted(self._waiting)]
        if self._client.is_connected():
            for raw in waiting:
                self._client.publish(f"{self._topic}/up", raw, qos=1)

    def send_until(self, condition: Callable[[], bool], what: str, limit_s: float = WAIT_S) -> None:
        """Send all that waits, and again every second, until the condition holds."""
        next_send = 0.0

        def holds() -> bool:
            nonlocal next_send
            if time.monotonic() >= next_send and self._client.is_connected():
                next_send = time.monotonic() + 1
                self.send()
            return condition()

        wait_for(holds, what, limit_s)

    def send_until_acknowledged(self) -> None:
        """Send what waits until nothing does."""
        self.send_until(lambda: not self._waiting, f"{self._topic} is acknowledged in full")

    def publish(self, payload: bytes, topic: str = "") -> None:
        """Publish anything."""
        self._client.publish(topic or f"{self._topic}/up", payload, qos=1)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def waiting(self) -> int:
        """How many statements have no answer yet."""
        return len(self._waiting)

    @property
    def is_connected(self) -> bool:
        return self._client.is_connected()

    def _on_message(self, client: paho.Client, _: object, message: paho.MQTTMessage) -> None:
        answer = ack.decode(bytes(message.payload), self._gateway)
        with self._lock:
            for first, last in answer.runs:
                self.acknowledged |= set(range(first, last + 1))
            self.refused |= dict(answer.refused)
            self.checkpoints |= {answer.checkpoint} - {b""}
            for seq in self.acknowledged | self.refused.keys():
                self._waiting.pop(seq, None)


def logged(farm: Farm) -> list[bytes]:
    """Return all statements of the log, in leaf order."""
    store = SqliteStore(farm.database)
    try:
        return [raw for _, _, raw in store.statements(0, store.size())]
    finally:
        store.close()


def operator_key(farm: Farm) -> bytes:
    return key_of((farm.folder / "operator.did").read_text().strip())
