"""`earmark node monitor`: what a board says, line by line, without disturbing it."""

import argparse
import contextlib
import time
from collections import deque
from dataclasses import asdict

from earmark.cli.arguments import seconds
from earmark.cli.boards import add_port
from earmark.cli.screen import Screen
from earmark.device.board import open_board
from earmark.device.loglines import Line, read_line
from earmark.device.ports import choose

_STYLES = {"trouble": "yellow", "failure": "red", "good": "green"}
_MOST_LINES = 10_000


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the options of `node monitor`."""
    add_port(parser)
    parser.add_argument("--seconds", metavar="S", type=seconds, default=0.0, help="end after this time")


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Show lines until interrupted or the time is up."""
    lines: deque[Line] = deque(maxlen=_MOST_LINES)
    with open_board(choose(args.port), interrupt=False) as board, contextlib.suppress(KeyboardInterrupt):
        until_s = time.monotonic() + args.seconds if args.seconds else None
        screen.say(f"Listening on {board.device}; Ctrl-C ends it.", style="dim")
        for text in board.lines(until_s):
            if text:
                line = read_line(text)
                lines.append(line)
                screen.copyable(line.shown, indent=0, style=_STYLES.get(line.kind, ""))
    screen.document({"port": board.device, "lines": [asdict(line) for line in lines]})
    return 0
