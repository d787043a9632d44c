"""The tables of the SQLite store, and what brings an older file to them."""

from earmark.store.anchors import ANCHORS

_WITNESSES = """
CREATE TABLE cosignatures (
    height INTEGER NOT NULL, name TEXT NOT NULL, key_id BLOB NOT NULL, time_s INTEGER NOT NULL, signature BLOB NOT NULL,
    PRIMARY KEY (height, name, key_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE witnesses (
    vkey TEXT PRIMARY KEY, state TEXT NOT NULL, message TEXT NOT NULL, changed_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""

SCHEMA = f"""
CREATE TABLE chains (id INTEGER PRIMARY KEY, key BLOB NOT NULL, sub TEXT NOT NULL, UNIQUE (key, sub)) STRICT;
CREATE TABLE entries (
    idx INTEGER PRIMARY KEY, chain INTEGER NOT NULL, seq INTEGER NOT NULL, received_at_ms INTEGER NOT NULL,
    statement BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX entries_seq ON entries (chain, seq);
CREATE TABLE runs (
    chain INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (chain, first)
) STRICT, WITHOUT ROWID;
CREATE TABLE tiles (
    level INTEGER NOT NULL, number INTEGER NOT NULL, hashes BLOB NOT NULL, PRIMARY KEY (level, number)
) STRICT;
CREATE TABLE blocks (
    height INTEGER PRIMARY KEY, size INTEGER NOT NULL, header BLOB NOT NULL, checkpoint BLOB NOT NULL,
    receipt BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX blocks_size ON blocks (size);
CREATE TABLE submissions (id INTEGER PRIMARY KEY AUTOINCREMENT, statement BLOB NOT NULL) STRICT;
CREATE TABLE quarantine (
    entry BLOB NOT NULL UNIQUE, received_at_ms INTEGER NOT NULL, topic TEXT NOT NULL, size INTEGER NOT NULL,
    raw BLOB NOT NULL, reason TEXT NOT NULL, message TEXT NOT NULL, held INTEGER NOT NULL, key BLOB NOT NULL,
    sub TEXT NOT NULL, seq INTEGER NOT NULL, due_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX quarantine_held ON quarantine (reason, key, seq) WHERE held;
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE beacons (
    nonce BLOB PRIMARY KEY, message BLOB NOT NULL, headers BLOB NOT NULL, at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
{ANCHORS}{_WITNESSES}"""

MIGRATIONS = {
    1: f"""
ALTER TABLE anchors RENAME TO anchors_1;
{ANCHORS}
INSERT INTO anchors SELECT target, kind, target, height, block_hash, state, payload, reference, reason, evidence, 0,
    planned_at_ms, changed_at_ms, changed_at_ms, attempts FROM anchors_1;
DROP TABLE anchors_1;
{_WITNESSES}
"""
}
"""What makes the next version out of each: a database is brought forward when it is opened."""
VERSION = max(MIGRATIONS) + 1


def statements(script: str) -> list[str]:
    """Return a script, statement by statement."""
    return [statement.strip() for statement in script.split(";")[:-1]]
