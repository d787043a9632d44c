"""The node as a process of its own, under each interpreter, against a real Mosquitto and an acknowledger.

What holds: every statement arrives, the chain has no hole and no second version, every row of a recording is signed
exactly once, and only the gateway's acknowledgement frees the outbox, whatever is killed in between.
"""

import json
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import cbor2
import psutil
import pytest
from nacl.signing import SigningKey

from acknowledger import Acknowledger, Mosquitto, Statement, check_chain

FIRMWARE = Path(__file__).resolve().parent.parent / "firmware"
COLUMNS = {"Tair": {"name": "air-temperature", "unit": "Cel"}, "Rhair": {"name": "air-humidity", "unit": "%RH"}}
SEED = 20220201


def write_recording(path: Path, rows: int) -> list[tuple[int, str, Decimal]]:
    """Write a recording of this many rows, one in seven with an empty cell; returns what is to be signed."""
    expected = []
    lines = ["Date,Tair,Note,Rhair"]
    for row in range(rows):
        minute = row * 5
        warmth = f"{10 + row % 9}.{row % 100:02d}"
        humidity = "" if row % 7 == 3 else f"{60 + row % 30}.50"
        lines.append(f"2/{1 + minute // 1440}/2022 {minute // 60 % 24}:{minute % 60:02d},{warmth},x,{humidity}")
        seconds = 1643673600 + minute * 60
        if humidity:
            expected.append((seconds, "node-1/air-humidity", Decimal(humidity)))
        expected.append((seconds, "node-1/air-temperature", Decimal(warmth)))
    path.write_text("\n".join(lines) + "\n")
    return sorted(expected)


def replay_sensor(folder: Path, **changes: Any) -> dict[str, Any]:
    sensor: dict[str, Any] = {"driver": "replay", "file": str(folder / "recording.csv"), "columns": COLUMNS}
    return sensor | {"time_column": "Date", "time_format": "mdy"} | changes


class Node:
    """One node's directory and its process."""

    def __init__(self, interpreter: list[str], folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder / "node"
        self.folder.mkdir()
        self._command = [*interpreter, str(FIRMWARE / "main.py"), "--dir", str(self.folder)]
        self.log = folder / "node.log"
        self.process: subprocess.Popen[bytes] | None = None
        (self.folder / "node.json").write_text(json.dumps(settings))

    def use_loader(self) -> None:
        """Start by the loader in the node's directory from now on, which needs no firmware beside it."""
        self._command[-3] = str(self.folder / "loader.py")

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(self._command, stdout=output, stderr=subprocess.STDOUT)

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self._command, *arguments], capture_output=True, text=True, timeout=30, check=False)

    def wait(self, timeout_s: float = 90) -> None:
        """Wait for the end, which must be a good one."""
        assert self.process is not None
        status = self.process.wait(timeout_s)
        self.process = None
        assert status == 0, self.log.read_text()

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(20)
            self.process = None

    def segments(self) -> int:
        return len(list((self.folder / "outbox").glob("*/*.seg")))

    def said(self, text: str, timeout_s: float = 30) -> None:
        """Wait until the log says so."""
        deadline = time.monotonic() + timeout_s
        while text not in self.log.read_text():
            assert time.monotonic() < deadline, f"the node never said {text!r}:\n{self.log.read_text()}"
            time.sleep(0.02)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    running = Mosquitto(tmp_path)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def gateway(broker: Mosquitto) -> Iterator[Acknowledger]:
    running = Acknowledger(broker.port)
    yield running
    running.close()


@pytest.fixture
def make_node(interpreter: list[str], tmp_path: Path, broker: Mosquitto, gateway: Acknowledger) -> Iterator[Any]:
    nodes: list[Node] = []

    def make(sensors: list[dict[str, Any]], **changes: Any) -> Node:
        settings = {
            "site": "farm",
            "name": "node-1",
            "gateway_key": gateway.key.hex(),
            "broker": {"host": "127.0.0.1", "port": broker.port, "retry_s": [0.05, 0.5]},
            "sensors": sensors,
            "interval_s": 1,
            "resend_s": 2,
            "exit_when_done": True,
        }
        nodes.append(Node(interpreter, tmp_path, settings | changes))
        return nodes[-1]

    yield make
    for node in nodes:
        node.kill()


