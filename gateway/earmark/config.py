"""A farm's folder: its keys, its files, and who may write them.

FARM/earmark.toml       the configuration
FARM/keys/              operator.key, gateway.key (32-byte seeds, plain or sealed), broker.json (passwords); private
FARM/earmark.db         the log and all else that the gateway keeps
FARM/releases/          files of the node firmware that the operator released, by their SHA-256
FARM/broker/            the embedded broker's streams
"""

import fcntl
import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from earmark import keys
from earmark.cose import Signer
from earmark.errors import ConfigError
from earmark.rights import GATEWAY_USER
from earmark.settings import Config, parse_config

NODES_SECRET = "nodes"  # noqa: S105 - a name
"""The name in keys/broker.json of the secret that the nodes' passwords come of."""

ROLES = "operator", "gateway"


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

    @property
    def releases(self) -> Path:
        """The folder of the releases' files, each under its SHA-256."""
        return self.folder / "releases"

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
