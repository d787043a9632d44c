"""Real brokers and a real gateway in processes of their own, and the processor time that each takes."""

import contextlib
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from earmark.config import Farm

START_S = 30.0
CONNECTIONS = 2  # one for what the broker remembers of the log, one for statements
MOSQUITTO = """\
listener {port} 127.0.0.1
allow_anonymous true
user root
set_tcp_nodelay true
max_inflight_messages 1000
max_queued_messages 0
persistence true
persistence_location {folder}/
"""


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_open(port: int, process: subprocess.Popen[bytes], what: str) -> None:
    """Return as soon as a port takes connections; RuntimeError where the process ends or does not get there."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"{what} does not take connections on port {port}")


@contextlib.contextmanager
def running(command: list[str], log: Path, folder: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process, in a folder of its own where one is named, for the length of the block; SIGTERM ends it, then
    SIGKILL.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True, cwd=folder)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def mosquitto(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Mosquitto that queues without a bound, so that it drops nothing that it acknowledged."""
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if program is None:
        raise RuntimeError("no mosquitto here: apt-get install mosquitto (`make bench` does)")
    settings = folder / "mosquitto.conf"
    settings.write_text(MOSQUITTO.format(port=port, folder=folder))
    with running([program, "-c", str(settings)], folder / "mosquitto.log") as process:
        wait_until_open(port, process, "Mosquitto")
        yield process


@contextlib.contextmanager
def gateway(farm: Farm) -> Iterator[subprocess.Popen[bytes]]:
    """Run `earmark run` on a farm; it is there once both of its connections to the broker are."""
    log = farm.folder / "gateway.log"
    log.unlink(missing_ok=True)
    command = [sys.executable, "-m", "earmark", "run", "--farm", str(farm.folder)]
    with running(command, log) as process:
        deadline = time.monotonic() + START_S
        while log.read_text().count("connected to the broker") < CONNECTIONS:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the gateway is not connected: {log.read_text()[-500:]}")
            time.sleep(0.05)
        yield process


class Leaves:
    """The number of leaves on disk, read beside the running gateway."""

    def __init__(self, farm: Farm) -> None:
        self._db = sqlite3.connect(f"file:{farm.database}?mode=ro", uri=True, timeout=30)

    def count(self) -> int:
        """Return it."""
        return int(self._db.execute("SELECT max(idx) FROM entries").fetchone()[0]) + 1

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


class Accounts:
    """Processor seconds by role; the gateway's children are its verifier workers, but for the embedded broker."""

    def __init__(self, roles: dict[str, int | None]) -> None:
        """`roles` are process ids by role, `gateway` among them; None is this process."""
        self._roles = {role: psutil.Process(number) for role, number in roles.items()}

    def seconds(self) -> dict[str, float]:
        """Return what each took so far."""
        spent = {role: _seconds(process) for role, process in self._roles.items()} | {"workers": 0.0}
        for child in self._roles["gateway"].children(recursive=True):
            role = "broker" if child.name() == "nats-server" else "workers"
            spent[role] = spent.get(role, 0.0) + _seconds(child)
        return spent


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
