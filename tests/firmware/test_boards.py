"""The boards' own code over doubles of the chip (chip.py): causes of resets, the watchdog, sleep, Wi-Fi, time."""

import asyncio
import hashlib
import sys

import chip
import scratch
import unittest_mini as unittest

import names
import ntp
from clock import NTP, UNSET

ESP32, S3, C3 = "Generic ESP32 module with ESP32", "Generic ESP32S3 module with ESP32S3", "ESP32C3 module with ESP32C3"
PICO_W, PICO_2_W = "Raspberry Pi Pico W with RP2040", "Raspberry Pi Pico 2 W with RP2350"


class Causes(unittest.TestCase):
    def test_esp32(self):
        for uname, register in ((ESP32, 0x3FF48034), (S3, 0x60008038), (C3, 0x60008038)):
            subject, machine, _ = chip.board("esp32", uname)
            for cause, state, said in (
                (machine.PWRON_RESET, 1, "power on"),
                (machine.PWRON_RESET, 15 | 15 << 6, "brown-out"),
                (machine.PWRON_RESET, 3, "brown-out"),
                (machine.HARD_RESET, 12, "hard reset"),
                (machine.WDT_RESET, 7, "watchdog"),
                (machine.DEEPSLEEP_RESET, 5, "deep sleep"),
                (machine.SOFT_RESET, 1, "soft reset"),
                (0, 1, "unknown"),
            ):
                machine.cause, machine.mem32[register] = cause, state
                self.assertEqual(subject.reset_cause(), said)

    def test_an_esp32_of_another_kind_says_what_micropython_says(self):
        subject, _, _ = chip.board("esp32", "Generic ESP32C6 module with ESP32C6")
        self.assertEqual(subject.reset_cause(), "power on")

    def test_rp2(self):
        for uname, reason, reset, cases in (
            (PICO_W, 0x40058008, 0x40064008, ((0, 1 << 8, "power on or brown-out"), (0, 1 << 16, "reset pin"))),
            (
                PICO_2_W,
                0x400D8008,
                0x4010002C,
                ((0, 1 << 16, "power on"), (0, 1 << 17, "brown-out"), (0, 1 << 18, "reset pin"), (0, 0, "unknown")),
            ),
        ):
            subject, machine, _ = chip.board("rp2", uname)
            for bits, more, said in cases + ((1, 1 << 16, "watchdog"), (2, 1 << 16, "reset by software")):
                machine.mem32 = {reason: bits, reset: more}
                self.assertEqual(subject.reset_cause(), said)


class Loops:
    """Stands for a pulse: says which loop is stuck."""

    def __init__(self):
        self.name = None
        self.feed = None

    def stuck(self):
        return self.name


async def for_a_while(work, turns=3, then=lambda: None):
    """Let the work run some turns of a second each, that take no time."""
    task = asyncio.create_task(work)
    for _ in range(turns):
        for _ in range(10):
            await asyncio.sleep(0)
        then()
    task.cancel()
    try:  # noqa: SIM105 - MicroPython has no contextlib
        await task
    except asyncio.CancelledError:
        pass


class Quick(unittest.TestCase):
    """Sleeps of the board's code take no time."""

    def setUp(self):
        self.slept = []
        self.sleep = asyncio.sleep

    def quick(self, module):
        case = self

        class Asyncio:
            """`asyncio` as the board's module sees it."""

            async def sleep(self, seconds):
                case.slept.append(seconds)
                await case.sleep(0.001 if len(case.slept) > 50 else 0)

        module.asyncio = Asyncio()


