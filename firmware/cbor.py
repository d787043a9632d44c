"""Deterministic CBOR (RFC 8949 §4.2.1), the part of it that docs/protocol.md §1 admits.

Values are int, bytes, str, list, dict, bool, None, `Fraction` (tag 4) and `Tagged` (tag 18). Whatever is
refused, in either direction, raises ValueError.
"""

COSE_SIGN1 = 18
DECIMAL_FRACTION = 4
EXACT = 1 << 53  # integers below this magnitude survive any reader's arithmetic
DEPTH = 8


class Fraction:
    """The number m * 10^e with its digits kept: -18 <= e <= -1, |m| < 2^53. Immutable."""

    def __init__(self, e: int, m: int) -> None:
        if type(e) is not int or type(m) is not int or not -18 <= e <= -1 or not -EXACT < m < EXACT:
            raise ValueError("a decimal fraction needs -18 <= e <= -1 and |m| < 2^53")
        self._parts = (e, m)

    @property
    def e(self) -> int:
        """The exponent of ten."""
        return self._parts[0]

    @property
    def m(self) -> int:
        """The mantissa."""
        return self._parts[1]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fraction) and self._parts == other._parts

    def __hash__(self) -> int:
        return hash(self._parts)

    def __repr__(self) -> str:
        return "Fraction(%d, %d)" % self._parts


class Tagged:
    """A value under a tag that its reader has to look at: 18, COSE_Sign1."""

    def __init__(self, number: int, value: object) -> None:
        self.number = number
        self.value = value


def is_uint(value: object, limit: int = 1 << 64) -> bool:
    """Say whether this is an integer (no bool, which Python counts among them) with 0 <= value < limit."""
    return type(value) is int and 0 <= value < limit


def encode(value: object) -> bytes:
    """Return the one deterministic encoding of a value; ValueError where it has none, as a float."""
    out = bytearray()
    _write(out, value, DEPTH)
    return bytes(out)


def decode(data: bytes, depth: int = DEPTH) -> object:
    """Read exactly one value whose deterministic encoding is `data`.

    At most `depth` arrays, maps and tags 18 may be open at once; a fraction is a number and does not count. A
    length is compared with what is left before anything is allocated for it.
    """
    reader = Reader(data)
    value = reader.item(depth)
    if reader.at != len(data):
        raise ValueError("CBOR: %d bytes left over at offset %d" % (len(data) - reader.at, reader.at))
    return value


def _write(out: bytearray, value: object, depth: int) -> None:
    if value is None or value is True or value is False:
        out.append(0xF6 if value is None else 0xF5 if value else 0xF4)
    elif isinstance(value, int):
        _write_head(out, 0x20 if value < 0 else 0, -1 - value if value < 0 else value)
    elif isinstance(value, (bytes, bytearray)):
        _write_head(out, 0x40, len(value))
        out.extend(value)
    elif isinstance(value, str):
        text = value.encode()
        _write_head(out, 0x60, len(text))
        out.extend(text)
    else:
        _write_nested(out, value, depth - 1)


def _write_nested(out: bytearray, value: object, depth: int) -> None:
    if isinstance(value, Fraction):
        out.extend(b"\xc4\x82" + encode(value.e) + encode(value.m))
    elif depth < 0:
        raise ValueError("CBOR: nested more than %d deep" % DEPTH)
    elif isinstance(value, (list, tuple)):
        _write_head(out, 0x80, len(value))
        for item in value:
            _write(out, item, depth)
    elif isinstance(value, dict):
        _write_head(out, 0xA0, len(value))
        for key, item in sorted([(_key(key), item) for key, item in value.items()], key=_first):
            out.extend(key)
            _write(out, item, depth)
    elif isinstance(value, Tagged) and value.number == COSE_SIGN1:
        _write_head(out, 0xC0, COSE_SIGN1)
        _write(out, value.value, depth)
    else:
        raise ValueError("CBOR: %s has no encoding here" % type(value).__name__)


def _key(key: object) -> bytes:
    if type(key) is not int and not isinstance(key, str):
        raise ValueError("CBOR: a map key must be an integer or text")
    return encode(key)


