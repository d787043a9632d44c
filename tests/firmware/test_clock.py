"""The clock: what it says of itself is never more than what holds."""

import unittest_mini as unittest

import clock
from clock import HOST, KEPT, NTP, UNSET, Clock


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
        self.assertEqual(subject.set(NTP, 200, 1800000000500), 0)
        self.assertEqual(subject.now(), (1800000000, (NTP, 2, 0)))
        self.fake.ms = 60000 * 1000
        self.assertEqual(subject.now(), (1800060000, (NTP, 5, 60000)))
        self.assertEqual(subject.set(NTP, 200, 1800060002000), 0)
        self.assertEqual(subject.now()[1], (NTP, 2, 60000))

    def test_a_time_beyond_what_a_ports_calendar_takes_is_a_date_all_the_same(self):
        class Board:
            def gmtime(self, seconds):
                if seconds >= 1 << 31:
                    raise OverflowError("overflow converting long int to machine word")
                return self.port.gmtime(seconds)

        clock.time, Board.port = Board(), self.kept[0]
        self.assertEqual(clock.utc(1790000000), (2026, 9, 21, 14, 13, 20))
        self.assertEqual(clock.utc(2151705600), (2038, 3, 9, 0, 0, 0))
        self.assertEqual(clock.utc(4102444799), (2099, 12, 31, 23, 59, 59))
        self.assertEqual(len(clock.utc((1 << 40) - 1)), 6)

    def test_neither_the_ports_epoch_nor_a_step_of_its_clock_matters(self):
        subject = Clock(UNSET, 0)
        told = []
        subject.on_set = told.append
        self.fake.seconds = 5
        subject.set(NTP, 10, 1800000000000)
        self.fake.seconds = 1900000000
        self.fake.ms = 2000
        self.assertEqual(subject.now()[0], 1800000002)
        self.assertEqual(told, [1800000000])

    def test_a_clock_that_was_further_off_than_it_stated_says_so(self):
        subject = Clock(UNSET, 0)
        subject.set(NTP, 1000, 1800000000000)
        self.fake.ms = 1000
        self.assertEqual(subject.set(NTP, 1000, 1800000002500), 0)
        self.assertEqual(subject.set(NTP, 1000, 1799999902500), 100)
        self.assertEqual(subject.set(NTP, 1000, 1800000002500), -100)

    def test_a_time_is_wanted_where_it_is_better(self):
        subject = Clock(UNSET, 0)
        self.assertTrue(subject.wants(10**9))
        subject.set(NTP, 100, 1800000000000)
        self.assertFalse(subject.wants(100))
        self.assertTrue(subject.wants(99))
        self.fake.ms = 20000000
        self.assertTrue(subject.wants(1000))
        self.assertFalse(Clock(HOST, 3).wants(1))

    def test_what_was_kept_over_a_sleep_goes_on_with_a_wider_bound(self):
        before = Clock(UNSET, 0)
        before.set(NTP, 100, 1800000000000)
        self.fake.ms = 20000
        kept = before.kept()
        self.assertEqual(kept, [1800000020000, 101, 20000])
        self.fake.ms = 7
        subject = Clock(UNSET, 0)
        self.fake.ms = 57
        subject.wake(kept, 600000, 20)
        self.assertEqual(subject.now(), (1800000620, (KEPT, 32, 620)))
        unset = Clock(UNSET, 0)
        unset.wake([0, 0, 5000], 600000, 20)
        self.assertEqual(unset.now(), (0, (UNSET, 0, 605)))

    def test_a_step_of_the_hosts_clock_is_noticed(self):
        subject = Clock(HOST, 3)
        self.assertEqual(subject.host_step_s(), 0)
        self.fake.ms = 60000
        self.assertEqual(subject.host_step_s(), 0)
        self.fake.seconds -= 3600
        self.assertEqual((subject.host_step_s(), subject.host_step_s()), (-3600, 0))


class Utc(unittest.TestCase):
    def test_known_seconds(self):
        self.assertEqual(clock.utc(1643673840), (2022, 2, 1, 0, 4, 0))


if __name__ == "__main__":
    unittest.main()
