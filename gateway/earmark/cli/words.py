"""Values in words: times, spans, counts, readings."""

from decimal import Decimal

from earmark.cli.text import clean
from earmark.export import iso

_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def utc(seconds: int | Decimal | float) -> str:
    """Return Unix seconds as a person reads them: `2026-11-23 19:40:00 UTC`."""
    text = iso(seconds)
    if text is None:
        return f"{seconds} s after 1970, beyond any calendar"
    return text.replace("T", " ").replace("Z", " UTC")


def span(seconds: int | Decimal | float) -> str:
    """Return a length of time in its two largest units, `2 h 5 min`; fractions of a second are left out."""
    left = abs(int(seconds))
    parts: list[str] = []
    for unit, size in _UNITS:
        number, left = divmod(left, size)
        if number:
            parts.append(f"{number:,} {unit}")
        if parts and (len(parts) == 2 or not number):
            break
    return ("-" if seconds < 0 else "") + (" ".join(parts) or "0 s")


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
