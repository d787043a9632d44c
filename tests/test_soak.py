"""The soak in small: some minutes of the simulated day, in a process of its own as under `make soak`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).resolve().parent / "soak.py"


def test_some_minutes_of_the_soak(tmp_path: Path) -> None:
    if not list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")):
        pytest.skip("no libfaketime here: apt-get install libfaketime (`make test` does)")
    report = tmp_path / "report.json"
    command = [sys.executable, str(SOAK), "--minutes", "30", "--nodes", "20", "--report", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    soak = json.loads(report.read_text())["soak"]
    assert soak["logged"] == soak["acknowledged"] >= 250
    assert soak["faults"] > 30
