"""What becomes of a node that cannot run: a board says so, feeds its watchdog, and tries again; a process ends."""

import asyncio

import scratch
import unittest_mini as unittest

import main
from outbox import OutboxError


class Board:
    """A board whose watchdog counts how often it was fed."""

    SYNC = scratch.NoSync()

    def __init__(self, root):
        self.ROOT = root
        self.fed = 0
        self.restarts = []
        self.lit = []

    def restart(self):
        self.restarts.append(self.fed)

    def led(self, named):
        return self.lit.append

    async def watchdog(self, pulse, say):
        while pulse.stuck() is None:
            self.fed += 1
            await asyncio.sleep(0.01)


class Stopped(unittest.TestCase):
    def setUp(self):
        self.board = Board(scratch.folder())
        self.kept = main.board.current, main.ed25519.choose, main._live, main._STOPPED_S
        main.board.current = lambda: self.board
        main.ed25519.choose = lambda: "portable"
        main._STOPPED_S = 0.2

    def tearDown(self):
        main.board.current, main.ed25519.choose, main._live, main._STOPPED_S = self.kept
        scratch.remove(self.board.ROOT)

    def ended(self, failure):
        def live(*_):
            raise failure

        main._live = live
        return main.main([])

    def test_whatever_ends_a_board_its_watchdog_is_fed_until_it_tries_again(self):
        for failure in (OSError(5), MemoryError(), OutboxError("x"), OverflowError("x"), KeyError("ssid"), Exception()):
            self.board.fed, self.board.restarts = 0, []
            self.assertEqual(self.ended(failure), 3)
            self.assertEqual(len(self.board.restarts), 1)
            self.assertTrue(self.board.restarts[0] > 3, "the watchdog would have reset it at once, again and again")
        self.assertTrue(True in self.board.lit)

    def test_wrong_settings_leave_the_serial_line_to_a_person(self):
        self.assertEqual(self.ended(main._SetUpWrongly("x")), 2)
        self.assertEqual((self.board.fed, len(self.board.restarts)), (0, 1))

    def test_a_process_ends_and_shows_where_it_failed(self):
        self.board.restart = None
        self.assertEqual(self.ended(OSError(5)), 3)
        with self.assertRaises(KeyError):
            self.ended(KeyError("ssid"))


if __name__ == "__main__":
    unittest.main()
