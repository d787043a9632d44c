"""Where the passphrase of a sealed key comes from: a file, a credential of the service manager, or the terminal.

Never an argument or a variable of the environment: other users and child processes see those.
"""

import argparse
import functools
import os
import termios
import warnings
from collections.abc import Callable
from getpass import GetPassWarning, getpass
from pathlib import Path

from earmark import keys
from earmark.errors import ConfigError

CREDENTIALS = "CREDENTIALS_DIRECTORY"


def add_passphrase_file(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the file of a passphrase."""
    parser.add_argument(
        "--passphrase-file",
        metavar="FILE",
        type=Path,
        help="file (mode 0600) with the passphrase of the sealed keys that this opens; else it is asked for",
    )


def add_new_passphrase(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the file of a new passphrase."""
    parser.add_argument(
        "--new-passphrase-file", metavar="FILE", type=Path, help="file (mode 0600) with the one to seal it with"
    )


def passphrases(args: argparse.Namespace) -> Callable[[str], bytes]:
    """Return a function that gives the passphrase of a role's sealed key, and asks for each at most once."""
    file: Path | None = getattr(args, "passphrase_file", None)

    @functools.cache
    def give(role: str) -> bytes:
        if file:
            return keys.passphrase_bytes(_first_line(keys.read_private(file, "the passphrase"), file))
        if credential := _credential(role):
            return keys.passphrase_bytes(_first_line(credential.read_text(errors="replace"), credential))
        return keys.passphrase_bytes(_ask(f"Passphrase of the {role}'s key: ", f"the {role}'s key is sealed"))

    return give


def new_passphrase(args: argparse.Namespace) -> bytes:
    """Return the passphrase that a key is to be sealed with: from its file, or asked for twice."""
    file: Path | None = args.new_passphrase_file
    if file:
        return keys.new_passphrase(_first_line(keys.read_private(file, "the new passphrase"), file))
    text = _ask("New passphrase: ", "no new passphrase is given", "--new-passphrase-file")
    passphrase = keys.new_passphrase(text)
    if _ask("The same again: ", "no new passphrase is given", "--new-passphrase-file") != text:
        raise ConfigError("the two passphrases differ: nothing was changed")
    return passphrase


def _credential(role: str) -> Path | None:
    """Return the credential `ROLE-passphrase` that systemd gave to this process alone."""
    folder = os.environ.get(CREDENTIALS)
    path = Path(folder) / f"{role}-passphrase" if folder else None
    return path if path and path.is_file() else None


def _first_line(text: str, path: Path) -> str:
    line, _, more = text.partition("\n")
    if more or not line:
        raise ConfigError(f"{path} does not hold a passphrase: one line of text")
    return line


def _ask(prompt: str, why: str, option: str = "--passphrase-file") -> str:
    """Ask on the terminal, without echo; never where what is typed could be seen."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", GetPassWarning)
            return getpass(prompt)
    except (GetPassWarning, OSError, EOFError, termios.error):
        raise ConfigError(f"{why}, and there is no terminal to ask on: name a file with {option}") from None
