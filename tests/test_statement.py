"""Statements: the pinned ones, and that nothing in one can be changed."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark import body, cose, errors, statement
from earmark.errors import BadSignature, EarmarkError, EncodingError
from earmark.statement import Clock
from pinned import named, vectors

STATEMENTS = vectors("statement")
RAW = [bytes.fromhex(row["bytes"]) for row in STATEMENTS["valid"]]
SHORT = [raw for raw in RAW if len(raw) < 500]


def python(value: Any) -> Any:
    """The value of a payload's JSON form."""
    if isinstance(value, list):
        return [python(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "bytes" in value:
        return bytes.fromhex(value["bytes"])
    if "fraction" in value:
        exponent, mantissa = value["fraction"]
        return Decimal(mantissa).scaleb(exponent)
    return {int(label): python(item) for label, item in value.items()}


@pytest.mark.parametrize("row", **named(STATEMENTS["valid"]))
def test_valid_statements_decode_to_their_inputs(row: dict[str, Any]) -> None:
    found = statement.decode(bytes.fromhex(row["bytes"]))
    found.verify()
    assert found.key == cose.Signer(bytes.fromhex(row["seed"])).key
    assert (found.sub, found.seq, found.issued_at_s) == (row["sub"], row["seq"], row["issued_at_s"])
    assert (found.prev.hex(), found.entry.hex()) == (row["prev"], row["entry"])
    assert [found.clock.source, found.clock.error_s, found.clock.uptime_s] == row["clock"]
    assert (found.beacon.hex() if found.beacon else None) == row["beacon"]
    assert (found.boot_count, found.software, found.method) == (row["boot_count"], row["software"], row["method"])
    payload = python(row["payload"])
    if found.body is None:
        assert [repr(reading.value) for reading in found.readings] == [repr(value_of(record)) for record in payload]
    else:
        assert (found.body, found.kind) == (payload, payload[0])


def value_of(record: dict[int, Any]) -> Any:
    return next(record[label] for label in (2, 3, 4) if label in record)


@pytest.mark.parametrize("row", [row for row in STATEMENTS["valid"] if row["alg"] == -8], ids=lambda row: row["name"])
def test_sign_gives_the_pinned_bytes(row: dict[str, Any]) -> None:
    raw = statement.sign(
        cose.Signer(bytes.fromhex(row["seed"])),
        row["sub"],
        row["seq"],
        bytes.fromhex(row["prev"]),
        python(row["payload"]),
        issued_at_s=row["issued_at_s"],
        clock=Clock(*row["clock"]),
        beacon=bytes.fromhex(row["beacon"]) if row["beacon"] else None,
        boot_count=row["boot_count"],
        software=row["software"],
        method=row["method"],
    )
    assert raw.hex() == row["bytes"]


@pytest.mark.parametrize("row", **named(STATEMENTS["must_reject"]))
def test_must_reject(row: dict[str, str]) -> None:
    raw = bytes.fromhex(row["bytes"])
    with pytest.raises(getattr(errors, row["error"])) as refusal:
        statement.decode(raw).verify()
    assert type(refusal.value).__name__ == row["error"]
    if row["error"] == "BadSignature":
        statement.decode(raw)


def test_the_envelope_of_a_reading_fits_in_its_budget() -> None:
    raw, payload = RAW[1], statement.decode(RAW[1]).sign1.payload or b""
    assert statement.decode(raw).beacon
    assert len(raw) - len(payload) <= 256


@given(st.sampled_from(SHORT), st.data())
def test_any_changed_byte_is_refused(raw: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(raw) - 1))
    flips = data.draw(st.integers(1, 255))
    with pytest.raises((EncodingError, BadSignature)):
        statement.decode(raw[:at] + bytes([raw[at] ^ flips]) + raw[at + 1 :]).verify()


@pytest.mark.parametrize("bit", range(8))
def test_any_flipped_bit_of_a_reading_is_refused(bit: int) -> None:
    raw = RAW[1]
    for at in range(len(raw)):
        with pytest.raises((EncodingError, BadSignature)):
            statement.decode(raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :]).verify()


@given(st.sampled_from(SHORT), st.data())
def test_altered_statements_raise_only_our_errors(raw: bytes, data: st.DataObject) -> None:
    altered = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(altered)))
        altered[at : at + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=5))
    try:
        statement.decode(bytes(altered)).verify()
    except EarmarkError:
        return
    assert altered == raw


@pytest.mark.parametrize("name", ["a", "0", "house-1", "a" * 32, "a-"])
def test_names(name: str) -> None:
    assert body.check_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "A", "a_b", "a/b", "a" * 33, "a\n", "ä", "٣"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(EncodingError, match="is not a name"):
        body.check_name(name)
    with pytest.raises(EncodingError):
        statement.origin(name, bytes(32))


def test_the_clock_says_what_it_is_worth() -> None:
    assert str(Clock(0, 0, 12)) == "clock unset, 12 s after boot"
    assert str(Clock(2, 3, 12)) == "NTP clock, stated error 3 s"
