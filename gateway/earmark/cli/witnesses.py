"""`earmark witness init`, `run` and `list`: a witness, in a folder of its own."""

import argparse
import logging
from pathlib import Path
from typing import Any

from earmark.cli.arguments import a_port
from earmark.cli.foreground import add_log_options, until_told
from earmark.cli.passphrases import add_new_passphrase, add_passphrase_file, new_passphrase, passphrases
from earmark.cli.screen import Screen
from earmark.cli.words import count, utc
from earmark.export import iso
from earmark.witness.folder import WitnessFolder, WitnessSettings, create_witness, open_witness
from earmark.witness.judge import origin_hash
from earmark.witness.ledger import FORK, Evidence, Seen
from earmark.witness.service import run as serve

_log = logging.getLogger("earmark")


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the arguments of one of the three."""
    parser.add_argument("dir", metavar="DIR", type=Path, help="the witness' folder")
    if command == "witness init":
        port = WitnessSettings().port
        parser.add_argument(
            "--name", required=True, metavar="NAME", help="its name, like farm.example/witness: a URL without scheme"
        )
        parser.add_argument("--listen", metavar="ADDR", default=WitnessSettings().listen, help="address (default: all)")
        parser.add_argument("--port", type=a_port, default=port, help=f"port (default: {port})")
        parser.add_argument("--seal", action="store_true", help="put a passphrase on its private key")
        add_new_passphrase(parser)
    elif command == "witness run":
        add_log_options(parser)
        add_passphrase_file(parser)


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Do one of the three."""
    if args.command == "witness init":
        return _init(args, screen)
    return _run(args, screen) if args.command == "witness run" else _list(args, screen)


def _init(args: argparse.Namespace, screen: Screen) -> int:
    passphrase = new_passphrase(args) if args.seal or args.new_passphrase_file else None
    folder = create_witness(args.dir, args.name, args.listen, args.port, passphrase)
    screen.say(f"The witness {folder.own.name} is in {args.dir}.")
    screen.heading("Its verifier key, for neighbours' gateways and for buyers")
    screen.copyable(folder.own.encode())
    screen.heading("Next")
    screen.say(
        f"For each neighbour put a [[log]] table into {args.dir / 'witness.toml'}, with the key that `earmark witness "
        "status` shows on the neighbour's gateway. Then:",
        indent=2,
    )
    screen.copyable(f"earmark witness run {args.dir}")
    screen.say("Each neighbour adds this to earmark.toml, with this machine's address, and starts the gateway again:")
    screen.copyable("[[witness]]", indent=4)
    screen.copyable(f'url = "http://HOST:{args.port}"', indent=4)
    screen.copyable(f'vkey = "{folder.own.encode()}"', indent=4)
    screen.heading("Never from a backup")
    screen.say(
        f"{args.dir} must not go back in time: with an older copy of witness.db it could cosign a second history. If "
        "it is lost, make a new witness.",
        indent=2,
    )
    screen.document({"folder": str(args.dir), "name": folder.own.name, "vkey": folder.own.encode(), "port": args.port})
    return 0


def _run(args: argparse.Namespace, screen: Screen) -> int:
    folder = open_witness(args.dir)
    give = passphrases(args)
    with until_told(args) as stop:
        _log.info("witness %s for %s", folder.own.encode(), count(len(folder.logs), "log"))
        serve(folder, lambda: give("witness"), stop)
    screen.document({"stopped": True} | _known(folder)[0])
    return 0


def _known(folder: WitnessFolder) -> tuple[dict[str, Any], list[Evidence]]:
    ledger = folder.ledger()
    try:
        seen, evidence = ledger.all_seen(), ledger.evidence()
    finally:
        ledger.close()
    newest = {row.origin: row for row in seen}
    logs = [_describe(origin, newest.get(origin), folder) for origin in sorted(set(newest) | set(folder.logs))]
    document = {"name": folder.own.name, "vkey": folder.own.encode(), "logs": logs}
    return document | {"evidence": [_accused(row) for row in evidence]}, evidence


def _describe(origin: str, row: Seen | None, folder: WitnessFolder) -> dict[str, Any]:
    return {
        "origin": origin,
        "configured": origin in folder.logs,
        "size": row.size if row else None,
        "root": row.root.hex() if row else None,
        "cosigned_at": iso(row.cosigned_at_s) if row else None,
        "cosigned_at_s": row.cosigned_at_s if row else None,
        "path": f"/{origin_hash(origin)}/checkpoint",
    }


def _accused(row: Evidence) -> dict[str, Any]:
    notes = {"cosigned": row.ours.decode(), "request": row.request.decode(errors="replace")}
    return {
        "origin": row.origin,
        "kind": row.kind,
        "found_at": iso(row.found_at_s),
        "found_at_s": row.found_at_s,
    } | notes


def _list(args: argparse.Namespace, screen: Screen) -> int:
    folder = open_witness(args.dir)
    document, evidence = _known(folder)
    screen.say("The witness")
    screen.copyable(folder.own.encode())
    rows = [
        (
            log["origin"] + ("" if log["configured"] else " (no longer)"),
            "none" if log["size"] is None else f"{log['size']:,}",
            utc(log["cosigned_at_s"]) if log["cosigned_at_s"] else "never",
        )
        for log in document["logs"]
    ]
    if rows:
        screen.heading("Logs")
        screen.table(("log", "leaves", "cosigned"), rows, right=(1,))
    else:
        screen.say(f"It knows no log: add a [[log]] table to {args.dir / 'witness.toml'}.")
    for kind, title, means in (
        (FORK, "SPLIT VIEW", "each has two histories, and the log's own key signed both"),
        ("unproven", "Refused", "a checkpoint of the log came with a proof that does not hold"),
    ):
        found = [row for row in evidence if row.kind == kind]
        if found:
            screen.heading(title)
            screen.say(f"{means}; --json has both notes.", indent=2, style="red" if kind == FORK else "yellow")
            for row in found:
                screen.copyable(f"{row.origin}, {utc(row.found_at_s)}")
    screen.document(document)
    return 0
