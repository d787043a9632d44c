"""The gateway's parts at their edges: the public thread, the embedded broker, settings."""

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from earmark import broker, operator
from earmark import public as running
from earmark.access import node_settings
from earmark.anchor.evm import EvmTarget
from earmark.broker import Broker
from earmark.config import create_farm, open_farm, write_private
from earmark.errors import ConfigError, StoreError
from earmark.metrics import Metrics
from earmark.public import Public
from earmark.settings import parse_config
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


@pytest.mark.parametrize("error", [UnicodeError("label empty"), KeyError("an endpoint's nonsense")])
def test_the_public_thread_outlives_a_beacon_that_fails_in_any_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    text = CONFIGURATION.format(broker=f"port = {free_port()}", batch=50)
    made = create_farm(tmp_path / "farm", f'{text}[beacon]\nevery_s = 0.01\n[[anchor]]\nchain = "development"\n')
    operator.found(made)
    asked: list[int] = []
    again = threading.Event()

    def head(_: object) -> None:
        asked.append(1)
        if len(asked) > 1:
            again.set()
        raise error

    monkeypatch.setattr(EvmTarget, "head", head)
    monkeypatch.setattr(running, "ANCHOR_STEP_S", 0.01)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    public = Public(made, lambda _: None, Metrics())
    public.start()
    outlived = again.wait(10)
    public.stop()
    assert outlived


def test_a_target_that_cannot_be_opened_is_told_and_a_store_that_cannot_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = CONFIGURATION.format(broker=f"port = {free_port()}", batch=50)
    made = create_farm(tmp_path / "farm", f'{text}[[anchor]]\nchain = "development"\n')
    operator.found(made)
    opened: list[Path] = []

    def full(path: Path) -> SqliteStore:
        opened.append(path)
        if len(opened) == 1:
            raise StoreError("disk full, on purpose")
        return SqliteStore(path)

    def nonsense(*_: object) -> None:
        raise UnicodeError("label empty")

    monkeypatch.setattr(running, "SqliteStore", full)
    monkeypatch.setattr(running, "Driven", nonsense)
    monkeypatch.setattr(running, "RETRY_S", 0.01)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    metrics = Metrics()
    public = Public(made, lambda _: None, metrics)
    public.start()
    for thread in public._threads:
        thread.join(10)
    public.stop()
    assert len(opened) == 2
    assert metrics.anchoring_failure.startswith("no anchors on development until this is mended")
    assert metrics.anchoring_failure.endswith("label empty")


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
    target = running.Driven(made, settings, SqliteStore(made.database), Metrics()).target
    assert target.place.name == "eip155:1"


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


EVM_TABLE = '[[anchor]]\nname = "{name}"\nchain = "{chain}"\nrpc_file = "r"\nkey_file = "{key}"\n{more}\n'


def test_a_price_of_gas_whose_anchors_no_store_can_count_is_refused() -> None:
    for cap, is_refused in ((92_233, False), (92_234, True), (1e300, True)):
        text = '[farm]\nsite = "home"\n'
        text += EVM_TABLE.format(name="", chain="eip155:1", key="k", more=f"fee_cap_gwei = {cap}")
        if is_refused:
            with pytest.raises(ConfigError, match=r"fee_cap_gwei is .* it is below 92,234"):
                parse_config(text, "earmark.toml")
        else:
            assert parse_config(text, "earmark.toml").anchor[0].fee_cap_gwei == cap


def test_two_anchors_on_one_chain_have_a_key_each() -> None:
    def text(second: str, key: str) -> str:
        tables = [("a", "eip155:1", "k"), ("b", second, key)]
        made = [EVM_TABLE.format(name=name, chain=chain, key=key, more="") for name, chain, key in tables]
        return "\n".join(['[farm]\nsite = "home"', *made])

    with pytest.raises(ConfigError, match="one chain with one key_file"):
        parse_config(text("eip155:1", "k"), "earmark.toml")
    for second, key in (("eip155:1", "other"), ("eip155:10", "k")):
        assert len(parse_config(text(second, key), "earmark.toml").anchor) == 2


@pytest.mark.parametrize("name", ["calendars", "headers"])
@pytest.mark.parametrize("url", ["https://blockstream..info/api", "", "ftp://host", f"https://{'a' * 64}.example"])
def test_an_address_that_nobody_can_look_up_is_refused_by_name(name: str, url: str) -> None:
    tables = {"calendars": ["https://a.example"], "headers": ["https://b.example/api"], name: [url]}
    text = "".join(f"{key} = {value!r}\n" for key, value in tables.items())
    with pytest.raises(ConfigError, match=f"anchor.{name} has "):
        parse_config(f'[farm]\nsite = "home"\n[[anchor]]\n{text}', "earmark.toml")


@pytest.mark.parametrize("text", ["x = " + "9" * 5000, "x = " + "[" * 3000])
def test_text_beyond_the_bounds_of_numbers_and_nesting_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not TOML"):
        parse_config(text, "earmark.toml")


def test_simulated_nodes_go_where_the_embedded_broker_listens(tmp_path: Path) -> None:
    text = CONFIGURATION.format(broker='listen = "127.0.0.2"\nport = 1999', batch=50)
    made = create_farm(tmp_path / "farm", text)
    operator.found(made)
    assert node_settings(made, "n1", bytes(32), is_here=True)["broker"]["host"] == "127.0.0.2"
