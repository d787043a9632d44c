"""Bulk checks: `earmark log check` of a log, and `earmark check` of one proof file, of as many statements."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from bench import farms
from bench.bound import Bound
from earmark.config import Farm
from earmark.log import Log
from earmark.store.sqlite import SqliteStore
from earmark.verifier import Arrival, receive

NODES = 100
BATCH = 1000


def measure(count: int, runs: int, bound: Bound) -> dict[str, Any]:
    """Check a log of `count` leaves, and a proof file of all of them, in turn, with the bound around each."""
    with tempfile.TemporaryDirectory(dir=farms.CACHE, prefix="check-") as folder:
        farm = farms.make_farm(Path(folder, "farm"), NODES, 1883, embedded=True)
        fill(farm, NODES, count)
        proof, where = Path(folder, "all.earmark"), ["--farm", str(farm.folder)]
        begun = time.perf_counter()
        earmark("prove", *where, f"{NODES + 1}-{count - 1}", "-o", str(proof))
        prove_s = time.perf_counter() - begun
        commands = {
            "log_check": ("log", "check", *where),
            "check": ("check", str(proof), "--operator", str(farm.folder / "operator.did")),
        }
        found: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
        for _ in range(runs):
            for name, command in commands.items():
                found[name].append(_timed(command, count, bound))
        size = proof.stat().st_size
    results: dict[str, Any] = {"statements": count, "prove_s": prove_s, "proof_bytes": size}
    for name, each in found.items():
        results[name] = {
            key: statistics.median(run[key] for run in each) for key in ("ratio", "seconds", "bound_cores")
        }
        results[name] |= {"ratios": [run["ratio"] for run in each], "raw": each}
    return results


def _timed(command: Sequence[str], count: int, bound: Bound) -> dict[str, float]:
    before = bound.measure()
    begun = time.perf_counter()
    earmark(*command)
    seconds = time.perf_counter() - begun
    after = bound.measure()
    ratio = count / seconds / ((before.per_s + after.per_s) / 2)
    found = {"seconds": seconds, "ratio": ratio, "bound_cores": (before.cores + after.cores) / 2}
    return found | {"bound_before_per_s": before.per_s, "bound_after_per_s": after.per_s}


def earmark(*words: str) -> None:
    done = subprocess.run([sys.executable, "-m", "earmark", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"earmark {words[0]} ended with status {done.returncode}: {done.stderr[-500:]}")


def fill(farm: Farm, nodes: int, count: int) -> None:
    """Verify and admit real statements until the log has `count` leaves, and seal it."""
    store = SqliteStore(farm.database)
    log = Log(store, farm.operator_key(), farm.signer("gateway"), lambda: time.time_ns() // 1_000_000)
    wanted = count - log.size
    raws = list(farms.read(farms.statements(nodes, -(-wanted // nodes)), wanted))
    pieces = [raws[at : at + BATCH] for at in range(0, wanted, BATCH)]
    with ProcessPoolExecutor(2) as pool:
        for arrivals in pool.map(_receive, pieces):
            if any(outcome.error for outcome in log.admit(arrivals)):
                raise RuntimeError("the log refused a statement of the benchmark")
            log.seal()
    store.close()


def _receive(raws: list[bytes]) -> list[Arrival]:
    return [receive(raw, "", time.time_ns() // 1_000_000) for raw in raws]
