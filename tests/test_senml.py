"""SenML: the public examples through `resolve`, and what the profile refuses."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import cbor2
import pytest

from earmark import senml
from earmark.errors import EncodingError

LABELS = {"bn": -2, "bt": -3, "bu": -4, "n": 0, "u": 1, "v": 2, "vs": 3, "vb": 4, "t": 6}
NOW = 1_498_780_179
RESOLVED_AT = {7: 1_499_109_309}
"""When the public examples were resolved, which relative times count from: one at another time than `NOW`."""


def load(path: Path) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads(path.read_text(), parse_float=Decimal)
    return records


def labelled(records: list[dict[str, Any]]) -> list[dict[int, Any]]:
    return [{LABELS[name]: value for name, value in record.items() if name in LABELS} for record in records]


def flat(readings: list[senml.Reading], now: int) -> list[dict[str, Any]]:
    """The readings in the form of the public resolved examples: relative times made absolute."""
    found = []
    for reading in readings:
        time = reading.taken_at_s if reading.taken_at_s >= senml.ABSOLUTE_FROM else reading.taken_at_s + now
        name = "vb" if isinstance(reading.value, bool) else "vs" if isinstance(reading.value, str) else "v"
        found.append({"n": reading.name, "u": reading.unit, "t": time, name: reading.value})
    return found


@pytest.mark.parametrize("number", range(1, 13))
def test_public_examples_resolve(shared: Path, number: int) -> None:
    folder = shared / "vectors" / "senml"
    found = flat(senml.resolve(labelled(load(folder / f"ex{number}.gen.json"))), RESOLVED_AT.get(number, NOW))
    resolved = load(folder / f"ex{number}.gen.resolved.json")
    expected = [{"u": "", **without_links(record)} for record in resolved if "vd" not in record]
    assert found == expected


def without_links(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != "l"}


@pytest.mark.parametrize("number", [3, 5])
def test_public_cbor_examples_resolve_like_their_json(shared: Path, number: int) -> None:
    folder = shared / "vectors" / "senml"
    records = cbor2.loads((folder / f"ex{number}.gen.cbor").read_bytes())
    found = senml.resolve(records)
    expected = senml.resolve(labelled(load(folder / f"ex{number}.gen.json")))
    assert [reading.name for reading in found] == [reading.name for reading in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.unit, float(ours.value), float(ours.taken_at_s)) == pytest.approx(
            (theirs.unit, float(theirs.value), float(theirs.taken_at_s))
        )
    with pytest.raises(EncodingError):  # floats, and bases of another kind
        senml.check_profile(records, "urn:dev:ow:10e2073a0108006:")


def test_base_fields_hold_until_they_change() -> None:
    pack: list[dict[int, Any]] = [
        {-2: "a/", -3: NOW, -4: "Cel", 0: "x", 2: 1},
        {0: "y", 1: "%RH", 3: "wet", 6: Decimal("0.5")},
        {-3: NOW + 9, -4: "lx", 0: "x", 4: True, 6: -1},
    ]
    senml.check_profile(pack, "a/")
    assert senml.resolve(pack) == [
        senml.Reading("a/x", "Cel", 1, NOW),
        senml.Reading("a/y", "%RH", "wet", NOW + Decimal("0.5")),
        senml.Reading("a/x", "lx", True, NOW + 8),
    ]


def test_decimals_keep_their_digits() -> None:
    reading = senml.resolve([{-2: "a/", 2: Decimal("12.90")}])[0]
    assert str(reading.value) == "12.90"


RIGHT = {-2: "a/", -3: NOW, 0: "x", 2: 1}


@pytest.mark.parametrize(
    ("pack", "reason"),
    [
        ({}, "1 to 256"),
        ([], "1 to 256"),
        ([RIGHT, *[{2: 1}] * 256], "1 to 256"),
        ([1], "not a map"),
        ([{**RIGHT, -1: 10}], "label -1"),
        ([{**RIGHT, -5: 1}], "label -5"),
        ([{**RIGHT, 7: 1}], "label 7"),
        ([{**RIGHT, 8: b""}], "label 8"),
        ([{**RIGHT, "n": "x"}], "label 'n'"),
        ([{-2: "a/"}], "exactly one"),
        ([{**RIGHT, 4: True}], "exactly one"),
        ([{**RIGHT, 2: 1.5}], "not a number"),
        ([{**RIGHT, 2: True}], "not a number"),
        ([{**RIGHT, 2: 1 << 53}], "not a number"),
        ([{**RIGHT, 2: None}], "not a number"),
        ([{**RIGHT, 6: Decimal("0.0001")}], "milliseconds"),
        ([{**RIGHT, 0: b"x"}], "wrong type"),
        ([{**RIGHT, 1: 5}], "wrong type"),
        ([{-2: "a/", 4: 1}], "wrong type"),
        ([{-2: "a/", 3: 1}], "wrong type"),
        ([{2: 1}], "base name"),
        ([RIGHT, {-2: "a/", 2: 1}], "base name"),
        ([{**RIGHT, -2: "b/"}], "base name"),
    ],
)
def test_packs_outside_the_profile_are_refused(pack: Any, reason: str) -> None:
    with pytest.raises(EncodingError, match=reason):
        senml.check_profile(pack, "a/")


@pytest.mark.parametrize("name", ["", "-x", "/x", "x y", "x\n", "ä", "x" * 97])
def test_names_that_rfc_8428_does_not_allow_are_refused(name: str) -> None:
    with pytest.raises(EncodingError, match="name"):
        senml.resolve([{0: name, 2: 1}])
