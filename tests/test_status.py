"""What the gateway tells of itself: metrics, health, logs, and the service manager."""

import json
import os
import re
import resource
import shutil
import socket
import threading
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from commands import DOCS
from earmark import operator, serving, status
from earmark.errors import ConfigError, EncodingError, StoreError
from earmark.log import Outcome
from earmark.metrics import Metrics
from earmark.serving import Answer, Listener, Served
from earmark.status import Doctor, routes
from earmark.store import AnchorRow, SealedBlock
from earmark.verifier import Arrival
from services import GatewayProcess, Mosquitto, TestNode, free_port, wait_for
from watched import Watched, sample

NOW_MS = 1_790_000_000_000


# a running gateway


def test_a_gateway_tells_of_its_work_and_its_health(tmp_path: Path) -> None:
    anchor = '[beacon]\nevery_s = 0\n[[anchor]]\nchain = "development"\nevery_s = 1\nblock_every_s = 0.2\n'
    site = Watched(tmp_path / "farm", anchor)
    process = GatewayProcess(site.farm)
    process.start()
    node = TestNode(site.farm, site.broker_port, 3, "n1")
    try:
        wait_for(lambda: site.health() == (200, []), "the gateway is well")
        operator.enrol(site.farm, node.signing.key, "n1")
        raws = [node.signing.read(value, issued_at_s=int(time.time()) - 40) for value in range(30)]
        for raw in raws[:10] + raws[20:]:
            node.say(raw)
        node.send_until_acknowledged()
        node.publish(raws[0])
        node.publish(b"junk")
        wait_for(lambda: site.value("earmark_statements_repeated_total") == 1, "the repeat is counted")
        quarantined = "earmark_statements_quarantined_total"
        wait_for(lambda: site.value(quarantined, reason="EncodingError") == 1, "the junk is counted")
        wait_for(lambda: site.value("earmark_log_leaves") == 22, "a block covers all")
        wait_for(lambda: site.value("earmark_statements_missing") == 10, "the hole is seen")
        wait_for(lambda: (site.value("earmark_anchor_seconds_count", state="final") or 0) > 0, "an anchor is final")
        text = site.get("/metrics")[1]
        assert sample(text, "earmark_statements_admitted_total") == 21
        assert sample(text, "earmark_statement_age_seconds_bucket", le="30.0") == 1  # the operator's enrolment
        assert sample(text, "earmark_statement_age_seconds_sum") > 40
        assert sample(text, "earmark_ingest_seconds_count") == sample(text, "earmark_batch_statements_count")
        assert 0.4 < sample(text, "earmark_block_seconds_sum") / sample(text, "earmark_block_seconds_count") < 5
        assert sample(text, "earmark_broker_connected") == 1
        assert sample(text, "earmark_nodes") == 1
        assert sample(text, "earmark_verifier_restarts_total") == 0
        assert sample(text, "earmark_database_bytes") >= site.farm.database.stat().st_size
        assert sample(text, "earmark_disk_free_bytes") > 1 << 20
        assert site.get("/")[0] == 404
        assert_documented(text)
    finally:
        node.close()
        assert process.stop() == 0
    assert site.get("/health")[0] == 0


def assert_documented(text: str) -> None:
    words = (DOCS / "operating.md").read_text()
    ours = {name for name in re.findall(r"^# TYPE (earmark_\w+) ", text, re.MULTILINE) if not name.endswith("_created")}
    assert len(ours) > 20
    assert [name for name in ours if f"`{name}`" not in words] == []


def test_a_broker_that_goes_away_is_told(tmp_path: Path) -> None:
    """Mosquitto ends before the gateway."""
    site = Watched(tmp_path / "farm", embedded=False)
    mosquitto = Mosquitto(tmp_path / "mosquitto", site.broker_port)
    mosquitto.start()
    process = GatewayProcess(site.farm)
    process.start()
    try:
        wait_for(lambda: site.health() == (200, []), "the broker is there")
        mosquitto.kill()
        wait_for(lambda: site.health() == (503, ["broker-away"]), "the lost broker is told")
        assert site.value("earmark_broker_connected") == 0
    finally:
        assert process.stop() == 0


