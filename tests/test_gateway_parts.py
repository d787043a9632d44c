"""The gateway's parts at their edges: the public thread, the embedded broker, settings."""

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from earmark import broker, operator
from earmark import public as running
from earmark.access import node_settings
from earmark.broker import Broker
from earmark.config import create_farm, open_farm, parse_config, write_private
from earmark.errors import ConfigError
from earmark.metrics import Metrics
from earmark.public import Public
from earmark.store.sqlite import SqliteStore
from services import CONFIGURATION, Mosquitto, free_port


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[int]:
    port = free_port()
    process = Mosquitto(tmp_path / "mosquitto", port)
    process.start()
    yield port
    process.kill()


# threads and connections


@pytest.mark.parametrize("error", [ValueError("an endpoint's nonsense"), sqlite3.OperationalError("disk I/O error")])
def test_the_public_thread_outlives_a_target_that_fails_in_any_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    text = CONFIGURATION.format(broker=f"port = {free_port()}", batch=50)
    made = create_farm(tmp_path / "farm", f'{text}[[anchor]]\nchain = "development"\n')
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
    public = Public(made, lambda _: None, Metrics())
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
    made = Broker(tmp_path / "broker", "home", "127.0.0.1", mosquitto, lambda: {"gateway": "a"})
    try:
        with pytest.raises(ConfigError):
            made.start()
    finally:
        made.stop()


# configuration


def test_files_of_an_anchor_are_found_from_the_farms_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = CONFIGURATION.format(broker=f"port = {free_port()}", batch=50)
    anchor = '[[anchor]]\nchain = "eip155:1"\nrpc_file = "keys/rpc-url"\nkey_file = "keys/anchor.key"\n'
    made = create_farm(tmp_path / "farm", text + anchor)
    write_private(made.folder / "keys" / "rpc-url", "http://127.0.0.1:1/\n")
    write_private(made.folder / "keys" / "anchor.key", "11" * 32)
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
        f"[broker]\nport = 0x{'f' * 4000}",
        f"[log]\nseal_every_s = {'9' * 400}",
        '[broker]\ncertificate = "own.pem"\nkey = "own.key"\nname = "broker.example"',
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(table: str) -> None:
    with pytest.raises(ConfigError, match=r"seal_every_s|ack_every_s|every_s|port|authority"):
        parse_config(f'[farm]\nsite = "home"\n{table}\n', "earmark.toml")


@pytest.mark.parametrize("text", ["x = " + "9" * 5000, "x = " + "[" * 3000])
def test_text_beyond_the_bounds_of_numbers_and_nesting_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not TOML"):
        parse_config(text, "earmark.toml")


def test_simulated_nodes_go_where_the_embedded_broker_listens(tmp_path: Path) -> None:
    text = CONFIGURATION.format(broker='listen = "127.0.0.2"\nport = 1999', batch=50)
    made = create_farm(tmp_path / "farm", text)
    operator.found(made)
    assert node_settings(made, "n1", bytes(32), is_here=True)["broker"]["host"] == "127.0.0.2"
