"""The gateway under attack: strangers, hostile nodes, failing disks, clocks that go back, and commands at the same
moment.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from earmark import ack, operator
from earmark import gateway as running
from earmark.access import node_password
from earmark.acknowledge import Acknowledger
from earmark.anchoring import Anchoring, Plan
from earmark.config import Farm, open_farm
from earmark.errors import EarmarkError, StoreError
from earmark.gateway import Gateway
from earmark.intake import Verified
from earmark.mqtt import Message
from earmark.store import AnchorRow, Quarantined
from earmark.store.sqlite import SqliteStore
from earmark.verifier import examine, receive
from farm import NOW_S, Bench, Signing, new_store
from services import TestNode, free_port, gateway, make_farm, wait_for
from test_anchoring import FakeTarget


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(new_store(tmp_path)).found()


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    return make_farm(tmp_path / "farm", free_port())


class FakeLink:
    """A connection that keeps what it is given, in order."""

    def __init__(self) -> None:
        self.acknowledged: list[int] = []
        self.published: list[bytes] = []

    def acknowledge(self, messages: list[Message]) -> None:
        self.acknowledged += [message.mid for message in messages]

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.published.append(payload)

    def answer(self, messages: Sequence[tuple[str, bytes]]) -> None:
        self.published += [payload for _, payload in messages]


def still(farm: Farm) -> tuple[Gateway, FakeLink]:
    """A gateway that is driven turn by turn, on a connection in memory."""
    made, link = Gateway(farm), FakeLink()
    made._link = link  # type: ignore[assignment]
    return made, link


def message(raw: bytes, mid: int) -> Verified:
    return Message("earmark/v1/home/n1/up", raw, mid, 1, 1), examine(raw)


def enrolled(farm: Farm) -> Signing:
    node = Signing(3, "n1")
    operator.enrol(farm, node.key, "n1")
    return node


# the gateway and commands at one moment


def test_what_a_command_wrote_before_the_gateway_had_its_lock_is_known_to_it(farm: Farm) -> None:
    enrolled(farm)
    made = Gateway(farm)
    late = Signing(4, "n2")
    operator.enrol(farm, late.key, "n2")  # no gateway holds the lock yet, so the command writes the log
    stop = threading.Event()
    outcomes: list[Any] = []

    async def serve(_: threading.Event) -> None:
        outcomes.extend(made._log.admit([receive(late.read(), "t", NOW_S * 1000)]))

    made._serve = serve  # type: ignore[method-assign]
    made._broker = None
    made.run(stop)
    assert [(outcome.index, outcome.error) for outcome in outcomes] == [(3, None)]


def test_a_command_does_not_wait_for_a_gateway_that_does_not_run(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator, "WAIT_S", 3.0)
    ended: list[object] = []

    def enrol() -> None:
        try:
            ended.append(operator.enrol(farm, Signing(4, "n2").key, "n2"))
        except EarmarkError as error:
            ended.append(error)

    second = threading.Thread(target=enrol)
    with farm.lock() as is_ours:  # another command, in the moment after it took what was submitted
        assert is_ours
        second.start()
        store = SqliteStore(farm.database)
        wait_for(lambda: bool(store.submitted()), "the second command submitted")
        store.close()
    second.join(30)
    assert ended == [1]


# crashes of `init`


def test_a_farm_whose_init_was_killed_before_leaf_0_can_be_finished(tmp_path: Path) -> None:
    kill = "import os; from earmark import operator; operator.found = lambda farm: os._exit(9)"
    command = [sys.executable, "-c", f"{kill}; from earmark.cli import main; main()", "init", "farm", "--site", "home"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 9
    again = subprocess.run(
        [sys.executable, "-m", "earmark", "init", "farm", "--site", "home"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    assert operator.enrol(open_farm(tmp_path / "farm"), Signing(4, "n2").key, "n2") == 1


# clocks


def test_nodes_are_answered_when_the_clock_went_back(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    node = enrolled(farm)
    now_ms = NOW_S * 1000
    monkeypatch.setattr(running, "clock_ms", lambda: now_ms)
    made, link = still(farm)
    made._turn([message(node.read(), 1)])
    assert len(link.published) == 1
    now_ms -= 3_600_000
    made._turn([message(node.read(issued_at_s=NOW_S - 3600), 2)])

    def is_answered() -> bool:
        made._turn([])
        return len(link.published) == 2

    wait_for(is_answered, "the second statement is answered", 5)


def test_anchors_are_planned_when_the_clock_went_back(bench: Bench) -> None:
    target = FakeTarget()
    bench.log.seal()
    bench.now_ms += 10 * 365 * 86_400_000  # the clock was wrong when the machine started
    anchoring = Anchoring(bench.store, target, Plan(60), lambda: bench.now_ms)
    anchoring.step()
    target.states[target.sent[0]] = "final"
    anchoring.step()
    bench.now_ms -= 10 * 365 * 86_400_000
    bench.enrol(3, "n1")
    bench.log.seal()
    anchoring.step()
    assert [row.height for row in bench.store.anchor_rows()] == [0, 1]


# acknowledgements


def test_an_acknowledgement_frees_nothing_beyond_what_came(bench: Bench) -> None:
    """A board that was set back to seq 2 signs other bytes as seq 3: its repeat of seq 2 must not free that one."""
    node = bench.enrol(3, "n1")
    raws = [node.read(value) for value in range(5)]
    bench.admit(*raws)
    acknowledger = Acknowledger(bench.log, bench.gateway, 0)
    acknowledger.note(bench.admit(raws[1]))
    [(_, payload)] = acknowledger.due(0)
    assert ack.decode(payload, bench.gateway.key).runs == ((1, 2),)


def test_a_turn_that_fails_late_acknowledges_once_and_answers(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    node = enrolled(farm)
    made, link = still(farm)
    arrived = [message(node.read(), 7)]
    with monkeypatch.context() as patch:
        patch.setattr(made._log, "take_submissions", lambda: fail(StoreError("the disk is full")))
        with pytest.raises(StoreError):
            made._turn(arrived)
    made._turn(arrived)
    assert link.acknowledged == [7]  # a second PUBACK may be for another message under the same number
    assert len(link.published) == 1


def fail(error: Exception) -> Any:
    raise error


# floods and hostile nodes


def test_the_cost_of_a_statement_does_not_grow_with_the_holes_of_its_chain(bench: Bench) -> None:
    node = bench.enrol(3, "n1")

    def cost_s(first: int) -> float:
        raws = [node.read(seq=first + 2 * place, prev=b"\5" * 32) for place in range(200)]
        began = time.perf_counter()
        bench.admit(*raws)
        return time.perf_counter() - began

    cost_s(2)
    few = min(cost_s(1_000 + 1_000 * part) for part in range(3))
    chain = bench.store.chain(node.key, "n1")
    assert chain
    with bench.store.transaction():
        for seq in range(100_000, 140_000, 2):
            bench.store.change_runs(chain.id, [], (seq, seq))
    bench.open()
    many = min(cost_s(1_000_000 + 1_000 * part) for part in range(3))
    assert many < 8 * few


def test_long_topics_count_towards_the_quarantine(bench: Bench) -> None:
    with bench.store.transaction():
        for number in range(50):
            raw = number.to_bytes(4, "big")
            bench.store.quarantine(
                Quarantined(raw * 8, 0, "t" * 60_000, 4, raw, "EncodingError", "no statement", False)
            )
        bench.store.trim_quarantine(1 << 20)
    kept = sum(len(row.topic) + len(row.message) + len(row.raw) for row in bench.store.quarantine_rows())
    assert kept <= 1 << 20


def test_junk_does_not_flush_an_equivocation_out_of_the_quarantine(bench: Bench) -> None:
    node, clone = bench.enrol(3, "n1"), Signing(3, "n1")
    bench.admit(node.read(1), clone.read(2))
    bench.admit(*[b"\xff" * 8000 + number.to_bytes(4, "big") for number in range(200)])
    with bench.store.transaction():
        bench.store.trim_quarantine(1 << 20)
    assert bench.store.quarantine_counts().get("Equivocation") == 1


def test_a_node_cannot_take_the_gateways_session(farm: Farm) -> None:
    with gateway(farm) as process:
        wait_for(lambda: "connected to the broker" in process.said, "the gateway runs")
        operator.enrol(farm, Signing(4, "n2").key, "n2")
        thief = paho.Client(CallbackAPIVersion.VERSION2, client_id="earmark-gateway-home", clean_session=False)
        thief.username_pw_set("n2", node_password(farm, Signing(4, "n2").key))
        thief.connect("127.0.0.1", farm.config.broker.port)
        thief.loop_start()
        node = TestNode(farm, farm.config.broker.port, 3, "n1")
        try:
            operator.enrol(farm, node.signing.key, "n1")
            node.say(node.signing.read())
            node.send_until_acknowledged()
        finally:
            node.close()
            thief.disconnect()
            thief.loop_stop()
        assert "lost the broker" not in process.said


def test_an_idle_step_does_not_read_all_anchors_ever_made(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.log.seal()
    done = AnchorRow(
        "test:1", "fake", "test:1", 0, b"h" * 32, "final", evidence=b"e" * 4000, planned_at_ms=bench.now_ms
    )
    with bench.store.transaction():
        for height in range(100):
            bench.store.put_anchor(replace(done, height=height))
    read: list[AnchorRow] = []
    real = bench.store.anchor_rows

    def counted(*args: Any, **named: Any) -> list[AnchorRow]:
        rows = real(*args, **named)
        read.extend(rows)
        return rows

    monkeypatch.setattr(bench.store, "anchor_rows", counted)
    Anchoring(bench.store, FakeTarget(), Plan(60), lambda: bench.now_ms).step()  # type: ignore[arg-type]
    assert len(read) < 5


# the store fails


def interrupted(store: SqliteStore) -> Callable[[], None]:
    """Let every statement of the connection fail with an `OperationalError`; call the result to end that."""
    store._db.set_progress_handler(lambda: 1, 1)
    return lambda: store._db.set_progress_handler(None, 0)


@pytest.mark.parametrize("method", ["retry", "take_submissions"])
def test_a_read_that_fails_is_a_store_error(bench: Bench, method: str) -> None:
    mend = interrupted(bench.store)
    with pytest.raises(StoreError):
        getattr(bench.log, method)()
    mend()
    assert getattr(bench.log, method)() == []


def test_housekeeping_trims_in_one_transaction(farm: Farm) -> None:
    made, _ = still(farm)
    made._broker = None
    seen: list[str] = []
    made._log.admit([receive(number.to_bytes(4, "big"), "t", 0) for number in range(20)])
    made._config = replace(made._config, ingest=replace(made._config.ingest, quarantine_mb=0))
    made._store._db.set_trace_callback(seen.append)
    made._keep_house()
    made._store._db.set_trace_callback(None)
    first = next(place for place, sql in enumerate(seen) if sql.startswith("DELETE FROM quarantine"))
    assert "BEGIN IMMEDIATE" in seen[:first]


def test_a_full_disk_in_housekeeping_does_not_end_the_gateway(farm: Farm) -> None:
    made, _ = still(farm)
    made._broker = None
    made._log.admit([receive(number.to_bytes(4, "big"), "t", 0) for number in range(20)])
    made._config = replace(made._config, ingest=replace(made._config.ingest, quarantine_mb=0))
    made._store._db.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError):
        made._keep_house()


def test_how_much_waits_at_a_node_is_shown_as_it_says(farm: Farm) -> None:
    node = enrolled(farm)
    gateway, _ = still(farm)
    base = {-2: "n1/", -3: NOW_S, 0: "outbox", 1: "count"}
    said: list[dict[int, Any]] = [{2: 7}, {3: "seven"}, {4: True}, {2: 9}]
    raws = [node.say([base | value], boot_count=1, method=0) for value in said]

    def shown(*some: bytes) -> float | None:
        gateway._next_outbox_s.clear()
        gateway._turn([message(raw, 1) for raw in some])
        return gateway._metrics.registry.get_sample_value("earmark_node_outbox", {"node": "n1"})

    assert shown(node.read()) is None
    assert [shown(raw) for raw in raws] == [7, 7, 7, 9]
    assert shown(raws[0]) == 9, "what came before says nothing new"


def test_readings_that_failed_at_a_node_are_counted(farm: Farm) -> None:
    node = enrolled(farm)
    gateway, _ = still(farm)
    first = {-2: "n1/", -3: NOW_S, 0: "air/error", 3: "crc"}
    some = [node.say([first, {0: "a", 2: 1}, {0: "b/error", 3: "no-answer"}], boot_count=1, method=0), node.read()]

    def shown() -> float | None:
        gateway._turn([message(raw, 1) for raw in some])
        return gateway._metrics.registry.get_sample_value("earmark_node_failed_readings_total", {"node": "n1"})

    assert [shown(), shown()] == [2, 2], "what came before failed once"


def test_a_word_on_presence_while_the_store_fails_keeps_no_statement_from_the_intake(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = enrolled(farm)
    gateway, _ = still(farm)

    def fail(*_: object) -> None:
        raise StoreError("cannot read")

    monkeypatch.setattr(gateway._log, "_stale", True)  # as a write that failed leaves it
    monkeypatch.setattr(gateway._store, "newest_block", fail)
    taken: list[Message] = []
    monkeypatch.setattr(gateway._intake, "take", taken.extend)
    said, _ = message(node.read(), 2)
    gateway._take([Message("earmark/v1/home/n1/status", b"online", 1, 1, 1), said])
    assert taken == [said]
