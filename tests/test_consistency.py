"""Consistency files: the pinned ones, every pair of blocks of a farm, the command."""

from pathlib import Path
from typing import Any

import pytest

from commands import Earmark, in_farm
from earmark import consistency, errors
from earmark.consistency import check_file, decode_continuation
from earmark.errors import EncodingError
from earmark.note import ED25519, decode_verifier_key
from pinned import named, vectors
from sample_farm import SampleFarm

pytest_plugins = ["command_fixtures"]

VECTORS = vectors("consistency")
LOG = decode_verifier_key(VECTORS["log"], ED25519)


@pytest.mark.parametrize("row", **named(VECTORS["valid"]))
def test_files_that_hold(row: dict[str, Any]) -> None:
    old, new = check_file(row["text"].encode(), LOG.name, LOG.key)
    assert (old.height, new.height) == (row["from"], row["to"])


@pytest.mark.parametrize("row", **named(VECTORS["must_reject"]))
def test_files_that_must_be_refused(row: dict[str, str]) -> None:
    with pytest.raises(getattr(errors, row["error"])):
        check_file(row["text"].encode(), LOG.name, LOG.key)


@pytest.mark.parametrize("bit", range(8))
def test_any_flipped_bit_is_refused(bit: int) -> None:
    octets = VECTORS["valid"][0]["text"].encode()
    for at in range(len(octets)):
        with pytest.raises(errors.EarmarkError):
            check_file(octets[:at] + bytes([octets[at] ^ 1 << bit]) + octets[at + 1 :], LOG.name, LOG.key)


def test_a_request_is_one_text_for_one_value() -> None:
    text = VECTORS["valid"][0]["text"].encode()
    body = text[text.index(b"\n\nold") + 2 :]
    assert decode_continuation(body).encode() == body
    for wrong in (b"old 4\n\r\n", body.replace(b"old 4", b"old  4"), body.replace(b"old 4", "old \u0664".encode())):
        with pytest.raises(EncodingError):
            decode_continuation(wrong)


def test_every_pair_of_blocks_of_a_farm(earmark: Earmark, sample: SampleFarm) -> None:
    sample.seal()
    farm = in_farm(earmark)
    key = farm("witness", "status", "--json").json()["vkey"]
    for older in range(3):
        for newer in range(older, 3):
            said = farm("log", "consistency", "--from", older, "--to", newer, "-o", "c.txt", "--json")
            assert said.status == 0, said.err
            assert said.json()["log"] == key
            checked = earmark("log", "consistency", "--check", "c.txt", "--log", key, "--json").json()
            assert (checked["holds"], checked["from"]["block"], checked["to"]["block"]) == (True, older, newer)
            assert farm("log", "consistency", "--check", "c.txt").status == 0
    assert "continues block 2" in farm("log", "consistency", "--check", "c.txt").words
    path = Path("c.txt")
    path.write_bytes(path.read_bytes().replace(b"\n\nold", b"\n\n\nold"))
    said = earmark("log", "consistency", "--check", "c.txt", "--log", key)
    assert said.status == 1
    assert "It does not hold." in said.out
    assert farm("log", "consistency", "--from", 0, "--to", 7).status == 3
    Path("mine.txt").write_text("my own words")
    assert farm("log", "consistency", "--from", 0, "--to", 1, "-o", "mine.txt").status == 3
    assert consistency.MOST_HASHES == 63
