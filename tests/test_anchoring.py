"""The anchor state machine against a target that fails at every step, on purpose."""

from dataclasses import replace
from pathlib import Path

import pytest

from anchor_fakes import FakeTarget, machine, row
from earmark.anchor.target import State
from earmark.anchoring import Anchoring, Plan, is_overdue, plan
from farm import Bench, new_store


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(new_store(tmp_path)).found()
    bench.log.seal()
    return bench


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
        bench.now_ms += 2000
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
    place = FakeTarget.place
    assert plan(bench.store, place, bench.now_ms)
    assert plan(bench.store, place, bench.now_ms) is None
    bench.enrol(3, "n1")
    bench.log.seal()
    assert plan(bench.store, place, bench.now_ms) is None  # the first is still under way
    assert plan(bench.store, replace(place, name="test:2"), bench.now_ms)  # another target is on its own


def test_overdue_is_said_of_what_is_not_final_in_time(bench: Bench) -> None:
    machine(bench, FakeTarget()).step()
    assert not is_overdue(row(bench), 100, bench.now_ms + 100_000)
    assert is_overdue(row(bench), 100, bench.now_ms + 100_001)


def test_one_that_no_block_takes_is_sent_with_a_higher_fee_and_both_are_looked_for(bench: Bench) -> None:
    target, told = FakeTarget(), []
    target.price = 100
    terms = Plan(60, overdue_s=100, replace_after_s=30, month_budget=1000)
    anchoring = Anchoring(bench.store, target, terms, lambda: bench.now_ms, lambda event, _: told.append(event))
    anchoring.step()
    first = row(bench).payload
    bench.now_ms += 29_000
    anchoring.step()
    assert (row(bench).payload, told) == (first, [])
    bench.now_ms += 1_000
    anchoring.step()
    assert (row(bench).state, row(bench).payload, row(bench).cost) == ("signed", first + b"+", 200)
    assert told == ["replaced"]
    for _ in range(200):  # 400, 800, and then the budget ends it
        bench.now_ms += 31_000
        anchoring.step()
    assert row(bench).cost == 800
    assert "is more than 1000" in row(bench).reason
    assert set(target.sent) == {first, first + b"+", first + b"++", first + b"+++"}
    target.states[row(bench).payload] = "final"
    bench.now_ms += 61_000
    anchoring.step()
    assert row(bench).state == "final"


@pytest.mark.parametrize("state", ["mined", "final", "void"])
def test_a_payload_that_the_network_refuses_may_be_settled_already(bench: Bench, state: State) -> None:
    target = FakeTarget()
    anchoring = machine(bench, target)
    for _ in range(3):
        target.fail = "send", False
        payload = row(bench).payload if bench.store.anchor_rows() else b""
        if payload:
            target.states[payload] = state
        bench.now_ms += 10_000
        anchoring.step()
    assert row(bench).state == ("signed" if state == "void" else state)  # signed anew, and refused on purpose
    assert target.signed == (2 if state == "void" else 1)


def test_one_that_pays_too_little_to_be_taken_at_all_is_signed_with_a_higher_fee(bench: Bench) -> None:
    target = FakeTarget()
    target.price = 100
    anchoring = machine(bench, target)
    for _ in range(40):
        target.fail = "send", False
        anchoring.step()
        bench.now_ms += 60_000
    assert row(bench).payload.endswith(b"+")
    target.fail = None
    anchoring.step()
    assert row(bench).state == "broadcast"


def test_the_budget_is_for_any_thirty_days_and_counts_what_is_under_way(bench: Bench) -> None:
    target = FakeTarget()
    target.price = 100
    terms = Plan(60, month_budget=250)
    anchoring = Anchoring(bench.store, target, terms, lambda: bench.now_ms)
    for height in range(3):
        anchoring.step()
        rows = bench.store.anchor_rows()
        assert len(rows) == height + 1
        if rows[-1].payload:
            target.states[rows[-1].payload] = "final"
        anchoring.step()
        bench.enrol(height + 3, f"n{height}")
        bench.log.seal()
        bench.now_ms += 60_000
    last = bench.store.anchor_rows()[-1]
    assert (last.height, last.state, last.reason) == (2, "planned", "100 is more than 50")
    bench.now_ms += 30 * 24 * 3_600_000
    anchoring.step()
    assert bench.store.anchor_rows()[-1].state == "broadcast"


