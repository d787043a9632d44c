"""`earmark node build`: a release of the node firmware, compiled for a target."""

import argparse
from pathlib import Path

from earmark.cli.screen import Screen
from earmark.cli.words import count
from earmark.device.build import TARGETS, build, write
from earmark.release import MANIFEST, decode


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `node build`."""
    parser.add_argument("target", metavar="TARGET", choices=TARGETS, help=f"what to build for: {', '.join(TARGETS)}")
    parser.add_argument("folder", metavar="DIR", type=Path, help="a new or empty folder for the release")
    parser.add_argument("--number", metavar="N", type=int, help="its release number, if not the sources' own")
    parser.add_argument("--version", metavar="TEXT", help="its version, if not the sources' own")


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Build the release and say what it takes."""
    files = build(args.target, args.number, args.version)
    write(files, args.folder)
    manifest, size = decode(files[MANIFEST]), sum(map(len, files.values()))
    room = TARGETS[args.target].flash
    screen.say(
        f"Release {manifest.number} ({manifest.version}) for {args.target}: {count(len(files), 'file')}, {size:,} of "
        f"{room:,} bytes that a slot may take. Next: `earmark node update NAME --release {args.folder}`."
    )
    about = {"number": manifest.number, "version": manifest.version, "target": args.target, "mpy": manifest.mpy}
    screen.document(about | {"files": len(files), "bytes": size, "room": room, "folder": str(args.folder)})
    return 0
