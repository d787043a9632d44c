"""Certificates in files: PEM and DER."""

from binascii import b2a_base64

import unittest_mini as unittest

import pem

DER = bytes(range(200))
TEXT = b"-----BEGIN CERTIFICATE-----\n" + b2a_base64(DER) + b"-----END CERTIFICATE-----\n"


class Pem(unittest.TestCase):
    def test_pem_and_der_give_the_same(self):
        self.assertEqual(pem.der(TEXT), DER)
        self.assertEqual(pem.der(DER), DER)

    def test_the_first_of_several_and_whatever_stands_before(self):
        self.assertEqual(pem.der(b"a comment\r\n" + TEXT.replace(b"\n", b"\r\n") + TEXT), DER)

    def test_one_that_was_cut_off_is_refused(self):
        with self.assertRaises(ValueError):
            pem.der(TEXT[:-20])


if __name__ == "__main__":
    unittest.main()
