"""Deterministic CBOR: exact bytes out, and ValueError for every other way to write the same."""

import unittest_mini as unittest

import cbor
from cbor import Fraction, Tagged

PAIRS = (
    (12, "0c"),
    (23, "17"),
    (24, "1818"),
    (255, "18ff"),
    (256, "190100"),
    (65535, "19ffff"),
    (65536, "1a00010000"),
    ((1 << 32) - 1, "1affffffff"),
    (1 << 32, "1b0000000100000000"),
    ((1 << 64) - 1, "1bffffffffffffffff"),
    (-1, "20"),
    (-24, "37"),
    (-25, "3818"),
    (-65537, "3a00010000"),
    (-(1 << 64), "3bffffffffffffffff"),
    (b"\x00" * 24, "5818" + "00" * 24),
    ("\u00fc\u6c34", "65c3bce6b0b4"),
    ([1, [2, b""], None, True, False], "85018202" + "40f6f5f4"),
    (Fraction(-2, 1290), "c4822119050a"),
    (Fraction(-18, 1 - (1 << 53)), "c482313b001ffffffffffffe"),
    (
        {-65537: 0, 267: 1, 10: 2, 1: 3, "a": 4, -1: 5},
        "a60103" + "0a02" + "19010b01" + "2005" + "3a0001000000" + "616104",
    ),
)

REFUSED = (
    "",
    "1817",  # 23 in two bytes
    "190018",
    "1900ff",
    "1a0000ffff",
    "1b00000000ffffffff",
    "3817",
    "580140",
    "7801" + "61",
    "980101",
    "b8010102",
    "1c",
    "1f",
    "5f4100ff",
    "7f6161ff",
    "9f01ff",
    "bf0102ff",
    "ff",
    "f7",
    "f0",
    "f820",
    "f818",
    "f814",
    "f90000",
    "fa00000000",
    "fb0000000000000000",
    "0000",  # a byte left over
    "18",
    "1900",
    "4201",
    "6261",
    "8201",
    "a101",
    "9affffffff",  # lengths that cannot be there
    "9bffffffffffffffff",
    "bbffffffffffffffff",
    "bb8000000000000000",
    "5bffffffffffffffff",
    "7b7fffffffffffffff",
    "a2020001" + "00",  # keys out of order
    "a201000100",  # a key twice
    "a2200001" + "00",
    "a2616100" + "0100",
    "a1400" + "0",  # a key of bytes
    "a1f500",
    "a1800" + "0",
    "a1a000",
    "a1c482200100",
    "61ff",  # text that is not UTF-8
    "62c080",
    "62c3c3",
    "63e08080",
    "63eda080",
    "64f08080af",
    "64f4908080",
    "61c3",
    "c1" + "00",  # tags
    "c240",
    "c249010000000000000000",
    "d8041a",
    "d81800",
    "d90012" + "00",
    "d81280",
    "c480",
    "c48120",
    "c483200101",
    "c4820001",  # fractions out of bounds
    "c482010a",
    "c4823201",
    "c48220" + "1b0020000000000000",
    "c48220" + "3b001fffffffffffff",
    "c48220f5",
    "c482f501",
    "c4822040",
    "c4182001",
)


class TestEncode(unittest.TestCase):
    def test_pairs(self):
        for value, encoded in PAIRS:
            self.assertEqual(cbor.encode(value).hex(), encoded)
            self.assertEqual(cbor.decode(bytes.fromhex(encoded)), value)

    def test_kinds(self):
        self.assertEqual(cbor.encode((1, bytearray(b"x"))), b"\x82\x01\x41x")
        self.assertEqual([cbor.encode(True), cbor.encode(1), cbor.encode(False)], [b"\xf5", b"\x01", b"\xf4"])
        self.assertEqual(cbor.encode(Tagged(18, [1])), b"\xd2\x81\x01")

    def test_refused(self):
        for value in (
            1.5,
            0.0,
            1 << 64,
            -1 - (1 << 64),
            {b"k": 1},
            {None: 1},
            {(1,): 2},
            {1, 2},
            object(),
            Tagged(1, 0),
        ):
            with self.assertRaises(ValueError):
                cbor.encode([value])

    def test_depth(self):
        nested = 0
        for _ in range(8):
            nested = [nested]
        self.assertEqual(cbor.decode(cbor.encode(nested)), nested)
        with self.assertRaises(ValueError):
            cbor.encode([nested])


class TestDecode(unittest.TestCase):
    def test_refused(self):
        for encoded in REFUSED:
            with self.assertRaises(ValueError):
                self.assertEqual(cbor.decode(bytes.fromhex(encoded)), "refused", encoded)

    def test_types(self):
        for encoded, kind in (("01", int), ("f5", bool), ("40", bytes), ("60", str), ("80", list), ("a0", dict)):
            self.assertEqual(type(cbor.decode(bytes.fromhex(encoded))), kind)

    def test_tag_18(self):
        tagged = cbor.decode(b"\xd2\x82\x01\x40")
        self.assertEqual((tagged.number, tagged.value), (18, [1, b""]))

    def test_depth(self):
        for opening in (b"\x81", b"\xa1\x00", b"\xd2"):
            self.assertTrue(cbor.decode(opening * 8 + b"\x00") is not None)
            with self.assertRaises(ValueError):
                cbor.decode(opening * 9 + b"\x00")
            with self.assertRaises(ValueError):
                cbor.decode(opening * 4000 + b"\x00")
        with self.assertRaises(ValueError):
            cbor.decode(b"\x81" * 8 + b"\x80")
        self.assertEqual(cbor.decode(b"\x81" * 3 + b"\xc4\x82\x20\x01", 3), [[[Fraction(-1, 1)]]])
        with self.assertRaises(ValueError):
            cbor.decode(b"\x81\x81\x00", 1)

    def test_every_prefix_is_refused(self):
        whole = cbor.encode({1: [1 << 40, "text", b"bytes"], 2: Fraction(-3, 70000), 3: Tagged(18, [None, True])})
        for size in range(len(whole)):
            with self.assertRaises(ValueError):
                cbor.decode(whole[:size])


class TestFraction(unittest.TestCase):
    def test_value(self):
        self.assertEqual(Fraction(-2, 1290), Fraction(-2, 1290))
        self.assertEqual(hash(Fraction(-2, 1290)), hash(Fraction(-2, 1290)))
        self.assertFalse(Fraction(-2, 1290) == Fraction(-1, 129))
        self.assertFalse(Fraction(-2, 1290) == (-2, 1290))
        self.assertEqual((Fraction(-2, 7).e, Fraction(-2, 7).m), (-2, 7))

    def test_immutable(self):
        with self.assertRaises(AttributeError):
            Fraction(-1, 1).m = 2

    def test_bounds(self):
        for e, m in ((0, 1), (1, 1), (-19, 1), (-1, 1 << 53), (-1, -(1 << 53)), (-1, 1.0), (-1.0, 1), (-1, True)):
            with self.assertRaises(ValueError):
                Fraction(e, m)


if __name__ == "__main__":
    unittest.main()
