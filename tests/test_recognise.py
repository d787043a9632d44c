"""Recognising the common form: never another answer than decoding gives, always one for what the firmware sends."""

import importlib
import random
import sys
import time
from decimal import Decimal
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark import cbor, cose
from earmark.errors import BadSignature, EncodingError
from earmark.recognise import MOST_RECORDS, recognise
from earmark.statement import MAX_SIZE, NO_ENTRY, Clock, decode, sign
from earmark.verifier import examine
from farm import NOW_S, Signing
from pinned import vectors

PINNED = vectors("statement")
VALID = [bytes.fromhex(row["bytes"]) for row in PINNED["valid"]]
REFUSED = [bytes.fromhex(row["bytes"]) for row in PINNED["must_reject"]]
SIGNER = cose.Signer(b"\3" * 32)
SUB = "greenhouse-1"
PREV = bytes(range(32))
WIDTHS = [0, 23, 24, 255, 256, 65_535, 65_536, (1 << 32) - 1]
BEYOND = [1 << 32, (1 << 53) - 1]


def packed(*values: dict[int, Any], sub: str = SUB, unit: str | None = None, base_s: int = NOW_S) -> list[Any]:
    """A pack of these records, the base fields in the first one."""
    base = {-2: f"{sub}/", -3: base_s} | ({} if unit is None else {-4: unit})
    return [base | values[0], *values[1:]]


def signed(payload: list[Any], sub: str = SUB, seq: int = 2, clock: Clock = Clock(2, 1, 60), **claims: Any) -> bytes:  # noqa: B008 - frozen
    claims = {"issued_at_s": NOW_S, "boot_count": 1, "method": 0} | claims
    return sign(SIGNER, sub, seq, NO_ENTRY if seq == 1 else PREV, payload, clock=clock, **claims)


def resigned(raw: bytes, protected: bytes, payload: bytes | None = None) -> bytes:
    """The statement with another protected header, signed anew."""
    payload = decode(raw).sign1.payload if payload is None else payload
    assert payload is not None
    return cose.encode_sign1(protected, {}, payload, SIGNER.sign(cose.signed_bytes(protected, payload)))


def agrees(raw: bytes) -> bool:
    """Hold recognising against decoding; says whether it was recognised."""
    found = recognise(raw)
    if found is None:
        return False
    statement = decode(raw)
    payload = statement.sign1.payload
    assert payload is not None
    claims, to_verify = found
    assert claims == statement.claims
    assert [type(value) for value in claims] == [type(value) for value in statement.claims]
    assert to_verify == cose.signed_bytes(statement.sign1.protected, payload)
    assert raw[-64:] == statement.sign1.signature
    return True


# what it knows


def test_the_pinned_readings_are_recognised() -> None:
    taken = {row["name"] for row, raw in zip(PINNED["valid"], VALID, strict=True) if agrees(raw)}
    assert taken >= {"one measured reading", "modelled, with a beacon", "replayed, at four times"}


def test_what_the_firmware_signs_is_recognised() -> None:
    """Its own modules, at the path's end as in their own tests, with rows of several sensors at several times."""
    sys.path.append(str(Path(__file__).resolve().parent.parent / "firmware"))
    packs, senml, statement, identity = map(importlib.import_module, ("packs", "senml", "statement", "identity"))
    row = [("air", "Cel", senml.fraction("21.50")), ("air/humidity", "%RH", 63), ("door", None, True)]
    row += [("co2", "ppm", senml.fraction("-4")), ("mode", None, "night")]
    for rows in ([(NOW_S, row)], [(NOW_S + 300 * place, row) for place in range(6)]):
        payload = packs.of_rows("house-1/", rows)
        made = {"content_type": statement.READINGS, "clock": (2, 1, 86_400), "boot_count": 3, "method": 0}
        node = identity.Identity(bytes(range(32)))
        assert agrees(statement.sign(node, "house-1", 2, PREV, payload=payload, iat=NOW_S, beacon=bytes(16), **made))


