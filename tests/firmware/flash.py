"""NOR flash in memory under MicroPython's littlefs, with the power cut at any program or erase, and every one counted.

A program clears bits, an erase sets all of a block's.  A cut leaves any prefix of a program, and any of an erase.
"""

import os

try:
    import vfs
except ImportError:  # CPython
    vfs = None

BLOCK = 4096  # as ESP32 and RP2 boards have it
_buffers = {}


class Flash:
    """`at_cut(image)` is called with states that a cut may leave, to do with as it likes; after `cut_in` further
    operations the power is gone until `revive`: nothing is written any more, and `dead` says so.  `erases` counts by
    block, `programmed` counts bytes.
    """

    def __init__(self, blocks, image=None, program=32):
        self.blocks = blocks
        self.program = program
        self.image = bytearray(b"\xff" * (blocks * BLOCK)) if image is None else image
        self.at_cut = None
        self.cut_in = None
        self.dead = False
        self.torn = 0
        self.erases = [0] * blocks
        self.programs = self.programmed = 0

    def revive(self):
        """The power is back."""
        self.dead = False
        self.cut_in = None

    def readblocks(self, block, into, offset=0):
        start = block * BLOCK + offset
        into[:] = memoryview(self.image)[start : start + len(into)]

    def writeblocks(self, block, piece, offset=0):
        start = block * BLOCK + offset
        image = self.image
        kept = self._kept(start, len(piece), lambda at: image[start + at] & piece[at])
        if image[start : start + kept] == b"\xff" * kept:
            image[start : start + kept] = piece[:kept]
        else:
            for at in range(kept):
                image[start + at] &= piece[at]
        if kept < len(piece):
            return -5
        self.programs += 1
        self.programmed += kept
        return 0

    def ioctl(self, operation, argument):
        if operation == 4:
            return self.blocks
        if operation == 5:
            return BLOCK
        if operation == 6:
            return self._erase(argument)
        return 0

    def _erase(self, block):
        start = block * BLOCK
        kept = self._kept(start, BLOCK, lambda at: 0xFF)
        self.image[start : start + kept] = b"\xff" * kept
        if kept < BLOCK:
            return -5
        self.erases[block] += 1
        return 0

    def _kept(self, start, length, content):
        """How many bytes of an operation reach the medium; shows what a cut in it would leave."""
        if self.dead:
            return 0
        if self.cut_in is not None:
            self.cut_in -= 1
            if self.cut_in < 0:
                self.dead = True
                return self.torn % length
        if self.at_cut:
            for kept in (0, 1 + self.torn % (length - 1)):
                left = _buffer("left", len(self.image))
                left[:] = self.image
                for at in range(kept):
                    left[start + at] = content(at)
                self.at_cut(left)
            self.torn += 1789
        return length


class NoSync:
    """littlefs commits a file when it is flushed, and its name with it (board/microcontroller.py)."""

    def file(self, stream):
        stream.flush()

    def folder(self, path):
        """Nothing is left to do."""


def _buffer(name, size):
    """The same memory again: large blocks are scarce on a heap that was long in use."""
    if len(_buffers.get(name, b"")) != size:
        _buffers[name] = bytearray(size)
    return _buffers[name]


def make(blocks, program=32):
    """A flash with an empty file system, in the place of the last one; `program` bytes are programmed at least, which
    is 32 on ESP32 and 256 on RP2."""
    flash = Flash(blocks, _buffer("image", blocks * BLOCK), program)
    flash.image[:] = b"\xff" * len(flash.image)
    vfs.VfsLfs2.mkfs(flash, progsize=program)
    return flash


def mount(flash, path="/flash"):
    """Mount its file system, in place of another that is mounted there."""
    unmount(path)
    vfs.mount(vfs.VfsLfs2(flash, progsize=flash.program), path)
    return path


def unmount(path="/flash"):
    if path[1:] in os.listdir("/"):
        try:  # noqa: SIM105 - MicroPython has no contextlib
            vfs.umount(path)
        except OSError:
            pass
