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
from earmark.releases import NodeRelease, keep_release, node_release, read_release
from earmark.statement import MAX_SIZE

_WORDS = {
    "pending": "has not taken it up yet",
    "downloading": "fetches it",
    "trial": "runs it on trial, until the gateway has its boot statement",
    "confirmed": "runs it",
    "returned": "went back to the release before",
    "refused": "will not have it",
    "other-target": "does not take it",
}


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `node update`."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="the nodes; without --release, show how far they are")
    parser.add_argument("--all", action="store_true", help="all nodes of the release's target, also later ones")
    parser.add_argument("--release", metavar="DIR", type=Path, help="a release's folder, or its release.cbor")
    add_passphrase_file(parser)


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Sign the update, where one is given, and show the nodes' states."""
    farm, leaf, target = farm_of(args), None, ""
    if args.release:
        if bool(args.names) == args.all:
            raise UsageError("earmark node update", "name the nodes that the release is for, or say --all")
        leaf, target = _release(farm, args, screen)
    nodes = _states(farm, args.names)
    others = [node["name"] for node in nodes if target and node["targets"] and target not in node["targets"]]
    if others:
        screen.say(f"Not for {', '.join(others)}: of another target, and passed over by this release.", style="yellow")
    for node in nodes:
        _tell(node, screen)
    if not any(node["update"] for node in nodes):
        screen.say("No update is for these nodes: `earmark node build`, then `earmark node update NAME --release DIR`.")
    screen.document({"leaf": leaf, "other_target": others, "nodes": nodes})
    return 0


def _release(farm: Farm, args: argparse.Namespace, screen: Screen) -> tuple[int, str]:
    for name in args.names:
        operator.find_key(farm, name)
    raw, files = read_release(args.release)
    if len(args.names) > 100 or len(raw) > MAX_SIZE:
        raise ConfigError("at most 100 nodes in one update: name some, then the others, or say --all")
    manifest = keep_release(farm, raw, files)
    leaf = operator.update(farm, raw, args.names)
    who = "all nodes of that target" if args.all else ", ".join(args.names)
    screen.say(
        f"Release {manifest.number} ({manifest.version}) for {manifest.target} is in the log at leaf {leaf}, for "
        f"{who}. Nodes that are connected take it up at once, others when they are."
    )
    return leaf, manifest.target


def _states(farm: Farm, names: list[str]) -> list[dict[str, Any]]:
    """Return how far each node is, of those named or of all."""
    nodes = []
    with reading(farm) as store:
        registry = load_registry(store, farm.operator_key())
        for node in registry.nodes():
            if node.ended_at is None and (not names or node.name in names):
                about: dict[str, Any] = {"name": node.name, "did": cose.did(node.key)}
                nodes.append(about | describe_release(node_release(store, registry, node)))
    return nodes


def describe_release(release: NodeRelease) -> dict[str, Any]:
    """Return what the documents of `node update` and `node list` say of a node's firmware."""
    update = release.update
    about: dict[str, Any] = {"software": release.software or None, "board": release.board or None}
    about["targets"] = list(release.targets)
    about_update = {"number": update.number, "version": update.version, "target": update.target} if update else {}
    state = {"update": update.index if update else None} | about_update
    return about | state | {"state": release.state or None, "reason": release.reason}


def release_words(node: dict[str, Any]) -> str:
    """Return how far the update is, in words."""
    why = f": {node['reason']}" if node["reason"] else ""
    return f"release {node['number']} ({node['version']}): {node['state']}, it {_WORDS[node['state']]}{why}"


def _tell(node: dict[str, Any], screen: Screen) -> None:
    screen.say(node["name"], style="bold")
    screen.say(f"software {node['software']}" if node["software"] else "no boot statement seen", indent=2)
    if node["update"] is not None:
        loud = "yellow" if node["state"] in ("returned", "refused") else ""
        screen.say(release_words(node), indent=2, style=loud)
