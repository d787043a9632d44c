"""RFC 8949 Appendix A, from the file that EARMARK_CBOR names: what docs/protocol.md §1 admits, and nothing else."""

import json
import os

import unittest_mini as unittest

import cbor

# Values that JSON cannot hold.
EXACT = {"a201020304": {1: 2, 3: 4}, "40": b"", "4401020304": b"\x01\x02\x03\x04"}


def admitted(case, encoded):
    """Deterministic, and neither a tag nor a float nor a simple value but false, true and null."""
    simple = encoded[0] >> 5 == 7 and encoded[0] not in (0xF4, 0xF5, 0xF6)
    return case["roundtrip"] and encoded[0] >> 5 != 6 and not simple


class TestAppendixA(unittest.TestCase):
    def test_all(self):
        with open(os.getenv("EARMARK_CBOR")) as stream:
            cases = json.load(stream)
        counts = {True: 0, False: 0}
        for case in cases:
            encoded = bytes.fromhex(case["hex"])
            admit = admitted(case, encoded)
            counts[admit] += 1
            if admit:
                value = EXACT[case["hex"]] if case["hex"] in EXACT else case["decoded"]
                decoded = cbor.decode(encoded)
                self.assertEqual(decoded, value)
                self.assertEqual(type(decoded), type(value))
                self.assertEqual(cbor.encode(value), encoded)
            else:
                with self.assertRaises(ValueError):
                    cbor.decode(encoded)
        self.assertTrue(counts[True] >= 30 and counts[False] >= 40, counts)


if __name__ == "__main__":
    unittest.main()
