"""The parts of the benchmarks work, at tiny size; no figure is looked at."""

import json
import os
from itertools import pairwise
from pathlib import Path

import pytest

import interpreters
from bench import bound, checking, direct, farms, growth, ingest, latency, processes, report, wear
from bench.bound import Bound
from bench.publisher import next_packet, packet
from earmark.statement import NO_ENTRY, decode

NODES = 3
LEAVES = 300


@pytest.fixture(autouse=True)
def _small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(farms, "CACHE", tmp_path)
    monkeypatch.setattr(bound, "MEASURE_S", 0.05)
    monkeypatch.setattr(ingest, "FIRST", 0.02)
    monkeypatch.setattr(ingest, "LOOK_S", 0.1)


def test_statements_are_chained_and_verify_and_the_file_is_made_once() -> None:
    path = farms.statements(NODES, 4)
    made = path.stat().st_mtime_ns
    found = [decode(raw) for raw in farms.read(path)]
    for statement in found:
        statement.verify()
        assert len(statement.readings) == 10
    chains = [[each for each in found if each.sub == name] for name in farms.names(NODES)]
    for chain in chains:
        assert [each.seq for each in chain] == [1, 2, 3, 4]
        assert [each.prev for each in chain] == [NO_ENTRY, *(a.entry for a, _ in pairwise(chain))]
    assert farms.statements(NODES, 2).stat().st_mtime_ns == made


@pytest.mark.parametrize("size", [0, 127, 128, 20_000])
def test_packets_are_found_again_and_never_before_they_are_whole(size: int) -> None:
    whole = packet(0x30, bytes(size))
    body, end = next_packet(whole + b"@", 0) or (0, 0)
    assert (end - body, end) == (size, len(whole))
    assert next_packet(whole[:-1], 0) is None


def test_bound_verifies() -> None:
    with Bound(farms.statements(NODES, 2)) as verifiers:
        pace = verifiers.measure()
    assert pace.per_s > 0
    assert 0 < pace.cores < 3


@pytest.mark.parametrize("broker", ingest.BROKERS)
def test_all_that_a_broker_acknowledged_is_in_the_log(broker: str) -> None:
    statements = farms.statements(NODES, 4000)
    with Bound(statements) as verifiers:
        run = ingest.measure(broker, NODES, 0.1, verifiers, statements, warm_s=0.1)
    assert run.leaves == run.acknowledged == run.sent > 0
    assert run.cpu["workers"] >= 0
    assert ingest.summary([run])["lost"] == 0


def test_direct_feed_loses_nothing() -> None:
    statements = farms.statements(NODES, 6000)
    run = direct.run(NODES, 0.1, statements, warm_s=0.0)
    assert run["leaves"] == run["acknowledged"] > 0


def test_latency_is_of_the_statement_that_was_sent() -> None:
    found = latency.measure("mosquitto", 2)
    assert found["count"] == len(found["raw_ms"]) == 2
    assert all(took_ms > 0 for took_ms in found["raw_ms"])


def test_growth_gives_every_figure() -> None:
    found = growth.measure([LEAVES])
    assert found[str(LEAVES)].keys() >= {"admit_and_seal_us", "prove_p50_ms", "start_s", "rss_mb", "bytes_over"}
    assert growth.measure([10**12])[str(10**12)]["not_measured"].startswith("needs")


def test_bulk_checks_accept_what_they_measure() -> None:
    with Bound(farms.statements(checking.NODES, 5)) as verifiers:
        found = checking.measure(LEAVES, 1, verifiers)
    assert found["check"]["ratio"] > 0
    assert found["log_check"]["ratio"] > 0


def test_the_wear_of_a_boards_flash_is_counted() -> None:
    try:
        found = wear.measure(20)
    except RuntimeError as missing:
        if interpreters.required():
            raise
        pytest.skip(str(missing))
    for board in wear.BOARDS:
        assert 1 <= found[board]["erases_per_statement"] < 3
        assert found[f"flash_years_{board}"] > 0
        assert found[board]["boot_full_statements"] > 500


def test_report_is_flat_and_says_what_is_missing(tmp_path: Path) -> None:
    results = {
        "quick": True, "machine": report.machine(), "ingest.broker": {"ratio": 0.5, "ratios": [0.4, 0.6]},
        "check": {"not_measured": "no reason at all"}, "rss_mb": 300.0,
    }  # fmt: skip
    report.write(results, tmp_path)
    figures = json.loads((tmp_path / "report.json").read_text())
    assert figures["ingest.broker.ratio"] == 0.5
    assert not any(isinstance(value, dict) for value in figures.values())
    text = (tmp_path / "report.md").read_text()
    assert "quick run" in text
    assert "| `ingest.broker.ratio` | 0.5 (0.400 – 0.600) | ≥ 0.45 | met |" in text
    assert "| `rss_mb` | 300 | ≤ 200 | **missed** |" in text
    assert "`check` was not measured: no reason at all." in text


def test_processor_time_is_counted_by_role() -> None:
    accounts = processes.Accounts({"gateway": None})
    before = accounts.seconds()["gateway"]
    while os.times().user + os.times().system < before + 0.05:
        pass
    assert accounts.seconds()["gateway"] > before
