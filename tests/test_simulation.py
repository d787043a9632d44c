"""Nodes on this machine: interpreters, private files, recordings."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from earmark.cose import did
from earmark.errors import ConfigError
from earmark.simulation import Interpreter, NodeProcess, firmware_folder, open_recording
from services import wait_for


def test_a_nodes_key_and_settings_are_its_owners_alone(tmp_path: Path, interpreter: list[str]) -> None:
    node = NodeProcess(tmp_path / "n1", Interpreter("one of them", interpreter[0]))
    node.configure({"name": "n1", "broker": {"password": "secret"}})
    key = node.key()
    assert node.key() == key
    assert {path.name: path.stat().st_mode & 0o777 for path in node.folder.iterdir()} == {
        "identity": 0o600,
        "node.json": 0o600,
    }
    program = [interpreter[0], str(firmware_folder() / "main.py"), "--dir", str(node.folder), "--identity"]
    assert subprocess.run(program, capture_output=True, text=True, check=True).stdout.strip() == did(key)


def test_a_node_that_gives_no_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="n1 did not give its key"):
        NodeProcess(tmp_path / "n1", Interpreter("none", "/nowhere/micropython")).key()


def test_a_recording_is_cut_into_nodes_and_days(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    names = [f"c {n}" for n in range(9)]
    rows = [
        f"{day}/1/2022 {hour}:30," + ",".join(f"{hour}.{n}0" for n in range(9)) for day in (1, 2) for hour in (0, 23)
    ]
    path.write_text("\n".join(["Time," + ",".join(names), *rows, "3/1/2022 0:00, ,,,,,,,,5"]) + "\n")
    recording = open_recording(path)
    assert [len(sensor["columns"]) for sensor in recording.sensors(1)] == [8, 1]
    one = list(recording.readings(1))
    assert len(one) == 18
    assert one[0] == ("c_0", "0.00", 1640997000)
    assert len(list(recording.readings(2))) == 18
    assert list(recording.readings(0))[-1] == ("c_8", "5", 1646092800)


@pytest.mark.parametrize("text", ["", "Time,a\n", "Time,a\nyesterday,1\n", "\xff"])
def test_what_is_no_recording_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.csv"
    path.write_text(text)
    with pytest.raises(ConfigError):
        open_recording(path)


def test_a_node_does_not_outlive_who_started_it(tmp_path: Path) -> None:
    """As when `earmark node simulate` is killed: nothing is left behind."""
    folder = tmp_path / "n1"
    script = (
        "import sys, time; from pathlib import Path; from earmark.simulation import Interpreter, NodeProcess\n"
        "sleeper = Path(sys.argv[1]).with_name('sleeper'); sleeper.write_text('#!/bin/sh\\nexec sleep 60\\n')\n"
        "sleeper.chmod(0o755); node = NodeProcess(Path(sys.argv[1]), Interpreter('one', str(sleeper)))\n"
        "node.configure({}); node.start(); print(node._process.pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    node = int(parent.stdout.readline())
    wait_for(lambda: psutil.Process(node).name() == "sleep", "the node runs")  # setpriv has done its part by then
    parent.kill()
    parent.wait(10)
    parent.stdout.close()
    wait_for(
        lambda: not psutil.pid_exists(node) or psutil.Process(node).status() == psutil.STATUS_ZOMBIE, "it ended", 10
    )
