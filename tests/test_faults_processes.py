"""Fault table, processes: each is killed or stopped at random moments, alone, all together, and again and again."""

import signal
from itertools import pairwise
from pathlib import Path

import pytest

from earmark import operator
from earmark.access import node_settings
from earmark.simulation import NodeProcess, find_interpreters
from earmark.statement import decode
from fault_report import Counts, fault_row
from fault_scene import Scene, searching
from services import GatewayProcess, logged, wait_for

BROKERS = pytest.mark.parametrize("kind", ["embedded", "mosquitto"])


@BROKERS
@fault_row(bounded=2, full=25)
def test_kill_9_of_the_gateway(kind: str, runs: int, counts: Counts, tmp_path: Path) -> None:
    with Scene(tmp_path, f"gateway {kind}", counts, kind) as scene:
        for _ in scene.rounds(runs):
            scene.gateway.kill()
            scene.broke()
            scene.gateway.start()


@BROKERS
@fault_row(bounded=1, full=10)
def test_kill_9_of_the_broker(kind: str, runs: int, counts: Counts, tmp_path: Path) -> None:
    with Scene(tmp_path, f"broker {kind}", counts, kind) as scene:
        for _ in scene.rounds(runs):
            if scene.mosquitto:
                scene.mosquitto.kill()
                scene.mosquitto.start()
            else:
                broker = scene.broker_process()
                assert broker is not None
                broker.kill()
            scene.broke()


@fault_row(bounded=2, full=25)
def test_kill_9_of_a_verifier(runs: int, counts: Counts, tmp_path: Path) -> None:
    with Scene(tmp_path, "verifier", counts) as scene:
        for _ in scene.rounds(runs):
            scene.chance.choice(scene.workers()).kill()
            scene.broke()


@fault_row(bounded=1, full=5)
def test_a_verifier_that_hangs(runs: int, counts: Counts, tmp_path: Path) -> None:
    """The gateway's patience with it, half a minute, is made shorter here."""
    (tmp_path / "sitecustomize.py").write_text("import earmark.intake\nearmark.intake.HANG_S = 2.0\n")
    with Scene(tmp_path, "hanging verifier", counts, environment=searching(tmp_path)) as scene:
        for _ in scene.rounds(runs):
            stopped = scene.chance.choice(scene.workers())
            stopped.send_signal(signal.SIGSTOP)
            scene.broke()
            scene.talk(0.5)


@BROKERS
@fault_row(bounded=1, full=20)
def test_power_cut_of_all_processes(kind: str, runs: int, counts: Counts, tmp_path: Path) -> None:
    with Scene(tmp_path, f"all {kind}", counts, kind) as scene:
        for _ in scene.rounds(runs):
            scene.kill_all()
            scene.broke()
            if scene.mosquitto:
                scene.mosquitto.start()
            scene.gateway.start()


@fault_row(bounded=5, full=100)
def test_restart_loop_of_the_gateway(runs: int, counts: Counts, tmp_path: Path) -> None:
    """Killed again before it has gone far: while it opens the store, connects, takes in, seals."""
    with Scene(tmp_path, "restart loop", counts) as scene:
        for _ in scene.rounds(max(1, runs // 10), most_s=0.1):
            for _ in range(min(runs, 10)):
                scene.gateway.kill()
                scene.gateway.start()
                scene.broke()
                scene.talk(scene.chance.uniform(0.0, 0.9))


@fault_row(bounded=1, full=10)
def test_two_gateways_on_one_store(runs: int, counts: Counts, tmp_path: Path) -> None:
    """The second refuses and says why; once the first is gone, it may."""
    with Scene(tmp_path, "two gateways", counts) as scene:
        for _ in scene.rounds(runs):
            second = GatewayProcess(scene.farm)
            second.start()
            scene.talk(scene.chance.uniform(0.1, 1.0))
            assert second.wait() == 3
            assert "a gateway already runs on" in second.said
            scene.broke()
            scene.gateway.kill()
            scene.gateway.start()


@fault_row(bounded=3, full=40)
def test_kill_9_of_a_node_and_of_all(runs: int, counts: Counts, tmp_path: Path) -> None:
    """The firmware replays a recording while it is killed, at times with everything else, and goes on each time under
    any of the interpreters; each row of the recording is logged once.
    """
    (tmp_path / "recording.csv").write_text(_recording(rows=40 * runs))
    with Scene(tmp_path, "node", counts, "embedded", nodes=1) as scene:
        node = _firmware(scene, tmp_path)
        node.start()
        for _ in scene.rounds(runs, most_s=0.3):
            if scene.chance.random() < 0.3:
                scene.kill_all()
                scene.gateway.start()
            node.kill()
            node.interpreter = scene.chance.choice(find_interpreters())
            node.start()
            scene.broke()
            scene.talk(scene.chance.uniform(0.1, 0.5))
        wait_for(lambda: node.poll() == 0, f"the node is done: {node.last_words()}")
        said = [raw for raw in logged(scene.farm) if decode(raw).sub == node.name]
        scene.promises.acknowledged |= set(said)  # it ends only once nothing waits
        scene.check()
    statements = sorted((decode(raw) for raw in said), key=lambda statement: statement.seq)
    assert [statement.seq for statement in statements] == list(range(1, len(statements) + 1))
    assert all(after.prev == before.entry for before, after in pairwise(statements))
    rows = [reading.taken_at_s for statement in statements for reading in statement.readings]
    assert len(set(rows)) == len(rows) == 40 * runs


def _recording(rows: int) -> str:
    hours = [(f"2/{1 + at // 1440}/2022 {at // 60 % 24}:{at % 60:02d}", at % 40) for at in range(rows)]
    lines = [f"{time},{warmth}.5" for time, warmth in hours]
    return "\n".join(["Date,Tair", *lines]) + "\n"


def _firmware(scene: Scene, folder: Path) -> NodeProcess:
    sensor = {"driver": "replay", "file": str(folder / "recording.csv"), "time_column": "Date", "time_format": "mdy"}
    sensor |= {"columns": {"Tair": {"name": "t", "unit": "Cel"}}, "pause_ms": 5}
    node = NodeProcess(folder / "field", find_interpreters()[0])
    settings = node_settings(scene.farm, node.name, node.key(), is_here=True)
    settings["broker"] |= {"retry_s": [0.05, 0.5]}
    node.configure(settings | {"sensors": [sensor], "exit_when_done": True, "resend_s": 2, "segment_bytes": 2048})
    operator.enrol(scene.farm, node.key(), node.name)
    return node