def rows_of(statements: dict[int, Statement]) -> list[tuple[int, str, Decimal]]:
    """Every replayed reading of the distinct statements, sorted."""
    found = []
    for statement in statements.values():
        if statement.method == 2:
            found += [(seconds, name, value) for seconds, name, _, value in statement.readings()]
    return sorted(found)


def test_every_statement_arrives_and_the_outbox_empties(make_node: Any, gateway: Acknowledger, tmp_path: Path) -> None:
    expected = write_recording(tmp_path / "recording.csv", 60)
    node = make_node([replay_sensor(tmp_path), {"driver": "modelled"}], segment_bytes=2048)
    beacon = cbor2.dumps([1, [["eip155:1", 21000000, bytes(32), 1700000000]]])
    gateway.publish_beacon(beacon)
    node.start()
    node.wait()
    check_chain(gateway.statements)
    assert rows_of(gateway.statements) == expected
    boot = gateway.statements[1]
    assert boot.content_type == "application/vnd.earmark+cbor"
    assert boot.software == ["earmark-node 0.1.0"]
    assert [row[:3] for row in boot.payload[3]] == [["replay", "replay", 2], ["modelled", "modelled", 1]]
    assert {s.method for s in gateway.statements.values()} == {None, 1, 2}
    assert all(s.clock[0] == 4 and s.clock[1] == 1 for s in gateway.statements.values())
    assert all(abs(s.iat - time.time()) < 120 and s.boot_count == 1 for s in gateway.statements.values())
    assert node.segments() == 1
    node.start()
    node.wait()
    check_chain(gateway.statements)
    assert rows_of(gateway.statements) == expected
    again = [s for s in gateway.statements.values() if s.boot_count == 2]
    assert again[0].software is not None


def test_statements_after_a_beacon_carry_its_nonce(make_node: Any, gateway: Acknowledger) -> None:
    import hashlib

    beacon = cbor2.dumps([1, [["eip155:1", 21000000, bytes(32), 1700000000]]])
    node = make_node([{"driver": "modelled"}], exit_when_done=False)
    node.start()
    gateway.wait(lambda: bool(gateway.statements))
    gateway.publish_beacon(b"not a beacon")
    gateway.publish_beacon(beacon)
    nonce = hashlib.sha256(beacon).digest()[:16]
    gateway.wait(lambda: any(s.nonce == nonce for s in gateway.statements.values()))
    assert gateway.statements[1].nonce is None
    check_chain(gateway.statements)
    node.said("a beacon was ignored")


def test_broker_restarts(make_node: Any, broker: Mosquitto, gateway: Acknowledger, tmp_path: Path) -> None:
    expected = write_recording(tmp_path / "recording.csv", 150)
    node = make_node([replay_sensor(tmp_path, pause_ms=10)], window=8)
    node.start()
    for share in (20, 60, 100):
        gateway.wait(lambda share=share: len(gateway.statements) >= share)
        broker.stop()
        broker.start()
    node.wait()
    check_chain(gateway.statements)
    assert rows_of(gateway.statements) == expected
    assert node.log.read_text().count("connected to") >= 4


def test_killed_at_random_moments(make_node: Any, gateway: Acknowledger, tmp_path: Path) -> None:
    expected = write_recording(tmp_path / "recording.csv", 400)
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    node = make_node([replay_sensor(tmp_path, pause_ms=3)], segment_bytes=2048, backlog=40)
    kills = 0
    while kills < 12:
        node.start()
        assert node.process is not None
        try:
            node.process.wait(0.1 + rng.random() * 0.5)
            break
        except subprocess.TimeoutExpired:
            node.kill()
            kills += 1
    assert kills >= 4
    node.start()
    node.wait()
    check_chain(gateway.statements)
    assert rows_of(gateway.statements) == expected
    boots = [s.boot_count for _, s in sorted(gateway.statements.items()) if s.software]
    assert boots == sorted(set(boots))


