"""What the node had to give up and has not yet told of: ranges [(first, last, why), …], ascending.

The note on the medium is 1 byte length and the name of a segment whose deletion is underway (none: length 0), then
17 bytes a range (first and last as 8 bytes each, why as 1), then the CRC-32 of all that.
"""

import struct
from binascii import crc32

import runs

FULL = 0
DAMAGED = 1
_MAX_RANGES = 16
_NOTE = "dropped"


class Dropped:
    """The ranges and their note, a file of its own that is replaced as a whole."""

    def __init__(self, folder):
        self._folder = folder
        self.ranges = []
        self._written = []

    @property
    def noted(self):
        """Whether the note on the medium says the same."""
        return self.ranges == self._written

    def add(self, first, last, why):
        """Take in a range; beyond 16 of them the last two become one."""
        same = [(low, high) for low, high, reason in self.ranges if reason == why]
        result = [r for r in self.ranges if r[2] != why]
        result += [(low, high, why) for low, high in runs.add(same, first, last)]
        result.sort()
        while len(result) > _MAX_RANGES:
            upper, lower = result.pop(), result.pop()
            result.append((lower[0], max(lower[1], upper[1]), FULL))
        self.ranges = result

    def forget(self, gaps):
        """Leave out what stored gap statements tell of, [(first, last), …]; returns whether that changed anything."""
        told = []
        for first, last in gaps:
            told = runs.add(told, first, last)
        left = []
        for first, last, why in self.ranges:
            left += [(low, high, why) for low, high in runs.without(told, first, last)]
        changed = left != self.ranges
        self.ranges = left
        return changed

    def due(self, waiting):
        """(first, last, why) for the next gap statement, or None.

        It takes in what the gap statements that still wait, [(first, last), …], told next to it, so that one may go
        with the oldest segment and nothing has to be told again.
        """
        if not self.ranges:
            return None
        first, _, why = self.ranges[0]
        told = []
        for low, high in waiting + [(low, high) for low, high, _ in self.ranges]:
            told = runs.add(told, low, high)
        return next((low, high, why) for low, high in told if low <= first <= high)

    def write(self, doomed=""):
        """Put the note on the medium; `doomed` names a segment whose deletion is underway."""
        self._folder.replace(_NOTE, encode(self.ranges, doomed))
        self._written = self.ranges

    def read(self):
        """Take up the note; returns the segment whose deletion is to be finished, or "".

        Raises `ValueError` if the note is damaged; it is passed over then.
        """
        if _NOTE not in self._folder.names():
            return ""
        self.ranges, doomed = decode(self._folder.read(_NOTE, 0, 4096))
        self._written = self.ranges
        return doomed


def encode(ranges, doomed=""):
    """The note's bytes."""
    content = struct.pack(">B", len(doomed)) + doomed.encode()
    for entry in ranges:
        content += struct.pack(">QQB", *entry)
    return content + struct.pack(">I", crc32(content))


def decode(content):
    """(ranges, doomed) of a note; raises `ValueError` if its bytes changed."""
    if len(content) < 5 or struct.pack(">I", crc32(content[:-4])) != content[-4:]:
        raise ValueError("the note of dropped statements is damaged and was ignored")
    at = 1 + content[0]
    doomed = content[1:at].decode()
    ranges = []
    while at < len(content) - 4:
        ranges.append(struct.unpack(">QQB", content[at : at + 17]))
        at += 17
    return ranges, doomed
