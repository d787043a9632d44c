"""What an outbox promises, written down beside it, and held against it after every cut of the power."""

import hashlib
import random
import struct

import runs
import segment
from outbox import FULL, NO_ENTRY


def mark(seq):
    return struct.pack(">H", seq & 0xFFFF)


def statement(seq, prev, length):
    """Bytes that name their seq and the entry before, as a signed statement does."""
    return struct.pack(">Q32s", seq, prev) + bytes((seq * 7 + i * 13) & 0xFF for i in range(length))


class Ledger:
    """One key's statements: `stored` is what `append` returned for, or what was there after a cut within it."""

    def __init__(self):
        self.stored = {}
        self.underway = {}
        self.acknowledged = []
        self.gaps = {}

    def append(self, box, length):
        """Store the next statement: a gap if one is due, else anything."""
        seq, prev = box.head[0] + 1, box.head[1]
        due = box.due()
        gap = due[:2] if due else None
        body = statement(seq, prev, length)
        self.underway[seq] = (body, gap)
        box.append(seq, body, mark(seq), gap)
        self._keep(seq)

    def free(self, box, first, last):
        self.acknowledged = runs.add(self.acknowledged, first, last)
        box.free([(first, last)])

    def _keep(self, seq):
        body, gap = self.underway.pop(seq)
        if seq in self.stored:
            raise AssertionError("seq %d was signed twice" % seq)
        self.stored[seq] = body
        if gap:
            self.gaps[seq] = gap

    def reopened(self, box):
        """The power came back: what is there after a cut in the middle of a write counts from now on."""
        if box.head[0] in self.underway and hashlib.sha256(self.underway[box.head[0]][0]).digest() == box.head[1]:
            self._keep(box.head[0])
        self.underway = {}

    def copy(self):
        other = Ledger()
        other.stored, other.underway = dict(self.stored), dict(self.underway)
        other.acknowledged, other.gaps = self.acknowledged, dict(self.gaps)
        return other

    def check(self, case, box, sound=True):
        """Every promise; where the medium was damaged, what was lost is told, and no seq was used twice."""
        pending = list(box.pending())
        numbers = [seq for seq, _ in pending]
        case.assertEqual(numbers, sorted(set(numbers)))
        case.assertEqual(box.count, len(numbers))
        for seq, body in pending:
            case.assertEqual(body, self.stored.get(seq), "seq %d" % seq)
        newest = max(self.stored) if self.stored else 0
        if sound:
            case.assertEqual(box.damage, [])
            case.assertEqual(box.head[0], newest)
            case.assertEqual(box.mark, mark(newest) if newest else b"")
            case.assertEqual(box.head[1], hashlib.sha256(self.stored[newest]).digest() if newest else NO_ENTRY)
        else:
            case.assertTrue(box.head[0] >= newest)
        self._check_chain(case, sound)
        self._check_told(case, box, numbers, sound)

    def _check_chain(self, case, sound):
        """Each statement names the one before; after a loss, one of those before, and never a seq next to it."""
        entries = {hashlib.sha256(body).digest(): seq for seq, body in self.stored.items()}
        for seq, body in self.stored.items():
            prev = body[8:40]
            if seq - 1 in self.stored:
                case.assertEqual(entries.get(prev), seq - 1)
            elif seq > 1:
                case.assertFalse(sound, "seq %d follows none" % seq)
                case.assertTrue(prev != NO_ENTRY)
                case.assertTrue(entries.get(prev, 0) < seq)

    def _check_told(self, case, box, pending, sound):
        """What went without an acknowledgement is told, exactly that, by a statement that is not lost itself."""
        waiting = set(pending)
        told = [(first, last) for first, last, _ in box.dropped]
        for seq, gap in self.gaps.items():
            if seq in waiting or runs.holds(self.acknowledged, seq) or not sound:  # else it may be lost itself
                told.append(gap)
        for seq in self.stored:
            if seq not in waiting and not runs.holds(self.acknowledged, seq):
                case.assertTrue(any(a <= seq <= b for a, b in told), "seq %d went and nothing tells" % seq)
        for first, last in told:
            case.assertFalse(any(first <= seq <= last for seq in waiting), "told as gone, and waits")
            if sound:
                case.assertTrue(all(seq in self.stored for seq in range(first, last + 1)), "told, and never was")
        if sound:
            case.assertTrue(all(why == FULL for _, _, why in box.dropped))

    def check_swept(self, case, box, folder):
        """Every segment but the newest holds something that waits."""
        names = [name for name in folder.names() if segment.is_name(name)]
        for name, after in zip(names, names[1:]):  # noqa: B905, RUF007 - MicroPython's
            case.assertTrue(any(box.waits(seq) for seq in range(int(name[:16]), int(after[:16]))), name)


def step(ledger, box, longest):
    """Do one thing at random: append, or free in order or out of order.  Raises `OutboxError` as `append` does."""
    head = box.head[0]
    kind = random.randrange(8)
    if kind < 5 or not head:
        ledger.append(box, random.randrange(longest))
    elif kind < 7:
        first = random.randrange(head) + 1
        ledger.free(box, first, min(head, first + random.randrange(8)))
    else:
        ledger.free(box, 1, max(1, head - random.randrange(6)))
