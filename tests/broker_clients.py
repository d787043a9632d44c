"""A farm's broker alone, over TLS, and clients of it that say at once what became of what they did."""

import itertools
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from earmark import operator
from earmark.access import Users, gateway_user, node_password
from earmark.broker import Broker
from earmark.certificates import authority_file, broker_certificate
from earmark.cli import main
from earmark.config import open_farm
from earmark.rights import GATEWAY_USER
from farm import Signing
from services import find_mosquitto, free_port, make_farm, takes_connections, wait_for

MOST = 20
"""Connections that the broker takes."""

_numbers = itertools.count()


class Site:
    """A farm with nodes n1 and n2 and its broker, alone: what connects here are the tests' own clients."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.kind, self.port = kind, free_port()
        made = make_farm(folder / "farm", self.port, embedded=kind == "embedded", tls=True)
        settings = made.folder / "earmark.toml"
        settings.write_text(settings.read_text().replace("[broker]", f"[broker]\nmax_connections = {MOST}"))
        self.farm = open_farm(made.folder)
        self.keys = {name: Signing(seed, name).key for seed, name in ((3, "n1"), (4, "n2"), (5, "n3"))}
        for name in ("n1", "n2"):
            operator.enrol(self.farm, self.keys[name], name)
        self._out = folder / "mosquitto"
        self._broker: Broker | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._start()

    def _start(self) -> None:
        if self.kind == "embedded":
            tls = (broker_certificate(self.farm),) * 2
            folder = self.farm.folder / "broker"
            self._broker = Broker(
                folder, "home", "127.0.0.1", self.port, Users(self.farm), tls=tls, max_connections=MOST
            )
            self._broker.start()
            return
        self.write_files()
        own = self._out / "own.conf"  # started as root, Mosquitto would become a user that reads nothing of pytest's
        own.write_text("user root\nlog_type error\n" + (self._out / "mosquitto.conf").read_text())
        with (self._out / "log").open("wb") as log:
            self._process = subprocess.Popen([find_mosquitto(), "-c", str(own)], stdout=log, stderr=log)
        wait_for(lambda: takes_connections(self.port), "Mosquitto takes connections")

    def write_files(self) -> None:
        """`earmark broker mosquitto`, and what Mosquitto's reload does."""
        assert main(["broker", "mosquitto", "--farm", str(self.farm.folder), "--out", str(self._out), "--json"]) == 0
        if self._process:
            self._process.send_signal(signal.SIGHUP)

    def allow_no(self, *endings: str) -> None:
        """Let Mosquitto reload an access list as it was before topics with these endings."""
        lines = (self._out / "acl").read_text().splitlines()
        kept = [line for line in lines if line.rpartition("/")[2] not in endings]
        assert len(kept) < len(lines)
        (self._out / "acl").write_text("\n".join(kept) + "\n")
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def changed(self) -> None:
        """Let the broker know of a change of nodes; the embedded one finds out by itself."""
        if self.kind == "mosquitto":
            self.write_files()

    def password(self, user: str) -> str:
        is_gateway = user == gateway_user(self.farm)
        return self.farm.passwords()[GATEWAY_USER] if is_gateway else node_password(self.farm, self.keys[user])

    def close(self) -> None:
        if self._broker:
            self._broker.stop()
        if self._process:
            self._process.terminate()
            self._process.wait(20)


class Client:
    """A client of its own: as a user with its own password unless another is given."""

    def __init__(self, site: Site, user: str | None, password: str | None = None, **options: Any) -> None:
        self.refusal = ""
        self.got: list[tuple[str, bytes]] = []
        self.grants: list[int] = []
        self.acks = 0
        self.losses = 0
        self._changed = threading.Condition()
        name = str(options.pop("client_id", f"test-{next(_numbers)}"))
        clean = bool(options.pop("clean_session", True))
        client = self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=clean)
        if user is not None:
            client.username_pw_set(user, site.password(user) if password is None else password)
        if options.pop("tls", True):
            client.tls_set_context(ssl.create_default_context(cafile=str(authority_file(site.farm))))
        if will := options.pop("will", None):
            client.will_set(str(will), b"will", qos=1, retain=bool(options.pop("retain", False)))
        assert not options
        client.on_connect = self._on_connect
        client.on_message = lambda _, __, message: self._note(self.got.append, (message.topic, message.payload))
        client.on_subscribe = lambda _, __, mid, codes, ___: self._note(self.grants.extend, [c.value for c in codes])
        client.on_publish = lambda *_: self._note(self._count_ack)
        client.on_disconnect = lambda *_: self._note(self._count_loss)
        client.reconnect_delay_set(60, 60)
        self._up = False
        try:
            client.connect("127.0.0.1", site.port, keepalive=30)
        except OSError as error:
            self.losses, self.refusal = 1, str(error)
            return
        client.loop_start()

    def _on_connect(self, client: Any, _: Any, flags: Any, code: Any, __: Any) -> None:
        with self._changed:
            self._up, self.refusal = not code.is_failure, str(code) if code.is_failure else ""
            self._changed.notify_all()

    def _note(self, do: Callable[..., Any], *values: Any) -> None:
        with self._changed:
            do(*values)
            self._changed.notify_all()

    def _count_ack(self) -> None:
        self.acks += 1

    def _count_loss(self) -> None:
        self.losses += 1
        self._up = False
        self._client.disconnect()  # it shall not try again

    def until(self, holds: Callable[[], Any], what: str) -> "Client":
        with self._changed:
            assert self._changed.wait_for(holds, 20), f"{what}: {self.refusal} {self.got} {self.grants} {self.losses}"
        return self

    def up(self) -> "Client":
        return self.until(lambda: self._up, "connected")

    def is_refused(self) -> bool:
        """Whether the broker turned the client away; waits until it decided."""
        self.until(lambda: self._up or self.losses, "the broker decides")
        return not self._up

    def subscribe(self, *filters: str) -> "Client":
        for topic in filters:
            before = len(self.grants)
            self._client.subscribe(topic, qos=1)
            self.until(lambda before=before: len(self.grants) > before or self.losses, f"an answer for {topic}")
        return self

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> "Client":
        """Publish and wait for the PUBACK, or the end of the connection."""
        before = self.acks
        self._client.publish(topic, payload, qos=1, retain=retain)
        return self.until(lambda: self.acks > before or self.losses, f"a PUBACK on {topic}")

    def receive(self, payload: bytes) -> list[tuple[str, bytes]]:
        """Wait for this payload and return all that came up to it."""
        self.until(lambda: any(said == payload for _, said in self.got), f"{payload!r} arrives")
        return self.got

    def cut(self) -> None:
        """Cut the connection without a DISCONNECT: the will is due."""
        held = self._client.socket()
        assert held is not None
        socket.socket.shutdown(held, socket.SHUT_RDWR)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
