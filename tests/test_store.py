"""The store: what it costs on disk, what a snapshot shows, what a failed or foreign file is called."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from earmark.cosignature import Cosignature
from earmark.errors import ConfigError, CorruptLog, StoreError
from earmark.store import AnchorRow
from earmark.store.schema import VERSION
from earmark.store.sqlite import SqliteStore
from farm import Bench, new_store


def test_a_statement_costs_at_most_120_bytes_more_than_itself(tmp_path: Path) -> None:
    bench = Bench(new_store(tmp_path)).found()
    node = bench.enrol(3, "n1")
    empty = (tmp_path / "earmark.db").stat().st_size
    raws = [node.read(value) for value in range(4000)]
    for at in range(0, len(raws), 500):
        bench.admit(*raws[at : at + 500])
    bench.store.close()  # the last one to close moves the write-ahead log into the file
    grown = (tmp_path / "earmark.db").stat().st_size - empty
    assert 0 < grown - sum(map(len, raws)) < 120 * len(raws)


def test_a_snapshot_shows_one_moment_and_holds_nobody_up(tmp_path: Path) -> None:
    bench = Bench(new_store(tmp_path)).found()
    node = bench.enrol(3, "n1")
    snapshot = SqliteStore(tmp_path / "earmark.db", snapshot=True)
    live = SqliteStore(tmp_path / "earmark.db")
    bench.admit(node.read())
    assert (snapshot.size(), live.size()) == (2, 3)
    snapshot.close()
    live.close()


def test_what_fails_inside_a_transaction_has_not_happened(tmp_path: Path) -> None:
    store = new_store(tmp_path)

    def write_nowhere() -> None:
        with store.transaction():
            store.submit(b"kept?")
            store._db.execute("INSERT INTO nowhere VALUES (1)")

    def write_twice() -> None:
        with store.transaction():
            store.add_entries([(0, chain.id, 1, 0, b"one")])
            store.add_entries([(0, chain.id, 2, 0, b"two")])

    with pytest.raises(StoreError, match="no such table"):
        write_nowhere()
    assert store.submitted() == []
    chain = store.add_chain(b"k" * 32, "n1")
    with pytest.raises(CorruptLog, match="UNIQUE"):
        write_twice()
    assert store.size() == 0


def test_foreign_missing_and_doubled_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="earmark init"):
        SqliteStore(tmp_path / "earmark.db")
    new_store(tmp_path).close()
    with pytest.raises(ConfigError, match="there already"):
        new_store(tmp_path)
    foreign = tmp_path / "foreign.db"
    foreign.write_bytes(b"not a database at all, though long enough to look like a file" * 100)
    with pytest.raises(CorruptLog, match="not a database"):
        SqliteStore(foreign)
    newer = tmp_path / "newer.db"
    with sqlite3.connect(newer) as database:
        database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(ConfigError, match="schema 99"):
        SqliteStore(newer)


def test_final_anchors_leave_out_a_target_where_there_is_another(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    with store.transaction():
        for target, height in (("dev", 1), ("real", 2), ("dev", 3)):
            store.put_anchor(AnchorRow(target, "evm", target, height, b"h" * 32, "final"))
        store.put_anchor(AnchorRow("real", "evm", "real", 4, b"h" * 32, "mined"))
    assert [(row.target, row.height) for row in store.final_anchors(0)] == [("dev", 1)]
    assert [(row.target, row.height) for row in store.final_anchors(0, "dev")] == [("real", 2)]
    assert store.final_anchors(3, "dev") == []
    assert [row.height for row in store.final_anchors(0, "d*", "x")] == [2]
    newest = store.newest_anchor("real")
    assert newest
    assert (newest.height, newest.state) == (4, "mined")


OLD_ANCHORS = """
CREATE TABLE anchors (
    target TEXT NOT NULL, kind TEXT NOT NULL, height INTEGER NOT NULL, block_hash BLOB NOT NULL, state TEXT NOT NULL,
    payload BLOB NOT NULL, reference TEXT NOT NULL, reason TEXT NOT NULL, evidence BLOB NOT NULL,
    planned_at_ms INTEGER NOT NULL, changed_at_ms INTEGER NOT NULL, attempts INTEGER NOT NULL,
    PRIMARY KEY (target, height)
) STRICT, WITHOUT ROWID
"""


def old_store(folder: Path) -> Path:
    """A store of version 1, with a statement and an anchor in it."""
    bench = Bench(new_store(folder)).found()
    bench.store.close()
    path = folder / "earmark.db"
    with sqlite3.connect(path) as database:
        for table in ("cosignatures", "witnesses", "anchors"):
            database.execute(f"DROP TABLE {table}")
        database.execute(OLD_ANCHORS)
        row = "eip155:1", "evm", 0, b"h" * 32, "broadcast", b"\2raw", "0x1", "why", b"", 5, 6, 1
        database.execute("INSERT INTO anchors VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        database.execute("PRAGMA user_version=1")
    database.close()
    return path


def test_a_store_of_an_older_version_is_brought_forward(tmp_path: Path) -> None:
    path = old_store(tmp_path)
    first, second = SqliteStore(path), SqliteStore(path, snapshot=True)
    cosignature = Cosignature("w.example", b"1234", 5, bytes(64))
    with first.transaction():
        first.add_cosignature(0, cosignature)
    assert first.cosignatures(0) == [cosignature]
    assert first.newest_cosigned("w.example", b"1234") == (0, cosignature)
    assert first.newest_cosigned("v.example", b"1234") is None
    assert (second.size(), second.cosignatures(0)) == (1, [])
    assert first.faults() == second.faults() == []
    kept = AnchorRow(
        "eip155:1", "evm", "eip155:1", 0, b"h" * 32, "broadcast", b"\2raw", "0x1", "why", b"", 0, 5, 6, 6, 1
    )
    assert first.anchor_rows() == second.anchor_rows() == [kept]
    for store in (first, second):
        store.close()


def test_processes_that_bring_it_forward_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = old_store(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(lambda _: version_of(path), range(8)))
    assert versions == [VERSION] * 8


def version_of(path: Path) -> int:
    store = SqliteStore(path)
    try:
        return int(store._one("PRAGMA user_version")[0])
    finally:
        store.close()


def test_a_migration_that_fails_leaves_the_old_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = old_store(tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr("earmark.store.sqlite.statements", lambda *_: ["CREATE TABLE witnesses (x)", "no SQL"])
        with pytest.raises(StoreError, match="no"):
            SqliteStore(path)
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
    database.close()
    assert version_of(path) == VERSION
