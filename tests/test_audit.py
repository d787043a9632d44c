"""`check_log`: a log that holds, and every way of tampering with its file that we could think of."""

import hashlib
import random
import sqlite3
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from earmark import audit as audit_module
from earmark import bulk, cose
from earmark.audit import MOST_CONTRADICTIONS, Audit, by_all_cores, check_log
from earmark.audit.sequence import Sequence
from earmark.audit.stretch import Place, Stretch
from earmark.block import Header, decode_header, sign_checkpoint, sign_receipt
from earmark.cosignature import Cosignature
from earmark.merkle import leaf_hash
from earmark.statement import Statement, decode
from earmark.store.sqlite import SqliteStore
from farm import Bench, Signing, new_store
from sample_farm import SampleFarm


@pytest.fixture
def sample(tmp_path: Path) -> SampleFarm:
    return SampleFarm(tmp_path / "farm").fill()


def audit(sample: SampleFarm, operator: bytes | None = None) -> Audit:
    with closing(SqliteStore(sample.farm.database)) as store:
        return check_log(store, operator or sample.farm.operator_key())


@contextmanager
def database(sample: SampleFarm) -> Iterator[sqlite3.Connection]:
    """The bare file, as whoever tampers has it."""
    with closing(sqlite3.connect(sample.farm.database)) as bare, bare:
        yield bare


def flip(octets: bytes, at: int = -1) -> bytes:
    changed = bytearray(octets)
    changed[at] ^= 1
    return bytes(changed)


def test_a_log_that_nobody_touched_holds(sample: SampleFarm) -> None:
    found = audit(sample)
    assert found.contradictions == []
    assert (found.size, found.blocks, found.sealed, found.nodes) == (14, 2, 13, 2)
    assert found.kinds == {"enrolment": 3, "measured": 7, "modelled": 1, "replayed": 1, "boot": 1, "gap": 1}
    assert (found.missing, found.explained) == (4, 2)
    assert found.quarantined == 3
    assert found.anchored == {"eip155:1337": 12}
    assert found.origin.startswith("earmark/home/")
    assert not found.is_cut


def change(sql: str, *values: Any) -> Callable[[sqlite3.Connection, SampleFarm], None]:
    return lambda bare, _: bare.execute(sql, values) and None


def statement(index: int, alter: Callable[[bytes], bytes]) -> Callable[[sqlite3.Connection, SampleFarm], None]:
    def tamper(bare: sqlite3.Connection, _: SampleFarm) -> None:
        [(raw,)] = bare.execute("SELECT statement FROM entries WHERE idx = ?", (index,))
        bare.execute("UPDATE entries SET statement = ? WHERE idx = ?", (alter(raw), index))

    return tamper


def cell(table: str, column: str, where: str, alter: Callable[[bytes], bytes]) -> Any:
    def tamper(bare: sqlite3.Connection, _: SampleFarm) -> None:
        [(octets,)] = bare.execute(f"SELECT {column} FROM {table} WHERE {where}")  # noqa: S608
        bare.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (alter(octets),))  # noqa: S608

    return tamper


def swap(first: int, second: int) -> Callable[[sqlite3.Connection, SampleFarm], None]:
    def tamper(bare: sqlite3.Connection, _: SampleFarm) -> None:
        for old, new in ((first, -1), (second, first), (-1, second)):
            bare.execute("UPDATE entries SET idx = ? WHERE idx = ?", (new, old))

    return tamper


def other_reading(bare: sqlite3.Connection, sample: SampleFarm) -> None:
    """Replace field-1's newest by other readings that it signed itself, in the tile too."""
    [(raw,)] = bare.execute("SELECT statement FROM entries WHERE idx = 12")
    old = decode(raw)
    said = sample.field.read(9999, seq=old.seq, prev=old.prev)
    bare.execute("UPDATE entries SET statement = ? WHERE idx = 12", (said,))
    [(hashes,)] = bare.execute("SELECT hashes FROM tiles WHERE level = 0")
    place = slice(12 * 32, 13 * 32)
    changed = bytearray(hashes)
    changed[place] = leaf_hash(hashlib.sha256(said).digest())
    bare.execute("UPDATE tiles SET hashes = ? WHERE level = 0", (bytes(changed),))


