"""Values in words: times, spans, counts, and text from elsewhere made harmless for a terminal."""

import unicodedata
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_S = 253_402_300_799
_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def clean(text: str) -> str:
    """Return text with every character that a terminal could obey, or that hides or turns others, written as an escape.

    Line feeds too: what comes from a file or a node stays on its line.  Marks that stack on a letter are kept, but
    at most two of them.
    """
    kept: list[str] = []
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) else 0
        is_harmless = character.isprintable() and marks <= 2
        kept.append(character if is_harmless else character.encode("unicode_escape").decode())
    return "".join(kept)


def iso(seconds: int | Decimal | float) -> str | None:
    """Return Unix seconds as RFC 3339 in UTC, with milliseconds where there are any; None beyond the year 9999."""
    if not 0 <= seconds <= _LAST_S:
        return None
    time = _EPOCH + timedelta(milliseconds=int(Fraction(seconds) * 1000))
    return time.isoformat(timespec="milliseconds" if time.microsecond else "seconds").replace("+00:00", "Z")


def utc(seconds: int | Decimal | float) -> str:
    """Return Unix seconds as a person reads them: `2026-11-23 19:40:00 UTC`."""
    text = iso(seconds)
    if text is None:
        return f"{seconds} s after 1970 (a time beyond any calendar)"
    return text.replace("T", " ").replace("Z", " UTC")


def span(seconds: int | Decimal | float) -> str:
    """Return a length of time in its two largest units: `2 h 5 min`; fractions of a second are left out."""
    left = abs(int(seconds))
    parts = []
    for unit, size in _UNITS:
        number, left = divmod(left, size)
        if number or parts or size == 1:
            parts.append((number, unit))
    words = [f"{number:,} {unit}" for number, unit in parts[:2] if number]
    return ("-" if seconds < 0 else "") + (" ".join(words) or "0 s")


def count(number: int, noun: str, nouns: str = "") -> str:
    """Return a number with its noun: `1 statement`, `2,000 statements`."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def value_text(value: object) -> str:
    """Return a reading's value with the digits it was signed with; texts are cleaned and quoted."""
    match value:
        case bool():
            return "true" if value else "false"
        case Decimal():
            return format(value, "f")
        case str():
            return f'"{clean(value)}"'
    return str(value)
