"""Text from elsewhere made harmless for a terminal."""

import unicodedata

_MOST_MARKS = 2


def clean(text: str) -> str:
    """Return text with every character that a terminal could obey, or that hides or turns others, written as an escape.

    Line feeds too: what comes from a file or a node stays on its line.  Of marks that stack on a letter two are kept.
    """
    kept: list[str] = []
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) else 0
        is_harmless = character.isprintable() and marks <= _MOST_MARKS
        kept.append(character if is_harmless else character.encode("unicode_escape").decode())
    return "".join(kept)
