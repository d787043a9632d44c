"""The watchdog's question and the light's answer: loops that hang are noticed, and the worst thing is shown."""

import asyncio

import unittest_mini as unittest

import light
import pulse
from pulse import Pulse


class Beats(unittest.TestCase):
    def setUp(self):
        self.kept = pulse.ticks_ms, pulse.elapsed_ms
        self.ms = 0
        pulse.ticks_ms = lambda: self.ms
        pulse.elapsed_ms = lambda since: self.ms - since

    def tearDown(self):
        pulse.ticks_ms, pulse.elapsed_ms = self.kept

    def test_a_loop_that_is_silent_is_stuck(self):
        subject = Pulse(120)
        self.assertTrue(subject.stuck() is None)
        subject.beat("measure")
        subject.beat("sender")
        self.ms = 120000
        self.assertTrue(subject.stuck() is None)
        subject.beat("measure")
        self.ms = 120001
        self.assertEqual(subject.stuck(), "sender")
        subject.beat("sender")
        self.assertTrue(subject.stuck() is None)

    def test_a_loop_that_rests_is_not(self):
        subject = Pulse(120)
        subject.beat("sender")
        subject.rest("sender")
        subject.rest("never seen")
        self.ms = 10**6
        self.assertTrue(subject.stuck() is None)


class Light(unittest.TestCase):
    def test_the_first_of_the_table_that_holds_is_shown(self):
        self.assertEqual(light.first({}), "well")
        holds = {}
        for code, _, _ in reversed(light.CODES[:-1]):
            holds[code] = True
            self.assertEqual(light.first(holds), code)

    def test_each_code_has_a_number_of_flashes_of_its_own(self):
        counts = [flashes for _, flashes, _ in light.CODES]
        self.assertEqual(len(set(counts)), len(counts))
        for code, flashes, _ in light.CODES:
            lit = [on for on, _ in light.pattern(code)]
            self.assertEqual(lit.count(True), flashes or 1)
            self.assertTrue(flashes == 0 or not lit[-1])

    def test_it_is_switched_by_the_pattern_and_off_at_the_end(self):
        async def steps():
            seen = []
            task = asyncio.create_task(light.show(seen.append, lambda: "network"))
            while len(seen) < 5:
                await asyncio.sleep(0)
            task.cancel()
            try:  # noqa: SIM105 - MicroPython has no contextlib
                await task
            except asyncio.CancelledError:
                pass
            return seen

        kept = light._ON_MS, light._OFF_MS, light._PAUSE_MS
        light._ON_MS = light._OFF_MS = light._PAUSE_MS = 1
        try:
            seen = asyncio.run(steps())
        finally:
            light._ON_MS, light._OFF_MS, light._PAUSE_MS = kept
        self.assertEqual(seen[:5], [True, False, True, False, True])
        self.assertFalse(seen[-1])


if __name__ == "__main__":
    unittest.main()
