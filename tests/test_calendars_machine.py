"""Anchoring through calendars as the state machine does it: over a real store, with a crash at every step."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import calendar_fakes as fakes
from calendar_fakes import Reply, Scene
from earmark.anchor import stamp
from earmark.anchoring import Anchoring, Plan
from earmark.evidence import check
from earmark.evidence.bitcoin import decode_ots
from earmark.store import AnchorRow
from farm import Bench, new_store


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    with fakes.serving(*made.calendars):
        yield made


class Crash(BaseException):
    """The process ends here."""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(new_store(tmp_path)).found()
    made.log.seal()
    return made


def only(bench: Bench) -> AnchorRow:
    [row] = bench.store.anchor_rows()
    return row


@pytest.mark.parametrize("crash_at", range(12))
@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_step_loses_nothing(scene: Scene, bench: Bench, crash_at: int, after: bool) -> None:
    """The process ends at the nth step, before or after its effect, and goes on from the store."""
    steps = 0

    def crashing(act: Callable[..., object]) -> Callable[..., object]:
        def step(*given: object) -> object:
            nonlocal steps
            steps += 1
            if steps - 1 == crash_at and not after:
                raise Crash
            result = act(*given)
            if steps - 1 == crash_at:
                raise Crash
            return result

        return step

    def machine() -> Anchoring:
        target = scene.open()
        for name in ("sign", "send", "poll"):
            setattr(target, name, crashing(getattr(target, name)))
        return Anchoring(bench.store, target, Plan(60), lambda: bench.now_ms)

    bench.store.put_anchor = crashing(bench.store.put_anchor)  # type: ignore[method-assign]
    anchoring = machine()
    for turn in range(16):
        try:
            anchoring.step()
        except Crash:
            anchoring = machine()
        if turn == 4:
            scene.calendars[turn % 3].complete()
        if turn > 6:
            scene.chain.mine()
        bench.now_ms += 1000
        scene.clock.now_s += 61
    row = only(bench)
    assert row.state == "final"
    block = check(row.kind, row.chain, row.evidence, row.block_hash)
    assert decode_ots(row.evidence)[1] == scene.chain.headers[block.number]


def test_a_late_calendar_is_kept_in_the_store(scene: Scene, bench: Bench) -> None:
    for calendar in scene.calendars[:2]:
        calendar.posts = [lambda _: Reply(500)]
    anchoring = Anchoring(bench.store, scene.target, Plan(60), lambda: bench.now_ms)
    anchoring.step()
    assert set(stamp.decode(only(bench).payload).answers) == {scene.calendars[2].url}
    for _ in range(3):
        bench.now_ms += 61_000
        scene.clock.now_s += 61
        anchoring.step()
    assert len(stamp.decode(only(bench).payload).answers) == 3


def test_a_final_anchor_that_the_chain_takes_back_is_found_again(scene: Scene, bench: Bench) -> None:
    told: list[str] = []
    anchoring = Anchoring(
        bench.store, scene.target, Plan(10**6), lambda: bench.now_ms, lambda said, _: told.append(said)
    )

    def pass_time(seconds: int) -> None:
        bench.now_ms += 1000 * seconds
        scene.clock.now_s += seconds
        anchoring.step()

    anchoring.step()
    scene.calendars[0].complete()
    pass_time(61)
    scene.chain.mine(count=5)
    pass_time(61)
    assert only(bench).state == "final"
    scene.chain.drop(6)
    scene.chain.mine(count=9)
    scene.calendars[0].undo()
    pass_time(601)
    assert (only(bench).state, told) == ("broadcast", ["reorganised"])
    scene.calendars[0].complete()
    scene.chain.mine(count=5)
    pass_time(61)
    pass_time(61)
    assert only(bench).state == "final"


def test_two_days_of_nothing_ask_each_calendar_every_five_minutes_at_most(scene: Scene, bench: Bench) -> None:
    anchoring = Anchoring(bench.store, scene.open(ask_every_s=300), Plan(10**6), lambda: bench.now_ms)
    for _ in range(600):
        anchoring.step()
        bench.now_ms += 10_000
        scene.clock.now_s += 10
    assert all(len(calendar.requests) <= 1 + 21 for calendar in scene.calendars)
    changed = only(bench).changed_at_ms
    anchoring.step()
    assert only(bench).changed_at_ms == changed  # nothing new, nothing written


def test_a_digest_that_its_only_taker_forgot_is_given_to_all_again(scene: Scene, bench: Bench) -> None:
    lost, *refusing = scene.calendars
    lost.forgets = True
    for calendar in refusing:
        calendar.posts = [lambda _: Reply(500)] * 10**4
    anchoring = Anchoring(bench.store, scene.target, Plan(10**9, overdue_s=7200), lambda: bench.now_ms)

    def pass_time(seconds: int) -> None:
        for _ in range(seconds // 100):
            bench.now_ms += 100_000
            scene.clock.now_s += 100
            anchoring.step()

    anchoring.step()
    pass_time(7_100)
    assert len(lost.digests) == 1
    pass_time(2 * 7_200)
    assert len(lost.digests) == 3
    kept = stamp.decode(only(bench).payload)
    assert [len(kept.answers[name]) for name in (stamp.EARLIER, lost.url)] == [2, 1]
    lost.forgets = False
    pass_time(7_200)
    lost.complete()
    scene.chain.mine(count=5)
    pass_time(200)
    assert only(bench).state == "final"


def test_the_answer_before_counts_too_where_the_digest_was_given_again(scene: Scene) -> None:
    payload = scene.send()
    scene.calendars[1].complete()
    first = scene.target.replace(payload, 0).payload
    for calendar in scene.calendars:
        calendar.posts = [lambda _: Reply(500)]
    scene.clock.now_s += 61
    payload, progress = scene.poll(scene.target.send(first), 61)
    assert progress.state == "mined"
    assert progress.reference.startswith(f"{scene.calendars[1].url}/timestamp/")
    for _ in range(9):
        payload = scene.target.replace(payload, 0).payload
    assert len(stamp.decode(payload).pending()) == 6
    many = stamp.Stamp(bytes(32), {str(at): tuple(w for _, w in stamp.decode(first).pending()) for at in range(9)})
    assert len(many.anew().anew().pending()) == stamp.MAX_EARLIER
