"""The anchor state machine where a target, a row or the money is not as it should be: nothing else suffers."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from anchor_fakes import BLOCK, FakeTarget, machine, row
from earmark.anchor.target import Deferred, Progress, Signed
from earmark.anchoring import DAY_MS, Anchoring, Plan
from earmark.errors import CorruptLog, EncodingError, StoreError
from farm import Bench, new_store


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(new_store(tmp_path)).found()
    bench.log.seal()
    return bench


def telling(bench: Bench, target: FakeTarget, plan: Plan) -> tuple[Anchoring, list[str]]:
    told: list[str] = []
    return Anchoring(bench.store, target, plan, lambda: bench.now_ms, lambda event, _: told.append(event)), told


def test_what_a_pool_takes_and_drops_is_sent_ever_less_often_and_replaced_in_time(bench: Bench) -> None:
    target = FakeTarget()
    target.price = 100
    anchoring, told = telling(bench, target, Plan(1 << 40, replace_after_s=1800))
    for second in range(1900):
        target.states.clear()
        anchoring.step()
        bench.now_ms += 1000
        assert second < 1700 or len(target.sent) < 50
        if "replaced" in told:
            break
    assert 1800 <= second < 1900
    assert row(bench).payload.endswith(b"+")
    for _ in range(3):
        bench.now_ms += 61_000
        anchoring.step()
    assert (row(bench).state, target.sent[-1], row(bench).attempts) == ("broadcast", row(bench).payload, 0)


def test_what_a_pool_drops_is_sent_again_also_while_no_higher_fee_may_be_paid(bench: Bench) -> None:
    target = FakeTarget()
    target.price = 100
    anchoring, told = telling(bench, target, Plan(1 << 40, replace_after_s=1800, month_budget=150))
    for _ in range(120):
        target.states.clear()
        anchoring.step()
        bench.now_ms += 61_000
    assert "replaced" not in told
    assert "is more than 150" in row(bench).reason or row(bench).state == "broadcast"
    assert len(target.sent) > 40
    assert len(set(target.sent)) == 1


@pytest.mark.parametrize("state", ["broadcast", "final"])
def test_a_payload_that_nobody_can_read_keeps_only_itself_from_coming_on(bench: Bench, state: str) -> None:
    target = FakeTarget()
    target.place = replace(FakeTarget.place, at_once=2)
    anchoring = machine(bench, target)
    anchoring.step()
    bench.store.put_anchor(replace(row(bench), state=state))
    bench.enrol(3, "n1")
    bench.log.seal()
    bench.now_ms += 600_000
    poll, first = target.poll, row(bench).payload

    def reads(payload: bytes) -> Progress:
        if payload == first:
            raise EncodingError("the payload is cut short")
        return poll(payload)

    target.poll = reads  # type: ignore[method-assign]
    anchoring.step()
    ill, well = bench.store.anchor_rows()
    assert (ill.state, well.state) == (state, "broadcast")
    assert state == "final" or (ill.reason, ill.attempts) == ("the payload is cut short", 1)


@pytest.mark.parametrize("error", [StoreError, CorruptLog])
def test_a_store_that_cannot_write_ends_the_step(bench: Bench, error: type[Exception]) -> None:
    target = FakeTarget()

    def fails(payload: bytes) -> bytes:
        raise error("the disk is full")

    target.send = fails  # type: ignore[method-assign]
    with pytest.raises(error):
        machine(bench, target).step()


@pytest.mark.parametrize("state", ["signed", "mined", "final"])
def test_a_name_that_the_settings_give_to_another_chain_leaves_the_anchors_of_the_former_alone(
    bench: Bench, state: str
) -> None:
    former, target = FakeTarget(), FakeTarget()
    machine(bench, former).step()
    bench.store.put_anchor(replace(row(bench), state=state, evidence=b"evidence"))
    before = row(bench)
    target.place = replace(FakeTarget.place, chain="test:2")
    anchoring = machine(bench, target)
    for _ in range(3):
        bench.now_ms += 600_000
        anchoring.step()
    assert replace(row(bench), reason="", changed_at_ms=0) == replace(before, reason="", changed_at_ms=0)
    assert target.sent == []
    if state != "final":
        assert "signed for test:1 (fake), and test:1 is test:2 (fake) by now" in row(bench).reason
        assert row(bench).changed_at_ms == before.changed_at_ms + 600_000  # written once
        machine(bench, former).step()
        assert row(bench).state == "broadcast"  # with its settings back it comes on


def test_what_was_put_off_for_a_month_and_then_paid_counts_from_when_it_was(bench: Bench) -> None:
    target = FakeTarget()
    target.price = 300
    terms = Plan(3600, month_budget=250)
    anchoring = Anchoring(bench.store, target, terms, lambda: bench.now_ms)
    anchoring.step()
    assert row(bench).state == "planned"
    bench.now_ms += 31 * DAY_MS
    target.price = 200
    anchoring.step()
    target.states[row(bench).payload] = "final"
    anchoring.step()
    bench.enrol(3, "n1")
    bench.log.seal()
    for days, reason in ((1, "200 is more than 50"), (29, "")):
        bench.now_ms += days * DAY_MS + 1
        anchoring.step()
        assert bench.store.anchor_rows()[-1].reason == reason


def test_a_failure_whose_numbers_change_is_told_of_once_an_hour(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    target = FakeTarget()
    anchoring, told = telling(bench, target, Plan(60))
    sign: Callable[[bytes, int], Signed] = target.sign

    def defers(digest: bytes, most: int) -> Signed:
        raise Deferred(f"it asks {bench.now_ms} gwei")

    target.sign = defers  # type: ignore[method-assign]
    with caplog.at_level(logging.WARNING):
        for _ in range(150):
            bench.now_ms += 60_000
            anchoring.step()
    assert told == ["deferred"] * len(caplog.records) == ["deferred"] * 3
    assert row(bench).reason == f"it asks {bench.now_ms} gwei"
    target.sign, target.fail = sign, ("sign", False)  # type: ignore[method-assign]
    bench.now_ms += 60_000
    anchoring.step()
    assert told[3:] == ["failed"]  # another kind is told of at once


@pytest.mark.parametrize("state", ["mined", "final"])
def test_an_anchor_that_moves_to_another_block_is_said_to_and_costs_what_it_cost_there(
    bench: Bench, state: str
) -> None:
    target = FakeTarget()
    anchoring, told = telling(bench, target, Plan(1 << 40))
    anchoring.step()
    target.states[row(bench).payload] = "mined"
    anchoring.step()
    found = Progress(state, "ref", replace(BLOCK, number=8), 1, b"of another block", 77)  # type: ignore[arg-type]
    target.poll = lambda payload: found  # type: ignore[method-assign]
    bench.now_ms += 5000
    anchoring.step()
    assert (row(bench).state, row(bench).evidence, row(bench).cost) == (state, b"of another block", 77)
    assert (row(bench).state_at_ms, told) == (bench.now_ms, ["reorganised"])
    anchoring.step()
    assert told == ["reorganised"]