def foreign_signature(bare: sqlite3.Connection, sample: SampleFarm) -> None:
    """A checkpoint and receipt of the same block, by another gateway."""
    [(header, checkpoint)] = bare.execute("SELECT header, checkpoint FROM blocks WHERE height = 1")
    origin = checkpoint.decode().split("\n")[0]
    stranger = cose.Signer(bytes(32))
    made = sign_checkpoint(stranger, origin, decode_header(header))
    bare.execute("UPDATE blocks SET checkpoint = ? WHERE height = 1", (made,))


def rewound_block(bare: sqlite3.Connection, sample: SampleFarm) -> None:
    """Block 1 signed anew by the gateway itself, over another predecessor and an earlier time."""
    [(encoded,)] = bare.execute("SELECT header FROM blocks WHERE height = 1")
    old = decode_header(encoded)
    new = Header(old.origin_hash, 1, old.size, old.sealed_at_ms - 1, bytes(32), old.root, old.registry, old.beacon)
    gateway = sample.farm.signer("gateway")
    [(checkpoint,)] = bare.execute("SELECT checkpoint FROM blocks WHERE height = 1")
    origin = checkpoint.decode().split("\n")[0]
    row = new.encode(), sign_checkpoint(gateway, origin, new), sign_receipt(gateway, origin, new.root)
    bare.execute("UPDATE blocks SET header = ?, checkpoint = ?, receipt = ? WHERE height = 1", row)


def hidden_revocation(bare: sqlite3.Connection, sample: SampleFarm) -> None:
    """Block 1 signed anew by the gateway itself, as if the operator had said nothing after enrolling it."""
    [(encoded, checkpoint)] = bare.execute("SELECT header, checkpoint FROM blocks WHERE height = 1")
    [(first,)] = bare.execute("SELECT statement FROM entries WHERE idx = 0")
    new = replace(decode_header(encoded), registry=hashlib.sha256(first).digest())
    gateway, origin = sample.farm.signer("gateway"), checkpoint.decode().split("\n")[0]
    bare.execute(
        "UPDATE blocks SET header = ?, checkpoint = ? WHERE height = 1",
        (new.encode(), sign_checkpoint(gateway, origin, new)),
    )