def test_only_the_gateways_word_frees(make_node: Any, gateway: Acknowledger, tmp_path: Path) -> None:
    write_recording(tmp_path / "recording.csv", 10)
    stranger = SigningKey.generate()

    def deceive(statement: Statement, arrivals: int) -> bool:
        if arrivals <= 22:  # the first two rounds of eleven
            gateway.acknowledge(statement, key=stranger)
            gateway.acknowledge(statement, kid=bytes(8))
            return True
        return False

    gateway.keeps_quiet = deceive
    node = make_node([replay_sensor(tmp_path)], resend_s=1)
    node.start()
    node.wait()
    assert gateway.arrivals >= 23
    check_chain(gateway.statements)
    assert "an acknowledgement was ignored" in node.log.read_text()
    assert "without an answer" in node.log.read_text()


def test_refused_statements_are_counted_and_let_go(make_node: Any, gateway: Acknowledger, tmp_path: Path) -> None:
    write_recording(tmp_path / "recording.csv", 10)
    gateway.refuses = {3: "BrokenChain", 5: "WrongSubject"}
    node = make_node([replay_sensor(tmp_path)])
    node.start()
    node.wait()
    said = node.log.read_text()
    assert "refused seq 3 for good: BrokenChain" in said
    assert "9 acknowledged and 2 refused" in said


def test_a_replay_waits_for_the_gateway(make_node: Any, gateway: Acknowledger, tmp_path: Path) -> None:
    expected = write_recording(tmp_path / "recording.csv", 120)
    gateway.keeps_quiet = lambda statement, arrivals: True
    node = make_node([replay_sensor(tmp_path)], backlog=30, window=8, status_s=1)
    node.start()
    node.said("status: seq 30, 30 wait")
    assert max(gateway.statements) <= 8
    gateway.keeps_quiet = lambda statement, arrivals: False
    node.wait()
    check_chain(gateway.statements)
    assert rows_of(gateway.statements) == expected


def test_what_had_to_be_dropped_is_told(make_node: Any, gateway: Acknowledger, tmp_path: Path) -> None:
    write_recording(tmp_path / "recording.csv", 120)
    gateway.keeps_quiet = lambda statement, arrivals: True
    node = make_node([replay_sensor(tmp_path)], outbox_bytes=8192, segment_bytes=2048, backlog=10000, window=4)
    node.start()
    node.said("the recording is replayed to its end")
    gateway.keeps_quiet = lambda statement, arrivals: False
    node.wait()
    gaps = [(s.payload[1], s.payload[2]) for s in gateway.statements.values() if s.payload and _kind(s) == "gap"]
    assert gaps
    newest = max(gateway.statements)
    for seq in range(1, newest + 1):
        assert seq in gateway.statements or any(first <= seq <= last for first, last in gaps), seq


def _kind(statement: Statement) -> str:
    return str(statement.payload[0]) if isinstance(statement.payload, dict) else "readings"


def test_rows_of_one_statement_and_days(make_node: Any, gateway: Acknowledger, tmp_path: Path) -> None:
    expected = write_recording(tmp_path / "recording.csv", 600)
    node = make_node([replay_sensor(tmp_path, rows_per_statement=12, **{"from": "2022-02-02", "days": 1})])
    node.start()
    node.wait()
    day = [row for row in expected if 1643760000 <= row[0] < 1643846400]
    assert len(day) > 500
    assert rows_of(gateway.statements) == day
    assert len(gateway.statements) == 1 + 288 // 12


