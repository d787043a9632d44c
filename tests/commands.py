"""Calling `earmark` in tests: what it says, its JSON, its status."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


class Said:
    """What a command gave: status, stdout, stderr."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def words(self) -> str:
        """stdout with its line breaks undone."""
        return " ".join(self.out.split())

    def json(self) -> Any:
        """The one JSON object on stdout."""
        [line] = self.out.splitlines()
        return json.loads(line, parse_float=Decimal)


Earmark = Callable[..., Said]


def in_farm(earmark: Earmark) -> Earmark:
    """The same, with --farm."""
    return lambda *words: earmark(*words, "--farm", "farm")
