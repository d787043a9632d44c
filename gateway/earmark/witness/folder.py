"""A witness' folder: its key, its memory, and the logs that it knows.

WITNESS/witness.toml   address and port, and a [[log]] table for each log
WITNESS/witness.key    the private key, plain or sealed; made for this folder and used nowhere else
WITNESS/witness.vkey   the verifier key: what the neighbours and the buyers get
WITNESS/witness.db     what was cosigned, and evidence
"""

import fcntl
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from earmark import keys
from earmark.config import read_text, write_private
from earmark.cose import Signer
from earmark.errors import ConfigError, EncodingError
from earmark.note import COSIGNATURE, ED25519, VerifierKey, check_key_name, decode_verifier_key
from earmark.tables import parse_table, read_tables, setting
from earmark.witness.ledger import Ledger, create_ledger

MOST_LOGS = 1000
_SETTINGS, _KEY, _VKEY, _LEDGER = "witness.toml", "witness.key", "witness.vkey", "witness.db"
_TEXT = """\
# The settings of this witness; it is started again after a change.

[witness]
# Neighbours' gateways reach it here over HTTP. What passes is public, and signed.
listen = "{listen}"
port = {port}

# One table for each log that it cosigns for. Its grower says `earmark witness status` and gives you the key.
# [[log]]
# vkey = "earmark/SITE/0123456789abcdef+01234567+AQ..."
"""


@dataclass(frozen=True, slots=True)
class WitnessSettings:
    """[witness]"""

    listen: str = setting("0.0.0.0", "address that it listens on")  # noqa: S104
    port: int = setting(8460, "port that it listens on")


@dataclass(frozen=True, slots=True)
class LogSettings:
    """[[log]], one table for each log"""

    vkey: str = setting("", "the log's verifier key, as `earmark witness status` of its farm shows it")
    origin: str = setting("", "the log's origin, where it is not the name of its key")


@dataclass(frozen=True, slots=True)
class WitnessFolder:
    """An opened folder; the private key is read when it is asked for."""

    path: Path
    own: VerifierKey
    settings: WitnessSettings
    logs: Mapping[str, tuple[VerifierKey, ...]]

    def ledger(self) -> Ledger:
        """Open what the witness keeps; `ConfigError` where it is another witness'."""
        ledger = Ledger(self.path / _LEDGER)
        owner = ledger.owner
        if owner != self.own.encode():
            ledger.close()
            raise ConfigError(f"{self.path / _LEDGER} belongs to the witness {owner}, not to {self.own.encode()}")
        return ledger

    def signer(self, passphrase: Callable[[], bytes]) -> Signer:
        """Return the private key; `ConfigError` where it is not here, does not open, or is another one."""
        signer = Signer(keys.read_seed(self.path / _KEY, "the witness' key", passphrase))
        if signer.key != self.own.key:
            raise ConfigError(f"{self.path / _KEY} is not the key of {self.own.encode()}")
        return signer

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the one process that runs the witness; `ConfigError` where another does."""
        with (self.path / "witness.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(f"a witness already runs on {self.path}") from error
            yield


def create_witness(path: Path, name: str, listen: str, port: int, passphrase: bytes | None) -> WitnessFolder:
    """Make a witness with a new key, sealed where there is a passphrase; a folder that has one is not touched.

    The key's file is written last: until then nothing can have been cosigned, so an interrupted call is begun anew.
    """
    check_name(name)
    if (path / _KEY).exists():
        raise ConfigError(f"{path} is a witness already; its key and its memory are not overwritten")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    seed = secrets.token_bytes(32)
    own = VerifierKey(name, COSIGNATURE, Signer(seed).key)
    create_ledger(path / _LEDGER, own.encode())
    keys.replace_private(path / _VKEY, own.encode() + "\n")
    write_private(path / _SETTINGS, _TEXT.format(listen=listen, port=port))
    keys.write_seed(path / _KEY, seed, passphrase)
    return open_witness(path)


def open_witness(path: Path) -> WitnessFolder:
    """Read a witness' settings; `ConfigError` where there is none or they are wrong."""
    if not (path / _KEY).exists():
        raise ConfigError(f"no witness in {path}: run `earmark witness init`, or name its folder")
    own = read_text(path / _VKEY, "the witness' verifier key").strip()
    settings, logs = parse_settings(read_text(path / _SETTINGS, "the settings"), str(path / _SETTINGS))
    try:
        return WitnessFolder(path, decode_verifier_key(own, COSIGNATURE), settings, logs)
    except EncodingError as error:
        raise ConfigError(f"{path / _VKEY}: {error}") from error


def check_name(name: str) -> None:
    """Raise `ConfigError` unless a witness can have this name: like a URL without its scheme."""
    try:
        check_key_name(name)
    except EncodingError as error:
        raise ConfigError(f"the witness' name: {error}") from error
    if "://" in name or name.startswith("/"):
        raise ConfigError(f"the witness' name {name!r} has a scheme: name it like farm.example/witness")


def parse_settings(text: str, where: str) -> tuple[WitnessSettings, dict[str, tuple[VerifierKey, ...]]]:
    """Return the settings of a TOML text and the keys of each log, by origin; `ConfigError` names a wrong one."""
    tables = read_tables(text, where, {"witness", "log"}, "[witness] and [[log]]")
    settings: WitnessSettings = parse_table(WitnessSettings, "witness", tables.get("witness", {}), where)
    if not 1 <= settings.port <= 65_535:
        raise ConfigError(f"{where}: witness.port is {settings.port}; it is 1 to 65535")
    rows = tables.get("log", [])
    if not isinstance(rows, list) or len(rows) > MOST_LOGS:
        raise ConfigError(f"{where}: logs are written as [[log]], with two brackets, at most {MOST_LOGS}")
    logs: dict[str, tuple[VerifierKey, ...]] = {}
    for row in rows:
        log: LogSettings = parse_table(LogSettings, "log", row, where)
        try:
            key = decode_verifier_key(log.vkey, ED25519)
        except EncodingError as error:
            raise ConfigError(f"{where}: log.vkey: {error}") from error
        origin = log.origin or key.name
        logs[origin] = (*logs.get(origin, ()), key)
    return settings, logs
