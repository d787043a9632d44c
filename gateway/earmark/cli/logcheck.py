"""`earmark log check`."""

import argparse
import time
from contextlib import closing
from pathlib import Path

from earmark import cose
from earmark.audit import MOST_CONTRADICTIONS, Audit, Contradiction, by_all_cores, check_log
from earmark.cli.arguments import an_operator
from earmark.cli.farms import farm_of, reading
from earmark.cli.screen import Screen
from earmark.cli.words import count, span
from earmark.config import Farm
from earmark.errors import ConfigError, CorruptLog, StoreError
from earmark.highwater import HighWater
from earmark.log import load_registry
from earmark.store.sqlite import SqliteStore


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `log check`."""
    parser.add_argument(
        "--operator",
        metavar="DID",
        type=an_operator,
        help="the operator's did, or a file that holds one (default: operator.did in the farm's folder)",
    )


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Check the log and say what holds; 1 where anything contradicts."""
    farm = farm_of(args)
    operator = args.operator or farm.operator_key()
    begun = time.monotonic()
    audit = _check(farm, operator, screen)
    seconds = time.monotonic() - begun
    if audit.holds:
        _tell_good(audit, operator, seconds, screen)
    else:
        _tell_bad(audit, farm.database, screen)
    screen.document(
        {
            "holds": audit.holds,
            "operator": cose.did(operator),
            "origin": audit.origin,
            "size": audit.size,
            "blocks": audit.blocks,
            "sealed": audit.sealed,
            "nodes": audit.nodes,
            "statements": dict(audit.kinds),
            "not_counting": audit.not_counting,
            "missing": audit.missing,
            "explained": audit.explained,
            "quarantined": audit.quarantined,
            "anchored": audit.anchored,
            "contradictions": [{"where": found.where, "what": found.what} for found in audit.contradictions],
            "more": audit.is_cut,
            "seconds": round(seconds * 1000) / 1000,
        }
    )
    return 0 if audit.holds else 1


def _check(farm: Farm, operator: bytes, screen: Screen) -> Audit:
    """Check a snapshot; a file that the database itself cannot read is a contradiction too."""
    try:
        with by_all_cores(farm.database) as survey_all, closing(SqliteStore(farm.database, snapshot=True)) as store:
            faults = store.faults()
            if faults:
                return Audit(contradictions=[Contradiction(str(farm.database), fault) for fault in faults])
            with screen.progress("leaves") as progress:
                audit = check_log(store, operator, progress, survey_all)
            _hold_against_mark(farm, operator, audit)
            return audit
    except (CorruptLog, StoreError) as error:
        return Audit(contradictions=[Contradiction(str(farm.database), f"the database cannot be read: {error}")])


def _hold_against_mark(farm: Farm, operator: bytes, audit: Audit) -> None:
    """Note where the file that remembers the newest checkpoint says that this is an older copy."""
    with reading(farm, live=True) as store:  # the snapshot may be older than the file, beside a running gateway
        try:
            registry = load_registry(store, operator)
            HighWater(store, farm.high_water, registry.origin, registry.gateway).check()
        except (CorruptLog, ConfigError) as error:
            audit.contradictions.append(Contradiction(str(farm.high_water), str(error)))


def _tell_good(audit: Audit, operator: bytes, seconds: float, screen: Screen) -> None:
    screen.say("The log holds.", style="bold green")
    screen.say(f"{audit.origin}, recomputed in {_took(seconds)} under", indent=2)
    screen.copyable(cose.did(operator), indent=2)
    kinds = ", ".join(f"{number:,} {kind}" for kind, number in sorted(audit.kinds.items()))
    lines = [
        f"{count(audit.size, 'statement')}, each decoded, verified, and admissible at its leaf: {kinds}",
        f"{count(audit.nodes, 'node')} enrolled, as the operator's own statements say",
        _on_blocks(audit),
        f"tree, counts and {count(audit.quarantined, 'quarantined message')} as they should be",
        _on_holes(audit),
        *_on_theft(audit),
        _on_anchors(audit),
    ]
    for line in lines:
        screen.say(f"- {line}", indent=2)
    screen.heading("This does not establish")
    screen.say("- that a sensor told the truth, or stood where its name says", indent=2)
    screen.say(
        "- that nothing was cut off the log's end together with its blocks: compare with a proof or a checkpoint "
        "that you kept from before",
        indent=2,
    )
    if audit.anchored:
        screen.say("- that the chains' blocks are on their chains: `earmark check` says how to compare them", indent=2)


def _took(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else span(seconds)


def _on_blocks(audit: Audit) -> str:
    if not audit.blocks:
        return "no block is sealed yet"
    blocks = f"{count(audit.blocks, 'block')}, with order, root, checkpoint and receipt"
    return f"{blocks}; they seal {audit.sealed:,} of the {count(audit.size, 'leaf', 'leaves')}"


def _on_holes(audit: Audit) -> str:
    if not audit.missing:
        return "every node's chain is without a hole"
    left = audit.missing - audit.explained
    return (
        f"{count(audit.missing, 'statement')} that nodes made are not here: {audit.explained:,} the nodes had to drop, "
        f"and said so; {left:,} are unexplained so far (`earmark node list`)"
    )


def _on_theft(audit: Audit) -> list[str]:
    if not audit.not_counting:
        return []
    number = count(audit.not_counting, "statement")
    return [f"{number} do not count: the operator said that their keys were in other hands (`earmark node list`)"]


def _on_anchors(audit: Audit) -> str:
    if not audit.anchored:
        return "nothing is anchored"
    return "; ".join(
        f"the first {count(size, 'leaf', 'leaves')} anchored on {chain}, its evidence checked"
        for chain, size in sorted(audit.anchored.items())
    )


def _tell_bad(audit: Audit, database: Path, screen: Screen) -> None:
    screen.say("The log does not hold.", style="bold red")
    for found in audit.contradictions:
        screen.say(f"- {found.where}: {found.what}", indent=2)
    if audit.is_cut:
        screen.say(f"There is more; these are the first {MOST_CONTRADICTIONS}.")
    screen.say()
    screen.say(
        f"{database} was altered or damaged. Keep it as it is, run no gateway on it, and go back to a copy that holds; "
        "what nodes have not had acknowledged they send again. Proof files made before stay valid."
    )
