"""Deterministic CBOR, docs/protocol.md §1: one encoding for every value, everything else refused.

The reader is ours because a general one obeys every tag: a kilobyte of shared references, or a bignum in
a decimal fraction, keeps it busy for minutes.  This one does work in proportion to the bytes, and no more.
"""

import re
from decimal import Decimal
from typing import Any

import cbor2

from earmark.errors import EncodingError

MAX_DEPTH = 8
MAX_MAGNITUDE = 1 << 53
COSE_SIGN1 = 18

_UINT, _NINT, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_DECIMAL_FRACTION = 4
_LEAST = {24: 24, 25: 1 << 8, 26: 1 << 16, 27: 1 << 32}
_CONSTANTS = {20: False, 21: True, 22: None}

_MANY = 24
"""Items of an array that are worth a look whether they are alike."""

_NUMBER = rb"([\x00-\x17]|\x18[\x18-\xff]|\x19(?!\x00)..|\x1a(?!\x00\x00)....)"
_NUMBERS = re.compile(_NUMBER, re.DOTALL)
_PAIRS = re.compile(rb"\x82" + _NUMBER + rb"(\x58[\x18-\xff]|\x59(?!\x00)..)", re.DOTALL)
"""An array of a number and a byte string, up to the string's first byte."""


def encode(value: Any) -> bytes:
    """Return the deterministic encoding of ints, bytes, text, bool, None, Decimal, lists, dicts and `CBORTag` 18.

    Keys of a dict are of one kind and such that the orders of RFC 8949 §4.2.1 and §4.2.3 agree.
    """
    return cbor2.dumps(value, canonical=True)


def octets(value: bytes) -> bytes:
    """Return the encoding of a byte string of less than 2^16 bytes, or of any other one in more time."""
    size = len(value)
    if size < 24:
        return bytes([0x40 + size]) + value
    if size < 1 << 8:
        return bytes([0x58, size]) + value
    return b"\x59" + size.to_bytes(2, "big") + value if size < 1 << 16 else encode(value)


def decode(encoded: bytes) -> Any:
    """Return the value of one whole, deterministically encoded item; `EncodingError` for anything else.

    Decimal fractions (tag 4) come back as `Decimal` with the digits they were written with, tag 18 as `CBORTag`.
    Arrays, maps and tags 18 count as nesting; a decimal fraction is a number and does not.
    """
    try:
        value, end = _item(encoded, 0, MAX_DEPTH)
    except IndexError as error:
        raise EncodingError(f"CBOR cut short after {len(encoded)} bytes") from error
    except UnicodeDecodeError as error:
        raise EncodingError(f"CBOR text that is not UTF-8: {error.reason}") from error
    if end != len(encoded):
        raise EncodingError(f"CBOR with {len(encoded) - end} bytes left over at byte {end}")
    return value


def _item(encoded: bytes, at: int, depth: int) -> tuple[Any, int]:
    """Read the item at `at`, with room for `depth` more levels; return it and the offset behind it."""
    major, argument, at = _head(encoded, at)
    if major == _UINT:
        return argument, at
    if major == _NINT:
        return -1 - argument, at
    if major in (_BYTES, _TEXT):
        end = at + argument
        if end > len(encoded):
            raise EncodingError(f"CBOR cut short: a string at byte {at} of {argument} bytes")
        octets = encoded[at:end]
        return (octets if major == _BYTES else octets.decode()), end
    if major == _SIMPLE:
        if argument not in _CONSTANTS:
            raise EncodingError(f"CBOR simple value {argument} before byte {at} has no place here")
        return _CONSTANTS[argument], at
    if major == _TAG and argument == _DECIMAL_FRACTION:
        return _fraction(encoded, at)
    if depth == 0:
        raise EncodingError(f"CBOR nested more than {MAX_DEPTH} deep at byte {at}")
    return _container(encoded, at, major, argument, depth - 1)


