"""A farm's settings: each with its unit, default and meaning, and how they are read from earmark.toml."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import SplitResult, urlsplit

from earmark.beacon import is_chain_id
from earmark.body import check_name
from earmark.cosignature import MOST as MOST_COSIGNATURES
from earmark.errors import ConfigError, EarmarkError, EncodingError
from earmark.evidence.bitcoin import is_bitcoin
from earmark.note import COSIGNATURE, decode_verifier_key
from earmark.tables import parse_table, read_tables, setting

DEVELOPMENT = "development"

GAS_CAP = 100_000
"""The most gas that an anchor on an EVM chain may take; it needs less than a quarter of that."""

MOST_COST = 2**63
"""What an anchor costs at most is below this, in the chain's smallest unit: it is stored as a signed 64-bit integer."""


@dataclass(frozen=True, slots=True)
class FarmSettings:
    """[farm]"""

    site: str = setting("", "the site's name, in topics and the log's origin; set by `earmark init`, not changed later")


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """[broker]"""

    embedded: bool = setting(True, "start the broker that Earmark brings along; false to use the one at `url`")
    listen: str = setting("0.0.0.0", "address that the embedded broker listens on")  # noqa: S104
    port: int = setting(8883, "port that the embedded broker listens on; 1883 is usual without TLS")
    tls: bool = setting(True, "the embedded broker speaks TLS; false only on a network that is the farm's own")
    certificate: str = setting("", "PEM file of a certificate of your own for it, with its chain, for `name`")
    key: str = setting("", "PEM file of that certificate's private key")
    name: str = setting("", "host name in that certificate: nodes and this machine reach the broker by it")
    max_connections: int = setting(4096, "most connections to the embedded broker at a time", "connections")
    url: str = setting("", "another broker: mqtt://host:port, or mqtts://host:port with TLS")
    user: str = setting("", "user there; its password is `gateway` in keys/broker.json")
    authority: str = setting(
        "", "PEM file of the authority that signed `certificate`, or that of the broker at `url`; else the farm's own"
    )

    @property
    def is_everywhere(self) -> bool:
        """Whether the embedded broker listens on all addresses."""
        return self.listen in ("0.0.0.0", "::")  # noqa: S104


@dataclass(frozen=True, slots=True)
class LogSettings:
    """[log]"""

    seal_every_s: float = setting(10.0, "a block is sealed this long after the first unsealed statement", "seconds")
    seal_after: int = setting(1000, "or as soon as this many statements are unsealed", "statements")


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """[ingest]"""

    most_a_minute: int = setting(
        6000, "what a node sends beyond this is dropped unread and counted; it sends it again later", "statements"
    )
    max_ahead_s: int = setting(300, "a statement from further in the future is held until it is due", "seconds")
    ack_every_s: float = setting(1.0, "a node is answered at most this often; at once when it is quiet", "seconds")
    quarantine_mb: int = setting(
        64, "room for what is not admitted; beyond it the oldest go, and are counted", "megabytes"
    )


@dataclass(frozen=True, slots=True)
class BeaconSettings:
    """[beacon]"""

    every_s: float = setting(
        600.0, "how often the newest public block hashes and round go out to the nodes; 0 for never", "seconds"
    )
    drand: tuple[str, ...] = setting(
        (),
        "addresses of HTTP relays of drand's quicknet, asked in turn for its newest round, which everybody can check "
        "offline: no account, no key, no fee",
    )


@dataclass(frozen=True, slots=True)
class StatusSettings:
    """[status]"""

    listen: str = setting("127.0.0.1", "address that serves /health and /metrics; whoever reaches it may read them")
    port: int = setting(0, "port of that, such as 9464; 0 for none")


@dataclass(frozen=True, slots=True)
class LogHttpSettings:
    """[log_http]"""

    listen: str = setting(
        "127.0.0.1", "address that serves checkpoints and hashes of the log to anybody, such as behind a proxy with TLS"
    )
    port: int = setting(0, "port of that, such as 8450; 0 for none")


