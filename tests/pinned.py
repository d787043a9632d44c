"""The protocol's pinned vectors, tests/vectors/*.json."""

import json
from pathlib import Path
from typing import Any

from earmark.evidence.drand import Network

FOLDER = Path(__file__).resolve().parent / "vectors"


def vectors(name: str) -> dict[str, Any]:
    """Return the content of one file."""
    content: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return content


def named(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return parametrize's arguments for a list of cases, each under its name."""
    return {"argvalues": rows, "ids": [row["name"] for row in rows]}


def network(row: dict[str, Any]) -> Network:
    """Return the network of drand that a case tells of."""
    octets = bytes.fromhex(row["hash"]), bytes.fromhex(row["key"])
    return Network(row["name"], *octets, row["genesis_s"], row["period_s"])
