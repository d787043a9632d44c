"""I2C drivers against transcripts: the data sheet's bytes become the data sheet's value, damaged ones a named error."""

import asyncio

import unittest_mini as unittest
from transcript import Board, Transcript, flipped

from bus import Buses, SensorError, crc
from cbor import Fraction
from clock import HOST, Clock
from sensors import ERRORS, bh1750, bme280, driver


def words(*values):
    """Words as Sensirion's devices send them."""
    octets = b""
    for value in values:
        word = value.to_bytes(2, "big")
        octets += word + bytes([crc.sensirion(word)])
    return octets


def make(name, steps, at, **changes):
    """(sensor, transcript) of a driver whose bus plays these steps."""
    played = Transcript(steps, at)
    settings = dict(driver(name).SETTINGS)
    settings.update(bus="i2c0", **changes)
    buses = Buses({"i2c0": {"kind": "i2c"}}, Board(played))
    return driver(name).make("air", settings, Clock(HOST, 1), buses), played


class Case(unittest.TestCase):
    def read(self, name, steps, at, **changes):
        sensor, played = make(name, steps, at, **changes)
        readings = asyncio.run(sensor.read())
        self.assertEqual(played.left, [])
        self.assertEqual([reading[0] for reading in readings], sensor.quantities)
        return [reading[1:] for reading in readings]

    def refused(self, name, steps, at, **changes):
        sensor, _ = make(name, steps, at, **changes)
        with self.assertRaises(SensorError) as raised:
            asyncio.run(sensor.read())
        self.assertTrue(raised.exception.error in ERRORS)
        return raised.exception.error

    def never_a_value(self, name, steps, address, error):
        """Each byte of each answer changed: always this error."""
        for at, step in enumerate(steps):
            if step[0] == "r":
                for octets in flipped(step[1]):
                    damaged = steps[:at] + [("r", octets)] + steps[at + 1 :]
                    self.assertEqual(self.refused(name, damaged, address), error)


class Sensirion(Case):
    def test_crc(self):
        # SHT3x-DIS, version 5 (May 2018), table 20: CRC(0xBEEF) = 0x92; SHT4x has the same CRC.
        self.assertEqual(crc.sensirion(b"\xbe\xef"), 0x92)

    # The data sheets have no example of a reading: words put together here by their formulas (SHT3x-DIS §4.13; SHT4x,
    # "Conversion of Signal Output").
    SHT3X = [("w", b"\x24\x00"), ("wait", 15), ("r", words(0x6666, 0x8000))]
    SHT4X = [("w", b"\xfd"), ("wait", 9), ("r", words(0x6666, 0x8000))]

    def test_sht3x(self):
        expected = [("Cel", Fraction(-2, 2500)), ("%RH", Fraction(-2, 5000))]
        self.assertEqual(self.read("sht3x", self.SHT3X, 0x44), expected)
        self.never_a_value("sht3x", self.SHT3X, 0x44, "crc")

    def test_sht4x(self):
        expected = [("Cel", Fraction(-2, 2500)), ("%RH", Fraction(-2, 5650))]
        self.assertEqual(self.read("sht4x", self.SHT4X, 0x44), expected)
        self.never_a_value("sht4x", self.SHT4X, 0x44, "crc")
        for word, cropped in ((0, 0), (0xFFFF, 10000)):
            steps = self.SHT4X[:2] + [("r", words(0x6666, word))]
            self.assertEqual(self.read("sht4x", steps, 0x44)[1], ("%RH", Fraction(-2, cropped)))

    def test_the_ends_of_the_range(self):
        for word, hundredths in ((1873, -4000), (63663, 12500)):
            steps = self.SHT3X[:2] + [("r", words(word, 0))]
            self.assertEqual(self.read("sht3x", steps, 0x45, address=0x45)[0], ("Cel", Fraction(-2, hundredths)))
        for word in (0, 1870, 63666, 0xFFFF):
            for name, steps in (("sht3x", self.SHT3X), ("sht4x", self.SHT4X)):
                self.assertEqual(self.refused(name, steps[:2] + [("r", words(word, 0))], 0x44), "out-of-range")

    def test_silence_and_short_answers(self):
        for name, steps in (("sht3x", self.SHT3X), ("sht4x", self.SHT4X)):
            self.assertEqual(self.refused(name, [("none",)], 0x44), "no-answer")
            self.assertEqual(self.refused(name, steps[:2] + [("none",)], 0x44), "no-answer")
            self.assertEqual(self.refused(name, steps[:2] + [("r", b"")], 0x44), "bad-frame")


