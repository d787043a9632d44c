"""Ed25519 against RFC 8032 and against libsodium, whose answers tests/test_firmware.py generates."""

import json
import os
import sys

import unittest_mini as unittest

import ed25519
import ed25519_portable
import edwards

WHOLE = os.getenv("EARMARK_SIGNATURES") != "300"
CODES = [ed25519_portable]
if ed25519.choose() == ed25519.VIPER:
    import ed25519_viper

    CODES.append(ed25519_viper)

# RFC 8032 §7.1, TEST 1, 2, 3 and SHA(abc): seed, public key, message, signature.
RFC_8032 = (
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
        "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
)


def octets(row):
    return [bytes.fromhex(text) for text in row]


def generated(kind):
    """The rows of one kind from the file that EARMARK_CASES names: one JSON array a line, the kind first."""
    with open(os.getenv("EARMARK_CASES")) as lines:
        for line in lines:
            row = json.loads(line)
            if row[0] == kind:
                yield row[1:]


def accepts(key, message, signature):
    """The verdict of every code here: they must agree."""
    verdicts = []
    for code in CODES:
        try:
            code.verify(key, message, signature)
            verdicts.append(True)
        except ValueError:
            verdicts.append(False)
    if len(set(verdicts)) != 1:
        raise AssertionError("the codes do not agree: %r" % verdicts)
    return verdicts[0]


class TestChoice(unittest.TestCase):
    def tearDown(self):
        ed25519.choose()

    def test_viper_where_it_can_run(self):
        can = sys.implementation.name == "micropython" and sys.maxsize == 0x7FFFFFFF
        said = ed25519.choose()
        self.assertEqual(said if can else said[: len(ed25519.PORTABLE)], ed25519.VIPER if can else ed25519.PORTABLE)
        self.assertEqual(ed25519.name(), ed25519.VIPER if can else ed25519.PORTABLE)

    def test_portable_where_viper_computes_wrongly(self):
        if len(CODES) == 1:
            return
        viper = CODES[1]
        right, viper.sign = viper.sign, lambda seed, key, message: bytes(64)
        try:
            said = ed25519.choose()
        finally:
            viper.sign = right
        self.assertTrue(said.startswith("portable (viper does not run here: "), said)
        self.assertEqual(ed25519.name(), ed25519.PORTABLE)
        ed25519.self_test()

    def test_nothing_where_the_portable_computes_wrongly(self):
        kept, ed25519_portable.sha512 = ed25519_portable.sha512, lambda message: kept(message + b"x")
        try:
            if len(CODES) == 1:
                with self.assertRaises(RuntimeError):
                    ed25519.choose()
        finally:
            ed25519_portable.sha512 = kept


class TestSign(unittest.TestCase):
    def test_rfc_8032(self):
        for row in RFC_8032:
            seed, key, message, signature = octets(row)
            for code in CODES:
                self.assertEqual(code.public_key(seed), key)
                self.assertEqual(code.sign(seed, key, message), signature)
                code.verify(key, message, signature)

    def test_as_libsodium(self):
        count = 0
        for row in generated("sign"):
            seed, key, message, signature = octets(row)
            for code in CODES:
                self.assertEqual(code.public_key(seed), key)
                self.assertEqual(code.sign(seed, key, message), signature)
                if count % 5 == 0 or WHOLE:
                    code.verify(key, message, signature)
            count += 1
        self.assertEqual(count, int(os.getenv("EARMARK_SIGNATURES")))

    def test_seed_length(self):
        for size in (0, 31, 33, 64):
            for code in CODES:
                with self.assertRaises(ValueError):
                    code.public_key(bytes(size))


class TestVerify(unittest.TestCase):
    def test_as_libsodium(self):
        """Bit flips, points of small and of mixed order, forms that are not canonical."""
        counts = {True: 0, False: 0}
        for accepted, *row in generated("verify"):
            key, message, signature = octets(row)
            self.assertEqual(accepts(key, message, signature), accepted, row)
            counts[accepted] += 1
        self.assertTrue(counts[True] >= 20 and counts[False] >= 150, counts)

    def test_every_bit_counts(self):
        key, message, signature = octets(RFC_8032[2][1:])
        whole = key + message + signature
        for bit in range(0, 8 * len(whole), 5):
            altered = bytearray(whole)
            altered[bit >> 3] ^= 1 << (bit & 7)
            self.assertFalse(accepts(bytes(altered[:32]), bytes(altered[32:34]), bytes(altered[34:])), bit)

    def test_lengths(self):
        key, message, signature = octets(RFC_8032[1][1:])
        for key_size, signature_size in ((31, 64), (33, 64), (32, 63), (32, 65), (0, 64), (32, 0)):
            for code in CODES:
                with self.assertRaises(ValueError):
                    code.verify((key + key)[:key_size], message, (signature + signature)[:signature_size])


class TestPoints(unittest.TestCase):
    def test_encodings_refused(self):
        """No signature could show these: nobody knows a secret for them."""
        prime = (1 << 255) - 19
        unreduced = [prime + extra for extra in range(19)]
        signed_zero = [1 | 1 << 255, prime - 1 | 1 << 255]
        no_point = [2, 7]
        for number in unreduced + signed_zero + no_point:
            with self.assertRaises(ValueError):
                self.assertEqual(edwards.decode(number.to_bytes(32, "little")), "refused", number)

    def test_round_trip(self):
        for scalar in (1, 2, 3, edwards.ORDER - 1, 1 << 251):
            encoded = edwards.encode(edwards.multiply_base(scalar))
            self.assertEqual(edwards.encode(edwards.decode(encoded)), encoded)
            base = edwards.multiply_base(1)
            self.assertEqual(edwards.encode(edwards.multiply(base, scalar)), encoded)
        for scalar in (0, edwards.ORDER):
            self.assertEqual(edwards.encode(edwards.multiply_base(scalar)), b"\x01" + bytes(31))


class TestSelfTest(unittest.TestCase):
    def test_passes(self):
        ed25519.self_test()


if __name__ == "__main__":
    unittest.main()
