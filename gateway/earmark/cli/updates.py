"""`earmark node update`: a release for nodes, signed into the log, and how far each of them is."""

import argparse
from pathlib import Path
from typing import Any

from earmark import cose, operator
from earmark.cli.farms import farm_of, reading
from earmark.cli.parser import UsageError
from earmark.cli.passphrases import add_passphrase_file
from earmark.cli.screen import Screen
from earmark.config import Farm
from earmark.errors import ConfigError
from earmark.log import load_registry
from earmark.releases import keep_release, read_release, update_state
from earmark.statement import MAX_SIZE

_WORDS = {
    "pending": "has not taken it up yet",
    "downloading": "fetches it",
    "trial": "runs it on trial, until the gateway has its boot statement",
    "confirmed": "runs it",
    "returned": "went back to the release before",
    "refused": "will not have it",
}


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `node update`."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="the nodes; without --release, show how far they are")
    parser.add_argument("--all", action="store_true", help="all nodes of the release's target, also later ones")
    parser.add_argument("--release", metavar="DIR", type=Path, help="a release's folder, or its release.cbor")
    add_passphrase_file(parser)


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Sign the update, where one is given, and show the nodes' states."""
    farm, leaf = farm_of(args), None
    if args.release:
        if bool(args.names) == args.all:
            raise UsageError("earmark node update", "name the nodes that the release is for, or say --all")
        leaf = _release(farm, args, screen)
    nodes = _states(farm, args.names)
    for node in nodes:
        _tell(node, screen)
    if not any(node["update"] for node in nodes):
        screen.say("No update is for these nodes: `earmark node build`, then `earmark node update NAME --release DIR`.")
    screen.document({"leaf": leaf, "nodes": nodes})
    return 0


def _release(farm: Farm, args: argparse.Namespace, screen: Screen) -> int:
    for name in args.names:
        operator.find_key(farm, name)
    raw, files = read_release(args.release)
    if len(args.names) > 100 or len(raw) > MAX_SIZE:
        raise ConfigError("at most 100 nodes in one update: name some, then the others, or say --all")
    manifest = keep_release(farm, raw, files)
    leaf = operator.update(farm, raw, args.names)
    who = "all nodes" if args.all else ", ".join(args.names)
    screen.say(
        f"Release {manifest.number} ({manifest.version}) for {manifest.target} is in the log at leaf {leaf}, for "
        f"{who}. Nodes that are connected take it up at once, others when they are."
    )
    return leaf


def _states(farm: Farm, names: list[str]) -> list[dict[str, Any]]:
    """Return how far each node is, of those named or of all."""
    nodes = []
    with reading(farm) as store:
        registry = load_registry(store, farm.operator_key())
        for node in registry.nodes():
            if node.ended_at is None and (not names or node.name in names):
                update, state, reason, software = update_state(store, registry, node)
                about: dict[str, Any] = {"name": node.name, "did": cose.did(node.key), "software": software or None}
                about["update"] = update.index if update else None
                about |= {"number": update.number, "version": update.version} if update else {}
                nodes.append(about | {"state": state or None, "reason": reason})
    return nodes


def _tell(node: dict[str, Any], screen: Screen) -> None:
    screen.say(node["name"], style="bold")
    screen.say(f"software {node['software']}" if node["software"] else "no boot statement seen", indent=2)
    if node["update"] is not None:
        why = f": {node['reason']}" if node["reason"] else ""
        loud = "yellow" if node["state"] in ("returned", "refused") else ""
        what = f"release {node['number']} ({node['version']}): {node['state']}, it {_WORDS[node['state']]}{why}"
        screen.say(what, indent=2, style=loud)
