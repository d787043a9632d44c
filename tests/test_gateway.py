"""The running gateway as a process: embedded broker and Mosquitto, bad input, kills at random moments."""

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from earmark import operator
from earmark.config import Farm
from earmark.cose import did
from earmark.log import Log
from earmark.proof import check
from earmark.prover import choose_block, prove
from earmark.statement import decode
from earmark.store.sqlite import SqliteStore
from farm import Signing
from services import GatewayProcess, Mosquitto, TestNode, free_port, gateway, logged, make_farm, wait_for

SEED = 20_261


class Site:
    """A farm with its broker's port, and nodes that are closed at the end."""

    def __init__(self, folder: Path, kind: str, batch: int = 50) -> None:
        self.port = free_port()
        self.mosquitto = Mosquitto(folder / "mosquitto", self.port) if kind == "mosquitto" else None
        if self.mosquitto:
            self.mosquitto.start()
        self.farm = make_farm(folder / "farm", self.port, embedded=kind == "embedded", batch=batch)
        self.nodes: list[TestNode] = []

    def node(self, seed: int, name: str, *, enrol: bool = True) -> TestNode:
        node = TestNode(self.farm, self.port, seed, name)
        self.nodes.append(node)
        if enrol:
            operator.enrol(self.farm, node.signing.key, name)
        return node

    def close(self) -> None:
        for node in self.nodes:
            node.close()
        if self.mosquitto:
            self.mosquitto.kill()


