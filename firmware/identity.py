"""A board's key pair and the names made from it, docs/protocol.md §2."""

import hashlib

import cose
import ed25519
import files

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_SEED_SIZE = 32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Identity:
    """A signer whose key is a file's: what signs statements has these names, whatever holds its key.

    `algorithm` is the COSE algorithm of its signatures, `key` the public key (32 bytes), `kid` 8 bytes, `did` a
    did:key.  A secure element is another class with the same five; docs/firmware.md says which would fit.
    """

    algorithm = cose.EDDSA

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self.key = ed25519.public_key(seed)
        self.kid = kid(self.key)
        self.did = did(self.key)

    def __repr__(self) -> str:
        return "Identity(%s)" % self.did

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of a message."""
        return ed25519.sign(self._seed, self.key, message)


def kid(key: bytes) -> bytes:
    """Return the 8-byte key id: the head of the RFC 9679 thumbprint."""
    return hashlib.sha256(b"\xa3\x01\x01\x20\x06\x21\x58\x20" + key).digest()[:8]


def did(key: bytes) -> str:
    """Return the did:key of a 32-byte public key, 56 characters."""
    number = int.from_bytes(b"\xed\x01" + key, "big")
    digits = ""
    while number:
        number, digit = divmod(number, 58)
        digits = _BASE58[digit] + digits
    return "did:key:z" + digits


def load_or_create(path: str, urandom: "Callable[[int], bytes]", sync: object) -> Identity:
    """Return the identity kept in a file, made anew from `urandom` where there is no such file.

    The file holds the seed and the public key, 32 bytes each, and is whole and on the medium before the key is
    used. A file that is there is never written: one that cannot be read raises OSError, one that is not what was
    written ValueError, and a person decides. `path` includes the folder,
    which `files.Folder` tidies; `sync` is the board's, as described there.
    """
    place, _, name = path.rpartition("/")
    folder = files.Folder(place or ".", sync)
    if name in folder.names():
        kept = folder.read(name, 0, 2 * _SEED_SIZE + 1)
    else:
        seed = urandom(_SEED_SIZE)
        kept = seed + ed25519.public_key(seed)
        folder.replace(name, kept)
    identity = Identity(kept[:_SEED_SIZE]) if len(kept) == 2 * _SEED_SIZE else None
    if identity is None or identity.key != kept[_SEED_SIZE:]:
        raise ValueError("%s is damaged: it does not hold a seed and its public key" % path)
    return identity
