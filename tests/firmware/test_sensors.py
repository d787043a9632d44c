"""Sensor drivers: exact values, times as recorded, a position to resume from, errors that name the sensor."""

import asyncio
import hashlib
import os

import scratch
import unittest_mini as unittest

from cbor import Fraction
from clock import HOST, Clock
from sensors import MEASURED, MODELLED, REPLAYED, SensorError, driver
from sensors.rowtime import parse

CSV = """\ufeffDate,Tair,"Rh, air",Note
2/1/2022 0:00,12.90,78.40,a
2/1/2022 0:05,,78.70,"quoted, with ""marks"" in it"

2/1/2022 0:10,,,
2/1/2022 0:15,-0.04,1e3,
yesterday,1,2,
2/2/2022 0:00,13,"80",b
2/3/2022 0:00,14.5,81,"""
COLUMNS = {"Tair": {"name": "air/temperature", "unit": "Cel"}, "Rh, air": {"name": "rh"}}
ROWS = [
    (1643673600, [("rh", None, Fraction(-2, 7840)), ("air/temperature", "Cel", Fraction(-2, 1290))]),
    (1643673900, [("rh", None, Fraction(-2, 7870))]),
    (1643674500, [("air/temperature", "Cel", Fraction(-2, -4))]),
    (1643760000, [("rh", None, 80), ("air/temperature", "Cel", 13)]),
    (1643846400, [("rh", None, 81), ("air/temperature", "Cel", Fraction(-1, 145))]),
]


def clock():
    return Clock(HOST, 1)


class Recording(unittest.TestCase):
    def setUp(self):
        self.path = scratch.folder()
        self.file = self.path + "/climate.csv"
        with open(self.file, "wb") as stream:
            stream.write(CSV.encode())
        self.said = []

    def tearDown(self):
        scratch.remove(self.path)

    def sensor(self, **changes):
        settings = dict(driver("replay").SETTINGS)
        settings.update(file=self.file, columns=COLUMNS, time_column="Date", time_format="mdy")
        settings.update(changes)
        return driver("replay").make("climate", settings, clock(), None)

    def all_rows(self, sensor, position, most):
        rows = []
        end = False
        while not end:
            more, position, end = sensor.rows(position, most, self.said.append)
            self.assertTrue(len(more) <= most)
            rows += more
        return rows

    def test_rows_and_what_is_left_out(self):
        sensor = self.sensor()
        self.assertEqual(self.all_rows(sensor, sensor.start, 2), ROWS)
        self.assertEqual(len(self.said), 2)
        self.assertTrue("'1e3'" in self.said[0])
        self.assertTrue("'yesterday'" in self.said[1])

    def test_says_which_recording(self):
        sensor = self.sensor()
        digest = hashlib.sha256(CSV.encode()).digest()
        self.assertTrue("climate.csv" in sensor.detail)
        self.assertTrue("".join("%02x" % byte for byte in digest) in sensor.detail)
        self.assertTrue("UTC" in sensor.detail)
        self.assertTrue(len(sensor.detail.encode()) <= 200)
        self.assertEqual((sensor.driver, sensor.method), ("replay", REPLAYED))
        self.assertEqual(sensor.key, int.from_bytes(digest[:6], "big"))

    def test_resumes_after_every_row(self):
        sensor = self.sensor()
        position, rows, end = sensor.start, [], False
        while not end:
            more, position, end = self.sensor().rows(position, 1, self.said.append)
            rows += more
        self.assertEqual(rows, ROWS)

    def test_days(self):
        for first, days, expected in (("", 1, ROWS[:3]), ("2022-02-02", 1, ROWS[3:4]), ("2022-02-02", 0, ROWS[3:])):
            sensor = self.sensor(days=days, **{"from": first})
            self.assertEqual(self.all_rows(sensor, sensor.start, 9), expected)

    def test_settings_are_checked(self):
        wrong = (
            {"file": self.path + "/none.csv"},
            {"columns": {"Humidity": {"name": "x"}}},
            {"columns": {"Tair": "temperature"}},
            {"columns": {"Tair": {"name": "t", "unti": "Cel"}}},
            {"columns": {"Tair": {"name": "t", "unit": 5}}},
            {"columns": {}},
            {"time_column": "Time"},
            {"time_format": "swatch"},
            {"rows_per_statement": 0},
            {"rows_per_statement": 129},
            {"days": -1},
            {"days": "1"},
            {"pause_ms": -1},
            {"from": "1/2/2022"},
        )
        for change in wrong:
            with self.assertRaises(ValueError):
                self.sensor(**change)


