"""The way in: order, bounds, and verifier processes that die, hang, cannot be started, or meet a poison."""

import asyncio
import contextlib
import gc
import os
import random
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
import pytest

from earmark import intake
from earmark import intake as intake_module
from earmark.config import Farm
from earmark.errors import BadSignature, EncodingError
from earmark.gateway import Gateway
from earmark.intake import ATTEMPTS, BATCH, GATHER_S, OVERHEAD, Intake, Verified, Verifiers, verifiers_for_this_machine
from earmark.mqtt import Message
from earmark.verifier import examine
from farm import Signing
from services import free_port, make_farm

WAIT_S = 60.0
POISON, STALL, SLOW = b"a poison", b"a stall", b"slow "

# Laid before the verifiers' own modules, it stands for a decoder with a fault.
HOOK = """
import os, time
from pathlib import Path

from earmark import recognise as module

real, marker = module.recognise, Path({marker!r})

def recognise(raw):
    if raw == b"a poison":
        os._exit(1)
    if raw == b"a stall" and not marker.exists():
        marker.with_suffix(".part").write_text(str(os.getpid()))
        marker.with_suffix(".part").rename(marker)
        time.sleep(600)
    if raw[:5] == b"slow ":
        time.sleep(0.1)
    return real(raw)

module.recognise = recognise
"""


