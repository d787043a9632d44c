"""The outbox: nothing stored is lost, nothing comes twice, wherever the power is cut."""

import hashlib
import os
import random
import struct
import sys

import promises
import scratch
import unittest_mini as unittest

import record
import segment
from files import Folder
from lease import SPAN, Lease
from outbox import DAMAGED, FULL, UNKNOWN_ENTRY, Outbox, OutboxError

STEPS = 60 if sys.implementation.name == "cpython" else 30


def statement(seq, length=24):
    return bytes((seq * 7 + i * 13) & 0xFF for i in range(length))


def segments(folder):
    return [name for name in folder.names() if segment.is_name(name)]


def mark(seq):
    return struct.pack(">H", seq)


class WornFolder(scratch.MemoryFolder):
    """A medium that does not give one byte of one file, `worn`."""

    worn = None

    def read(self, name, offset, length):
        if self.worn and name == self.worn[0] and offset <= self.worn[1] < offset + length:
            raise OSError(5)
        return super().read(name, offset, length)


class PowerCuts(unittest.TestCase):
    """Every state that a cut may leave of files that are written piece by piece, at every write of a random run."""

    def look(self, left, ledger):
        folder = scratch.MemoryFolder(left)
        after = ledger.copy()
        box = Outbox(folder, 1500, 500)
        after.reopened(box)
        after.check(self, box)
        self.assertEqual(Outbox(folder, 1500, 500).head, box.head)
        after.append(box, 30)
        after.check(self, Outbox(folder, 1500, 500))
        self.cuts += 1

    def test_every_cut_of_random_runs(self):
        self.cuts = 0
        for seed in range(3):
            random.seed(seed)
            ledger = promises.Ledger()
            folder = scratch.MemoryFolder()
            box = Outbox(folder, 1500, 500)
            folder.after_cut = lambda left, ledger=ledger: self.look(left, ledger)
            for _ in range(STEPS):
                promises.step(ledger, box, 60)
                ledger.check(self, box)
                ledger.check_swept(self, box, folder)
                self.assertEqual(box.is_half_full, box.size > 750)
            self.assertTrue(box.size <= 1500)
        self.assertTrue(self.cuts > 100 * STEPS, "%d cuts" % self.cuts)

    def test_a_tail_that_no_power_cut_leaves_is_not_signed_over(self):
        for filler in (bytes(90), b"Em" * 45, b"\xff" * 90):
            folder = scratch.MemoryFolder()
            box = Outbox(folder, 4000, 1000)
            for seq in range(1, 5):
                box.append(seq, statement(seq), mark(seq))
            folder.files[segments(folder)[-1]] += filler
            again = Outbox(folder, 4000, 1000)
            self.assertEqual(again.head, (4 + 61, box.head[1]))
            self.assertEqual(again.dropped, [(5, 65, DAMAGED)])
            again.append(66, statement(66), mark(66), (5, 65))
            once_more = Outbox(folder, 4000, 1000)
            self.assertEqual([seq for seq, _ in once_more.pending()], [1, 2, 3, 4, 66])
            self.assertEqual((once_more.head[0], once_more.dropped), (66, []))