@dataclass(frozen=True, slots=True)
class AnchorSettings:
    """[[anchor]], one table for each target"""

    name: str = setting(
        "", "what status and metrics call it; its chain, `calendars`, or the host of `tsa_url` where it is not set"
    )
    chain: str = setting(
        "",
        "CAIP-2 id such as eip155:1 or bip122:000000000019d6689c085ae165831e93 (Bitcoin), or `development` for the "
        "built-in chain that is worth nothing; with `calendars` Bitcoin where it is not set",
    )
    calendars: tuple[str, ...] = setting(
        (), "addresses of OpenTimestamps calendars, each asked on its own: no account, no key, no fee"
    )
    headers: tuple[str, ...] = setting(
        (),
        "addresses of Esplora HTTP interfaces that Bitcoin headers are read from, in turn, after the node of rpc_file",
    )
    tsa_url: str = setting("", "address of a time-stamping authority (RFC 3161), whose word and clock it then rests on")
    tsa_certificate: str = setting(
        "", "PEM file of that authority's root certificate, from the authority itself; answers are checked against it"
    )
    rpc_file: str = setting(
        "", "file that holds the URL of the chain's JSON-RPC endpoint, so that its key stays private"
    )
    key_file: str = setting(
        "", "file that holds the private key (hex) of an account with little in it, used for nothing else"
    )
    every_s: float = setting(3600.0, "time between two anchors", "seconds")
    overdue_s: float = setting(172_800.0, "an anchor that is not final after this long is called overdue", "seconds")
    replace_after_s: float = setting(
        1800.0, "an anchor that no block took for this long is sent again with a higher fee", "seconds"
    )
    month_budget: float = setting(
        0.0, "most that the anchors of any thirty days may cost, in the chain's coin; 0 for no such bound", "coins"
    )
    fee_cap_gwei: float = setting(30.0, "EVM: above this price of gas an anchor waits", "gwei")
    fee_cap_sat_vb: float = setting(50.0, "Bitcoin: above this fee rate an anchor waits", "satoshi per vbyte")
    confirmations: int = setting(
        0, "depth that is final; 0 for 6 on Bitcoin, and for what an EVM endpoint calls `finalized`, else 12", "blocks"
    )
    block_every_s: float = setting(2.0, "development chain only: time between two of its blocks", "seconds")

    @property
    def called(self) -> str:
        """What it is called."""
        if self.tsa_url and not self.name:
            parts = _parts(self.tsa_url)
            return (parts and parts.hostname) or ""
        return self.name or ("calendars" if self.calendars else self.chain)


