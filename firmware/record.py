"""The outbox's records: one statement each, framed so that a damaged one is noticed and the next is found.

    offset  bytes  field (big-endian)
    0       2      "Em"
    2       1      gaps: how many (first, last) ranges this statement tells of, 0 or 1
    3       1      length of the mark
    4       2      length of the statement
    6       8      seq
    14      32     entry: SHA-256 of the statement
    46      16·g   first and last seq of the gap
            m      mark: the application's own state as of this statement, opaque here
            4      CRC-32 of everything before
            n      statement

The header has a checksum of its own and names the entry, so the chain goes on after a statement that rotted.
"""

import hashlib
import struct
from binascii import crc32

_FIXED = ">2sBBHQ32s"
_SIZE = 46
_MAGIC = b"Em"
MAX_MARK = 255
MIN_SIZE = _SIZE + 4
MAX_HEADER = _SIZE + 16 + MAX_MARK + 4
_STEP = 1024  # bytes read at once in search of the next record


class Record:
    """A record's header and where it stands: `offset` and `size` of the record, `body` the offset of the statement."""

    def __init__(self, offset, header):
        _, gaps, mark_length, length, self.seq, self.entry = struct.unpack(_FIXED, header[:_SIZE])
        end = _SIZE + 16 * gaps
        self.gap = struct.unpack(">QQ", header[_SIZE:end]) if gaps else None
        self.mark = bytes(header[end : end + mark_length])
        self.offset = offset
        self.body = offset + end + mark_length + 4
        self.length = length
        self.end = self.body + length


def encode(seq, entry, statement, mark, gap):
    """The bytes of a record; `gap` is (first, last) or None."""
    if len(mark) > MAX_MARK or len(statement) > 0xFFFF:
        raise ValueError("a record holds a mark of 255 bytes and a statement of 65,535 bytes at most")
    header = struct.pack(_FIXED, _MAGIC, 1 if gap else 0, len(mark), len(statement), seq, entry)
    if gap:
        header += struct.pack(">QQ", gap[0], gap[1])
    header += mark
    return header + struct.pack(">I", crc32(header)) + statement


def decode(offset, window):
    """The record whose header begins `window`, or None if none does."""
    if len(window) < _SIZE or window[:2] != _MAGIC or window[2] > 1:
        return None
    end = _SIZE + 16 * window[2] + window[3]
    if len(window) < end + 4 or struct.pack(">I", crc32(window[:end])) != window[end : end + 4]:
        return None
    return Record(offset, window)


def is_torn(window, size, seq):
    """Whether `size` bytes, whose beginning is `window`, are what a power cut left of writing the record with this seq.

    Rot does not shorten a file: bytes that are a whole record's, or no record's, were perhaps stored and sent.
    """
    if window[:2] != _MAGIC[: len(window)] or window[2:3] > b"\x01":
        return False
    if size < _SIZE:
        return size < 14 or window[6:14] == struct.pack(">Q", seq)
    _, gaps, mark_length, length, found, _ = struct.unpack(_FIXED, window[:_SIZE])
    least = MIN_SIZE + 16 * gaps
    if found != seq:
        return False
    if size < least + mark_length:
        return size < least + length  # else it is a whole record with another length of its mark
    return decode(0, window) is not None and size < least + mark_length + length


def walk(folder, name, size, damage=None, start=0):
    """Yield the records between `start` and `size` of a file in order, one header in memory at a time.

    A record counts when its header checks and it ends within `size`.  Bytes that are no record are stepped over
    and given to `damage(offset, length)`.
    """
    offset = good = start
    last = 0
    while offset < size:
        found = decode(offset, folder.read(name, offset, min(MAX_HEADER, size - offset)))
        if found and found.end <= size and found.seq > last:
            if offset > good and damage:
                damage(good, offset - good)
            yield found
            last = found.seq
            good = offset = found.end
        else:
            offset = _next_magic(folder, name, offset + 1, size)
    if good < size and damage:
        damage(good, size - good)


def _next_magic(folder, name, offset, size):
    """Where the next two magic bytes stand at or after `offset`, or `size`."""
    while offset < size:
        window = folder.read(name, offset, min(_STEP, size - offset))
        at = window.find(_MAGIC)
        if at >= 0:
            return offset + at
        if len(window) < _STEP:
            return size
        offset += len(window) - 1
    return size


def statement(folder, name, record):
    """The statement of a record, or None if its bytes are no longer those that were stored."""
    body = folder.read(name, record.body, record.length)
    return body if hashlib.sha256(body).digest() == record.entry else None
