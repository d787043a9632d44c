"""Headers, checkpoints and receipts: pinned, and nothing in them can be changed."""

import base64
from dataclasses import replace
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark import block, cose, errors, merkle
from earmark.errors import BadSignature, EarmarkError, EncodingError, ProofError
from pinned import named, vectors

HEADERS, CHECKPOINTS, RECEIPTS = vectors("header"), vectors("checkpoint"), vectors("receipt")
TEXT = CHECKPOINTS["valid"][0]["text"].encode()
ORIGIN, KEY = CHECKPOINTS["valid"][0]["origin"], bytes.fromhex(CHECKPOINTS["valid"][0]["key"])
HEADER = block.decode_header(bytes.fromhex(CHECKPOINTS["valid"][0]["header"]))


@pytest.mark.parametrize("row", HEADERS["valid"], ids=lambda row: row["height"])
def test_headers(row: dict[str, Any]) -> None:
    header = block.decode_header(bytes.fromhex(row["bytes"]))
    assert header == block.Header(
        block.origin_hash(row["origin"]),
        row["height"],
        row["size"],
        row["sealed_at_ms"],
        *(bytes.fromhex(row[name]) for name in ("prev", "root", "registry", "beacon")),
    )
    assert (header.encode().hex(), header.hash.hex()) == (row["bytes"], row["hash"])
    assert row["bytes"].find(row["root"]) == 2 * 96


@pytest.mark.parametrize("row", **named(HEADERS["must_reject"]))
def test_headers_that_must_be_refused(row: dict[str, str]) -> None:
    with pytest.raises(EncodingError):
        block.decode_header(bytes.fromhex(row["bytes"]))


def test_the_checkpoint_is_a_signed_note() -> None:
    checkpoint = block.decode_checkpoint(TEXT)
    checkpoint.verify(ORIGIN, KEY)
    block.check_block(HEADER, checkpoint)
    text, _, signatures = TEXT.partition(b"\n\n")
    assert text.split(b"\n")[:3] == [ORIGIN.encode(), b"%d" % HEADER.size, base64.b64encode(HEADER.root)]
    blob = base64.b64decode(signatures.split(b" ")[-1])
    assert len(blob) == 68
    cose.verify(KEY, text + b"\n", blob[4:])


@pytest.mark.parametrize("row", **named(CHECKPOINTS["must_reject"]))
def test_checkpoints_that_must_be_refused(row: dict[str, str]) -> None:
    with pytest.raises(getattr(errors, row["error"])):
        block.decode_checkpoint(row["text"].encode()).verify(ORIGIN, KEY)


@pytest.mark.parametrize("bit", range(8))
def test_any_flipped_bit_of_a_checkpoint_is_refused(bit: int) -> None:
    for at in range(len(TEXT)):
        with pytest.raises((EncodingError, BadSignature)):
            block.decode_checkpoint(TEXT[:at] + bytes([TEXT[at] ^ 1 << bit]) + TEXT[at + 1 :]).verify(ORIGIN, KEY)


@given(st.data())
def test_altered_checkpoints_raise_only_our_errors(data: st.DataObject) -> None:
    altered = bytearray(TEXT)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(altered)))
        altered[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=4) | st.just(b"\n\n"))
    try:
        block.decode_checkpoint(bytes(altered)).verify(ORIGIN, KEY)
    except EarmarkError:
        return
    assert altered == TEXT


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"origin_hash": bytes(32)}, "origin"),
        ({"size": HEADER.size + 1}, "tree size"),
        ({"root": bytes(32)}, "root"),
        ({"height": 8}, "height"),
        ({"sealed_at_ms": 1}, "hash"),
        ({"prev": bytes(32)}, "hash"),
        ({"beacon": bytes(16)}, "hash"),
    ],
)
def test_a_header_must_be_the_checkpoints(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(ProofError, match=f"header's {what} is not"):
        block.check_block(replace(HEADER, **changes), block.decode_checkpoint(TEXT))


@pytest.mark.parametrize("row", RECEIPTS["valid"], ids=lambda row: row["index"])
def test_receipts(row: dict[str, Any]) -> None:
    key, root = bytes.fromhex(RECEIPTS["key"]), bytes.fromhex(RECEIPTS["root"])
    signature, path = bytes.fromhex(RECEIPTS["signature"]), [bytes.fromhex(node) for node in row["path"]]
    encoded = block.encode_receipt(key, ORIGIN, signature, row["size"], row["index"], path)
    assert encoded.hex() == row["bytes"]
    receipt = cbor2.loads(encoded).value
    assert cbor2.loads(receipt[0])[395] == 1
    size, index, hashes = cbor2.loads(receipt[1][396][-1][0])
    leaf = merkle.leaf_hash(bytes.fromhex(row["entry"]))
    merkle.check_inclusion(leaf, index, size, hashes, root)
    cose.decode_sign1(encoded).verify(key, root)
    block.verify_receipt(key, ORIGIN, root, signature)


def test_a_receipt_signature_is_for_one_root_and_one_log() -> None:
    key, root = bytes.fromhex(RECEIPTS["key"]), bytes.fromhex(RECEIPTS["root"])
    signature = bytes.fromhex(RECEIPTS["signature"])
    for wrong in ((key, ORIGIN, bytes(32)), (key, ORIGIN + "0", root), (bytes(32), ORIGIN, root)):
        with pytest.raises(BadSignature):
            block.verify_receipt(*wrong, signature)
