"""MQTT packets: exact bytes out, and nothing but `PacketError` for whatever comes in."""

import unittest_mini as unittest

import packets

VALID = (
    (0x20, b"\x00\x00", (packets.CONNACK,)),
    (0x20, b"\x01\x00", None),
    (0x40, b"\x00\x07", (packets.PUBACK, 7)),
    (0x90, b"\x00\x01\x01\x00", (packets.SUBACK, 1)),
    (0xD0, b"", (packets.PINGRESP,)),
    (0x30, b"\x00\x01tabc", (packets.PUBLISH, "t", b"abc", None)),
    (0x31, b"\x00\x01t", (packets.PUBLISH, "t", b"", None)),
    (0x3A, b"\x00\x01t\x01\x02x", (packets.PUBLISH, "t", b"x", 258)),
)
REFUSED = (
    (0x00, b""),
    (0x10, b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"),
    (0x20, b"\x00\x05"),
    (0x20, b"\x00\x06"),
    (0x20, b"\x00"),
    (0x21, b"\x00\x00"),
    (0x36, b"\x00\x01t\x00\x01"),
    (0x38, b"\x00\x01t"),
    (0x34, b"\x00\x01t\x00\x01"),
    (0x30, b"\x00\x00"),
    (0x30, b"\x00\x09t"),
    (0x30, b"\x00"),
    (0x30, b"\x00\x02\xff\xfe"),
    (0x32, b"\x00\x01t\x00"),
    (0x32, b"\x00\x01t\x00\x00"),
    (0x40, b"\x00\x00"),
    (0x40, b"\x00\x01\x00"),
    (0x42, b"\x00\x01"),
    (0x50, b"\x00\x01"),
    (0x90, b"\x00\x01"),
    (0x90, b"\x00\x01\x80"),
    (0x90, b"\x00\x01\x02"),
    (0xD0, b"\x00"),
    (0xF0, b""),
)


class Writing(unittest.TestCase):
    def test_connect(self):
        plain = packets.connect("n", 30)
        self.assertEqual(plain, b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x1e\x00\x01n")
        full = packets.connect("n", 30, "u", "p", ("w", b"gone"))
        self.assertEqual(full, b"\x10\x1c\x00\x04MQTT\x04\xee\x00\x1e\x00\x01n\x00\x01w\x00\x04gone\x00\x01u\x00\x01p")

    def test_publish_and_subscribe(self):
        self.assertEqual(packets.publish("t", b"xy", 258), b"\x32\x07\x00\x01t\x01\x02xy")
        self.assertEqual(packets.publish("t", b"xy", 258, retain=True)[0], 0x33)
        self.assertEqual(packets.subscribe(["a", "b"], 1), b"\x82\x0a\x00\x01\x00\x01a\x00\x00\x01b\x00")
        self.assertEqual(packets.puback(3), b"\x40\x02\x00\x03")

    def test_lengths(self):
        for size, head in ((122, b"\x7f"), (123, b"\x80\x01"), (16378, b"\xff\x7f"), (16379, b"\x80\x80\x01")):
            self.assertEqual(packets.publish("t", bytes(size), 1)[1 : 1 + len(head)], head)

    def test_long_text_is_refused(self):
        with self.assertRaises(ValueError):
            packets.publish("t" * 65536, b"", 1)


class Reading(unittest.TestCase):
    def test_valid(self):
        for first, body, expected in VALID:
            if expected:
                self.assertEqual(packets.decode(first, body), expected)

    def test_session_present_without_a_session_is_refused(self):
        with self.assertRaises(packets.PacketError):
            packets.decode(0x20, b"\x01\x00")

    def test_refused(self):
        for first, body in REFUSED:
            with self.assertRaises(packets.PacketError):
                packets.decode(first, body)

    def test_every_truncation_and_flip(self):
        tried = 0
        for _, body, _ in VALID:
            for first in range(256):
                for size in range(len(body) + 1):
                    self.try_one(first, body[:size])
                for bit in range(8 * len(body)):
                    flipped = bytearray(body)
                    flipped[bit >> 3] ^= 1 << (bit & 7)
                    self.try_one(first, bytes(flipped))
                    tried += 1
        self.assertTrue(tried > 10000)

    def try_one(self, first, body):
        try:
            kind = packets.decode(first, body)[0]
        except packets.PacketError:
            return
        self.assertTrue(kind in (2, 3, 4, 9, 13))


if __name__ == "__main__":
    unittest.main()
