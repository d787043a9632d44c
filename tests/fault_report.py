"""The fault table's counts, gathered from every test process, printed, and written as one report.

`conftest` takes the hooks from here.  `make test` runs every row in a bounded form and prints the table; `make faults`
runs them in full and also writes it.
"""

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pytest

SEED = int(os.environ.get("EARMARK_SEED", "20261123"))


@dataclass(slots=True)
class Counts:
    """What happened in all runs of one row; the last three must stay 0."""

    runs: int = 0
    faults: int = 0
    acknowledged: int = 0
    lost: int = 0
    duplicated: int = 0
    reissued: int = 0


COLUMNS = tuple(field.name for field in fields(Counts))


def fault_row(bounded: int, full: int, limit_s: int = 300) -> pytest.MarkDecorator:
    """Make a test a row of the fault table: it gets `runs`, few under `make test` and many under `make faults`."""
    marks = [pytest.mark.faults, pytest.mark.timeout(limit_s)]
    return pytest.mark.parametrize(
        "runs", [pytest.param(bounded, id="bounded"), pytest.param(full, id="full", marks=marks)]
    )


def row_name(node: Any) -> str:
    """Return how the table calls a test: its name in words, with what it is run with."""
    words = node.originalname.removeprefix("test_").replace("_", " ")
    given = [part for part in node.callspec.id.split("-") if part not in ("bounded", "full")]
    return ", ".join([words, *given])


class FaultReport:
    """Gathers the rows of every test process, and shows them at the end."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._rows: dict[str, dict[str, int]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in a test that has ended."""
        if report.when == "teardown":
            self._rows |= {name: counts for key, [name, counts] in _rows_of(report) if key == "fault_row"}

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the table, and write it where a file was named."""
        if self._rows:
            terminalreporter.section(f"fault table (EARMARK_SEED={SEED})")
            for line in table(self._rows):
                terminalreporter.write_line(line)
            if self._path:
                write(self._path, "rows", dict(sorted(self._rows.items())))


def _rows_of(report: pytest.TestReport) -> list[tuple[str, Any]]:
    return [(key, value) for key, value in report.user_properties if key == "fault_row"]


def table(rows: dict[str, dict[str, int]]) -> list[str]:
    """Return the rows as lines of text under one heading."""
    width = max(map(len, rows))
    lines = [" ".join([" " * width, *(f"{name:>12}" for name in COLUMNS)])]
    for name, counts in sorted(rows.items()):
        lines.append(" ".join([name.ljust(width), *(f"{counts[column]:>12,}" for column in COLUMNS)]))
    return lines


def write(path: Path, part: str, found: dict[str, Any]) -> None:
    """Put one part (`rows`, `soak`) into the report, beside those that are there; it also says the seed."""
    report = json.loads(path.read_text()) if path.exists() else {}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(report | {part: {"seed": SEED} | found}, indent=1) + "\n")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the report's file."""
    parser.addoption("--fault-report", type=Path, help="write the fault table's counts into this JSON file")


def pytest_configure(config: pytest.Config) -> None:
    """Begin to gather."""
    config.pluginmanager.register(FaultReport(config.getoption("--fault-report")))


@pytest.fixture
def counts(request: pytest.FixtureRequest) -> Any:
    """The counts of this row; what was lost, duplicated or reissued fails it."""
    print(f"EARMARK_SEED={SEED}")
    found = Counts()
    yield found
    request.node.user_properties.append(("fault_row", [row_name(request.node), asdict(found)]))
    assert (found.lost, found.duplicated, found.reissued) == (0, 0, 0), asdict(found)
