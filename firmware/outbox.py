"""The node's outbox: every signed statement, on the medium, until the gateway's acknowledgement frees it.

Statements are records (record.py) appended to segment files named after their first seq.  A segment goes when all in
it are freed and it is not the newest, so the newest record always tells where the chain stands.  What is freed is
kept in memory only: after a restart the rest is sent again, which the gateway recognises.  When `max_bytes` is
reached the oldest segment goes, and what was dropped is remembered until a `gap` statement that tells of it is stored.

Power cuts: a torn record at the end was never sent (`append` had not returned), so it is cut off and its seq is used
again.  A record that is whole was perhaps sent, so its seq is never used for other bytes, even if the statement rots:
then the header still carries the chain on, and the lost seq is among `dropped`.  Only rot in the header of the very
newest record looks like a torn write.
"""

import hashlib

import record
import runs
import segment
from dropped import DAMAGED, FULL, Dropped

NO_ENTRY = bytes(32)


class OutboxError(Exception):
    """The medium refused a write; nothing was stored, and the same seq is to be tried again later."""


class Outbox:
    """The statements not yet acknowledged, oldest first, in a `files.Folder` of their own.

    `head` is (seq, entry) of the newest statement, (0, 32 zero bytes) before the first.  `mark` is the application's
    state as of that statement.  `damage` lists, as text, what was found wrong at the start.  Segments are at most
    `segment_bytes` long unless a single record is longer; there are always room and need for two.
    """

    def __init__(self, folder, max_bytes=1 << 20, segment_bytes=1 << 14):
        if max_bytes < 2 * segment_bytes:
            raise ValueError("the outbox needs room for two segments: max_bytes is below 2 * segment_bytes")
        self._folder = folder
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._segments = []
        self._freed = []
        self._gaps = []
        self._torn = False
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
            part = self._segment_for(seq, len(framed))
            self._torn = True
            self._folder.append(part.name, framed)
            self._torn = False
        except OSError as failure:
            raise OutboxError("cannot store seq %d: %s" % (seq, failure))
        if not part.size:
            self._segments.append(part)
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

        Statements stored or freed meanwhile may or may not be among them.
        """
        for part in list(self._segments):
            if part.last > after:
                try:
                    yield from self._pending_in(part, after)
                except OSError:
                    if part in self._segments:
                        raise

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
        name, seq, start = self._place
        if name != part.name or seq > after:
            start = 0
        for found in record.walk(self._folder, part.name, part.size, None, start):
            self._place = (part.name, found.seq, found.end)
            if found.seq > after and not runs.holds(self._freed, found.seq):
                body = record.statement(self._folder, part.name, found)
                if body is not None:
                    yield found.seq, body

    def _segment_for(self, seq, length):
        """The newest segment if it has room, otherwise one that does not exist yet, with room made for it."""
        newest = self._segments[-1] if self._segments else None
        if newest is None or newest.size + length > self._segment_bytes:
            newest = None
        while self.size + length > self._max_bytes and len(self._segments) > 1:
            self._drop_oldest()
        return newest or segment.Segment(seq)

    def _drop_oldest(self):
        """Give up the oldest segment: first the note of what it held, then the file."""
        oldest = self._segments[0]
        for first, last in runs.without(self._freed, oldest.first, oldest.last):
            self._dropped.add(first, last, FULL)
        for seq, gap in self._gaps:
            if seq <= oldest.last and not runs.holds(self._freed, seq):
                self._dropped.add(gap[0], gap[1], FULL)
        self._dropped.forget([gap for seq, gap in self._gaps if seq > oldest.last])
        self._dropped.write(oldest.name)
        self._discard(oldest)

    def _discard(self, part):
        self._folder.remove(part.name)
        self._segments.remove(part)
        self._gaps = [gap for gap in self._gaps if not part.first <= gap[0] <= part.last]
        floor = self._segments[0].first if self._segments else self.head[0] + 1
        self._freed = [(max(first, floor), last) for first, last in self._freed if last >= floor]

    def _sweep(self):
        """Delete every segment but the newest in which all is freed."""
        for part in self._segments[:-1]:
            if not runs.without(self._freed, part.first, part.last):
                try:
                    self._discard(part)
                except OSError:
                    return  # it stays listed, and the next call tries again

    def _mend(self):
        """Cut off what a refused write left behind, so that it cannot come back as a record later."""
        if not self._torn:
            return
        names = [part.name for part in self._segments]
        for name in self._folder.names():
            if segment.is_name(name) and name not in names:
                self._folder.remove(name)
        if self._segments:
            self._cut(self._segments[-1])
        self._torn = False

    def _cut(self, part):
        """Keep only the part of a segment that counts."""
        if self._folder.size(part.name) != part.size:
            self._folder.replace(part.name, self._folder.read(part.name, 0, part.size))

    def _settle(self):
        """Forget what stored gap statements tell of."""
        if self._dropped.forget([gap for _, gap in self._gaps]):
            try:
                self._dropped.write()
            except OSError:
                pass  # the stored gap statement settles it again at the next start

    # Recovery.

    def _recover(self):
        names = self._folder.names()
        try:
            doomed = self._dropped.read()
        except ValueError as wrong:
            self.damage.append(str(wrong))
            doomed = ""
        if doomed in names:
            self._folder.remove(doomed)
            names.remove(doomed)
        segments = [name for name in names if segment.is_name(name)]
        hole = 0
        for name in segments:
            hole = self._recover_segment(name, name == segments[-1], hole)
        self._settle()

    def _recover_segment(self, name, newest, hole):
        """Take up a segment; returns the first seq that may be missing after it, 0 if its end is sound."""
        found = segment.recover(self._folder, name)
        if newest:
            self._check_head(found)
        for offset, size in found.wounds:
            self.damage.append("%s: %d bytes at %d are no record" % (name, size, offset))
        if hole and found.segment.first > hole:
            found.lost.insert(0, (hole, found.segment.first - 1))
        for first, last in found.lost:
            self.damage.append("%s: the statements with seq %d to %d are damaged" % (name, first, last))
            self._lose(first, last)
        if found.head is None:
            self._folder.remove(name)
            return found.segment.first
        self.head, self.mark = found.head, found.mark
        self._gaps += found.gaps
        self._segments.append(found.segment)
        if newest:
            self._cut(found.segment)
        return found.segment.last + 1 if found.torn else 0

    def _check_head(self, found):
        """Raise `ValueError` unless the newest segment tells where the chain stands, save for one torn write.

        Signing on from an older place would give seq that were sent already to other bytes.
        """
        before = found.head or self.head
        empty_but_later = found.head is None and found.segment.first != before[0] + 1
        if empty_but_later or (found.tail and not found.torn):
            raise ValueError(
                "%s is damaged beyond seq %d, and with it the end of the chain: keep the folder for a look, revoke "
                "the key, and set the node up anew" % (found.segment.name, before[0])
            )
        if found.torn:
            found.wounds.pop()  # the torn write of a power cut

    def _lose(self, first, last):
        """These cannot be sent any more: nobody waits for their acknowledgement, and a gap statement is due."""
        self._freed = runs.add(self._freed, first, last)
        self._dropped.add(first, last, DAMAGED)
