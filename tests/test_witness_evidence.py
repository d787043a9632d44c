"""The witness: what it keeps and says against logs, and what becomes of it where its memory or its clock fails."""

import logging
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from earmark import block, cosignature, note
from earmark.errors import CorruptLog
from earmark.witness import service
from earmark.witness.judge import AGAIN_S, SAID_S
from earmark.witness.ledger import FORK, UNPROVEN, Ledger, Seen
from services import wait_for
from test_witness import FORKED, LOG, TRUE, Bench, opened


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with opened(tmp_path / "witness") as made:
        yield made


def test_a_second_history_of_one_size_is_kept_as_proof_of_it(bench: Bench) -> None:
    bench.cosigns(TRUE, 0, 5)
    for _ in range(2):
        assert bench.ask(FORKED.asked(5, 5))[0] == 422
        assert bench.ask(FORKED.asked(2, 5))[0] == 409
    [row] = bench.ledger.evidence()
    assert row.kind == FORK
    ours, theirs = note.decode_note(row.ours), note.decode_note(row.request.partition(b"\n\n")[2])
    heads = [cosignature.decode_tree_head(each.text) for each in (ours, theirs)]
    assert heads[0].size == heads[1].size == 5
    assert heads[0].root != heads[1].root
    assert row.text == theirs.text
    for each in (ours, theirs):
        block.cose.verify(LOG.key, each.text, each.signatures[0][1][4:])
    bench.cosigns(TRUE, 5, 6)


def test_a_proof_that_does_not_hold_is_kept_as_no_more_than_that(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earmark.witness.ledger.MOST_EVIDENCE", 3)
    bench.cosigns(TRUE, 0, 5)
    for size in range(6, 20):
        assert bench.ask(FORKED.asked(5, size))[0] == 422
    assert [kind for kind, _ in bench.evidence()] == [UNPROVEN] * 3
    assert bench.ask(FORKED.asked(5, 5))[0] == 422
    assert [kind for kind, _ in bench.evidence()].count(FORK) == 1


def test_what_was_unproven_turns_into_a_fork(bench: Bench) -> None:
    bench.cosigns(TRUE, 0, 5)
    assert bench.ask(FORKED.asked(5, 8))[0] == 422
    bench.cosigns(TRUE, 5, 8)
    assert bench.ask(FORKED.asked(8, 8))[0] == 422
    assert bench.evidence() == [(FORK, FORKED.checkpoint(8)[: FORKED.checkpoint(8).index(b"\n\n") + 1])]


def text_of(checkpoint: bytes) -> bytes:
    return checkpoint[: checkpoint.index(b"\n\n") + 1]


def test_of_proofs_that_do_not_hold_the_newest_are_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Junk that anybody sends does not keep out what comes later; forks stay."""
    monkeypatch.setattr("earmark.witness.ledger.MOST_EVIDENCE", 3)
    bench.cosigns(TRUE, 0, 5)
    for size in range(6, 20):
        assert bench.ask(FORKED.asked(5, size))[0] == 422
    assert [text for _, text in bench.evidence()] == [text_of(FORKED.checkpoint(size)) for size in (17, 18, 19)]


def test_each_kind_is_said_once_a_minute_kept_or_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("earmark.witness.ledger.MOST_EVIDENCE", 1)
    bench.cosigns(TRUE, 0, 5)
    said = []
    for late_s in (0, SAID_S - 1, SAID_S):
        bench.now_s += late_s
        caplog.clear()
        with caplog.at_level(logging.ERROR):
            bench.ask(FORKED.asked(5, 5))
            bench.ask(FORKED.asked(5, 9))
            bench.ask(FORKED.asked(5, 9))
        said.append([each.getMessage().rpartition("; ")[0].partition(" of ")[0] for each in caplog.records])
    assert said == [["SPLIT VIEW", "a proof that does not hold"], [], ["SPLIT VIEW", "a proof that does not hold"]]
    assert "not kept" in caplog.text


def test_a_clock_that_goes_back_dates_nothing_back(bench: Bench) -> None:
    bench.cosigns(TRUE, 0, 5)
    first, then_s = bench.ask(TRUE.asked(5, 5)), bench.now_s
    bench.now_s -= 86_400
    assert bench.ask(TRUE.asked(5, 5)) == first
    status, body = bench.ask(TRUE.asked(5, 7))
    found = cosignature.find(body.decode(), bench.folder.own)
    assert found
    assert (status, found.time_s) == (200, then_s)
    bench.now_s = then_s + AGAIN_S
    bench.cosigns(TRUE, 7, 8)


def test_nothing_is_cosigned_that_is_not_stored(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.cosigns(TRUE, 0, 4)

    def fails(self: Ledger, seen: Seen) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(Ledger, "put", fails)
        status, said = bench.ask(TRUE.asked(4, 6))
    assert status == 500
    assert b"\xe2\x80\x94" not in said
    assert bench.ask(TRUE.asked(0, 6))[1] == b"4\n"
    bench.cosigns(TRUE, 4, 6)


def test_a_damaged_memory_cosigns_nothing_and_ends_the_witness(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Ledger, origin: str) -> None:
        raise CorruptLog("damaged on purpose")

    bench.cosigns(TRUE, 0, 5)
    with monkeypatch.context() as broken:
        broken.setattr(Ledger, "seen", fails)
        status, said = bench.ask(TRUE.asked(5, 6))
    assert status == 500
    assert b"\xe2\x80\x94" not in said
    assert bench.witness.failure is not None
    monkeypatch.setattr(service, "LOOK_S", 0.01)
    monkeypatch.setattr(service, "Witness", lambda *_: bench.witness)
    ended: list[Exception] = []

    def run() -> None:
        try:
            service.run(bench.folder, lambda: b"", threading.Event())
        except CorruptLog as error:
            ended.append(error)

    threading.Thread(target=run, daemon=True).start()
    wait_for(lambda: bool(ended), "it ends", 10)
