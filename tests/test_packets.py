"""MQTT packets: one stream gives the same packets however it is cut, and nothing that a broker sends surprises us."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark import packets
from earmark.errors import EncodingError
from earmark.packets import MOST, Packet, Reader

CONNACK = b"\x20\x02\x01\x00"
SUBACK = b"\x90\x03\x00\x07\x01"
PINGRESP = b"\xd0\x00"


def head(kind: int, length: int) -> bytes:
    """A fixed header, the length by the rule of MQTT 3.1.1 §2.2.3."""
    octets = bytearray([kind])
    while True:
        length, digit = divmod(length, 128)
        octets.append(digit | (128 if length else 0))
        if not length:
            return bytes(octets)


def publish(topic: bytes, payload: bytes, mid: int | None = 1, flags: int = 0) -> bytes:
    """A PUBLISH as a broker sends it; QoS 0 without a `mid`."""
    body = len(topic).to_bytes(2, "big") + topic + (b"" if mid is None else mid.to_bytes(2, "big")) + payload
    return head(0x30 | flags | (0 if mid is None else 2), len(body)) + body


PAYLOADS = [b"", b"x", b"p" * 115, b"p" * 120, b"\x00" * 16_370, b"\xff" * 16_400, b"q" * 100_000]
STREAM = CONNACK + SUBACK + b"".join(
    publish(b"t/%d" % mid, payload, mid or None, flags=8 * (mid % 2)) + PINGRESP for mid, payload in enumerate(PAYLOADS)
)  # fmt: skip


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    return [stream[start:end] for start, end in pairwise([0, *sorted(places), len(stream)])]


def read(chunks: list[bytes]) -> list[Packet]:
    reader = Reader()
    return [packet for chunk in chunks for packet in reader.feed(chunk)]


def test_a_stream_gives_its_packets() -> None:
    found = read([STREAM])
    assert found[0] == Packet(packets.CONNACK, 0x0100, b"", b"\x01\x00", 0)
    assert found[1] == Packet(packets.SUBACK, 7, b"", b"\x00\x07\x01", 0)
    assert found[2::2] == [
        Packet(packets.PUBLISH, mid, b"t/%d" % mid, payload, int(mid > 0)) for mid, payload in enumerate(PAYLOADS)
    ]
    assert set(found[3::2]) == {Packet(packets.PINGRESP, 0, b"", b"", 0)}


@pytest.mark.parametrize("size", [1, 2, 3, 5, 127, 4096, 65_536])
def test_pieces_of_one_size_give_the_same(size: int) -> None:
    stream = STREAM if size > 100 else STREAM[:20_000]  # a byte at a time is slow, and no broker's way
    assert read(cut(stream, list(range(size, len(stream), size)))) == read([stream])


@given(st.lists(st.integers(0, len(STREAM)), max_size=30))
def test_random_cuts_give_the_same(places: list[int]) -> None:
    assert read(cut(STREAM, places)) == read([STREAM])


@pytest.mark.parametrize("size", [MOST - 20, MOST, MOST + 1, 300_000, 3_000_000])
@pytest.mark.parametrize("chunk", [1000, 4096, 65_536, 262_144, 10_000_000])
def test_the_rest_of_too_long_a_packet_is_passed_over(size: int, chunk: int) -> None:
    """Its head is kept, at least `MOST` bytes of it and never more than one chunk beyond; what follows is in step."""
    payload = random.Random(size).randbytes(size)
    stream = PINGRESP + publish(b"long", payload, 9) + publish(b"next", b"n", 10) + CONNACK
    reader, found, held = Reader(), [], 0
    for piece in cut(stream, list(range(chunk, len(stream), chunk))):
        found += reader.feed(piece)
        held = max(held, len(reader._rest))
    kinds = [packet.kind for packet in found]
    assert kinds == [packets.PINGRESP, packets.PUBLISH, packets.PUBLISH, packets.CONNACK]
    long = found[1]
    assert (long.topic, long.mid, long.qos) == (b"long", 9, 1)
    assert payload.startswith(long.body)
    assert min(size, MOST - 20) <= len(long.body) <= max(MOST + chunk, size if chunk > size else 0)
    assert found[2] == Packet(packets.PUBLISH, 10, b"next", b"n", 1)
    assert held <= MOST
    assert reader._rest == b"" and reader._passing == 0


MALFORMED = {
    "no room for a topic's length": b"\x30\x00",
    "half a topic's length": b"\x30\x01\x00",
    "a topic that ends behind the packet": b"\x30\x03\x00\x05a",
    "no packet number": b"\x32\x03\x00\x01a",
    "half a packet number": b"\x32\x04\x00\x01a\x00",
    "QoS 3": b"\x36\x06\x00\x01a\x00\x01x",
    "a length of five bytes": b"\x30\xff\xff\xff\xff\x01",
    "a length that never ends": b"\xd0\x80\x80\x80\x80",
}


@pytest.mark.parametrize("octets", MALFORMED.values(), ids=MALFORMED)
def test_what_is_not_mqtt_is_refused(octets: bytes) -> None:
    for behind in (b"", PINGRESP * 10):
        with pytest.raises(EncodingError, match="MQTT"):
            read([octets + behind])


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_random_bytes_raise_nothing_else(chunks: list[bytes]) -> None:
    reader = Reader()
    try:
        for chunk in chunks:
            reader.feed(chunk)
    except EncodingError:
        return
    assert len(reader._rest) <= MOST


def test_bent_streams_raise_nothing_else() -> None:
    draw = random.Random(3)
    stream = STREAM[:17_000]
    refused = 0
    for _ in range(3000):
        bent = bytearray(stream[draw.randrange(300) :][:400])
        for _ in range(draw.randint(1, 4)):
            bent[draw.randrange(len(bent))] = draw.randrange(256)
        try:
            read(cut(bytes(bent), [draw.randrange(len(bent))]))
        except EncodingError:
            refused += 1
    assert 100 < refused < 3000


# what we write


@pytest.mark.parametrize("size", [0, 1, 120, 121, 122, 16_375, 16_376, 16_377, 16_378, 100_000])
def test_a_publication_that_we_write_reads_back(size: int) -> None:
    for retain in (False, True):
        written = packets.publish(513, "a/ü", b"z" * size, retain=retain)
        assert written[0] == (0x33 if retain else 0x32)
        assert written == publish("a/ü".encode(), b"z" * size, 513, flags=int(retain))
        assert read([written]) == [Packet(packets.PUBLISH, 513, "a/ü".encode(), b"z" * size, 1)]


def test_the_other_packets_are_the_bytes_of_the_standard() -> None:
    assert packets.puback(0x1234) == b"\x40\x02\x12\x34"
    assert packets.subscribe(10, ["a/b", "c/d"], 1) == b"\x82\x0e\x00\x0a\x00\x03a/b\x01\x00\x03c/d\x01"
    assert packets.subscribe(10, ["a/b"], 0) == b"\x82\x08\x00\x0a\x00\x03a/b\x00"
    assert packets.publish(0, "a/b", b"z") == b"\x30\x06\x00\x03a/bz"
    assert packets.connect("id", "", "", 30) == b"\x10\x0e\x00\x04MQTT\x04\x00\x00\x1e\x00\x02id"
    login = packets.connect("id", "user", "pass", 10)
    assert login == b"\x10\x1a\x00\x04MQTT\x04\xc0\x00\x0a\x00\x02id\x00\x04user\x00\x04pass"
    assert (packets.PINGREQ, packets.DISCONNECT) == (b"\xc0\x00", b"\xe0\x00")
