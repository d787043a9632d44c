"""Tables of settings: dataclasses whose fields say their default, unit and meaning, read from TOML by name."""

import math
import tomllib
from collections.abc import Collection
from dataclasses import field
from typing import Any, get_type_hints

from earmark.errors import ConfigError

_TOML_INTEGERS = 1 << 63


def setting(default: Any, meaning: str, unit: str = "") -> Any:
    """Return a field of a table of settings, with its default and what it means."""
    return field(default=default, metadata={"meaning": meaning, "unit": unit})


def read_tables(text: str, where: str, known: Collection[str], shown: str) -> dict[str, Any]:
    """Return the tables of a TOML text; `ConfigError` where it is none, or has one that is not known; `shown` lists
    those that are.
    """
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # numbers and nesting have bounds of their own
        raise ConfigError(f"{where}: not TOML: {error}") from error
    unknown = set(tables) - set(known)
    if unknown:
        raise ConfigError(f"{where}: unknown table [{min(unknown)}]; known are {shown}")
    return tables


def parse_table(kind: type, name: str, table: Any, where: str) -> Any:
    """Return a table of settings as its dataclass; `ConfigError` names an unknown or wrong one."""
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: {name} is a table: [{name}]")
    types = get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in types:
            raise ConfigError(f"{where}: unknown setting {key!r} in [{name}]; known are {', '.join(types)}")
        wanted = types[key]
        if wanted == tuple[str, ...]:
            values[key] = _texts(value, f"{where}: {name}.{key}")
            continue
        is_whole = type(value) is int and 0 <= value < _TOML_INTEGERS
        given = float(value) if wanted is float and is_whole else value
        if type(given) is not wanted or (wanted is int and not is_whole):
            raise ConfigError(f"{where}: {name}.{key} is {_shown(value)}; it takes a {_WORDS[wanted]}")
        if wanted is float and not 0 <= given < math.inf:
            raise ConfigError(f"{where}: {name}.{key} is {value!r}; it takes a {_WORDS[wanted]}")
        values[key] = given
    return kind(**values)


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if type(value) is not list or not all(type(item) is str for item in value):
        raise ConfigError(f"{where} is {_shown(value)}; it takes a list of texts")
    return tuple(value)


def _shown(value: Any) -> str:
    """Return a value for a message; what Python may refuse to print, such as a number beyond TOML's, by its type."""
    is_short = isinstance(value, str | float) or (isinstance(value, int) and abs(value) < _TOML_INTEGERS)
    return repr(value) if is_short else f"of type {type(value).__name__}"


_WORDS = {str: "text", bool: "true or false", int: "whole number from 0 on", float: "number from 0 on"}
