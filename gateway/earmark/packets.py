"""MQTT 3.1.1 packets, as far as the gateway needs them: written, and read from a stream."""

from typing import NamedTuple

from earmark.errors import EncodingError

CONNACK, PUBLISH, PUBACK, SUBACK, PINGRESP = 2, 3, 4, 9, 13
MOST = 1 << 17
"""Bytes of one packet that are kept; the rest of a longer one is passed over."""

PINGREQ = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"


class Packet(NamedTuple):
    """One packet that came: of a PUBLISH topic, payload and QoS; `body` of another one; `mid` 0 where it has none."""

    kind: int
    mid: int
    topic: bytes
    body: bytes
    qos: int


class Reader:
    """Cuts a stream into packets, holding back what is not whole yet: at most `MOST` bytes."""

    def __init__(self) -> None:
        self._rest = b""
        self._passing = 0

    def feed(self, chunk: bytes) -> list[Packet]:
        """Take in what arrived and return the packets that are whole; `EncodingError` where it is not MQTT.

        Of a PUBLISH of more than `MOST` bytes the first ones are returned, as a packet.
        """
        if self._passing:
            passed = min(self._passing, len(chunk))
            self._passing -= passed
            chunk = chunk[passed:]
        stream = self._rest + chunk if self._rest else chunk
        packets: list[Packet] = []
        at, size = 0, len(stream)
        while size - at >= 2:
            length, start = stream[at + 1], at + 2
            if length & 0x80:
                length, start = _length(stream, at + 1)
                if not start:
                    break
            end = start + length
            if end > size:
                if end - at <= MOST or size - at < MOST:
                    break
                self._passing, end = end - size, size
            packets.append(_packet(stream, at, start, end))
            at = end
        self._rest = stream[at:]
        return packets


def _length(stream: bytes, at: int) -> tuple[int, int]:
    """Return the remaining length and where it ends; 0 for the latter where it is not all there."""
    length = 0
    for place in range(4):
        if at + place >= len(stream):
            return 0, 0
        length |= (stream[at + place] & 0x7F) << 7 * place
        if not stream[at + place] & 0x80:
            return length, at + place + 1
    raise EncodingError("an MQTT packet whose length has more than four bytes")


def _packet(stream: bytes, at: int, start: int, end: int) -> Packet:
    head = stream[at]
    if head & 0xF0 != PUBLISH << 4:
        mid = stream[start] << 8 | stream[start + 1] if end - start >= 2 else 0
        return Packet(head >> 4, mid, b"", stream[start:end], 0)
    qos = head >> 1 & 3
    body = start + 2 + (stream[start] << 8 | stream[start + 1]) if end - start >= 2 else end + 1
    topic, mid = stream[start + 2 : body], 0
    if qos:
        mid, body = int.from_bytes(stream[body : body + 2], "big"), body + 2
    if body > end or qos == 3:
        raise EncodingError("an MQTT PUBLISH that is not whole")
    return Packet(PUBLISH, mid, topic, stream[body:end], qos)


def connect(client: str, user: str, password: str, keepalive_s: int) -> bytes:
    """Return a CONNECT to a lasting session."""
    flags = 0xC0 if user else 0
    login = _string(user) + _string(password) if user else b""
    return _framed(0x10, _string("MQTT") + bytes([4, flags]) + keepalive_s.to_bytes(2, "big") + _string(client) + login)


def subscribe(mid: int, topics: list[str], qos: int) -> bytes:
    """Return a SUBSCRIBE at QoS 0 or 1."""
    return _framed(0x82, mid.to_bytes(2, "big") + b"".join(_string(topic) + bytes([qos]) for topic in topics))


def publish(mid: int, topic: str, payload: bytes, *, retain: bool = False) -> bytes:
    """Return a PUBLISH: at QoS 1 under a number, at QoS 0 where `mid` is 0."""
    head = (0x32 if mid else 0x30) | retain
    return _framed(head, _string(topic) + (mid.to_bytes(2, "big") if mid else b"") + payload)


def puback(mid: int) -> bytes:
    """Return a PUBACK."""
    return b"\x40\x02" + mid.to_bytes(2, "big")


def _string(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(2, "big") + encoded


def _framed(head: int, body: bytes) -> bytes:
    length, left = b"", len(body)
    while left > 0x7F:
        length += bytes([left & 0x7F | 0x80])
        left >>= 7
    return bytes([head]) + length + bytes([left]) + body
