"""`earmark log backup` and `restore`."""

import argparse
import time
from pathlib import Path

from earmark.backup import Copied, copy_farm
from earmark.cli.farms import farm_of
from earmark.cli.parser import UsageError
from earmark.cli.screen import Screen
from earmark.cli.words import count, utc
from earmark.config import open_farm
from earmark.export import iso_ms


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the arguments of one of the two."""
    if command == "log backup":
        parser.add_argument("target", metavar="TARGET", type=Path, help="the backup's folder, not there yet")
        parser.add_argument("--keys", action="store_true", help="with the private keys and passwords in keys/")
    else:
        parser.add_argument("backup", metavar="BACKUP", type=Path, help="what `earmark log backup` made")


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Do one of the two."""
    is_backup = args.command == "log backup"
    if not is_backup and args.farm is None:
        raise UsageError("earmark log restore", "name the new farm's folder with --farm")
    source = farm_of(args) if is_backup else open_farm(args.backup)
    begun = time.monotonic()
    with screen.progress("pages") as progress:
        target = args.target if is_backup else args.farm
        copied = copy_farm(source, target, with_keys=args.keys if is_backup else True, progress=progress)
    seconds = time.monotonic() - begun
    _tell(copied, screen)
    (_tell_backup if is_backup else _tell_restored)(copied, screen)
    block = copied.block
    screen.document(
        {
            "folder": str(copied.folder),
            "bytes": copied.bytes,
            "size": copied.size,
            "block": block.height if block else None,
            "sealed": block.size if block else 0,
            "sealed_at": iso_ms(block.sealed_at_ms) if block else None,
            "private": list(copied.private),
            "seconds": round(seconds * 1000) / 1000,
        }
    )
    return 0


def _tell(copied: Copied, screen: Screen) -> None:
    block = copied.block
    until = f"sealed up to block {block.height} of {utc(block.sealed_at_ms // 1000)}" if block else "not sealed yet"
    leaves = count(copied.size, "leaf", "leaves")
    screen.say(f"{copied.folder}: {leaves}, {until}; {count(copied.bytes, 'byte')}, read back and on disk.")


def _tell_backup(copied: Copied, screen: Screen) -> None:
    screen.heading("In it")
    screen.say("- the log with its quarantine and anchors: all readings, for whoever can read this folder", indent=2)
    screen.say("- the settings, the operator's did and the authority's certificate", indent=2)
    if copied.private:
        screen.say(
            f"- PRIVATE KEYS and passwords: {', '.join(copied.private)}. Where no passphrase seals them, whoever "
            "has them can sign in the farm's name: keep this folder where nobody else reads it",
            indent=2,
        )
    else:
        screen.say(
            "- no private key: it can be checked and proven from; to go on from it takes keys/ as well", indent=2
        )
    screen.say()
    screen.say(
        "What is acknowledged from now on is not in it; a gateway that goes on from it while there is more stops."
    )


def _tell_restored(copied: Copied, screen: Screen) -> None:
    if not {"keys/gateway.key", "keys/broker.json"} <= set(copied.private):
        screen.say("The backup has no private keys: put the farm's keys/ there before you start the gateway.")
    screen.heading("Next")
    screen.copyable(f"earmark run --farm {copied.folder}")
    screen.say(
        "It refuses to serve where the broker or a node knows a newer checkpoint. The old machine must not run this "
        "farm again. Paths in earmark.toml are as they were.",
        indent=6,
    )
