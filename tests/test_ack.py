"""Acknowledgements, pinned."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark import ack, cose, errors
from earmark.errors import EarmarkError
from pinned import named, vectors

ACKS = vectors("acknowledgement")
KEY = bytes.fromhex(ACKS["key"])


@pytest.mark.parametrize("row", **named(ACKS["valid"]))
def test_acknowledgements(row: dict[str, Any]) -> None:
    found = ack.decode(bytes.fromhex(row["bytes"]), KEY)
    assert (found.kid.hex(), found.checkpoint.decode()) == (row["kid"], row["checkpoint"])
    assert found.time_ms == row["time_ms"]
    assert [list(run) for run in found.runs] == row["runs"]
    assert [list(one) for one in found.refused] == row["refused"]
    assert ack.sign(cose.Signer(bytes.fromhex(ACKS["seed"])), found).hex() == row["bytes"]


@pytest.mark.parametrize("row", **named(ACKS["must_reject"]))
def test_acknowledgements_that_must_be_refused(row: dict[str, str]) -> None:
    with pytest.raises(getattr(errors, row["error"])):
        ack.decode(bytes.fromhex(row["bytes"]), KEY)


@pytest.mark.parametrize(
    ("runs", "refused"),
    [(((1, 1 << 53),), ()), (((0, 1),), ()), ((), ((0, "BrokenChain"),)), ((), ((1 << 53, "BrokenChain"),))],
)
def test_a_seq_that_no_node_can_have_is_refused(runs: Any, refused: Any) -> None:
    signer = cose.Signer(bytes.fromhex(ACKS["seed"]))
    signed = ack.sign(signer, ack.Acknowledgement(bytes(8), runs, refused, b"", 0))
    with pytest.raises(errors.EncodingError, match="not from 1 to"):
        ack.decode(signed, KEY)


@given(st.sampled_from(ACKS["valid"]), st.data())
def test_altered_acknowledgements_raise_only_our_errors(row: dict[str, str], data: st.DataObject) -> None:
    right = bytes.fromhex(row["bytes"])
    altered = bytearray(right)
    at = data.draw(st.integers(0, len(altered)))
    altered[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    try:
        ack.decode(bytes(altered), KEY)
    except EarmarkError:
        return
    assert altered == right