def test_a_store_that_cannot_write_is_told_until_it_can(tmp_path: Path) -> None:
    """The kernel refuses every write of the gateway to a file, as on a full disk, and later takes them again."""
    site = Watched(tmp_path / "farm")
    process = GatewayProcess(site.farm)
    process.start()
    node = TestNode(site.farm, site.broker_port, 3, "n1")
    try:
        wait_for(lambda: site.health() == (200, []), "the gateway is well")
        operator.enrol(site.farm, node.signing.key, "n1")
        node.send_until_acknowledged()
        _, most = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, most))
        node.say(node.signing.read())
        node.send_until(lambda: site.health() == (503, ["store-fails"]), "the failing store is told")
        assert (site.value("earmark_store_failures_total") or 0) > 0
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, most))
        node.send_until_acknowledged()
        wait_for(lambda: site.health() == (200, []), "the gateway is well again")
    finally:
        node.close()
        process.stop()


# the listener's bounds


@contextmanager
def listening(served: dict[str, Callable[[], Answer]]) -> Iterator[int]:
    port = free_port()
    listener = Listener("127.0.0.1", port, Served(served))
    listener.start()
    try:
        yield port
    finally:
        listener.stop()


def test_clients_that_say_nothing_or_say_it_slowly_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "PATIENCE_S", 0.5)
    served = {"/x": lambda: Answer(200, "text/plain", b"here")}
    with listening(served) as port:
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(serving.CONNECTIONS)]
        wait_for(lambda: is_refused(port), "the listener is full")
        silent[0].sendall(b"GET /x HT")
        for connection in silent:
            connection.settimeout(10)
            assert connection.recv(100) == b""
            connection.close()
        wait_for(lambda: asked(port, b"GET /x HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 200"), "there is room again")


def test_the_silent_make_room_for_those_who_ask_and_those_who_asked_keep_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serving, "SILENT_S", 0.05)
    monkeypatch.setattr(serving, "PATIENCE_S", 60.0)
    go_on = threading.Event()
    begun = threading.Event()

    def slow() -> Answer:
        begun.set()
        go_on.wait(20)
        return Answer(200, "text/plain", b"at last")

    with listening({"/x": lambda: Answer(200, "text/plain", b"here"), "/slow": slow}) as port:
        waiting = socket.create_connection(("127.0.0.1", port), timeout=20)
        waiting.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
        assert begun.wait(10)
        silent = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(4 * serving.CONNECTIONS)]
        for _ in range(3):
            wait_for(
                lambda: asked(port, b"GET /x HTTP/1.0\r\n\r\n").endswith(b"here"), "there is room, well before the end"
            )
        go_on.set()
        assert waiting.recv(4096).startswith(b"HTTP/1.0 200")
        for connection in [waiting, *silent]:
            connection.close()


def is_refused(port: int) -> bool:
    """Whether a connection is closed at once."""
    return asked(port, b"") == b""


def asked(port: int, said: bytes) -> bytes:
    """What comes back, up to the end; `still open` where nothing does for a moment."""
    with socket.create_connection(("127.0.0.1", port), timeout=0.2) as connection:
        got = b""
        try:
            connection.sendall(said)
            while piece := connection.recv(4096):
                got += piece
        except TimeoutError:
            return b"still open"
        except OSError:
            return got
        return got


def test_anything_may_be_asked() -> None:
    questions = {
        b"GET /x HTTP/1.0\r\n\r\n": b"200",
        b"GET /x?y HTTP/1.1\r\nHost: a\r\n\r\n": b"200",
        b"GET /../x HTTP/1.0\r\n\r\n": b"404",
        b"POST /x HTTP/1.0\r\n\r\n": b"501",
        b"GET /" + b"x" * 65_532: b"414",
        b"GET /x HTTP/1.0\r\n" + b"a: b\r\n" * 101: b"431",
        b"\x16\x03\x01\r\n": b"400",
    }
    with listening({"/x": lambda: Answer(200, "text/plain", b"here")}) as port:
        for said, answer in questions.items():
            got = asked(port, said)
            assert answer in got, said[:40]
            assert b"Python" not in got


def test_a_fault_of_whoever_answers_is_told_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> Answer:
        raise StoreError("on purpose")

    with listening({"/x": fails, "/y": lambda: None}) as port:  # type: ignore[dict-item,return-value]
        assert asked(port, b"GET /x HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 500")
        asked(port, b"GET /y HTTP/1.0\r\n\r\n")
        wait_for(lambda: "a request from" in caplog.text, "what nobody expected is logged")
    assert [each.levelname for each in caplog.records] == ["ERROR", "ERROR"]
    assert all(each.exc_info for each in caplog.records)
    assert "'/x'" in caplog.text


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port} .*set another address or port"):
            Listener("127.0.0.1", port, Served({}))


# health, reason by reason


