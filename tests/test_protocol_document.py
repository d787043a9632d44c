"""Every example in docs/protocol.md stands in the vectors."""

import re
from pathlib import Path
from typing import Any

import pytest

from pinned import FOLDER, vectors

DOCUMENT = (Path(__file__).resolve().parent.parent / "docs" / "protocol.md").read_text()
EXAMPLES = re.findall(r"^```(hex|text) (\w+)\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


def strings(value: Any) -> list[str]:
    """Every string in a vectors file."""
    if isinstance(value, str):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for item in items for text in strings(item)]


def octets(example: str) -> list[str]:
    """The hex of an example without its notes, in pieces where `…` stands for what is left out."""
    lines = [line.split(";")[0] for line in example.splitlines()]
    return "".join("".join(lines).split()).split("…")


def is_in_order(pieces: list[str], text: str) -> bool:
    pattern = ".*".join(map(re.escape, pieces))
    return re.fullmatch(pattern, text, re.DOTALL) is not None


def test_every_structure_has_an_example() -> None:
    names = [name for _, name, _ in EXAMPLES]
    assert len(names) == len(set(names))
    assert {path.stem for path in FOLDER.glob("*.json")} == set(names)
    assert DOCUMENT.count("```") == 2 * len(EXAMPLES)


@pytest.mark.parametrize(("name", "example"), [row[1:] for row in EXAMPLES if row[0] == "hex"])
def test_hex_examples_stand_in_the_vectors(name: str, example: str) -> None:
    known = strings(vectors(name))
    pieces = octets(example)
    assert all(re.fullmatch("([0-9a-f]{2})*", piece) for piece in pieces)
    if name == "beacon":  # the message, then its nonce
        pieces, nonce = [pieces[0][:-32]], pieces[0][-32:]
        assert nonce in known
    assert any(is_in_order(pieces, text) for text in known)


@pytest.mark.parametrize(("name", "example"), [row[1:] for row in EXAMPLES if row[0] == "text"])
def test_text_examples_stand_in_the_vectors(name: str, example: str) -> None:
    known = strings(vectors(name))
    if name not in ("checkpoint", "cosignature", "consistency", "inclusion"):
        for line in example.splitlines():
            assert re.split(r"\s{2,}", line)[1] in known
    else:
        assert example in known


def test_the_lines_are_wrapped() -> None:
    assert [line for line in DOCUMENT.splitlines() if len(line) > 120 and not line.startswith(("|", "—"))] == []


@pytest.mark.parametrize("link", re.findall(r"\]\(#([^)]+)\)", DOCUMENT))
def test_links_lead_to_headings(link: str) -> None:
    headings = re.findall(r"^#+ (.+)$", DOCUMENT, re.MULTILINE)
    anchors = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    assert link in anchors
