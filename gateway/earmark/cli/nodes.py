"""`earmark node enroll`: a key that the operator lets in, from a did, a node's folder, or a board on a serial port."""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from earmark import cose, operator
from earmark.access import node_settings, trusted_authority
from earmark.body import check_name
from earmark.cli.arguments import seconds
from earmark.cli.boards import add_port, add_set_up
from earmark.cli.farms import farm_of, reading
from earmark.cli.parser import UsageError
from earmark.cli.passphrases import add_passphrase_file
from earmark.cli.screen import Screen
from earmark.cli.words import count
from earmark.config import Farm
from earmark.errors import ConfigError, EncodingError, UnknownNode
from earmark.keys import replace_private

IDENTITY = "identity"
"""The file in which the node firmware keeps its seed and its public key, 32 bytes each."""

SETTLE_S = 10.0
_MOST_HELD = 100_000
_ALWAYS_MS = 1 << 62


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `node enroll`."""
    parser.usage = (
        "earmark node enroll [--farm DIR] [--json] [--passphrase-file FILE]\n"
        "                           (DID NAME | --dir NODE_FOLDER [NAME] |\n"
        "                            NAME [--port PORT] [--kit KIT --board BOARD]\n"
        "                            [--wifi SSID] [--wifi-password-file FILE]\n"
        "                            [--host ADDRESS] [--new-key] [--yes] [--wait S])"
    )
    parser.add_argument(
        "who",
        nargs="*",
        metavar="DID NAME",
        help="the node's did and its name to be; for a board the name alone",
    )
    parser.add_argument(
        "--dir",
        metavar="NODE_FOLDER",
        type=Path,
        help="take the key from a node's folder on this machine, and the name from its node.json",
    )
    add_port(parser)
    add_set_up(parser)
    parser.add_argument(
        "--new-key", action="store_true", help="where the board's key is another farm's, or has ended: make another"
    )
    parser.add_argument(
        "--wait", metavar="S", type=seconds, default=120.0, help="seconds to wait for a reading (default: 120)"
    )
    add_passphrase_file(parser)


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Sign the statement and say where it stands."""
    farm = farm_of(args)
    if len(args.who) == 1 and not args.dir:
        from earmark.cli.onboarding import enrol_board

        screen.document(enrol_board(farm, args, _checked(args.who[0]), screen))
        return 0
    key, name = _who(args)
    before = held_of(farm, key)
    leaf = operator.enrol(farm, key, name)
    screen.say(f"{name} is enrolled at leaf {leaf}; from there on the log takes what this key signs:")
    screen.document(
        {"name": name, "did": cose.did(key), "enrolled_at": leaf} | welcome(farm, key, name, before, args.dir, screen)
    )
    return 0


def _who(args: argparse.Namespace) -> tuple[bytes, str]:
    try:
        if args.dir:
            given = args.who or [_name_in(args.dir)]
            if len(given) == 1:
                return key_in(args.dir), check_name(given[0])
        elif len(args.who) == 2:
            return cose.key_of(args.who[0]), check_name(args.who[1])
    except EncodingError as error:
        raise UsageError("earmark node enroll", str(error)) from error
    raise UsageError("earmark node enroll", "give a did and a name, --dir with a node's folder, or a board's name")


def _checked(name: str) -> str:
    try:
        return check_name(name)
    except EncodingError as error:
        raise UsageError("earmark node enroll", f"{error}; a did goes with a name") from error


def key_in(folder: Path) -> bytes:
    """Return the public half of a node's key file; the private half is not read."""
    path = folder / IDENTITY
    try:
        with path.open("rb") as file:
            file.seek(32)
            key = file.read(33)
    except OSError as error:
        raise ConfigError(
            f"no node's key in {folder} ({error.strerror}): "
            f"`python firmware/main.py --dir {folder} --identity` makes one"
        ) from error
    if not cose.is_point(key):
        raise ConfigError(f"{path} is damaged: it does not hold a seed and its public key")
    return key


def _name_in(folder: Path) -> str:
    path = folder / "node.json"
    try:
        name = json.loads(path.read_text())["name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} names no node: give the name as well") from error
    return str(name)


def held_of(farm: Farm, key: bytes) -> list[bytes]:
    """Return the entries of what is held because nobody enrolled this key yet."""
    with reading(farm) as store:
        return [row.entry for row in store.due(UnknownNode.__name__, key, _ALWAYS_MS, _MOST_HELD)]


def welcome(
    farm: Farm, key: bytes, name: str, held: list[bytes], folder: Path | None, screen: Screen
) -> dict[str, Any]:
    """Follow what was held of a key that is in the registry now, and say what its node needs; return both as JSON."""
    admitted, refused, waiting = _follow(farm, held)
    screen.copyable(cose.did(key))
    if held:
        screen.say(f"Of {count(len(held), 'held statement')} {admitted:,} went into the log.")
    if refused:
        screen.say(f"{refused:,} were refused; `earmark log quarantine` says why.")
    if waiting:
        screen.say(f"{waiting:,} still wait; `earmark log quarantine --held` says for what.")
    settings = None if folder else node_settings(farm, name, key)
    if settings:
        _tell_settings(farm, settings, screen)
    elif folder:
        _set_up(folder, node_settings(farm, name, key, is_here=True), screen)
    return {"admitted": admitted, "refused": refused, "held": waiting, "settings": settings}


def _tell_settings(farm: Farm, settings: dict[str, Any], screen: Screen) -> None:
    screen.say("What its node.json needs of this farm; the password is this node's alone:")
    screen.copyable(json.dumps(settings, ensure_ascii=False))
    if "tls" in settings["broker"]:
        screen.say(f"Copy {trusted_authority(farm)} into the node's folder, beside node.json.")


def _set_up(folder: Path, settings: dict[str, Any], screen: Screen) -> None:
    """Put what the farm says into a node's node.json; what else stands there stays."""
    path = folder / "node.json"
    try:
        held = json.loads(path.read_text()) if path.exists() else {}
        broker = held.get("broker", {}) | settings["broker"]
        replace_private(path, json.dumps(held | settings | {"broker": broker}, indent=1, ensure_ascii=False))
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is not a node's settings, and was not completed: {error}") from error
    screen.say(f"{path} has its settings for this farm, the password among them.")


def _follow(farm: Farm, entries: list[bytes]) -> tuple[int, int, int]:
    """Return how many of the held statements went in, were refused, and wait, once a running gateway has tried them."""
    deadline = time.monotonic() + SETTLE_S
    with reading(farm, live=True) as store:
        while True:
            left = [row for entry in entries if (row := store.quarantined(entry))]
            untried = [row for row in left if row.reason == UnknownNode.__name__]
            if not untried or time.monotonic() > deadline:
                held = sum(row.held for row in left)
                return len(entries) - len(left), len(left) - held, held
            time.sleep(0.05)