def _first(pair: tuple[bytes, object]) -> bytes:
    return pair[0]


def _write_head(out: bytearray, major: int, number: int) -> None:
    if number < 24:
        out.append(major | number)
        return
    for extra in range(4):
        if number >> (8 << extra) == 0:
            out.append(major | 24 + extra)
            out.extend(number.to_bytes(1 << extra, "big"))
            return
    raise ValueError("CBOR: an integer beyond 64 bits")


class Reader:
    """Reads the values in `data` one by one; `at` is how far it is."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise ValueError("CBOR: cut short at offset %d" % self.at)
        self.at += count
        return bytes(self.data[self.at - count : self.at])

    def head(self) -> tuple[int, int]:
        """Return major type and argument, in the shortest form only."""
        first = self.take(1)[0]
        major, number = first >> 5, first & 31
        if number < 24:
            return major, number
        if number > 27:
            raise ValueError("CBOR: initial byte %02x before offset %d" % (first, self.at))
        size = 1 << number - 24
        number = int.from_bytes(self.take(size), "big")
        if number < 24 or (size > 1 and number >> 4 * size == 0):
            raise ValueError("CBOR: not the shortest form before offset %d" % self.at)
        return major, number

    def item(self, depth: int) -> object:
        major, number = self.head()
        if major == 0:
            return number
        if major == 1:
            return -1 - number
        if major == 2:
            return self.take(number)
        if major == 3:
            return _text(self.take(number))
        if major == 7:
            return self.simple(number)
        if major == 6 and number == DECIMAL_FRACTION:
            return self.fraction()
        if depth == 0:
            raise ValueError("CBOR: nested too deep before offset %d" % self.at)
        if major == 4:
            self.reserve(number)
            return [self.item(depth - 1) for _ in range(number)]
        if major == 5:
            return self.map(number, depth - 1)
        return self.tagged(number, depth - 1)

    def simple(self, number: int) -> object:
        if not 20 <= number <= 22:
            raise ValueError("CBOR: simple value %d before offset %d" % (number, self.at))
        return None if number == 22 else number == 21

    def reserve(self, count: int) -> None:
        """Refuse a count of items that cannot be there, since each takes at least one byte."""
        if count > len(self.data) - self.at:
            raise ValueError("CBOR: cut short, %d items promised before offset %d" % (count, self.at))

    def map(self, count: int, depth: int) -> dict[object, object]:
        self.reserve(2 * count)
        entries: dict[object, object] = {}
        last = b""
        for _ in range(count):
            start = self.at
            key = self.item(0)
            if type(key) is not int and not isinstance(key, str):
                raise ValueError("CBOR: a map key must be an integer or text, offset %d" % start)
            encoded = bytes(self.data[start : self.at])
            if encoded <= last:
                raise ValueError("CBOR: map key repeated or out of order at offset %d" % start)
            last = encoded
            entries[key] = self.item(depth)
        return entries

    def tagged(self, number: int, depth: int) -> Tagged:
        if number != COSE_SIGN1:
            raise ValueError("CBOR: tag %d before offset %d" % (number, self.at))
        return Tagged(COSE_SIGN1, self.item(depth))

    def fraction(self) -> Fraction:
        shaped = self.take(1) == b"\x82"
        exponent, mantissa = self.item(0), self.item(0)
        if not shaped or not isinstance(exponent, int) or not isinstance(mantissa, int):
            raise ValueError("CBOR: tag 4 needs [exponent, mantissa], before offset %d" % self.at)
        return Fraction(exponent, mantissa)


def _text(raw: bytes) -> str:
    """Decode UTF-8 strictly: MicroPython itself lets overlong forms and surrogates pass."""
    text = raw.decode()
    size = 0
    for character in text:
        point = ord(character)
        if 0xD800 <= point <= 0xDFFF or point > 0x10FFFF:
            raise ValueError("CBOR: text that is not UTF-8")
        size += 1 + (point > 0x7F) + (point > 0x7FF) + (point > 0xFFFF)
    if size != len(raw):
        raise ValueError("CBOR: text that is not UTF-8")
    return text