@pytest.fixture
def hooked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give verifiers a faulty decoder; return the file in which a stalled one leaves its process number."""
    marker = tmp_path / "stalled"
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(HOOK.format(marker=str(marker)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hook"))
    return marker


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    before = set(psutil.Process().children(recursive=True))
    yield
    gc.collect()  # what was not closed warns, and a warning fails
    assert not set(psutil.Process().children(recursive=True)) - before


@pytest.fixture
async def verifiers() -> AsyncIterator[Verifiers]:
    made = Verifiers(2)
    await made.start()
    yield made
    made.stop()
    await asyncio.sleep(0)


class Way:
    """An intake that notes whom it held and what it dropped."""

    def __init__(self, verifiers: Verifiers, most_a_minute: int = 1_000_000) -> None:
        self.held: list[bool] = []
        self.dropped: list[Message] = []
        self.intake = Intake(verifiers, most_a_minute, self.held.append, self.dropped.extend)

    async def collect(self, count: int) -> list[Verified]:
        """Collect so many."""
        verified: list[Verified] = []
        async with asyncio.timeout(WAIT_S):
            while len(verified) < count:
                verified += await self.intake.collect(0.5)
        return verified


def messages(raws: list[bytes], topic: str = "earmark/v1/home/n1/up") -> list[Message]:
    return [Message(topic, raw, number % 65_535 + 1, 1, 1) for number, raw in enumerate(raws)]


def statements(count: int) -> list[bytes]:
    """Good ones, forged ones and junk, each its own."""
    node, draw = Signing(3, "n1"), random.Random(4)
    raws = []
    for number in range(count):
        raw = node.read(number)
        raws.append(draw.choice((raw, raw, raw[:-1] + bytes([raw[-1] ^ 1]), b"junk %d" % number)))
    return raws


def assert_verdicts(verified: list[Verified], raws: list[bytes]) -> None:
    """In order, each as this process would judge it."""
    assert [message.payload for message, _ in verified] == raws
    for message, (claims, error) in verified:
        expected, refusal = examine(message.payload)
        assert (claims, type(error), str(error)) == (expected, type(refusal), str(refusal))


def children() -> list[psutil.Process]:
    found = []
    for each in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # it just ended
            found += [each] * ("earmark.verifier" in each.cmdline())
    return found


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.01)


# order and verdicts


async def test_every_verdict_comes_back_in_order_over_several_processes(hooked: Path, verifiers: Verifiers) -> None:
    raws = statements(3000)
    for at in range(0, len(raws), 700):
        raws[at] = SLOW + b"%d" % at  # its batch is done after the ones behind it
    way, draw = Way(verifiers), random.Random(5)
    waiting = messages(raws)
    while waiting:
        size = draw.choice((1, 10, 400))
        way.intake.take(waiting[:size])
        del waiting[:size]
        await asyncio.sleep(0)
    verified = await way.collect(len(raws))
    assert_verdicts(verified, raws)
    kinds = {type(error) for _, (_, error) in verified}
    assert kinds == {type(None), BadSignature, EncodingError}
    assert (verifiers.restarts, way.intake._bytes, way.dropped, way.held) == (0, 0, [], [])


async def test_collect_returns_in_time_where_nothing_comes(verifiers: Verifiers) -> None:
    way = Way(verifiers)
    async with asyncio.timeout(5):
        assert await way.intake.collect(0.01) == []


async def test_a_lone_statement_waits_for_nothing(verifiers: Verifiers) -> None:
    way = Way(verifiers)
    raw = Signing(3, "n1").read()
    way.intake.take(messages([raw]))
    async with asyncio.timeout(10):
        assert_verdicts(await way.intake.collect(WAIT_S), [raw])


# processes that end


async def test_a_verifier_killed_in_mid_batch_costs_no_verdict(hooked: Path, verifiers: Verifiers) -> None:
    raws = statements(500)
    raws[100] = STALL
    way = Way(verifiers)
    way.intake.take(messages(raws))
    await until(hooked.exists)
    os.kill(int(hooked.read_text()), signal.SIGKILL)
    assert_verdicts(await way.collect(len(raws)), raws)
    assert verifiers.restarts == 1
    assert len(children()) == verifiers.count


async def test_kills_at_any_moment_cost_no_verdict(verifiers: Verifiers) -> None:
    raws = statements(2000)
    way, draw = Way(verifiers), random.Random(6)
    way.intake.take(messages(raws))
    verified: list[Verified] = []
    kills = 0
    async with asyncio.timeout(WAIT_S):
        while len(verified) < len(raws):
            alive = children()
            if alive and kills < 6:
                kills += 1
                draw.choice(alive).kill()
            verified += await way.intake.collect(draw.uniform(0, 0.05))
    assert_verdicts(verified, raws)
    assert verifiers.restarts > 0


@pytest.mark.parametrize("count", [1, 5])
async def test_verifiers_that_all_died_while_idle_blame_no_message(count: int) -> None:
    """More of them than a message has attempts."""
    made = Verifiers(count)
    await made.start()
    for child in children():
        child.kill()
        child.wait(10)
    raw = Signing(3, "n1").read()
    assert await made.examine([raw]) == [examine(raw)]
    made.stop()
    await asyncio.sleep(0)


async def test_a_hung_verifier_is_replaced(verifiers: Verifiers, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = children()
    for child in stopped:
        child.suspend()
    monkeypatch.setattr(intake, "HANG_S", 1.5)
    raws = statements(20)
    way = Way(verifiers)
    way.intake.take(messages(raws))
    assert_verdicts(await way.collect(len(raws)), raws)
    assert verifiers.restarts >= 1
    assert any(not child.is_running() for child in stopped)


async def test_a_stall_of_our_own_blames_no_verifier(verifiers: Verifiers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a disk that the writer waited for: the answers are there, and nobody had read them."""
    monkeypatch.setattr(intake, "HANG_S", 1.0)
    raws = statements(20)
    way = Way(verifiers)
    way.intake.take(messages(raws))
    await asyncio.sleep(0)
    time.sleep(1.2)
    assert_verdicts(await way.collect(len(raws)), raws)
    assert verifiers.restarts == 0


async def test_a_poison_is_found_and_the_others_are_verified(hooked: Path, verifiers: Verifiers) -> None:
    raws = statements(64)
    raws[37] = POISON
    way = Way(verifiers)
    way.intake.take(messages(raws))
    verified = await way.collect(len(raws))
    assert_verdicts(verified[:37] + verified[38:], raws[:37] + raws[38:])
    message, (claims, error) = verified[37]
    assert (message.payload, claims, type(error)) == (POISON, None, EncodingError)
    assert "ended or hung" in str(error)
    assert verifiers.restarts == 6 + ATTEMPTS  # 64, 32, 16, 8, 4 and 2 at a time, then alone
    more = statements(10)
    way.intake.take(messages(more))
    assert_verdicts(await way.collect(len(more)), more)


# processes that cannot be started


