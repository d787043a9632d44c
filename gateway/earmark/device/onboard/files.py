"""Files on the board: what is there, by hash; a file taken in pieces and put in its place once it is whole."""

import hashlib
import os
from binascii import a2b_base64, crc32, hexlify

_files = []


def room():
    """(bytes free, bytes in all) of the board's file system."""
    block, _, total, free = os.statvfs("/")[:4]
    return block * free, block * total


def is_there(path):
    """Whether there is a file or folder."""
    try:
        os.stat(path)
        return True
    except OSError:
        return False


def below(folder):
    """[(path, size), …] of all files in a folder and the folders in it; none where there is no such folder."""
    found = []
    if is_there(folder):
        for row in os.ilistdir(folder):
            path = folder.rstrip("/") + "/" + row[0]
            if row[1] & 0x4000:
                found += below(path)
            else:
                found.append((path, os.stat(path)[6]))
    return found


def digest(path):
    """SHA-256 of a file in hexadecimal digits, None where there is none."""
    state = hashlib.sha256()
    piece = bytearray(512)
    try:
        with open(path, "rb") as file:
            while True:
                length = file.readinto(piece)
                if not length:
                    return hexlify(state.digest()).decode()
                state.update(memoryview(piece)[:length])
    except OSError:
        return None


def active_slot(home):
    """The slot, 0 or 1, that the newer of the loader's states in a node's folder names; 0 where none can be read.

    A state (firmware/loader.py) is its form, 1, its serial number in four bytes, the active slot, what is of no concern
    here, and the CRC-32 of all that.
    """
    newest = (0, 0)
    for name in ("/slots.0", "/slots.1"):
        try:
            with open(home + name, "rb") as file:
                state = file.read(64)
        except OSError:
            continue
        if len(state) == 53 and state[0] == 1 and crc32(state[:-4]) == int.from_bytes(state[-4:], "big"):
            newest = max(newest, (int.from_bytes(state[1:5], "big"), state[5]))
    return newest[1] & 1


def make_folders(path):
    """Make the folders above a path."""
    parts = path.strip("/").split("/")[:-1]
    for length in range(1, len(parts) + 1):
        folder = "/" + "/".join(parts[:length])
        if not is_there(folder):
            os.mkdir(folder)


def begin(path):
    """Begin a file; what stands at the path stays until `end`."""
    make_folders(path)
    _files[:] = [open(path + ".new", "wb")]


def add(piece):
    """Add a piece, in base64."""
    _files[0].write(a2b_base64(piece))


def end(path, wanted):
    """Put the file in its place if it has this SHA-256; return whether."""
    _files[0].close()
    if digest(path + ".new") != wanted:
        os.remove(path + ".new")
        return False
    os.rename(path + ".new", path)
    return True


def remove(path):
    """Remove a file or a whole folder, where there is one."""
    if not is_there(path):
        return
    if os.stat(path)[0] & 0x4000:
        for row in os.ilistdir(path):
            remove(path + "/" + row[0])
        os.rmdir(path)
    else:
        os.remove(path)


def text(path):
    """A file's text, None where there is none."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return None
