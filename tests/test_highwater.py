"""A store that went back in time is noticed, by the file, the broker and the nodes, and nothing is served from it."""

import asyncio
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from earmark import gateway as running
from earmark import highwater, operator
from earmark.access import node_settings
from earmark.broker import Broker
from earmark.config import Farm
from earmark.cose import key_of
from earmark.errors import ConfigError, CorruptLog, StoreError
from earmark.gateway import Gateway
from earmark.highwater import BrokerMemory, HighWater
from earmark.mqtt import Endpoint, Message
from earmark.store import SealedBlock
from earmark.store.sqlite import SqliteStore
from farm import Bench, Signing, new_store
from services import GatewayProcess, Mosquitto, TestNode, free_port, gateway, logged, make_farm, wait_for

FIRMWARE = Path(__file__).resolve().parent.parent / "firmware" / "main.py"


class Marked:
    """A log of two blocks, and copies of its database as it was after each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.bench = Bench(new_store(folder)).found()
        self.node = self.bench.enrol(3, "n1")
        self.path = folder / "earmark.checkpoint"
        self.blocks = [self.grow("one"), self.grow("two")]

    def grow(self, name: str) -> SealedBlock:
        """Log a statement and seal it; keep a copy of the database under this name."""
        self.bench.admit(self.node.read())
        block = self.bench.log.seal()
        assert block
        (self.folder / name).mkdir()
        shutil.copy(self.folder / "earmark.db", self.folder / name)
        shutil.copy(self.folder / "earmark.db-wal", self.folder / name)
        return block

    def mark(self, name: str = "") -> HighWater:
        store = SqliteStore(self.folder / name / "earmark.db") if name else self.bench.store
        return HighWater(store, self.path, self.bench.origin, self.bench.gateway.key)


@pytest.fixture
def marked(tmp_path: Path) -> Marked:
    return Marked(tmp_path / "marked")


# what a store is held against


def test_what_was_kept_holds_for_the_store_and_not_for_an_older_copy_of_it(marked: Marked) -> None:
    mark = marked.mark()
    mark.check()  # no file yet, no evidence
    assert mark.keep(None) is None
    assert mark.keep(marked.blocks[1]) == marked.blocks[1].checkpoint
    assert mark.keep(marked.blocks[1]) is None
    assert marked.path.read_bytes() == marked.blocks[1].checkpoint
    assert marked.path.stat().st_mode & 0o777 == 0o600
    mark.check()
    marked.mark("two").check()
    with pytest.raises(
        CorruptLog, match=r"older copy of its log: it ends at block 0 with 3 leaves, sealed 2026-.* UTC"
    ) as old:
        marked.mark("one").check()
    for words in (
        "earmark.checkpoint, written ",
        "block 1 with 4 leaves",
        "a second time",
        "Find the newer copy",
        "`earmark init`",
        "not acknowledged",
        "stay valid",
    ):
        assert words in str(old.value)


def test_an_older_checkpoint_of_the_log_holds_wherever_it_comes_from(marked: Marked) -> None:
    mark = marked.mark()
    assert mark.hold(marked.blocks[0].checkpoint, "the broker")
    assert mark.hears(marked.blocks[0].checkpoint, "earmark/v1/home/n1/up")
    with pytest.raises(
        CorruptLog, match="a node, on earmark/v1/home/n1/up, has this gateway's own checkpoint of block 1"
    ):
        marked.mark("one").hears(marked.blocks[1].checkpoint, "earmark/v1/home/n1/up")


def test_two_copies_that_both_went_on_are_two_histories(marked: Marked) -> None:
    other = Bench(SqliteStore(marked.folder / "one" / "earmark.db"))
    other.admit(Signing(3, "n1").read(7))  # an equivocation: refused, so that the operator's next statement comes first
    other.operator.seq, other.operator.prev = marked.bench.operator.seq, marked.bench.operator.prev
    other.enrol(5, "n5")
    forked = other.log.seal()
    assert forked
    assert forked.size == marked.blocks[1].size
    with pytest.raises(CorruptLog, match="two histories of one log: block 1 seals 4 leaves here, and 4 there"):
        marked.mark().hold(forked.checkpoint, "the broker")


def test_what_is_no_checkpoint_of_this_log_is_no_evidence(marked: Marked) -> None:
    older = marked.mark("one")
    good = marked.blocks[1].checkpoint
    stranger = Bench(new_store(marked.folder.parent))
    for bad in (b"", b"earmark/", good[:-9], good.replace(b"\n4\n", b"\n5\n"), good + b"x", good[::-1]):
        assert not older.hold(bad, "the broker")
    assert not HighWater(older._store, marked.path, "earmark/home/other", stranger.gateway.key).hold(good, "x")
    assert not older.hears(marked.node.read(), "earmark/v1/home/n1/up")


def test_a_file_that_is_damaged_or_not_written_stops_the_gateway(marked: Marked) -> None:
    marked.path.write_bytes(marked.blocks[1].checkpoint[:-30])
    with pytest.raises(ConfigError, match=r"earmark\.checkpoint holds no checkpoint of earmark/home/"):
        marked.mark().check()
    marked.path.unlink()
    marked.path.mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        marked.mark().check()
    mark = marked.mark()
    with pytest.raises(StoreError, match=r"earmark\.checkpoint cannot be written"):
        mark.keep(marked.blocks[1])
    marked.path.rmdir()
    assert mark.keep(marked.blocks[1])  # what was not kept is not taken for kept


# the running gateway


def start_and_refuse(farm: Farm) -> str:
    """Start a gateway that must refuse to serve, and return why."""
    process = GatewayProcess(farm)
    process.start()
    assert process.wait() == 3, process.said
    return [line for line in process.said.splitlines() if line.startswith("earmark: ")][-1]


def newest(farm: Farm) -> SealedBlock | None:
    store = SqliteStore(farm.database)
    try:
        return store.newest_block()
    finally:
        store.close()


def say(node: TestNode, count: int = 5) -> None:
    """Have the node's statements logged, and sealed."""
    for _ in range(count):
        node.say(node.signing.read())
    node.send_until_acknowledged()


