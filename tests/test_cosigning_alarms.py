"""The gateway's side: what a witness that hangs, dies or falls silent leaves of the others, and of its own alarm."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from earmark import cosigning
from earmark.cosigning import FIRST_WAIT_S, LONGEST_WAIT_S, Asked, Cosigning, poster
from earmark.errors import ConfigError, StoreError, WitnessError
from earmark.metrics import Metrics
from earmark.note import COSIGNATURE, VerifierKey
from earmark.settings import WitnessSettings, parse_config
from earmark.status import Doctor
from earmark.store import AWAY, COSIGNED, SPLIT
from farm import Bench, Signing
from services import free_port, wait_for
from test_cosigning import OWN, SETTINGS, Script, right, two_blocks


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return two_blocks(tmp_path)


def split(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("earmark_witness_split", {"witness": OWN.name})


def warnings(metrics: Metrics, folder: Path) -> list[str]:
    return [each.reason for each in Doctor(metrics, folder, 5, lambda: True).examine().warnings]


def test_a_split_view_stands_until_it_cosigns(bench: Bench, tmp_path: Path) -> None:
    """Neither silence nor a new start takes the alarm back."""
    metrics = Metrics()
    asked = Asked(SETTINGS, bench.store, metrics, Script((422, b"no"), (500, b"ill")))
    for now_s in (1e6, 2e6, 3e6):
        asked.step(1, now_s + time.monotonic())
    assert [row.state for row in bench.store.witnesses()] == [SPLIT]
    assert split(metrics) == 1
    assert warnings(metrics, tmp_path) == ["split-view"]
    counted = "earmark_witness_requests_total"
    assert metrics.registry.get_sample_value(counted, {"witness": OWN.name, "state": AWAY}) == 2

    metrics, script = Metrics(), Script()
    asked = Asked(SETTINGS, bench.store, metrics, script)
    assert split(metrics) == 1
    asked.step(1, 1e6)
    assert warnings(metrics, tmp_path) == ["split-view"]
    script.answers = [right(bench)]
    asked.step(1, time.monotonic() + FIRST_WAIT_S)
    assert [row.state for row in bench.store.witnesses()] == [COSIGNED]
    assert split(metrics) == 0
    assert warnings(metrics, tmp_path) == []


def test_a_witness_that_saw_a_newer_block_of_ours_is_asked_for_that(bench: Bench) -> None:
    """Anybody may show it one while a request is on its way."""
    script = Script((409, b"7\n"), (409, b"7\n"), right(bench))
    asked = Asked(SETTINGS, bench.store, Metrics(), script)
    asked.step(0, 0.0)
    [row] = bench.store.witnesses()
    assert (row.state, row.message) == (AWAY, "it saw 7 leaves already, more than the 2 asked for")
    asked.step(1, time.monotonic() + FIRST_WAIT_S)
    assert [row.state for row in bench.store.witnesses()] == [COSIGNED]


def test_a_witness_that_is_away_is_asked_less_and_less(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    script = Script()
    asked = Asked(SETTINGS, bench.store, Metrics(), script)
    times = []
    while now_s[0] < 6000:
        before = len(script.asked)
        asked.step(1, now_s[0])
        times += [now_s[0]] if len(script.asked) > before else []
        now_s[0] += 1
    waits = [b - a for a, b in pairwise(times)]
    assert waits[:3] == [FIRST_WAIT_S, 2 * FIRST_WAIT_S, 4 * FIRST_WAIT_S]
    assert max(waits) == LONGEST_WAIT_S
    script.answers = [right(bench)]
    asked.step(1, now_s[0] + LONGEST_WAIT_S)
    assert [row.state for row in bench.store.witnesses()] == [COSIGNED]


@contextlib.contextmanager
def answering(say: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that takes one connection; its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                say(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join(30)
        assert not thread.is_alive()


def test_answers_that_never_end_are_cut() -> None:
    def pour(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
        for _ in range(1000):
            connection.sendall(b"x" * 65_536)

    with answering(pour) as url, pytest.raises(WitnessError, match="more than 65536 bytes"):
        poster(url)(b"")
    with pytest.raises(WitnessError, match="does not answer"):
        poster(f"http://127.0.0.1:{free_port()}/prefix/")(b"")


@pytest.mark.parametrize(
    ("begin", "piece"),
    [(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), (b"HTTP/1.1 200 OK\r\nX: ", b"x"), (b"HTTP/1.1 200 OK\r\n\r\n", b"x")],
)
def test_answers_that_drip_are_cut(monkeypatch: pytest.MonkeyPatch, begin: bytes, piece: bytes) -> None:
    monkeypatch.setattr(cosigning, "TIMEOUT_S", 0.5)
    given_up = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(begin)
        end_s = time.monotonic() + 8
        while time.monotonic() < end_s and not given_up.wait(0.05):
            connection.sendall(piece)

    began_s = time.monotonic()
    with answering(drip) as url:
        with pytest.raises(WitnessError, match="timed out"):
            poster(url)(b"")
        given_up.set()
    assert time.monotonic() - began_s < 5


# the threads


OTHER = Signing(12, "v").signer
TWO = (
    WitnessSettings("http://127.0.0.1:1", VerifierKey("v.example", COSIGNATURE, OTHER.key).encode(), 5),
    WitnessSettings("http://127.0.0.1:2", OWN.encode(), 5),
)


def farm_of(bench: Bench) -> Any:
    return SimpleNamespace(database=bench.store._path, config=SimpleNamespace(witness=TWO))


def test_a_witness_that_hangs_is_not_in_the_way_of_another(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    def hang(body: bytes) -> tuple[int, bytes]:
        ended.wait(30)
        raise WitnessError("it hung")

    answer = right(bench)
    monkeypatch.setattr(cosigning, "LOOK_S", 0.01)
    monkeypatch.setattr(cosigning, "poster", lambda url: hang if url == TWO[0].url else lambda body: answer)
    running = Cosigning(farm_of(bench), Metrics())
    running.height = 1
    running.start()
    try:
        wait_for(lambda: [each.name for each in bench.store.cosignatures(1)] == [OWN.name], "the other cosigned", 10)
    finally:
        ended.set()
        running.stop()


def test_health_tells_of_a_witness_that_is_not_asked(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Path) -> None:
        raise StoreError("no room")

    monkeypatch.setattr(cosigning, "SqliteStore", fails)
    metrics = Metrics()
    running = Cosigning(farm_of(bench), metrics)
    running.start()
    wait_for(lambda: metrics.witnessing_failure.count("no room") == 2, "both are told")
    running.stop()
    assert warnings(metrics, tmp_path) == ["no-witnesses"]


def test_two_witnesses_of_one_name_are_refused() -> None:
    twin = VerifierKey(OWN.name, COSIGNATURE, OTHER.key).encode()
    tables = [f'[[witness]]\nurl = "http://127.0.0.1:1"\nvkey = "{vkey}"\n' for vkey in (OWN.encode(), twin)]
    with pytest.raises(ConfigError, match="tables with one name, w"):
        parse_config("".join(['[farm]\nsite = "home"\n', *tables]), "earmark.toml")
