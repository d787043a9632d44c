"""The firmware's encodings on CPython, against cbor2, pycose, cwt and the gateway's own reader."""

import importlib
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import cbor2
import cwt
import pytest
from cwt import COSE, COSEKey
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey
from pycose.keys import OKPKey
from pycose.messages import Sign1Message

import earmark.cbor
import earmark.senml
import earmark.statement
from earmark.errors import EncodingError

# At the end of the path: no name of the firmware's may hide a library's.
sys.path.append(str(Path(__file__).resolve().parent.parent / "firmware"))
cbor, senml, statement, identity = map(importlib.import_module, ("cbor", "senml", "statement", "identity"))

integers = st.integers(-(2**64), 2**64 - 1)
small = st.integers(-(2**53) + 1, 2**53 - 1)
fractions = st.builds(cbor.Fraction, st.integers(-18, -1), small)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
scalars = integers | st.booleans() | st.none() | st.binary(max_size=300) | texts | fractions
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(integers | texts, inner, max_size=30),
    max_leaves=40,
)
SEED = bytes(range(32))


def as_cbor2(value: Any) -> Any:
    """The value with its fractions as cbor2 has them."""
    if isinstance(value, cbor.Fraction):
        return cbor2.CBORTag(4, [value.e, value.m])
    if isinstance(value, list):
        return [as_cbor2(item) for item in value]
    if isinstance(value, dict):
        return {key: as_cbor2(item) for key, item in value.items()}
    return value


def decoded(read: Any, encoded: bytes) -> bool:
    try:
        read(encoded)
    except (ValueError, EncodingError):
        return False
    return True


@given(values)
def test_encoding_is_canonical_cbor2(value: Any) -> None:
    encoded = cbor.encode(value)
    # cbor2 orders keys by length first; docs/protocol.md §1 has both orders agree, and so does a re-encoding here.
    assume(not has_mixed_keys(value))
    assert encoded == cbor2.dumps(as_cbor2(value), canonical=True)


@given(values)
def test_decoding_gives_the_value_back(value: Any) -> None:
    found = cbor.decode(cbor.encode(value))
    assert found == value
    assert repr(found) == repr(value) or isinstance(value, dict | list)


def has_mixed_keys(value: Any) -> bool:
    """Whether RFC 8949's two key orders differ somewhere in the value."""
    if isinstance(value, list):
        return any(map(has_mixed_keys, value))
    if not isinstance(value, dict):
        return False
    keys = [cbor.encode(key) for key in value]
    return sorted(keys) != sorted(keys, key=lambda key: (len(key), key)) or any(map(has_mixed_keys, value.values()))


@given(st.binary(max_size=40))
@settings(max_examples=1000)
def test_any_bytes_are_refused_or_deterministic(encoded: bytes) -> None:
    try:
        value = cbor.decode(encoded)
    except ValueError:
        return
    assert cbor.encode(value) == encoded


@given(values, st.integers(0, 10_000), st.integers(0, 255))
@settings(max_examples=500)
def test_accepts_what_the_gateway_accepts(value: Any, place: int, octet: int) -> None:
    assume(not has_mixed_keys(value))
    encoded = bytearray(cbor.encode(value))
    assert decoded(cbor.decode, bytes(encoded)) == decoded(earmark.cbor.decode, bytes(encoded))
    encoded[place % len(encoded)] = octet
    mine, theirs = decoded(cbor.decode, bytes(encoded)), decoded(earmark.cbor.decode, bytes(encoded))
    assert mine == theirs or has_mixed_keys(cbor.decode(bytes(encoded)))


readings = st.tuples(
    st.text("abcXYZ019-:._/", max_size=20),
    st.none() | st.sampled_from(["Cel", "%RH", "W/m2"]),
    small | fractions | texts | st.booleans(),
    st.integers(-1000, 1000) | st.builds(cbor.Fraction, st.integers(-3, -1), st.integers(-1000, 1000)),
)


def number(value: Any) -> Any:
    return Decimal(value.m).scaleb(value.e) if isinstance(value, cbor.Fraction) else value


@given(st.lists(readings, min_size=1, max_size=30))
def test_pack_is_what_the_gateway_resolves(taken: list[tuple[Any, ...]]) -> None:
    records = earmark.cbor.decode(senml.pack("house-1/", 1_767_225_600, taken))
    earmark.senml.check_profile(records, "house-1/")
    found = earmark.senml.resolve(records)
    for reading, (name, unit, value, time) in zip(found, taken, strict=True):
        assert (reading.name, reading.unit) == ("house-1/" + name, unit or "")
        assert reading.value == number(value)
        assert type(reading.value) is type(number(value))
        assert reading.taken_at_s == 1_767_225_600 + number(time)


