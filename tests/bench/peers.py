"""Others at the same work on the same machine: what they store a second, and what they lose at `kill -9`.

ThingsBoard's gateway and Node-RED take messages at QoS 1 from a real Mosquitto and store them; neither verifies a
signature, and neither links, hashes or syncs what it stores.  Each has the settings that its own documentation has for
speed and safety, and a session that outlives it, so that the broker keeps for it what it has not acknowledged.
"""

import json
import os
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import farms, processes
from bench.bound import Bound
from bench.ingest import FIRST, Steering, drained, enough, serving
from bench.publisher import PUBLISH, Publisher, next_packet, packet, text

HERE = Path(__file__).resolve().parent
PYTHON = farms.CACHE / "peers-python"
NODE = farms.CACHE / "peers-node"
NODES = 20
EARMARK_NODES = 100
MESSAGES = 300_000
FIRST_PER_S = 1000.0
START_S = 90.0
QUIET_S = 2.0
FIRST_NUMBER = 1_000_000  # so that all messages are of one size
THINGSBOARD, NODE_RED = "thingsboard-gateway", "node-red"
UP = f"earmark/v1/{farms.SITE}/+/up"


@dataclass(frozen=True, slots=True)
class Peer:
    """How a peer is set up in a folder, for a broker at a port: its command, and the numbers that it has stored.

    `set_up` also gets the port of an uplink, which is there until the peer has stored something, and then is not.
    """

    name: str
    client_id: str
    install: Callable[[], None]
    set_up: Callable[[Path, int, int], list[str]]
    stored: Callable[[Path], list[int]]
    count: Callable[[Path], int]


def install_python() -> None:
    """Make the environment of the Python peers, with the versions of peers-python.txt."""
    if not (PYTHON / "done").exists():
        shutil.rmtree(PYTHON, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(PYTHON)])
        _run([str(PYTHON / "bin" / "pip"), "install", "-q", "-r", str(HERE / "peers-python.txt")])
        (PYTHON / "done").touch()


def install_node() -> None:
    """Install Node-RED, in the version of peers-package.json."""
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError("no npm here")
    if not (NODE / "done").exists():
        shutil.rmtree(NODE, ignore_errors=True)
        NODE.mkdir(parents=True)
        shutil.copy(HERE / "peers-package.json", NODE / "package.json")
        _run([npm, "install", "--no-audit", "--no-fund", "--prefix", str(NODE)])
        (NODE / "done").touch()


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} failed: {done.stderr.strip()[-300:]}")


def _set_up_thingsboard(folder: Path, port: int, uplink_port: int) -> list[str]:
    """It starts only once its uplink is there; what comes when that is gone stays in its own storage."""
    values = [{"type": "double", "key": name, "value": f"${{{name}}}"} for name, _, _ in farms.SENSORS]
    mapping = {
        "topicFilter": UP,
        "subscriptionQos": 1,
        "converter": {
            "type": "json",
            "deviceInfo": {
                "deviceNameExpressionSource": "constant",
                "deviceNameExpression": "bench",
                "deviceProfileExpressionSource": "constant",
                "deviceProfileExpression": "default",
            },
            "timeout": 60000,
            "attributes": [],
            "timeseries": [*values, {"type": "integer", "key": "n", "value": "${n}"}],
        },
    }
    broker = {"host": "127.0.0.1", "port": port, "clientId": THINGSBOARD, "version": 4}
    broker |= {"maxMessageNumberPerWorker": 10, "maxNumberOfWorkers": 100, "cleanSession": False}
    connector = {"broker": broker | {"security": {"type": "anonymous"}}, "mapping": [mapping]}
    uplink = {"host": "127.0.0.1", "port": uplink_port, "remoteShell": False, "remoteConfiguration": False}
    uplink |= {"security": {"type": "accessToken", "accessToken": "none"}, "qos": 1}
    storage = {"type": "sqlite", "data_file_path": str(folder / "data" / "data.db"), "size_limit": 1 << 20}
    connectors = [{"type": "mqtt", "name": "mqtt", "configuration": "mqtt.json"}]
    settings = {"thingsboard": uplink, "storage": storage, "connectors": connectors}
    (folder / "logs").mkdir()
    (folder / "mqtt.json").write_text(json.dumps(connector))
    (folder / "tb_gateway.json").write_text(json.dumps(settings))
    return ["env", f"TB_GW_CONFIG_DIR={folder}", str(PYTHON / "bin" / "thingsboard-gateway")]


def _thingsboard_rows(folder: Path, sql: str) -> Iterator[Any]:
    for path in sorted((folder / "data").glob("*.db")):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as db:
            try:
                yield from db.execute(sql)
            except sqlite3.OperationalError:  # the table is not made yet
                return