class Rot(unittest.TestCase):
    """A byte that changed on the medium costs at most its own record, and is reported."""

    def filled(self):
        folder = scratch.MemoryFolder()
        box = Outbox(folder, 4000, 400)
        for seq in range(1, 13):
            box.append(seq, statement(seq), mark(seq))
        return folder

    def spans(self, folder):
        for name in segments(folder):
            for found in record.walk(folder, name, folder.size(name)):
                yield name, found

    def check_flip(self, folder, name, at, owner):
        content = bytearray(folder.files[name])
        content[at] ^= 0x20
        rotten = scratch.MemoryFolder(folder.files)
        rotten.files[name] = bytes(content)
        box = Outbox(rotten, 4000, 400)
        expected = [seq for seq in range(1, 13) if seq != owner.seq]
        self.assertEqual([seq for seq, _ in box.pending()], expected)
        if owner.seq == 12 and at < owner.body:
            self.assertEqual(box.head, (11 + SPAN, hashlib.sha256(statement(11)).digest()))
            self.assertEqual(box.dropped, [(12, box.head[0], DAMAGED)])
            return
        self.assertTrue(box.damage)
        self.assertEqual(box.head[0], 12)
        self.assertEqual(box.dropped, [(owner.seq, owner.seq, DAMAGED)])

    def test_every_byte(self):
        folder = self.filled()
        for name, found in list(self.spans(folder)):
            for at in range(found.offset, found.end):
                self.check_flip(folder, name, at, found)

    def test_the_next_record_is_found_wherever_it_begins(self):
        for length in range(960, 1000):
            folder = scratch.MemoryFolder()
            box = Outbox(folder, 80000, 20000)
            box.append(1, bytes(length), mark(1))
            box.append(2, statement(2), mark(2))
            name = segments(folder)[0]
            folder.files[name] = b"\0" + folder.files[name][1:]
            self.assertEqual([seq for seq, _ in Outbox(folder, 80000, 20000).pending()], [2])

    def test_a_segment_that_rotted_as_a_whole(self):
        self.check_rotten(self.filled(), 1)
        folder = self.filled()
        Outbox(folder, 4000, 400).free([(1, 5)])
        self.check_rotten(folder, 0)

    def check_rotten(self, folder, at):
        name = segments(folder)[at]
        lost = [found.seq for _, found in self.spans(scratch.MemoryFolder({name: folder.files[name]}))]
        folder.files[name] = bytes(len(folder.files[name]))
        box = Outbox(folder, 4000, 400)
        self.assertEqual(box.dropped, [(lost[0], lost[-1], DAMAGED)])
        self.assertEqual(box.head[0], 12)
        box.append(13, statement(13), None, box.due()[:2])
        self.assertEqual(Outbox(folder, 4000, 400).dropped, [])

    def test_a_lost_end_of_the_chain_is_no_new_start(self):
        folder, beside = scratch.MemoryFolder(), scratch.MemoryFolder()
        box = Outbox(folder, 4000, 1000, Lease(beside))
        for seq in (1, 2):
            box.append(seq, statement(seq, 900), mark(seq))
            box.free([(seq, seq)])
        [name] = segments(folder)
        rotten = tuple({name: content} for content in (b"", b"\0" + folder.files[name][1:], bytes(900)))
        for files in rotten + ({},):
            left = scratch.MemoryFolder(files)
            again = Outbox(left, 4000, 1000, Lease(scratch.MemoryFolder(beside.files)))
            if files == {name: b""}:  # its lease says where it was to begin
                self.assertEqual(again.head, (1, hashlib.sha256(statement(1, 900)).digest()))
                continue
            self.assertTrue(again.head[0] > 2 and again.mark == mark(1))
            self.assertEqual(again.head[1], hashlib.sha256(statement(1, 900)).digest())
            self.assertEqual(again.dropped, [(2, again.head[0], DAMAGED)])
        bare = Outbox(scratch.MemoryFolder(rotten[1]), 4000, 1000)
        self.assertTrue(bare.head[0] > 2)
        self.assertEqual(bare.head[1], UNKNOWN_ENTRY)

    def test_more_than_one_write_lost_at_the_end_is_no_power_cut(self):
        folder = scratch.MemoryFolder()
        box = Outbox(folder, 64000, 20000)
        for seq in range(1, 31):
            box.append(seq, statement(seq, 500), mark(seq))
        [name] = segments(folder)
        whole = folder.files[name]
        folder.files[name] = whole[:2000] + bytes(len(whole) - 2000)
        again = Outbox(folder, 64000, 20000)
        self.assertTrue(again.head[0] > 30)
        self.assertEqual(again.dropped, [(4, again.head[0], DAMAGED)])
        self.assertEqual(len(folder.files[name]), len(whole))

    def test_a_rotten_gap_statement_is_told_again(self):
        folder = scratch.MemoryFolder()
        box = Outbox(folder, 4000, 400)
        for seq in range(1, 60):
            due = box.due()
            box.append(seq, statement(seq), mark(seq), due[:2] if due else None)
        found = [(name, each) for name, each in self.spans(folder) if each.gap]
        name, gap = found[-1]
        content = bytearray(folder.files[name])
        content[gap.body] ^= 1
        folder.files[name] = bytes(content)
        told = Outbox(folder, 4000, 400).dropped
        self.assertTrue(any(first <= gap.gap[1] <= last for first, last, _ in told))

    def test_what_was_lost_is_told_though_its_segment_is_freed_before_that(self):
        folder = self.filled()
        [(name, found)] = [span for span in self.spans(folder) if span[1].seq == 3]
        content = bytearray(folder.files[name])
        content[found.offset] ^= 1
        folder.files[name] = bytes(content)
        Outbox(folder, 4000, 400).free([(1, 2), (4, 9)])
        self.assertFalse(name in folder.names())
        self.assertEqual(Outbox(folder, 4000, 400).dropped, [(3, 3, DAMAGED)])

    def test_what_rots_while_the_node_runs_is_told(self):
        for at in (0, 1):
            folder = self.filled()
            box = Outbox(folder, 4000, 400)
            name, found = next(span for span in self.spans(folder) if span[1].seq == 5)
            content = bytearray(folder.files[name])
            content[found.body if at else found.offset] ^= 1
            folder.files[name] = bytes(content)
            self.assertEqual([seq for seq, _ in box.pending()], [seq for seq in range(1, 13) if seq != 5])
            self.assertEqual(box.dropped, [(5, 5, DAMAGED)])
            self.assertEqual(box.count, 11)

    def test_what_the_medium_gives_no_more_is_told_and_the_rest_is_sent(self):
        for name in segments(self.filled()):
            folder = WornFolder(self.filled().files)
            folder.worn = (name, 40)
            box = Outbox(folder, 4000, 400)
            lost = [seq for first, last, _ in box.dropped for seq in range(first, last + 1)]
            self.assertTrue(lost)
            self.assertEqual([seq for seq, _ in box.pending()], [seq for seq in range(1, 13) if seq not in lost])
            box.append(box.head[0] + 1, statement(13))

    def test_what_the_medium_does_not_give_while_the_node_runs_waits(self):
        for worn in segments(self.filled()):
            folder = WornFolder(self.filled().files)
            box = Outbox(folder, 4000, 400)
            held = [found.seq for name, found in self.spans(folder) if name == worn]
            folder.worn = (worn, 40)
            got = []
            with self.assertRaises(OSError):
                for seq, _ in box.pending():
                    got.append(seq)
            self.assertEqual(got, [seq for seq in range(1, 13) if seq not in held])
            self.assertEqual((box.dropped, box.count), ([], 12))
            folder.worn = None
            self.assertEqual([seq for seq, _ in box.pending()], list(range(1, 13)))

    def test_a_gap_statement_settles_a_damaged_one(self):
        folder = self.filled()
        name, found = next(span for span in self.spans(folder) if span[1].seq == 5)
        content = bytearray(folder.files[name])
        content[found.body] ^= 1
        folder.files[name] = bytes(content)
        box = Outbox(folder, 4000, 400)
        self.assertEqual(box.dropped, [(5, 5, DAMAGED)])
        box.append(13, statement(13), None, (5, 5))
        self.assertEqual(box.dropped, [])
        self.assertEqual(Outbox(folder, 4000, 400).dropped, [])

    def test_a_damaged_note_is_reported(self):
        folder = self.filled()
        folder.files["dropped"] = b"\x00nonsense"
        box = Outbox(folder, 4000, 400)
        self.assertEqual(box.count, 12)
        self.assertTrue("note" in box.damage[0])