def sealed(farm: Farm) -> None:
    wait_for(lambda: (block := newest(farm)) is not None and block.size == len(logged(farm)), "all is sealed")


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    made = Mosquitto(tmp_path / "mosquitto", free_port())
    made.start()
    yield made
    made.kill()


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    return make_farm(tmp_path / "farm", free_port())


@pytest.fixture
def node(farm: Farm) -> Iterator[TestNode]:
    made = TestNode(farm, farm.config.broker.port, 3, "n1")
    operator.enrol(farm, made.signing.key, "n1")
    yield made
    made.close()


def test_a_database_put_back_alone_is_refused_by_gateway_and_operator(farm: Farm, node: TestNode) -> None:
    with gateway(farm):
        say(node)
    shutil.copy(farm.database, farm.folder / "old")
    with gateway(farm):
        say(node)
        sealed(farm)
    before = newest(farm)
    shutil.move(farm.folder / "old", farm.database)
    said = start_and_refuse(farm)
    assert "older copy of its log" in said
    assert f"{farm.high_water}, written " in said
    assert before
    assert f"block {before.height} with {before.size} leaves" in said
    with pytest.raises(CorruptLog, match="older copy"):
        operator.enrol(farm, Signing(5, "n5").key, "n5")


@pytest.mark.parametrize("is_reachable", [True, False])
def test_a_folder_put_back_is_refused_by_the_broker_whenever_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mosquitto: Mosquitto, is_reachable: bool
) -> None:
    port = mosquitto._port
    farm = make_farm(tmp_path / "farm", port, embedded=False)
    node = TestNode(farm, port, 3, "n1")
    operator.enrol(farm, node.signing.key, "n1")
    with gateway(farm):
        say(node)
        sealed(farm)
    shutil.copytree(farm.folder, tmp_path / "old")
    with gateway(farm):
        say(node)
        sealed(farm)
    node.say(node.signing.read())
    shutil.rmtree(farm.folder)
    shutil.copytree(tmp_path / "old", farm.folder)
    size = len(logged(farm))
    failures: list[BaseException] = []

    def run() -> None:
        try:
            Gateway(farm).run(threading.Event())
        except CorruptLog as failure:
            failures.append(failure)

    monkeypatch.setattr(running, "ASK_S", 0.3)
    if not is_reachable:
        mosquitto.stop()
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    if not is_reachable:
        operator.enrol(farm, Signing(5, "n5").key, "n5")  # it started, and takes what comes without a broker
        size += 1
        mosquitto.start()
    node.send()
    thread.join(30)
    node.close()
    assert not thread.is_alive()
    assert "older copy of its log" in str(failures[0]) or "two histories of one log" in str(failures[0])
    assert "the broker" in str(failures[0])
    assert (len(logged(farm)), node.waiting) == (size, 1)