def test_nothing_that_must_be_rejected_is_taken() -> None:
    for row, raw in zip(PINNED["must_reject"], REFUSED, strict=True):
        if agrees(raw):
            assert row["error"] == "BadSignature", row["name"]
        assert type(examine(raw)[1]).__name__ == row["error"], row["name"]


@pytest.mark.parametrize("records", range(1, 41))
def test_packs_of_every_length_up_to_the_bound(records: int) -> None:
    values = [{0: f"air-{place}", 1: "Cel", 2: Decimal(place).scaleb(-2), 6: place} for place in range(records)]
    assert agrees(signed(packed(*values))) == (records <= MOST_RECORDS)


@pytest.mark.parametrize("value", [{2: 7}, {2: Decimal("-0.05")}, {3: "open"}, {3: ""}, {4: True}, {4: False}])
def test_every_choice_of_optional_fields(value: dict[int, Any]) -> None:
    optional: list[dict[int, Any]] = [{0: "air"}, {1: "Cel"}, {6: 300}]
    choices = [{k: v for field, take in zip(optional, taken, strict=True) if take for k, v in field.items()} | value
               for taken in product((False, True), repeat=3)]  # fmt: skip
    for first, later, unit in product(choices, choices, (None, "%RH")):
        assert agrees(signed(packed(first, later, unit=unit)))


@pytest.mark.parametrize("number", [*WIDTHS, *BEYOND])
def test_numbers_at_each_width(number: int) -> None:
    is_small = number < 1 << 32
    for value in (number, -1 - number, Decimal(number).scaleb(-3), Decimal(-1 - number).scaleb(-18)):
        if abs(value) < 1 << 53 and number < (1 << 53) - 1:
            assert agrees(signed(packed({2: value}))) == is_small
    assert agrees(signed(packed({2: 1, 6: number if is_small else 1 << 40}))) == is_small
    if number:
        assert agrees(signed(packed({2: 1}), seq=number)) == is_small
    assert agrees(signed(packed({2: 1}), issued_at_s=min(number, (1 << 40) - 1))) == is_small
    if is_small:
        assert agrees(signed(packed({2: 1}), boot_count=number, clock=Clock(4, number, number)))


@pytest.mark.parametrize("exponent", range(-18, 0))
def test_every_exponent(exponent: int) -> None:
    assert agrees(signed(packed({2: Decimal((0, (1, 2), exponent))})))


@pytest.mark.parametrize("size", [1, 2, 21, 22, 23, 24, 31, 32])
def test_names_of_every_width(size: int) -> None:
    for sub in ("a" * size, ("0-z9" * 8)[:size]):
        assert agrees(signed(packed({0: "air", 1: "Cel", 2: 1}, sub=sub), sub=sub, beacon=bytes(16)))


@pytest.mark.parametrize("source", [1, 2, 3, 4])
@pytest.mark.parametrize("method", [0, 1, 2])
@pytest.mark.parametrize("beacon", [None, bytes(16), b"\xff" * 16])
def test_every_source_of_time_and_method(source: int, method: int, beacon: bytes | None) -> None:
    assert agrees(signed(packed({2: 1}), clock=Clock(source, 0, 0), method=method, beacon=beacon))


def test_the_coming_algorithm_is_recognised() -> None:
    raw = signed(packed({0: "air", 2: 1}))
    header = decode(raw).sign1.header
    assert agrees(resigned(raw, cbor.encode(header | {cose.ALG: cose.ED25519})))
    assert not agrees(resigned(raw, cbor.encode(header | {cose.ALG: -20})))


