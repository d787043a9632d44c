"""The chain's state in the outbox's mark: room for every recording of today, however many there were before."""

import scratch
import unittest_mini as unittest

from chain import Chain
from clock import HOST, Clock
from identity import Identity
from outbox import Outbox
from sensors import REPLAYED

SIGNER = Identity(bytes(range(32)))


class Recording:
    name = driver = detail = "replay"
    method = REPLAYED

    def __init__(self, number):
        self.key = number << 42


class Positions(unittest.TestCase):
    def started(self, folder, recordings):
        chain = Chain(SIGNER, "n", Outbox(folder, 1 << 20, 1 << 14), Clock(HOST, 1))
        chain.boot("1", "test", "test", recordings)
        return chain

    def replay(self, chain, recording):
        positions = dict(chain.positions)
        positions[recording.key] = 0xFFFFFFFF
        chain.readings(REPLAYED, b"\x81\xa0", positions)

    def test_a_new_recording_finds_room(self):
        folder = scratch.MemoryFolder()
        for number in range(1, 31):
            self.replay(self.started(folder, [Recording(number)]), Recording(number))
        self.assertEqual(self.started(folder, [Recording(30)]).positions[30 << 42], 0xFFFFFFFF)

    def test_as_many_as_the_settings_allow(self):
        folder = scratch.MemoryFolder()
        for first in (1, 101):
            recordings = [Recording(first + number) for number in range(16)]
            chain = self.started(folder, recordings)
            for recording in recordings:
                self.replay(chain, recording)
        kept = self.started(folder, recordings).positions
        self.assertTrue(all(recording.key in kept for recording in recordings))


if __name__ == "__main__":
    unittest.main()
