"""`earmark run`: the gateway, until it is told to stop."""

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from earmark.cli.farms import farm_of
from earmark.cli.loglines import LOG_FORMATS
from earmark.cli.passphrases import add_passphrase_file
from earmark.cli.screen import Screen
from earmark.config import Farm
from earmark.gateway import Gateway
from earmark.store.sqlite import SqliteStore

_log = logging.getLogger("earmark")


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `run`."""
    parser.add_argument("--verbose", action="store_true", help="log more")
    parser.add_argument(
        "--log-format",
        choices=LOG_FORMATS,
        default="text",
        help="the log's lines: text, or json objects (default: text)",
    )
    add_passphrase_file(parser)


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Run the gateway; SIGTERM and SIGINT end it cleanly.  The log goes to stderr."""
    farm = farm_of(args)
    logs = _to_stderr(logging.DEBUG if args.verbose else logging.INFO, LOG_FORMATS[args.log_format]())
    stop = threading.Event()
    before = {number: signal.signal(number, _setting(stop)) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        _announce(farm)
        Gateway(farm).run(stop)
        _log.info("stopped")
    finally:
        for number, action in before.items():
            signal.signal(number, action)
        _log.removeHandler(logs)
    screen.document(_state(farm))
    return 0


def _to_stderr(level: int, form: logging.Formatter) -> logging.Handler:
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(form)
    _log.addHandler(lines)
    _log.setLevel(level)
    return lines


def _setting(stop: threading.Event) -> Callable[[int, FrameType | None], None]:
    """Return a signal's action that asks the gateway to stop.

    It does so from a thread of its own: the one that it interrupts may hold the event's lock.
    """

    def ask(number: int, frame: FrameType | None) -> None:
        threading.Thread(target=stop.set).start()

    return ask


def _announce(farm: Farm) -> None:
    _log.info("farm %s in %s", farm.config.farm.site, farm.folder.resolve())
    if not farm.config.anchor:
        _log.warning("no [[anchor]] is set: blocks are signed, but nothing shows a stranger when they existed")


def _state(farm: Farm) -> dict[str, object]:
    store = SqliteStore(farm.database)
    try:
        newest = store.newest_block()
        return {"stopped": True, "size": store.size(), "block": newest.height if newest else None}
    finally:
        store.close()
