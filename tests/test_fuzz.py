"""The fuzz targets in a bounded form; `make fuzz RUNS=…` runs each at length."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from earmark import cbor

FUZZ = Path(__file__).resolve().parent / "fuzz"
RUNS = 20_000
needs_atheris = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this platform"
)


def run(*arguments: str) -> str:
    """Run one of the folder's programs in a process of its own, where its stand-ins reach no other test."""
    command = [sys.executable, str(FUZZ / arguments[0]), *arguments[1:]]
    ran = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=110
    )
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr[-5000:]
    return ran.stdout + ran.stderr


def test_every_seed_and_its_mutations_are_judged_in_time_and_memory() -> None:
    said = run("plain.py").splitlines()
    assert len(said) >= 28
    assert all(int(line.split()[1]) > 200 for line in said)


@needs_atheris
def test_inputs_that_coverage_leads_to(tmp_path: Path) -> None:
    said = run("run.py", "--here", "--runs", str(RUNS), "--seed", "1", "--kept", str(tmp_path))
    assert f"stat::number_of_executed_units: {RUNS}" in said
    assert list((tmp_path / "corpus" / "together").iterdir()), "no input led to new code: nothing is instrumented"


@needs_atheris
def test_a_broken_promise_is_found_kept_and_judged_again(tmp_path: Path) -> None:
    script = tmp_path / "planted.py"
    script.write_text(PLANTED)
    command = [sys.executable, str(script), str(FUZZ), str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=110)
    assert ran.returncode != 0
    assert "the planted fault" in ran.stdout + ran.stderr
    [found] = (tmp_path / "found").iterdir()
    assert cbor.decode(found.read_bytes()), "what was kept is not what broke the promise"


# A map with something in it, where the only seed is an empty one.
PLANTED = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import judge
import run

def load():
    from earmark import cbor
    from earmark.errors import EncodingError

    def planted(octets):
        found = judge.outcome(EncodingError, cbor.decode, octets)
        assert not isinstance(found, dict) or len(found) < 1, "the planted fault"

    return {"planted": judge.Target("planted", planted, (bytes([0xA0]),), 64, is_text=False)}

judge.load = load
run.fuzz([], 2_000_000, 1, Path(sys.argv[2]))
"""