def words_of(doctor: Doctor) -> tuple[list[str], list[str]]:
    found = doctor.examine()
    return [reason.reason for reason in found.reasons], [reason.reason for reason in found.warnings]


def outcome(received_at_ms: int = NOW_MS, error: EncodingError | None = None, repeat: bool = False) -> Outcome:
    return Outcome(Arrival(b"", "t", received_at_ms, None, error), None if error else 1, repeat, error)


def test_health_names_what_is_wrong_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics()
    connected = [True]
    doctor = Doctor(metrics, tmp_path, 10.0, lambda: connected[0])
    now_s = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    assert words_of(doctor) == (["starting"], [])
    metrics.turned()
    assert words_of(doctor) == ([], [])
    metrics.settled([outcome()], NOW_MS)
    now_s[0] += 10 + status.OVERDUE_S + 1
    assert words_of(doctor) == (["block-overdue"], [])
    metrics.sealed(SealedBlock(0, 1, b"", b"", b""))
    assert words_of(doctor) == ([], [])
    metrics.store_failed(StoreError("disk I/O error"))
    assert words_of(doctor) == (["store-fails"], [])
    now_s[0] += status.SILENT_S + 1
    connected[0] = False
    assert words_of(doctor) == (["writer-silent", "broker-away"], [])
    metrics.turned()
    connected[0] = True
    late = AnchorRow("eip155:1", "evm", "eip155:1", 7, b"", "broadcast", changed_at_ms=5000)
    metrics.anchored(late, 1000, overdue=late.height)
    metrics.anchoring_failure = "no key"
    assert words_of(doctor) == ([], ["anchor-overdue", "no-anchors"])
    code = json.loads(routes(metrics, doctor).get["/health"]().body)
    assert (code["status"], len(code["warnings"])) == ("ok", 2)
    metrics.anchored(AnchorRow("eip155:1", "evm", "eip155:1", 7, b"", "final"), 1000, overdue=None)
    assert words_of(doctor) == ([], ["no-anchors"])
    assert words_of(Doctor(metrics, tmp_path / "gone", 10.0, lambda: True))[0] == ["disk-gone"]
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, 1 << 40, 1 << 20))
    assert words_of(doctor)[0] == ["disk-full"]
    real = os.statvfs(tmp_path)
    fields = [real[place] | (os.ST_RDONLY if place == 8 else 0) for place in range(10)]
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(fields))
    assert words_of(doctor)[0] == ["disk-read-only"]


def test_numbers_of_batches_and_anchors() -> None:
    metrics = Metrics()
    doctor = Doctor(metrics, Path(), 1.0, lambda: True)

    def text() -> str:
        return routes(metrics, doctor).get["/metrics"]().body.decode()

    assert sample(text(), "earmark_statements_quarantined_total", reason="Equivocation") == 0
    metrics.settled([], NOW_MS)
    metrics.settled([outcome(NOW_MS - 250), outcome(repeat=True), outcome(error=EncodingError("x"))], NOW_MS)
    metrics.settled([outcome(repeat=True)], NOW_MS - 1000)
    metrics.refused("connections", 3)
    metrics.trimmed(5)
    metrics.chains([[(1, 10), (15, 20)], [(3, 3)], []])
    expected = {
        "earmark_statements_admitted_total": 1,
        "earmark_statements_repeated_total": 2,
        "earmark_batch_statements_count": 2,
        "earmark_batch_statements_sum": 4,
        "earmark_ingest_seconds_sum": 0.25,
        "earmark_quarantine_dropped_total": 5,
        "earmark_limit_refusals_total": 3,
        "earmark_nodes": 2,
        "earmark_statements_missing": 6,
    }
    assert {name: sample(text(), name) for name in expected} == expected
    row = AnchorRow("eip155:1", "evm", "eip155:1", 7, b"", "signed", changed_at_ms=NOW_MS)
    for state, at_ms in (("signed", 0), ("signed", 0), ("broadcast", 4000), ("final", 90_000), ("final", 90_000)):
        values = {name: getattr(row, name) for name in row.__slots__} | {
            "state": state,
            "changed_at_ms": NOW_MS + at_ms,
        }
        metrics.anchored(AnchorRow(**values), NOW_MS - 1000, overdue=None)
    sums = [sample(text(), "earmark_anchor_seconds_sum", state=state) for state in ("signed", "broadcast", "final")]
    assert sums == [None, 5, 91]
    states = [sample(text(), "earmark_anchor_state", state=state) for state in ("signed", "final")]
    assert (states, sample(text(), "earmark_anchor_height")) == ([0, 1], 7)
