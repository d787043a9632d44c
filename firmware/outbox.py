"""The node's outbox: every signed statement, on the medium, until the gateway's acknowledgement frees it.

Statements are records (record.py) appended to segment files named after their first seq.  A segment goes when all in
it are freed and it is not the newest, so the newest record always tells where the chain stands.  What is freed is
kept in memory only: after a restart the rest is sent again, which the gateway recognises.  When `max_bytes` is
reached, or the medium is full before, the oldest segment goes, and what was dropped is remembered until a `gap`
statement that tells of it is stored.

Power cuts: a torn record at the end was never sent (`append` had not returned), so it is cut off and its seq is used
again.  A record that is whole was perhaps sent, so its seq is never used for other bytes, even if the statement rots:
then the header still carries the chain on, and the lost seq is among `dropped`.  Where the end of the chain itself is
lost, the lease (lease.py) says below which seq all was that this key may have signed: the chain goes on above, after
the newest statement that is known, and what lies between is among `dropped`.
"""

import hashlib

import record
import runs
import segment
from dropped import DAMAGED, FULL, Dropped
from lease import Lease
from reserve import Reserve, is_full

NO_ENTRY = bytes(32)
UNKNOWN_ENTRY = hashlib.sha256(b"").digest()  # what a chain goes on from when no statement of it is known any more


class OutboxError(Exception):
    """The medium refused a write; nothing was stored, and the same seq is to be tried again later."""


