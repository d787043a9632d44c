"""A calendar of our own: its tree, its ledger under the state machine, its settings."""

import contextlib
import dataclasses
import hashlib
import json
import random
import sqlite3
from pathlib import Path

import pytest

from calendar_fakes import Chain, Clock, MiningTarget
from commands import DOCS
from earmark import ots
from earmark.anchoring import Anchoring, Plan
from earmark.calendar import tree
from earmark.calendar.folder import CalendarSettings, create_calendar, open_calendar
from earmark.calendar.ledger import Ledger
from earmark.errors import ConfigError, CorruptLog
from earmark.evidence import check

# the tree


@pytest.mark.parametrize("size", range(1, 40))
def test_every_leaf_s_way_leads_to_the_root(size: int) -> None:
    leaves = [hashlib.sha256(bytes([at])).digest() for at in range(size)]
    made = tree.levels(leaves)
    assert made[-1] == [naive_root(leaves)]
    for index, leaf in enumerate(leaves):
        ops = tree.way(made, index)
        assert ots.commit(leaf, ops) == made[-1][0]
        assert len(ops) <= 2 * (size - 1).bit_length()


def naive_root(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(naive_root(leaves[:half]) + naive_root(leaves[half:])).digest()


# the ledger under the state machine


def commitment(at: int) -> bytes:
    return hashlib.sha256(b"round %d" % at).digest()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "calendar.db", create=True)


def add(ledger: Ledger, *numbers: int) -> None:
    for number in numbers:
        ledger.add_round(commitment(number), 1, 0)


def covered(ledger: Ledger, number: int) -> None:
    """A round's way leads to a block."""
    found = ledger.covering(number)
    assert found is not None
    row, first = found
    made = tree.levels(ledger.commitments(first, row.height))
    assert ots.commit(commitment(number), tree.way(made, number - first)) == row.block_hash
    assert check(row.kind, row.chain, row.evidence, row.block_hash)


def test_each_anchor_covers_all_rounds_since_the_one_before(ledger: Ledger) -> None:
    chain, now_ms = Chain(), 10**12
    target = MiningTarget(chain, depth=1)
    anchoring = Anchoring(ledger, target, Plan(60), lambda: now_ms)
    anchoring.step()
    assert ledger.anchor_rows() == []
    for numbers in ([1], [2, 3], [4, 5, 6, 7, 8]):
        add(ledger, *numbers)
        now_ms += 60_000
        anchoring.step()
        anchoring.step()
    assert [(row.height, row.state) for row in ledger.anchor_rows()] == [(1, "final"), (3, "final"), (8, "final")]
    for number in range(1, 9):
        covered(ledger, number)
    now_ms += 60_000
    anchoring.step()
    assert len(ledger.anchor_rows()) == 3
    assert dataclasses.astuple(ledger.count()) == (8, 8, 0)
    assert ledger.covering(9) is None


def test_another_target_covers_what_the_first_one_left_open(ledger: Ledger) -> None:
    chain, now_ms = Chain(), 10**12
    first, second = MiningTarget(chain, depth=1), MiningTarget(chain, depth=1)
    second.place = dataclasses.replace(second.place, name="other")
    add(ledger, 1)
    anchoring = Anchoring(ledger, first, Plan(60), lambda: now_ms)
    anchoring.step()
    anchoring.step()
    first.is_down = True
    add(ledger, 2)
    now_ms += 60_000
    anchoring.step()
    add(ledger, 3)
    other = Anchoring(ledger, second, Plan(60), lambda: now_ms)
    other.step()
    other.step()
    for number in (1, 2, 3):
        covered(ledger, number)
    first.is_down = False
    add(ledger, 4)
    now_ms += 60_000
    anchoring.step()
    anchoring.step()
    other.step()
    other.step()
    assert {row.state for row in ledger.anchor_rows()} == {"final"}
    for number in (1, 2, 3, 4):
        covered(ledger, number)


def test_a_round_that_anchors_left_out_is_covered_by_the_next_target(ledger: Ledger) -> None:
    """The second of two anchors becomes final alone, and then the settings name another target."""
    clock = Clock()
    first, second = MiningTarget(Chain(), depth=1), MiningTarget(Chain(), depth=1)
    second.place = dataclasses.replace(second.place, name="other")
    anchoring = Anchoring(ledger, first, Plan(60), clock.now_ms)
    ledger.add_round(commitment(1), 3, 7)
    first.is_down = True
    anchoring.step()
    first.is_down = False
    add(ledger, 2)
    for _ in range(2):  # the first one is not tried meanwhile
        clock.now_s += 1
        ledger.put_anchor(dataclasses.replace(ledger.anchor_rows()[0], attempts=9, changed_at_ms=clock.now_ms()))
        Anchoring(ledger, first, Plan(0), clock.now_ms).step()
    assert [row.state for row in ledger.anchor_rows()] == ["signed", "final"]
    assert dataclasses.astuple(ledger.count()) == (4, 2, 1)
    assert ledger.waiting_since() == 7
    other = Anchoring(ledger, second, Plan(60), clock.now_ms)
    other.step()
    other.step()
    covered(ledger, 1)
    covered(ledger, 2)
    assert dataclasses.astuple(ledger.count()) == (4, 2, 0)
    assert ledger.waiting_since() is None


