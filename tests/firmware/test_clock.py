"""The clock: what it says of itself is never more than what holds."""

import unittest_mini as unittest

import clock
from clock import HOST, NTP, UNSET, Clock


class Fake:
    """Stands in for the module's time, in milliseconds of uptime."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.ms = 0

    def time(self):
        return self.seconds - clock._EPOCH + self.ms // 1000


class Quality(unittest.TestCase):
    def setUp(self):
        self.kept = clock.time, clock.ticks_ms, clock.elapsed_ms
        self.fake = Fake(1800000000)
        clock.time = self.fake
        clock.ticks_ms = lambda: self.fake.ms
        clock.elapsed_ms = lambda since: self.fake.ms - since

    def tearDown(self):
        clock.time, clock.ticks_ms, clock.elapsed_ms = self.kept

    def test_host(self):
        subject = Clock(HOST, 3)
        self.fake.ms = 5250
        self.assertEqual(subject.now(), (1800000005, (HOST, 3, 5)))
        self.fake.ms = 10**9
        self.assertEqual(subject.now()[1], (HOST, 3, 10**6))

    def test_unset(self):
        self.assertEqual(Clock().now(), (0, (UNSET, 0, 0)))
        self.fake.seconds = 1000000
        self.assertEqual(Clock(HOST, 3).now(), (0, (UNSET, 0, 0)))

    def test_the_bound_grows_until_it_is_set_again(self):
        subject = Clock(UNSET, 0)
        subject.set(NTP, 1)
        self.assertEqual(subject.now()[1], (NTP, 2, 0))
        self.fake.ms = 60000 * 1000
        self.assertEqual(subject.now()[1], (NTP, 5, 60000))
        subject.set(NTP, 1)
        self.assertEqual(subject.now()[1], (NTP, 2, 60000))


class Utc(unittest.TestCase):
    def test_known_seconds(self):
        self.assertEqual(clock.utc(1643673840), (2022, 2, 1, 0, 4, 0))


if __name__ == "__main__":
    unittest.main()