@pytest.mark.parametrize("state", ["unknown", "pending"])
def test_a_chain_that_goes_back_behind_a_final_anchor_is_noticed(bench: Bench, state: State) -> None:
    target, told = FakeTarget(), []
    anchoring = Anchoring(bench.store, target, Plan(3600), lambda: bench.now_ms, lambda event, _: told.append(event))
    for _ in range(2):
        anchoring.step()
        target.states[row(bench).payload] = "final"
    assert row(bench).state == "final"
    bench.now_ms += 600_000
    anchoring.step()
    assert row(bench).state == "final"
    target.states[row(bench).payload] = state
    bench.now_ms += 600_000
    anchoring.step()
    assert told[0] == "reorganised"
    assert row(bench).state in ("broadcast", "signed")
    target.states[row(bench).payload] = "final"
    for _ in range(2):
        bench.now_ms += 10_000
        anchoring.step()
    assert row(bench).state == "final"


def test_a_chain_that_goes_back_and_comes_on_again_meanwhile_is_noticed_too(bench: Bench) -> None:
    target, told = FakeTarget(), []
    anchoring = Anchoring(bench.store, target, Plan(3600), lambda: bench.now_ms, lambda event, _: told.append(event))
    for _ in range(2):
        anchoring.step()
        target.states[row(bench).payload] = "final"
    target.evidence = b"of another block"
    for state in ("final", "mined"):
        target.states[row(bench).payload] = state
        bench.now_ms += 600_000
        anchoring._recheck()
        assert (row(bench).state, row(bench).evidence) == (state, b"of another block")
    target.states[row(bench).payload] = "final"
    anchoring.step()
    target.states[row(bench).payload] = "void"
    bench.now_ms += 600_000
    anchoring._recheck()
    assert (row(bench).state, row(bench).payload) == ("planned", b"")
    assert told == ["reorganised", "reorganised", "reorganised", "voided"]


def test_calendars_have_several_under_way(bench: Bench) -> None:
    target = FakeTarget()
    target.place = replace(FakeTarget.place, at_once=2)
    anchoring = Anchoring(bench.store, target, Plan(60), lambda: bench.now_ms)
    for height in range(3):
        anchoring.step()
        bench.enrol(height + 3, f"n{height}")
        bench.log.seal()
        bench.now_ms += 60_000
    anchoring.step()
    assert [(r.height, r.state) for r in bench.store.anchor_rows()] == [(0, "broadcast"), (1, "broadcast")]
    target.states[target.sent[0]] = "final"
    for _ in range(2):
        anchoring.step()
    assert [r.state for r in bench.store.anchor_rows()] == ["final", "broadcast", "broadcast"]


def test_calendars_that_forget_keep_no_new_anchor_waiting_for_good(bench: Bench) -> None:
    """What is overdue does not count, up to as many again."""
    target = FakeTarget()
    target.place = replace(FakeTarget.place, at_once=2)
    anchoring = machine(bench, target)
    planned = []
    for height in range(8):
        anchoring.step()
        planned.append(len(bench.store.anchor_rows()))
        bench.enrol(height + 3, f"n{height}")
        bench.log.seal()
        bench.now_ms += 60_000
    assert planned == [1, 2, 3, 4, 4, 4, 4, 4]


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_free_anchor_that_is_overdue_is_handed_in_again_where_it_may_be_forgotten(bench: Bench, at_once: int) -> None:
    target = FakeTarget()
    target.place = replace(FakeTarget.place, at_once=at_once)
    anchoring = machine(bench, target, every_s=10**6)
    anchoring.step()
    bench.now_ms += 99_000
    anchoring.step()
    first = row(bench).payload
    assert target.sent == [first]
    for _ in range(2):
        bench.now_ms += 1_000
        anchoring.step()
    assert target.sent == ([first] if at_once == 1 else [first, first + b"+"])
    assert row(bench).state == "broadcast"
