"""Admission rule by rule, sealing, and what a failed write leaves behind."""

import random
import sqlite3
from itertools import pairwise
from pathlib import Path

import pytest

from earmark import merkle
from earmark.block import NO_BLOCK, decode_checkpoint, decode_header
from earmark.cose import Signer
from earmark.errors import CorruptLog, StoreError
from earmark.log import Log, add_to_runs, contains
from earmark.statement import decode
from earmark.store.sqlite import SqliteStore
from farm import NOW_S, Bench, Signing, new_store
from frontier import Frontier


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(new_store(tmp_path)).found()


def reasons(bench: Bench, *raws: bytes) -> list[str]:
    return [type(outcome.error).__name__ if outcome.error else "" for outcome in bench.admit(*raws)]


def test_a_batch_is_admitted_in_order_and_a_repeat_keeps_its_leaf(bench: Bench) -> None:
    node = bench.enrol(3, "n1")
    raws = [node.read(value) for value in range(5)]
    assert [outcome.index for outcome in bench.admit(*raws)] == [2, 3, 4, 5, 6]
    again = bench.admit(*raws, raws[0])
    assert [(outcome.index, outcome.repeat) for outcome in again] == [(n, True) for n in (2, 3, 4, 5, 6, 2)]
    assert bench.log.size == 7
    assert bench.log.runs(node.key, "n1") == [(1, 5)]


def test_the_first_statement_must_enrol_the_gateway(tmp_path: Path) -> None:
    bench = Bench(new_store(tmp_path))
    node = Signing(3, "n1")
    assert reasons(bench, bench.operator.say({0: "enrolment", 1: node.key, 2: "node", 3: "n1"})) == ["WrongRegistry"]
    assert bench.log.size == 0


def test_statements_of_unknown_nodes_are_held_and_admitted_after_enrolment(bench: Bench) -> None:
    node = Signing(3, "n1")
    raws = [node.read(value) for value in range(1200)]
    assert set(reasons(bench, *raws)) == {"UnknownNode"}
    assert bench.store.quarantine_counts() == {"UnknownNode": 1200}
    bench.admit(bench.operator.say({0: "enrolment", 1: node.key, 2: "node", 3: "n1"}))
    bench.open()  # a crash between the enrolment and the second try
    assert [outcome.index for outcome in bench.log.retry()] == list(range(2, 1202))
    assert bench.store.quarantine_counts() == {}


def test_a_statement_from_the_future_is_held_until_it_is_due(bench: Bench) -> None:
    node = bench.enrol(3, "n1")
    raw = node.read(issued_at_s=NOW_S + 301)
    assert reasons(bench, raw) == ["FutureTime"]
    assert bench.log.retry() == []
    bench.now_ms += 1000
    assert [outcome.index for outcome in bench.log.retry()] == [2]


def test_a_second_statement_with_one_seq_is_kept_as_equivocation(bench: Bench) -> None:
    node = bench.enrol(3, "n1")
    first = node.read(1)
    node.seq, node.prev = 0, bytes(32)
    second = node.read(2)
    assert reasons(bench, first, second) == ["", "Equivocation"]
    row = bench.store.quarantined(decode(second).entry)
    assert row and row.raw == second and not row.held
    assert reasons(bench, second) == ["Equivocation"]
    assert bench.store.quarantine_counts() == {"Equivocation": 1}


def test_a_node_that_lost_its_newest_statements_goes_on_above_them(bench: Bench) -> None:
    node = bench.enrol(3, "n1")
    one, two, _lost = node.read(1), node.read(2), node.read(3)
    later = node.read(4, seq=67, prev=decode(two).entry)
    gap = node.say({0: "gap", 1: 3, 2: 66, 3: "the storage was damaged"}, boot_count=2)
    assert reasons(bench, one, two, later, gap) == [""] * 4
    assert bench.log.runs(node.key, "n1") == [(1, 2), (67, 68)]


