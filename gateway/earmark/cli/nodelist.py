"""`earmark node list`: the nodes, what they said last, and the keys that wait to be enrolled."""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from earmark import cose
from earmark.body import METHODS
from earmark.cli.farms import farm_of, reading
from earmark.cli.screen import Screen
from earmark.cli.updates import describe_release, release_words
from earmark.cli.words import count, span, utc
from earmark.errors import UnknownNode
from earmark.export import iso_ms
from earmark.log import load_registry
from earmark.registry import Enrolment, Registry
from earmark.releases import node_release
from earmark.statement import decode
from earmark.store import Chain, Store

LOOK_BACK = 64
"""How many of a node's newest statements are looked at to find readings among them."""

_MOST_WAITING = 10_000
_MOST_HOLES = 5


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `node list`."""
    parser.add_argument(
        "--boards", action="store_true", help="list the serial ports with a board instead, and disturb none"
    )


def run(args: argparse.Namespace, screen: Screen) -> int:
    """List the nodes, or the boards on this machine's ports, which needs no farm."""
    if args.boards:
        return _list_boards(screen)
    farm = farm_of(args)
    with reading(farm) as store:
        registry = load_registry(store, farm.operator_key())
        nodes = [describe_node(store, node) | _firmware(store, registry, node) for node in registry.nodes()]
        waiting = unknown_keys(store)
    for node in nodes:
        _tell(node, screen)
    if not nodes:
        screen.say("No node is enrolled yet: `earmark node enroll DID NAME`.")
    if waiting:
        screen.heading("Keys that wait: if they are yours, enrol them")
    for key in waiting:
        screen.say(f"{count(key['statements'], 'statement')} held:", indent=2)
        screen.copyable(f"earmark node enroll {key['did']} {key['name']}", indent=4)
    screen.document({"nodes": nodes, "waiting": waiting})
    return 0


def _firmware(store: Store, registry: Registry, node: Enrolment) -> dict[str, Any]:
    """Return what runs on a node, and, as long as its key holds, how far the newest update for it is."""
    about = describe_release(node_release(store, registry, node))
    firmware = {"software": about["software"], "board": about["board"]}
    return firmware | {"release": None if about["update"] is None or node.ended_at is not None else about}


def _list_boards(screen: Screen) -> int:
    from earmark.device.ports import ports

    found = ports()
    screen.table(("port", "board", "serial number"), [(p.device, p.is_called, p.serial_number) for p in found])
    if not found:
        screen.say("No board on a serial port: plug it in with a cable that carries data; many only charge.")
    screen.document({"boards": [asdict(port) for port in found]})
    return 0


def describe_node(store: Store, node: Enrolment) -> dict[str, Any]:
    """Return what the log says of a node."""
    chain = store.chain(node.key, node.name)
    runs = chain.runs if chain else ()
    newest = store.find(chain.id, runs[-1][1]) if chain and runs else None
    received = next(store.statements(newest[0], newest[0] + 1))[1] if newest else None
    method, newest_readings = _newest_readings(store, chain) if chain else (None, None)
    gaps = holes(runs)
    return {
        "name": node.name,
        "did": cose.did(node.key),
        "enrolled_at": node.enrolled_at,
        "revoked_at": node.revoked_at,
        "rotated_at": node.rotated_at,
        "successor": cose.did(node.successor) if node.successor else None,
        "compromised_since": node.since,
        "not_counting": store.count_from(chain.id, node.since) if chain and node.since is not None else 0,
        "reason": node.reason or None,
        "last_seen": iso_ms(received) if received is not None else None,
        "last_seen_ms": received,
        "newest_seq": runs[-1][1] if runs else None,
        "newest_leaf": newest[0] if newest else None,
        "newest_readings_leaf": newest_readings,
        "method": method,
        "missing": sum(last - first + 1 for first, last in gaps),
        "holes": [list(hole) for hole in gaps],
    }


def holes(runs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the (first, last) of the `seq` below the newest that are not in the log."""
    ends = [0, *(last for _, last in runs)]
    return [(end + 1, first - 1) for end, (first, _) in zip(ends, runs, strict=False) if first > end + 1]


def unknown_keys(store: Store) -> list[dict[str, Any]]:
    """Return the keys that nobody enrolled, with the name they go by and how much is held of them."""
    found: dict[tuple[bytes, str], int] = {}
    for row in store.quarantine_rows(held=True, limit=_MOST_WAITING):
        if row.reason == UnknownNode.__name__:
            found[row.key, row.sub] = found.get((row.key, row.sub), 0) + 1
    return [{"did": cose.did(key), "name": name, "statements": held} for (key, name), held in sorted(found.items())]


def _newest_readings(store: Store, chain: Chain) -> tuple[str | None, int | None]:
    looked = 0
    for first, last in reversed(chain.runs):
        for seq in range(last, first - 1, -1):
            found = store.find(chain.id, seq)
            statement = decode(found[1]) if found else None
            if found and statement and statement.method is not None:
                return METHODS[statement.method], found[0]
            looked += 1
            if looked == LOOK_BACK:
                return None, None
    return None, None


def _tell(node: dict[str, Any], screen: Screen) -> None:
    screen.say(node["name"], style="bold")
    screen.copyable(node["did"])
    method = node["method"] or "no readings yet"
    loud = method.upper() if method in ("modelled", "replayed") else method
    if node["last_seen_ms"] is None:
        screen.say(f"enrolled at leaf {node['enrolled_at']}; nothing heard yet", indent=2)
    else:
        ago = span(max(0, time.time() - node["last_seen_ms"] / 1000))
        screen.say(f"{loud}; last seen {utc(node['last_seen_ms'] // 1000)}, {ago} ago", indent=2)
        screen.say(
            f"enrolled at leaf {node['enrolled_at']}; newest seq {node['newest_seq']:,}; {_hole_words(node)}", indent=2
        )
    _tell_firmware(node, screen)
    for text in _endings(node):
        screen.say(text, indent=2, style="yellow")


def _tell_firmware(node: dict[str, Any], screen: Screen) -> None:
    if node["software"]:
        screen.say(f"software {node['software']} on {node['board']}", indent=2)
    if node["release"]:
        loud = "yellow" if node["release"]["state"] in ("returned", "refused") else ""
        screen.say(release_words(node["release"]), indent=2, style=loud)


def _endings(node: dict[str, Any]) -> Iterator[str]:
    """Give what ended a key, and from where on it does not count; the reason with the last of it."""
    told = []
    if node["rotated_at"] is not None:
        told.append(f"ROTATED at leaf {node['rotated_at']}: its name went to {node['successor']}")
    if node["revoked_at"] is not None:
        told.append(f"REVOKED at leaf {node['revoked_at']}")
    if node["compromised_since"] is not None:
        cost = count(node["not_counting"], "statement")
        told.append(f"IN OTHER HANDS from leaf {node['compromised_since']} on: {cost} there do not count")
    yield from told[:-1]
    yield from (f"{text}: {node['reason']}" for text in told[-1:])


def _hole_words(node: dict[str, Any]) -> str:
    gaps = node["holes"]
    if not gaps:
        return "no holes"
    shown = ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in gaps[:_MOST_HOLES])
    more = f" and {len(gaps) - _MOST_HOLES} more" if len(gaps) > _MOST_HOLES else ""
    return f"{node['missing']:,} missing: seq {shown}{more}"
