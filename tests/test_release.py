"""Releases: manifests, what nodes ask, and which update is whose (docs/protocol.md §4.1 rule 7, §10.3)."""

from typing import Any

import pytest

from earmark import cose, release
from earmark.errors import EarmarkError, EncodingError, WrongRegistry
from earmark.registry import Registry
from earmark.release import Piece, Wanted
from pinned import named, vectors
from test_registry import ORIGIN, registry, said

VECTORS = vectors("release")
BODY = {0: "update", 1: 7, 2: "0.2.0", 3: "esp32", 4: b"\x07" * 32, 5: 900, 6: ORIGIN, 7: []}


@pytest.mark.parametrize("row", **named(VECTORS["valid"]))
def test_manifests_decode_and_encode_again(row: dict[str, Any]) -> None:
    raw = bytes.fromhex(row["bytes"])
    found = release.decode(raw)
    assert found.encode() == raw
    assert [found.number, found.version, found.target, found.mpy] == [
        row[name] for name in ("number", "version", "target", "mpy")
    ]
    assert [[file.path, file.size, file.digest.hex()] for file in found.files] == row["files"]


@pytest.mark.parametrize("row", **named(VECTORS["must_reject"]))
def test_what_is_no_manifest_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(EncodingError):
        release.decode(bytes.fromhex(row["bytes"]))


def test_asks() -> None:
    wanted, piece = VECTORS["wanted"], VECTORS["piece"]
    assert release.decode_ask(bytes.fromhex(wanted["ask"])) == Wanted(wanted["target"], wanted["above"])
    file = bytes.fromhex(piece["file"])
    ask = release.decode_ask(bytes.fromhex(piece["ask"]))
    assert ask == Piece(release.sha256(file), piece["offset"], piece["most"])
    assert release.answer_piece(ask, file[piece["offset"] :]).hex() == piece["answer"]
    assert release.answer_piece(ask, b"").hex() == piece["missing"]
    assert release.encode_ask(ask).hex() == piece["ask"]
    for wrong in VECTORS["must_reject_asks"]:
        with pytest.raises(EarmarkError):
            release.decode_ask(bytes.fromhex(wrong))
    with pytest.raises(EncodingError, match="64 bytes"):
        release.decode_ask(bytes(65))


def updated(*bodies: dict[int, Any]) -> Registry:
    return registry(*(said(cose.Signer(bytes([1]) * 32), "registry", body) for body in bodies))


def test_the_newest_update_that_is_for_a_node_is_its_own() -> None:
    found = updated({**BODY, 7: ["a", "b"]}, BODY | {3: "rp2350", 1: 2}, {**BODY, 1: 8, 7: ["b"]})
    assert [update.index for update in found.updates()] == [10, 20, 30]
    for name, target, above, number in (("a", "esp32", 6, 7), ("b", "esp32", 6, 8), ("c", "rp2350", 0, 2)):
        update = found.update_for(name, target, above)
        assert update is not None
        assert update.number == number
    for name, target, above in (("a", "esp32", 7), ("c", "esp32", 0), ("a", "linux", 0)):
        assert found.update_for(name, target, above) is None


@pytest.mark.parametrize(
    ("second", "why"),
    [
        ({1: 6}, "releases only go up"),
        ({4: b"\x08" * 32}, "a number of its own"),
        ({2: "0.2.1"}, "a number of its own"),
        ({6: ORIGIN.replace("hillside", "seaside")}, "this log is"),
    ],
)
def test_a_release_goes_up_or_is_the_last_one_again(second: dict[int, Any], why: str) -> None:
    with pytest.raises(WrongRegistry, match=why):
        updated(BODY, BODY | second)
    updated(BODY, BODY, BODY | {1: 8, 4: b"\x08" * 32}, BODY | second | {3: "linux", 6: ORIGIN})


def test_it_is_for_nobody_before_the_gateway_is_enrolled() -> None:
    with pytest.raises(WrongRegistry, match="begins with"):
        Registry(cose.Signer(bytes([1]) * 32).key).apply(0, said(cose.Signer(bytes([1]) * 32), "registry", BODY))
