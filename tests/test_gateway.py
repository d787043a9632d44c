"""The running gateway as a process: embedded broker and Mosquitto, and bad input."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from earmark import operator
from earmark.config import Farm
from earmark.proof import check
from earmark.prover import prove
from earmark.store.sqlite import SqliteStore
from farm import Signing
from services import Mosquitto, TestNode, free_port, gateway, logged, make_farm, wait_for


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


def test_a_node_unknown_at_first_is_admitted_once_enrolled_and_proven(site: Site) -> None:
    with gateway(site.farm) as process:
        node, carrier = site.node(3, "n1", enrol=False), site.node(4, "n2")
        raws = [node.signing.read(value) for value in range(40)]
        carrier.say(carrier.signing.read())
        carrier.send_until_acknowledged()
        for raw in raws:
            node.say(raw)
            carrier.publish(raw)
        wait_for(lambda: quarantine(site.farm) == {"UnknownNode": 40}, "the statements are held")
        operator.enrol(site.farm, node.signing.key, "n1")
        node.send_until_acknowledged()
        assert node.acknowledged == set(range(1, 41))
        store = SqliteStore(site.farm.database)
        wait_for(lambda: (block := store.newest_block()) is not None and block.size == 44, "a block is sealed over all")
        report = check(prove(store, site.farm.operator_key(), [4, 43]).encode(), site.farm.operator_key())
        assert [subject.statement.raw for subject in report.subjects] == [raws[0], raws[39]]
        store.close()
        assert process.stop() == 0
    assert logged(site.farm)[4:] == raws
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
        other.publish(b"elsewhere")
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
