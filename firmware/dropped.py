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


def add(ranges, first, last, why):
    """The ranges with first … last added; beyond 16 ranges the last two become one."""
    same = [(low, high) for low, high, reason in ranges if reason == why]
    result = [r for r in ranges if r[2] != why]
    result += [(low, high, why) for low, high in runs.add(same, first, last)]
    result.sort()
    while len(result) > _MAX_RANGES:
        upper, lower = result.pop(), result.pop()
        result.append((lower[0], max(lower[1], upper[1]), FULL))
    return result


def untold(ranges, gaps):
    """What is left of the ranges once gap statements told of `gaps`, [(first, last), …]."""
    told = []
    for first, last in gaps:
        told = runs.add(told, first, last)
    result = []
    for first, last, why in ranges:
        result += [(low, high, why) for low, high in runs.without(told, first, last)]
    return result


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
