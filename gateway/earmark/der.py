"""DER, the one way to write an ASN.1 value (X.690): as much of it as time stamps need, docs/protocol.md §7.3.

A tag is one byte, and every length the shortest; values inside others are read when they are asked for.
"""

from typing import NamedTuple

from earmark.errors import EncodingError

BOOLEAN, INTEGER, OCTETS, NULL, OID, TIME, SEQUENCE, SET = 0x01, 0x02, 0x04, 0x05, 0x06, 0x18, 0x30, 0x31


class Value(NamedTuple):
    """One value: its tag, what it holds, and all of its bytes."""

    tag: int
    content: bytes
    raw: bytes


def encode(tag: int, *parts: bytes) -> bytes:
    """Return a value that holds these bytes, one part after another."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def integer(number: int) -> bytes:
    """Return an INTEGER from 0 on."""
    return encode(INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def oid(dotted: str) -> bytes:
    """Return an OBJECT IDENTIFIER."""
    first, second, *rest = map(int, dotted.split("."))
    content = bytearray()
    for number in (40 * first + second, *rest):
        groups = [number & 0x7F]
        while number := number >> 7:
            groups.append(0x80 | number & 0x7F)
        content += bytes(reversed(groups))
    return encode(OID, bytes(content))


def values(octets: bytes) -> list[Value]:
    """Return the values that stand one behind another in these bytes; `EncodingError` unless they are just that."""
    found, at = [], 0
    while at < len(octets):
        value = _value(octets, at)
        found.append(value)
        at += len(value.raw)
    return found


def value(octets: bytes, tag: int) -> Value:
    """Return the one value that these bytes are; `EncodingError` for another tag, or bytes left over."""
    fields = Fields(octets)
    found = fields.take(tag)
    fields.end()
    return found


def _value(octets: bytes, at: int) -> Value:
    head = octets[at : at + 2]
    if len(head) < 2 or head[0] & 0x1F == 0x1F:
        raise EncodingError("DER: cut short, or a tag of more than one byte")
    start, size = at + 2, head[1]
    if size >= 0x80:
        count = size & 0x7F
        length = octets[start : start + count]
        size = int.from_bytes(length, "big")
        if not 1 <= count <= 3 or len(length) < count or length[0] == 0 or size < 0x80:
            raise EncodingError("DER: a length that is not in its shortest form")
        start += count
    if start + size > len(octets):
        raise EncodingError("DER: cut short")
    return Value(head[0], octets[start : start + size], octets[at : start + size])


class Fields:
    """The values that one holds, taken from the first on."""

    def __init__(self, octets: bytes) -> None:
        self._left = values(octets)

    def take(self, tag: int) -> Value:
        """Return the next value; `EncodingError` unless it has this tag."""
        found = self.maybe(tag)
        if found is None:
            there = f"{self._left[0].tag:#04x}" if self._left else "nothing"
            raise EncodingError(f"DER: {there} where a value of tag {tag:#04x} belongs")
        return found

    def maybe(self, tag: int) -> Value | None:
        """Return the next value if it has this tag."""
        return self._left.pop(0) if self._left and self._left[0].tag == tag else None

    def end(self) -> None:
        """Raise `EncodingError` if something is left over."""
        if self._left:
            raise EncodingError(f"DER: a value of tag {self._left[0].tag:#04x} too many")


def number(found: Value) -> int:
    """Return the number of an INTEGER (or one with a tag of its own) from 0 on; `EncodingError` for any other form."""
    content = found.content
    if not content or content[0] & 0x80 or (content[0] == 0 and len(content) > 1 and not content[1] & 0x80):
        raise EncodingError("DER: a number below 0, or not in its shortest form")
    return int.from_bytes(content, "big")
