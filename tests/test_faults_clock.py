"""Fault table, clocks: the gateway's and the nodes' step back and forth; nothing is lost, and time in blocks stands."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from earmark.errors import FutureTime
from farm import NOW_S, Bench, new_store
from fault_report import Counts, fault_row
from fault_scene import Scene
from faults import chance, promises_at

DAY_S = 86_400


@fault_row(bounded=10, full=150)
def test_clocks_stepping_in_a_log(runs: int, counts: Counts, tmp_path: Path) -> None:
    """Statements from the future are held, not lost: all are in the log once the gateway's clock has passed them."""
    for run in range(runs):
        folder = tmp_path / str(run)
        folder.mkdir()
        draw = chance("log clock", run)
        bench = Bench(new_store(folder)).found()
        promises = promises_at(bench)
        nodes = [bench.enrol(seed, f"n{seed}") for seed in (3, 4, 5)]
        said: list[bytes] = []
        for _ in range(30):
            bench.now_ms += draw.randint(-30, 30) * DAY_S * 1000
            raws = [draw.choice(nodes).read(issued_at_s=NOW_S + draw.randint(-40, 40) * DAY_S) for _ in range(5)]
            said += raws
            outcomes = bench.admit(*raws)
            assert {type(outcome.error) for outcome in outcomes} <= {type(None), FutureTime}
            promises.acknowledged |= {outcome.arrival.raw for outcome in outcomes if outcome.error is None}
            draw.choice([bench.log.seal, bench.log.retry, bench.open])()
            promises.observe(bench.store)
            counts.faults += 1
        bench.now_ms = (NOW_S + 100 * DAY_S) * 1000
        bench.log.retry()
        bench.log.seal()
        bench.open()
        promises.acknowledged |= set(said)
        promises.settle(bench.store, counts)
        counts.acknowledged += len(said)
        bench.store.close()


@contextmanager
def stepped(folder: Path) -> Iterator[tuple[dict[str, str], Path]]:
    """The environment of a process whose clock is off by what stands in the file; skips where there is no libfaketime.

    Only the time of day steps, as where somebody sets it: waits and intervals go on as they were.
    """
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("no libfaketime here: apt-get install libfaketime (`make test` does)")
    offset = folder / "offset"
    offset.write_text("+0")
    environment = {"LD_PRELOAD": str(found[0]), "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1"}
    yield environment | {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1"}, offset


@fault_row(bounded=2, full=25)
def test_clock_of_the_gateway_stepping(runs: int, counts: Counts, tmp_path: Path) -> None:
    """Half of the nodes' statements say the true time: with the gateway's clock in the past they are held until it is
    right again.
    """
    with stepped(tmp_path) as (environment, offset), Scene(tmp_path, "clock", counts, environment=environment) as scene:
        for _ in scene.rounds(runs):
            offset.write_text(f"{scene.chance.randint(-30 * DAY_S, 30 * DAY_S):+d}")
            scene.broke()
            for node in scene.nodes:
                raw = node.signing.read(issued_at_s=int(time.time()))
                node.say(raw)
                node.publish(raw)
            scene.talk(0.4)
            offset.write_text("+0")
        assert len({line[:10] for line in scene.gateway.said.splitlines()}) > runs / 2, "the clock did not step"
