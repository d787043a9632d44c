"""Many statements examined by all cores: the same verdicts in the same order; a process that ends blames none."""

import os
from pathlib import Path

import pytest

from commands import Earmark, in_farm
from earmark import bulk
from earmark.bulk import CHUNK, WORTH, examine_all
from earmark.cli import check as command
from earmark.verifier import examine
from farm import Signing
from sample_farm import SampleFarm

pytest_plugins = ["command_fixtures"]


def ends(_: list[bytes]) -> bytes:
    """Stands for a process that the system ends, as it does where memory is short."""
    os._exit(1)


def test_verdicts_come_back_in_order_from_all_cores() -> None:
    node = Signing(3, "n1")
    raws = [node.read(number) if number % 3 else b"junk %d" % number for number in range(WORTH + CHUNK // 2)]
    found = [(claims, str(error)) for claims, error in examine_all(iter(raws), len(raws))]
    assert found == [(claims, str(error)) for claims, error in map(examine, raws)]


def test_a_check_whose_process_ends_says_nothing_of_the_proof(
    earmark: Earmark, sample: SampleFarm, lot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (bulk, command):
        monkeypatch.setattr(module, "WORTH", 0)
    monkeypatch.setattr(bulk, "_examine", ends)
    for said in (earmark("check", lot, "--operator", sample.did), in_farm(earmark)("log", "check")):
        assert (said.status, "a process that verified statements was ended" in " ".join(said.err.split())) == (3, True)