@pytest.mark.parametrize(
    "command", [["/nowhere/python"], [sys.executable, "-c", "raise SystemExit(1)"]], ids=["no process", "ends at once"]
)
async def test_verifiers_that_cannot_be_started_blame_no_message(
    command: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(intake, "RELAUNCH_S", 0.05)
    made = Verifiers(2)
    with monkeypatch.context() as broken:
        broken.setattr(intake, "bound_to_us", lambda _: command)
        await made.start()
        way, raws = Way(made), statements(30)
        way.intake.take(messages(raws))
        await until(lambda: caplog.text.count("no verifier process starts") >= 2 + 5)
        assert await way.intake.collect(0.01) == []
    assert_verdicts(await way.collect(len(raws)), raws)
    made.stop()
    await asyncio.sleep(0)


async def test_one_verifier_goes_on_where_the_other_cannot_be_replaced(
    verifiers: Verifiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "bound_to_us", lambda _: ["/nowhere/python"])
    monkeypatch.setattr(intake, "RELAUNCH_S", 0.05)
    children()[0].kill()
    way = Way(verifiers)
    for at in range(5):
        raws = [Signing(3, "n1").read(at)]
        way.intake.take(messages(raws))
        assert_verdicts(await way.collect(1), raws)
    assert len(children()) == 1


# bounds


async def test_more_than_the_bound_holds_the_source_until_there_is_room(
    verifiers: Verifiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "HIGH", 100_000)
    monkeypatch.setattr(intake, "LOW", 50_000)
    way = Way(verifiers)
    raws = [b"%05d" % number * 40 for number in range(1000)]
    for at in range(0, 1000, 10):
        way.intake.take(messages(raws[at : at + 10]))
        assert way.held == ([True] if way.intake._bytes > 100_000 or way.held else [])
    assert way.intake._bytes == 1000 * (200 + OVERHEAD)
    assert way.held == [True]
    verified: list[Verified] = []
    while len(verified) < 1000:
        verified += await way.intake.collect(WAIT_S)
        assert way.held == ([True] if way.intake._bytes >= 50_000 else [True, False])
    assert [message.payload for message, _ in verified] == raws
    assert way.held == [True, False]


async def test_a_flood_on_one_topic_takes_nothing_from_the_others(verifiers: Verifiers) -> None:
    way = Way(verifiers, most_a_minute=50)
    way.intake._minute = int(asyncio.get_running_loop().time() // 60)
    flood = messages([b"flood %d" % number for number in range(5000)], "earmark/v1/home/loud/up")
    calm = messages([b"calm %d" % number for number in range(50)], "earmark/v1/home/calm/up")
    for at in range(50):
        way.intake.take([*flood[at * 100 : (at + 1) * 100], calm[at]])
    passed = way.intake._minute
    verified = await way.collect(100)
    assert [message for message, _ in verified if message.topic == calm[0].topic] == calm
    assert [message for message, _ in verified if message.topic != calm[0].topic] == flood[:50]
    assert way.dropped == flood[50:]
    way.intake._minute = passed - 1  # the next minute
    way.intake.take(flood[:1])
    assert [message for message, _ in await way.collect(1)] == flood[:1]


async def test_the_count_of_topics_is_bounded(verifiers: Verifiers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MOST_TOPICS", 100)
    way = Way(verifiers)
    for number in range(1000):
        way.intake.take([Message("t" * 10_000 + str(number), b"", 1, 1, 1)])
    assert len(way.intake._sent) <= 101
    assert sys.getsizeof(way.intake._sent) + sum(map(sys.getsizeof, way.intake._sent)) < 20_000
    await way.collect(1000)


async def test_what_is_beyond_a_nodes_limit_is_acknowledged_to_the_broker_and_counted(tmp_path: Path) -> None:
    farm: Farm = make_farm(tmp_path / "farm", free_port(), embedded=False)
    made, acknowledged = Gateway(farm), list[Message]()
    made._link.acknowledge = acknowledged.extend  # type: ignore[method-assign,assignment]
    most = farm.config.ingest.most_a_minute
    came = messages([b"x"] * (most + 7))
    made._intake.take(came)
    made._intake.forget()
    await asyncio.sleep(0)
    assert acknowledged == came[most:]
    assert made._dropped == {came[0].topic: 7}
    made._store.close()


# the end


@pytest.mark.parametrize("is_busy", [False, True])
async def test_nothing_is_left_after_the_end(hooked: Path, is_busy: bool) -> None:
    made = Verifiers(2)
    await made.start()
    pids = {child.pid for child in children()}
    assert len(pids) == 2
    way = Way(made)
    if is_busy:
        way.intake.take(messages([SLOW] * 20 * BATCH))
        await asyncio.sleep(0.05)
    way.intake.forget()
    made.stop()
    for _ in range(10):
        await asyncio.sleep(0.02)
    assert not children()
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_what_comes_while_the_gateway_ends_starts_no_verifier_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker may take its time over the end of one connection while the other still brings messages."""
    made = Gateway(make_farm(tmp_path / "farm", free_port(), embedded=False))
    stop, launched = threading.Event(), list[bool]()

    async def ends_slowly() -> None:
        try:
            await asyncio.sleep(WAIT_S)
        finally:
            await asyncio.sleep(0.2)

    async def brings_messages() -> None:
        while True:
            made._intake.take(messages([b"junk"]))
            await asyncio.sleep(0.01)

    async def opens() -> intake._Process:
        launched.append(stop.is_set())
        return await real()

    real = intake._open
    monkeypatch.setattr(intake, "_open", opens)
    monkeypatch.setattr(made._memory, "has_answered", True)
    monkeypatch.setattr(made._memory.link, "run", ends_slowly)
    monkeypatch.setattr(made._link, "run", brings_messages)
    serving = asyncio.create_task(made._serve(stop))
    await until(lambda: made._metrics.turned_s is not None)
    stop.set()
    async with asyncio.timeout(WAIT_S):
        await serving
    made._public.stop()
    made._store.close()
    assert launched == [False] * made._verifiers.count
    assert not children()


async def test_a_verifier_ends_by_itself_when_its_gateway_is_gone(verifiers: Verifiers) -> None:
    [child, _] = children()
    for process in list(verifiers._all):
        process._writer.close()
    async with asyncio.timeout(WAIT_S):
        await asyncio.to_thread(child.wait, WAIT_S)


# floods


async def test_a_flood_is_gathered_into_few_large_pieces(verifiers: Verifiers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "GATHERED", 3 * BATCH)
    monkeypatch.setattr(intake_module, "GATHER_S", WAIT_S)
    way, raws = Way(verifiers), [b"junk %d" % number for number in range(9 * BATCH)]
    way.intake.take(messages(raws))
    sizes = [len(await way.intake.collect(WAIT_S)) for _ in range(2)]
    assert min(sizes) >= 3 * BATCH
    assert sum(sizes) + len(await way.collect(9 * BATCH - sum(sizes))) == 9 * BATCH


async def test_what_is_all_there_is_is_not_kept_back_for_more(
    verifiers: Verifiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "GATHER_S", WAIT_S)
    way, raws = Way(verifiers), [b"junk %d" % number for number in range(3 * BATCH + 7)]
    way.intake.take(messages(raws))
    begun = time.monotonic()
    assert len(await way.collect(len(raws))) == len(raws)
    assert time.monotonic() - begun < WAIT_S / 2


async def test_a_flood_waits_no_longer_than_it_may_for_a_slow_batch(hooked: Path, verifiers: Verifiers) -> None:
    """The second batch takes a second and more; the first is not kept back for it."""
    raws = [b"junk %d" % number for number in range(BATCH)] + [SLOW + b"%d" % number for number in range(12)]
    way = Way(verifiers)
    way.intake.take(messages(raws + [b"junk"] * 3 * BATCH))
    begun = time.monotonic()
    first = await way.intake.collect(WAIT_S)
    assert len(first) == BATCH
    assert time.monotonic() - begun < GATHER_S + 0.9
    assert len(first) + len(await way.collect(len(raws) + 3 * BATCH - BATCH)) == len(raws) + 3 * BATCH


def test_a_small_machine_has_fewer_verifiers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    sizes = {64 << 20: 1, 430 << 20: 3, 512 << 20: 4, 4 << 30: 6}
    assert {memory: verifiers_for_this_machine(memory) for memory in sizes} == sizes
