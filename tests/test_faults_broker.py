"""Fault table, broker and what comes over it: cuts, repeats, reordering, lost sessions and disks, poison, floods."""

import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from earmark.store.sqlite import SqliteStore
from fault_report import Counts, fault_row
from fault_scene import Scene, searching
from faults import chance
from mqtt_proxy import Proxy
from services import TestNode, free_port, wait_for

MOST_WAIT_S = 20.0
POISON = b"the decoder does not survive this"

# Put before a gateway's own modules: a decoder with a fault that no bytes are known to cause, in verifiers only.
DECODER = f"""
import os, signal, sys
if "earmark.verifier" in sys.orig_argv:
    import earmark.recognise as module
    sound = module.recognise
    def recognise(raw):
        if {POISON!r} in raw:
            os.kill(os.getpid(), signal.SIGKILL)
        return sound(raw)
    module.recognise = recognise
"""


@contextmanager
def proxied(folder: Path, name: str, counts: Counts) -> Iterator[tuple[Scene, Proxy]]:
    """A scene whose gateway reaches its Mosquitto through a proxy."""
    port = free_port()
    with (
        closing(Proxy(port, chance(f"proxy {name}"))) as proxy,
        Scene(folder, name, counts, gateway_port=proxy.port, port=port) as scene,
    ):
        yield scene, proxy


@fault_row(bounded=2, full=30)
def test_connection_cut_mid_packet(runs: int, counts: Counts, tmp_path: Path) -> None:
    with proxied(tmp_path, "cut", counts) as (scene, proxy):
        for _ in scene.rounds(runs, most_s=0.2):
            proxy.cut_after(scene.chance.randint(1, 4000))
            wait_for(lambda: scene.talk(0.05) or not proxy.is_cutting, "the connection is cut")
        counts.faults = proxy.cuts
    assert proxy.cuts == runs


@fault_row(bounded=2, full=40)
def test_repeated_reordered_and_delayed_messages(runs: int, counts: Counts, tmp_path: Path) -> None:
    """The broker's repeats carry DUP; the nodes send everything again besides, in any order."""
    with proxied(tmp_path, "mischief", counts) as (scene, proxy):
        proxy.mischief = 0.3
        for _ in scene.rounds(runs):
            for node in scene.nodes:
                for raw in scene.chance.choices(list(node.said.values()), k=20):
                    node.publish(raw)
                    scene.broke()
        counts.faults += proxy.repeats + proxy.swaps + proxy.delays
    assert proxy.repeats
    assert proxy.swaps


@fault_row(bounded=1, full=20)
def test_session_and_disk_of_the_broker_lost_mosquitto(runs: int, counts: Counts, tmp_path: Path) -> None:
    """What Mosquitto acknowledged to the nodes while the gateway was away is gone with its store."""
    with Scene(tmp_path, "lost mosquitto", counts) as scene:
        assert scene.mosquitto is not None
        for _ in scene.rounds(runs):
            scene.gateway.kill()
            scene.talk(scene.chance.uniform(0.1, 0.4))
            scene.mosquitto.kill()
            for stored in (tmp_path / "mosquitto").glob("*.db"):
                stored.unlink()
            scene.broke()
            scene.mosquitto.start()
            scene.gateway.start()


@fault_row(bounded=1, full=15)
def test_session_and_disk_of_the_broker_lost_embedded(runs: int, counts: Counts, tmp_path: Path) -> None:
    """The gateway is stopped while the broker takes in and acknowledges, then all is killed and the streams deleted."""
    with Scene(tmp_path, "lost embedded", counts, "embedded") as scene:
        for _ in scene.rounds(runs):
            psutil.Process(scene.gateway.pid).suspend()
            scene.talk(scene.chance.uniform(0.1, 0.4))
            scene.kill_all()
            shutil.rmtree(scene.farm.folder / "broker" / "streams")
            scene.broke()
            scene.gateway.start()


@fault_row(bounded=1, full=10)
def test_poison_that_ends_its_decoder(runs: int, counts: Counts, tmp_path: Path) -> None:
    """The poison is quarantined, and the statements around it are admitted."""
    (tmp_path / "sitecustomize.py").write_text(DECODER)
    with Scene(tmp_path, "poison", counts, environment=searching(tmp_path)) as scene:
        scene.workers()
        for run, _ in enumerate(scene.rounds(runs)):
            scene.nodes[0].publish(POISON + b" %d" % run)
            scene.broke()
            scene.talk(0.3)
            wait_for(lambda run=run: len(_junk(scene)) == run + 1, "the poison is in the quarantine")
        assert all(POISON in raw for raw in _junk(scene))


def _junk(scene: Scene) -> list[bytes]:
    with closing(SqliteStore(scene.farm.database, snapshot=True)) as store:
        return [row.raw for row in store.quarantine_rows() if row.reason == "EncodingError"]


@pytest.mark.parametrize("what", ["repeats", "junk", "statements"])
@fault_row(bounded=1, full=3)
def test_flood_from_one_node(what: str, runs: int, counts: Counts, tmp_path: Path) -> None:
    """While one node sends as fast as it can, each of the others has its answer within seconds."""
    with Scene(tmp_path, f"flood {what}", counts) as scene:
        flooder, *others = scene.nodes
        for _ in range(runs):
            for raw in _flood(what, flooder):
                flooder.publish(raw)
                scene.broke()
            for node in others:
                node.say(node.signing.read())
                asked_at = time.monotonic()
                node.send_until_acknowledged()
                assert time.monotonic() - asked_at < MOST_WAIT_S
            scene.check()


def _flood(what: str, node: TestNode) -> list[bytes]:
    if what == "junk":
        return [b"x" * 600 + b"%d" % number for number in range(5000)]
    raws = [node.signing.read() for _ in range(1 if what == "repeats" else 3000)]
    for raw in raws:
        node.say(raw)
    return raws * (5000 // len(raws))