def test_identity_settings_and_the_lock(make_node: Any, gateway: Acknowledger, tmp_path: Path) -> None:
    node = make_node([{"driver": "modelled"}], exit_when_done=False)
    first = node.call("--identity")
    assert first.returncode == 0
    assert first.stdout.startswith("did:key:z6Mk")
    assert node.call("--identity").stdout == first.stdout
    node.start()
    gateway.wait(lambda: bool(gateway.statements))
    second = node.call()
    assert second.returncode == 3
    assert "another process" in second.stdout
    node.kill()
    settings = json.loads((node.folder / "node.json").read_text())
    for change, named in (({"intervall_s": 5}, "intervall_s"), ({"sensors": [{"driver": "magic"}]}, "driver")):
        (node.folder / "node.json").write_text(json.dumps(settings | change))
        refused = node.call()
        assert refused.returncode == 2
        assert named in refused.stdout
    assert node.call("--frobnicate").returncode == 2


def test_a_row_that_fits_no_statement_is_named_and_left_out(
    make_node: Any, gateway: Acknowledger, tmp_path: Path
) -> None:
    wide = "".join(f",c{at}" for at in range(240)), "".join(f",{10**14 + at}" for at in range(240))
    rows = ["2/1/2022 0:00,1", "2/1/2022 0:05,2" + wide[1], "2/1/2022 0:10," + "1" * 20000, "2/1/2022 0:15,3"]
    (tmp_path / "recording.csv").write_text("\n".join(["Date,Tair" + wide[0], *rows]) + "\n")
    columns = {f"c{at}": {"name": "a-name-of-thirty-characters-" + str(at)} for at in range(240)}
    node = make_node([replay_sensor(tmp_path, columns=columns | {"Tair": {"name": "t"}})])
    node.start()
    node.wait()
    check_chain(gateway.statements)
    assert [value for _, _, value in rows_of(gateway.statements)] == [1, 3]
    said = node.log.read_text()
    assert said.count("is left out: its readings take more than") == 1
    assert said.count("is left out: it is longer than 8192 bytes") == 1


def test_another_keys_outbox_is_left_alone_and_named(make_node: Any, gateway: Acknowledger) -> None:
    node = make_node([{"driver": "modelled"}], exit_when_done=False)
    node.start()
    gateway.wait(lambda: bool(gateway.statements))
    node.kill()
    [old] = (node.folder / "outbox").iterdir()
    kept = sorted(path.read_bytes() for path in old.glob("*.seg"))
    (node.folder / "identity").unlink()
    node.start()
    node.said("boot 1 of", 30)
    node.said(f"outbox/{old.name} is of another key")
    node.kill()
    assert sorted(path.read_bytes() for path in old.glob("*.seg")) == kept
    assert len(list((node.folder / "outbox").iterdir())) == 2


def test_an_outbox_that_was_deleted_uses_no_seq_again(make_node: Any, gateway: Acknowledger) -> None:
    node = make_node([{"driver": "modelled"}], exit_when_done=False)
    node.start()
    gateway.wait(lambda: len(gateway.statements) > 2)
    node.kill()
    used = max(gateway.statements)
    shutil.rmtree(node.folder / "outbox")
    node.start()
    gateway.wait(lambda: any(b"gap" in s.raw for s in gateway.statements.values() if s.seq > used))
    node.kill()
    later = [s for s in gateway.statements.values() if s.seq > used]
    assert min(s.seq for s in later) > used + 1
    assert [s.payload[2] for s in later if s.method is None and s.payload[0] == "gap"] == [
        min(s.seq for s in later) - 1
    ]


def test_memory_and_files_stay_bounded(make_node: Any, gateway: Acknowledger, tmp_path: Path) -> None:
    write_recording(tmp_path / "recording.csv", 600)
    node = make_node([replay_sensor(tmp_path)], segment_bytes=4096)
    node.start()
    gateway.wait(lambda: len(gateway.statements) > 150)
    assert node.process is not None
    process = psutil.Process(node.process.pid)
    early, files = process.memory_info().rss, process.num_fds()
    gateway.wait(lambda: len(gateway.statements) > 550)
    assert process.memory_info().rss < early * 1.5 + 2_000_000
    assert process.num_fds() <= files + 1
    node.wait()
    assert node.segments() == 1
