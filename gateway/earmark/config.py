"""A farm's folder and its configuration: every setting with its unit, default and meaning.

FARM/earmark.toml       the configuration
FARM/keys/              operator.key, gateway.key (32-byte seeds, plain or sealed), broker.json (passwords); private
FARM/earmark.db         the log and all else that the gateway keeps
FARM/broker/            the embedded broker's streams
"""

import fcntl
import json
import math
import secrets
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from earmark import keys
from earmark.beacon import is_chain_id
from earmark.cose import Signer
from earmark.errors import ConfigError, EarmarkError
from earmark.rights import GATEWAY_USER
from earmark.statement import check_name

DEVELOPMENT = "development"
NODES_SECRET = "nodes"  # noqa: S105 - a name
"""The name in keys/broker.json of the secret that the nodes' passwords come of."""

ROLES = "operator", "gateway"
_TOML_INTEGERS = 1 << 63


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
    port: int = _setting(8883, "port that the embedded broker listens on; 1883 is usual without TLS")
    tls: bool = _setting(True, "the embedded broker speaks TLS; false only on a network that is the farm's own")
    certificate: str = _setting("", "PEM file of a certificate of your own for it, with its chain, for `name`")
    key: str = _setting("", "PEM file of that certificate's private key")
    name: str = _setting("", "host name in that certificate: nodes and this machine reach the broker by it")
    max_connections: int = _setting(4096, "most connections to the embedded broker at a time", "connections")
    url: str = _setting("", "another broker: mqtt://host:port, or mqtts://host:port with TLS")
    user: str = _setting("", "user there; its password is `gateway` in keys/broker.json")
    authority: str = _setting(
        "", "PEM file of the authority that signed `certificate`, or that of the broker at `url`; else the farm's own"
    )

    @property
    def is_everywhere(self) -> bool:
        """Whether the embedded broker listens on all addresses."""
        return self.listen in ("0.0.0.0", "::")  # noqa: S104


@dataclass(frozen=True, slots=True)
class LogSettings:
    """[log]"""

    seal_every_s: float = _setting(10.0, "a block is sealed this long after the first unsealed statement", "seconds")
    seal_after: int = _setting(1000, "or as soon as this many statements are unsealed", "statements")


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """[ingest]"""

    most_a_minute: int = _setting(
        6000, "what a node sends beyond this is dropped unread and counted; it sends it again later", "statements"
    )
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
class StatusSettings:
    """[status]"""

    listen: str = _setting("127.0.0.1", "address that serves /health and /metrics; whoever reaches it may read them")
    port: int = _setting(0, "port of that, such as 9464; 0 for none")


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
    status: StatusSettings
    anchor: tuple[AnchorSettings, ...]


TABLES: dict[str, type] = {
    "farm": FarmSettings,
    "broker": BrokerSettings,
    "log": LogSettings,
    "ingest": IngestSettings,
    "beacon": BeaconSettings,
    "status": StatusSettings,
    "anchor": AnchorSettings,
}


def parse_config(text: str, where: str) -> Config:
    """Return the settings of a TOML text; `ConfigError` names an unknown or wrong one."""
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # numbers and nesting have bounds of their own
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
        is_whole = type(value) is int and 0 <= value < _TOML_INTEGERS
        given = float(value) if wanted is float and is_whole else value
        if type(given) is not wanted or (wanted is int and not is_whole):
            raise ConfigError(f"{where}: {name}.{key} is {_shown(value)}; it takes a {_WORDS[wanted]}")
        if wanted is float and not 0 <= given < math.inf:
            raise ConfigError(f"{where}: {name}.{key} is {value!r}; it takes a {_WORDS[wanted]}")
        values[key] = given
    return kind(**values)


def _shown(value: Any) -> str:
    """Return a value for a message; what Python may refuse to print, such as a number beyond TOML's, by its type."""
    is_short = isinstance(value, str | float) or (isinstance(value, int) and abs(value) < _TOML_INTEGERS)
    return repr(value) if is_short else f"of type {type(value).__name__}"


_WORDS = {str: "text", bool: "true or false", int: "whole number from 0 on", float: "number from 0 on"}


def _check(config: Config, where: str) -> None:
    try:
        check_name(config.farm.site)
    except EarmarkError as error:
        raise ConfigError(f"{where}: farm.site: {error}") from error
    if not config.broker.embedded and not config.broker.url:
        raise ConfigError(f"{where}: broker.url is missing; it is needed where broker.embedded is false")
    own = config.broker.certificate, config.broker.key, config.broker.name
    if any(own) and not (all(own) and config.broker.authority):
        raise ConfigError(f"{where}: broker.certificate, key, name and authority go together; one is missing")
    if not 1 <= config.broker.port <= 65_535:
        raise ConfigError(f"{where}: broker.port is {config.broker.port}; it is 1 to 65535")
    if config.status.port > 65_535:
        raise ConfigError(f"{where}: status.port is {config.status.port}; it is 1 to 65535, or 0 for none")
    chains = [anchor.chain for anchor in config.anchor]
    if len(set(chains)) < len(chains):
        raise ConfigError(f"{where}: two [[anchor]] tables for one chain")
    for anchor in config.anchor:
        if anchor.chain != DEVELOPMENT and not (is_chain_id(anchor.chain) and anchor.rpc_file and anchor.key_file):
            raise ConfigError(
                f"{where}: an [[anchor]] needs chain, rpc_file and key_file; {anchor.chain!r} has not all of them"
            )
    least = {"ingest.most_a_minute": config.ingest.most_a_minute, "log.seal_after": config.log.seal_after}
    for name, value in least.items():
        if value < 1:
            raise ConfigError(f"{where}: {name} is {value}; it is at least 1")


