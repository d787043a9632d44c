"""Statements and SenML packs: the gateway's own bytes, which tests/test_firmware.py generates, and what is refused."""

import json
import os

import unittest_mini as unittest

import cbor
import ed25519
import senml
import statement
from cbor import Fraction
from cose import decode_sign1, signed_bytes
from identity import Identity

IDENTITY = Identity(bytes(range(32)))
NOW = 1767225600
CLOCK = statement.Clock(statement.NTP, 2, 3600)
PACK = senml.pack("house-1/", NOW, [("temperature", "Cel", Fraction(-2, 1290))])
BODY = cbor.encode({0: "gap", 1: 1, 2: 3, 3: "outbox full"})
NO_DECIMALS = (
    "|-|.|1.|.5|+1|--1|1e3|1,5| 1|1 |0x10|1_0|nan|1.2.3|1.-2|\u0661"
    "|9007199254740992|900719925474099.20|1.0000000000000000000"
)


def sign(**changes):
    arguments = {
        "sub": "house-1",
        "seq": 7,
        "prev": b"\x01" * 32,
        "content_type": statement.READINGS,
        "payload": PACK,
        "iat": NOW,
        "clock": CLOCK,
        "boot_count": 3,
        "beacon": bytes(16),
        "method": statement.MEASURED,
    }
    arguments.update(changes)
    return statement.sign(IDENTITY, **arguments)


