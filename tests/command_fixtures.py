"""Fixtures for calling `earmark`."""

from pathlib import Path

import pytest

from commands import Earmark, Said, in_farm
from earmark.cli import main
from sample_farm import SampleFarm


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


@pytest.fixture
def lot(earmark: Earmark, sample: SampleFarm) -> Path:
    """A proof of field-1's seq 1 to 5 and of shed-2's modelled reading, under the anchored block."""
    said = in_farm(earmark)("prove", "3-7", "10", "-o", "lot.earmark")
    assert said.status == 0, said.err
    return Path("lot.earmark")