@dataclass(frozen=True, slots=True)
class WitnessSettings:
    """[[witness]], one table for each"""

    url: str = setting("", "where it is asked, such as http://neighbour.example:8460")
    vkey: str = setting("", "its verifier key, as `earmark witness init` showed it to the neighbour")
    every_s: float = setting(5.0, "it is asked for the newest block at most this often", "seconds")


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of a farm."""

    farm: FarmSettings
    broker: BrokerSettings
    log: LogSettings
    ingest: IngestSettings
    beacon: BeaconSettings
    status: StatusSettings
    log_http: LogHttpSettings
    anchor: tuple[AnchorSettings, ...]
    witness: tuple[WitnessSettings, ...]


TABLES: dict[str, type] = {
    "farm": FarmSettings,
    "broker": BrokerSettings,
    "log": LogSettings,
    "ingest": IngestSettings,
    "beacon": BeaconSettings,
    "status": StatusSettings,
    "log_http": LogHttpSettings,
    "anchor": AnchorSettings,
    "witness": WitnessSettings,
}
LISTS = "anchor", "witness"
"""The tables that are written with two brackets, one for each."""


def parse_config(text: str, where: str) -> Config:
    """Return the settings of a TOML text; `ConfigError` names an unknown or wrong one."""
    tables = read_tables(text, where, TABLES, ", ".join(TABLES))
    made: dict[str, Any] = {}
    for name, kind in TABLES.items():
        given = tables.get(name, [] if name in LISTS else {})
        if name not in LISTS:
            made[name] = parse_table(kind, name, given, where)
        elif isinstance(given, list):
            made[name] = tuple(parse_table(kind, name, table, where) for table in given)
        else:
            raise ConfigError(f"{where}: it is written as [[{name}]], with two brackets, a table for each")
    config = Config(**made)
    _check(config, where)
    return config


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
    for name, port in {"status": config.status.port, "log_http": config.log_http.port}.items():
        if port > 65_535:
            raise ConfigError(f"{where}: {name}.port is {port}; it is 1 to 65535, or 0 for none")
    _check_urls("beacon.drand", config.beacon.drand, where)
    names = [anchor.called for anchor in config.anchor]
    if len(set(names)) < len(names):
        raise ConfigError(f"{where}: two [[anchor]] tables for one chain or of one name: give each a name")
    keys = [(anchor.chain, anchor.key_file) for anchor in config.anchor if anchor.key_file]
    if len(set(keys)) < len(keys):
        raise ConfigError(
            f"{where}: two [[anchor]] tables of one chain with one key_file: each would take the other's transactions "
            "for strange ones; give each a key of its own"
        )
    for anchor in config.anchor:
        check_anchor(anchor, where)
    _check_witnesses(config.witness, where)
    least = {"ingest.most_a_minute": config.ingest.most_a_minute, "log.seal_after": config.log.seal_after}
    for name, value in least.items():
        if value < 1:
            raise ConfigError(f"{where}: {name} is {value}; it is at least 1")


def check_anchor(anchor: AnchorSettings, where: str) -> None:
    """Raise `ConfigError` where a table of an anchor lacks what its target needs."""
    if anchor.tsa_url or anchor.tsa_certificate:
        if not _parts(anchor.tsa_url):
            raise ConfigError(
                f"{where}: anchor.tsa_url is {anchor.tsa_url[:100]!r}; it is like https://tsa.example/tsr"
            )
        if not anchor.tsa_certificate or anchor.chain or anchor.calendars:
            raise ConfigError(
                f"{where}: an [[anchor]] with tsa_url needs tsa_certificate, and neither chain nor calendars: give "
                "each a table of its own"
            )
    elif anchor.calendars:
        if anchor.chain and not is_bitcoin(anchor.chain):
            raise ConfigError(f"{where}: calendars anchor on Bitcoin; {anchor.chain!r} is none of its chains")
        if not anchor.headers and not anchor.rpc_file:
            raise ConfigError(
                f"{where}: an [[anchor]] with calendars needs `headers` or `rpc_file`: what they answer is checked "
                "against Bitcoin's headers"
            )
        _check_urls("anchor.calendars", anchor.calendars, where)
        _check_urls("anchor.headers", anchor.headers, where)
    elif anchor.chain != DEVELOPMENT and not (is_chain_id(anchor.chain) and anchor.rpc_file and anchor.key_file):
        raise ConfigError(
            f"{where}: an [[anchor]] needs chain, rpc_file and key_file, or calendars, or tsa_url; {anchor.chain!r} "
            "has not all of them"
        )
    elif not anchor.chain.startswith("bip122:") and anchor.fee_cap_gwei * GAS_CAP * 10**9 >= MOST_COST:
        raise ConfigError(
            f"{where}: anchor.fee_cap_gwei is {anchor.fee_cap_gwei:.9g}: an anchor of up to {GAS_CAP:,} gas might cost "
            f"2^63 wei or more; it is below {MOST_COST // (GAS_CAP * 10**9) + 1:,}"
        )
    elif anchor.chain.startswith("bip122:") and not is_bitcoin(anchor.chain):
        raise ConfigError(f"{where}: {anchor.chain!r} is none of Bitcoin's chains")


def _check_urls(setting_: str, urls: tuple[str, ...], where: str) -> None:
    for url in urls:
        if not _parts(url):
            raise ConfigError(f"{where}: {setting_} has {url[:100]!r}; each is like https://host/path")


def _check_witnesses(witnesses: tuple[WitnessSettings, ...], where: str) -> None:
    known: set[bytes | str] = set()
    for witness in witnesses:
        if not _is_http(witness.url):
            raise ConfigError(f"{where}: witness.url is {witness.url!r}; it is like http://neighbour.example:8460")
        try:
            own = decode_verifier_key(witness.vkey, COSIGNATURE)
        except EncodingError as error:
            raise ConfigError(f"{where}: witness.vkey: {error}") from error
        if own.key in known:
            raise ConfigError(f"{where}: two [[witness]] tables with one key, that of {witness.vkey}")
        if own.name in known:
            raise ConfigError(f"{where}: two [[witness]] tables with one name, {own.name}: health could not tell which")
        known |= {own.key, own.name}
    if len(witnesses) > MOST_COSIGNATURES:
        raise ConfigError(f"{where}: {len(witnesses)} witnesses; a proof file holds at most {MOST_COSIGNATURES}")


def _is_http(url: str) -> bool:
    parts = _parts(url)
    return parts is not None and "@" not in parts.netloc


def _parts(url: str) -> SplitResult | None:
    """Return the parts of an http or https URL; None for what is none."""
    try:
        parts = urlsplit(url)
        is_one = parts.port != 0 and parts.scheme in ("http", "https") and bool(parts.hostname)
        (parts.hostname or "").encode("idna")  # as the look-up of a name does
    except ValueError:
        return None
    return parts if is_one else None


def settings() -> Iterator[tuple[str, str, Any, str, str]]:
    """Give every setting as (table, name, default, unit, meaning), in the order of the documentation."""
    for table, kind in TABLES.items():
        for one in fields(kind):
            yield table, one.name, one.default, one.metadata["unit"], one.metadata["meaning"]