CASES: dict[str, tuple[Callable[[sqlite3.Connection, SampleFarm], None], str, str]] = {
    "a bit of a statement's signature": (statement(5, flip), "leaf 5", "BadSignature"),
    "a bit of a statement's readings": (statement(5, lambda raw: flip(raw, -70)), "leaf 5", ""),
    "a statement cut short": (statement(5, lambda raw: raw[:-9]), "leaf 5", "EncodingError"),
    "a statement of another leaf": (statement(5, lambda raw: b""), "leaf 5", "EncodingError"),
    "two rows swapped": (swap(4, 5), "tile 0/0", "leaf 4"),
    "the registry's order turned": (swap(1, 2), "leaf 1", "came before its predecessor"),
    "an enrolment behind what it enrols": (swap(2, 9), "leaf 2", "UnknownNode"),
    "a row missing": (change("DELETE FROM entries WHERE idx = 5"), "leaf 5", "no statement"),
    "the newest row missing": (change("DELETE FROM entries WHERE idx = 13"), "tile 0/0", "holds 14"),
    "a sealed tail missing": (change("DELETE FROM entries WHERE idx >= 12"), "block 1", "the log has 12"),
    "the operator's first word missing": (change("DELETE FROM entries WHERE idx = 0"), "leaf 0", "no statement"),
    "a row far out": (change("UPDATE entries SET idx = 1000000000000 WHERE idx = 13"), "leaf 13", "no statement"),
    "a statement under another seq": (change("UPDATE entries SET seq = 77 WHERE idx = 5"), "leaf 5", "does not find"),
    "a statement under another chain": (
        change("UPDATE entries SET chain = (SELECT chain FROM entries WHERE idx = 9), seq = 9 WHERE idx = 5"),
        "leaf 5",
        "does not find",
    ),
    "a copy of a statement under a chain of nobody": (
        change(
            "UPDATE entries SET chain = 999, seq = 8, statement = (SELECT statement FROM entries WHERE idx = 6)"
            " WHERE idx = 12"
        ),
        "leaf 12",
        "twice",
    ),
    "other readings by the same node": (other_reading, "block 1", "root is not the one"),
    "a tile's hash": (cell("tiles", "hashes", "level = 0", lambda h: flip(h, 7 * 32)), "tile 0/0", "leaf 7"),
    "a tile cut short": (cell("tiles", "hashes", "level = 0", lambda h: h[:-32]), "tile 0/0", "holds 13"),
    "a tile gone": (change("DELETE FROM tiles"), "tile 0/0", "holds 0"),
    "a tile too many": (change("INSERT INTO tiles VALUES (1, 0, zeroblob(32))"), "tile 1/0", "holds 1"),
    "a header's root": (cell("blocks", "header", "height = 0", lambda h: flip(h, 96)), "block 0", "root"),
    "a header's beacon": (cell("blocks", "header", "height = 0", flip), "block 0", "a beacon that the store has not"),
    "a header of no form": (cell("blocks", "header", "height = 1", lambda h: h[1:]), "block 1", "EncodingError"),
    "a checkpoint's text": (cell("blocks", "checkpoint", "height = 1", lambda c: flip(c, 2)), "block 1", ""),
    "a checkpoint's signature": (cell("blocks", "checkpoint", "height = 1", lambda c: flip(c, -8)), "block 1", ""),
    "another gateway's checkpoint": (foreign_signature, "block 1", "BadSignature"),
    "a receipt": (cell("blocks", "receipt", "height = 1", flip), "block 1", "BadSignature"),
    "a block missing": (change("DELETE FROM blocks WHERE height = 0"), "block 1", "stands where block 0 should"),
    "a block under another size": (change("UPDATE blocks SET size = 5 WHERE height = 0"), "block 0", "is stored as"),
    "a block rewound by its gateway": (rewound_block, "block 1", "does not follow the block before it"),
    "a block that hides the operator's newest word": (hidden_revocation, "block 1", "the operator's newest"),
    "a block in the past": (rewound_block, "block 1", "is older than the block before it"),
    "runs that count too much": (
        change("UPDATE runs SET last = 9 WHERE last = 5 AND first = 1"),
        "runs of",
        "1-5, 8-9",
    ),
    "runs gone": (change("DELETE FROM runs WHERE first = 8"), "runs of field-1", "1-5, 8-9"),
    "an anchor's evidence": (cell("anchors", "evidence", "1", flip), "anchor of block 0", "evidence does not check"),
    "an anchor without evidence": (change("UPDATE anchors SET evidence = x''"), "anchor of block 0", "has no evidence"),
    "an anchor of another hash": (
        change("UPDATE anchors SET block_hash = zeroblob(32)"),
        "anchor of block 0",
        "another",
    ),
    "an anchor of no block": (change("UPDATE anchors SET height = 7"), "anchor of block 7", "no such block"),
    "an anchor in no state": (change("UPDATE anchors SET state = 'done'"), "anchor of block 0", "'done'"),
    "a beacon's message": (cell("beacons", "message", "1", flip), "leaf 3", "beacon"),
    "a beacon's header": (cell("beacons", "headers", "1", flip), "leaf 3", "beacon"),
    "a beacon gone": (change("DELETE FROM beacons"), "block 0", "a beacon that the store has not"),
    "quarantined bytes": (cell("quarantine", "raw", "seq = 1", flip), "quarantine", "not those that came"),
    "a refusal called held": (change("UPDATE quarantine SET held = 1 WHERE seq = 0"), "quarantine", "may not be"),
    "a held row under another seq": (
        change("UPDATE quarantine SET seq = 5 WHERE seq = 1"),
        "quarantine",
        "another signer",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_tampering_is_found_and_named(sample: SampleFarm, name: str) -> None:
    tamper, where, what = CASES[name]
    with database(sample) as bare:
        tamper(bare, sample)
    found = audit(sample)
    assert not found.holds
    named = [(one.where, one.what) for one in found.contradictions]
    assert any(place.startswith(where) and what in words for place, words in named), named


def one_by_one(places: Iterable[Place]) -> Iterator[list[Stretch]]:
    """Survey nothing: the whole log is looked at leaf by leaf."""
    return ([Stretch(*place)] for place in places)


def named(found: Audit) -> set[tuple[str, str]]:
    return {(one.where, one.what) for one in found.contradictions}


def assert_same_by_stretches(store: SqliteStore, operator: bytes) -> None:
    """Leaf by leaf and stretch by stretch find the same; a beacon is named once a stretch, not at every leaf."""
    leaves, stretches = check_log(store, operator, survey_all=one_by_one), check_log(store, operator)
    assert named(stretches) <= named(leaves)
    assert all("beacon" in what for _, what in named(leaves) - named(stretches))
    leaves.contradictions, stretches.contradictions = [], []
    assert stretches == leaves


@pytest.mark.parametrize("longest", [1, 2, 5, audit_module.LONGEST])
@pytest.mark.parametrize("name", CASES)
def test_stretches_find_what_leaves_find(
    sample: SampleFarm, name: str, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "LONGEST", longest)
    with database(sample) as bare:
        CASES[name][0](bare, sample)
    with closing(SqliteStore(sample.farm.database)) as store:
        assert_same_by_stretches(store, sample.farm.operator_key())


def test_cosignatures_are_of_blocks_and_of_the_form(sample: SampleFarm) -> None:
    sample.put(lambda store: store.add_cosignature(0, Cosignature("w.example", b"1234", 9, bytes(64))))
    assert audit(sample).contradictions == []
    for number, (height, found) in enumerate(
        (
            (7, Cosignature("w.example", b"1234", 9, bytes(64))),
            (0, Cosignature("a b", b"1234", 9, bytes(64))),
            (0, Cosignature("v.example", b"1234", 0, bytes(64))),
            (0, Cosignature("u.example", b"1234", 9, bytes(63))),
            (0, Cosignature("t.example", b"123", 9, bytes(64))),
        ),
        1,
    ):
        sample.put(lambda store, height=height, found=found: store.add_cosignature(height, found))
        assert len(audit(sample).contradictions) == number


def test_what_is_held_may_not_be_in_the_log_as_well(sample: SampleFarm) -> None:
    with closing(SqliteStore(sample.farm.database)) as store:
        held = next(row for row in store.quarantine_rows(held=True) if row.seq == 1)
    [raw] = [held.raw]
    with database(sample) as bare:
        bare.execute("INSERT INTO chains (key, sub) VALUES (?, ?)", (held.key, held.sub))
        [(chain,)] = bare.execute("SELECT max(id) FROM chains")
        bare.execute("INSERT INTO entries VALUES (14, ?, 1, 0, ?)", (chain, raw))
    named = [(one.where, one.what) for one in audit(sample).contradictions]
    assert ("leaf 14", "UnknownNode") in [(place, words.split(":")[0]) for place, words in named]
    assert any("held, and in the log as well" in words for _, words in named)


def test_a_snapshot_does_not_see_what_a_gateway_writes_meanwhile(sample: SampleFarm) -> None:
    with closing(SqliteStore(sample.farm.database, snapshot=True)) as store:
        sample.admit(sample.field.read(1, seq=10, prev=sample.field.prev))
        sample.seal()
        found = check_log(store, sample.farm.operator_key())
    assert (found.contradictions, found.size, found.blocks) == ([], 14, 2)
    assert (audit(sample).contradictions, audit(sample).size, audit(sample).blocks) == ([], 15, 3)


def test_under_another_operator_nothing_is_checked(sample: SampleFarm) -> None:
    found = audit(sample, cose.Signer(bytes(32)).key)
    assert [one.where for one in found.contradictions] == ["leaf 0", "leaf 0"]
    assert "another operator's log" in found.contradictions[-1].what


def test_only_so_many_contradictions_are_collected(sample: SampleFarm) -> None:
    with database(sample) as bare:
        bare.execute("UPDATE entries SET seq = seq + 1000")
        bare.execute("UPDATE blocks SET receipt = zeroblob(64)")
        bare.execute("UPDATE tiles SET hashes = zeroblob(14 * 32)")
        bare.execute("UPDATE runs SET last = last + 1")
        bare.execute("UPDATE anchors SET state = 'done'")
    found = audit(sample)
    assert len(found.contradictions) == MOST_CONTRADICTIONS
    assert found.is_cut


def test_later_roots_are_counted_and_not_named_one_by_one(tmp_path: Path) -> None:
    bench = Bench(new_store(tmp_path)).found()
    node = bench.enrol(3, "n1")
    for _ in range(5):
        bench.admit(node.read())
        bench.log.seal()
    with closing(sqlite3.connect(tmp_path / "earmark.db")) as bare, bare:
        raw = node.read(77, seq=1, prev=bytes(32))
        bare.execute("UPDATE entries SET statement = ? WHERE idx = 2", (raw,))
    named = [(one.where, one.what) for one in check_log(bench.store, bench.operator.key).contradictions]
    bench.store.close()
    assert [where for where, what in named if "root is not" in what] == ["block 0"]
    assert ("blocks", "the roots of 4 later ones do not fit the statements either") in named


def test_an_empty_log_does_not_hold(tmp_path: Path) -> None:
    with closing(new_store(tmp_path)) as store:
        found = check_log(store, cose.Signer(bytes(32)).key)
    assert [one.where for one in found.contradictions] == ["leaf 0"]


def test_values_have_the_types_of_their_columns(sample: SampleFarm) -> None:
    with database(sample) as bare, pytest.raises(sqlite3.IntegrityError, match="cannot store TEXT value in BLOB"):
        bare.execute("UPDATE entries SET statement = 'text' WHERE idx = 3")


def test_a_schema_that_was_loosened_is_named(sample: SampleFarm) -> None:
    with database(sample) as bare:
        bare.execute("PRAGMA writable_schema = 1")
        bare.execute("UPDATE sqlite_schema SET sql = replace(sql, ') STRICT', ')') WHERE name = 'entries'")
    with database(sample) as bare:
        bare.execute("UPDATE entries SET statement = 'text' WHERE idx = 3")
    with closing(SqliteStore(sample.farm.database)) as store:
        assert store.faults() == ["its tables are not the ones that Earmark makes"]


def test_a_value_of_another_type_is_named_although_the_schema_was_put_back(sample: SampleFarm) -> None:
    with database(sample) as bare:
        [whole] = bare.execute("SELECT sql FROM sqlite_schema WHERE name = 'entries'").fetchone()
        bare.execute("PRAGMA writable_schema = 1")
        bare.execute("UPDATE sqlite_schema SET sql = replace(sql, ') STRICT', ')') WHERE name = 'entries'")
    with database(sample) as bare:
        bare.execute("UPDATE entries SET statement = 'text' WHERE idx = 3")
        bare.execute("PRAGMA writable_schema = 1")
        bare.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'entries'", (whole,))
    with closing(SqliteStore(sample.farm.database)) as store:
        [fault] = store.faults()
    assert fault.endswith("value in entries.statement")


@pytest.fixture(scope="module")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Six hundred statements, every seventh pair in turned order: more than two tiles."""
    bench = Bench(new_store(tmp_path_factory.mktemp("long"))).found()
    node = bench.enrol(3, "n1")
    raws = [node.read(value) for value in range(600)]
    for at in range(0, 600, 7):
        raws[at : at + 2] = reversed(raws[at : at + 2])
    for at in range(0, 600, 50):
        bench.admit(*raws[at : at + 50])
        bench.log.seal()
    yield bench
    bench.store.close()


def test_a_log_of_several_tiles_whose_nodes_filled_their_holes_holds(long_log: Bench) -> None:
    said: list[tuple[int, int]] = []
    found = check_log(long_log.store, long_log.operator.key, lambda done, total: said.append((done, total)))
    assert found.contradictions == []
    assert (found.size, found.blocks, found.missing) == (602, 12, 0)
    assert said == [(256, 602), (512, 602), (602, 602)]


def test_an_inner_tile_is_held_against_the_leaves(long_log: Bench, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    with closing(sqlite3.connect(copy)) as bare:
        with closing(sqlite3.connect(long_log.store._path)) as source:
            source.backup(bare)
        [(hashes,)] = bare.execute("SELECT hashes FROM tiles WHERE level = 1")
        bare.execute("UPDATE tiles SET hashes = ? WHERE level = 1", (flip(hashes, 32),))
        bare.commit()
    with closing(SqliteStore(copy)) as store:
        found = check_log(store, long_log.operator.key)
    assert [(one.where, one.what) for one in found.contradictions] == [
        ("tile 1/0", "hash 1 is not the one of tile 0/1")
    ]


def forged(rng: random.Random, rows: list[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Give a few rows of a log as somebody without keys may have changed them."""
    for _ in range(rng.randint(1, 4)):
        (index, raw), (_, other) = rng.sample(rows[2:], 2)
        yield index, rng.choice([other, flip(raw, rng.randrange(len(raw))), raw[:-1], b""])


@pytest.mark.parametrize("seed", range(12))
def test_stretches_of_a_long_log_find_what_its_leaves_find(
    long_log: Bench, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, copy = random.Random(seed), tmp_path / "copy.db"
    monkeypatch.setattr(audit_module, "LONGEST", rng.choice([7, 64, 256]))
    with closing(sqlite3.connect(copy)) as bare:
        long_log.store._db.backup(bare)
        rows = bare.execute("SELECT idx, statement FROM entries ORDER BY idx").fetchall()
        for index, raw in forged(rng, rows):
            bare.execute("UPDATE entries SET statement = ? WHERE idx = ?", (raw, index))
        bare.commit()
    with closing(SqliteStore(copy)) as store:
        assert_same_by_stretches(store, long_log.operator.key)


def test_all_cores_find_what_one_finds(long_log: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "WORTH", 0)
    with by_all_cores(long_log.store._path) as survey_all, closing(SqliteStore(long_log.store._path)) as store:
        assert check_log(store, long_log.operator.key, survey_all=survey_all) == check_log(store, long_log.operator.key)


def test_leaves_are_not_kept(long_log: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_module, "LONGEST", 64)
    statements = sum(len(raw) for _, _, raw in long_log.store.statements(0, long_log.log.size))
    check_log(long_log.store, long_log.operator.key)
    tracemalloc.start()
    try:
        check_log(long_log.store, long_log.operator.key)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < statements, "memory grows with the log"


def take(sequence: Sequence, said: Statement) -> str:
    link = said.seq, said.seq, said.prev, said.entry
    fault = sequence.fault(*link)
    sequence.add(*link)
    return fault


@pytest.mark.parametrize("seed", range(20))
def test_a_chain_in_any_order_has_the_holes_that_counting_finds(seed: int) -> None:
    rng = random.Random(seed)
    node = Signing(3, "n1")
    said = [decode(node.read(number)) for number in range(40)]
    gaps = [sorted(rng.sample(range(1, 40), 2)) for _ in range(3)]
    declared = [decode(node.say({0: "gap", 1: first, 2: last, 3: "full"}, boot_count=1)) for first, last in gaps]
    kept = [statement for statement in said if rng.random() < 0.6] + declared
    rng.shuffle(kept)
    sequence = Sequence()
    assert [take(sequence, statement) for statement in kept] == [""] * len(kept)
    for gap in gaps:
        sequence.explain(*gap)
    seqs = {statement.seq for statement in kept}
    missing = set(range(1, max(seqs))) - seqs
    explained = {seq for seq in missing if any(first <= seq <= last for first, last in gaps)}
    assert sequence.missing() == (len(missing), len(explained))
    assert {seq for first, last in sequence.numbers() for seq in range(first, last + 1)} == seqs
    assert take(sequence, rng.choice(kept)) == "is in the log twice"


@pytest.mark.parametrize(
    ("order", "fault"),
    [
        ("abc", "does not follow the logged seq 1"),
        ("cba", "is not what the logged seq 3 follows"),
        ("acb", "is not what the logged seq 3 follows"),
    ],
)
def test_a_fork_is_found_in_whatever_order_it_comes(order: str, fault: str) -> None:
    node = Signing(3, "n1")
    first, _, third = node.read(1), node.read(2), node.read(3)
    forked = node.read(4, seq=2, prev=bytes([1]) * 32)
    by_letter = {"a": decode(first), "b": decode(forked), "c": decode(third)}
    sequence = Sequence()
    faults = [take(sequence, by_letter[letter]) for letter in order]
    assert fault in faults
