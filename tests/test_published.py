"""The log over HTTP: read by a client that was written from C2SP tlog-tiles alone."""

import contextlib
import hashlib
import itertools
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from earmark import cose, operator, published, serving
from earmark.block import NO_BEACON, NO_BLOCK, Header, origin_hash, sign_checkpoint, sign_receipt
from earmark.config import Farm, open_farm
from earmark.cosignature import cosign
from earmark.errors import ConfigError
from earmark.merkle import leaf_hash
from earmark.note import COSIGNATURE, key_id
from earmark.published import PublishedLog, Tile, decode_tile
from earmark.serving import Answer, Listener
from earmark.settings import parse_config
from earmark.statement import origin
from earmark.store import SealedBlock
from earmark.store.sqlite import SqliteStore
from earmark.tiles import TileTree
from farm import Signing
from services import TestNode, free_port, gateway, make_farm, wait_for
from tlog_client import Client, Head, mth, tile_path, tiles

GATEWAY = cose.Signer(b"\2" * 32)
WITNESS = cose.Signer(b"\7" * 32)
ORIGIN = origin("home", GATEWAY.key)


class Grown:
    """A store with leaves that are no statements, blocks over some of its sizes, and the log that shows it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "earmark.db"
        self.store = SqliteStore(self.path, create=True)
        self.tree = TileTree(0, self.store.tile)
        self.log = PublishedLog(self.path)
        self.heads: list[Head] = []

    def statement(self, index: int) -> bytes:
        return b"reading %d" % index

    def entry(self, index: int) -> bytes:
        return hashlib.sha256(self.statement(index)).digest()

    def grow(self, size: int) -> "Grown":
        """Add leaves up to a size."""
        added = range(self.tree.size, size)
        self.tree.extend([leaf_hash(self.entry(index)) for index in added])
        with self.store.transaction():
            self.store.add_entries([(index, 1, index + 1, 0, self.statement(index)) for index in added])
            for name, hashes in self.tree.take_changes().items():
                self.store.set_tile(*name, hashes)
        return self

    def seal(self) -> "Grown":
        """Seal a block over all, and let it leave the machine."""
        size, root, height = self.tree.size, self.tree.root(), len(self.heads)
        header = Header(origin_hash(ORIGIN), height, size, 1, NO_BLOCK, root, bytes(32), NO_BEACON)
        note = sign_checkpoint(GATEWAY, ORIGIN, header)
        with self.store.transaction():
            self.store.add_block(SealedBlock(height, size, header.encode(), note, sign_receipt(GATEWAY, ORIGIN, root)))
        self.heads.append(Head(size, root, note))
        self.log.height = height
        return self

    def status(self, path: str) -> int:
        return self.log.tile(path).status


@pytest.fixture
def grown(tmp_path: Path) -> Iterator[Grown]:
    made = Grown(tmp_path)
    yield made
    made.store.close()


@contextmanager
def listening(log: PublishedLog) -> Iterator[Client]:
    port = free_port()
    listener = Listener("127.0.0.1", port, log.served())
    listener.start()
    try:
        yield Client(port, ORIGIN, GATEWAY.key)
    finally:
        listener.stop()


# paths


@pytest.mark.parametrize(
    ("path", "tile"),
    [
        ("0/000", Tile(0, 0, 256, False)),
        ("0/x001/x234/067", Tile(0, 1_234_067, 256, False)),
        ("63/x001/234.p/255", Tile(63, 1234, 255, False)),
        ("entries/x999/999.p/1", Tile(0, 999_999, 1, True)),
        ("9/x001" + "/x000" * 5 + "/000", Tile(9, 10**18, 256, False)),
    ],
)
def test_paths_of_tiles(path: str, tile: Tile) -> None:
    assert decode_tile(path) == tile
    assert tile_path("entries" if tile.is_entries else tile.level, tile.number, tile.width) == f"/tile/{path}"


MALFORMED = [
    *("", "/", "0", "0/", "0//000", "/0/000", "0/000/", "0/00", "0/0", "0/0000", "0/x000", "0/x000/000", "0/x001/x000"),
    *("0/001/000", "0/X001/000", "00/000", "01/000", "64/000", "100/000", "-1/000", "+0/000", "0/-01", "0/ 00"),
    *("0/000.p", "0/000.p/", "0/000.p/0", "0/000.p/01", "0/000.p/256", "0/000.p/999", "0/000.p/1/", "0/000.p/-1"),
    *("0/000.P/1", "0/000/p/1", "0/000p/1", "0/000.p/1.p/1", "data/000", "Entries/000", "entries/", "entries", "0/00a"),
    *("0/../0/000", "0/%30%30%30", "0/000%2ep/1", "0/000;", "0/000#", "0/000\n", "\n0/000", "0/\u0660\u0660\u0660"),
    *("entries/000\0", "0/x001/x0000/000", "9/x001" + "/x000" * 6 + "/000", "0/" + "x001/" * 5000 + "000", "9" * 5000),
]


@pytest.mark.parametrize("path", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_paths_are_not_there(grown: Grown, path: str) -> None:
    grown.grow(600).seal()
    assert decode_tile(path) is None
    assert grown.status(path) == 404


def test_no_path_of_two_forms_names_one_tile() -> None:
    names = ["entries", *map(str, range(70)), "007"]
    numbers = ["000", "001", "x000/001", "x001/000", "x001/001", "x010/001", "x001/x000/000", "x000/x001/000"]
    paths = [f"{name}/{number}{end}" for name in names for number in numbers for end in ("", ".p/1", ".p/10", ".p/01")]
    found = [tile for tile in map(decode_tile, paths) if tile]
    assert len(found) == len(set(found)) == 65 * 6 * 3


# which tiles there are


def test_nothing_is_there_before_the_first_block(grown: Grown) -> None:
    grown.grow(300)
    assert grown.log.checkpoint().status == 404
    assert grown.status("0/000") == grown.status("entries/000") == grown.status("0/001.p/44") == 404


@pytest.mark.parametrize("sizes", [(1,), (255, 256, 257), (5, 700, 1030)])
def test_the_tiles_of_checkpoints_are_there_and_no_others(grown: Grown, sizes: tuple[int, ...]) -> None:
    for size in sizes:
        grown.grow(size).seal()
    grown.grow(sizes[-1] + 600)  # leaves that no block covers yet
    made = [(level, *place) for size in sizes for level, places in tiles(size).items() for place in places]
    for level, number, width in itertools.product(range(4), range(8), range(1, 257)):
        path = tile_path(level, number, width).removeprefix("/tile/")
        there = (level, number, width) in made
        if there or width in (1, 2, 44, 255, 256) or (number, level) == (0, 0):
            assert grown.status(path) == (200 if there else 404), path
            if level == 0:
                assert grown.status(path.replace("0/", "entries/", 1)) == (200 if there else 404), path


def test_the_specification_s_tree_of_70_000(grown: Grown) -> None:
    grown.grow(70_000).seal()
    widths = {(0, 272): 256, (0, 273): 112, (1, 0): 256, (1, 1): 17, (2, 0): 1}
    for (level, number), width in widths.items():
        answer = grown.log.tile(tile_path(level, number, width).removeprefix("/tile/"))
        assert (answer.status, len(answer.body)) == (200, 32 * width)
    assert grown.status("0/273") == grown.status("1/001") == grown.status("2/000") == grown.status("3/000.p/1") == 404
    bundle = grown.log.tile("entries/273.p/112").body
    assert bundle[-34:] == b"\x00\x20" + grown.entry(69_999)
    top = grown.log.tile("2/000.p/1").body
    assert top == mth([grown.tree.subtree(8, number) for number in range(256)])


def test_a_block_that_may_not_leave_the_machine_yet_is_not_shown(grown: Grown) -> None:
    grown.grow(100).seal().grow(300).seal()
    grown.log.height = 0
    assert grown.log.checkpoint().body == grown.heads[0].text
    assert grown.status("0/000.p/100") == 200
    assert grown.status("0/000") == grown.status("0/001.p/44") == grown.status("1/000.p/1") == 404


# over HTTP


def test_a_client_of_the_specification_reads_and_checks_everything(grown: Grown) -> None:
    grown.grow(301).seal()
    with listening(grown.log) as client:
        old = client.checkpoint()
        assert old == grown.heads[0]
        grown.grow(1030).seal()
        new = client.checkpoint()
        entries = client.entries(new)
        assert entries == [grown.entry(index) for index in range(1030)]
        assert client.hashes(new) == [hashlib.sha256(b"\0" + entry).digest() for entry in entries]
        client.hashes(old)  # its partial tiles are still there
        for index in (0, 255, 256, 1023, 1024, 1029):
            client.check_inclusion(new, index, entries[index])
        client.check_consistency(old, new)
        with pytest.raises(AssertionError):
            client.check_inclusion(new, 7, entries[8])
        with pytest.raises(AssertionError):
            client.check_consistency(Head(300, old.root, b""), new)


def test_cosignatures_come_with_the_checkpoint(grown: Grown) -> None:
    grown.grow(3).seal()
    plain = grown.heads[0].text
    own = cosign(WITNESS, "witness.example/a", plain[: plain.index(b"\n\n") + 1], 1_790_000_000)
    with grown.store.transaction():
        grown.store.add_cosignature(0, own)
    with listening(grown.log) as client:
        head = client.checkpoint()
    assert head.text == plain + own.encode().encode()
    assert key_id("witness.example/a", COSIGNATURE, WITNESS.key) == own.key_id


def test_what_is_not_there_is_404_and_not_to_be_kept(grown: Grown) -> None:
    grown.grow(3).seal()
    with listening(grown.log) as client:
        for path in ("/", "/tile", "/tile/", "/tile/0/000", "/checkpoint/", "/health", "/metrics", "/earmark.db", "//"):
            reply = client.get(path)
            assert (reply.status, reply.headers["cache-control"]) == (404, "no-store"), path
        assert client.get("/tile/0/000.p/3?a=b").status == 200
        for method in ("POST", "PUT", "HEAD", "DELETE"):
            assert client.get("/checkpoint", method).status == 501


def test_no_statement_is_ever_shown(grown: Grown) -> None:
    grown.grow(300).seal()
    with listening(grown.log) as client:
        head = client.checkpoint()
        client.hashes(head)
        client.entries(head)
        shown = b"".join(client.get(path).body for path in list(client.asked))
    assert not re.search(rb"reading \d", shown)


def test_a_store_that_cannot_be_read_is_told_and_not_kept(grown: Grown) -> None:
    grown.grow(300).seal()
    with closing(sqlite3.connect(grown.path)) as bare:
        bare.execute("UPDATE tiles SET hashes = substr(hashes, 1, 32) WHERE level = 0 AND number = 0")
        bare.commit()
    answer = grown.log.tile("0/000")
    assert (answer.status, answer.caching) == (503, "no-store")
    grown.log.height = 7
    assert grown.log.checkpoint().status == 503


def test_the_writer_does_not_wait_for_readers_nor_they_for_it(grown: Grown) -> None:
    """An open transaction hides nothing that was there, and a slow client holds nothing of the file."""
    grown.grow(300).seal()
    with listening(grown.log) as client, grown.store.transaction():
        grown.store.add_entries([(300, 1, 301, 0, b"in the making")])
        assert client.checkpoint() == grown.heads[0]
        assert len(client.hashes(grown.heads[0])) == 300


def test_slow_clients_hold_nobody_up(grown: Grown) -> None:
    grown.grow(300).seal()
    with listening(grown.log) as client, contextlib.ExitStack() as slow:
        for _ in range(published.CONNECTIONS - 4):
            each = slow.enter_context(socket.create_connection(("127.0.0.1", client.port)))
            each.sendall(b"GET /tile/0/000 HTTP/1.1\r\n")
        begun_s = time.monotonic()
        with grown.store.transaction():
            grown.store.add_entries([(300, 1, 301, 0, b"another")])
        assert client.checkpoint() == grown.heads[0]
        assert time.monotonic() - begun_s < serving.PATIENCE_S


def test_requests_are_taken_up_at_a_bounded_pace(grown: Grown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "MOST_A_SECOND", 20)
    grown.grow(3).seal()
    with listening(grown.log) as client:
        begun_s = time.monotonic()
        threads = [threading.Thread(target=client.checkpoint) for _ in range(11)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert time.monotonic() - begun_s >= 10 / 20


# a running gateway


def shown(farm: Farm, port: int) -> Farm:
    """The farm, with its log over HTTP on a port."""
    settings = farm.folder / "earmark.toml"
    settings.write_text(settings.read_text() + f"[log_http]\nport = {port}\n")
    return open_farm(farm.folder)


def test_a_running_gateway_shows_its_log(tmp_path: Path) -> None:
    broker_port, port = free_port(), free_port()
    farm = shown(make_farm(tmp_path / "farm", broker_port), port)
    key = farm.signer("gateway").key
    client = Client(port, origin("home", key), key)
    node = TestNode(farm, broker_port, 3, "n1")
    try:
        with gateway(farm) as process:
            operator.enrol(farm, node.signing.key, "n1")
            old = say(node, client, node.signing, 40)
            new = say(node, client, node.signing, 260)
            statements = statements_of(farm)
            assert client.entries(new) == [hashlib.sha256(raw).digest() for raw in statements[: new.size]]
            client.hashes(new)
            client.hashes(old)
            client.check_consistency(old, new)
            assert client.check_inclusion(new, 300, hashlib.sha256(statements[300]).digest()) > 0
            assert client.get("/health").status == client.get("/metrics").status == 404
            assert process.stop() == 0
    finally:
        node.close()


def say(node: TestNode, client: Client, signing: Signing, count: int) -> Head:
    """Send so many statements, and return a checkpoint over all of them."""
    for value in range(count):
        node.say(signing.read(value))
    node.send_until_acknowledged()
    leaves = 2 + signing.seq
    heads = list[Head]()

    def covers_all() -> bool:
        try:
            reply = client.get("/checkpoint")
        except OSError:
            return False
        if reply.status == 200:
            heads.append(client.checkpoint())
        return bool(heads) and heads[-1].size >= leaves

    wait_for(covers_all, f"a checkpoint over {leaves} leaves is shown")
    return heads[-1]


def statements_of(farm: Farm) -> list[bytes]:
    with closing(SqliteStore(farm.database)) as store:
        return [raw for _, _, raw in store.statements(0, store.size())]


def test_it_is_off_unless_a_port_is_set() -> None:
    config = parse_config('[farm]\nsite = "home"\n', "x")
    assert (config.log_http.port, config.log_http.listen) == (0, "127.0.0.1")
    with pytest.raises(ConfigError, match=r"log_http\.port is 70000"):
        parse_config('[farm]\nsite = "home"\n[log_http]\nport = 70000\n', "x")


def test_answers_are_not_kept_unless_they_say_so() -> None:
    assert Answer(200, "text/plain", b"").caching == "no-store"
