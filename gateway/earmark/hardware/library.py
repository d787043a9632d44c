"""The TOML files under hardware/, of this checkout or of the package, and a grower's own kit."""

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earmark.errors import ConfigError
from earmark.hardware.board import Board, parse_board
from earmark.hardware.kit import Kit, parse_kit
from earmark.hardware.part import Part, parse_part

_MOST = 1 << 20


@dataclass(frozen=True, slots=True)
class Prices:
    """Price classes: letter to (lowest, highest); what they are in, and when they were looked at."""

    classes: dict[str, tuple[float, float]]
    currency: str
    date: str


def folder() -> Path:
    """Return the folder of the hardware's files: of this checkout, or the one that the package carries."""
    package = Path(__file__).resolve().parent.parent
    for place in (package / "_hardware", package.parents[1] / "hardware"):
        if (place / "prices.toml").is_file():
            return place
    raise ConfigError("boards and kits are not beside this installation: reinstall earmark")


@functools.cache
def boards() -> dict[str, Board]:
    """Return every board by name."""
    paths = sorted((folder() / "boards").glob("*.toml"))
    return {path.stem: parse_board(path.stem, _toml(path), path.name) for path in paths}


@functools.cache
def parts() -> dict[str, Part]:
    """Return every part by name."""
    found: dict[str, Part] = {}
    for path in sorted((folder() / "parts").glob("*.toml")):
        for name, table in _toml(path).items():
            if name in found:
                raise ConfigError(f"{path.name}: a part {name} is in another file already")
            found[name] = parse_part(name, table, path.name)
    return found


@functools.cache
def kits() -> dict[str, Kit]:
    """Return every kit by name."""
    return {path.stem: read_kit(path) for path in sorted((folder() / "kits").glob("*.toml"))}


def read_kit(path: Path) -> Kit:
    """Return the kit in a file, such as a grower's own; `ConfigError` where it is none."""
    return parse_kit(path.stem, _toml(path), parts(), path.name)


def kit(name: str) -> Kit:
    """Return the kit of that name, or the one in the file of that name, which ends in .toml."""
    if name.endswith(".toml"):
        return read_kit(Path(name))
    if name not in kits():
        raise ConfigError(f"there is no kit {name}: known are {', '.join(kits())}, or name a .toml file of your own")
    return kits()[name]


def board(name: str) -> Board:
    """Return the board of that name."""
    if name not in boards():
        raise ConfigError(f"there is no board {name}: known are {', '.join(boards())}")
    return boards()[name]


@functools.cache
def prices() -> Prices:
    """Return the price classes."""
    tables = _toml(folder() / "prices.toml")
    classes = {letter: (float(low), float(high)) for letter, (low, high) in tables["classes"].items()}
    return Prices(classes, str(tables["currency"]), str(tables["date"]))


def _toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST + 1)
        if len(text) > _MOST:
            raise ConfigError(f"{path}: larger than 1 MiB, no kit")
        return tomllib.loads(text.decode())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
