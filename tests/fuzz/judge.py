"""What every fuzz target has in common: how it is named, what it may raise, and how its input is cut into pieces."""

import importlib
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

TESTS = Path(__file__).resolve().parent.parent
FIRMWARE = TESTS.parent / "firmware"
# At the end of the path: no name of the firmware's may hide a library's.
sys.path += [str(TESTS), str(FIRMWARE)]

from pinned import vectors  # noqa: E402

__all__ = [
    "MARK",
    "TARGETS",
    "Target",
    "firmware",
    "joined",
    "lines",
    "load",
    "outcome",
    "pieces",
    "rows",
    "target",
    "vectors",
]

MARK = b"\xaa" * 32
"""Stands in an input where a target puts a hash of the next piece, so that fuzzing gets past a link."""


Judge = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Target:
    """One decoder under test: `judge` returns where it kept its promises and raises where it did not.

    `seeds` are inputs made from the protocol's vectors, the same ones every time; `longest` is in bytes; `is_text` says
    that it reads JSON or TOML.
    """

    name: str
    judge: Judge
    seeds: tuple[bytes, ...]
    longest: int
    is_text: bool


TARGETS: dict[str, Target] = {}


def target(seeds: Iterable[bytes], longest: int, *, is_text: bool = False) -> Callable[[Judge], Judge]:
    """Make a function that judges one input a target under its own name."""

    def add(judge: Judge) -> Judge:
        name = judge.__name__
        TARGETS[name] = Target(name, judge, tuple(dict.fromkeys(seeds)), longest, is_text)
        return judge

    return add


def outcome(refusals: type[Exception], read: Callable[..., Any], *arguments: Any) -> Any:
    """Return what `read` gives, or the refusal that it raised; any other exception is a finding and goes on."""
    try:
        return read(*arguments)
    except refusals as refusal:
        return refusal


def rows(name: str, column: str = "bytes") -> list[bytes]:
    """Return one column of a file of vectors, valid rows and must-reject ones."""
    found = vectors(name)
    return [bytes.fromhex(row[column]) for kind in ("valid", "must_reject") for row in found.get(kind, ())]


def pieces(encoded: bytes) -> list[bytes]:
    """Cut an input at its own 2-byte lengths; the last piece takes what is there."""
    found = []
    while encoded:
        end = 2 + int.from_bytes(encoded[:2], "big")
        found.append(encoded[2:end])
        encoded = encoded[end:]
    return found


def joined(parts: Sequence[bytes]) -> bytes:
    """Return the input that `pieces` cuts into these."""
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts)


def lines(values: Iterable[Any]) -> list[bytes]:
    """Return values as JSON."""
    return list(map(str.encode, map(partial(json.dumps, separators=(",", ":")), values)))


PARTS = ("codec_targets", "block_targets", "anchor_targets", "stamp_targets", "stream_targets", "firmware_targets")


def load() -> dict[str, Target]:
    """Import every target and return them by name."""
    for part in PARTS:
        importlib.import_module(part)
    return TARGETS


def firmware(name: str) -> ModuleType:
    """Import one of the firmware's modules."""
    return importlib.import_module(name)
