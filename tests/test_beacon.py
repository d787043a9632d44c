"""Beacon messages, pinned."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark import beacon, evidence
from earmark.errors import EarmarkError, EncodingError
from pinned import named, vectors

BEACONS = vectors("beacon")
MESSAGES = [bytes.fromhex(row["bytes"]) for row in BEACONS["valid"]]


@pytest.mark.parametrize("row", **named(BEACONS["valid"]))
def test_beacons(row: dict[str, Any]) -> None:
    message = bytes.fromhex(row["bytes"])
    sources = beacon.decode(message)
    assert [[s.chain, s.number, s.hash.hex(), s.time_s] for s in sources] == row["sources"]
    assert (beacon.encode(sources), beacon.nonce(message).hex()) == (message, row["nonce"])
    for source, header in zip(sources, row["evidence"] or [], strict=False):
        evidence.check_source(source, bytes.fromhex(header))


@pytest.mark.parametrize("row", **named(BEACONS["must_reject"]))
def test_beacons_that_must_be_refused(row: dict[str, str]) -> None:
    with pytest.raises(EncodingError):
        beacon.decode(bytes.fromhex(row["bytes"]))


def test_a_long_message_is_refused() -> None:
    with pytest.raises(EncodingError, match="at most 512"):
        beacon.decode(bytes(513))


@given(st.sampled_from(MESSAGES), st.data())
def test_altered_beacons_raise_only_our_errors_or_are_other_beacons(message: bytes, data: st.DataObject) -> None:
    altered = bytearray(message)
    at = data.draw(st.integers(0, len(altered)))
    altered[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    try:
        sources = beacon.decode(bytes(altered))
    except EarmarkError:
        return
    assert beacon.encode(sources) == altered


@pytest.mark.parametrize("text", ["eip155:1", "bip122:000000000019d6689c085ae165831e93", "drand:quick_net-1"])
def test_chain_ids(text: str) -> None:
    assert beacon.is_chain_id(text)


@pytest.mark.parametrize(
    "text", ["", "eip155", "eip155:", ":1", "ei:1", "eip155:1\n", "EIP155:1", "eip155:٣", "a" * 9 + ":1"]
)
def test_chain_ids_that_are_none(text: str) -> None:
    assert not beacon.is_chain_id(text)
