"""SenML packs (RFC 8428 §6) as statements carry them, docs/protocol.md §3.1."""

import cbor

_BASE_NAME, _BASE_TIME, _NAME, _UNIT, _VALUE, _TEXT, _BOOL, _TIME = -2, -3, 0, 1, 2, 3, 4, 6
_MAX_RECORDS = 256
_ABSOLUTE_FROM = 1 << 28
_FIRST = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_DIGITS = "0123456789"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Number = int | cbor.Fraction


def fraction(text: str) -> "Number":
    """Return the exact number that a decimal text such as "12.90" or "-4" shows, its digits kept.

    ValueError for any other form: no plus, no exponent, digits on both sides of a point, at most 18 after it.
    """
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    whole, point, decimals = digits.partition(".")
    if not _only(whole, _DIGITS) or (point and not _only(decimals, _DIGITS)):
        raise ValueError("%r is not a decimal number such as 12.90" % text[:40])
    mantissa = sign * int(whole + decimals)
    return _number(cbor.Fraction(-len(decimals), mantissa) if point else mantissa)


def pack(base_name: str, base_time_s: "Number", readings: "Iterable[tuple[Any, ...]]") -> bytes:
    """Return the encoded pack of 1 to 256 readings; ValueError where §3.1 would have it refused.

    A reading is (name, unit or None, value), with the time relative to `base_time_s`, in seconds, as an optional
    fourth; its value an int, a `cbor.Fraction`, a str or a bool. `base_name` is the node's name and a slash.
    `base_time_s` is 0 where the clock is unset, and then no reading has a time.
    """
    records = [_record(base_name, base_time_s, reading) for reading in readings]
    if not 1 <= len(records) <= _MAX_RECORDS:
        raise ValueError("SenML: a pack has 1 to %d readings" % _MAX_RECORDS)
    records[0][_BASE_NAME] = base_name
    if base_time_s != 0:
        records[0][_BASE_TIME] = base_time_s
    return cbor.encode(records)


def _record(base_name: str, base_time_s: "Number", reading: "tuple[Any, ...]") -> dict[int, object]:
    name, unit, value = reading[:3]
    time = reading[3] if len(reading) > 3 else 0
    resolved = base_name + name
    if not 1 <= len(resolved) <= 96 or resolved[0] not in _FIRST or not _only(resolved, _FIRST + "-:./_"):
        raise ValueError("SenML: %r is not a name that RFC 8428 allows" % resolved[:100])
    _check_time(base_time_s, time)
    record = {_NAME: name}
    if unit is not None:
        record[_UNIT] = unit
    if value is True or value is False:
        record[_BOOL] = value
    elif isinstance(value, str):
        record[_TEXT] = value
    else:
        record[_VALUE] = _number(value)
    if time != 0:
        record[_TIME] = time
    return record


def _number(value: object) -> "Number":
    if isinstance(value, cbor.Fraction):
        return value
    if isinstance(value, int) and value is not True and value is not False and -cbor.EXACT < value < cbor.EXACT:
        return value
    raise ValueError("SenML: %r is neither an integer below 2^53 nor a fraction" % (value,))


def _check_time(base_time_s: "Number", time: "Number") -> None:
    for part in (_number(base_time_s), _number(time)):
        if isinstance(part, cbor.Fraction) and part.e < -3:
            raise ValueError("SenML: a time finer than milliseconds")
    resolved = _floor(base_time_s) + _floor(time)
    if resolved < _ABSOLUTE_FROM and (base_time_s, time) != (0, 0):
        raise ValueError("SenML: a time that is neither absolute nor left out, %r and %r" % (base_time_s, time))


def _floor(number: "Number") -> int:
    return int(number.m // 10**-number.e) if isinstance(number, cbor.Fraction) else number


def _only(text: str, allowed: str) -> bool:
    return text != "" and all(character in allowed for character in text)