def test_forked_chains_are_refused_from_both_sides(bench: Bench) -> None:
    node = bench.enrol(3, "n1")
    one, two, three = node.read(1), node.read(2), node.read(3)
    fork = node.read(9, seq=2, prev=decode(three).entry)
    assert reasons(bench, one, three) == ["", ""]  # the hole at 2 shows until it is filled
    assert bench.log.runs(node.key, "n1") == [(1, 1), (3, 3)]
    assert reasons(bench, fork) == ["BrokenChain"]
    assert reasons(bench, two) == [""]
    assert bench.log.runs(node.key, "n1") == [(1, 3)]
    assert reasons(bench, node.read(4, seq=4, prev=decode(one).entry)) == ["BrokenChain"]


def test_what_follows_a_refused_statement_is_refused(bench: Bench) -> None:
    node = bench.enrol(3, "n1")
    one, two = node.read(1), node.read(2)
    clone = Signing(3, "n1")
    other_one, other_two, other_three = clone.read(7), clone.read(8), clone.read(9)
    assert reasons(bench, one, other_one, two, other_two, other_three) == [
        "",
        "Equivocation",
        "",
        "Equivocation",
        "BrokenChain",
    ]


def test_seq_one_has_no_predecessor_and_every_other_has_one(bench: Bench) -> None:
    node = bench.enrol(3, "n1")
    assert reasons(bench, node.read(seq=1, prev=b"\1" * 32), node.read(seq=2, prev=bytes(32))) == ["BrokenChain"] * 2


def test_signers_say_only_what_is_theirs(bench: Bench) -> None:
    node = bench.enrol(3, "n1")
    foreign = node.read(sub="n2")
    node.seq, node.prev = 0, bytes(32)
    claim = node.say({0: "enrolment", 1: Signing(9, "x").key, 2: "node", 3: "x"}, sub="registry")
    by_operator = bench.operator.say({0: "revocation", 1: node.key, 2: "no"}, sub="lots", seq=1, prev=bytes(32))
    assert reasons(bench, foreign, claim, by_operator) == ["WrongSubject"] * 3


def test_a_revoked_key_is_refused_and_its_name_is_free(bench: Bench) -> None:
    node = bench.enrol(3, "n1")
    bench.admit(node.read())
    assert reasons(bench, bench.operator.say({0: "revocation", 1: node.key, 2: "stolen"})) == [""]
    assert reasons(bench, node.read()) == ["RevokedKey"]
    assert reasons(bench, bench.enrol(4, "n1").read()) == [""]


def test_the_registry_refuses_what_cannot_be(bench: Bench) -> None:
    node = bench.enrol(3, "n1")
    operator = bench.operator
    bodies = [
        {0: "enrolment", 1: node.key, 2: "node", 3: "n2"},
        {0: "enrolment", 1: Signing(5, "x").key, 2: "node", 3: "n1"},
        {0: "enrolment", 1: operator.key, 2: "node", 3: "n3"},
        {0: "revocation", 1: bench.gateway.key, 2: "no"},
        {0: "revocation", 1: Signing(6, "x").key, 2: "no"},
    ]
    for body in bodies:
        seq, prev = operator.seq, operator.prev
        assert reasons(bench, operator.say(body)) == ["WrongRegistry"]
        operator.seq, operator.prev = seq, prev  # what was refused does not stand in the chain


def test_the_operators_statements_wait_for_their_predecessor(bench: Bench) -> None:
    first, second = Signing(3, "n1"), Signing(4, "n2")
    one = bench.operator.say({0: "enrolment", 1: first.key, 2: "node", 3: "n1"})
    two = bench.operator.say({0: "enrolment", 1: second.key, 2: "node", 3: "n2"})
    assert reasons(bench, two) == ["MissingPredecessor"]
    assert reasons(bench, one) == [""]
    assert [outcome.index for outcome in bench.log.retry()] == [2]


def test_junk_is_quarantined_with_its_reason_and_stops_nothing(bench: Bench) -> None:
    node = bench.enrol(3, "n1")
    good = node.read()
    forged = good[:-1] + bytes([good[-1] ^ 1])
    junk = [b"", b"\xff", b"x" * 70_000, b"\x81" * 5000, forged]
    assert reasons(bench, *junk, good) == ["EncodingError"] * 4 + ["BadSignature", ""]
    rows = bench.store.quarantine_rows()
    assert sorted(row.size for row in rows) == [0, 1, len(good), 5000, 70_000]
    assert max(len(row.raw) for row in rows) == 65_536
    assert all(row.message and not row.held for row in rows)


