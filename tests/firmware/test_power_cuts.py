"""The power is cut at every program and erase under the outbox, on MicroPython's own littlefs over flash in memory.

EARMARK_CUTS=N makes N times as many runs (make faults).  CPython has no littlefs and runs only what needs none.
"""

import os
import random

import flash
import promises
import scratch
import unittest_mini as unittest

from files import Folder
from lease import Lease
from outbox import Outbox, OutboxError

TIMES = int(os.getenv("EARMARK_CUTS") or 1)
BLOCKS = 24
MOST, SEGMENT = 24000, 3000
LONGEST = 500


class Littlefs(unittest.TestCase):
    """A node's folders on littlefs: the lease beside the outbox, as main.py has them."""

    def setUp(self):
        self.cuts = 0
        self.most = MOST
        self.program = 32

    def tearDown(self):
        print("%d cuts" % self.cuts)
        for path in ("/flash", "/cut"):
            flash.unmount(path)

    def open(self, medium, path="/flash"):
        flash.mount(medium, path)
        lease = Lease(Folder(path + "/earmark", flash.NoSync()), "key.lease")
        return Outbox(Folder(path + "/earmark/outbox/key", flash.NoSync()), self.most, SEGMENT, lease)

    def look(self, image, ledger):
        """What is promised holds after a cut that left this image, and goes on to hold."""
        self.cuts += 1
        medium, after = flash.Flash(BLOCKS, image, self.program), ledger.copy()
        box = self.open(medium, "/cut")
        after.reopened(box)
        after.check(self, box)
        promises.step(after, box, LONGEST)
        box = self.open(medium, "/cut")
        after.check(self, box)
        return after

    def medium(self):
        """Flash with an empty file system, or one that other files have filled but for a few blocks."""
        medium = flash.make(BLOCKS, self.program)
        if self.most > MOST:
            flash.mount(medium)
            with open("/flash/others", "wb") as stream:
                for _ in range(BLOCKS - 11):
                    stream.write(bytes(flash.BLOCK))
        return medium

    def every_cut(self, steps):
        ledger = promises.Ledger()
        medium = self.medium()
        box = self.open(medium)
        medium.at_cut = lambda image: self.look(image, ledger)
        for _ in range(steps):
            promises.step(ledger, box, LONGEST)
            ledger.check(self, box)
            ledger.check_swept(self, box, Folder("/flash/earmark/outbox/key", flash.NoSync()))

    def cut_again_and_again(self, cuts):
        """One medium for its whole life; the power also goes while the node starts."""
        ledger = promises.Ledger()
        medium = self.medium()
        box = None
        for _ in range(cuts):
            medium.cut_in = random.randrange(60)
            medium.torn = random.randrange(flash.BLOCK)
            while not medium.dead:
                try:
                    box = box or self.open(medium)
                    promises.step(ledger, box, LONGEST)
                except (OSError, OutboxError) as failure:
                    self.assertTrue(medium.dead, failure)
            self.cuts += 1
            medium.revive()
            box = self.open(medium)
            ledger.reopened(box)
            ledger.check(self, box)
        return ledger

    def test_every_program_and_erase(self):
        for seed in range(TIMES):
            random.seed(seed)
            self.program = 256 if seed % 2 else 32
            self.every_cut(40)
        self.assertTrue(self.cuts > 400 * TIMES)

    def test_again_and_again(self):
        for seed in range(TIMES):
            random.seed(1000 + seed)
            self.cut_again_and_again(150)

    def test_every_program_and_erase_of_a_full_medium(self):
        self.most = 1 << 20
        for seed in range(TIMES):
            random.seed(2000 + seed)
            self.program = 32 if seed % 2 else 256
            self.every_cut(40)

    def test_again_and_again_on_a_full_medium(self):
        self.most = 1 << 20
        for seed in range(TIMES):
            random.seed(3000 + seed)
            self.program = 32 if seed % 2 else 256
            self.assertTrue(self.cut_again_and_again(150).gaps)


if flash.vfs is None:
    del Littlefs


class Damage(unittest.TestCase):
    """A medium that loses what it was given, between one start and the next: told, and no seq twice."""

    def setUp(self):
        self.folder, self.beside = scratch.MemoryFolder(), scratch.MemoryFolder()

    def open(self):
        return Outbox(self.folder, MOST, SEGMENT, Lease(self.beside))

    def damage(self):
        """Change a byte, blank a stretch, add noise, or lose a file, mostly the newest segment."""
        names = [name for name in self.folder.names() if name.endswith(".seg")]
        if not names:
            return
        name = names[-1] if random.randrange(2) else random.choice(names)
        content = bytearray(self.folder.files[name])
        kind = random.randrange(4)
        if kind == 0 or not content:
            if name != names[-1]:
                return  # as if it had been freed: nothing can tell the two apart
            del self.folder.files[name]
            return
        at = random.randrange(len(content))
        if kind == 1:
            content[at] ^= 1 << random.randrange(8)
        elif kind == 2:
            content[at:] = bytes(len(content) - at)
        else:
            content += bytes(random.randrange(256) for _ in range(random.randrange(1, 300)))
        self.folder.files[name] = bytes(content)

    def test_random_damage(self):
        for seed in range(30 * TIMES):
            self.setUp()
            random.seed(seed)
            ledger = promises.Ledger()
            for _ in range(6):
                box = self.open()
                ledger.reopened(box)
                ledger.check(self, box, False)
                for _ in range(random.randrange(40)):
                    promises.step(ledger, box, LONGEST)
                self.damage()

    def test_the_whole_outbox_goes(self):
        for count in (1, 3, 70, 200):
            self.setUp()
            ledger = promises.Ledger()
            box = self.open()
            for _ in range(count):
                ledger.append(box, 20)
            self.folder.files.clear()
            box = self.open()
            self.assertTrue(box.head[0] >= count)
            ledger.append(box, 20)
            ledger.append(box, 20)
            self.assertEqual(box.due(), None)
            ledger.check(self, self.open(), False)


if __name__ == "__main__":
    unittest.main()
