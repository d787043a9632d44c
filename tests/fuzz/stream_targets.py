"""What the broker sends the gateway."""

import pytest
from judge import joined, outcome, pieces, rows, target

from earmark import packets
from earmark.errors import EncodingError

MESSAGES = [packets.publish(7, "earmark/v1/home/n1/up", octets) for octets in rows("acknowledgement")]
GREETING = b"\x20\x02\0\0" + b"\x90\x03\0\1\1" + b"\xd0\0"
MOST = 512


def read(chunks: list[bytes]) -> list[packets.Packet] | EncodingError:
    """Return the packets of a stream that arrives in chunks; it ends where it is refused."""
    reader, found = packets.Reader(), []
    for chunk in chunks:
        taken = outcome(EncodingError, reader.feed, chunk)
        if isinstance(taken, EncodingError):
            return taken
        found += taken
        assert len(reader._rest) <= packets.MOST
    return found


def seeds() -> list[bytes]:
    whole = GREETING + b"".join(MESSAGES[:3])
    cut = [whole[at : at + 50] for at in range(0, len(whole), 50)]
    return [joined([whole]), joined(cut), *(joined([message[:200], message[200:]]) for message in MESSAGES)]


@target(seeds(), 20_000)
def gateway_packets(encoded: bytes) -> None:
    """The same packets come out however the stream is cut, and a PUBLISH is what its writer wrote."""
    chunks = pieces(encoded)
    whole, cut = read([b"".join(chunks)]), read(chunks)
    assert isinstance(whole, EncodingError) == isinstance(cut, EncodingError)
    if isinstance(whole, list):
        assert whole == cut
        for packet in whole:
            if packet.kind == packets.PUBLISH and packet.topic.isascii():
                assert packet.body in b"".join(chunks)
                again = packets.Reader().feed(packets.publish(packet.mid, packet.topic.decode(), packet.body))
                assert 0 in (packet.qos, packet.mid) or again == [packet._replace(qos=1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packets, "MOST", MOST)
        read(chunks)
