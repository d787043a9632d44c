"""`earmark node simulate`: nodes on this machine that run the real firmware against the farm's broker."""

import argparse
import contextlib
import time
from pathlib import Path
from typing import Any

from earmark import operator
from earmark.access import node_settings
from earmark.body import check_name
from earmark.cli.arguments import a_count
from earmark.cli.farms import farm_of
from earmark.cli.passphrases import add_passphrase_file
from earmark.cli.screen import Screen
from earmark.config import Farm
from earmark.errors import EarmarkError
from earmark.log import load_registry
from earmark.simulation import NodeProcess, find_interpreters, open_recording
from earmark.store.sqlite import SqliteStore

LOOK_S = 0.5


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the options of `node simulate`."""
    parser.add_argument(
        "--count", metavar="N", type=a_count, default=1, help="number of nodes that model a greenhouse (default: 1)"
    )
    parser.add_argument("--thermal", action="store_true", help="one node that measures this machine's own temperatures")
    parser.add_argument("--replay", metavar="CSV", type=Path, help="nodes that replay this recording, and end with it")
    parser.add_argument("--days", type=int, default=1, help="days of the recording, 0 for all (default: 1)")
    parser.add_argument(
        "--interval", metavar="S", type=a_count, default=10, help="seconds between readings (default: 10)"
    )
    parser.add_argument("--prefix", default="sim", help="names are PREFIX-1, PREFIX-2, … (default: sim)")
    add_passphrase_file(parser)


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Enrol and run the nodes until they are done or the user interrupts."""
    farm = farm_of(args)
    sensors = _sensors(args)
    interpreters = find_interpreters()
    nodes = []
    for place, sensor in enumerate(sensors):
        name = check_name(f"{args.prefix}-{place + 1}")
        node = NodeProcess(farm.folder / "nodes" / name, interpreters[place % len(interpreters)])
        common = node_settings(farm, name, node.key(), is_here=True)
        own = {"sensors": [sensor], "interval_s": args.interval, "exit_when_done": bool(args.replay)}
        node.configure(common | own)
        _enrol(farm, node)
        nodes.append(node)
    for node in nodes:
        node.start()
        what = sensors[nodes.index(node)]["driver"]
        screen.say(f"{node.name}: {what}, {node.interpreter.name}; log in {node.folder}/node.log")
    ended = _await(nodes)
    failed = [node for node in nodes if ended.get(node.name) not in (None, 0)]
    if failed:
        raise EarmarkError(f"{failed[0].name} ended with status {ended[failed[0].name]}: {failed[0].last_words()}")
    screen.document({"nodes": [{"name": node.name, "interpreter": node.interpreter.name} for node in nodes]})
    return 0


def _sensors(args: argparse.Namespace) -> list[dict[str, Any]]:
    if args.replay:
        return list(open_recording(args.replay).sensors(args.days))
    if args.thermal:
        return [{"driver": "thermal"}]
    return [{"driver": "modelled", "seed": seed} for seed in range(1, args.count + 1)]


def _enrol(farm: Farm, node: NodeProcess) -> None:
    store = SqliteStore(farm.database)
    try:
        enrolled = load_registry(store, farm.operator_key()).node(node.key())
    finally:
        store.close()
    if enrolled is None:
        operator.enrol(farm, node.key(), node.name)


def _await(nodes: list[NodeProcess]) -> dict[str, int | None]:
    """Wait until all have ended or the user interrupts; ends the rest, and returns the statuses of those that ended
    by themselves.
    """
    ended: dict[str, int | None] = {}
    with contextlib.suppress(KeyboardInterrupt):
        while len(ended) < len(nodes):
            ended |= {node.name: node.poll() for node in nodes if node.poll() is not None}
            time.sleep(LOOK_S)
    for node in nodes:
        node.stop()
    return ended
