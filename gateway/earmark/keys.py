"""Private keys in files that only their owner reads: plain, or sealed with a passphrase (docs/security.md).

plain   64 hexadecimal digits: the 32-byte seed of RFC 8032
sealed  `earmark-sealed-key-1 argon2id PASSES MIB SALT BOX`, all on one line
"""

import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import nacl.exceptions
from nacl.pwhash import argon2id
from nacl.secret import SecretBox
from nacl.utils import random

from earmark.errors import ConfigError

PASSES = 4
MEMORY_MIB = 64
"""Fits a board with 512 MiB beside the gateway, its broker and the system."""
MOST_PASSES = 64
MOST_MEMORY_MIB = 1024
LEAST_PASSPHRASE = 12
MOST_FILE = 4096
UNFINISHED = ".part"
"""Ends the name of a file that is not written to its end yet."""

_PLAIN = re.compile(r"[0-9a-f]{64}\n?")
_SEALED = re.compile(r"earmark-sealed-key-1 argon2id ([1-9]\d{0,2}) ([1-9]\d{0,3}) ([0-9a-f]{32}) ([0-9a-f]{144})\n?")


def read_seed(path: Path, what: str, passphrase: Callable[[], bytes]) -> bytes:
    """Return the seed in a key's file; `passphrase` is asked only where it is sealed.

    `ConfigError` where the file is missing, open to others or no key, or the passphrase is not the one.
    """
    text = read_private(path, what)
    if _PLAIN.fullmatch(text):
        return bytes.fromhex(text)
    sealed = _SEALED.fullmatch(text)
    if sealed is None:
        raise ConfigError(f"{path} does not hold a key: 64 hexadecimal digits, or what `earmark key seal` writes")
    passes, memory_mib = int(sealed[1]), int(sealed[2])
    if passes > MOST_PASSES or not 1 <= memory_mib <= MOST_MEMORY_MIB:
        raise ConfigError(
            f"{path} asks for {passes} passes over {memory_mib} MiB; at most {MOST_PASSES} over {MOST_MEMORY_MIB} "
            "are made: it was not written by `earmark key seal`"
        )
    key = _stretch(passphrase(), bytes.fromhex(sealed[3]), passes, memory_mib)
    try:
        return SecretBox(key).decrypt(bytes.fromhex(sealed[4]))
    except nacl.exceptions.CryptoError:
        raise ConfigError(f"the passphrase does not open {path}, or the file is damaged") from None


def write_seed(path: Path, seed: bytes, passphrase: bytes | None) -> None:
    """Put a seed into its file, sealed where there is a passphrase; the old file stays until the new one is on disk."""
    if passphrase is None:
        replace_private(path, seed.hex() + "\n")
        return
    salt = random(argon2id.SALTBYTES)
    box = SecretBox(_stretch(passphrase, salt, PASSES, MEMORY_MIB)).encrypt(seed)
    replace_private(path, f"earmark-sealed-key-1 argon2id {PASSES} {MEMORY_MIB} {salt.hex()} {bytes(box).hex()}\n")


def _stretch(passphrase: bytes, salt: bytes, passes: int, memory_mib: int) -> bytes:
    try:
        return argon2id.kdf(SecretBox.KEY_SIZE, passphrase, salt, opslimit=passes, memlimit=memory_mib << 20)
    except (nacl.exceptions.CryptoError, MemoryError):
        raise ConfigError(f"a sealed key needs {memory_mib} MiB of free memory while it is opened") from None


def passphrase_bytes(text: str) -> bytes:
    """Return a passphrase as it goes into argon2id: Unicode NFC, UTF-8, so that every keyboard gives the same."""
    return unicodedata.normalize("NFC", text).encode()


def new_passphrase(text: str) -> bytes:
    """Return a passphrase that is to seal a key; `ConfigError` where it is too short."""
    if len(text) < LEAST_PASSPHRASE:
        raise ConfigError(f"a passphrase has at least {LEAST_PASSPHRASE} characters; several words do well")
    return passphrase_bytes(text)


def read_private(path: Path, what: str) -> str:
    """Return the text of a file that only its owner reads, at most 4,096 bytes.

    `ConfigError` where others may read or write it, or it cannot be read; no error shows anything of the text.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            held = file.read(MOST_FILE + 1)
    except OSError as error:
        raise ConfigError(f"{what} cannot be read from {path}: {error.strerror}") from error
    if mode & 0o077:
        raise ConfigError(
            f"{path} is open to other users (mode {mode:04o}): say `chmod 600 {path}`; if anyone else has been on this "
            f"machine, take {what} for stolen, and see docs/security.md"
        )
    try:
        text = held.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{path} does not hold text") from None
    if len(held) > MOST_FILE:
        raise ConfigError(f"{path} has more than {MOST_FILE:,} bytes: it is not {what}")
    return text


def replace_private(path: Path, text: str | bytes) -> None:
    """Write a file that only its owner reads, synced, in the place of what is there: at any moment it is one or the
    other, whole.

    An owner that it had stays, so that root may do this for the gateway's user.
    """
    path = path.resolve()
    part = path.with_name(path.name + UNFINISHED)
    part.unlink(
        missing_ok=True
    )  # an interrupted call's; no link is followed that the folder's owner put there for root
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            _keep_owner(path, file.fileno())
            file.write(text.encode() if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Bring to disk which files a folder has."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _keep_owner(path: Path, number: int) -> None:
    """Give an open file the owner of the one that it replaces; no call at all where that is so already: the service's
    filter allows none.
    """
    if not path.exists():
        return
    before, now = path.stat(), os.fstat(number)
    if (before.st_uid, before.st_gid) != (now.st_uid, now.st_gid):
        os.fchown(number, before.st_uid, before.st_gid)
