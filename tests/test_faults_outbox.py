"""Fault table, a node's power: cut at every program and erase of long random runs on MicroPython's own littlefs.

`make test` runs the same cases in short (test_firmware.py); here each is run with 20 seeds in each word size.
"""

import os
import subprocess
from pathlib import Path

import pytest

import interpreters

HERE = Path(__file__).resolve().parent
TIMES = 20


@pytest.mark.faults
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("bits", ["64", "32"])
def test_the_outbox_over_every_cut(bits: str) -> None:
    try:
        program = interpreters.command(f"micropython-{bits}")
    except interpreters.MissingInterpreter as missing:
        if interpreters.required():
            raise
        pytest.skip(str(missing))
    environment = os.environ | {"EARMARK_CUTS": str(TIMES), "MICROPYPATH": f".frozen:{HERE.parent / 'firmware'}"}
    command = [*program, "-X", "heapsize=32m", str(HERE / "firmware" / "test_power_cuts.py")]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1100)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.strip().endswith(" passed, 0 failed"), run.stdout
