"""`earmark prove`: write a proof file."""

import argparse
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from earmark import cose
from earmark.anchoring import is_overdue
from earmark.bulk import Examination
from earmark.cli.arguments import a_count, a_range, joined, seconds
from earmark.cli.farms import farm_of, reading
from earmark.cli.files import write_whole
from earmark.cli.parser import UsageError
from earmark.cli.screen import Screen
from earmark.cli.words import count, span
from earmark.config import Farm
from earmark.errors import ConfigError, CorruptLog, EarmarkError, ProofError
from earmark.log import load_registry
from earmark.process import clock_ms
from earmark.proof import MAGIC, MAX_STATEMENTS, check
from earmark.prover import NotSealed, choose_block, last_needed, prove
from earmark.report import Report
from earmark.store import FINAL, Store

LOOK_S = 0.5

_BEGINNING = b"\x83" + bytes([0x60 | len(MAGIC)]) + MAGIC.encode()


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `prove`."""
    parser.usage = (
        "earmark prove [--farm DIR] [--json] [-o FILE] [--wait SECONDS]\n"
        "                     (INDEX... | --node NAME (--seq SEQ... | --last [N]))"
    )
    parser.add_argument("index", nargs="*", metavar="INDEX", type=a_range, help="leaves: 12, or 12-40")
    parser.add_argument(
        "--node", metavar="NAME", help="statements of this node (its newest key), or of the key with this did"
    )
    parser.add_argument("--seq", nargs="+", metavar="SEQ", type=a_range, help="the node's own numbers: 7, or 7-30")
    parser.add_argument(
        "--last", nargs="?", const=1, type=a_count, metavar="N", help="the node's newest N (default: 1)"
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="file to write (default: named after the leaf)"
    )
    parser.add_argument(
        "--wait", metavar="SECONDS", type=seconds, default=0.0, help="wait this long for a final anchor over the leaves"
    )


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Find the leaves, wait where asked, and write what checks."""
    _check_usage(args)
    farm = farm_of(args)
    with reading(farm, live=True) as store:
        indexes = _leaves(store, farm, args)
        if args.wait:
            _await_anchor(store, farm, indexes, args.wait)
    with reading(farm) as store:
        encoded = prove(store, farm.operator_key(), indexes).encode()
        reason = _why_no_anchor(farm, store)
        plain, _ = choose_block(store, indexes[-1])
    report = _checked(encoded, farm)
    path = args.output or Path(_name(indexes))
    write_whole(path, [encoded], _is_proof)
    passed_over = plain.height if plain.height != report.header.height else None
    _tell(path, encoded, report, reason, screen)
    if passed_over is not None:
        screen.say(
            f"Block {passed_over} would do for the statements. The operator revoked one of their keys after it, and "
            "whoever checks the file is to see that.",
            indent=2,
            style="yellow",
        )
    screen.document(_describe(path, encoded, report, farm) | {"passed_over": passed_over})
    return 0


def _check_usage(args: argparse.Namespace) -> None:
    problem = ""
    if bool(args.index) == bool(args.node):
        problem = "name leaves, or a node with --node"
    elif args.node and bool(args.seq) == bool(args.last):
        problem = "say which of the node's statements: --seq SEQ, or --last [N]"
    elif args.index and (args.seq or args.last):
        problem = "--seq and --last go with --node"
    if problem:
        raise UsageError("earmark prove", problem)


def _leaves(store: Store, farm: Farm, args: argparse.Namespace) -> list[int]:
    if args.node:
        return sorted(_leaves_of_node(store, farm, args))
    indexes = joined(args.index, MAX_STATEMENTS)
    size = store.size()
    if indexes[-1] >= size:
        raise ConfigError(
            f"there is no leaf {indexes[-1]}: the log has {count(size, 'leaf', 'leaves')}, counted from 0"
        )
    return indexes


def _leaves_of_node(store: Store, farm: Farm, args: argparse.Namespace) -> list[int]:
    registry = load_registry(store, farm.operator_key())
    node = registry.node(cose.key_of(args.node)) if args.node.startswith("did:") else registry.named(args.node)
    chain = store.chain(node.key, node.name) if node else None
    if chain is None or not chain.runs:
        raise ConfigError(f"nothing in the log is by {args.node!r}; `earmark node list` shows who there is")
    seqs = joined(args.seq, MAX_STATEMENTS) if args.seq else _newest(chain.runs, min(args.last, MAX_STATEMENTS))
    found = [(seq, store.find(chain.id, seq)) for seq in seqs]
    missing = [seq for seq, row in found if row is None]
    if missing:
        newest = chain.runs[-1][1]
        raise ConfigError(f"seq {missing[0]} of {args.node} is not in the log; the newest that is has seq {newest}")
    return [row[0] for _, row in found if row]


