"""`earmark log export`, `list` and `quarantine`."""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from earmark import cose, export
from earmark.body import METHODS
from earmark.cli.arguments import a_count
from earmark.cli.farms import farm_of, reading
from earmark.cli.files import write_whole
from earmark.cli.parser import UsageError
from earmark.cli.screen import Screen
from earmark.cli.words import count, utc, value_text
from earmark.errors import ConfigError
from earmark.export import iso_ms
from earmark.log import load_registry
from earmark.statement import Statement
from earmark.store import Quarantined, Store

FORMATS = {"jsonl": export.json_lines, "csv": export.csv_lines, "cose": export.cose_sequence}
_AGAIN = "two devices share the key, or one was set back to an old state: revoke it and enrol a new key"
CURES = {
    "UnknownNode": "enrol the key if it is yours: `earmark node enroll DID NAME`; what is held then goes in by itself",
    "FutureTime": "it goes in by itself when it is due; set that node's clock",
    "MissingPredecessor": "it goes in by itself after the statement before it",
    "EncodingError": "not a statement: see what else publishes on this topic, or update that node's firmware",
    "BadSignature": "damaged on its way, or forged: a node sends its own again by itself",
    "RevokedKey": "the key was revoked or rotated, and ended for good: give that node a new one and enrol it",
    "WrongSubject": "set the name in that node's node.json to the one it is enrolled under",
    "Equivocation": _AGAIN,
    "BrokenChain": _AGAIN,
    "WrongRegistry": "the operator's key signs in two places: use one farm folder for it, see `earmark node list`",
}
"""What to do about each reason for which a message is not in the log."""


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the arguments of one of the three."""
    if command == "log quarantine":
        which = parser.add_mutually_exclusive_group()
        which.add_argument("--held", action="store_true", help="only what is tried again by itself")
        which.add_argument("--refused", action="store_true", help="only what was refused for good")
        parser.add_argument("--last", type=a_count, metavar="N", default=20, help="the newest N (default: 20)")
        return
    parser.add_argument("--node", metavar="NAME", help="only what this node said")
    if command == "log list":
        parser.add_argument("--last", type=a_count, metavar="N", default=20, help="the newest N (default: 20)")
        return
    parser.add_argument("--format", choices=FORMATS, default="jsonl", help="jsonl (default), csv or cose")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="where to (default: stdout)")


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Do one of the three."""
    farm = farm_of(args)
    with reading(farm) as store:
        if args.command == "log quarantine":
            _quarantine(store, args, screen)
            return 0
        if args.node and not any(chain.sub == args.node for chain in store.chains()):
            raise ConfigError(f"nothing in the log is by {args.node!r}; `earmark node list` shows who there is")
        registry = load_registry(store, farm.operator_key())
        if args.command == "log list":
            _list(store, args, registry.in_other_hands(), screen)
        else:
            _export(store, args, registry.in_other_hands(), screen)
    return 0


def _export(store: Store, args: argparse.Namespace, since: export.Since, screen: Screen) -> None:
    chunks = FORMATS[args.format](store, args.node, since)
    if args.output:
        with contextlib.closing(chunks):
            size = write_whole(args.output, chunks)
        screen.say(f"{args.output}: {count(size, 'byte')} of {args.format}.")
        screen.document({"file": str(args.output), "format": args.format, "bytes": size})
        return
    if screen.as_json:
        raise UsageError("earmark log export", "with --json the log goes to a file: name it with -o")
    if args.format == "cose" and sys.stdout.isatty():
        raise UsageError("earmark log export", "the format cose is not text: name a file with -o")
    with contextlib.closing(chunks):
        for chunk in chunks:
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()


