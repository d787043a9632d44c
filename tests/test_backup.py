"""Backups of a farm that works on: consistent, checked, private, and good to go on from where nothing newer exists."""

import shutil
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import Earmark, in_farm
from earmark import access, backup, operator
from earmark.backup import copy_farm
from earmark.cli import main
from earmark.config import Farm, open_farm
from earmark.errors import ConfigError, CorruptLog
from earmark.log import Log
from earmark.statement import decode
from earmark.store import SealedBlock
from earmark.store.sqlite import SqliteStore
from earmark.verifier import receive
from farm import NOW_S
from sample_farm import SampleFarm
from services import GatewayProcess, Mosquitto, TestNode, free_port, gateway, logged, make_farm, wait_for

pytest_plugins = ["command_fixtures"]


def no_progress(done: int, total: int) -> None:
    assert 0 <= done <= total


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}


# the commands


def test_a_backup_without_keys_can_be_checked_and_proven_from(
    earmark: Earmark, sample: SampleFarm, tmp_path: Path
) -> None:
    sample.farm.releases.mkdir(mode=0o700)
    (sample.farm.releases / "00").write_bytes(b"a file of a release")
    said = in_farm(earmark)("log", "backup", "copy")
    assert said.status == 0, said.err
    assert "14 leaves, sealed up to block " in said.words
    assert "no private key" in said.words
    assert {path.name for path in Path("copy").iterdir()} == {
        "authority.pem",
        "earmark.checkpoint",
        "earmark.db",
        "earmark.toml",
        "operator.did",
        "releases",
    }
    assert Path("copy/releases/00").read_bytes() == b"a file of a release"
    assert modes(Path("copy")) == {0o600, 0o700}
    assert logged(open_farm(Path("copy"))) == logged(sample.farm)
    checked = earmark("log", "check", "--farm", "copy", "--json")
    assert (checked.status, checked.json()["holds"]) == (0, True), checked.out
    proven = earmark("prove", "3-7", "-o", "lot.earmark", "--farm", "copy")
    assert proven.status == 0, proven.err
    assert earmark("check", "lot.earmark", "--operator", sample.did).status == 0


def test_keys_go_along_only_when_asked_for_and_that_is_said(earmark: Earmark, sample: SampleFarm) -> None:
    sample.farm.key_file("operator").with_suffix(".key.part").write_text("half of a key")
    said = in_farm(earmark)("log", "backup", "copy", "--keys")
    assert "PRIVATE KEYS" in said.out
    assert "keys/operator.key" in said.out
    made = in_farm(earmark)("log", "backup", "again", "--keys", "--json").json()
    assert {"keys/operator.key", "keys/gateway.key", "keys/broker.json"} <= set(made["private"])
    assert (made["folder"], made["size"], made["sealed"]) == ("again", 14, 13)
    assert made["bytes"] == sum(path.stat().st_size for path in Path("again").rglob("*") if path.is_file())
    assert modes(Path("copy")) == {0o600, 0o700}
    assert open_farm(Path("copy")).signer("operator").did == sample.did
    assert not list(Path("copy").rglob("*.part"))


def test_a_restored_farm_goes_on(earmark: Earmark, sample: SampleFarm) -> None:
    assert in_farm(earmark)("log", "backup", "copy", "--keys").status == 0
    shutil.rmtree("farm")
    said = earmark("log", "restore", "copy", "--farm", "new")
    assert said.status == 0, said.err
    assert "earmark run --farm new" in said.out
    enrolled = earmark("node", "enroll", sample.stranger.signer.did, "porch-9", "--farm", "new")
    assert enrolled.status == 0, enrolled.err
    assert "leaf 14" in enrolled.words
    assert earmark("log", "check", "--farm", "new").status == 0


def test_restoring_without_keys_says_what_is_missing(earmark: Earmark, sample: SampleFarm) -> None:
    in_farm(earmark)("log", "backup", "copy")
    said = earmark("log", "restore", "copy", "--farm", "new")
    assert said.status == 0
    assert "has no private keys: put the farm's keys/ there" in said.words


@pytest.mark.parametrize("there", ["folder", "file", "link"])
def test_nothing_is_overwritten(earmark: Earmark, sample: SampleFarm, there: str) -> None:
    in_farm(earmark)("log", "backup", "copy")
    target = Path("target")
    {"folder": target.mkdir, "file": target.touch, "link": lambda: target.symlink_to("nowhere")}[there]()
    for words in (("log", "backup", "target", "--farm", "farm"), ("log", "restore", "copy", "--farm", "target")):
        said = earmark(*words)
        assert said.status == 3
        assert "target is there already and is not overwritten" in said.err
    nowhere = earmark("log", "restore", "copy")
    assert nowhere.status == 2
    assert "--farm" in nowhere.err
    assert not [path for path in Path().iterdir() if path.name.startswith(".")]


