"""SHA-512 against FIPS 180-4's example and the platform's digests, which tests/test_firmware.py generates."""

import json
import os

import unittest_mini as unittest

import ed25519
import sha512

ABC = (
    "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
    "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
)


class TestSha512(unittest.TestCase):
    def test_abc(self):
        self.assertEqual(sha512.portable(b"abc").hex(), ABC)
        self.assertEqual(sha512.sha512(b"abc").hex(), ABC)

    def test_lengths_0_to_300(self):
        viper = None
        if ed25519.choose() == ed25519.VIPER:
            import ed25519_viper as viper
        lengths = []
        with open(os.getenv("EARMARK_CASES")) as lines:
            for line in lines:
                kind, *row = json.loads(line)
                if kind == "sha512":
                    message, digest = bytes.fromhex(row[0]), bytes.fromhex(row[1])
                    self.assertEqual(sha512.portable(message), digest, len(message))
                    self.assertEqual(sha512.sha512(message), digest, len(message))
                    if viper:
                        at = len(message) * 5 // 7
                        self.assertEqual(viper.sha512(message), digest, len(message))
                        self.assertEqual(viper.sha512(message[:at], message[at:], b""), digest, len(message))
                    lengths.append(len(message))
        self.assertEqual(lengths, list(range(301)))


if __name__ == "__main__":
    unittest.main()
