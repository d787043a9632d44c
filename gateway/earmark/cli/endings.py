"""`earmark node rotate` and `revoke`: keys that end, and from which leaf on one was in other hands."""

import argparse
import sys
from datetime import datetime
from pathlib import Path

from earmark import cose, operator
from earmark.cli.arguments import a_moment, a_reason
from earmark.cli.boards import add_set_up
from earmark.cli.farms import farm_of, reading
from earmark.cli.nodes import held_of, key_in, welcome
from earmark.cli.parser import UsageError
from earmark.cli.passphrases import add_passphrase_file
from earmark.cli.screen import Screen
from earmark.cli.words import count, utc
from earmark.config import Farm
from earmark.errors import ConfigError, EncodingError
from earmark.registry import Enrolment
from earmark.store import Store


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the arguments of one of the two."""
    if command == "node rotate":
        parser.usage = (
            "earmark node rotate [--farm DIR] [--json] [--passphrase-file FILE]\n"
            "                           --reason TEXT NAME\n"
            "                           (DID | --dir NODE_FOLDER | --port PORT\n"
            "                            [--kit KIT --board BOARD] [--wifi SSID]\n"
            "                            [--wifi-password-file FILE]\n"
            "                            [--host ADDRESS] [--yes])"
        )
        parser.add_argument("name", metavar="NAME", help="the node's name")
        parser.add_argument("new", nargs="?", metavar="DID", help="the did of the key that takes the name")
        parser.add_argument(
            "--dir", metavar="NODE_FOLDER", type=Path, help="take that key from a node's folder on this machine"
        )
        parser.add_argument("--port", metavar="PORT", help="let the board on this serial port (or auto) make that key")
        add_set_up(parser)
    else:
        parser.add_argument("name", metavar="NAME", help="the node's name, or the did of one of its keys")
        parser.add_argument(
            "--compromised-since",
            metavar="WHEN",
            type=a_moment,
            help="the key was in other hands from this leaf or UTC time on: what it signed since does not count",
        )
        parser.add_argument("--yes", action="store_true", help="do not ask before statements stop counting")
    parser.add_argument("--reason", required=True, type=a_reason, help="why, for everybody to read")
    add_passphrase_file(parser)


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Sign the statement and say where it stands."""
    farm = farm_of(args)
    if args.command == "node rotate":
        _rotate(farm, args, screen)
    else:
        _revoke(farm, args, screen)
    return 0


def _rotate(farm: Farm, args: argparse.Namespace, screen: Screen) -> None:
    if args.port and not (args.new or args.dir):
        _rotate_board(farm, args, screen)
        return
    key, node = _successor(args), operator.find_key(farm, args.name)
    before = held_of(farm, key)
    leaf = operator.rotate(farm, node.key, key, args.reason)
    screen.say(
        f"{node.name} is rotated at leaf {leaf}: nothing that its old key signs is let into the log from there on, and "
        "the log takes what this key signs:"
    )
    found = welcome(farm, key, node.name, before, args.dir, screen)
    screen.say("What the old key signed before stays, and stays provable.")
    keys = {"did": cose.did(key), "former": cose.did(node.key)}
    screen.document({"name": node.name, **keys, "rotated_at": leaf, "reason": args.reason} | found)


def _rotate_board(farm: Farm, args: argparse.Namespace, screen: Screen) -> None:
    from earmark.cli.onboarding import rotate_board

    former, key, leaf = rotate_board(farm, args, screen)
    screen.say(f"{args.name} is rotated at leaf {leaf}; the board has a new key, and an outbox of its own for it:")
    screen.copyable(cose.did(key))
    screen.say("What the old key signed before stays, and stays provable.")
    keys = {"did": cose.did(key), "former": cose.did(former)}
    screen.document({"name": args.name, **keys, "rotated_at": leaf, "reason": args.reason})


def _successor(args: argparse.Namespace) -> bytes:
    if bool(args.new) == bool(args.dir) or args.port:
        raise UsageError("earmark node rotate", "give the new key's did, or --dir, or --port with its board")
    try:
        return key_in(args.dir) if args.dir else cose.key_of(args.new)
    except EncodingError as error:
        raise UsageError("earmark node rotate", str(error)) from error


def _revoke(farm: Farm, args: argparse.Namespace, screen: Screen) -> None:
    node = operator.find_key(farm, args.name)
    since = cost = None
    if args.compromised_since is not None:
        with reading(farm) as store:
            since, cost = _since(store, node, args.compromised_since, screen)
        if not args.yes:
            _confirm(cost, screen)
    leaf = operator.revoke(farm, node.key, args.reason, since)
    if node.ended_at is None:
        screen.say(
            f"{node.name} is revoked at leaf {leaf}: nothing that its key signs is let into the log from there on, "
            "and the embedded broker lets it in no more."
        )
    if since is None:
        screen.say("What it said before stays, and stays provable. A new key may be enrolled under the same name.")
    else:
        screen.say(
            f"Leaf {leaf} says that the key was in other hands from leaf {since} on. What it signed below that stays "
            "provable; make proof files of it anew, so that buyers see it."
        )
    said = {"revoked_at": leaf, "reason": args.reason, "compromised_since": since, "not_counting": cost or 0}
    screen.document({"name": node.name, "did": cose.did(node.key)} | said)


def _since(store: Store, node: Enrolment, moment: int | datetime, screen: Screen) -> tuple[int, int]:
    """Return the leaf that a moment is for a key, and how many of its statements stop counting; say both.

    A time is that of the gateway's clock when it received a statement: what signers say of the time is not asked.
    """
    chain = store.chain(node.key, node.name)
    if isinstance(moment, datetime):
        text = utc(round(moment.timestamp()))
        found = store.received_from(chain.id, round(moment.timestamp() * 1000)) if chain else None
        latest = store.size() if node.ended_at is None else node.ended_at
        since = latest if found is None else found
        what = "nothing of the key" if found is None else f"leaf {found} is the first of the key that the gateway"
        screen.say(
            f"{what} {'was ' if found is None else ''}received at {text} or later: it counts below leaf {since}."
        )
    else:
        since = moment
    cost = store.count_from(chain.id, since) if chain else 0
    for index, received_at_ms, _ in store.statements(since, since + 1):
        screen.say(f"The gateway received leaf {index} at {utc(received_at_ms // 1000)}.", indent=2)
    screen.say(
        f"{count(cost, 'statement')} that {node.name}'s key signed from leaf {since} on will not count, for good.",
        style="yellow",
    )
    return since, cost


def _confirm(cost: int, screen: Screen) -> None:
    """Ask on the terminal; `ConfigError` where the answer is not yes, or nobody can be asked."""
    if screen.as_json or not sys.stdin.isatty():
        raise ConfigError(
            f"{count(cost, 'statement')} would not count: look at it on a terminal, or say --yes. Nothing was done"
        )
    if input("Revoke the key so? Type yes: ").strip() != "yes":
        raise ConfigError("not confirmed: nothing was done")