def _thingsboard_count(folder: Path) -> int:
    newest = max(_thingsboard_rows(folder, "SELECT coalesce(max(id), 0) FROM messages"), default=(0,))
    return int(newest[0])


def _thingsboard_stored(folder: Path) -> list[int]:
    numbers: list[int] = []
    for (message,) in _thingsboard_rows(folder, "SELECT message FROM messages"):
        numbers += _numbers(json.loads(message))
    return numbers


def _numbers(value: Any) -> Iterator[int]:
    """Give all values of `n`, wherever they are."""
    if isinstance(value, dict):
        if "n" in value:
            yield int(value["n"])
        for inner in value.values():
            yield from _numbers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _numbers(inner)


def _set_up_node_red(folder: Path, port: int, uplink_port: int) -> list[str]:
    broker = {"id": "broker", "type": "mqtt-broker", "broker": "127.0.0.1", "port": str(port), "clientid": NODE_RED}
    broker |= {"autoConnect": True, "usetls": False, "protocolVersion": "4", "keepalive": "60", "cleansession": False}
    source = {"id": "in", "type": "mqtt in", "z": "flow", "topic": UP, "qos": "1", "datatype": "utf8"}
    source |= {"broker": "broker", "inputs": 0, "x": 1, "y": 1, "wires": [["out"]]}
    sink = {"id": "out", "type": "file", "z": "flow", "filename": str(folder / "stored.jsonl"), "filenameType": "str"}
    sink |= {"appendNewline": True, "overwriteFile": "false", "encoding": "none", "x": 2, "y": 1, "wires": [[]]}
    flow = {"id": "flow", "type": "tab", "label": "bench"}
    (folder / "flows.json").write_text(json.dumps([flow, broker, source, sink]))
    (folder / "settings.js").write_text(
        f"module.exports = {{flowFile: 'flows.json', uiHost: '127.0.0.1', uiPort: {processes.free_port()}, "
        "logging: {console: {level: 'warn'}}};\n"
    )
    program = NODE / "node_modules" / "node-red" / "red.js"
    return ["node", str(program), "--userDir", str(folder), "--settings", str(folder / "settings.js")]


def _lines(folder: Path) -> list[bytes]:
    path = folder / "stored.jsonl"
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def _node_red_count(folder: Path) -> int:
    path = folder / "stored.jsonl"
    return path.stat().st_size // (len(_message(0)) + 1) if path.exists() else 0


def _node_red_stored(folder: Path) -> list[int]:
    numbers = []
    for line in _lines(folder):
        try:
            numbers.append(int(json.loads(line)["n"]))
        except ValueError:  # a line that the kill cut off
            continue
    return numbers


PEERS = (
    Peer("thingsboard", THINGSBOARD, install_python, _set_up_thingsboard, _thingsboard_stored, _thingsboard_count),
    Peer("node_red", NODE_RED, install_node, _set_up_node_red, _node_red_stored, _node_red_count),
)


class Stored:
    """The count of what a peer has stored."""

    def __init__(self, peer: Peer, folder: Path) -> None:
        self._peer, self._folder = peer, folder

    def count(self) -> int:
        """Return it."""
        return self._peer.count(self._folder)


def _message(number: int) -> bytes:
    """Return a message of ten data points, as long for every number."""
    values = {name: (middle + number % 97) / 100 for name, _, middle in farms.SENSORS}
    return json.dumps({"n": FIRST_NUMBER + number} | {name: f"{value:.2f}" for name, value in values.items()}).encode()


def messages() -> Path:
    """Return the file of messages, made now if need be."""
    path = farms.CACHE / "messages.bin"
    if not path.exists():
        farms.CACHE.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for number in range(MESSAGES):
                raw = _message(number)
                file.write(len(raw).to_bytes(2, "big") + raw)
    return path


@contextmanager
def _serving(peer: Peer) -> Iterator[tuple[Path, int, Publisher, Stored, subprocess.Popen[bytes]]]:
    """Run a peer that stores what comes, and whose uplink is gone: its folder, the broker's port, and so on."""
    peer.install()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=farms.CACHE, prefix="peer-")))
        port, uplink_port = processes.free_port(), processes.free_port()
        (folder / "uplink").mkdir()
        stack.enter_context(processes.mosquitto(folder, port))
        command, stored = peer.set_up(folder, port, uplink_port), Stored(peer, folder)
        users = [(name, "") for name in farms.names(NODES)]
        publisher = stack.enter_context(Publisher(port, users, messages()))
        with processes.mosquitto(folder / "uplink", uplink_port):
            process = stack.enter_context(processes.running(command, folder / "peer.log", folder))
            _await_first(publisher, stored, folder)
        yield folder, port, publisher, stored, process


