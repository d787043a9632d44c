"""`earmark demo` as a user runs it: a recorded day through real MicroPython nodes, with and without kills of the
gateway.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from decimal import Decimal
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from earmark.body import METHODS
from earmark.simulation import find_interpreters, open_recording
from earmark.statement import Statement, decode
from earmark.store.sqlite import SqliteStore
from services import wait_for

SEED = 20_220_201

# Runs `earmark check` in a process that may open no socket and no database.
OFFLINE = """
import sys

def forbid(event, args):
    if event.startswith("socket.") or event == "sqlite3.connect":
        raise RuntimeError(f"the check did {event}")

sys.addaudithook(forbid)
from earmark.cli import main
sys.exit(main(sys.argv[1:]))
"""


def recording(shared: Path) -> Path:
    path = shared / "data" / "lettuce-2022" / "GreenhouseClimate.csv"
    if not path.is_file():
        pytest.skip(f"the recorded greenhouse is not here: {path}")
    return path


def start_demo(folder: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "earmark", "demo", "--json", "--dir", str(folder / "farm"), *options]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def outcome(demo: subprocess.Popen[str], limit_s: float) -> dict[str, Any]:
    out, err = demo.communicate(timeout=limit_s)
    assert demo.returncode == 0, err
    result: dict[str, Any] = json.loads(out)
    return result


def statements(farm: Path) -> list[Statement]:
    store = SqliteStore(farm / "earmark.db")
    try:
        assert store.quarantine_counts() == {}
        return [decode(raw) for _, _, raw in store.statements(0, store.size())]
    finally:
        store.close()


def assert_every_value_once(csv: Path, said: list[Statement]) -> None:
    """The log's readings are the recording's cells: each once, digit by digit, at its time, and marked as replayed."""
    cells = Counter((name, Decimal(text).as_tuple(), time_s) for name, text, time_s in open_recording(csv).readings(1))
    readings: Counter[Any] = Counter()
    for statement in said:
        for reading in statement.readings:
            assert statement.method == METHODS.index("replayed")
            value = reading.value if isinstance(reading.value, Decimal) else Decimal(reading.value)  # type: ignore[arg-type]
            readings[reading.name.removeprefix(f"{statement.sub}/"), value.as_tuple(), int(reading.taken_at_s)] += 1
    assert readings == cells


def assert_chains_are_whole(said: list[Statement]) -> None:
    chains: dict[bytes, list[Statement]] = {}
    for statement in said:
        chains.setdefault(statement.key, []).append(statement)
    for chain in chains.values():
        chain.sort(key=lambda statement: statement.seq)
        assert [statement.seq for statement in chain] == list(range(1, len(chain) + 1))
        assert all(b.prev == a.entry for a, b in pairwise(chain))


def check_alone(folder: Path, proof: Path, command: list[str]) -> str:
    """Check a copy of the file in an empty folder, with the arguments of the command that the demo printed."""
    folder.mkdir()
    shutil.copy(proof, folder / "proof.earmark")
    options = command[command.index("--operator") :]
    run = subprocess.run(
        [sys.executable, "-c", OFFLINE, "check", "proof.earmark", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.mark.timeout(300)
def test_a_recorded_day_ends_in_the_log_exactly_once_and_in_proofs(shared: Path, tmp_path: Path) -> None:
    csv = recording(shared)
    result = outcome(start_demo(tmp_path, "--replay", str(csv)), 200)
    said = statements(tmp_path / "farm")
    assert_every_value_once(csv, said)
    assert_chains_are_whole(said)
    assert result["methods"] == ["replayed"]
    assert sorted(result["proofs"]) == ["node-1", "node-2", "node-3"]
    for name, path in result["proofs"].items():
        words = check_alone(tmp_path / f"stranger-{name}", tmp_path / path, result["checks"][name])
        assert "REPLAYED" in words
        assert name in words
    boards = {statement.body[2] for statement in said if statement.body and statement.kind == "boot"}
    assert all(("micropython" in board) == ("MicroPython" in find_interpreters()[0].name) for board in boards)


@pytest.mark.timeout(300)
def test_modelled_nodes_need_no_recording(tmp_path: Path) -> None:
    result = outcome(start_demo(tmp_path), 200)
    assert result["methods"] == ["modelled"]
    assert_chains_are_whole(statements(tmp_path / "farm"))
    name, path = next(iter(result["proofs"].items()))
    assert "MODELLED" in check_alone(tmp_path / "stranger", tmp_path / path, result["checks"][name])


def has_new_gateway(demo: subprocess.Popen[str], path: Path, last: str) -> bool:
    return demo.poll() is not None or (path.is_file() and path.read_text() not in ("", last))


def kill_the_gateway(farm: Path, demo: subprocess.Popen[str], kills: int, chance: random.Random) -> int:
    """Kill the demo's gateway at random moments of its life until the demo ends or `kills` are done; returns how many
    were.
    """
    done, last = 0, ""
    while done < kills and demo.poll() is None:
        path = farm / "gateway.pid"
        wait_for(partial(has_new_gateway, demo, path, last), "a gateway that was not killed yet")
        if demo.poll() is not None:
            break
        last = path.read_text()
        time.sleep(chance.uniform(0.0, 3.0))
        try:
            os.kill(int(last), signal.SIGKILL)
        except ProcessLookupError:
            break
        done += 1
    return done


def run_demo_with_kills(shared: Path, tmp_path: Path, kills: int, limit_s: float) -> None:
    csv = recording(shared)
    print(f"seed {SEED}")
    demo = start_demo(tmp_path, "--replay", str(csv))
    done = kill_the_gateway(tmp_path / "farm", demo, kills, random.Random(SEED))
    result = outcome(demo, limit_s)
    said = statements(tmp_path / "farm")
    assert_every_value_once(csv, said)
    assert_chains_are_whole(said)
    assert done >= min(kills, 3)
    assert result["restarts"] >= 1


@pytest.mark.timeout(400)
def test_killing_the_gateway_of_the_demo_loses_and_duplicates_nothing(shared: Path, tmp_path: Path) -> None:
    run_demo_with_kills(shared, tmp_path, kills=12, limit_s=250)


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_killing_the_gateway_of_the_demo_many_times(shared: Path, tmp_path: Path) -> None:
    run_demo_with_kills(shared, tmp_path, kills=60, limit_s=600)