def test_an_old_database_put_back_is_found_by_log_check_too(earmark: Earmark, sample: SampleFarm) -> None:
    in_farm(earmark)("log", "backup", "copy")
    newer = Path("copy/earmark.checkpoint").read_bytes()
    alter(Path("copy/earmark.db"), "DELETE FROM anchors")
    alter(Path("copy/earmark.db"), "DELETE FROM blocks WHERE height = (SELECT max(height) FROM blocks)")
    said = earmark("log", "check", "--farm", "copy", "--json")
    assert said.status == 1
    assert ["older copy" in found["what"] for found in said.json()["contradictions"]] == [True]
    assert Path("copy/earmark.checkpoint").read_bytes() == newer


def test_after_losing_the_log_a_new_one_keeps_operator_and_nodes(earmark: Earmark, sample: SampleFarm) -> None:
    """As docs/operating.md says: all keys but the gateway's."""
    in_farm(earmark)("log", "backup", "copy", "--keys")
    shutil.copytree("copy/keys", "new/keys")
    shutil.copy("copy/authority.pem", "new")
    Path("new/keys/gateway.key").unlink()
    assert earmark("init", "new", "--site", "home").status == 0
    old, new = open_farm(Path("copy")), open_farm(Path("new"))
    assert new.signer("operator").did == old.signer("operator").did
    assert new.signer("gateway").did != old.signer("gateway").did
    node = sample.field
    operator.enrol(new, node.key, node.sub)
    store = SqliteStore(new.database)
    log = Log(store, new.operator_key(), new.signer("gateway"), lambda: NOW_S * 1000 + 10**9)
    assert node.seq > 1
    [outcome] = log.admit([receive(node.read(), "up", NOW_S * 1000)])
    assert (outcome.error, outcome.index) == (None, 2)
    assert log.seal()
    store.close()
    assert earmark("log", "check", "--farm", "new").status == 0
    assert access.node_password(new, node.key) == access.node_password(old, node.key)
    assert (new.folder / "authority.pem").read_bytes() == (old.folder / "authority.pem").read_bytes()


# what is checked before a copy counts


def alter(database: Path, sql: str) -> None:
    with sqlite3.connect(database) as db:
        db.execute(sql)
    db.close()


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("UPDATE blocks SET checkpoint = zeroblob(10) WHERE height = (SELECT max(height) FROM blocks)", "block "),
        ("DELETE FROM entries WHERE idx >= 12", "does not hold the 13 leaves"),
        ("UPDATE entries SET statement = zeroblob(9) WHERE idx = 13", "newest statement"),
        ("CREATE TABLE more (a)", "damaged"),
    ],
)
def test_a_copy_that_does_not_hold_is_none(sample: SampleFarm, tmp_path: Path, sql: str, what: str) -> None:
    alter(sample.farm.database, sql)
    with pytest.raises(CorruptLog, match=what):
        copy_farm(sample.farm, tmp_path / "copy", with_keys=True, progress=no_progress)
    assert {path.name for path in tmp_path.iterdir()} == {"farm"}