class Scd4x(Case):
    # SCD4x data sheet, version 1.1 (April 2021), §3.5.2: 0xEC05 gives 500 ppm, 25 Cel, 37 %RH with these bytes; §3.8.2:
    # 0xE4B8 gives 8000 A2 while there is nothing, else any of the low eleven bits set (8006 here, put together).
    READY = [("w", b"\xe4\xb8"), ("wait", 1), ("r", words(0x8006))]
    NOT_READY = [("w", b"\xe4\xb8"), ("wait", 1), ("r", b"\x80\x00\xa2")]
    READ = [("w", b"\xec\x05"), ("wait", 1), ("r", bytes.fromhex("01f433" + "6667a2" + "5eb93c"))]
    # §3.5.1, §3.5.3, §3.7.2 (self-calibration on, 0001 B0).
    START = [
        ("w", b"\x3f\x86"),
        ("wait", 500),
        ("w", bytes.fromhex("24160001b0")),
        ("wait", 1),
        ("w", b"\x21\xb1"),
    ]
    VALUES = [("ppm", 500), ("Cel", Fraction(-2, 2500)), ("%RH", Fraction(-1, 370))]

    def test_the_data_sheet_s_reading(self):
        self.assertEqual(self.read("scd4x", self.START + self.READY + self.READ, 0x62), self.VALUES)

    def test_it_is_started_once_and_waits_for_a_new_value(self):
        again = self.NOT_READY + [("wait", 500)] + self.READY + self.READ
        sensor, played = make(
            "scd4x", self.START + self.NOT_READY + [("wait", 500)] + self.READY + self.READ + again, 0x62
        )
        for _ in range(2):
            self.assertEqual([reading[1:] for reading in asyncio.run(sensor.read())], self.VALUES)
        self.assertEqual(played.left, [])

    def test_nothing_new_in_time(self):
        self.assertEqual(self.refused("scd4x", self.START + self.NOT_READY * 14, 0x62), "not-ready")

    def test_it_is_set_up_anew_after_a_failure(self):
        gone = [("r", b"")]
        sensor, played = make("scd4x", self.START + self.READY[:2] + gone + self.START + self.READY + self.READ, 0x62)
        with self.assertRaises(SensorError):
            asyncio.run(sensor.read())
        self.assertEqual(len(asyncio.run(sensor.read())), 3)
        self.assertEqual(played.left, [])

    def test_settings_reach_the_chip(self):
        # §3.6.3: 1950 m is 079E 09; §3.6.5: 98700 Pa is 03DB 42.
        altitude = self.START[:2] + [("w", bytes.fromhex("2427079e09")), ("wait", 1)] + self.START[2:]
        self.read("scd4x", altitude + self.READY + self.READ, 0x62, altitude_m=1950)
        off = self.START[:2] + [("w", bytes.fromhex("2416000081"))] + self.START[3:]
        pressure = [("wait", 1), ("w", bytes.fromhex("e00003db42"))]
        steps = off + pressure + self.READY + self.READ
        self.read("scd4x", steps, 0x62, pressure_hpa=987, self_calibration=False)
        for wrong in (
            {"altitude_m": 3001},
            {"altitude_m": -1},
            {"pressure_hpa": 98700},
            {"pressure_hpa": 987, "altitude_m": 1},
            {"self_calibration": 1},
        ):
            with self.assertRaises(ValueError):
                make("scd4x", [], 0x62, **wrong)

    def test_damage(self):
        self.never_a_value("scd4x", self.START + self.READY + self.READ, 0x62, "crc")
        for values in ((0, 0x6667, 0x5EB9), (40001, 0x6667, 0x5EB9), (500, 0xFFFF, 0x5EB9)):
            steps = self.START + self.READY + self.READ[:2] + [("r", words(*values))]
            self.assertEqual(self.refused("scd4x", steps, 0x62), "out-of-range")
        self.assertEqual(self.refused("scd4x", [("none",)], 0x62), "no-answer")


class Bh1750(Case):
    def steps(self, octets):
        # BH1750FVI technical note, 2009.04 rev. B, "Instruction Set"; p. 2: 180 ms at most.
        return [("w", b"\x01"), ("w", b"\x20"), ("wait", 180), ("r", octets)]

    def test_the_data_sheet_s_reading(self):
        # The same, p. 10, "Read Format": 1000_0011 1001_0000 is 28067 lx.  The others are put together by its formula.
        for octets, expected in ((b"\x83\x90", 28067), (b"\x01\x10", 227), (b"\0\0", 0), (b"\xff\xfe", 54612)):
            self.assertEqual(self.read("bh1750", self.steps(octets), 0x23), [("lx", expected)])
        self.assertEqual(bh1750.lux(b"\x83\x90"), 28067)

    def test_damage(self):
        """It sends no check sum: only what is no answer, or its highest count, can be told."""
        self.assertEqual(self.refused("bh1750", self.steps(b"\xff\xff"), 0x23), "out-of-range")
        self.assertEqual(self.refused("bh1750", self.steps(b""), 0x23), "bad-frame")
        self.assertEqual(self.refused("bh1750", [("none",)], 0x5C, address=0x5C), "no-answer")
        with self.assertRaises(ValueError):
            make("bh1750", [], 0x24, address=0x24)


