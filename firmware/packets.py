"""MQTT 3.1.1 packets as far as a node needs them: statements out at QoS 1, all else in at QoS 0 or 1.

Writers return whole packets.  `decode` takes one packet of the broker's and raises `PacketError` for everything
that the standard does not allow here, so that the link closes the connection instead of guessing.
"""

import struct

CONNACK = 2
PUBLISH = 3
PUBACK = 4
SUBACK = 9
PINGRESP = 13

_REFUSALS = (
    "accepted",
    "the broker does not speak MQTT 3.1.1",
    "the broker refuses the client id",
    "the broker is not available",
    "user name or password is wrong",
    "not authorised",
)


class PacketError(Exception):
    """The broker sent what MQTT 3.1.1 does not allow here."""


def _text(value):
    raw = value if isinstance(value, bytes) else value.encode()
    if len(raw) > 0xFFFF:
        raise ValueError("an MQTT string holds at most 65,535 bytes")
    return struct.pack(">H", len(raw)) + raw


def _packet(first, body):
    size = len(body)
    head = bytearray([first])
    while True:
        head.append(size & 0x7F | (0x80 if size > 0x7F else 0))
        size >>= 7
        if not size:
            return bytes(head) + body


def connect(client_id, keepalive_s, user=None, password=None, will=None):
    """CONNECT with a clean session; `will` is (topic, payload), which the broker sends and retains at QoS 1 when the
    link is lost."""
    flags = 0x02
    body = _text(client_id)
    if will:
        flags |= 0x04 | 0x08 | 0x20
        body += _text(will[0]) + _text(will[1])
    if user is not None:
        flags |= 0x80
        body += _text(user)
        if password is not None:
            flags |= 0x40
            body += _text(password)
    return _packet(0x10, _text("MQTT") + struct.pack(">BBH", 4, flags, keepalive_s) + body)


def publish(topic, payload, packet_id, retain=False):
    """PUBLISH at QoS 1."""
    return _packet(0x33 if retain else 0x32, _text(topic) + struct.pack(">H", packet_id) + payload)


def subscribe(topics, packet_id):
    """SUBSCRIBE to all topics at QoS 0: an answer that is lost comes again with the statement that is sent again."""
    return _packet(0x82, struct.pack(">H", packet_id) + b"".join(_text(topic) + b"\x00" for topic in topics))


def puback(packet_id):
    """PUBACK."""
    return _packet(0x40, struct.pack(">H", packet_id))


PINGREQ = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"


def decode(first, body):
    """(kind, …) of a packet by its first byte and its body.

    (CONNACK,), (PUBLISH, topic, payload, packet_id or None), (PUBACK, packet_id), (SUBACK, packet_id),
    (PINGRESP,).
    """
    kind, flags = first >> 4, first & 15
    if kind == PUBLISH:
        return _publish(flags, body)
    if flags:
        raise PacketError("packet type %d with flags %d" % (kind, flags))
    if kind == CONNACK:
        return _connack(body)
    if kind == SUBACK:
        return _suback(body)
    if kind == PUBACK and len(body) == 2:
        return (PUBACK, _packet_id(body))
    if kind == PINGRESP and not body:
        return (PINGRESP,)
    raise PacketError("packet type %d of %d bytes" % (kind, len(body)))


def _packet_id(body):
    number = struct.unpack(">H", body[:2])[0]
    if not number:
        raise PacketError("packet id 0")
    return number


def _connack(body):
    if len(body) != 2 or body[0] or body[1] > 5:
        raise PacketError("malformed CONNACK")
    if body[1]:
        raise PacketError(_REFUSALS[body[1]])
    return (CONNACK,)


def _suback(body):
    if len(body) < 3:
        raise PacketError("SUBACK of %d bytes" % len(body))
    if any(code > 1 for code in body[2:]):
        raise PacketError("the broker refuses a subscription")
    return (SUBACK, _packet_id(body))


def _publish(flags, body):
    quality = flags >> 1 & 3
    if quality > 1 or (flags & 8 and not quality):
        raise PacketError("PUBLISH with flags %d" % flags)
    size = struct.unpack(">H", body[:2])[0] if len(body) >= 2 else 0
    end = 2 + size + 2 * quality
    if not size or len(body) < end:
        raise PacketError("PUBLISH of %d bytes" % len(body))
    try:
        topic = str(bytes(body[2 : 2 + size]), "utf-8")
    except (ValueError, UnicodeError):
        raise PacketError("a topic that is not UTF-8")
    return (PUBLISH, topic, bytes(body[end:]), _packet_id(body[2 + size :]) if quality else None)