def test_what_the_format_lacks_or_only_decoding_knows_is_left_to_it() -> None:
    node = Signing(3, "n1")
    others = [
        node.say({0: "boot", 1: "power", 2: "unix", 3: []}, boot_count=1, software="1.0"),
        signed(packed({2: 1}, base_s=0), clock=Clock(0, 0, 5), issued_at_s=0),
        signed(packed({2: 1, 6: -1})),
        signed(packed({2: 1, 6: Decimal("0.5")})),
        signed(packed({3: "é"})),
        signed(packed({3: "x" * 24})),
        signed(packed({2: 1}, sub="n1"), sub="n1"),  # a payload of fewer than 24 bytes
    ]
    for raw in others:
        assert not agrees(raw)
        assert examine(raw)[1] is None
    wrong = [
        signed(packed({2: 1}), method=None),
        signed(packed({2: 1}), sub="n2"),
        signed(packed({2: 1}, base_s=(1 << 28) - 1)),
        signed(packed({2: 1}, {-2: f"{SUB}/", 2: 1})),
        signed(packed({0: "a b", 2: 1})),
        signed(packed({1: "Cel"})),
        signed(packed({2: 1, 4: True})),
        signed(packed({2: 1})) + b"\0",
        signed(packed({2: 1}))[:-1],
    ]
    for raw in wrong:
        assert not agrees(raw)
        assert isinstance(examine(raw)[1], EncodingError)


def test_a_foreign_kid_or_key_is_left_to_decoding() -> None:
    raw = signed(packed({2: 1}))
    header = decode(raw).sign1.header
    claims = header[cose.CLAIMS]
    strangers = [
        header | {cose.KID: bytes(8)},
        header | {cose.CLAIMS: claims | {1: cose.Signer(b"\4" * 32).did}},
        header | {cose.CLAIMS: claims | {1: SIGNER.did[:-1] + "I"}},  # base58 has no I
        header | {cose.CLAIMS: claims | {1: "did:key:z" + "z" * 47}},
    ]
    for stranger in strangers:
        changed = resigned(raw, cbor.encode(stranger))
        assert not agrees(changed)
        assert isinstance(examine(changed)[1], EncodingError)


def test_nothing_recognised_can_be_beyond_the_largest_size() -> None:
    """The longest record there is, as often as there may be one: so nobody has to look at the size."""
    longest = {0: "n" * 23, 1: "u" * 23, 3: "t" * 23, 6: 1 << 31}
    most = {"beacon": bytes(16), "seq": (1 << 32) - 1, "boot_count": (1 << 32) - 1, "method": 2}
    clock = Clock(4, (1 << 32) - 1, (1 << 32) - 1)
    records = [longest] * MOST_RECORDS
    raw = signed(packed(*records, sub="s" * 32, unit="b" * 23), sub="s" * 32, clock=clock, **most)
    assert agrees(raw)
    assert len(raw) < MAX_SIZE
    assert not agrees(signed(packed(*records * 8)))


# signatures


def test_a_wrong_signature_is_refused_on_either_way() -> None:
    fast, slow = signed(packed({0: "air", 2: 1})), signed(packed({0: "air", 2: 1 << 40}))
    assert recognise(fast) and not recognise(slow)
    other = signed(packed({0: "air", 2: 2}))[-64:]
    for raw in (fast, slow):
        assert examine(raw) == (decode(raw).claims, None)
        small_order = b"\1" + bytes(63)
        for signature in (other, bytes(64), small_order, raw[-64:-1] + bytes([raw[-1] ^ 0x80])):
            claims, error = examine(raw[:-64] + signature)
            assert claims is not None and claims.key == SIGNER.key
            assert type(error) is BadSignature


# hostile bytes


MUTATED = [VALID[1], signed(packed({0: "air", 1: "Cel", 2: Decimal("21.50")}, {2: 300, 6: 10}, {4: True}, unit="%"))]


@pytest.mark.parametrize("raw", MUTATED)
def test_every_change_of_one_byte(raw: bytes) -> None:
    """All 255 others at every place before the signature: some are statements still, none is another to the two."""
    taken = 0
    for at in range(len(raw) - 64):
        for octet in range(256):
            taken += octet != raw[at] and agrees(raw[:at] + bytes([octet]) + raw[at + 1 :])
    assert taken > 1000  # another beacon, another value: this test sees what it is to judge


