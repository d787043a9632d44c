"""A farm's folder and its configuration: every setting with its unit, default and meaning.

FARM/earmark.toml       the configuration
FARM/keys/              operator.key, gateway.key (32-byte seeds, hex), broker.json (passwords); private to the user
FARM/earmark.db         the log and all else that the gateway keeps
FARM/broker/            the embedded broker's streams
"""

import fcntl
import json
import math
import os
import re
import secrets
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from earmark.beacon import is_chain_id
from earmark.cose import Signer
from earmark.errors import ConfigError, EarmarkError
from earmark.statement import check_name

DEVELOPMENT = "development"
_SEED = re.compile(r"[0-9a-f]{64}\n?")


def _setting(default: Any, meaning: str, unit: str = "") -> Any:
    return field(default=default, metadata={"meaning": meaning, "unit": unit})


@dataclass(frozen=True, slots=True)
class FarmSettings:
    """[farm]"""

    site: str = _setting(
        "", "the site's name, in topics and the log's origin; set by `earmark init`, not changed later"
    )


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """[broker]"""

    embedded: bool = _setting(True, "start the broker that Earmark brings along; false to use the one at `url`")
    listen: str = _setting("0.0.0.0", "address that the embedded broker listens on")  # noqa: S104
    port: int = _setting(1883, "port that the embedded broker listens on")
    url: str = _setting("", "another broker: mqtt://host:port, or mqtts://host:port with TLS")
    user: str = _setting("", "user there; its password is `gateway` in keys/broker.json")
    authority: str = _setting("", "PEM file of the authority that signed that broker's certificate; needed with mqtts")


@dataclass(frozen=True, slots=True)
class LogSettings:
    """[log]"""

    seal_every_s: float = _setting(10.0, "a block is sealed this long after the first unsealed statement", "seconds")
    seal_after: int = _setting(1000, "or as soon as this many statements are unsealed", "statements")


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """[ingest]"""

    batch: int = _setting(500, "most statements in one transaction", "statements")
    max_ahead_s: int = _setting(300, "a statement from further in the future is held until it is due", "seconds")
    ack_every_s: float = _setting(1.0, "a node is answered at most this often; at once when it is quiet", "seconds")
    quarantine_mb: int = _setting(
        64, "room for what is not admitted; beyond it the oldest go, and are counted", "megabytes"
    )


@dataclass(frozen=True, slots=True)
class BeaconSettings:
    """[beacon]"""

    every_s: float = _setting(
        600.0, "how often the newest public block hash goes out to the nodes; 0 for never", "seconds"
    )


@dataclass(frozen=True, slots=True)
class AnchorSettings:
    """[[anchor]], one table for each target"""

    chain: str = _setting(
        "", "CAIP-2 id such as eip155:1, or `development` for the built-in chain that is worth nothing"
    )
    rpc_file: str = _setting(
        "", "file that holds the URL of the chain's JSON-RPC endpoint, so that its key stays private"
    )
    key_file: str = _setting(
        "", "file that holds the private key (hex) of an account with little in it, used for nothing else"
    )
    every_s: float = _setting(3600.0, "time between two anchors", "seconds")
    overdue_s: float = _setting(172_800.0, "an anchor that is not final after this long is called overdue", "seconds")
    fee_cap_gwei: float = _setting(30.0, "above this price of gas an anchor waits", "gwei")
    confirmations: int = _setting(12, "depth that is final, where the endpoint does not know `finalized`", "blocks")
    block_every_s: float = _setting(2.0, "development chain only: time between two of its blocks", "seconds")


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of a farm."""

    farm: FarmSettings
    broker: BrokerSettings
    log: LogSettings
    ingest: IngestSettings
    beacon: BeaconSettings
    anchor: tuple[AnchorSettings, ...]


TABLES: dict[str, type] = {
    "farm": FarmSettings,
    "broker": BrokerSettings,
    "log": LogSettings,
    "ingest": IngestSettings,
    "beacon": BeaconSettings,
    "anchor": AnchorSettings,
}


def parse_config(text: str, where: str) -> Config:
    """Return the settings of a TOML text; `ConfigError` names an unknown or wrong one."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not TOML: {error}") from error
    unknown = set(tables) - set(TABLES)
    if unknown:
        raise ConfigError(f"{where}: unknown table [{min(unknown)}]; known are {', '.join(TABLES)}")
    anchors = tables.pop("anchor", [])
    if not isinstance(anchors, list):
        raise ConfigError(f"{where}: anchors are written as [[anchor]], with two brackets")
    made = {name: _parse(kind, name, tables.get(name, {}), where) for name, kind in TABLES.items() if name != "anchor"}
    config = Config(**made, anchor=tuple(_parse(AnchorSettings, "anchor", table, where) for table in anchors))
    _check(config, where)
    return config


def _parse(kind: type, name: str, table: Any, where: str) -> Any:
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: {name} is a table: [{name}]")
    types = get_type_hints(kind)
    values = {}
    for key, value in table.items():
        if key not in types:
            raise ConfigError(f"{where}: unknown setting {key!r} in [{name}]; known are {', '.join(types)}")
        wanted = types[key]
        given = float(value) if wanted is float and type(value) is int else value
        if type(given) is not wanted or (wanted in (int, float) and not 0 <= given < math.inf):
            raise ConfigError(f"{where}: {name}.{key} is {value!r}; it takes a {_WORDS[wanted]}")
        values[key] = given
    return kind(**values)


