"""The commands and how their arguments are read; a command's module is imported only when that command is called."""

import argparse
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from earmark import __version__

COMMANDS = {
    "demo": ("earmark.cli.demo", "run the whole way of a reading on this machine, from sensor to checked proof"),
    "init": ("earmark.cli.init", "make a farm: its keys, its settings and an empty log"),
    "run": ("earmark.cli.run", "run the gateway: broker, log, blocks and anchors"),
    "node enroll": ("earmark.cli.nodes", "let a node's statements into the log"),
    "node doctor": ("earmark.cli.doctor", "look for what is wrong with the board on a serial port"),
    "node flash": ("earmark.cli.flash", "put MicroPython and Earmark onto the board on a serial port"),
    "node build": ("earmark.cli.builds", "build a release of the node firmware"),
    "node update": ("earmark.cli.updates", "release firmware to nodes, and show how far they are"),
    "node list": ("earmark.cli.nodelist", "show the nodes, what they said last, and which keys wait"),
    "node monitor": ("earmark.cli.monitor", "show what the board on a serial port says"),
    "node revoke": ("earmark.cli.endings", "end a node's key for good"),
    "node rotate": ("earmark.cli.endings", "give a node's name to a new key, and end the old one"),
    "node simulate": ("earmark.cli.simulate", "run nodes on this machine with the real firmware"),
    "kit list": ("earmark.cli.kits", "show the kits and boards there are, and what a kit costs"),
    "kit show": ("earmark.cli.kits", "show how a kit is wired on a board, and the settings that follow"),
    "kit check": ("earmark.cli.kits", "look for pins, voltages and currents that would not work"),
    "kit wire": ("earmark.cli.kits", "write a kit's wiring as a WireViz file"),
    "kit bom": ("earmark.cli.kits", "show what to buy for a kit"),
    "kit battery": ("earmark.cli.kits", "reckon how long a kit's battery lasts"),
    "key seal": ("earmark.cli.keys", "put a passphrase on a private key, or another one"),
    "key unseal": ("earmark.cli.keys", "take the passphrase off a private key"),
    "broker mosquitto": ("earmark.cli.brokers", "write passwords, rights and settings for a Mosquitto of your own"),
    "log backup": ("earmark.cli.backups", "copy the farm while its gateway runs"),
    "log check": ("earmark.cli.logcheck", "recompute the whole log from the stored statements"),
    "log consistency": ("earmark.cli.consistency", "show that a later block continues an earlier one"),
    "log export": ("earmark.cli.logs", "write the log as JSON lines, CSV or COSE"),
    "log list": ("earmark.cli.logs", "show the newest statements"),
    "log quarantine": ("earmark.cli.logs", "show what was not let into the log, why, and what to do"),
    "log restore": ("earmark.cli.backups", "make a farm's folder from a backup"),
    "anchor status": ("earmark.cli.anchors", "show how far the log is anchored"),
    "anchor now": ("earmark.cli.anchors", "plan an anchor of the newest block now"),
    "calendar init": ("earmark.cli.calendars", "make an OpenTimestamps calendar that several farms share"),
    "calendar run": ("earmark.cli.calendars", "run a calendar"),
    "witness init": ("earmark.cli.witnesses", "make a witness, which cosigns the logs of neighbours"),
    "witness run": ("earmark.cli.witnesses", "run a witness"),
    "witness list": ("earmark.cli.witnesses", "show what a witness cosigned, and evidence of split views"),
    "witness status": ("earmark.cli.cosigned", "show this farm's verifier key, and how far its witnesses are"),
    "prove": ("earmark.cli.prove", "write a proof file that anyone can check"),
    "check": ("earmark.cli.check", "check a proof file, offline, against the operator's did"),
    "unpack": ("earmark.cli.unpack", "take a proof file apart into standard files"),
}
"""Every command: the module with its `add_arguments(command, parser)` and `run(args, screen)`, and what it does."""

GROUPS = {
    "node": "flash, enrol, examine, list, rotate and revoke nodes",
    "kit": "boards and kits: wiring, what to buy, battery life",
    "key": "passphrases of private keys",
    "broker": "a broker of your own",
    "log": "check, show and back up the log",
    "anchor": "anchors in public chains",
    "calendar": "an OpenTimestamps calendar of your own",
    "witness": "cosign neighbours' logs, and have one's own cosigned",
}

_WITHOUT_FARM = {
    "init", "demo", "calendar init", "calendar run", "witness init", "witness run", "witness list", "check", "unpack",
    "node build", "node doctor", "node flash", "node monitor",
    "kit list", "kit show", "kit check", "kit wire", "kit bom", "kit battery",
}  # fmt: skip
"""Commands without --farm."""

_EPILOG = "Exit status: 0 it holds or is done, 1 it does not hold, 2 called wrongly, 3 could not run."


class UsageError(Exception):
    """The command was called wrongly; `command` is what was called."""

    def __init__(self, command: str, message: str) -> None:
        super().__init__(f"{message}; see `{command} --help`")
        self.command = command


class Parser(argparse.ArgumentParser):
    """A parser that raises `UsageError`; that of a command takes its arguments from the command's module when used."""

    def __init__(self, *, command: str = "", **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)
        self._command = command

    def fill(self) -> None:
        """Import the command's module and take its arguments, once."""
        if not self._command:
            return
        command, self._command = self._command, ""
        module = importlib.import_module(COMMANDS[command][0])
        module.add_arguments(command, self)
        _add_common(self, command)
        self.set_defaults(run=module.run, command=command)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, with the command's own arguments."""
        self.fill()
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise `UsageError`."""
        raise UsageError(self.prog, message)


def build_parser() -> Parser:
    """Return the parser of all commands, none of them imported yet."""
    parser = Parser(
        prog="earmark",
        description="Provenance for sensor data, signed at the sensor and checked by anyone.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"earmark {__version__}")
    top = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="first")
    groups: dict[str, Any] = {}
    for command, (_, does) in COMMANDS.items():
        group, _, word = command.rpartition(" ")
        if group and group not in groups:
            made = top.add_parser(group, help=GROUPS[group], description=_sentence(GROUPS[group]))
            groups[group] = made.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="second")
        into = groups[group] if group else top
        into.add_parser(word, command=command, help=does, description=_sentence(does), epilog=_EPILOG)
    return parser


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:] + "."


def parsers(parser: argparse.ArgumentParser) -> Iterator[tuple[str, Parser]]:
    """Give (name, parser) of every command below a parser, each filled."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                if child._command:
                    name = child._command
                    child.fill()
                    yield name, child
                yield from parsers(child)


def _add_common(parser: argparse.ArgumentParser, command: str) -> None:
    if command not in _WITHOUT_FARM:
        parser.add_argument(
            "--farm",
            metavar="DIR",
            type=Path,
            help="the farm's folder (default: the environment's EARMARK_FARM, else the current folder)",
        )
    parser.add_argument("--json", action="store_true", help="write one JSON object to stdout, and nothing else there")