@pytest.fixture(params=["embedded", "mosquitto"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, request.param)
    yield made
    made.close()


def quarantine(farm: Farm) -> dict[str, int]:
    store = SqliteStore(farm.database)
    try:
        return store.quarantine_counts()
    finally:
        store.close()


def assert_whole(farm: Farm) -> None:
    """The log opens against its newest checkpoint, and every checkpoint ever signed is of one and the same tree."""
    store = SqliteStore(farm.database)
    log = Log(store, farm.operator_key(), farm.signer("gateway"), lambda: time.time_ns() // 1_000_000)
    assert log.size == store.size()
    for block in store.blocks():
        choose_block(store, block.size - 1)
    raws = [raw for _, _, raw in store.statements(0, store.size())]
    assert len(raws) == len(set(raws))
    store.close()


def test_a_node_unknown_at_first_is_admitted_once_enrolled_and_proven(site: Site) -> None:
    with gateway(site.farm) as process:
        node = site.node(3, "n1", enrol=False)
        raws = [node.signing.read(value) for value in range(40)]
        for raw in raws:
            node.say(raw)
        node.send_until(lambda: quarantine(site.farm) == {"UnknownNode": 40}, "the statements are held")
        operator.enrol(site.farm, node.signing.key, "n1")
        node.send_until_acknowledged()
        assert node.acknowledged == set(range(1, 41))
        store = SqliteStore(site.farm.database)
        wait_for(lambda: (block := store.newest_block()) is not None and block.size == 42, "a block is sealed over all")
        report = check(prove(store, site.farm.operator_key(), [2, 41]).encode(), site.farm.operator_key())
        assert [subject.statement.raw for subject in report.subjects] == [raws[0], raws[39]]
        store.close()
        assert process.stop() == 0
    assert logged(site.farm)[2:] == raws
    assert quarantine(site.farm) == {}


def test_anything_may_arrive_and_nothing_stops_or_vanishes(site: Site) -> None:
    with gateway(site.farm):
        node = site.node(3, "n1")
        other = site.node(4, "n2")
        first, good = other.signing.read(0), node.signing.read(1)
        other.say(first)
        other.send_until_acknowledged()
        wait_for(lambda: node.is_connected, "the node is connected")
        forged = good[:-1] + bytes([good[-1] ^ 1])
        clone = Signing(3, "n1")
        junk = [
            b"",
            b"\xff" * 100,
            b"\x9f" * 3000,
            b"\xd8\x23" + b"\x79\x10\x00" + b"(a+)+$" * 682,
            b"x" * 30_000,
            forged,
        ]
        for payload in junk:
            node.publish(payload)
        node.publish(b"elsewhere", "earmark/v1/home/n2/up")
        node.say(good)
        node.send_until_acknowledged()
        for wrong in (clone.read(99), clone.read(98), node.signing.read(2, sub="n2", seq=1, prev=bytes(32))):
            node.publish(wrong)
        node.publish(node.signing.read(3, seq=9, prev=bytes(32)))
        node.publish(node.signing.read(4, seq=20, prev=b"\5" * 32, issued_at_s=int(time.time()) + 9999))
        expected = {
            "BadSignature": 1,
            "BrokenChain": 2,
            "EncodingError": 6,
            "Equivocation": 1,
            "FutureTime": 1,
            "WrongSubject": 1,
        }
        wait_for(lambda: quarantine(site.farm) == expected, f"all is in the quarantine: {quarantine(site.farm)}", 20)
        later = other.signing.read(5)
        other.say(later)
        other.send_until_acknowledged()
        wait_for(lambda: 1 in node.refused, "the equivocation is told")
    assert logged(site.farm)[-3:] == [first, good, later]


def kill_at_random(process: GatewayProcess, kills: int, chance: random.Random, stop: threading.Event) -> None:
    for _ in range(kills):
        if stop.wait(chance.uniform(0.05, 1.2)):
            return
        process.kill()
        process.start()


def run_with_kills(site: Site, kills: int, statements: int) -> None:
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    with gateway(site.farm) as process:
        nodes = [site.node(seed, f"n{seed}") for seed in (3, 4, 5)]
        stop = threading.Event()
        killer = threading.Thread(target=kill_at_random, args=(process, kills, chance, stop))
        killer.start()
        raws: dict[int, list[bytes]] = {node.signing.key[0]: [] for node in nodes}
        for value in range(statements):
            for node in nodes:
                raw = node.signing.read(value)
                raws[node.signing.key[0]].append(raw)
                node.say(raw)
            if value % 10 == 9:
                for node in nodes:
                    node.send()
                time.sleep(0.05)
        killer.join(120)
        assert not killer.is_alive()
        for node in nodes:
            node.send_until_acknowledged()
        process.stop()
    in_log = logged(site.farm)
    assert_whole(site.farm)
    for node in nodes:
        mine = sorted((decode(raw) for raw in in_log if decode(raw).key == node.signing.key), key=lambda s: s.seq)
        assert [statement.raw for statement in mine] == raws[node.signing.key[0]], did(node.signing.key)
    assert quarantine(site.farm) == {}


def test_kills_of_the_gateway_lose_and_duplicate_nothing(site: Site) -> None:
    run_with_kills(site, kills=8, statements=100)


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_many_kills_of_the_gateway_lose_and_duplicate_nothing(site: Site) -> None:
    run_with_kills(site, kills=100, statements=400)


def test_the_brokers_loss_costs_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Mosquitto is killed with messages waiting: what it forgot is sent again, since only the gateway frees an
    outbox.
    """
    site = Site(tmp_path, "mosquitto")
    try:
        assert site.mosquitto is not None
        with gateway(site.farm) as process:
            node = site.node(3, "n1")
            wait_for(lambda: node.is_connected, "the node is connected")
            process.kill()  # so that everything waits in the broker
            raws = [node.signing.read(value) for value in range(200)]
            for raw in raws:
                node.say(raw)
            node.send()
            site.mosquitto.kill()
            site.mosquitto.start()
            process.start()
            node.send_until_acknowledged()
    finally:
        site.close()
    assert sorted(logged(site.farm)[2:], key=lambda raw: decode(raw).seq) == raws


def test_two_gateways_on_one_farm_are_refused(tmp_path: Path) -> None:
    site = Site(tmp_path, "embedded")
    with gateway(site.farm) as process:
        wait_for(lambda: "connected to the broker" in process.said, "the gateway runs")
        second = GatewayProcess(site.farm)
        second.start()
        assert second.wait() == 3
        assert "already runs" in process.said