def test_blocks_chain_and_seal_the_whole_tree(bench: Bench) -> None:
    first = bench.log.seal()
    assert bench.log.seal() is None
    node = bench.enrol(3, "n1")
    raws = [node.read(value) for value in range(300)]
    bench.admit(*raws)
    bench.now_ms -= 5000  # the gateway's clock goes back
    second = bench.log.seal(b"\7" * 16)
    assert first and second
    headers = [decode_header(block.header) for block in (first, second)]
    assert (headers[0].height, headers[0].prev, headers[1].height, headers[1].prev) == (0, NO_BLOCK, 1, headers[0].hash)
    assert headers[1].sealed_at_ms == headers[0].sealed_at_ms
    assert headers[1].beacon == b"\7" * 16
    frontier = Frontier()
    for _, _, raw in bench.store.statements(0, 302):
        frontier.append(merkle.leaf_hash(decode(raw).entry))
    assert frontier.root() == headers[1].root
    decode_checkpoint(second.checkpoint).verify(bench.origin, bench.gateway.key)
    assert bench.open().newest == second


def test_a_failed_write_leaves_nothing_behind_in_store_or_memory(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    node = bench.enrol(3, "n1")
    raws = [node.read(value) for value in range(300)]
    bench.admit(*raws[:10])
    calls = 0

    def fail(*_: object) -> None:
        nonlocal calls
        calls += 1
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(bench.store, "set_tile", fail)
        with pytest.raises(StoreError, match="disk is full"):
            bench.admit(*raws)
    assert calls == 1
    assert bench.store.size() == 12
    with monkeypatch.context() as patch:
        patch.setattr(bench.store, "set_tile", fail)
        with pytest.raises(StoreError, match="disk is full"):
            bench.enrol(4, "n2")
    assert [known.name for known in bench.log.registry.nodes()] == ["n1"]
    block = bench.log.seal()
    assert block and block.size == 12
    assert [outcome.repeat for outcome in bench.admit(*raws)] == [True] * 10 + [False] * 290
    assert bench.log.runs(node.key, "n1") == [(1, 300)]
    assert bench.open().size == 302


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE entries SET statement = x'00' WHERE idx = (SELECT max(idx) FROM entries)",
        "UPDATE tiles SET hashes = zeroblob(length(hashes)) WHERE level = 0",
        "DELETE FROM entries WHERE idx >= 2",
        "UPDATE blocks SET header = zeroblob(144)",
        "UPDATE blocks SET header = CAST(substr(header, 1, 143) || x'01' AS BLOB)",
    ],
)
def test_a_store_that_contradicts_its_checkpoint_stops_the_gateway(bench: Bench, tmp_path: Path, damage: str) -> None:
    node = bench.enrol(3, "n1")
    bench.admit(*[node.read(value) for value in range(3)])
    bench.log.seal()
    bench.store.close()
    with sqlite3.connect(tmp_path / "earmark.db") as database:
        database.execute(damage)
    database.close()
    store = SqliteStore(tmp_path / "earmark.db")
    with pytest.raises(CorruptLog):
        Log(store, bench.operator.key, bench.gateway, lambda: bench.now_ms)
    store.close()


def test_a_log_is_not_opened_with_another_gateways_key(bench: Bench) -> None:
    with pytest.raises(CorruptLog, match="the key given"):
        Log(bench.store, bench.operator.key, Signer(b"\x09" * 32), lambda: bench.now_ms)


def test_runs_join_and_split_like_a_set() -> None:
    chance = random.Random(7)
    for _ in range(50):
        held: set[int] = set()
        runs: list[tuple[int, int]] = []
        stored: set[tuple[int, int]] = set()
        for seq in chance.sample(range(1, 40), 30):
            assert not contains(runs, seq)
            gone, new = add_to_runs(runs, seq)
            stored = stored - set(gone) | {new}
            held.add(seq)
            assert sorted(stored) == runs
            assert {n for first, last in runs for n in range(first, last + 1)} == held
            assert all(a[1] + 1 < b[0] for a, b in pairwise(runs))
            assert all(contains(runs, n) == (n in held) for n in range(45))