class RowTimes(unittest.TestCase):
    def test_forms(self):
        for text, form in (
            ("2022-02-01T00:04:00Z", "iso"),
            ("2022-02-01 00:04", "iso"),
            ("2/1/2022 0:04", "mdy"),
            ("1/2/2022 0:04:00", "dmy"),
            ("1643673840", "unix"),
        ):
            self.assertEqual(parse(text, form), 1643673840)
        self.assertEqual(parse("2022-02-01", "iso"), 1643673600)
        self.assertEqual(parse("2024-02-29", "iso"), 1709164800)
        self.assertEqual(parse("2100-03-01", "iso"), 4107542400)
        self.assertEqual(parse("1999-12-31 23:59:59", "iso"), 946684799)

    def test_refused(self):
        for text in (
            "",
            "2022-02-30",
            "2022-13-01",
            "2023-02-29",
            "2022-02-01 24:00",
            "2022-02-01 0:60",
            "2022-2",
            "2022-02-01 1:2:3:4",
            "1970-01-01",
            "x",
            "-1",
            "2022-02-01 00:04:05.5",
            "2022-02-01+1",
        ):
            with self.assertRaises(ValueError):
                parse(text, "iso")


class Model(unittest.TestCase):
    def make(self, **changes):
        settings = dict(driver("modelled").SETTINGS)
        settings.update(changes)
        return driver("modelled").make("model", settings, clock(), None)

    def test_a_day_is_plausible_and_exact(self):
        sensor = self.make(prefix="north/")
        self.assertEqual(sensor.method, MODELLED)
        for hour in range(24):
            sensor._clock.now = lambda hour=hour: (1643673600 + 3600 * hour, (4, 1, 0))
            readings = asyncio.run(sensor.read())
            self.assertEqual([r[0] for r in readings], sensor.quantities)
            self.assertEqual([r[1] for r in readings], ["Cel", "%RH", "ppm", "W/m2"])
            temperature, humidity, co2, light = [r[2] for r in readings]
            self.assertTrue(1400 < temperature.m < 2500 and temperature.e == -2)
            self.assertTrue(500 <= humidity.m <= 1000 and humidity.e == -1)
            self.assertTrue(350 < co2 < 700)
            self.assertEqual(light > 0, 6 < hour < 18)

    def test_the_seed_decides(self):
        for first, second, same in ((1, 1, True), (1, 2, False)):
            one, two = self.make(seed=first), self.make(seed=second)
            for sensor in (one, two):
                sensor._clock.now = lambda: (1643673600, (4, 1, 0))
            self.assertEqual(
                [asyncio.run(one.read()) for _ in range(5)] == [asyncio.run(two.read()) for _ in range(5)], same
            )

    def test_is_the_same_on_every_interpreter(self):
        sensor = self.make(seed=2022)
        sensor._clock.now = lambda: (1643673600 + 12 * 3600, (4, 1, 0))
        text = " ".join("%d" % getattr(r[2], "m", r[2]) for _ in range(3) for r in asyncio.run(sensor.read()))
        self.assertEqual(text, "2314 604 408 605 2296 617 430 595 2286 624 431 595")

    def test_settings_are_checked(self):
        for seed in (-1, "1", 2**31):
            with self.assertRaises(ValueError):
                self.make(seed=seed)


class HostTemperatures(unittest.TestCase):
    def setUp(self):
        self.path = scratch.folder()
        for folder, files in (
            ("thermal/thermal_zone0", {"type": "cpu thermal", "temp": "48312"}),
            ("thermal/thermal_zone1", {"type": "cpu thermal", "temp": "-500"}),
            ("thermal/cooling_device0", {"type": "fan"}),
            ("hwmon/hwmon0", {"name": "nvme", "temp1_input": "30850", "temp1_label": "Composite", "fan1_input": "9"}),
            ("hwmon/hwmon1", {"temp2_input": "1"}),
        ):
            self.write(folder, files)

    def write(self, folder, files):
        at = self.path
        for part in folder.split("/"):
            if part not in os.listdir(at):
                os.mkdir(at + "/" + part)
            at += "/" + part
        for name, text in files.items():
            with open(at + "/" + name, "w") as stream:
                stream.write(text + "\n")

    def tearDown(self):
        scratch.remove(self.path)

    def make(self, base):
        settings = {"thermal_path": base + "/thermal", "hwmon_path": base + "/hwmon", "prefix": "host/"}
        return driver("thermal").make("host", settings, clock(), None)

    def test_reads_what_the_kernel_shows(self):
        sensor = self.make(self.path)
        expected = [
            ("host/cpu-thermal", "Cel", Fraction(-3, 48312)),
            ("host/cpu-thermal-2", "Cel", Fraction(-3, -500)),
            ("host/nvme-Composite", "Cel", Fraction(-3, 30850)),
            ("host/hwmon1-temp2", "Cel", Fraction(-3, 1)),
        ]
        self.assertEqual(asyncio.run(sensor.read()), expected)
        self.assertEqual(sensor.method, MEASURED)

    def test_a_broken_one_leaves_the_others(self):
        sensor = self.make(self.path)
        self.write("thermal/thermal_zone0", {"temp": "N/A"})
        self.assertEqual(len(asyncio.run(sensor.read())), 3)

    def test_none_is_a_named_error(self):
        with self.assertRaises(SensorError) as raised:
            asyncio.run(self.make(self.path + "/nowhere").read())
        self.assertEqual(raised.exception.error, "no-answer")


if __name__ == "__main__":
    unittest.main()