class Frees(unittest.TestCase):
    def box(self, count=20, max_bytes=8000):
        self.folder = scratch.MemoryFolder()
        box = Outbox(self.folder, max_bytes, 400)
        for seq in range(1, count + 1):
            box.append(seq, statement(seq), mark(seq))
        return box

    def test_the_newest_segment_stays(self):
        box = self.box()
        self.assertEqual(box.free([(1, 20)]), 20)
        self.assertEqual(box.count, 0)
        self.assertEqual(len(segments(self.folder)), 1)
        self.assertEqual(Outbox(self.folder, 8000, 400).head, box.head)

    def test_repeats_and_foreign_numbers_change_nothing(self):
        box = self.box()
        self.assertEqual(box.free([(1, 3)], [7]), 4)
        self.assertEqual(box.free([(1, 3)], [7]), 0)
        self.assertEqual(box.free([(21, 2**53 - 1)], [99]), 0)
        box.append(21, statement(21), mark(21))
        self.assertEqual([seq for seq, _ in box.pending(5)], [seq for seq in range(6, 22) if seq != 7])

    def test_segments_in_the_middle_go_too(self):
        box = self.box()
        before = len(segments(self.folder))
        box.free([(5, 20)])
        self.assertTrue(len(segments(self.folder)) < before)
        again = Outbox(self.folder, 8000, 400)
        self.assertEqual(again.dropped, [])
        self.assertEqual([seq for seq, _ in again.pending()][:4], [1, 2, 3, 4])

    def test_pending_survives_frees_and_appends_underway(self):
        box = self.box()
        seen = []
        for seq, _ in box.pending():
            seen.append(seq)
            box.free([(1, seq)])
            if seq == 10:
                box.append(21, statement(21), mark(21))
        self.assertEqual(seen, list(range(1, 21)))
        self.assertEqual([seq for seq, _ in box.pending(20)], [21])

    def test_overflow_drops_the_oldest_and_says_so_until_told(self):
        box = self.box(40, 1200)
        self.assertTrue(box.size <= 1200)
        first, last, why = box.dropped[0]
        self.assertEqual((first, why), (1, FULL))
        self.assertEqual([seq for seq, _ in box.pending()], list(range(last + 1, 41)))
        self.assertEqual(Outbox(self.folder, 1200, 400).dropped, box.dropped)
        box.append(41, statement(41), None, (first, last))
        self.assertTrue(all(entry[0] > last for entry in box.dropped))

    def test_gap_statements_do_not_pile_up(self):
        box = self.box(1, 1200)
        gaps = 0
        while box.head[0] < 400 or box.due():
            due = box.due()
            gaps += 1 if due else 0
            seq = box.head[0] + 1
            box.append(seq, statement(seq), None, due[:2] if due else None)
        self.assertTrue(gaps < 120, "%d gap statements among 400" % gaps)
        self.assertEqual(box.dropped, [])
        oldest = next(box.pending())[0]
        again = Outbox(self.folder, 1200, 400)
        self.assertEqual(again.dropped, [])
        told = max(found.gap[1] for _, found in Rot.spans(self, self.folder) if found.gap)
        self.assertEqual(told, oldest - 1)

    def test_a_dropped_gap_statement_is_told_again(self):
        box = self.box(40, 1200)
        first, last, _ = box.dropped[0]
        box.append(41, statement(41), None, (first, last))
        for seq in range(42, 80):
            box.append(seq, statement(seq), mark(seq))
        self.assertEqual(box.dropped[0][0], 1)
        self.assertEqual(len(box.dropped), 1)

    def test_seq_is_in_order(self):
        box = self.box()
        for seq in (20, 22, 0):
            with self.assertRaises(ValueError):
                box.append(seq, b"x")