class Bme280(Case):
    # BMP280, BST-BMP280-DS001, §3.12, has the worked example of the part that both have: trimming values, UT 519888, UP
    # 415148, t_fine 128422, 25.08 Cel, 100653.27 Pa.  There is none for humidity: those trimming values are made up.
    DIG = (27504, 26435, -1000, 36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000, 75, 361, 0, 328, 50, 30)
    LOW = bytes.fromhex("706b436718fc7d8e43d6d00b270b8c00f9ff8c3cf8c670170" + "04b")
    HIGH = bytes([0x69, 0x01, 0x00, 0x14, 0x28, 0x03, 0x1E])  # H4 = 0x148, H5 = 0x032
    VALUES = bytes([0x65, 0x5A, 0xC0, 0x7E, 0xED, 0x00, 0x75, 0x30])

    def steps(self, values=VALUES, chip=b"\x60", status=b"\0", low=LOW):
        return [
            ("w", b"\xd0"),
            ("r", chip),
            ("w", b"\x88"),
            ("r", low),
            ("w", b"\xe1"),
            ("r", self.HIGH),
            ("w", b"\xf2\x01"),
            ("w", b"\xf4\x25"),
            ("wait", 10),
            ("w", b"\xf3"),
            ("r", status),
            ("w", b"\xf7"),
            ("r", values),
        ]

    def test_calibration_is_read_as_table_16_has_it(self):
        self.assertEqual(bme280.calibration(self.LOW, self.HIGH), self.DIG)
        negative = bytes([0x69, 0x01, 0x00, 0xFF, 0xFF, 0xFF, 0xFF])
        self.assertEqual(bme280.calibration(self.LOW, negative)[-3:], (-1, -1, -1))

    def test_the_worked_example(self):
        fine, temperature, _, pressure = bme280.compensate(self.DIG, self.VALUES)
        self.assertEqual((fine, temperature), (128422, 2508))
        self.assertTrue(abs(pressure - 25767237) <= 5)  # 100653.27 Pa in doubles, of which it lets the integers differ
        expected = [("Cel", Fraction(-2, 2508)), ("%RH", Fraction(-2, 4952)), ("Pa", 100653)]
        self.assertEqual(self.read("bme280", self.steps(), 0x76), expected)

    def test_humidity_agrees_with_the_data_sheet_s_doubles(self):
        # BME280, BST-BME280-DS002, appendix 8.1, in doubles; the integers of 8.2 stay within 0.02 %RH.
        h1, h2, h3, h4, h5, h6 = self.DIG[12:]
        for fine in range(-20000, 400000, 23456):
            for raw in range(15000, 50000, 1777):
                h = fine - 76800.0
                h = (raw - (h4 * 64.0 + h5 / 16384.0 * h)) * (
                    h2 / 65536.0 * (1.0 + h6 / 67108864.0 * h * (1.0 + h3 / 67108864.0 * h))
                )
                h = min(100.0, max(0.0, h * (1.0 - h1 * h / 524288.0)))
                self.assertTrue(abs(bme280._humidity(self.DIG, fine, raw) / 1024 - h) < 0.02)

    def test_damage(self):
        """It sends no check sum over values; what cannot be is named."""
        self.assertEqual(self.refused("bme280", self.steps(chip=b"\x58"), 0x76), "wrong-device")
        self.assertEqual(self.refused("bme280", self.steps(low=bytes(26)), 0x76), "bad-frame")
        self.assertEqual(self.refused("bme280", self.steps(low=b"\xff" * 26), 0x76), "bad-frame")
        self.assertEqual(self.refused("bme280", self.steps(bytes.fromhex("8000008000008000")), 0x76), "not-ready")
        for values in ("655ac0ffffff7530", "0000007eed007530", "655ac00000007530"):
            self.assertEqual(self.refused("bme280", self.steps(bytes.fromhex(values)), 0x76), "out-of-range")
        busy = self.steps()[:9] + [("w", b"\xf3"), ("r", b"\x08"), ("wait", 10)] * 5
        self.assertEqual(self.refused("bme280", busy, 0x76), "not-ready")
        self.assertEqual(self.refused("bme280", [("none",)], 0x77, address=0x77), "no-answer")

    def test_the_calibration_is_read_once(self):
        sensor, played = make("bme280", self.steps() + self.steps()[6:], 0x76)
        self.assertEqual(asyncio.run(sensor.read()), asyncio.run(sensor.read()))
        self.assertEqual(played.left, [])


if __name__ == "__main__":
    unittest.main()
