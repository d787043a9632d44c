"""Calling `earmark` in tests: what it says, its JSON, its status."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from earmark.cli import main
from sample_farm import SampleFarm

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


@pytest.fixture
def earmark(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Earmark:
    """Run the command in this process, on an 80-column page without colour."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("EARMARK_FARM", raising=False)

    def call(*words: object) -> Said:
        capsys.readouterr()
        status = main([str(word) for word in words])
        return Said(status, *capsys.readouterr())

    return call


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SampleFarm:
    """A farm with a history, in the folder `farm`; the current folder is beside it."""
    monkeypatch.chdir(tmp_path)
    return SampleFarm(tmp_path / "farm").fill()


def in_farm(earmark: Earmark) -> Earmark:
    """The same, with --farm."""
    return lambda *words: earmark(*words, "--farm", "farm")


@pytest.fixture
def lot(earmark: Earmark, sample: SampleFarm) -> Path:
    """A proof of field-1's seq 1 to 5 and of shed-2's modelled reading, under the anchored block."""
    said = in_farm(earmark)("prove", "3-7", "10", "-o", "lot.earmark")
    assert said.status == 0, said.err
    return Path("lot.earmark")