def _head(encoded: bytes, at: int) -> tuple[int, int, int]:
    """Return the major type and argument at `at`, and the offset behind them."""
    first = encoded[at]
    major, short = first >> 5, first & 31
    if short < 24:
        return major, short, at + 1
    if short > 27 or major == _SIMPLE:
        raise EncodingError(
            f"CBOR byte {first:02x} at {at}: floats, indefinite lengths and reserved forms have no place here"
        )
    end = at + 1 + (1 << short - 24)
    argument = int.from_bytes(encoded[at + 1 : end], "big")
    if end > len(encoded) or argument < _LEAST[short]:
        raise EncodingError(f"CBOR integer or length at byte {at} is cut short or not in its shortest form")
    return major, argument, end


def _container(encoded: bytes, at: int, major: int, count: int, depth: int) -> tuple[Any, int]:
    if major == _TAG:
        if count != COSE_SIGN1:
            raise EncodingError(f"CBOR tag {count} before byte {at} has no place here")
        value, at = _item(encoded, at, depth)
        return cbor2.CBORTag(COSE_SIGN1, value), at
    if major == _MAP:
        return _map(encoded, at, count, depth)
    items: list[Any] = []
    if count >= _MANY:
        items, at = _pairs(encoded, at, count) if depth else _numbers(encoded, at, count)
    for _ in range(count - len(items)):
        item, at = _item(encoded, at, depth)
        items.append(item)
    return items, at


def _pairs(encoded: bytes, at: int, most: int) -> tuple[list[Any], int]:
    """Read at most so many items of an array, as `_item` does, while they are arrays of a number and a byte string.

    A proof file is made of these, and of numbers; it is read in a third of the time.
    """
    items: list[Any] = []
    while len(items) < most and (head := _PAIRS.match(encoded, at)):
        number, size = head.groups()
        start = head.end()
        end = start + int.from_bytes(size[1:], "big")
        if end > len(encoded):
            break
        items.append([int.from_bytes(number[1:] or number, "big"), encoded[start:end]])
        at = end
    return (items, at) if items else _numbers(encoded, at, most)


def _numbers(encoded: bytes, at: int, most: int) -> tuple[list[Any], int]:
    items: list[Any] = []
    while len(items) < most and (head := _NUMBERS.match(encoded, at)):
        number = head[1]
        items.append(int.from_bytes(number[1:] or number, "big"))
        at = head.end()
    return items, at


def _map(encoded: bytes, at: int, count: int, depth: int) -> tuple[dict[int | str, Any], int]:
    fields: dict[int | str, Any] = {}
    last = b""
    for _ in range(count):
        start = at
        if encoded[start] >> 5 not in (_UINT, _NINT, _TEXT):
            raise EncodingError(f"CBOR map key at byte {start}: only integers and text are keys")
        label, at = _item(encoded, start, 0)
        key = encoded[start:at]
        if key <= last:
            raise EncodingError(f"CBOR map key at byte {start} is out of order, or there twice")
        last = key
        fields[label], at = _item(encoded, at, depth)
    return fields, at


def _fraction(encoded: bytes, at: int) -> tuple[Decimal, int]:
    if encoded[at] != 0x82:
        raise EncodingError(f"CBOR decimal fraction at byte {at} that is not [exponent, mantissa]")
    exponent, middle = _integer(encoded, at + 1)
    mantissa, end = _integer(encoded, middle)
    if not -18 <= exponent <= -1 or abs(mantissa) >= MAX_MAGNITUDE:
        raise EncodingError(f"CBOR decimal fraction at byte {at}: exponent -18 to -1, mantissa below 2^53")
    return Decimal(mantissa).scaleb(exponent), end


def _integer(encoded: bytes, at: int) -> tuple[int, int]:
    major, argument, end = _head(encoded, at)
    if major not in (_UINT, _NINT):
        raise EncodingError(f"CBOR decimal fraction with something else than an integer at byte {at}")
    return (-1 - argument if major == _NINT else argument), end