def test_a_copy_that_fails_midway_leaves_nothing(
    sample: SampleFarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(backup, "_copy_file", fail)
    with pytest.raises(OSError, match="No space"):
        copy_farm(sample.farm, tmp_path / "copy", with_keys=False, progress=no_progress)
    assert {path.name for path in tmp_path.iterdir()} == {"farm"}


def test_an_old_database_is_not_backed_up_as_if_it_were_the_newest(sample: SampleFarm, tmp_path: Path) -> None:
    copy_farm(sample.farm, tmp_path / "one", with_keys=True, progress=no_progress)
    older = open_farm(tmp_path / "one")
    alter(older.database, "DELETE FROM blocks WHERE height = (SELECT max(height) FROM blocks)")
    with pytest.raises(CorruptLog, match="older copy"):
        copy_farm(older, tmp_path / "two", with_keys=True, progress=no_progress)


def test_a_farm_without_a_log_is_named(sample: SampleFarm, tmp_path: Path) -> None:
    sample.farm.database.unlink()
    with pytest.raises(ConfigError, match=r"earmark\.db is missing"):
        copy_farm(sample.farm, tmp_path / "copy", with_keys=False, progress=no_progress)


# while the gateway runs


class Load:
    """Nodes that sign and send until they are told to stop."""

    def __init__(self, nodes: list[TestNode]) -> None:
        self._nodes = nodes
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            for node in self._nodes:
                for _ in range(5):
                    node.say(node.signing.read())
                node.send()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def newest(farm: Farm) -> SealedBlock | None:
    store = SqliteStore(farm.database)
    try:
        return store.newest_block()
    finally:
        store.close()


def is_sealed(farm: Farm) -> bool:
    block = newest(farm)
    return block is not None and block.size == len(logged(farm))


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[int]:
    port = free_port()
    process = Mosquitto(tmp_path / "mosquitto", port)
    process.start()
    yield port
    process.kill()


def test_the_newest_backup_goes_on_with_the_same_nodes_and_an_older_one_is_refused(
    tmp_path: Path, mosquitto: int
) -> None:
    farm = make_farm(tmp_path / "farm", mosquitto, embedded=False)
    nodes = [TestNode(farm, mosquitto, seed, f"n{seed}") for seed in (3, 4, 5)]
    for node in nodes:
        operator.enrol(farm, node.signing.key, node.signing.sub)
    try:
        with gateway(farm):
            load = Load(nodes)
            wait_for(lambda: len(logged(farm)) > 100, "there is some load")
            while_running = [tmp_path / f"during-{number}" for number in range(3)]
            for target in while_running:
                assert main(["log", "backup", str(target), "--keys", "--farm", str(farm.folder)]) == 0
            wait_for(lambda: len(logged(farm)) > len(logged(open_farm(while_running[-1]))) + 50, "there is more")
            load.stop()
            for node in nodes:
                node.send_until_acknowledged()
            wait_for(lambda: is_sealed(farm), "it is sealed")
        assert main(["log", "backup", str(tmp_path / "last"), "--keys", "--farm", str(farm.folder)]) == 0
        shutil.rmtree(farm.folder)
        for target in while_running:
            assert main(["log", "check", "--farm", str(target)]) == 0

        assert main(["log", "restore", str(tmp_path / "last"), "--farm", str(tmp_path / "new")]) == 0
        new = open_farm(tmp_path / "new")
        before = logged(new)
        assert {raw for node in nodes for raw in node.said.values()} <= set(before)
        with gateway(new):
            for node in nodes:
                node.say(node.signing.read())
                node.send_until_acknowledged()
            wait_for(lambda: is_sealed(new), "it is sealed")
        after = logged(new)
        assert after[: len(before)] == before
        assert sorted(decode(raw).seq for raw in after[-3:]) == sorted(max(node.said) for node in nodes)
        assert main(["log", "check", "--farm", str(new.folder)]) == 0

        assert main(["log", "restore", str(while_running[0]), "--farm", str(tmp_path / "old")]) == 0
        old = open_farm(tmp_path / "old")
        size = len(logged(old))
        process = GatewayProcess(old)
        process.start()
        assert process.wait() == 3
        assert "this store is an older copy of its log" in process.said
        known = newest(new)
        assert known
        assert f"the broker has this gateway's own checkpoint of block {known.height}" in process.said
        assert len(logged(old)) == size
    finally:
        for node in nodes:
            node.close()


def test_a_backup_is_one_moment_however_much_is_written_meanwhile(
    sample: SampleFarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer commits between any two steps: the copy is neither begun anew nor mixed."""
    monkeypatch.setattr(backup, "STEP_PAGES", 1)
    store = SqliteStore(sample.farm.database)
    before, steps = logged(sample.farm), []

    def write(done: int, total: int) -> None:
        steps.append(done)
        with store.transaction():
            store.submit(bytes(5000))

    copied = copy_farm(sample.farm, tmp_path / "copy", with_keys=True, progress=write)
    store.close()
    assert steps == sorted(set(steps)), "it began anew"
    assert len(steps) > 10
    assert (copied.size, logged(open_farm(tmp_path / "copy"))) == (len(before), before)
    copy = SqliteStore(tmp_path / "copy" / "earmark.db")
    assert copy.submitted() == []
    copy.close()


def test_a_backup_restores_from_a_medium_that_cannot_be_written(sample: SampleFarm, tmp_path: Path) -> None:
    """As far as its files go: the copy needs no files beside the database to be opened."""
    copy_farm(sample.farm, tmp_path / "copy", with_keys=True, progress=no_progress)
    with sqlite3.connect(f"file:{tmp_path}/copy/earmark.db?mode=ro&immutable=1", uri=True) as db:
        assert db.execute("SELECT count(*) FROM entries").fetchone() == (14,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    db.close()
    names = {path.name for path in (tmp_path / "copy").iterdir()}
    copy_farm(open_farm(tmp_path / "copy"), tmp_path / "new", with_keys=True, progress=no_progress)
    assert {path.name for path in (tmp_path / "copy").iterdir()} == names
