"""A key as a person compares it: the kid in groups, and four small numbers that a lamp can blink."""

from earmark.cose import kid


def fingerprint(key: bytes) -> str:
    """Return the kid (protocol.md §2) in groups of four digits: `929b 6619 1e22 926f`."""
    digits = kid(key).hex()
    return " ".join(digits[at : at + 4] for at in range(0, 16, 4))


def blinks(key: bytes) -> list[int]:
    """Return four numbers from 1 to 6 that come of the kid; they tell the boards on a bench apart, and no more."""
    number = int.from_bytes(kid(key)[:4], "big")
    return [number // 6**place % 6 + 1 for place in range(4)]