def _no_passphrase(role: str) -> bytes:
    raise ConfigError(f"the {role}'s key is sealed, and no passphrase was given")


@dataclass(frozen=True, slots=True)
class Farm:
    """A farm's folder.  Keys are read when they are asked for, and only by who asks; `passphrase` gives that of a role
    whose key is sealed.
    """

    folder: Path
    config: Config
    passphrase: Callable[[str], bytes] = field(default=_no_passphrase, repr=False)

    @property
    def database(self) -> Path:
        """The store's file."""
        return self.folder / "earmark.db"

    @property
    def high_water(self) -> Path:
        """The file that remembers the newest checkpoint, so that an older database beside it is noticed."""
        return self.folder / "earmark.checkpoint"

    def signer(self, role: str) -> Signer:
        """Return the key of the `operator` or the `gateway`; `ConfigError` where it is not here or does not open."""
        return Signer(self.seed(role))

    def key_file(self, role: str) -> Path:
        """Return where a role's private key is kept."""
        return self.folder / "keys" / f"{role}.key"

    def seed(self, role: str) -> bytes:
        """Return the 32 secret bytes of a role's key, for `earmark key` to write them anew."""
        return keys.read_seed(self.key_file(role), f"the {role}'s key", lambda: self.passphrase(role))

    def operator_key(self) -> bytes:
        """Return the operator's public key, which needs no private file."""
        from earmark.cose import key_of

        return key_of(read_text(self.folder / "operator.did", "the operator's did").strip())

    def passwords(self) -> dict[str, str]:
        """Return the gateway's password at the broker, and under `NODES_SECRET` what the nodes' come of."""
        path = self.folder / "keys" / "broker.json"
        try:
            passwords: dict[str, str] = json.loads(keys.read_private(path, "the broker's passwords"))
            return {name: passwords[name] for name in (GATEWAY_USER, NODES_SECRET)}
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{path} does not hold the broker's passwords: {GATEWAY_USER!r} and {NODES_SECRET!r}"
            ) from error

    @contextmanager
    def lock(self, wait_s: float = 0.0) -> Iterator[bool]:
        """Hold the right to write the log while the block runs; gives False where another process keeps it for
        `wait_s`.

        The lock stands beside the database's own file, wherever links lead to it from; `ConfigError` where that has
        a second name (a hard link), since SQLite keeps its write-ahead log under the name that was opened.
        """
        deadline = time.monotonic() + wait_s
        database = self.database.resolve()
        if database.exists() and database.stat().st_nlink > 1:
            raise ConfigError(
                f"{database} has a second name (a hard link), under which another process may write it unseen: keep one"
            )
        with database.with_name("earmark.lock").open("w") as file:
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


def open_farm(folder: Path, passphrase: Callable[[str], bytes] = _no_passphrase) -> Farm:
    """Read a farm's configuration; `ConfigError` where there is none or it is wrong."""
    path = folder / "earmark.toml"
    if not path.is_file():
        raise ConfigError(f"no farm in {folder}: run `earmark init`, or name the folder with --farm")
    return Farm(folder, parse_config(read_text(path, "the configuration"), str(path)), passphrase)


def create_farm(folder: Path, text: str) -> Farm:
    """Make a farm's folder with new keys and passwords, under a configuration text; refuses a folder that has one.

    The configuration is written last: what an interrupted call left behind is taken up by the next one.
    """
    config = parse_config(text, "the new configuration")
    if (folder / "earmark.toml").exists():
        raise ConfigError(f"{folder} is a farm already; its keys and log are not overwritten")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    private = folder / "keys"
    private.mkdir(mode=0o700, exist_ok=True)
    for role in ROLES:
        write_private(private / f"{role}.key", secrets.token_hex(32) + "\n")
    own = {GATEWAY_USER: secrets.token_urlsafe(18), NODES_SECRET: secrets.token_urlsafe(32)}
    write_private(private / "broker.json", json.dumps(own))
    farm = Farm(folder, config)
    keys.replace_private(folder / "operator.did", farm.signer("operator").did + "\n")
    write_private(folder / "earmark.toml", text)
    return farm


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads, whole and synced, unless it is there: it is never replaced."""
    if not path.exists():
        keys.replace_private(path, text)


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
