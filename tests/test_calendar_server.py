"""A calendar of our own over loopback: its protocol, its bounds, the end of its process, the stock client."""

import contextlib
import dataclasses
import hashlib
import http.client
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from calendar_fakes import DIGEST, ChainSource, Clock
from calendar_scene import Running, answers, serve
from earmark import ots
from earmark.anchor.calendars import CalendarsTarget
from earmark.anchor.headers import Headers
from earmark.calendar import pages, service
from earmark.calendar import rounds as gathering
from earmark.calendar.ledger import Ledger
from earmark.calendar.pages import Pages
from earmark.calendar.rounds import Rounds
from earmark.errors import ConfigError, CorruptLog
from earmark.evidence import check
from earmark.evidence.bitcoin import REGTEST
from earmark.process import bound_to_us
from services import wait_for


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    made = Running(tmp_path / "calendar")
    with serve(made, monkeypatch):
        yield made


def test_a_digest_is_answered_waits_and_comes_with_its_way_to_a_block(running: Running) -> None:
    running.target.is_down = True
    commitment = running.submit()
    assert running.rest(commitment) == (404, b"Pending confirmation in Bitcoin blockchain\n", "public, max-age=60")
    assert running.rest(bytes(32)) == (404, b"Not found\n", "public, max-age=60")
    running.target.is_down = False
    wait_for(lambda: running.is_complete(commitment), "the way to a block is there")
    status, body, caching = running.rest(commitment)
    assert (status, caching) == (200, "public, max-age=31536000")
    [branch] = ots.decode(body)
    height = branch.attestation.height
    assert height is not None
    assert ots.commit(commitment, branch.ops) == running.chain.headers[height][36:68]
    wait_for(lambda: b"1 digests taken, in 1 rounds; 0 rounds wait" in running.ask("GET", "/")[1], "the page says so")
    page = running.ask("GET", "/")[1].decode()
    assert "OVERDUE" not in page
    assert f"Bitcoin block {height}, " in page


def test_a_gateway_anchors_through_it(running: Running) -> None:
    clock = Clock()
    headers = Headers(REGTEST, [ChainSource(running.chain)], clock)
    target = CalendarsTarget([running.url], headers, chain=REGTEST, clock=clock)
    payload = target.send(target.sign(DIGEST, 0).payload)

    def is_final() -> bool:
        nonlocal payload
        clock.now_s += 400
        running.chain.mine()
        progress = target.poll(payload)
        payload = progress.payload or payload
        return progress.state == "final"

    wait_for(is_final, "the anchor is final")
    progress = target.poll(payload)
    assert progress.evidence is not None
    assert check("ots", REGTEST, progress.evidence, DIGEST) == progress.block
    assert progress.reference.startswith(f"{running.url}/timestamp/")


def test_many_at_once_share_rounds_and_a_transaction(running: Running) -> None:
    running.target.is_down = True
    digests = [hashlib.sha256(bytes([at])).digest() for at in range(60)]
    with ThreadPoolExecutor(30) as pool:
        commitments = list(pool.map(running.submit, digests))
    assert len(set(commitments)) < 30
    running.target.is_down = False
    wait_for(lambda: all(running.is_complete(commitment) for commitment in set(commitments)), "all are complete")
    heights = {ots.decode(running.rest(commitment)[1])[0].attestation.height for commitment in commitments}
    assert len(heights) <= len(set(commitments))


def test_what_is_no_digest_or_commitment_is_refused(running: Running) -> None:
    assert running.ask("POST", "/digest", bytes(64))[0] == 200
    for body in (bytes(65), b"", bytes(5000)):
        assert running.ask("POST", "/digest", body)[0] == 400
    assert running.ask("POST", "/timestamp/00", b"x")[0] == 404
    assert running.ask("GET", "/digest")[0] == 404
    for word in ("", "zz", "0", "00 00", "%00", "00" * 3000 + "0"):
        assert running.ask("GET", f"/timestamp/{word.replace(' ', '%20')}")[0] == 400, word


def test_beyond_its_rate_it_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Running(tmp_path / "calendar", most_a_minute=3)
    monkeypatch.setattr(gathering.time, "monotonic", lambda: 100.0)
    rounds = Rounds(made.calendar.database, made.calendar.settings)
    monkeypatch.setattr(gathering, "ANSWER_S", 0.0)
    taken = [rounds.submit(bytes([at])) for at in range(5)]
    assert taken == [None] * 5
    assert len(rounds._open) == 3
    ledger = Ledger(made.calendar.database)
    rounds.close(ledger)
    assert ledger.count().digests == 3
    monkeypatch.setattr(gathering.time, "monotonic", lambda: 161.0)
    rounds.submit(b"x")
    assert len(rounds._open) == 1
    assert Pages(made.calendar, rounds).digest(b"").status == 400


def test_a_full_round_closes_at_once(tmp_path: Path) -> None:
    made = Running(tmp_path / "calendar", round_s=3.0, round_most=2)
    rounds, stop = Rounds(made.calendar.database, made.calendar.settings), threading.Event()
    thread = threading.Thread(target=rounds.run, args=(stop,))
    thread.start()
    began_s = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(rounds.submit, [b"a", b"b"]))
    assert time.monotonic() - began_s < 2.5
    stop.set()
    rounds._is_full.set()
    thread.join()