class TestSign(unittest.TestCase):
    def test_as_the_gateway(self):
        count = 0
        with open(os.getenv("EARMARK_CASES")) as lines:
            for line in lines:
                kind, *row = json.loads(line)
                if kind == "statement":
                    self.compare(*row)
                    count += 1
        self.assertTrue(count >= 20, count)

    def compare(self, seed, arguments, pack, body, expected):
        """Sign the same with the firmware; `pack` is [base name, base time, readings], numbers as [text]."""
        if pack:
            readings = [(name, unit, exact(value), exact(time)) for name, unit, value, time in pack[2]]
            payload = senml.pack(pack[0], pack[1], readings)
            arguments["content_type"] = statement.READINGS
        else:
            payload = bytes.fromhex(body)
            arguments["content_type"] = statement.BODY
        arguments["prev"] = bytes.fromhex(arguments["prev"])
        if arguments["beacon"] is not None:
            arguments["beacon"] = bytes.fromhex(arguments["beacon"])
        signed = statement.sign(Identity(bytes.fromhex(seed)), payload=payload, **arguments)
        self.assertEqual(signed.hex(), expected)

    def test_signature(self):
        protected, payload, signature = decode_sign1(sign())
        self.assertEqual(payload, PACK)
        ed25519.verify(IDENTITY.key, signed_bytes(protected, payload), signature)

    def test_claims(self):
        protected, _, _ = decode_sign1(sign())
        header = cbor.decode(protected)
        self.assertEqual(sorted(header), [1, 3, 4, 15])
        self.assertEqual((header[1], header[3], header[4]), (-8, 112, IDENTITY.kid))
        expected = {1: IDENTITY.did, 2: "house-1", 6: NOW, 10: bytes(16), 267: 3, -65539: 0}
        expected[-65537], expected[-65538] = [7, b"\x01" * 32], [2, 2, 3600]
        self.assertEqual(header[15], expected)

    def test_optional_claims(self):
        protected, _, _ = decode_sign1(
            sign(content_type=statement.BODY, payload=BODY, beacon=None, method=None, software="1.0")
        )
        header = cbor.decode(protected)
        self.assertEqual(header[3], "application/vnd.earmark+cbor")
        self.assertEqual(sorted(header[15]), [-65538, -65537, 1, 2, 6, 267, 271])
        self.assertEqual(header[15][271], ["1.0"])

    def test_envelope_is_at_most_256_bytes(self):
        widest = {"sub": "n" * 32, "seq": (1 << 53) - 1, "boot_count": (1 << 32) - 1}
        widest["payload"] = senml.pack("n" * 32 + "/", NOW, [("t", None, 1)])
        signed = sign(**widest)
        self.assertTrue(len(signed) - len(widest["payload"]) <= 285, len(signed) - len(widest["payload"]))
        self.assertTrue(len(sign()) - len(PACK) <= 256)

    def test_entry(self):
        protected_entry = statement.entry(b"abc").hex()
        self.assertEqual(protected_entry, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")

    def test_refused(self):
        for changes in (
            {"sub": ""},
            {"sub": "-a"},
            {"sub": "A"},
            {"sub": "a" * 33},
            {"sub": "a/b"},
            {"seq": 0},
            {"seq": 1 << 53},
            {"seq": 1},
            {"prev": bytes(32)},
            {"prev": b"\x01" * 31},
            {"iat": -1},
            {"iat": 1 << 40},
            {"clock": (5, 0, 0)},
            {"clock": (0, 0, 0)},
            {"clock": (0, 1, 0), "iat": 0},
            {"clock": (2, 1 << 32, 0)},
            {"clock": (2, 0, -1)},
            {"boot_count": 1 << 32},
            {"boot_count": -1},
            {"beacon": bytes(15)},
            {"method": None},
            {"method": 3},
            {"software": "1"},
            {"content_type": "text/plain"},
            {"content_type": statement.BODY},
            {"content_type": statement.BODY, "method": None, "software": ""},
            {"content_type": statement.BODY, "method": None, "software": "v" * 33},
            {"payload": bytes(8100)},
        ):
            with self.assertRaises(ValueError):
                self.assertEqual(sign(**changes), "refused", changes)


class TestPack(unittest.TestCase):
    def test_bytes(self):
        packed = senml.pack(
            "n/", NOW, [("t", "Cel", Fraction(-2, 1290)), ("open", None, True), ("s", None, "ok", Fraction(-3, -1500))]
        )
        self.assertEqual(
            packed.hex(),
            "83" + "a5006174016343656c02c4822119050a21626e2f221a6955b900" + "a200646f70656e04f5" + "a30061730362"
            "6f6b06c482223905db",
        )

    def test_unset_clock(self):
        self.assertEqual(cbor.decode(senml.pack("n/", 0, [("t", None, -4)])), [{0: "t", 2: -4, -2: "n/"}])

    def test_refused(self):
        good = ("t", None, 1)
        for base_name, base_time_s, readings in (
            ("n/", NOW, []),
            ("n/", NOW, [good] * 257),
            ("", NOW, [("", None, 1)]),
            ("-", NOW, [good]),
            ("n/", NOW, [("a b", None, 1)]),
            ("n/", NOW, [("\u00fc", None, 1)]),
            ("n/", NOW, [("t" * 95, None, 1)]),
            ("n/", NOW, [("t", None, 1.5)]),
            ("n/", NOW, [("t", None, None)]),
            ("n/", NOW, [("t", None, b"x")]),
            ("n/", NOW, [("t", None, 1 << 53)]),
            ("n/", NOW, [("t", None, -(1 << 53))]),
            ("n/", NOW, [("t", None, 1, Fraction(-4, 1))]),
            ("n/", NOW, [("t", None, 1, 0.5)]),
            ("n/", NOW, [("t", None, 1, True)]),
            ("n/", NOW, [("t", None, 1, (1 << 28) - NOW - 1)]),
            ("n/", 12, [good]),
            ("n/", 0, [("t", None, 1, 5)]),
            ("n/", Fraction(-4, NOW * 10000), [good]),
        ):
            with self.assertRaises(ValueError):
                self.assertEqual(senml.pack(base_name, base_time_s, readings), "refused", readings)


class TestFraction(unittest.TestCase):
    def test_texts(self):
        for text, number in (
            ("12.90", Fraction(-2, 1290)),
            ("-0.05", Fraction(-2, -5)),
            ("0.000", Fraction(-3, 0)),
            ("-7", -7),
            ("007", 7),
            ("9007199254740991", (1 << 53) - 1),
            ("-0." + "0" * 17 + "1", Fraction(-18, -1)),
        ):
            self.assertEqual(senml.fraction(text), number)

    def test_refused(self):
        for text in NO_DECIMALS.split("|"):
            with self.assertRaises(ValueError):
                self.assertEqual(senml.fraction(text), "refused", text)


def exact(value):
    return senml.fraction(value[0]) if isinstance(value, list) else value


if __name__ == "__main__":
    unittest.main()
