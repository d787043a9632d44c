"""`earmark witness status`: a farm's own verifier key, and how far its witnesses cosigned its log."""

import argparse
from typing import Any

from earmark.cli.farms import farm_of, reading
from earmark.cli.screen import Screen
from earmark.cli.words import count, utc
from earmark.export import iso, iso_ms
from earmark.log import load_registry
from earmark.note import COSIGNATURE, ED25519, VerifierKey, decode_verifier_key
from earmark.store import SPLIT, Store, WitnessRow

STATES = {"cosigned": "answers", "away": "is asked again later", "split": "SPLIT VIEW: refuses this log"}


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `witness status`: only the common ones."""


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Show both."""
    farm = farm_of(args)
    with reading(farm) as store:
        registry = load_registry(store, farm.operator_key())
        newest = store.newest_block()
        own = VerifierKey(registry.origin, ED25519, registry.gateway).encode()
        told = {row.vkey: row for row in store.witnesses()}
        witnesses = [_describe(each.url, each.vkey, told.get(each.vkey), store) for each in farm.config.witness]
    screen.say("This log's verifier key, for whoever is to witness it")
    screen.copyable(own)
    if not witnesses:
        screen.say("No [[witness]] is set in earmark.toml: nobody outside this farm says that it keeps one history.")
    for witness in witnesses:
        _tell(witness, newest.height if newest else None, screen)
    screen.document({"vkey": own, "block": newest.height if newest else None, "witnesses": witnesses})
    return 0


def _describe(url: str, vkey: str, row: WitnessRow | None, store: Store) -> dict[str, Any]:
    key = decode_verifier_key(vkey, COSIGNATURE)
    found = store.newest_cosigned(key.name, key.id)
    block = store.block(found[0]) if found else None
    return {
        "name": key.name,
        "vkey": vkey,
        "url": url,
        "state": row.state if row else None,
        "message": row.message or None if row else None,
        "since": iso_ms(row.changed_at_ms) if row else None,
        "cosigned": {
            "block": found[0],
            "leaves": block.size if block else None,
            "time": iso(found[1].time_s),
            "time_s": found[1].time_s,
        }
        if found
        else None,
    }


def _tell(witness: dict[str, Any], newest: int | None, screen: Screen) -> None:
    screen.heading(f"{witness['name']}, at {witness['url']}")
    cosigned = witness["cosigned"]
    if cosigned:
        behind = "" if newest == cosigned["block"] else f"; block {newest} is the newest"
        screen.say(f"cosigned block {cosigned['block']} at {utc(cosigned['time_s'])}{behind}", indent=2)
        if cosigned["leaves"] is not None:
            screen.say(f"over {count(cosigned['leaves'], 'leaf', 'leaves')}", indent=2)
    else:
        screen.say("has cosigned nothing yet", indent=2)
    if witness["message"]:
        style = "red" if witness["state"] == SPLIT else "yellow"
        screen.say(f"{STATES[witness['state']]}: {witness['message']}", indent=2, style=style)