def test_a_disk_that_takes_nothing_leaves_digests_unanswered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Running(tmp_path / "calendar")
    rounds, ledger = Rounds(made.calendar.database, made.calendar.settings), Ledger(made.calendar.database)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(rounds.submit, DIGEST)
        wait_for(lambda: len(rounds._open) == 1, "the digest waits")
        ledger._db.execute("PRAGMA query_only = ON")
        rounds.close(ledger)
        assert waiting.result() is None
    ledger._db.execute("PRAGMA query_only = OFF")
    assert ledger.count().digests == 0


def test_a_disk_that_contradicts_itself_ends_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, stop = Running(tmp_path / "calendar"), threading.Event()
    monkeypatch.setattr(service, "STEP_S", 0.05)

    def fails(*_: object) -> None:
        raise CorruptLog("on purpose")

    monkeypatch.setattr(Ledger, "add_round", fails)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(service.run, made.calendar, stop, made.target)
        try:
            wait_for(lambda: answers(made) or running.done(), "the calendar answers")
            made.ask("POST", "/digest", DIGEST)
            with pytest.raises(CorruptLog, match="on purpose"):
                running.result(10)
        finally:
            stop.set()


def test_digests_that_wait_too_long_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = Running(tmp_path / "calendar")
    made.target.is_down = True
    monkeypatch.setattr(service, "REMIND_S", 0.0)
    monkeypatch.setattr(pages, "COUNT_S", 0.0)
    made.calendar = dataclasses.replace(made.calendar, anchor=dataclasses.replace(made.calendar.anchor, overdue_s=0.1))
    with serve(made, monkeypatch):
        made.submit()
        wait_for(lambda: b"OVERDUE: what came at 20" in made.ask("GET", "/")[1], "the page says so")
        wait_for(lambda: "are still in no block" in caplog.text, "the log says so")
    assert {one.levelname for one in caplog.records if "in no block" in one.message} == {"ERROR"}


def test_the_page_is_not_counted_anew_for_each_who_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, counted = Running(tmp_path / "calendar"), []
    count = Ledger.count
    monkeypatch.setattr(Ledger, "count", lambda ledger: counted.append(1) or count(ledger))  # type: ignore[func-returns-value]
    now_s = [100.0]
    monkeypatch.setattr(pages.time, "monotonic", lambda: now_s[0])
    served = Pages(made.calendar, Rounds(made.calendar.database, made.calendar.settings))
    for _ in range(5):
        assert served.home().status == 200
    assert len(counted) == 1
    now_s[0] += pages.COUNT_S
    served.home()
    assert len(counted) == 2


def test_one_process_at_a_time_runs_it(running: Running) -> None:
    with pytest.raises(ConfigError, match="another process runs"), running.calendar.lock():
        pass


# the command, and the end of its process


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "earmark", "calendar", *words]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(service.__file__).parents[2])}


def test_killed_at_any_moment_it_loses_no_digest_that_it_answered(tmp_path: Path) -> None:
    seed = random.randrange(1 << 31)
    print(f"seed {seed}")
    rng = random.Random(seed)
    made = Running(tmp_path / "calendar")
    path = made.calendar.folder / "calendar.toml"
    text = re.sub(r"calendars = .*", 'calendars = ["http://127.0.0.1:1"]', path.read_text())
    text = re.sub(r"headers = .*", 'headers = ["http://127.0.0.1:1"]', text)
    path.write_text(text.replace("[calendar]", "[calendar]\nround_s = 0.02"))
    answered: list[bytes] = []
    stop = threading.Event()

    def client(number: int) -> None:
        while not stop.is_set():
            digest = os.urandom(32)
            with contextlib.suppress(OSError, http.client.HTTPException):
                answered.append(made.submit(digest))
                continue
            time.sleep(0.01)

    clients = [threading.Thread(target=client, args=(at,)) for at in range(4)]
    for one in clients:
        one.start()
    try:
        for _ in range(5):
            before = len(answered)
            with running_command(made) as process:
                wait_for(lambda before=before: len(answered) > before + 5, "digests are answered")  # type: ignore[misc]
                time.sleep(rng.random() / 10)
                process.kill()
    finally:
        stop.set()
        for one in clients:
            one.join()
    with running_command(made) as process:
        wait_for(lambda: answers(made), "the calendar answers")
        assert {made.rest(one)[:2] for one in answered} == {(404, b"Pending confirmation in Bitcoin blockchain\n")}
        process.terminate()
        out, _ = process.communicate(timeout=60)
        assert json.loads(out)["digests"] >= len(answered) > 25
        assert process.returncode == 0


@contextlib.contextmanager
def running_command(made: Running) -> Iterator[subprocess.Popen[str]]:
    words = bound_to_us(command("run", str(made.calendar.folder), "--json"))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(words, env=environment(), **pipes) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()
