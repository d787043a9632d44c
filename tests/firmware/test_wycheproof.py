"""Project Wycheproof's Ed25519 vectors, valid and invalid, from the file that EARMARK_WYCHEPROOF names."""

import json
import os

import unittest_mini as unittest

import ed25519
import ed25519_portable


class TestWycheproof(unittest.TestCase):
    def test_portable(self):
        self.all_with(ed25519_portable)

    def test_chosen(self):
        if ed25519.choose() == ed25519.VIPER:
            self.all_with(ed25519)

    def all_with(self, code):
        with open(os.getenv("EARMARK_WYCHEPROOF")) as stream:
            vectors = json.load(stream)
        counts = {"valid": 0, "invalid": 0}
        for group in vectors["testGroups"]:
            key = bytes.fromhex(group["publicKey"]["pk"])
            for case in group["tests"]:
                try:
                    code.verify(key, bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]))
                    found = "valid"
                except ValueError:
                    found = "invalid"
                self.assertEqual(found, case["result"], case["comment"])
                counts[found] += 1
        self.assertTrue(counts["valid"] and counts["invalid"])
        self.assertEqual(counts["valid"] + counts["invalid"], vectors["numberOfTests"])


if __name__ == "__main__":
    unittest.main()