class Watchdog(Quick):
    def test_it_is_fed_while_the_loops_live_and_no_longer(self):
        for name, uname, timeout in (("esp32", ESP32, 30000), ("rp2", PICO_W, 8000)):
            subject, _, _ = chip.board(name, uname)
            self.quick(__import__("board.microcontroller").microcontroller)
            loops, said = Loops(), []
            asyncio.run(for_a_while(subject.watchdog(loops, said.append)))
            dog = chip.Dog.made[0]
            self.assertEqual((dog.timeout, len(chip.Dog.made), said), (timeout, 1, []))
            fed = dog.fed
            self.assertTrue(fed > 3)
            loops.feed()
            self.assertEqual(dog.fed, fed + 1)
            loops.name = "sender"
            self.slept = []
            asyncio.run(for_a_while(subject.watchdog(loops, said.append), turns=1))
            self.assertTrue("'sender' is stuck" in said[0])
            self.assertEqual(self.slept[0], 2 * timeout // 1000)
            loops.feed()
            self.assertTrue(dog.fed <= fed + 10, "while stuck it waits longer than the watchdog")


class Sleep(Quick):
    def test_an_esp32_keeps_its_state_and_measures_the_sleep(self):
        subject, machine, _ = chip.board("esp32", ESP32)
        self.assertTrue(subject.kept() is None)

        class Time:
            ns = 5 * 10**18

            def time_ns(self):
                return self.ns

        subject.time = Time()
        with self.assertRaises(chip.Slept):
            asyncio.run(subject.sleep(60000, b"state"))
        self.assertTrue(subject.kept() is None, "after any other reset")
        machine.cause = machine.DEEPSLEEP_RESET
        for slept_ms, expected in ((61500, (b"state", 61500)), (29999, None), (-5, None), (10**7, None)):
            subject.time.ns = 5 * 10**18 + slept_ms * 10**6
            self.assertEqual(subject.kept(), expected)
        subject.time.ns = 5 * 10**18 + 60000 * 10**6
        chip.Rtc.kept = b"\x00" + chip.Rtc.kept[1:]
        self.assertTrue(subject.kept() is None)
        chip.Rtc.kept = b"short"
        self.assertTrue(subject.kept() is None)

    def test_an_rp2_sleeps_in_slices_that_its_watchdog_bears(self):
        subject, machine, _ = chip.board("rp2", PICO_W)
        self.quick(__import__("board.microcontroller").microcontroller)
        asyncio.run(for_a_while(subject.watchdog(Loops(), None), turns=1))
        fed = chip.Dog.made[0].fed
        asyncio.run(subject.sleep(12000, b""))
        self.assertEqual(machine.sleeps, [5000, 5000, 2000])
        self.assertEqual(chip.Dog.made[0].fed, fed + 3)
        self.assertTrue(subject.kept() is None)


class Wifi(Quick):
    def setUp(self):
        super().setUp()
        self.ask, self.times = ntp.ask, []
        ntp.ask = self.answer
        self.subject, _, self.station = chip.board("esp32", ESP32)
        self.quick(__import__("board.microcontroller").microcontroller)
        self.clock = self.subject.clock({})
        self.said = []

    def tearDown(self):
        ntp.ask = self.ask

    async def answer(self, address):
        self.times.append(address)
        if len(self.times) < 2:
            raise OSError(110, "silent")
        return 1800000000000, 20

    def live(self, turns, then=lambda: None):
        chosen = {"wifi": {"ssid": "barn", "password": "p"}, "ntp_host": "192.0.2.5"}
        work = self.subject.network(chosen, self.clock, names.Names(self.subject.name_server), self.said.append)
        asyncio.run(for_a_while(work, turns, then))

    def test_it_joins_and_sets_the_clock_and_the_ports(self):
        kept = self.clock.uptime_s
        self.clock.uptime_s = lambda: kept() + 100 * len(self.slept)
        self.live(4)
        self.assertEqual(self.station.asked, [("barn", "p")])
        self.assertTrue(self.subject.online())
        self.assertEqual(self.subject.name_server(), "127.0.0.1")
        self.assertEqual(self.times, ["192.0.2.5"] * 2)
        self.assertTrue(any("no time from" in text for text in self.said))
        self.assertEqual(self.clock.now()[1][0], NTP)
        self.assertEqual(chip.Rtc.set_to[0][:3], (2027, 1, 15))

    def test_a_wifi_that_is_away_is_said_and_tried_again(self):
        self.station.there = False
        self.live(40)
        self.assertTrue(any("does not answer" in text for text in self.said))
        self.assertTrue(len(self.station.asked) > 1)
        self.assertFalse(self.subject.online())
        self.assertEqual(self.clock.now()[1][0], UNSET)

    def test_a_radio_that_does_not_start_is_no_end_of_the_node(self):
        active, tries = self.station.active, []

        def once(on=None):
            if on and not tries:
                tries.append(on)
                raise OSError(0x101, "WiFi Out of Memory")
            return active(on)

        self.station.active = once
        self.live(4)
        self.assertTrue(any("refuses" in text for text in self.said))
        self.assertTrue(self.subject.online())

    def test_it_is_joined_again_when_it_comes_back(self):
        def flap():
            self.station.joined = False

        self.live(6, flap)
        self.assertTrue(len(self.station.asked) > 2)

    def test_the_radio_goes_off_before_a_sleep(self):
        self.live(2)
        self.subject.network_off()
        self.assertFalse(self.station.on or self.subject.online())
        self.station.server = "0.0.0.0"  # noqa: S104 - it says that there is none
        self.assertTrue(self.subject.name_server() is None)


class Random(unittest.TestCase):
    def test_the_chip_s_generator_is_asked_with_the_radio_on(self):
        subject, _, station = chip.board("esp32", ESP32)
        asked = []
        subject.os.urandom = lambda count: asked.append(station.on) or bytes(count)
        for before in (False, True):
            station.on = before
            self.assertEqual(subject.urandom(32), bytes(32))
            self.assertEqual(station.on, before)
        self.assertEqual(asked, [True, True])

    def test_the_bits_of_an_oscillator_are_condensed(self):
        subject, _, _ = chip.board("rp2", PICO_W)
        asked = []
        subject.os.urandom = lambda count: asked.append(count) or bytes([len(asked)]) * count
        drawn = subject.urandom(40)
        self.assertEqual(len(drawn), 40)
        self.assertEqual(asked, [1024, 1024])
        self.assertEqual(drawn[:32], hashlib.sha256(b"\x01" * 1024).digest())


class Tls(unittest.TestCase):
    def test_certificates_are_given_as_bytes_and_the_broker_s_is_checked(self):
        place = scratch.folder()
        files = {"ca": b"0\x03\x02\x01\x01", "certificate": b"one", "key": b"two"}
        settings = {name: place + "/" + name for name in files}
        for name, content in files.items():
            with open(settings[name], "wb") as stream:
                stream.write(content)
        subject, _, _ = chip.board("esp32", ESP32)
        sys.modules["board.microcontroller"].mbedtls = chip.Tls
        context = subject.tls(settings)
        self.assertEqual((context.protocol, context.verify_mode), (0, 2))
        self.assertEqual((context.authority, context.chain), (files["ca"], (b"one", b"two")))
        settings["certificate"] = None
        self.assertTrue(subject.tls(settings).chain is None)
        scratch.remove(place)


class Led(unittest.TestCase):
    def test_a_pin_or_none(self):
        subject, _, _ = chip.board("rp2", PICO_W)
        self.assertTrue(subject.led(None) is None)
        switch = subject.led("LED")
        switch(True)
        switch(False)


if __name__ == "__main__":
    unittest.main()
