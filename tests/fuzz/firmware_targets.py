"""What reaches a node: the broker's packets, its own flash after a power cut, its settings, its recordings."""

import json
from decimal import Decimal
from itertools import pairwise
from typing import Any

from judge import firmware, joined, lines, outcome, pieces, rows, target, vectors

link, packets, record, segment, senml, settings = map(
    firmware, ("link", "packets", "record", "segment", "senml", "settings")
)
replay, rowtime = firmware("sensors.replay"), firmware("sensors.rowtime")
MESSAGES = [*rows("acknowledgement"), *rows("beacon")]
STREAM = b"\x20\x02\0\0" + b"\x90\x03\0\1\1" + b"\x40\x02\0\7" + b"\xd0\0" + packets.publish("a/b", b"payload", 5)


class Wire:
    """The bytes of a connection, as the link reads them."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.at = 0

    async def readexactly(self, count: int) -> bytes:
        if self.at + count > len(self._octets):
            raise EOFError
        self.at += count
        return self._octets[self.at - count : self.at]


def read_packet(wire: Wire) -> Any:
    """Run the link's reader on bytes that are all there already."""
    packet = link.Link("", 0, "", [], None)._packet(wire)
    try:
        packet.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("it waits for something else than bytes")


@target([STREAM, *(packets.publish("earmark/v1/home/n/down", octets, 1) for octets in MESSAGES)], 20_000)
def node_packets(encoded: bytes) -> None:
    """A stream of the broker's is packets, then an end or a `PacketError`; what was published reads as it was."""
    wire, start = Wire(encoded), 0
    while True:
        try:
            found = read_packet(wire)
        except (packets.PacketError, EOFError):
            return
        assert start < wire.at <= len(encoded)
        if found[0] == packets.PUBLISH and found[3] is not None:
            again = packets.publish(found[1], found[2], found[3])
            assert again[1:] == encoded[start + 1 : wire.at] or is_padded(encoded[start + 1 :])
        start = wire.at


def is_padded(size: bytes) -> bool:
    """Whether a packet's length is written longer than it need be, which MQTT lets pass."""
    last = next(at for at, octet in enumerate(size) if octet < 0x80)
    return last > 0 and size[last] == 0


class Flash:
    """A folder with one file."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def size(self, name: str) -> int:
        return len(self._octets)

    def read(self, name: str, offset: int, length: int) -> bytes:
        return self._octets[offset : offset + length]


def segments() -> list[bytes]:
    stored = [bytes.fromhex(row["bytes"]) for row in vectors("statement")["valid"]]
    entries = [firmware("statement").entry(each) for each in stored]
    records = [
        record.encode(seq, entry, each, b"m" * (seq % 3), (1, seq) if seq % 4 == 0 else None)
        for seq, (entry, each) in enumerate(zip(entries, stored, strict=True), 1)
    ]
    return [b"".join(records[:3]), b"".join(records[3:6]), records[1] + b"\0" * 90 + records[2], records[0][:200]]


@target(segments(), 4096)
def flash_segment(encoded: bytes) -> None:
    """Any file is read as records, ascending and apart, and wounds between them that make up the rest of it."""
    flash, name = Flash(encoded), segment.file_name(1)
    wounds: list[tuple[int, int]] = []
    found = list(record.walk(flash, name, len(encoded), lambda offset, size: wounds.append((offset, size))))
    spans = sorted(wounds + [(each.offset, each.end - each.offset) for each in found])
    assert [offset for offset, _ in spans] == [sum(size for _, size in spans[:at]) for at in range(len(spans))]
    assert sum(size for _, size in spans) == len(encoded)
    assert all(a.seq < b.seq for a, b in pairwise(found))
    for each in found:
        body = flash.read(name, each.body, each.length)
        again = record.encode(each.seq, each.entry, body, each.mark, each.gap)
        assert again == encoded[each.offset : each.end]
    recovered = segment.recover(flash, name)
    assert (recovered.head is None) == (not found)


BROKER = {"host": "h", "tls": {"ca": "ca.pem"}, "retry_s": [1, 60]}
NODE = {"site": "home", "name": "n", "gateway_key": "ab" * 32, "broker": BROKER, "sensors": [{"driver": "thermal"}]}


@target(lines([NODE, {**NODE, "broker": {"host": "h"}, "sensors": []}, {"site": 1}, []]), 2048, is_text=True)
def node_settings(encoded: bytes) -> None:
    """Settings are complete, or refused by name."""
    try:
        given = json.loads(encoded)
    except (ValueError, RecursionError):
        return
    found = outcome(settings.SettingsError, settings.check, given)
    assert isinstance(found, settings.SettingsError) or set(found) == set(settings.TABLE)


TIMES = (b"2022-02-01T00:04:05Z", b"2/1/2022 0:04", b"1/2/2022 0:04:05", b"1643673840")
CELLS = b'2022-02-01 00:05,"12.90, wet",-4,""\r\n'


@target([joined([bytes([at]) + time, CELLS]) for at, time in enumerate(TIMES)], 2048)
def recording(encoded: bytes) -> None:
    """A row of a recording is cells, a time and exact numbers, or refused with ValueError."""
    time, line = (*pieces(encoded), b"", b"")[:2]
    form = rowtime.FORMATS[time[0] % 4] if time else "iso"
    seconds = outcome(ValueError, rowtime.parse, time[1:].decode(errors="replace"), form)
    assert isinstance(seconds, ValueError) or 2**28 <= seconds < 2**40
    cells = outcome(ValueError, replay._cells, line)
    for cell in cells if isinstance(cells, list) else ():
        number = outcome(ValueError, senml.fraction, cell)
        if not isinstance(number, ValueError):
            assert Decimal(cell) == (number if isinstance(number, int) else Decimal(number.m).scaleb(number.e))
