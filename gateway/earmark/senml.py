"""SenML packs (RFC 8428): resolve base fields into readings, docs/protocol.md §3.1.

`resolve` takes records with CBOR labels and any number type; the profile of a statement (no floats,
few labels, bounds) is checked by `check_profile` beforehand.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from earmark.cbor import MAX_MAGNITUDE
from earmark.errors import EncodingError

BASE_NAME, BASE_TIME, BASE_UNIT = -2, -3, -4
NAME, UNIT, VALUE, TEXT, BOOL, TIME = 0, 1, 2, 3, 4, 6
VALUES = (VALUE, TEXT, BOOL)
ABSOLUTE_FROM = 1 << 28
MAX_RECORDS = 256
MAX_NAME = 96

Number = int | float | Decimal

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-:./_]*")
_STRINGS = (BASE_NAME, BASE_UNIT, NAME, UNIT, TEXT)
_NUMBERS = (BASE_TIME, VALUE, TIME)
_PROFILE = {*_STRINGS, *_NUMBERS, BOOL}


@dataclass(frozen=True, slots=True)
class Reading:
    """One resolved record: `taken_at_s` is Unix seconds, 0 where the signer's clock was unset."""

    name: str
    unit: str
    value: Number | str | bool
    taken_at_s: Number


def check_profile(records: Any, base_name: str) -> None:
    """Raise `EncodingError` unless decoded CBOR is a pack as a statement may carry it (§3.1)."""
    if type(records) is not list or not 1 <= len(records) <= MAX_RECORDS:
        raise EncodingError(f"a SenML pack has 1 to {MAX_RECORDS} records")
    for place, record in enumerate(records):
        if type(record) is not dict:
            raise EncodingError(f"SenML record {place} is not a map")
        for label, value in record.items():
            _check_field(place, label, value)
        if sum(label in record for label in VALUES) != 1:
            raise EncodingError(f"SenML record {place} has not exactly one of the values 2, 3 and 4")
        if (BASE_NAME in record) != (place == 0):
            raise EncodingError("the base name stands in the first SenML record and nowhere else")
    if records[0][BASE_NAME] != base_name:
        raise EncodingError(f"SenML base name {records[0][BASE_NAME][:60]!r}; this signer's is {base_name!r}")


def _check_field(place: int, label: Any, value: Any) -> None:
    if label not in _PROFILE:
        raise EncodingError(f"SenML record {place} has the label {label!r}, which has no place in a statement")
    if type(value) is not (bool if label == BOOL else str) and label not in _NUMBERS:
        raise EncodingError(f"SenML record {place}, label {label}: a value of the wrong type")
    if label in _NUMBERS:
        if type(value) not in (int, Decimal) or abs(value) >= MAX_MAGNITUDE:
            raise EncodingError(f"SenML record {place}, label {label}: not a number of magnitude below 2^53")
        if label != VALUE and isinstance(value, Decimal) and value.as_tuple().exponent < -3:  # type: ignore[operator]
            raise EncodingError(f"SenML record {place}, label {label}: a time finer than milliseconds")


def resolve(records: Sequence[dict[int, Any]]) -> list[Reading]:
    """Return the readings of a pack, base fields applied (RFC 8428 §4.6); `EncodingError` where they do not resolve."""
    base: dict[int, Any] = {BASE_NAME: "", BASE_TIME: 0, BASE_UNIT: ""}
    readings = []
    for place, record in enumerate(records):
        base.update({label: record[label] for label in base if label in record})
        name = base[BASE_NAME] + record.get(NAME, "")
        if len(name) > MAX_NAME or not _NAME.fullmatch(name):
            raise EncodingError(f"SenML record {place}: {name[:100]!r} is not a name that RFC 8428 allows")
        unit, time = record.get(UNIT, base[BASE_UNIT]), base[BASE_TIME] + record.get(TIME, 0)
        readings += [Reading(name, unit, record[label], time) for label in VALUES if label in record]
    return readings
