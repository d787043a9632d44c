"""The nodes' soak in small: some half an hour of its day, in a process of its own as under `make soak`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import interpreters

SOAK = Path(__file__).resolve().parent / "node_soak.py"


def test_half_an_hour_of_the_nodes_soak(tmp_path: Path) -> None:
    if not list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")):
        pytest.skip("no libfaketime here: apt-get install libfaketime (`make test` does)")
    if len(interpreters.interpreters()) < 2:
        pytest.skip("no MicroPython here: run tools/micropython.sh")
    report = tmp_path / "report.json"
    command = [sys.executable, str(SOAK), "--hours", "0.6", "--speed", "180", "--report", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    soak = json.loads(report.read_text())["node_soak"]
    assert (soak["lost"], soak["twice"]) == (0, 0)
    assert soak["logged"] == soak["signed"] > 5 * soak["nodes"]
    assert soak["wakes"] >= 1
