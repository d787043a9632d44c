"""`earmark calendar init` and `run`: an OpenTimestamps calendar, in a folder of its own."""

import argparse
import logging
import shlex
from pathlib import Path

from earmark.calendar.folder import CalendarSettings, create_calendar, open_calendar
from earmark.calendar.ledger import Ledger
from earmark.calendar.service import run as serve
from earmark.cli.arguments import a_port
from earmark.cli.foreground import add_log_options, until_told
from earmark.cli.screen import Screen

_log = logging.getLogger("earmark")


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the arguments of either."""
    parser.add_argument("dir", metavar="DIR", type=Path, help="the calendar's folder")
    if command == "calendar run":
        add_log_options(parser)
        return
    settings = CalendarSettings()
    parser.add_argument(
        "--url", required=True, metavar="URL", help="its public address, such as https://calendar.example, for good"
    )
    parser.add_argument(
        "--listen", metavar="ADDR", default=settings.listen, help=f"address to listen on (default: {settings.listen})"
    )
    parser.add_argument("--port", type=a_port, default=settings.port, help=f"port (default: {settings.port})")


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Make a calendar, or run it."""
    return _init(args, screen) if args.command == "calendar init" else _run(args, screen)


def _init(args: argparse.Namespace, screen: Screen) -> int:
    made = create_calendar(args.dir, args.url, args.listen, args.port)
    screen.say(
        f"The calendar {made.settings.url} is in {args.dir}. It anchors through public calendars, free of charge;"
    )
    screen.say(f"for a transaction of your own change [anchor] in {args.dir / 'calendar.toml'}.")
    screen.heading("Next")
    screen.copyable(f"earmark calendar run {shlex.quote(str(args.dir))}")
    screen.say("Each farm puts this into its earmark.toml:")
    screen.copyable("[[anchor]]", indent=4)
    screen.copyable(f'calendars = ["{made.settings.url}"]', indent=4)
    screen.copyable(f"headers = {list(made.anchor.headers)}".replace("'", '"'), indent=4)
    document = {"folder": str(args.dir), "url": made.settings.url, "listen": args.listen, "port": args.port}
    screen.document(document | {"anchor": made.anchor.called})
    return 0


def _run(args: argparse.Namespace, screen: Screen) -> int:
    calendar = open_calendar(args.dir)
    with until_told(args) as stop:
        _log.info("calendar %s in %s", calendar.settings.url, args.dir.resolve())
        serve(calendar, stop)
    ledger = Ledger(calendar.database)
    try:
        count = ledger.count()
    finally:
        ledger.close()
    screen.document({"stopped": True, "digests": count.digests, "rounds": count.rounds, "waiting": count.waiting})
    return 0