def test_a_farm_put_back_with_its_broker_is_refused_by_the_firmware(farm: Farm, tmp_path: Path) -> None:
    """Nothing on the gateway's machine remembers: the node, still running, tells what it has before it is answered."""
    folder = tmp_path / "node"
    folder.mkdir()
    command = [sys.executable, str(FIRMWARE), "--dir", str(folder)]
    did = subprocess.run([*command, "--identity"], capture_output=True, text=True, timeout=60, check=True).stdout
    key = key_of(did.strip())
    operator.enrol(farm, key, "n1")
    sensor = {"driver": "modelled", "name": "bed"}
    settings = node_settings(farm, "n1", key, is_here=True) | {"sensors": [sensor], "interval_s": 1, "resend_s": 5}
    settings["broker"] |= {"retry_s": [1, 1], "keepalive_s": 5}
    (folder / "node.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        with gateway(farm):
            wait_for(lambda: len(logged(farm)) >= 4, "the node's statements come")
            sealed(farm)
        shutil.copytree(farm.folder, tmp_path / "old")
        with gateway(farm):
            at_first = len(logged(farm))
            wait_for(lambda: (block := newest(farm)) is not None and block.size > at_first, "more is sealed")
            at_block = len(logged(farm))
            wait_for(lambda: len(logged(farm)) > at_block + 2, "the node had an acknowledgement since")
        newest_log = logged(farm)
        shutil.rmtree(farm.folder)
        shutil.copytree(tmp_path / "old", farm.folder)
        said = start_and_refuse(farm)
    finally:
        process.kill()
        process.wait(30)
    assert "older copy of its log" in said
    assert "a node, on earmark/v1/home/n1/up, has this gateway's own checkpoint" in said
    # What waited in the old broker may have gone in before the node came: nothing that it signed since.
    assert set(logged(farm)) <= set(newest_log)


def test_a_broker_that_keeps_nothing_for_us_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, marked: Marked
) -> None:
    """The user is a node's: it may neither write nor read there."""
    monkeypatch.setattr(highwater, "DENIED_S", 1.0)
    port = free_port()
    broker = Broker(tmp_path / "broker", "home", "127.0.0.1", port, lambda: {"n1": "secret"})
    memory = BrokerMemory(
        Endpoint("127.0.0.1", port, "n1", "secret"), "session", "earmark/v1/home/checkpoint", marked.mark()
    )

    async def ask() -> None:
        link = asyncio.create_task(memory.link.run())
        end_s = time.monotonic() + 20
        try:
            while time.monotonic() < end_s:
                memory.listen()
                await asyncio.sleep(0.02)
        finally:
            link.cancel()

    broker.start()
    try:
        with pytest.raises(ConfigError, match=r"gives nothing back on earmark/v1/home/checkpoint.*read and write"):
            asyncio.run(ask())
    finally:
        broker.stop()
    assert not memory.has_answered


