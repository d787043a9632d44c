"""`earmark node doctor`: what is wrong with a board, each with a cure."""

import argparse
from dataclasses import asdict

from earmark.cli.boards import add_port
from earmark.cli.screen import Screen
from earmark.cli.words import count
from earmark.device.board import open_board
from earmark.device.examination import ILL, examine
from earmark.device.ports import choose

_MARKS = {"well": ("ok  ", "green"), "ill": ("ILL ", "red"), "none": ("-   ", "dim")}


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the options of `node doctor`."""
    add_port(parser)


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Check one thing after the other, then start the node again; 1 where something is ill."""
    checks = []
    with open_board(choose(args.port)) as board:
        for check in examine(board):
            mark, style = _MARKS[check.state]
            screen.say(f"{mark}{check.what}: {check.seen}", style=style if check.cure else "")
            if check.cure:
                screen.say(check.cure, indent=6)
            checks.append(check)
        board.restart()
    ill = sum(check.state == ILL for check in checks)
    screen.say(
        f"{count(ill, 'thing is', 'things are')} not well." if ill else "All is well; the node was started again."
    )
    screen.document({"port": board.device, "well": not ill, "checks": [asdict(check) for check in checks]})
    return 1 if ill else 0