def _newest(runs: Sequence[tuple[int, int]], most: int) -> list[int]:
    seqs: list[int] = []
    for first, last in reversed(runs):
        seqs += range(last, max(first - 1, last - (most - len(seqs))), -1)
        if len(seqs) == most:
            break
    return seqs


def _await_anchor(store: Store, farm: Farm, indexes: Sequence[int], wait_s: float) -> None:
    """Wait until a final anchor covers leaves (ascending) and revocations of their signers; `EarmarkError` says how far
    it came when the time is up.
    """
    deadline, index = time.monotonic() + wait_s, indexes[-1]
    while True:
        try:
            index, signer = last_needed(store, farm.operator_key(), indexes)
            if choose_block(store, index, signer)[1]:
                return
            far = _why_no_anchor(farm, store)
        except NotSealed as error:
            far = str(error)
        left = deadline - time.monotonic()
        if left <= 0:
            raise EarmarkError(f"no final anchor covers leaf {index} after {span(wait_s)}: {far}. Nothing was written")
        time.sleep(min(LOOK_S, left))


def _why_no_anchor(farm: Farm, store: Store) -> str:
    if not farm.config.anchor:
        return "no [[anchor]] is set in earmark.toml"
    rows = [row for row in store.anchor_rows(open_only=True) if row.state != FINAL]
    if not rows:
        return "the gateway plans the next one when it is due (`earmark anchor now`: at once)"
    row = rows[-1]
    late = any(is_overdue(row, round(anchor.overdue_s), clock_ms()) for anchor in farm.config.anchor)
    reason = f": {row.reason}" if row.reason else ""
    return f"the anchor of block {row.height} on {row.target} is {row.state}{', overdue' if late else ''}{reason}"


def _checked(encoded: bytes, farm: Farm) -> Report:
    """Check the file as its reader will, before it leaves the house."""
    try:
        with ExitStack() as stack:
            return check(encoded, farm.operator_key(), examine=lambda raws: stack.enter_context(Examination(raws)))
    except ProofError as error:
        raise CorruptLog(
            f"the proof made from {farm.database} does not check ({error}): run `earmark log check`"
        ) from error


def _name(indexes: list[int]) -> str:
    return f"leaf-{indexes[0]}.earmark" if len(indexes) == 1 else f"leaves-{indexes[0]}-{indexes[-1]}.earmark"


def _is_proof(path: Path) -> bool:
    """Say whether a file is a proof file, which a newer one may replace."""
    with path.open("rb") as file:
        return file.read(len(_BEGINNING)) == _BEGINNING


def _tell(path: Path, encoded: bytes, report: Report, reason: str, screen: Screen) -> None:
    names = sorted({subject.signer.name if subject.signer else "the operator" for subject in report.subjects})
    screen.say(f"{path}: {count(len(encoded), 'byte')}, checked", style="bold")
    leaves = [subject.index for subject in report.subjects]
    where = f"leaf {leaves[0]}" if len(leaves) == 1 else f"leaves {leaves[0]} to {leaves[-1]}"
    screen.say(f"covers {count(len(leaves), 'statement')} by {', '.join(names[:8])}, {where}", indent=2)
    for method in ("modelled", "replayed"):
        number = sum(subject.method == method for subject in report.subjects)
        if number:
            screen.say(
                f"{method.upper()}: {count(number, 'of them was', 'of them were')} not measured, and the file says so",
                indent=2,
                style="yellow",
            )
    screen.say(f"block {report.header.height} over {count(report.header.size, 'leaf', 'leaves')}", indent=2)
    for block, _ in report.anchors:
        screen.say(f"anchored in block {block.number} of {block.chain}", indent=2)
    for chain, _ in report.stamps:
        screen.say(f"stamped by the authority {chain}", indent=2)
    if not report.anchors and not report.stamps:
        screen.say(f"NOT ANCHORED yet: {reason}. Make the file again later, or use --wait.", indent=2, style="yellow")
    screen.say("Whoever gets it checks it with your did, which you give apart from it:", indent=2)
    screen.copyable(f"earmark check {path} --operator {cose.did(report.registry.operator)}", indent=4)


def _describe(path: Path, encoded: bytes, report: Report, farm: Farm) -> dict[str, Any]:
    return {
        "file": str(path),
        "bytes": len(encoded),
        "operator": cose.did(farm.operator_key()),
        "subjects": [subject.index for subject in report.subjects],
        "block": report.header.height,
        "leaves": report.header.size,
        "anchors": [
            {"chain": block.chain, "block": block.number, "hash": f"0x{block.hash.hex()}"}
            for block, _ in report.anchors
        ],
        "stamps": [chain for chain, _ in report.stamps],
    }