def _list(store: Store, args: argparse.Namespace, since: export.Since, screen: Screen) -> None:
    found = export.newest_rows(store, args.last, args.node)
    rows = [
        (
            f"{index:,}",
            utc(received_at_ms // 1000).removesuffix(" UTC"),
            statement.sub,
            f"{statement.seq:,}",
            _how(statement),
            ("" if export.counts(index, statement, since) else "DOES NOT COUNT: ") + _summary(statement),
        )
        for index, received_at_ms, statement in found
    ]
    if rows:
        screen.table(("leaf", "received (UTC)", "by", "seq", "", "says"), rows, right=(0, 3))
    else:
        screen.say("The log is empty.")
    statements = [
        export.describe(index, statement, received) | {"counts": export.counts(index, statement, since)}
        for index, received, statement in found
    ]
    screen.document({"size": store.size(), "statements": statements})


def _how(statement: Statement) -> str:
    """Say how the readings came about, loudly where they were not measured; for bodies their kind."""
    if statement.method is None:
        return statement.kind
    return METHODS[statement.method].upper() if statement.method else METHODS[0]


def _summary(statement: Statement) -> str:
    if statement.readings:
        first, more = statement.readings[0], len(statement.readings) - 1
        name = first.name.removeprefix(f"{statement.sub}/")
        return f"{name} {value_text(first.value)} {first.unit}".rstrip() + (f", {more} more" if more else "")
    body = export.describe_body(statement)
    match statement.kind:
        case "enrolment":
            return f"{body['role']} {body['name']}"
        case "gap":
            return f"seq {body['first']}-{body['last']} dropped: {body['reason']}"
        case "boot":
            return f"{body['cause']}, {body['board']}, {body['software']}"
        case "rotation":
            return f"{body['key'][:20]}… to {body['successor'][:20]}…: {body['reason']}"
        case "update":
            who = ", ".join(body["nodes"]) or "all"
            return f"release {body['number']} ({body['version']}) for {body['target']}: {who}"
        case "updated":
            why = f": {body['reason']}" if body["reason"] else ""
            return f"release {body['from']} to {body['to']} {body['outcome']}{why}"
    since = f", in other hands from leaf {body['since']} on" if "since" in body else ""
    return f"{body['key'][:20]}…{since}: {body['reason']}"


def _quarantine(store: Store, args: argparse.Namespace, screen: Screen) -> None:
    held = True if args.held else False if args.refused else None
    rows = store.quarantine_rows(held, args.last)
    counts = store.quarantine_counts()
    dropped = counts.pop("dropped", 0)
    total = sum(counts.values())
    screen.say(f"{count(total, 'message')} outside the log." if total else "Nothing is outside the log.")
    for reason, number in counts.items():
        screen.say(f"{reason}: {number:,}", indent=2, style="bold")
        screen.say(CURES.get(reason, ""), indent=4)
    if dropped:
        screen.say(
            f"{count(dropped, 'older message')} had to go for want of room ([ingest] quarantine_mb).", style="yellow"
        )
    if rows:
        screen.heading(f"The newest {len(rows)}" if len(rows) > 1 else "The newest")
    for _, group in groupby(rows, key=lambda row: (row.topic, row.reason, row.message)):
        _tell(list(group), screen)
    screen.document({"counts": counts, "dropped": dropped, "messages": [_describe(row) for row in rows]})


def _tell(rows: Sequence[Quarantined], screen: Screen) -> None:
    row = rows[0]
    state = "held" if row.held else "refused"
    times = f", {len(rows):,} of them" if len(rows) > 1 else ""
    screen.say(f"{utc(row.received_at_ms // 1000)}, {row.reason}, {state}{times}, on {row.topic}", indent=2)
    screen.say(row.message, indent=4)
    if row.due_ms:
        screen.say(f"due {utc(row.due_ms // 1000)}", indent=4)


def _describe(row: Quarantined) -> dict[str, Any]:
    return {
        "entry": row.entry.hex(),
        "received_at": iso_ms(row.received_at_ms),
        "topic": row.topic,
        "bytes": row.size,
        "reason": row.reason,
        "message": row.message,
        "held": row.held,
        "signer": cose.did(row.key) if row.key else None,
        "name": row.sub or None,
        "seq": row.seq or None,
        "due": iso_ms(row.due_ms) if row.due_ms else None,
        "cure": CURES.get(row.reason),
    }
