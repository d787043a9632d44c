"""A command that runs until it is told to stop: its log on stderr, SIGTERM and SIGINT."""

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from earmark.cli.loglines import LOG_FORMATS

_log = logging.getLogger("earmark")


def add_log_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the log."""
    parser.add_argument("--verbose", action="store_true", help="log more")
    parser.add_argument(
        "--log-format",
        choices=LOG_FORMATS,
        default="text",
        help="the log's lines: text, or json objects (default: text)",
    )


@contextmanager
def until_told(args: argparse.Namespace) -> Iterator[threading.Event]:
    """Log to stderr while the block runs, and give an event that SIGTERM and SIGINT set."""
    logs = _to_stderr(logging.DEBUG if args.verbose else logging.INFO, LOG_FORMATS[args.log_format]())
    stop = threading.Event()
    before = {number: signal.signal(number, _setting(stop)) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
        _log.info("stopped")
    finally:
        for number, action in before.items():
            signal.signal(number, action)
        _log.removeHandler(logs)


def _to_stderr(level: int, form: logging.Formatter) -> logging.Handler:
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(form)
    _log.addHandler(lines)
    _log.setLevel(level)
    return lines


def _setting(stop: threading.Event) -> Callable[[int, FrameType | None], None]:
    """Return a signal's action that asks to stop.

    It does so from a thread of its own: the one that it interrupts may hold the event's lock.
    """

    def ask(number: int, frame: FrameType | None) -> None:
        threading.Thread(target=stop.set).start()

    return ask
