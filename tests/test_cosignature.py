"""Cosignatures, verifier keys and notes: the pinned ones, and whatever else comes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark import cose, cosignature, errors, note
from earmark.cosignature import Cosignature
from earmark.errors import BadSignature, EarmarkError, EncodingError
from earmark.note import COSIGNATURE, ED25519, VerifierKey, decode_verifier_key
from pinned import named, vectors

VECTORS = vectors("cosignature")
WITNESS = decode_verifier_key(VECTORS["vkey"], COSIGNATURE)
SIGNER = cose.Signer(bytes.fromhex(VECTORS["seed"]))
ONE: bytes = VECTORS["valid"][0]["text"].encode()
TEXT = ONE[: ONE.index(b"\n\n") + 1]


@pytest.mark.parametrize("row", **named(VECTORS["valid"]))
def test_cosignatures(row: dict[str, Any]) -> None:
    signed, found = cosignature.split(row["text"].encode())
    told = [{"name": each.name, "key_id": each.key_id.hex(), "time_s": each.time_s} for each in found]
    assert told == row["cosignatures"]
    assert cosignature.join(signed, reversed(found)) == row["text"].encode()
    for each in found:
        if each.is_by(WITNESS):
            each.verify(WITNESS, TEXT)
            assert each == cosignature.cosign(SIGNER, WITNESS.name, TEXT, each.time_s)


@pytest.mark.parametrize("row", **named(VECTORS["must_reject"]))
def test_cosignatures_that_must_be_refused(row: dict[str, str]) -> None:
    def read() -> None:
        for each in cosignature.split(row["text"].encode())[1]:
            each.verify(WITNESS, TEXT)

    with pytest.raises(getattr(errors, row["error"])):
        read()


def test_lines_that_are_no_text_are_refused() -> None:
    with pytest.raises(EncodingError):
        cosignature.split(ONE.replace(b"witness", b"\xff"))


@pytest.mark.parametrize("row", **named(VECTORS["refused_keys"]))
def test_verifier_keys_that_must_be_refused(row: dict[str, str]) -> None:
    with pytest.raises(EncodingError):
        decode_verifier_key(row["vkey"], COSIGNATURE)


def test_verifier_keys_encode_to_what_they_were() -> None:
    for text, kind in ((VECTORS["vkey"], COSIGNATURE), (VECTORS["neighbour"], COSIGNATURE), (VECTORS["log"], ED25519)):
        assert decode_verifier_key(text, kind).encode() == text


def test_the_specification_s_example_is_a_note_by_its_key() -> None:
    key = decode_verifier_key("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", ED25519)
    line = (
        "example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
    )
    found = note.decode_note(f"This is an example message.\n\n\u2014 {line}\n".encode())
    [(name, octets)] = found.signatures
    assert (name, octets[:4]) == (key.name, key.id)
    cose.verify(key.key, found.text, octets[4:])


def test_a_text_with_empty_lines_ends_at_the_last_one() -> None:
    found = note.decode_note("a\n\nb\n\n\u2014 x AAAAAAA=\n".encode())
    assert found == note.Note(b"a\n\nb\n", (("x", bytes(5)),))


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"a\n",
        b"a\n\n",
        b"a\r\n\n\xe2\x80\x94 x AAAAAAA=\n",
        b"a\n\n\xe2\x80\x94 x AAAAAAA=",
        b"a\n\n\xe2\x80\x94 x AAAA\n",
        b"a\n\n\xe2\x80\x94  AAAAAAA=\n",
        b"a\n\n\xe2\x80\x94 x y AAAAAAA=\n",
        b"a\n\n\xe2\x80\x94 x+y AAAAAAA=\n",
        b"a\n\n" + b"\xe2\x80\x94 x AAAAAAA=\n" * 33,
    ],
)
def test_notes_that_are_none(octets: bytes) -> None:
    with pytest.raises(EncodingError):
        note.decode_note(octets)


def test_one_key_under_two_names_is_two_witnesses() -> None:
    other = VerifierKey(WITNESS.name + "2", COSIGNATURE, WITNESS.key)
    found = cosignature.cosign(SIGNER, WITNESS.name, TEXT, 5)
    with pytest.raises(BadSignature):
        found.verify(other, TEXT)


def test_a_witness_own_line_is_found_among_others() -> None:
    own = cosignature.cosign(SIGNER, WITNESS.name, TEXT, 5)
    other = note.encode_line("other.example", b"\0\1\2\3" + bytes(2428))
    assert cosignature.find(other + own.encode(), WITNESS) == own
    assert cosignature.find(other, WITNESS) is None
    with pytest.raises(EncodingError):
        cosignature.find(note.encode_line(WITNESS.name, WITNESS.id + bytes(64)), WITNESS)
    with pytest.raises(EncodingError):
        cosignature.find("", WITNESS)


def test_join_keeps_to_what_a_file_may_hold() -> None:
    many = [Cosignature(f"w{number:02}", bytes(4), 1, bytes(64)) for number in range(40)]
    assert len(cosignature.split(cosignature.join(ONE.split(b"\n\xe2\x80\x94 wit")[0] + b"\n", many))[1]) == 16


@given(st.data())
def test_altered_lines_raise_only_our_errors(data: st.DataObject) -> None:
    altered = bytearray(ONE)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(altered)))
        altered[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=4) | st.just(b"\n\n"))
    try:
        signed, found = cosignature.split(bytes(altered))
        [each.verify(WITNESS, TEXT) for each in found]
    except EarmarkError:
        return
    assert cosignature.join(signed, found) == altered