_WORDS = {str: "text", bool: "true or false", int: "whole number from 0 on", float: "number from 0 on"}


def _check(config: Config, where: str) -> None:
    try:
        check_name(config.farm.site)
    except EarmarkError as error:
        raise ConfigError(f"{where}: farm.site: {error}") from error
    if not config.broker.embedded and not config.broker.url:
        raise ConfigError(f"{where}: broker.url is missing; it is needed where broker.embedded is false")
    if config.broker.url.startswith("mqtts:") and not config.broker.authority:
        raise ConfigError(f"{where}: broker.authority is missing; mqtts needs the file of the authority to trust")
    if not 1 <= config.broker.port <= 65_535:
        raise ConfigError(f"{where}: broker.port is {config.broker.port}; it is 1 to 65535")
    chains = [anchor.chain for anchor in config.anchor]
    if len(set(chains)) < len(chains):
        raise ConfigError(f"{where}: two [[anchor]] tables for one chain")
    for anchor in config.anchor:
        if anchor.chain != DEVELOPMENT and not (is_chain_id(anchor.chain) and anchor.rpc_file and anchor.key_file):
            raise ConfigError(
                f"{where}: an [[anchor]] needs chain, rpc_file and key_file; {anchor.chain!r} has not all of them"
            )
    for name, value in (("ingest.batch", config.ingest.batch), ("log.seal_after", config.log.seal_after)):
        if value < 1:
            raise ConfigError(f"{where}: {name} is {value}; it is at least 1")


@dataclass(frozen=True, slots=True)
class Farm:
    """A farm's folder.  Keys are read when they are asked for, and only by who asks."""

    folder: Path
    config: Config

    @property
    def database(self) -> Path:
        """The store's file."""
        return self.folder / "earmark.db"

    def signer(self, role: str) -> Signer:
        """Return the key of the `operator` or the `gateway`; `ConfigError` where it is not here."""
        path = self.folder / "keys" / f"{role}.key"
        text = read_text(path, f"the {role}'s key")
        if not _SEED.fullmatch(text):
            raise ConfigError(f"{path} does not hold a key: 64 hexadecimal digits")
        return Signer(bytes.fromhex(text.strip()))

    def operator_key(self) -> bytes:
        """Return the operator's public key, which needs no private file."""
        from earmark.cose import key_of

        return key_of(read_text(self.folder / "operator.did", "the operator's did").strip())

    def passwords(self) -> dict[str, str]:
        """Return the broker's passwords by user."""
        passwords: dict[str, str] = json.loads(
            read_text(self.folder / "keys" / "broker.json", "the broker's passwords")
        )
        return passwords

    @contextmanager
    def lock(self, wait_s: float = 0.0) -> Iterator[bool]:
        """Hold the right to write the log while the block runs; gives False where another process keeps it for
        `wait_s`.
        """
        deadline = time.monotonic() + wait_s
        with (self.folder / "earmark.lock").open("w") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        yield False
                        return
                    time.sleep(0.05)
                    continue
                yield True
                return


def open_farm(folder: Path) -> Farm:
    """Read a farm's configuration; `ConfigError` where there is none or it is wrong."""
    path = folder / "earmark.toml"
    if not path.is_file():
        raise ConfigError(f"no farm in {folder}: run `earmark init`, or name the folder with --farm")
    return Farm(folder, parse_config(read_text(path, "the configuration"), str(path)))


def create_farm(folder: Path, text: str, users: tuple[str, ...]) -> Farm:
    """Make a farm's folder with new keys and passwords, under a configuration text; refuses a folder that has one.

    The configuration is written last: what an interrupted call left behind is taken up by the next one.
    """
    config = parse_config(text, "the new configuration")
    if (folder / "earmark.toml").exists():
        raise ConfigError(f"{folder} is a farm already; its keys and log are not overwritten")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    keys = folder / "keys"
    keys.mkdir(mode=0o700, exist_ok=True)
    for role in ("operator", "gateway"):
        write_private(keys / f"{role}.key", secrets.token_hex(32) + "\n")
    write_private(keys / "broker.json", json.dumps({user: secrets.token_urlsafe(18) for user in users}))
    farm = Farm(folder, config)
    (folder / "operator.did").write_text(farm.signer("operator").did + "\n")
    write_private(folder / "earmark.toml", text)
    return farm


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads, whole and synced, unless it is there: it is never replaced."""
    if path.exists():
        return
    part = path.with_name(path.name + ".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def read_text(path: Path, what: str) -> str:
    """Return a file's text; `ConfigError` names what is missing."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what} cannot be read from {path}: {error}") from error


def settings() -> Iterator[tuple[str, str, Any, str, str]]:
    """Give every setting as (table, name, default, unit, meaning), in the order of the documentation."""
    for table, kind in TABLES.items():
        for setting in fields(kind):
            yield table, setting.name, setting.default, setting.metadata["unit"], setting.metadata["meaning"]
