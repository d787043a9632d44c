"""`earmark run`: the gateway, until it is told to stop."""

import argparse
import logging

from earmark.cli.farms import farm_of
from earmark.cli.foreground import add_log_options, until_told
from earmark.cli.passphrases import add_passphrase_file
from earmark.cli.screen import Screen
from earmark.config import Farm
from earmark.gateway import Gateway
from earmark.store.sqlite import SqliteStore

_log = logging.getLogger("earmark")


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `run`."""
    add_log_options(parser)
    add_passphrase_file(parser)


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Run the gateway; SIGTERM and SIGINT end it cleanly.  The log goes to stderr."""
    farm = farm_of(args)
    with until_told(args) as stop:
        _announce(farm)
        Gateway(farm).run(stop)
    screen.document(_state(farm))
    return 0


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
