"""Deterministic CBOR against RFC 8949's appendix A, an independent writer, and whatever bytes come."""

import json
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark import cbor
from earmark.errors import EncodingError

# Appendix A's examples that JSON cannot show, and that the profile admits.
BEYOND_JSON = {"40": b"", "4401020304": b"\1\2\3\4", "a201020304": {1: 2, 3: 4}}

integers = st.integers(-(1 << 64), (1 << 64) - 1)
mantissas = st.integers(1 - (1 << 53), (1 << 53) - 1)
fractions = st.builds(lambda m, e: Decimal(m).scaleb(e), mantissas, st.integers(-18, -1))
texts = st.text(st.characters(exclude_categories=["Cs"]))
scalars = integers | fractions | texts | st.binary() | st.booleans() | st.none()
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner) | st.dictionaries(integers | texts, inner) | st.builds(cbor2.CBORTag, st.just(18), inner)
    ),
    max_leaves=20,
)


def written(value: Any) -> bytes:
    """The deterministic encoding as RFC 8949 §4.2.1 words it."""
    if isinstance(value, bool) or value is None:
        return {False: b"\xf4", True: b"\xf5", None: b"\xf6"}[value]
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        return _head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return _head(4, len(value)) + b"".join(map(written, value))
    if isinstance(value, dict):
        rows = sorted((written(key), written(item)) for key, item in value.items())
        return _head(5, len(rows)) + b"".join(key + item for key, item in rows)
    if isinstance(value, Decimal):
        sign, digits, exponent = value.as_tuple()
        mantissa = int("".join(map(str, digits)))
        return b"\xc4\x82" + written(exponent) + written(-mantissa if sign else mantissa)
    return b"\xd2" + written(value.value)


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    extra = next(n for n in range(4) if number < 1 << (8 << n))
    return bytes([major << 5 | 24 + extra]) + number.to_bytes(1 << extra, "big")


def depth(value: Any) -> int:
    if isinstance(value, list | dict):
        items = value.values() if isinstance(value, dict) else value
        return 1 + max(map(depth, items), default=0)
    return 1 + depth(value.value) if isinstance(value, cbor2.CBORTag) else 0


def is_in_profile(value: Any) -> bool:
    """Say whether a value of appendix A, read from JSON, is one that the protocol admits."""
    if isinstance(value, list | dict):
        return all(map(is_in_profile, value.values() if isinstance(value, dict) else value))
    if isinstance(value, float):
        return False
    return not isinstance(value, int) or -(1 << 64) <= value < 1 << 64


def test_appendix_a(shared: Path) -> None:
    cases = json.loads((shared / "vectors/cbor/appendix_a.json").read_text())
    accepted = 0
    for case in cases:
        encoded = bytes.fromhex(case["hex"])
        admitted = case["roundtrip"] and "decoded" in case and is_in_profile(case["decoded"])
        if admitted or case["hex"] in BEYOND_JSON:
            value = cbor.decode(encoded)
            assert value == case.get("decoded", BEYOND_JSON.get(case["hex"])), case
            assert cbor.encode(value) == encoded
            accepted += 1
        else:
            with pytest.raises(EncodingError):
                cbor.decode(encoded)
    assert (accepted, len(cases)) == (37, 82)


@given(values)
def test_decode_reads_what_is_written(value: Any) -> None:
    encoded = written(value)
    if depth(value) > cbor.MAX_DEPTH:
        with pytest.raises(EncodingError, match="deep"):
            cbor.decode(encoded)
    else:
        found = cbor.decode(encoded)
        assert written(found) == encoded
        assert repr(found) == repr(cbor2.loads(encoded))


@given(values)
def test_encode_writes_the_same_where_both_key_orders_agree(value: Any) -> None:
    encoded = cbor.encode(value)
    if encoded == written(value):
        assert cbor2.loads(encoded) == value
    else:
        assert "{" in repr(value)


@given(st.lists(scalars) | st.dictionaries(st.integers(0, 1 << 63), scalars) | st.dictionaries(texts, scalars))
def test_encode_is_deterministic(value: Any) -> None:
    assert cbor.encode(value) == written(value)


@given(st.binary(max_size=64))
def test_any_bytes_are_refused_or_are_the_encoding_of_their_value(encoded: bytes) -> None:
    try:
        value = cbor.decode(encoded)
    except EncodingError:
        return
    assert written(value) == encoded


@given(values, st.data())
def test_altered_encodings_are_refused_or_are_the_encoding_of_their_value(value: Any, data: st.DataObject) -> None:
    encoded = bytearray(written(value))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    try:
        found = cbor.decode(bytes(encoded))
    except EncodingError:
        return
    assert written(found) == encoded


def shared_references(levels: int, width: int) -> bytes:
    """An array whose items refer to the item before `width` times over: `width` ** `levels` values in few bytes."""
    items = [b"\xd8\x1c\x81\x00"]
    for level in range(levels):
        items.append(b"\xd8\x1c\x98" + bytes([width]) + (b"\xd8\x1d" + bytes([level])) * width)
    return bytes([0x80 + len(items)]) + b"".join(items)


@pytest.mark.parametrize(
    "encoded",
    [
        shared_references(6, 200),
        b"\xc4\x82\x20\xc2\x5a\x00\x20\x00\x00" + b"\xff" * (1 << 21),
        b"\xc4\x82\x3a\x7f\xff\xff\xff\x01",
        b"\xc5\x82\x1a\x7f\xff\xff\xff\x03",
        b"\xd8\x23\x79\x07\xd0" + b"(" * 1000 + b")" * 1000,
        b"\x9b\x00\x00\x00\xff\xff\xff\xff\xff",
        b"\x5b\x00\x00\x00\xff\xff\xff\xff\xff",
        b"\xbb\x00\x00\x00\xff\xff\xff\xff\xff",
        b"\x81" * 10_000_000,
        b"\xd2" * 10_000_000,
        b"\xa1" * 10_000_000,
        b"\xa1\x00" * 5_000_000,
    ],
    ids=[
        "references",
        "bignum",
        "exponent",
        "bigfloat",
        "regex",
        "array",
        "bytes",
        "map",
        "arrays",
        "tags",
        "keys",
        "maps",
    ],
)
def test_bytes_that_ask_for_more_than_they_are_cost_nothing(encoded: bytes) -> None:
    began = time.process_time()
    with pytest.raises(EncodingError):
        cbor.decode(encoded)
    assert time.process_time() - began < 0.5