class Outbox:
    """The statements not yet acknowledged, oldest first, in a `files.Folder` of their own.

    `head` is (seq, entry) of the newest statement, (0, 32 zero bytes) before the first.  `mark` is the application's
    state as of that statement.  `damage` lists, as text, what was found wrong at the start.  Segments are at most
    `segment_bytes` long unless a single record is longer; there are always room and need for two.  `lease` is this
    key's, and survives the folder if it lies elsewhere.
    """

    def __init__(self, folder, max_bytes=1 << 20, segment_bytes=1 << 14, lease=None):
        if max_bytes < 2 * segment_bytes:
            raise ValueError("the outbox needs room for two segments: max_bytes is below 2 * segment_bytes")
        self._folder = folder
        self._lease = lease or Lease(folder)
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._reserve = Reserve(folder, segment_bytes)
        self._segments = []
        self._freed = []
        self._gaps = []
        self._torn = False  # whether the newest segment has more bytes on the medium than count
        self._place = ("", 0, 0)  # segment, seq and end of the record read last, where the next reading begins
        self.head = (0, NO_ENTRY)
        self.mark = b""
        self._dropped = Dropped(folder)
        self.damage = []
        self._recover()

    @property
    def count(self):
        """How many statements wait for an acknowledgement."""
        return sum(s.last - s.first + 1 - runs.common(self._freed, s.first, s.last) for s in self._segments)

    @property
    def size(self):
        """Bytes of all segments."""
        return sum(part.size for part in self._segments)

    @property
    def is_half_full(self):
        """Whether the oldest statements will have to go before as much again is signed."""
        return 2 * self.size > self._max_bytes

    @property
    def dropped(self):
        """[(first, last, FULL or DAMAGED), …] that no stored gap statement tells of."""
        return self._dropped.ranges

    def due(self):
        """(first, last, why) that the next gap statement is to tell of, or None."""
        return self._dropped.due([gap for seq, gap in self._gaps if self.waits(seq)])

    def waits(self, seq):
        """Whether the statement with this seq still waits for an acknowledgement."""
        stored = any(part.first <= seq <= part.last for part in self._segments)
        return stored and not runs.holds(self._freed, seq)

    def append(self, seq, statement, mark=None, gap=None):
        """Store the next statement; it is on the medium when this returns.

        `mark` (at most 255 bytes) replaces the application's state, `gap` (first, last) is what a gap statement tells
        of.  Raises `OutboxError` if the medium does not take it: nothing is stored then, not even after a restart.
        """
        if seq != self.head[0] + 1:
            raise ValueError("seq %d does not follow %d" % (seq, self.head[0]))
        mark = self.mark if mark is None else mark
        entry = hashlib.sha256(statement).digest()
        framed = record.encode(seq, entry, statement, mark, gap)
        try:
            self._mend()
            part = self._write(seq, framed)
        except OSError as failure:
            raise OutboxError("cannot store seq %d: %s" % (seq, failure))
        part.size += len(framed)
        part.last = seq
        self.head = (seq, entry)
        self.mark = mark
        if gap:
            self._gaps.append((seq, gap))
            self._settle()
        self._sweep()

    def pending(self, after=0):
        """Yield (seq, statement) of what is not freed and above `after`, oldest first, read from the medium one by one.

        Statements stored or freed meanwhile may or may not be among them.  Raises `OSError` after the last one if the
        medium did not give all.
        """
        unread = None
        for part in list(self._segments):
            if part.last > after:
                try:
                    yield from self._pending_in(part, after)
                except OSError as failure:
                    if part in self._segments:
                        unread = failure
        if unread:
            raise unread

    def free(self, acknowledged, refused=()):
        """Free what a verified acknowledgement names: runs [(first, last)] and single refused seq.

        Returns how many statements this freed.  What the medium then still holds, it holds no longer than until the
        next call.  Seq above the head are passed over.
        """
        before = self.count
        for first, last in list(acknowledged) + [(seq, seq) for seq in refused]:
            self._mark_freed(first, last)
        freed = before - self.count
        self._sweep()
        return freed

    def _mark_freed(self, first, last):
        if self._segments:
            first = max(first, self._segments[0].first)
            last = min(last, self.head[0])
            if first <= last:
                self._freed = runs.add(self._freed, first, last)

    def _pending_in(self, part, after):
        last = part.last
        name, seq, start = self._place
        if name != part.name or seq > after:
            seq, start = part.first - 1, 0
        medium = segment.Worn(self._folder)
        for found in record.walk(medium, part.name, part.size, None, start):
            self._miss(medium, seq + 1, found.seq - 1)
            seq = found.seq
            self._place = (part.name, seq, found.end)
            if seq > after and not runs.holds(self._freed, seq):
                body = record.statement(medium, part.name, found)
                if body is None:
                    self._miss(medium, seq, seq)
                else:
                    yield seq, body
        self._miss(medium, seq + 1, last)
        if medium.missed:
            raise OSError(medium.failure, part.name)

    def _miss(self, medium, first, last):
        """These were not found: lost, unless it is the medium that does not give them, which it may do again."""
        if not medium.failure:
            self._lose(first, last)
        elif runs.without(self._freed, first, last):
            medium.missed = True

    def _write(self, seq, framed):
        """Put a record on the medium, whatever has to go for it; returns its segment."""
        while True:
            try:
                part = self._segment_for(seq, len(framed))
                self._torn = True
                self._folder.append(part.name, framed)
                self._torn = False
                return part
            except OSError as failure:
                if not is_full(failure):
                    raise
                self._make_room(seq)
            self._mend()

    def _segment_for(self, seq, length):
        """The newest segment if it has room, otherwise one that begins with this seq, with room made for it."""
        while self.size + length > self._max_bytes and len(self._segments) > 1:
            self._drop_oldest()
        newest = self._segments[-1] if self._segments else segment.Segment(0)
        leased = newest.first == self._lease.seq + 1 and newest.last + 1 == seq < self._lease.limit
        if leased and (not newest.size or newest.size + length <= self._segment_bytes):
            return newest
        return self._begin(seq)

    def _begin(self, seq):
        """A new segment: first its name on the medium, then its lease, which thus never names one that is not there."""
        if not self._segments or self._segments[-1].first != seq:
            part = segment.Segment(seq)
            self._reserve.surely(self._folder.append, part.name, b"")
            self._segments.append(part)
        waiting = runs.without(self._freed, self._segments[0].first, self.head[0])
        oldest = waiting[0][0] if waiting else seq
        self._reserve.surely(self._lease.renew, self.head[0], self.head[1], self.mark, oldest)
        return self._segments[-1]

    def _make_room(self, seq):
        """The medium is full: give up the oldest segment, be it the only one with anything in it."""
        if len(self._segments) == 1 and self._segments[0].size:
            self._mend()
            self._begin(seq)
        told = self._segments[0].last < self.head[0] or self._lease.seq == self.head[0]
        if len(self._segments) > 1 and told:
            self._drop_oldest()
        elif not self._reserve.release():
            raise OSError(28, "no room even for one statement")

    def _drop_oldest(self):
        """Give up the oldest segment: first the note of what it held, then the file."""
        oldest = self._segments[0]
        before = self._dropped.ranges
        for first, last in runs.without(self._freed, oldest.first, oldest.last):
            self._dropped.add(first, last, FULL)
        for seq, gap in self._gaps:
            if seq <= oldest.last and not runs.holds(self._freed, seq):
                self._dropped.add(gap[0], gap[1], FULL)
        self._dropped.forget([gap for seq, gap in self._gaps if seq > oldest.last])
        try:
            self._reserve.surely(self._dropped.write, oldest.name)
            self._discard(oldest)
        except OSError as failure:
            if not is_full(failure):
                self._dropped.ranges = before
                raise
            self._discard(oldest)  # no room for the note even, and the reserve was needed before: the note comes second
            self._dropped.write()
        if len(self._segments) > 1:
            self._reserve.keep()

    def _discard(self, part):
        self._folder.remove(part.name)
        self._segments.remove(part)
        self._gaps = [gap for gap in self._gaps if not part.first <= gap[0] <= part.last]
        floor = self._segments[0].first if self._segments else self.head[0] + 1
        self._freed = [(max(first, floor), last) for first, last in self._freed if last >= floor]

    def _sweep(self):
        """Delete every segment but the newest in which all is freed, unless it alone tells where the chain stands."""
        for part in self._segments[:-1]:
            told = part.last < self.head[0] or self._lease.seq == self.head[0]
            if told and not runs.without(self._freed, part.first, part.last):
                try:
                    if not self._dropped.noted:  # what was lost in this segment is found in no other way then
                        self._reserve.surely(self._dropped.write)
                    self._discard(part)
                except OSError:
                    return  # it stays listed, and the next call tries again

    def _mend(self):
        """Cut off what a refused write left behind, so that it cannot come back as a record later."""
        if not self._torn:
            return
        if self._segments:
            self._reserve.surely(self._cut, self._segments[-1])
        self._torn = False

    def _cut(self, part):
        """Keep only the part of a segment that counts."""
        if self._folder.size(part.name) != part.size:
            self._folder.replace(part.name, segment.pieces(self._folder, part))

    def _settle(self):
        """Forget what stored gap statements tell of."""
        if self._dropped.forget([gap for _, gap in self._gaps]):
            try:
                self._dropped.write()
            except OSError:
                pass  # the stored gap statement settles it again at the next start

    # Recovery.

    def _recover(self):
        doomed = self._recover_notes()
        if doomed in self._folder.names():
            self._folder.remove(doomed)
        segments = [name for name in self._folder.names() if segment.is_name(name)]
        found = None
        hole = 0
        for name in segments:
            found = segment.recover(self._folder, name)
            hole = self._take_up(found, name == segments[-1], hole)
        self._settle()
        if found:
            self._end(found)
        elif self._lease.limit:
            self._pass_over(self._lease.limit)
        taken = [part.name for part in self._segments]
        for name in segments[:-1]:
            if name not in taken:
                self._bury(name)
        self._reserve.keep()

    def _bury(self, name):
        """Remove a segment in which nothing is left, once the note tells of it."""
        try:
            self._reserve.surely(self._dropped.write, name)
            self._folder.remove(name)
        except OSError:
            pass  # the next start finds it again

    def _recover_notes(self):
        """Read the lease and the note of what was dropped; returns the segment whose deletion is to be finished."""
        doomed = ""
        for read in (self._lease.read, self._dropped.read):
            try:
                doomed = read() or doomed
            except (ValueError, OSError) as wrong:
                self.damage.append(str(wrong))
        return doomed

    def _take_up(self, found, newest, hole):
        """Take up a segment; returns the first seq that may be missing after it, 0 if its end is sound."""
        part = found.segment
        if newest and found.torn:
            found.wounds.pop()  # the torn write of a power cut
        for offset, size in found.wounds:
            self.damage.append("%s: %d bytes at %d are no record" % (part.name, size, offset))
        self._gaps += found.gaps
        if hole and part.first > hole:
            found.lost.insert(0, (hole, part.first - 1))
        for first, last in found.lost:
            self.damage.append("%s: the statements with seq %d to %d are damaged" % (part.name, first, last))
            self._lose(first, last)
        if found.head is None:
            return hole or part.first
        self.head, self.mark = found.head, found.mark
        self._segments.append(part)
        return part.last + 1 if found.tail else 0

    def _end(self, newest):
        """Go on where the newest segment ends, or above all that may have been signed if its end is lost."""
        part, lease = newest.segment, self._lease
        sound = newest.torn or not newest.tail
        if sound and newest.head is None and part.first == lease.seq + 1:
            self.head, self.mark = (lease.seq, lease.entry), lease.mark  # it was about to get its first record
        if not sound or part.first <= lease.seq or self.head[0] < part.last:
            self._pass_over(max(lease.limit, newest.limit))
            return
        if newest.head is None:
            self._segments.append(part)
        self._torn = newest.torn

    def _pass_over(self, limit):
        """Have the next statement follow the newest that is known, with a seq above `limit`, which was never used.

        The segment whose end is lost stays until a newer one is there: it tells the same at the next start.
        """
        seq, entry = self.head
        first = seq + 1
        if self._lease.seq > seq:
            first = max(first, self._lease.oldest)
            entry, self.mark = self._lease.entry, self._lease.mark
        self.damage.append("the end of the chain is lost: it goes on above seq %d" % limit)
        self.head = (limit, UNKNOWN_ENTRY if entry == NO_ENTRY else entry)
        self._lose(first, limit)
        try:
            self._dropped.write()
        except OSError:
            pass  # the next start finds the same

    def _lose(self, first, last):
        """These cannot be sent any more: nobody waits for their acknowledgement, and a gap statement is due."""
        for low, high in runs.without(self._freed, first, last):
            self._freed = runs.add(self._freed, low, high)
            self._dropped.add(low, high, DAMAGED)
            for seq, gap in self._gaps:
                if low <= seq <= high:
                    self._dropped.add(gap[0], gap[1], DAMAGED)
            self._gaps = [(seq, gap) for seq, gap in self._gaps if not low <= seq <= high]