@pytest.mark.parametrize("seed", range(5))
def test_crashes_and_failures_leave_no_round_out(tmp_path: Path, seed: int) -> None:
    rng, chain, clock = random.Random(seed), Chain(), Clock()
    target = MiningTarget(chain, depth=3)
    path = tmp_path / "calendar.db"
    Ledger(path, create=True).close()
    number = 0
    for _ in range(80):
        ledger = Ledger(path)  # as after a crash
        anchoring = Anchoring(ledger, target, Plan(30), clock.now_ms)
        for _ in range(rng.randrange(4)):
            if rng.random() < 0.8:
                number += 1
                add(ledger, number)
            target.is_down = rng.random() < 0.3
            clock.now_s += 20
            anchoring.step()
        if rng.random() < 0.5:
            chain.mine()
        ledger.close()
    target.is_down = False
    ledger = Ledger(path)
    anchoring = Anchoring(ledger, target, Plan(30), clock.now_ms)
    for _ in range(20):
        clock.now_s += 61
        chain.mine()
        anchoring.step()
    for at in range(1, number + 1):
        covered(ledger, at)
    assert len({row.block_hash for row in ledger.anchor_rows()}) == len(ledger.anchor_rows())


def test_a_ledger_that_lacks_a_round_is_not_anchored(ledger: Ledger) -> None:
    add(ledger, 1, 2, 3)
    ledger._db.execute("DELETE FROM rounds WHERE number = 2")
    with pytest.raises(CorruptLog, match="lacks some of the rounds 1 to 3"):
        ledger.newest_digest("any")


def test_a_ledger_is_made_once_and_read_in_its_own_form(tmp_path: Path) -> None:
    path = tmp_path / "calendar.db"
    with pytest.raises(ConfigError, match="earmark calendar init"):
        Ledger(path)
    made = Ledger(path, create=True)
    add(made, 1)
    made = Ledger(path, create=True)
    assert made.count().rounds == 1
    made._db.execute("PRAGMA user_version=9")
    with pytest.raises(ConfigError, match="schema 9"):
        Ledger(path)


# settings


def test_a_calendar_is_made_with_its_settings_and_not_twice(tmp_path: Path) -> None:
    made = create_calendar(tmp_path / "c", "https://calendar.example", "127.0.0.1", 8470)
    assert open_calendar(tmp_path / "c") == made
    assert made.anchor.called == "calendars"
    with pytest.raises(ConfigError, match="a calendar already"):
        create_calendar(tmp_path / "c", "https://other.example", "127.0.0.1", 8470)
    with pytest.raises(ConfigError, match="no calendar in"):
        open_calendar(tmp_path / "d")


def test_an_init_that_was_killed_is_taken_up(tmp_path: Path) -> None:
    """Between the file and its tables, and between those and the settings."""
    with contextlib.closing(sqlite3.connect(tmp_path / "calendar.db")) as empty:
        empty.execute("PRAGMA journal_mode=WAL")
    for _ in range(2):
        (tmp_path / "calendar.toml").unlink(missing_ok=True)
        made = create_calendar(tmp_path, "https://calendar.example", "127.0.0.1", 8470)
        assert Ledger(made.database).count().rounds == 0


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (('url = "https://calendar.example"', 'url = "calendar"'), "like https://calendar.example"),
        (('url = "https://calendar.example"', 'url = "https://a?b"'), "like https://calendar.example"),
        (("https://calendar.example", "https://calendar.example/sub"), "without a path"),
        (("https://calendar.example", "https://:8470"), "like https://calendar.example"),
        (("https://calendar.example", "https://calendar.example:http"), "like https://calendar.example"),
        (("https://calendar.example", "https://calendar.example:65536"), "like https://calendar.example"),
        (("port = 8470", "port = 0"), "1 to 65535"),
        (("port = 8470", "port = 1\nround_s = 9"), "at most 3"),
        (("port = 8470", "port = 1\nround_most = 0"), "at least 1"),
        (("port = 8470", "port = 1\nmost = 0"), "unknown setting 'most' in \\[calendar\\]"),
        (("[anchor]", "[[anchor]]"), "anchor is a table"),
        (("[anchor]", "[more]"), "unknown table \\[more\\]"),
        (("[anchor]", "[anchor"), "not TOML"),
        (("headers = ", "# headers = "), "needs `headers` or `rpc_file`"),
        (("https://calendar.example", "https://a.pool.opentimestamps.org"), "through itself"),
        (("calendars = [", "# calendars = ["), "needs chain, rpc_file and key_file, or calendars"),
        (("calendars = ", 'chain = "eip155:1"\nrpc_file = "a"\nkey_file = "b"\n# calendars = '), "anchors on Bitcoin"),
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path: Path, change: tuple[str, str], complaint: str) -> None:
    create_calendar(tmp_path, "https://calendar.example", "127.0.0.1", 8470)
    path = tmp_path / "calendar.toml"
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    with pytest.raises(ConfigError, match=complaint):
        open_calendar(tmp_path)


def test_every_setting_of_a_calendar_is_documented() -> None:
    rows = ["| setting | default | unit | meaning |", "|---|---|---|---|"]
    for one in dataclasses.fields(CalendarSettings):
        unit, meaning = one.metadata["unit"], one.metadata["meaning"]
        rows.append(f"| `{one.name}` | `{json.dumps(one.default)}` | {unit} | {meaning} |")
    table = "\n".join(rows)
    assert table in (DOCS / "operating.md").read_text(), f"docs/operating.md: put this in:\n\n{table}\n"
