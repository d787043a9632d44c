"""`earmark anchor status` and `now`."""

import argparse
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from earmark.anchor.devchain import DEVELOPMENT_CHAIN
from earmark.anchor.target import Place
from earmark.anchoring import MONTH_MS, is_overdue, plan
from earmark.block import decode_header
from earmark.cli.farms import farm_of, reading
from earmark.cli.screen import Screen
from earmark.cli.words import count, span, utc
from earmark.config import Farm
from earmark.errors import ConfigError, EarmarkError
from earmark.export import iso, iso_ms
from earmark.process import clock_ms
from earmark.prover import reached
from earmark.public import UNITS, place_of
from earmark.settings import AnchorSettings
from earmark.store import FINAL, AnchorRow, SealedBlock, Store
from earmark.store.sqlite import SqliteStore

NEXT = {
    "planned": "to be signed",
    "signed": "on disk, to be sent",
    "broadcast": "sent, waiting for a block",
    "mined": "in a block, waiting until that is final",
    "final": "final",
}


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the arguments of either: only the common ones."""


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Show or plan."""
    farm = farm_of(args)
    return _status(farm, screen) if args.command == "anchor status" else _now(farm, screen)


@dataclass(frozen=True, slots=True)
class _State:
    """One target: its newest row, those under way, its final rows from the newest, and its settings if it has any."""

    target: str
    settings: AnchorSettings | None
    newest: AnchorRow | None
    under_way: tuple[AnchorRow, ...]
    final: tuple[AnchorRow, ...]


def _targets(farm: Farm, store: Store) -> list[_State]:
    settings = {place_of(farm.folder, anchor).name: anchor for anchor in farm.config.anchor}
    rows: dict[str, list[AnchorRow]] = {name: [] for name in settings}
    for row in store.anchor_rows():
        rows.setdefault(row.target, []).append(row)
    states = []
    for name, those in rows.items():
        final = tuple(row for row in reversed(those) if row.state == FINAL)
        left = tuple(row for row in those if row.state != FINAL)
        states.append(_State(name, settings.get(name), those[-1] if those else None, left, final))
    return states


def _status(farm: Farm, screen: Screen) -> int:
    now_ms = clock_ms()
    with reading(farm) as store:
        targets = [_describe(state, store, now_ms) for state in _targets(farm, store)]
        newest, size = store.newest_block(), store.size()
    running = _is_running(farm)
    sealed = newest.size if newest else 0
    screen.say(f"{count(size, 'leaf', 'leaves')} in the log; {_sealed(newest)}.")
    if not targets:
        screen.say("No [[anchor]] is set in earmark.toml: nothing shows a stranger when these blocks existed.")
    for target in targets:
        _tell(target, now_ms, screen)
    if targets and not running:
        screen.say("No gateway runs here, so no anchor moves on: `earmark run`.", style="yellow")
    screen.document(
        {
            "size": size,
            "sealed": sealed,
            "block": newest.height if newest else None,
            "running": running,
            "targets": targets,
        }
    )
    return 0


def _sealed(newest: SealedBlock | None) -> str:
    return "no block is sealed yet" if newest is None else f"block {newest.height} seals {newest.size:,} of them"


def _describe(state: _State, store: Store, now_ms: int) -> dict[str, Any]:
    settings, row = state.settings, state.under_way[0] if state.under_way else state.newest
    if row is None:
        current = None
    else:
        overdue = settings is not None and is_overdue(row, round(settings.overdue_s), now_ms)
        current = {
            "block": row.height,
            "state": row.state,
            "reference": row.reference or None,
            "reason": row.reason or None,
            "since": iso_ms(row.changed_at_ms),
            "since_ms": row.changed_at_ms,
            "planned_at": iso_ms(row.planned_at_ms),
            "attempts": row.attempts,
            "overdue": overdue,
        }
    return {
        "target": state.target,
        "chain": row.chain if row else None,
        "development": state.target == DEVELOPMENT_CHAIN,
        "under_way": len(state.under_way),
        "configured": settings is not None,
        "overdue_s": settings.overdue_s if settings else None,
        "current": current,
        "anchored": next(filter(None, (_anchored(final, store) for final in state.final)), None),
        "spent": _spent(state, row, store, now_ms) if row else None,
    }


def _spent(state: _State, row: AnchorRow, store: Store, now_ms: int) -> dict[str, Any]:
    """Return what thirty days cost, with what may yet be paid, in the chain's coin."""
    coin = UNITS.get(row.kind, 1)
    budget = state.settings.month_budget if state.settings else 0.0
    spent = Decimal(store.anchor_cost(state.target, now_ms - MONTH_MS, besides=-1)) / coin
    return {"coins": spent, "budget": Decimal(str(budget)) if budget else None}