@given(st.decimals(-(10**9), 10**9, places=3) | st.decimals(0, 1, places=18) | st.integers(-(10**15), 10**15))
def test_decimal_text_keeps_its_digits(value: Decimal | int) -> None:
    text = f"{value:f}" if isinstance(value, Decimal) else str(value)
    exact = Decimal(text) + 0  # a zero has no sign
    assume(abs(int("".join(map(str, exact.as_tuple().digits)))) < 2**53)
    carried = earmark.cbor.decode(cbor.encode(senml.fraction(text)))
    assert Decimal(carried).as_tuple() == exact.as_tuple()
    assert isinstance(carried, int) == ("." not in text)


@given(
    seq=st.integers(2, 2**53 - 1),
    iat=st.integers(2**28, 2**40 - 1),
    clock=st.tuples(st.integers(1, 4), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
    boot_count=st.integers(0, 2**32 - 1),
    beacon=st.none() | st.binary(min_size=16, max_size=16),
    method=st.integers(0, 2),
    seed=st.binary(min_size=32, max_size=32),
)
@settings(max_examples=40, deadline=None)
def test_statement_is_what_the_gateway_reads(seed: bytes, **claims: Any) -> None:
    signer = identity.Identity(seed)
    payload = senml.pack("house-1/", claims["iat"], [("t", "Cel", cbor.Fraction(-2, 1290))])
    prev = bytes([7]) * 32
    signed = statement.sign(signer, "house-1", prev=prev, content_type=112, payload=payload, **claims)
    found = earmark.statement.decode(signed)
    found.verify()
    assert (found.key, found.sub, found.kind, found.prev) == (signer.key, "house-1", "readings", prev)
    assert (found.seq, found.issued_at_s, found.boot_count) == (claims["seq"], claims["iat"], claims["boot_count"])
    assert (found.beacon, found.method) == (claims["beacon"], claims["method"])
    assert (found.clock.source, found.clock.error_s, found.clock.uptime_s) == claims["clock"]
    assert statement.entry(signed) == found.entry
    assert signer.key == bytes(SigningKey(seed).verify_key)


def test_statement_of_an_unset_clock() -> None:
    payload = senml.pack("house-1/", 0, [("t", None, 1)])
    clock = statement.Clock(statement.UNSET, 0, 5)
    made = statement.sign(identity.Identity(SEED), "house-1", 1, bytes(32), 112, payload, 0, clock, 3, None, None, 0)
    found = earmark.statement.decode(made)
    assert (found.issued_at_s, [reading.taken_at_s for reading in found.readings]) == (0, [0])


@pytest.fixture(scope="module")
def signed() -> bytes:
    """A statement of the firmware's by the key of `SEED`."""
    signer = identity.Identity(SEED)
    payload = senml.pack("house-1/", 1_767_225_600, [("t", "Cel", cbor.Fraction(-2, 1290))])
    clock = statement.Clock(statement.NTP, 2, 60)
    return statement.sign(signer, "house-1", 1, bytes(32), 112, payload, 1_767_225_600, clock, 3, bytes(16), None, 0)


def test_cbor2_reads_a_statement(signed: bytes) -> None:
    tagged = cbor2.loads(signed)
    protected, unprotected, payload, signature = tagged.value
    assert (tagged.tag, unprotected) == (18, {})
    header = cbor2.loads(protected)
    assert (header[1], header[3], header[15][2], header[15][-65537]) == (-8, 112, "house-1", [1, bytes(32)])
    assert cbor2.loads(payload) == [{-2: "house-1/", -3: 1_767_225_600, 0: "t", 1: "Cel", 2: Decimal("12.90")}]
    to_be_signed = cbor2.dumps(["Signature1", protected, b"", payload])
    SigningKey(SEED).verify_key.verify(to_be_signed, signature)


def test_pycose_verifies_a_statement(signed: bytes) -> None:
    key = OKPKey(crv="ED25519", x=identity.Identity(SEED).key)
    message = Sign1Message.decode(signed)
    message.key = key
    assert message.verify_signature()
    altered = Sign1Message.decode(signed[:-1] + bytes([signed[-1] ^ 1]))
    altered.key = key
    assert not altered.verify_signature()


def test_cwt_verifies_a_statement(signed: bytes) -> None:
    signer = identity.Identity(SEED)
    key = COSEKey.new({1: 1, -1: 6, -2: signer.key, 2: signer.kid, 3: -8, 4: [2]})
    payload = COSE.new().decode(signed, key)
    records = payload if isinstance(payload, list) else cbor2.loads(payload)
    assert records[0][-2] == "house-1/"
    with pytest.raises(cwt.VerifyError):
        COSE.new().decode(signed[:-1] + bytes([signed[-1] ^ 1]), key)
