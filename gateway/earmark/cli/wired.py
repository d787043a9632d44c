"""`earmark demo` and `earmark node simulate`, which live in modules of their own."""

import argparse
from typing import Any

from earmark.cli.farms import farm_of
from earmark.cli.screen import Screen


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command's own module."""
    if command == "demo":
        from earmark import demo as module
    else:
        from earmark import simulate as module  # type: ignore[no-redef]
    module.add_arguments(parser)


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Run the command's own module."""
    outcome: dict[str, Any]
    if args.command == "demo":
        from earmark import demo

        outcome = demo.run(args, screen.console)
    else:
        from earmark import simulate

        outcome = simulate.run(args, screen.console, farm_of(args))
    screen.document(outcome)
    return 0