def _await_first(publisher: Publisher, stored: Stored, folder: Path) -> None:
    """Offer a little until something is stored: the peer is there."""
    publisher.set_rate(20)
    deadline = time.monotonic() + START_S
    while not stored.count():
        if time.monotonic() > deadline:
            raise RuntimeError(f"it stored nothing: {(folder / 'peer.log').read_text(errors='replace')[-300:]}")
        time.sleep(0.2)


def run(peer: Peer, warm_s: float, seconds: float) -> dict[str, float]:
    """Measure what a peer stores a second, offered at just over that; then kill it with SIGKILL while it receives.

    Lost is what it acknowledged to the broker and had not stored: all that the publisher sent, but for what the broker
    still has for the peer's session.  What went out by the uplink at the start is not counted.
    """
    with _serving(peer) as (folder, port, publisher, stored, process):
        steering = Steering(publisher, stored, FIRST_PER_S)
        begin = steering.run(warm_s)
        end = steering.run(seconds)
        process.kill()
        process.wait()
        publisher.set_rate(0)
        sent = publisher.stop()["acknowledged"]
        kept, had = set(_left(port, peer.client_id)), set(peer.stored(folder))
    wanted = set(range(min(had), FIRST_NUMBER + sent)) - kept
    per_s = (end[1] - begin[1]) / (end[0] - begin[0])
    return {"per_s": per_s, "acknowledged": len(wanted), "lost": len(wanted - had)}


def _left(port: int, session: str) -> list[int]:
    """Take the peer's place at the broker, and return the numbers of the messages that it had not acknowledged."""
    hello = text("MQTT") + b"\x04\x00\x00\x00" + text(session)
    with socket.create_connection(("127.0.0.1", port), timeout=QUIET_S) as connection:
        connection.sendall(packet(0x10, hello))
        came, numbers = b"", []
        while True:
            try:
                came += connection.recv(1 << 20)
            except TimeoutError:
                return numbers
            at = 0
            while (whole := next_packet(came, at)) is not None:
                body, end = whole
                if came[at] & 0xF0 == PUBLISH:
                    place = body + 2 + int.from_bytes(came[body : body + 2], "big")
                    connection.sendall(b"\x40\x02" + came[place : place + 2])
                    numbers.append(int(json.loads(came[place + 2 : end])["n"]))
                at = end
            came = came[at:]


def measure(peer: Peer, warm_s: float, seconds: float, runs: int) -> dict[str, Any]:
    """Return a peer's rate, and how many messages it lost, the most in one run and the median."""
    peer.install()
    return _summary([run(peer, warm_s, seconds) for _ in range(runs)])


def _summary(found: list[dict[str, float]]) -> dict[str, Any]:
    losses = [each["lost"] for each in found]
    return {
        "per_s": statistics.median(each["per_s"] for each in found),
        "lost": statistics.median(losses),
        "most_lost": max(losses),
        "raw": found,
    }


def measure_earmark(bound: Bound, seconds: float, runs: int) -> dict[str, Any]:
    """Kill our gateway in the same way, start it again, and count what nodes had been told is in the log and is not."""
    return _summary([_run_earmark(bound, seconds) for _ in range(runs)])


def _run_earmark(bound: Bound, seconds: float) -> dict[str, float]:
    first_per_s = bound.measure().per_s * FIRST
    with serving("mosquitto", EARMARK_NODES) as (farm, port, _, gateway_id), ExitStack() as stack:
        leaves = processes.Leaves(farm)
        users = [farms.credentials(farm, name) for name in farms.names(EARMARK_NODES)]
        statements = enough(EARMARK_NODES, seconds, first_per_s / FIRST * 1.2, 0.0)
        publisher = stack.enter_context(Publisher(port, users, statements))
        enrolled, steering = leaves.count(), Steering(publisher, leaves, first_per_s)
        begin = (time.monotonic(), enrolled)
        end = steering.run(seconds)
        os.kill(gateway_id, signal.SIGKILL)
        publisher.set_rate(0)
        sent = publisher.stop()["acknowledged"]
        with processes.gateway(farm):
            logged = drained(leaves, enrolled + sent) - enrolled
        leaves.close()
    per_s = (end[1] - begin[1]) / (end[0] - begin[0])
    return {"per_s": per_s, "acknowledged": sent, "lost": sent - logged}


def measure_pymerkle(singles: int, bulk: int, proofs: int) -> dict[str, Any]:
    """Return pymerkle's appends a second, one by one and in bulk, and its inclusion proof's milliseconds."""
    install_python()
    with tempfile.TemporaryDirectory(dir=farms.CACHE, prefix="peer-") as folder:
        given = [folder, str(singles), str(bulk), str(proofs)]
        command = [str(PYTHON / "bin" / "python"), str(HERE / "pymerkle_run.py"), *given]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"pymerkle failed: {done.stderr[-300:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
