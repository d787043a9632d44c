"""The key pair's names, and its file: made once, whole, and never written again."""

import os

import scratch
import unittest_mini as unittest

import ed25519
from identity import Identity, did, kid, load_or_create

# RFC 8032 TEST 1's key; its did:key and thumbprint by docs/protocol.md §2.
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
KEY = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
DID = "did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw"
KID = "866eefbd6718c884"


class Failing(scratch.NoSync):
    """A medium that fails at its nth call, counted from 0."""

    def __init__(self, at):
        super().__init__()
        self._at = at

    def file(self, stream):
        self._count()
        super().file(stream)

    def folder(self, path):
        self._count()
        super().folder(path)

    def _count(self):
        if len(self.calls) == self._at:
            raise OSError(5)


class TestNames(unittest.TestCase):
    def test_rfc_8032_key(self):
        identity = Identity(SEED)
        self.assertEqual((identity.key, identity.did, identity.kid.hex()), (KEY, DID, KID))
        self.assertEqual((did(KEY), kid(KEY).hex()), (DID, KID))

    def test_sign(self):
        identity = Identity(SEED)
        ed25519.verify(KEY, b"message", identity.sign(b"message"))

    def test_shows_no_seed(self):
        self.assertFalse(SEED.hex() in repr(Identity(SEED)))


class TestFile(unittest.TestCase):
    def setUp(self):
        self.folder = scratch.folder()
        self.path = self.folder + "/identity"

    def tearDown(self):
        scratch.remove(self.folder)

    def content(self):
        with open(self.path, "rb") as stream:
            return stream.read()

    def write(self, content):
        with open(self.path, "wb") as stream:
            stream.write(content)

    def test_made_once(self):
        sync = scratch.NoSync()
        made = load_or_create(self.path, lambda size: SEED[:size], sync)
        self.assertEqual(sync.calls, ["file", "folder"])
        self.assertEqual(made.key, KEY)
        self.assertEqual(self.content(), SEED + KEY)
        self.assertEqual(os.listdir(self.folder), ["identity"])
        again = load_or_create(self.path, forbidden, sync)
        self.assertEqual((again.key, again.sign(b"m")), (KEY, made.sign(b"m")))

    def test_medium_fails(self):
        """Whichever step fails, no key is handed out, and the next start has one whole key for good."""
        for at in range(2):
            with self.assertRaises(OSError):
                load_or_create(self.path, lambda size: b"1" * size, Failing(at))
            first = load_or_create(self.path, lambda size: b"2" * size, scratch.NoSync())
            self.assertEqual(first.key, load_or_create(self.path, forbidden, scratch.NoSync()).key)
            os.remove(self.path)

    def test_cut_while_writing(self):
        for size in (0, 1, 32, 63, 64):
            with open(self.path + ".new", "wb") as stream:
                stream.write((b"1" * 32 + KEY)[:size])
            made = load_or_create(self.path, lambda size: SEED[:size], scratch.NoSync())
            self.assertEqual((made.key, self.content()), (KEY, SEED + KEY))
            self.assertEqual(os.listdir(self.folder), ["identity"])
            os.remove(self.path)

    def test_damaged(self):
        for content in (b"", SEED, (SEED + KEY)[:63], SEED + KEY + b"x", KEY + SEED, b"\x00" + (SEED + KEY)[1:]):
            self.write(content)
            with self.assertRaises(ValueError):
                load_or_create(self.path, forbidden, scratch.NoSync())
            self.assertEqual(self.content(), content)

    def test_short_randomness(self):
        with self.assertRaises(ValueError):
            load_or_create(self.path, lambda size: bytes(size - 1), scratch.NoSync())
        self.assertEqual(os.listdir(self.folder), [])


def forbidden(size):
    raise AssertionError("a key is there: none may be made")


if __name__ == "__main__":
    unittest.main()
