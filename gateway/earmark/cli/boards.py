"""Options and questions of the commands about boards on a serial port."""

import argparse
import sys
from getpass import getpass
from pathlib import Path
from typing import Any

from earmark import keys
from earmark.cli.screen import Screen
from earmark.device.ports import AUTO
from earmark.errors import ConfigError

_MOST_SSID = 32


def add_port(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the board's port."""
    parser.add_argument(
        "--port", default=AUTO, metavar="PORT", help="the board's serial port (default: auto, where only one is there)"
    )


def add_set_up(parser: argparse.ArgumentParser) -> None:
    """Add what a board is set up with."""
    parser.add_argument("--kit", metavar="KIT", help="the kit it is, by name or as a .toml file; needs --board")
    parser.add_argument("--board", metavar="BOARD", help="the board that carries the kit, such as esp32-devkitc")
    parser.add_argument("--wifi", metavar="SSID", help="the Wi-Fi that it joins; its password is asked for")
    parser.add_argument(
        "--wifi-password-file", metavar="FILE", type=Path, help="file (mode 0600) with the Wi-Fi's password"
    )
    parser.add_argument("--host", metavar="ADDRESS", help="where the board reaches the broker (default: this machine)")
    parser.add_argument("--yes", action="store_true", help="do not ask whether the fingerprint is the board's")


def confirm(question: str, screen: Screen) -> None:
    """Ask on the terminal; `ConfigError` where the answer is not yes, or nobody can be asked."""
    if screen.as_json or not sys.stdin.isatty():
        raise ConfigError("nobody can be asked here: look at it on a terminal, or say --yes. Nothing was done")
    if input(f"{question} Type yes: ").strip() != "yes":
        raise ConfigError("not confirmed: nothing was done")


def wifi_of(args: argparse.Namespace, held: dict[str, Any], screen: Screen) -> dict[str, str] | None:
    """Return the Wi-Fi to set: that of the options, with its password from a file or asked for; None to keep what the
    board has.
    """
    ssid = args.wifi
    if ssid is None:
        if held.get("wifi"):
            return None
        if screen.as_json or not sys.stdin.isatty():
            raise ConfigError("the board knows no Wi-Fi yet: name it with --wifi")
        ssid = input("Wi-Fi that the board is to join: ").strip()
    if not 1 <= len(ssid.encode()) <= _MOST_SSID:
        raise ConfigError(f"a Wi-Fi's name has 1 to {_MOST_SSID} bytes")
    if args.wifi_password_file:
        password = keys.read_private(args.wifi_password_file, "the Wi-Fi's password").rstrip("\n")
    elif screen.as_json or not sys.stdin.isatty():
        raise ConfigError("the Wi-Fi's password can be asked for on a terminal only: --wifi-password-file")
    else:
        password = getpass(f"Password of {ssid}: ")
    return {"ssid": ssid, "password": password}


def kit_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return what a kit on a board says of node.json; empty where none is named."""
    if bool(args.kit) != bool(args.board):
        raise ConfigError("--kit and --board go together: which kit, on which board")
    if not args.kit:
        return {}
    from earmark.hardware import build, firmware, library

    return firmware.node_settings(build.fit(library.kit(args.kit), library.board(args.board)))