def test_splices_of_statements() -> None:
    draw = random.Random(1)
    rich = [{0: "a", 1: "b", 2: 1, 6: 2}, {3: "abc"}, {0: "x-1", 4: False}, {2: Decimal("0.1"), 6: 1}]
    pool = MUTATED + [signed(packed(*draw.choices(rich, k=draw.randint(1, 6)), unit=draw.choice([None, "u"])))
                      for _ in range(20)]  # fmt: skip
    for _ in range(20_000):
        one, other = draw.choice(pool), draw.choice(pool)
        at, end = sorted((draw.randrange(len(one)), draw.randrange(len(one))))
        start = draw.choice((at, draw.randrange(len(other))))
        agrees(one[:at] + other[start : start + draw.choice((end - at, draw.randrange(40)))] + one[end:])


def test_payloads_changed_under_lengths_that_fit() -> None:
    """Mutated packs with the lengths around them made right, so that only the pack's own grammar is in question."""
    draw = random.Random(2)
    taken = 0
    for base in MUTATED:
        protected, payload = decode(base).sign1.protected, decode(base).sign1.payload
        assert payload is not None
        for _ in range(10_000):
            bent = bytearray(payload)
            for _ in range(draw.randint(1, 3)):
                at = draw.randrange(len(bent))
                bent[at : at + draw.randrange(3)] = draw.choice(
                    (
                        b"",
                        draw.randbytes(1),
                        b"\x01\x61m",
                        b"\x06\x05",
                        b"\xa2",
                        b"\xa1\x02\x01",
                        b"\x81",
                        b"\x82",
                        b"\x23\x60",
                    )
                )
            taken += agrees(cose.encode_sign1(protected, {}, bytes(bent), bytes(64)))
    assert taken > 100


@given(st.binary(max_size=400))
def test_bytes_of_any_kind(raw: bytes) -> None:
    assert not agrees(raw)


def test_hostile_input_costs_time_in_proportion_to_its_length() -> None:
    head = signed(packed({0: "air", 2: 1}))
    start = head.index(b"\x81\xa4")
    pieces = [b"\xa2\x00\x60\x02\x00", b"\xa1\x02\x00", b"\xa2\x02\x00\x06\x00", b"\xa3\x00\x61a\x01\x61b\x02\x00"]
    pieces += [b"\xa4\x00\x60\x01\x60\x02\x00\x06\x00", b"\xa2\x03\x77" + b"a" * 23, b"\x01", b"\x00" * 7, b"a"]
    first = head[start + 1 : -66]
    hostile = [b"\xd2\x84" * 4096, b"\xd2\x84\x58" + b"a" * 8000, head * 20]
    for piece, count in product(pieces, (b"\x81", b"\x97", b"\x98\x20")):
        pack = (count + first + piece * 8192)[: MAX_SIZE - start]
        hostile.append(head[: start - 2] + b"\x59" + len(pack).to_bytes(2, "big") + pack + b"\x58\x40" + bytes(64))
        whole = count + first + piece * (count[-1] - 0x81 if len(count) == 1 else 31)
        hostile.append(head[: start - 2] + cbor.encode(whole[:-1] + b"\xff") + b"\x58\x40" + bytes(64))
    for raw in hostile:
        recognise(raw)
        times = []
        for _ in range(3):
            began_s = time.perf_counter()
            found = recognise(raw)
            times.append(time.perf_counter() - began_s)
        assert found is None or agrees(raw)
        assert min(times) < 0.05


def test_the_parts_of_the_pattern_take_no_bytes_in_two_ways() -> None:
    """Twice the records, about twice the time: nothing is tried again."""
    spans = []
    for records in (8, 16, 32):
        raw = signed(packed(*[{0: "n", 1: "u", 3: "t", 6: 1} for _ in range(records)]))
        broken = raw[:-67] + b"\xff" + raw[-66:]
        assert recognise(raw) and not recognise(broken)
        began_s = time.perf_counter()
        for _ in range(300):
            recognise(broken)
        spans.append(time.perf_counter() - began_s)
    assert all(later < 20 * sooner for sooner, later in pairwise(spans))
