"""Acknowledgements: what is answered, to whom, when, and in which form."""

from pathlib import Path

import pytest

from earmark import ack
from earmark.acknowledge import Acknowledger, covering
from earmark.errors import BadSignature, EncodingError
from farm import Bench, Signing, new_store


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(new_store(tmp_path)).found()


def answers(bench: Bench, acknowledger: Acknowledger, *raws: bytes, at_ms: int = 0) -> list[ack.Acknowledgement]:
    acknowledger.note(bench.admit(*raws))
    return [ack.decode(payload, bench.gateway.key) for _, payload in acknowledger.due(at_ms)]


def test_runs_cover_what_came_and_the_interval_is_kept(bench: Bench) -> None:
    node = bench.enrol(3, "n1")
    acknowledger = Acknowledger(bench.log, bench.gateway, interval_ms=1000)
    raws = [node.read(value) for value in range(6)]
    [first] = answers(bench, acknowledger, *raws[:2], at_ms=0)
    assert (first.kid, first.runs, first.refused) == (node.signer.kid, ((1, 2),), ())
    assert answers(bench, acknowledger, raws[2], at_ms=999) == []
    [second] = answers(bench, acknowledger, raws[4], at_ms=1000)
    assert second.runs == ((1, 3), (5, 5))
    [third] = answers(bench, acknowledger, raws[3], at_ms=2000)
    assert third.runs == ((1, 4),)  # seq 5 was answered, and did not come again
    assert answers(bench, acknowledger, at_ms=9000) == []


def test_the_newest_checkpoint_goes_along(bench: Bench) -> None:
    node = bench.enrol(3, "n1")
    block = bench.log.seal()
    [answer] = answers(bench, Acknowledger(bench.log, bench.gateway, 0), node.read())
    assert block and answer.checkpoint == block.checkpoint


def test_refused_ones_are_told_and_strangers_are_not_answered(bench: Bench) -> None:
    node, stranger = bench.enrol(3, "n1"), Signing(9, "n1")
    acknowledger = Acknowledger(bench.log, bench.gateway, 0)
    good = node.read(1)
    node.seq, node.prev = 0, bytes(32)
    [answer] = answers(bench, acknowledger, good, node.read(2))
    assert answer.refused == ((1, "Equivocation"),)
    forged = node.read(3)
    assert answers(bench, acknowledger, stranger.read(), b"junk", forged[:-1] + b"\0", at_ms=1) == []


def test_one_key_under_many_names_is_remembered_once(bench: Bench) -> None:
    node = bench.enrol(3, "n1")
    acknowledger = Acknowledger(bench.log, bench.gateway, interval_ms=100)
    for number in range(50):
        [answer] = answers(bench, acknowledger, node.read(sub=f"other-{number}"), at_ms=1000 * number)
        assert answer.refused == ((number + 1, "WrongSubject"),)
    assert list(acknowledger._answered_at_ms) == [node.key]


def test_many_runs_are_told_in_parts(bench: Bench) -> None:
    node = bench.enrol(3, "n1")
    raws = [node.read(value) for value in range(81)]
    found = answers(bench, Acknowledger(bench.log, bench.gateway, 0), *raws[::2])
    assert [len(answer.runs) for answer in found] == [16, 16, 9]
    assert [run for answer in found for run in answer.runs] == [(n, n) for n in range(1, 82, 2)]


def test_covering_finds_just_the_runs_that_hold_a_seq() -> None:
    assert covering(((1, 3), (5, 5), (8, 9)), [2, 3, 6, 9]) == ((1, 3), (8, 9))


def test_an_acknowledgement_is_of_this_gateway_and_of_this_form(bench: Bench) -> None:
    good = ack.sign(bench.gateway, ack.Acknowledgement(b"k" * 8, ((1, 2),), (), b"", 0))
    with pytest.raises(EncodingError, match="of this gateway"):
        ack.decode(good, bench.operator.key)
    with pytest.raises(BadSignature):
        ack.decode(good[:-1] + bytes([good[-1] ^ 1]), bench.gateway.key)
    for runs in (((2, 1),), ((1, 5), (5, 6)), ((4, 5), (1, 2)), ((0, 3),)):
        wrong = ack.sign(bench.gateway, ack.Acknowledgement(b"k" * 8, runs, (), b"", 0))
        with pytest.raises(EncodingError):
            ack.decode(wrong, bench.gateway.key)
