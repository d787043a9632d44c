"""tests/vectors/: the firmware makes the protocol's own bytes, and admits and refuses what the protocol does."""

import json

import unittest_mini as unittest

import ack
import beacon
import cbor
import statement
from identity import Identity, did, kid

VECTORS = __file__.rpartition("/")[0] + "/../vectors/"


def vectors(name):
    with open(VECTORS + name + ".json") as stream:
        return json.load(stream)


def plain(value):
    """The value that a vector writes in JSON: maps have integer keys, {"fraction": …} and {"bytes": …} are leaves."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "fraction" in value:
        return cbor.Fraction(*value["fraction"])
    if "bytes" in value:
        return bytes.fromhex(value["bytes"])
    return {int(label): plain(item) for label, item in value.items()}


class TestVectors(unittest.TestCase):
    def test_keys(self):
        cases = vectors("key")["valid"]
        self.assertTrue(len(cases) > 1)
        for case in cases:
            identity = Identity(bytes.fromhex(case["seed"]))
            self.assertEqual(identity.key.hex(), case["key"])
            self.assertEqual((did(identity.key), kid(identity.key).hex()), (case["did"], case["kid"]))

    def test_statements(self):
        """Every one that a node makes: the same inputs give the same bytes."""
        signed = 0
        for case in vectors("statement")["valid"]:
            if case["boot_count"] is None or case["alg"] != -8:
                continue
            made = statement.sign(
                Identity(bytes.fromhex(case["seed"])),
                case["sub"],
                case["seq"],
                bytes.fromhex(case["prev"]),
                statement.BODY if case["method"] is None else statement.READINGS,
                cbor.encode(plain(case["payload"])),
                case["issued_at_s"],
                case["clock"],
                case["boot_count"],
                beacon=case["beacon"] and bytes.fromhex(case["beacon"]),
                software=case["software"],
                method=case["method"],
            )
            self.assertEqual(made.hex(), case["bytes"], case["name"])
            signed += 1
        self.assertTrue(signed >= 10, signed)

    def test_acknowledgements(self):
        suite = vectors("acknowledgement")
        key = bytes.fromhex(suite["key"])
        for case in suite["valid"]:
            found = ack.verify(bytes.fromhex(case["bytes"]), key, bytes.fromhex(case["kid"]))
            self.assertEqual([list(run) for run in found.runs], case["runs"])
            self.assertEqual([list(pair) for pair in found.refused], case["refused"])
            self.assertEqual(found.checkpoint, case["checkpoint"].encode())
            self.assertEqual(found.unix_ms, case["time_ms"])
        receiver = bytes.fromhex(suite["valid"][0]["kid"])
        self.assertTrue(len(suite["must_reject"]) >= 20)
        for case in suite["must_reject"]:
            with self.assertRaises(ValueError):
                self.assertEqual(ack.verify(bytes.fromhex(case["bytes"]), key, receiver), "refused", case["name"])

    def test_beacons(self):
        suite = vectors("beacon")
        for case in suite["valid"]:
            self.assertEqual(beacon.nonce(bytes.fromhex(case["bytes"])).hex(), case["nonce"])
        self.assertTrue(len(suite["must_reject"]) >= 10)
        for case in suite["must_reject"]:
            with self.assertRaises(ValueError):
                self.assertEqual(beacon.nonce(bytes.fromhex(case["bytes"])), "refused", case["name"])


if __name__ == "__main__":
    unittest.main()
