"""`earmark unpack`: the standard parts of a proof file."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from earmark.cli.screen import Screen
from earmark.cli.words import count
from earmark.errors import ConfigError
from earmark.proof import decode_proof
from earmark.unpack import Part, unpack

_SHOWN = 12


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `unpack`."""
    parser.add_argument("file", metavar="FILE", type=Path, help="the proof file")
    parser.add_argument("dir", metavar="DIR", type=Path, help="a folder that is empty, or not there yet")


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Write the parts."""
    parts = list(unpack(decode_proof(args.file.read_bytes())))
    _write(args.dir, parts)
    screen.say(f"{count(len(parts), 'file')} in {args.dir}:")
    for part in parts[:_SHOWN]:
        screen.copyable(part.name)
    if len(parts) > _SHOWN:
        screen.say(f"and {len(parts) - _SHOWN:,} more", indent=2)
    screen.say("README.txt says which standard each is.")
    screen.say("Nothing but the file's form was checked: `earmark check` checks the proof.", style="yellow")
    files = [{"name": part.name, "bytes": len(part.octets), "standard": part.standard or None} for part in parts]
    screen.document({"folder": str(args.dir), "checked": False, "files": files})
    return 0


def _write(folder: Path, parts: Sequence[Part]) -> None:
    """Write new files into a new or empty folder; nothing is ever replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    if next(folder.iterdir(), None) is not None:
        raise ConfigError(f"{folder} is not empty: name a new folder, nothing is overwritten")
    for part in parts:
        with (folder / part.name).open("xb") as file:
            file.write(part.octets)