class RefusedWrites(unittest.TestCase):
    """A full medium: the seq whose write was refused is free for other bytes, for good."""

    def test_no_trace_is_left(self):
        for room in range(0, 57, 7):
            folder = scratch.MemoryFolder()
            box = Outbox(folder, 4000, 200)
            for seq in range(1, 4):
                box.append(seq, statement(seq), mark(seq))
            folder.refuse_after = room
            with self.assertRaises(OutboxError):
                box.append(4, b"first", mark(4))
            folder.refuse_after = None
            box.append(4, b"second", mark(4))
            again = Outbox(folder, 4000, 200)
            self.assertEqual(list(again.pending(3)), [(4, b"second")])
            self.assertEqual(again.damage, [])

    def test_a_write_that_landed_although_refused(self):
        folder = scratch.MemoryFolder()
        box = Outbox(folder, 4000, 1000)
        box.append(1, statement(1), mark(1))
        append = folder.append

        def landed(name, piece):
            append(name, piece)
            raise OSError(5)

        folder.append = landed
        with self.assertRaises(OutboxError):
            box.append(2, b"first")
        folder.append = append
        box.append(2, b"second")
        self.assertEqual(list(Outbox(folder, 4000, 1000).pending(1)), [(2, b"second")])


class FullMedia(unittest.TestCase):
    """A medium that other files fill: the oldest goes, and a gap says so, as when the outbox itself is full."""

    def test_the_oldest_goes_whatever_room_is_left(self):
        for capacity in range(900, 3000, 150):
            folder, ledger = scratch.MemoryFolder(), promises.Ledger()
            box = Outbox(folder, 1 << 20, 300)
            folder.capacity = capacity
            for _ in range(80):
                ledger.append(box, 40)
                ledger.check(self, box)
            self.assertTrue(ledger.gaps)
            ledger.check(self, Outbox(folder, 1 << 20, 300))

    def test_the_only_segment_makes_room_for_the_newest_statement(self):
        folder, ledger = scratch.MemoryFolder(), promises.Ledger()
        box = Outbox(folder, 1 << 20, 2000)
        for _ in range(6):
            ledger.append(box, 40)
        folder.capacity = sum(len(content) for content in folder.files.values())
        for _ in range(20):
            ledger.append(box, 40)
            ledger.check(self, box)
        ledger.check(self, Outbox(folder, 1 << 20, 2000))

    def test_where_there_is_no_room_at_all_the_seq_is_free_again(self):
        folder, ledger = scratch.MemoryFolder(), promises.Ledger()
        box = Outbox(folder, 1 << 20, 2000)
        folder.capacity = 0
        with self.assertRaises(OutboxError):
            ledger.append(box, 40)
        ledger.underway = {}
        folder.capacity = None
        ledger.append(box, 10)
        ledger.check(self, box)
        ledger.check(self, Outbox(folder, 1 << 20, 2000))