def _anchored(row: AnchorRow, store: Store) -> dict[str, Any] | None:
    chain_block = reached(row)
    if chain_block is None:
        return None
    block = store.block(row.height)
    size = decode_header(block.header).size if block else 0
    found: dict[str, Any] = {"block": row.height, "leaves": size, "reference": row.reference or None}
    found |= {"chain_block": chain_block.number, "chain_block_hash": "0x" + chain_block.hash.hex()}
    found["authority"] = chain_block.chain if chain_block.is_stamp else None
    found |= {"chain_block_time": iso(chain_block.time_s), "chain_block_time_s": chain_block.time_s}
    return found


def _tell(target: dict[str, Any], now_ms: int, screen: Screen) -> None:
    worth = " (development chain: worth nothing)" if target["development"] else ""
    left = "" if target["configured"] else " (no longer in earmark.toml)"
    chain = f" on {target['chain']}" if target["chain"] not in (None, target["target"]) else ""
    screen.heading(f"{target['target']}{chain}{worth}{left}")
    anchored, current = target["anchored"], target["current"]
    if anchored is None:
        screen.say("nothing is anchored for good yet", indent=2)
    else:
        screen.say(
            f"anchored for good: {count(anchored['leaves'], 'leaf', 'leaves')}, up to block {anchored['block']}",
            indent=2,
        )
        when = utc(anchored["chain_block_time_s"])
        if anchored["authority"]:
            screen.say(f"stamped before {when}, by the authority", indent=2)
            screen.copyable(anchored["authority"], indent=4)
        else:
            screen.say(f"in its block {anchored['chain_block']} of {when}", indent=2)
            screen.copyable(anchored["chain_block_hash"], indent=4)
    if target["under_way"] > 1:
        screen.say(f"{target['under_way']} blocks are under way; the oldest first:", indent=2)
    if current and current["state"] != "final":
        since = span(max(0, now_ms - current["since_ms"]) / 1000)
        state = current["state"]
        screen.say(f"block {current['block']} is {state} for {since}: {NEXT.get(state, '')}", indent=2)
        if current["reason"]:
            screen.say(f"waits because: {current['reason']}", indent=4)
        if current["overdue"]:
            screen.say(f"OVERDUE: not final after {span(target['overdue_s'])}", indent=4, style="yellow")
    if target["spent"] and (target["spent"]["coins"] or target["spent"]["budget"]):
        spent, budget = target["spent"]["coins"], target["spent"]["budget"]
        bound = f", of at most {budget}" if budget else ""
        screen.say(f"thirty days cost {spent:.8f} of the chain's coin{bound}", indent=2)


def _now(farm: Farm, screen: Screen) -> int:
    if not farm.config.anchor:
        raise ConfigError(f"{farm.folder / 'earmark.toml'} has no [[anchor]]: there is nowhere to anchor to")
    store = SqliteStore(farm.database)
    try:
        newest, size = store.newest_block(), store.size()
        if newest is None:
            raise EarmarkError(
                "no block is sealed yet: start the gateway with `earmark run`, it seals one within seconds"
            )
        now_ms = clock_ms()
        places = [(place_of(farm.folder, anchor), round(anchor.overdue_s)) for anchor in farm.config.anchor]
        planned = [(place, plan(store, place, now_ms, overdue_s)) for place, overdue_s in places]
        rows = {place: store.anchor_rows(place.name) for place, _ in planned}
    finally:
        store.close()
    running = _is_running(farm)
    targets = [_outcome(place, made, rows[place], newest.height) for place, made in planned]
    for target in targets:
        screen.say(f"{target['chain']}: {target['words']}")
    if size > newest.size:
        screen.say(f"{count(size - newest.size, 'leaf', 'leaves')} came after that block and wait for the next one.")
    screen.say(
        "The running gateway carries it out." if running else "No gateway runs here: `earmark run` carries it out."
    )
    screen.document({"block": newest.height, "leaves": newest.size, "running": running, "targets": targets})
    return 0


def _outcome(place: Place, made: AnchorRow | None, rows: list[AnchorRow], height: int) -> dict[str, Any]:
    if made:
        words, block = f"block {height} is planned", height
    else:
        row = next((row for row in rows if row.state != FINAL), rows[-1])
        block = row.height
        words = f"block {block} is {row.state} already" + (
            "" if row.state == FINAL else f"; at most {place.at_once} under way at a time"
        )
    return {"chain": place.name, "planned": made is not None, "block": block, "words": words}


def _is_running(farm: Farm) -> bool:
    with farm.lock() as is_ours:
        return not is_ours
