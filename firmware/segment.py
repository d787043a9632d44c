"""One file of the outbox: what is in it, and what is left of it after a power cut or on worn flash."""

import record

_SUFFIX = ".seg"
_PIECE = 2048
_SECTOR = 512
_UNREADABLE = (5, 84)  # EIO, and what littlefs says of a damaged block


def file_name(first):
    """The name of the segment that begins with this seq."""
    return "%016d%s" % (first, _SUFFIX)


def is_name(name):
    """Whether a file of this name is a segment."""
    return len(name) == 20 and name[:16].isdigit() and name[16:] == _SUFFIX


class Segment:
    """A file of records: its name, its first and last seq, and the bytes of it that count."""

    def __init__(self, first):
        self.name = file_name(first)
        self.first = first
        self.last = first - 1
        self.size = 0


class Found:
    """What a segment holds.

    `head` is (seq, entry) of its last record and None if it has none, `mark` that record's; `gaps` [(seq, (first,
    last))] of its gap statements; `lost` the runs [(first, last)] of statements that are damaged or missing; `wounds`
    [(offset, size)] of bytes that are no record, the last of which ends the file if `tail`, and is short enough for
    the torn write of a power cut if `torn`.
    """

    def __init__(self, name):
        self.segment = Segment(int(name[:16]))
        self.head = None
        self.mark = b""
        self.gaps = []
        self.lost = []
        self.wounds = []
        self.tail = False
        self.torn = False
        self.limit = self.segment.first

    def wound(self, offset, size):
        """Note bytes that are no record."""
        self.wounds.append((offset, size))

    def add(self, record, sound):
        """Note a record and whether its statement is what was stored."""
        part = self.segment
        if record.seq > part.last + 1:
            self.lost.append((part.last + 1, record.seq - 1))
        if not sound:
            self.lost.append((record.seq, record.seq))
        if record.gap:
            self.gaps.append((record.seq, record.gap))
        part.last = record.seq
        part.size = record.end
        self.head = (record.seq, record.entry)
        self.mark = record.mark


class Worn:
    """A folder's `read` over a medium that gives some bytes no more: zeros are in their place.

    `failure` is the number of the error, 0 without one.  `missed` is for whoever reads: whether something that was
    wanted was not there for that.
    """

    def __init__(self, folder):
        self._folder = folder
        self.failure = 0
        self.missed = False

    def read(self, name, offset, length):
        """`Folder.read`, with zeros for every sector of it that cannot be read."""
        try:
            return self._folder.read(name, offset, length)
        except OSError as failure:
            if failure.args[0] not in _UNREADABLE:
                raise
            self.failure = failure.args[0]
        if length <= _SECTOR:
            return bytes(length)
        end = offset + length
        return b"".join(self.read(name, at, min(_SECTOR, end - at)) for at in range(offset, end, _SECTOR))


class _Ahead:
    """A folder's `read` that opens the file once for several records."""

    def __init__(self, folder):
        self._folder = folder
        self._start = 0
        self._piece = b""

    def read(self, name, offset, length):
        """Up to `length` bytes of the one file that this is used for."""
        at = offset - self._start
        if at < 0 or at + length > len(self._piece):
            self._piece = self._folder.read(name, offset, max(length, _PIECE))
            self._start, at = offset, 0
        return self._piece[at : at + length]


def pieces(folder, part):
    """Yield the bytes of a segment that count, a piece at a time."""
    for at in range(0, part.size, _PIECE):
        yield folder.read(part.name, at, min(_PIECE, part.size - at))


def recover(folder, name):
    """Read a segment through, a few statements in memory at a time."""
    found = Found(name)
    length = folder.size(name)
    folder = _Ahead(Worn(folder))
    for each in record.walk(folder, name, length, found.wound):
        found.add(each, record.statement(folder, name, each) is not None)
    found.limit = found.segment.last + 1
    if found.wounds and found.segment.size < length:
        size = length - found.segment.size
        window = folder.read(name, found.segment.size, min(size, record.MAX_HEADER))
        found.tail = True
        found.torn = record.is_torn(window, size, found.limit)
        found.limit += size // record.MIN_SIZE + 1
    return found
