"""The gateway's parts at their edges: the link, the public thread, the embedded broker, settings."""

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from earmark import broker, mqtt, operator
from earmark import gateway as running
from earmark.broker import GATEWAY_USER, NODE_USER, Broker
from earmark.cli import simulate
from earmark.config import create_farm, open_farm, parse_config
from earmark.errors import ConfigError
from earmark.gateway import Public
from earmark.mqtt import Endpoint, Link, Message
from earmark.store.sqlite import SqliteStore
from services import CONFIGURATION, Mosquitto, free_port, wait_for


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[int]:
    port = free_port()
    process = Mosquitto(tmp_path / "mosquitto", port)
    process.start()
    yield port
    process.kill()


def message(raw: bytes, mid: int) -> Message:
    return Message("earmark/v1/home/n1/up", raw, mid, 1, 1)


# threads and connections


def test_the_link_ends_while_more_waits_than_its_queue_takes(mosquitto: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "QUEUE", 2)
    link = Link(Endpoint("127.0.0.1", mosquitto), "home", "secret")
    link.start()
    wait_for(lambda: link.is_connected, "the link is connected")
    sender = paho.Client(CallbackAPIVersion.VERSION2, client_id="sender")
    sender.connect("127.0.0.1", mosquitto)
    sender.loop_start()
    for number in range(50):
        sender.publish("earmark/v1/home/n1/up", bytes([number]), qos=1).wait_for_publish(10)
    wait_for(link._messages.full, "the queue is full")
    ending = threading.Thread(target=link.stop, daemon=True)
    ending.start()
    ending.join(10)
    is_stuck = ending.is_alive()
    while ending.is_alive():
        link.collect(10, 0.1)
    sender.disconnect()
    sender.loop_stop()
    assert not is_stuck


def test_collect_gives_no_more_than_was_asked_for() -> None:
    link = Link(Endpoint("127.0.0.1", 1), "home", "secret")
    link._messages.put(message(b"x", 1))
    assert link.collect(0, 0.01) == []


@pytest.mark.parametrize("error", [ValueError("an endpoint's nonsense"), sqlite3.OperationalError("disk I/O error")])
def test_the_public_thread_outlives_a_target_that_fails_in_any_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    text = CONFIGURATION.format(broker=f"port = {free_port()}", batch=50)
    made = create_farm(tmp_path / "farm", f'{text}[[anchor]]\nchain = "development"\n', (GATEWAY_USER, NODE_USER))
    operator.found(made)
    steps: list[int] = []
    again = threading.Event()

    def step(_: object) -> None:
        steps.append(1)
        if len(steps) > 1:
            again.set()
        raise error

    monkeypatch.setattr(running.Driven, "step", step)
    monkeypatch.setattr(running, "ANCHOR_STEP_S", 0.01)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    public = Public(made, lambda _: None)
    public.start()
    outlived = again.wait(10)
    public.stop()
    assert outlived


def test_the_broker_does_not_take_a_strangers_listener_for_its_own(
    mosquitto: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "slow"  # as on a small machine
    slow.write_text(f'#!/bin/sh\nsleep 0.3\nexec {broker.find_server()} "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setattr(broker, "find_server", lambda: str(slow))
    monkeypatch.setattr(broker, "START_S", 2.0)
    made = Broker(tmp_path / "broker", "home", "127.0.0.1", mosquitto, {GATEWAY_USER: "a", NODE_USER: "b"})
    try:
        with pytest.raises(ConfigError):
            made.start()
    finally:
        made.stop()


# configuration


def test_files_of_an_anchor_are_found_from_the_farms_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = CONFIGURATION.format(broker=f"port = {free_port()}", batch=50)
    anchor = '[[anchor]]\nchain = "eip155:1"\nrpc_file = "keys/rpc-url"\nkey_file = "keys/anchor.key"\n'
    made = create_farm(tmp_path / "farm", text + anchor, (GATEWAY_USER, NODE_USER))
    (made.folder / "keys" / "rpc-url").write_text("http://127.0.0.1:1/\n")
    (made.folder / "keys" / "anchor.key").write_text("11" * 32)
    operator.found(made)
    monkeypatch.chdir(tmp_path)
    [settings] = open_farm(made.folder).config.anchor
    target = running.Driven(made, settings, SqliteStore(made.database)).target
    assert target.name == "eip155:1"


@pytest.mark.parametrize(
    "table",
    [
        "[log]\nseal_every_s = nan",
        "[ingest]\nack_every_s = inf",
        "[beacon]\nevery_s = nan",
        "[broker]\nport = 70000",
        '[broker]\nembedded = false\nurl = "mqtts://broker.example"',
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(table: str) -> None:
    with pytest.raises(ConfigError, match=r"seal_every_s|ack_every_s|every_s|port|authority"):
        parse_config(f'[farm]\nsite = "home"\n{table}\n', "earmark.toml")


def test_simulated_nodes_go_where_the_embedded_broker_listens(tmp_path: Path) -> None:
    text = CONFIGURATION.format(broker='listen = "127.0.0.2"\nport = 1999', batch=50)
    made = create_farm(tmp_path / "farm", text, (GATEWAY_USER, NODE_USER))
    assert simulate._broker(made)["host"] == "127.0.0.2"