class OnDisk(unittest.TestCase):
    def setUp(self):
        self.path = scratch.folder()

    def tearDown(self):
        scratch.remove(self.path)

    def test_reopens_from_disk(self):
        box = Outbox(Folder(self.path + "/outbox", scratch.NoSync()), 4000, 400)
        for seq in range(1, 21):
            box.append(seq, statement(seq), mark(seq))
        box.free([(1, 9)], [11])
        again = Outbox(Folder(self.path + "/outbox", scratch.NoSync()), 4000, 400)
        self.assertEqual(again.head, box.head)
        self.assertEqual([seq for seq, _ in again.pending()][-1], 20)

    def test_truncated_at_every_byte(self):
        folder = Folder(self.path, scratch.NoSync())
        box = Outbox(folder, 4000, 400)
        for seq in range(1, 8):
            box.append(seq, statement(seq), mark(seq))
        name = segments(folder)[-1]
        content = folder.read(name, 0, 4000)
        ends = [(found.seq, found.end) for found in record.walk(folder, name, len(content))]
        for size in range(len(content) + 1):
            with open(self.path + "/" + name, "wb") as stream:
                stream.write(content[:size])
            whole = [seq for seq, end in ends if end <= size]
            head = whole[-1] if whole else ends[0][0] - 1
            self.assertEqual(Outbox(Folder(self.path, scratch.NoSync()), 4000, 400).head[0], head)

    def test_a_segment_whose_deletion_could_not_be_synced_holds_nothing_up(self):
        class Failing(scratch.NoSync):
            def folder(self, path):
                if self.calls is None:
                    raise OSError(5)
                super().folder(path)

        sync = Failing()
        folder = Folder(self.path, sync)
        box = Outbox(folder, 2000, 500)
        for seq in range(1, 8):
            box.append(seq, statement(seq), mark(seq))
        before, sync.calls = len(segments(folder)), None
        box.free([(1, 7)])
        self.assertEqual(len(segments(folder)), before - 1)
        sync.calls = []
        for seq in range(8, 40):
            box.append(seq, statement(seq), mark(seq))
            box.free([(1, seq)])
        self.assertEqual(([seq for seq, _ in box.pending()], len(segments(folder))), ([], 1))

    def test_what_is_synced_when(self):
        sync = scratch.NoSync()
        folder = Folder(self.path, sync)
        folder.append("a", b"1")
        folder.append("a", b"2")
        self.assertEqual(sync.calls, ["file", "folder", "file"])
        folder.replace("a", b"3")
        folder.remove("a")
        self.assertEqual(sync.calls[3:], ["file", "folder", "folder"])
        with open(self.path + "/b.new", "wb") as stream:
            stream.write(b"unfinished")
        self.assertEqual(Folder(self.path, sync).names(), [])
        self.assertEqual(os.listdir(self.path), [])


if __name__ == "__main__":
    unittest.main()
