"""The store: what it costs on disk, what a snapshot shows, what a failed or foreign file is called."""

import sqlite3
from pathlib import Path

import pytest

from earmark.errors import ConfigError, CorruptLog, StoreError
from earmark.store import AnchorRow
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
            store.put_anchor(AnchorRow(target, "evm", height, b"h" * 32, "final"))
        store.put_anchor(AnchorRow("real", "evm", 4, b"h" * 32, "mined"))
    assert [(row.target, row.height) for row in store.final_anchors(0)] == [("dev", 1)]
    assert [(row.target, row.height) for row in store.final_anchors(0, besides="dev")] == [("real", 2)]
    assert store.final_anchors(3, besides="dev") == []
    newest = store.newest_anchor("real")
    assert newest
    assert (newest.height, newest.state) == (4, "mined")