def test_a_checkpoint_is_not_lost_by_a_store_that_fails_meanwhile(
    marked: Marked, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = BrokerMemory(Endpoint("127.0.0.1", 1), "session", "topic", old := marked.mark("one"))
    memory._take([Message("topic", marked.blocks[1].checkpoint, 1, 1, 0), Message("topic", memory._token, 2, 1, 0)])

    def fail(_: int) -> None:
        raise StoreError("disk I/O error")

    with monkeypatch.context() as broken:
        broken.setattr(old._store, "block", fail)
        with pytest.raises(StoreError):
            memory.listen()
    assert not memory.has_answered
    with pytest.raises(CorruptLog, match="the broker has this gateway's own checkpoint of block 1"):
        memory.listen()
    assert not memory.has_answered


def test_what_a_node_or_the_broker_showed_is_known_at_the_next_start(marked: Marked) -> None:
    """A service manager starts a gateway again at once; the node that told it may be asleep then."""
    old = marked.mark("one")
    old.keep(marked.blocks[0])
    old.check()
    with pytest.raises(CorruptLog):
        old.hears(marked.blocks[1].checkpoint, "earmark/v1/home/n1/up")
    with pytest.raises(CorruptLog, match=r"earmark\.checkpoint, written .* checkpoint of block 1"):
        marked.mark("one").check()
    marked.mark("two").check()  # the newer copy is taken back as it is


def test_nothing_is_sealed_before_the_broker_said_what_it_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mosquitto: Mosquitto
) -> None:
    """A copy made between two blocks would sign a second history with what it has, and anchor it."""
    monkeypatch.setattr(running, "ASK_S", 0.3)
    farm = make_farm(tmp_path / "farm", mosquitto._port, embedded=False)
    operator.enrol(farm, Signing(3, "n1").key, "n1")
    mosquitto.stop()
    stop = threading.Event()
    thread = threading.Thread(target=lambda: Gateway(farm).run(stop), daemon=True)
    thread.start()
    try:
        operator.enrol(farm, Signing(5, "n5").key, "n5")  # it runs, and takes what comes without a broker
        time.sleep(4 * farm.config.log.seal_every_s)
        assert newest(farm) is None
        assert not farm.high_water.exists()
        mosquitto.start()
        sealed(farm)
    finally:
        stop.set()
        thread.join(30)
    assert farm.high_water.exists()


@pytest.mark.parametrize("host", ["::1", "::"])
def test_the_embedded_broker_listens_on_ipv6(tmp_path: Path, host: str) -> None:
    port = free_port()
    broker = Broker(tmp_path / "broker", "home", host, port, lambda: {"n1": "secret"})
    broker.start()
    try:
        with socket.create_connection(("::1", port), timeout=5):
            pass
    finally:
        broker.stop()


# one writer

# one writer


def test_a_gateway_in_a_folder_whose_database_leads_to_anothers_is_refused(farm: Farm, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    for name in ("earmark.db", "keys", "operator.did", "authority.pem"):
        (linked / name).symlink_to(farm.folder / name)
    text = (farm.folder / "earmark.toml").read_text()
    (linked / "earmark.toml").write_text(text.replace(str(farm.config.broker.port), str(free_port())))
    with gateway(farm) as process:
        wait_for(lambda: "connected to the broker" in process.said, "the gateway runs")
        assert "a gateway already runs" in start_and_refuse(Farm(linked, farm.config))


def test_a_database_with_two_names_is_refused(farm: Farm, tmp_path: Path) -> None:
    (tmp_path / "other").hardlink_to(farm.database)
    assert "has a second name (a hard link)" in start_and_refuse(farm)
    (tmp_path / "other").unlink()
    with gateway(farm) as process:
        wait_for(lambda: "connected to the broker" in process.said, "the gateway runs")
