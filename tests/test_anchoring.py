"""The anchor state machine against a target that fails at every step, on purpose."""

from collections.abc import Callable
from pathlib import Path

import pytest

from earmark.anchor.target import Progress, State
from earmark.anchoring import Anchoring, Plan, is_overdue, plan
from earmark.errors import AnchorError
from earmark.evidence import ChainBlock
from earmark.store import AnchorRow
from farm import Bench, new_store

BLOCK = ChainBlock("test:1", 7, b"\1" * 32, 1_790_000_000)


class FakeTarget:
    """A target in memory: `fail` names the method that fails next, before or after its effect."""

    name = "test:1"
    kind = "fake"

    def __init__(self) -> None:
        self.signed = 0
        self.sent: list[bytes] = []
        self.states: dict[bytes, State] = {}
        self.fail: tuple[str, bool] | None = None

    def _run(self, method: str, effect: Callable[[], None]) -> None:
        fails = self.fail is not None and self.fail[0] == method
        after = fails and self.fail is not None and self.fail[1]
        if not fails or after:
            effect()
        if fails:
            self.fail = None
            raise AnchorError(f"{method} failed on purpose")

    def sign(self, digest: bytes) -> bytes:
        self.signed += 1
        payload = digest + bytes([self.signed])
        self._run("sign", lambda: None)
        return payload

    def send(self, payload: bytes) -> bytes:
        def put() -> None:
            self.sent.append(payload)
            self.states.setdefault(payload, "pending")

        self._run("send", put)
        return payload

    def poll(self, payload: bytes) -> Progress:
        self._run("poll", lambda: None)
        state = self.states.get(payload, "unknown")
        found = state in ("mined", "final")
        return Progress(state, "ref-" + payload[-1:].hex(), BLOCK if found else None, 1, b"evidence" if found else None)

    def replace(self, payload: bytes) -> bytes:
        raise AnchorError("never asked for here")

    def head(self) -> tuple[ChainBlock, bytes]:
        return BLOCK, b""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(new_store(tmp_path)).found()
    bench.log.seal()
    return bench


def machine(bench: Bench, target: FakeTarget, every_s: int = 60) -> Anchoring:
    return Anchoring(bench.store, target, Plan(every_s, overdue_s=100), lambda: bench.now_ms)


def row(bench: Bench) -> AnchorRow:
    [found] = bench.store.anchor_rows()
    return found


def test_a_block_becomes_final_and_the_next_waits_for_its_time(bench: Bench) -> None:
    target = FakeTarget()
    anchoring = machine(bench, target)
    anchoring.step()
    payload = target.sent[0]
    assert (row(bench).state, row(bench).payload) == ("broadcast", payload)
    for state in ("mined", "final"):
        target.states[payload] = state
        anchoring.step()
        assert (row(bench).state, row(bench).evidence) == (state, b"evidence")
    bench.enrol(3, "n1")
    bench.log.seal()
    anchoring.step()
    assert len(bench.store.anchor_rows()) == 1
    bench.now_ms += 60_000
    anchoring.step()
    assert [r.height for r in bench.store.anchor_rows()] == [0, 1]
    assert [r.height for r in bench.store.final_anchors(0)] == [0]


@pytest.mark.parametrize("method", ["sign", "send", "poll"])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("restart", [False, True])
def test_a_step_that_fails_is_tried_again_with_the_same_payload(
    bench: Bench, method: str, after: bool, restart: bool
) -> None:
    target = FakeTarget()
    target.fail = method, after
    anchoring = machine(bench, target)
    anchoring.step()
    if method == "poll":
        anchoring.step()
    assert "on purpose" in row(bench).reason
    for _ in range(4):
        bench.now_ms += 2000  # after a failure it waits a little
        if restart:
            anchoring = machine(bench, target)
        anchoring.step()
        if row(bench).payload:
            target.states[row(bench).payload] = "final"
    assert row(bench).state == "final"
    assert row(bench).reason == ""
    assert len(set(target.sent)) == 1


def test_a_payload_that_got_lost_is_sent_again_in_the_same_bytes(bench: Bench) -> None:
    target = FakeTarget()
    anchoring = machine(bench, target)
    anchoring.step()
    target.states.clear()
    for _ in range(2):
        anchoring.step()
    assert len(target.sent) == 2
    assert len(set(target.sent)) == 1
    assert row(bench).state == "broadcast"


def test_a_void_payload_is_signed_anew_and_a_reorganised_one_waits(bench: Bench) -> None:
    target = FakeTarget()
    anchoring = machine(bench, target)
    anchoring.step()
    first = target.sent[0]
    target.states[first] = "mined"
    anchoring.step()
    target.states[first] = "pending"
    anchoring.step()
    assert (row(bench).state, row(bench).evidence) == ("broadcast", b"")
    assert "reorganised" in row(bench).reason
    target.states[first] = "void"
    anchoring.step()
    assert row(bench).state == "planned"
    anchoring.step()
    assert len(set(target.sent)) == 2


def test_a_target_that_keeps_failing_is_asked_less_and_less_often(bench: Bench) -> None:
    target = FakeTarget()
    anchoring = machine(bench, target)
    for second in range(600):
        target.fail = "sign", False
        anchoring.step()
        bench.now_ms += 1000
        assert row(bench).attempts == target.signed, second
    assert 12 < target.signed < 20
    bench.now_ms -= 10**10  # a clock that went back puts nothing off
    target.fail = None
    anchoring.step()
    assert row(bench).state == "broadcast"


def test_one_anchor_at_a_time_and_none_twice(bench: Bench) -> None:
    assert plan(bench.store, "test:1", "fake", bench.now_ms)
    assert plan(bench.store, "test:1", "fake", bench.now_ms) is None
    bench.enrol(3, "n1")
    bench.log.seal()
    assert plan(bench.store, "test:1", "fake", bench.now_ms) is None  # the first is still under way
    assert plan(bench.store, "test:2", "fake", bench.now_ms)  # another target is on its own


def test_overdue_is_said_of_what_is_not_final_in_time(bench: Bench) -> None:
    machine(bench, FakeTarget()).step()
    assert not is_overdue(row(bench), 100, bench.now_ms + 100_000)
    assert is_overdue(row(bench), 100, bench.now_ms + 100_001)
