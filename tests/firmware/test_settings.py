"""node.json: defaults filled in, and everything wrong refused by name."""

import json

import scratch
import unittest_mini as unittest

import identity
import settings
from clock import HOST, Clock

KEY = bytes(range(32))
GOOD = {
    "site": "farm",
    "name": "node-1",
    "gateway_key": identity.did(KEY),
    "broker": {"host": "127.0.0.1"},
    "sensors": [{"driver": "modelled"}],
}


def with_change(**changes):
    given = dict(GOOD)
    given.update(changes)
    return given


def recording_path(folder, number):
    return "%s/%d.csv" % (folder, number)


class Check(unittest.TestCase):
    def refused(self, given):
        with self.assertRaises(settings.SettingsError) as raised:
            settings.check(given)
        return str(raised.exception)

    def test_defaults(self):
        complete = settings.check(GOOD)
        self.assertEqual(complete["gateway_key"], KEY)
        self.assertEqual(complete["interval_s"], 60)
        self.assertEqual((complete["broker"]["port"], complete["broker"]["keepalive_s"]), (1883, 30))
        self.assertEqual(set(complete), set(settings.TABLE))
        secure = settings.check(with_change(broker={"host": "b", "tls": {"ca": "ca.pem"}}))
        self.assertEqual(secure["broker"]["port"], 8883)
        self.assertEqual(settings.check(with_change(gateway_key=KEY.hex()))["gateway_key"], KEY)
        self.assertEqual(settings.check(with_change(wifi={"ssid": "barn"}))["wifi"], {"ssid": "barn", "password": None})

    def test_every_missing_setting_is_named(self):
        for name in GOOD:
            given = dict(GOOD)
            del given[name]
            self.assertTrue("missing setting " + name in self.refused(given))
        self.assertTrue("missing setting broker.host" in self.refused(with_change(broker={})))
        self.assertTrue("missing setting broker.tls.ca" in self.refused(with_change(broker={"host": "b", "tls": {}})))

    def test_every_unknown_setting_is_named(self):
        self.assertTrue("unknown setting intervall_s" in self.refused(with_change(intervall_s=5)))
        self.assertTrue("unknown setting broker.prot" in self.refused(with_change(broker={"host": "b", "prot": 1})))

    def test_every_wrong_value_is_named(self):
        did = GOOD["gateway_key"]
        for name, values in (
            ("site", ("", "Farm", "-farm", "a" * 33, "a b", 5, None)),
            ("name", ("", "nöde", "a/b")),
            ("gateway_key", ("", "ab", 5, KEY.hex()[:-1], "zz" * 32, did[:-1], did + "1", "did:key:zO0", "did:web:x")),
            ("interval_s", (0, -1, 1.5, "60", True, None, 432001)),
            ("status_s", (0, 10**6)),
            ("ntp_host", (5, "", None)),
            ("wifi", ("barn", {}, {"ssid": ""}, {"ssid": 5}, {"ssid": "barn", "pasword": "x"}, {"password": "x"})),
            ("wifi", ({"ssid": "barn", "password": 12345678},)),
            ("clock_error_s", (-1, 2**32, 0.5)),
            ("segment_bytes", (100, 70000, 10**9)),
            ("window", (0, 65536)),
            ("exit_when_done", ("no", 1)),
            ("sensors", ({}, "modelled", [{}] * 33)),
        ):
            for value in values:
                said = self.refused(with_change(**{name: value}))
                self.assertTrue(name in said, "%s: %r" % (said, value))
        for name, values in (
            ("port", (-1, 65536, "1883")),
            ("keepalive_s", (0, 65536)),
            ("retry_s", (5, [1], [2, 1], [0, 1], [1, "x"], [1, 432001], [1, float("inf")])),
            ("host", (None, "", 5)),
            ("tls", ("yes", {"ca": 5}, {"ca": None})),
            ("user", (5,)),
            ("password", (12345,)),
        ):
            for value in values:
                broker = {"host": "b"}
                broker[name] = value
                said = self.refused(with_change(broker=broker))
                self.assertTrue("broker." + name in said, "%s: %r" % (said, value))
        self.assertTrue("node.json" in self.refused([]))


class Sensors(unittest.TestCase):
    def make(self, *entries):
        return settings.make_sensors(settings.check(with_change(sensors=list(entries))), Clock(HOST, 1))

    def test_made_with_their_names(self):
        made = self.make({"driver": "modelled"}, {"driver": "modelled", "name": "north", "prefix": "north/"})
        self.assertEqual([sensor.name for sensor in made], ["modelled", "north"])

    def test_refused_by_place_and_name(self):
        for entry, named in (
            ({}, "driver"),
            ({"driver": "os"}, "sensors[0].driver"),
            ({"driver": "modelled", "sed": 1}, "sensors[0].sed"),
            ({"driver": "modelled", "seed": "x"}, "seed"),
            ({"driver": "modelled", "name": "Big"}, "sensors[0].name"),
            ({"driver": "modelled", "prefix": "a b"}, "a b"),
            ({"driver": "modelled", "utc_offset_s": "x"}, "utc_offset_s"),
            ({"driver": "replay"}, "sensors[0].columns"),
            ({"driver": "replay", "file": 5.5, "columns": {"a": {}}, "time_column": "t"}, "sensors[0]"),
            (5, "sensors[0]"),
        ):
            with self.assertRaises(settings.SettingsError) as raised:
                self.make(entry)
            self.assertTrue(named in str(raised.exception), "%s" % raised.exception)
        with self.assertRaises(settings.SettingsError) as raised:
            self.make({"driver": "modelled"}, {"driver": "modelled"})
        self.assertTrue("temperature" in str(raised.exception))

    def test_a_board_that_sleeps_counts_no_pulses(self):
        class Board:
            def pulses(self, pin):
                return lambda: 0

        flow = {"driver": "flow", "pin": 4, "pulses_per_litre": 450}
        for mode in ("always-on", "deep-sleep"):
            chosen = settings.check(with_change(sensors=[flow], mode=mode))
            if mode == "always-on":
                settings.make_sensors(chosen, Clock(HOST, 1), Board())
            else:
                with self.assertRaises(settings.SettingsError):
                    settings.make_sensors(chosen, Clock(HOST, 1), Board())

    def test_buses_are_checked_by_name(self):
        for buses, named in (
            ([], "buses must"),
            ({"Bus": {"kind": "i2c"}}, "buses.Bus"),
            ({"a": {}}, "buses.a.kind"),
            ({"a": {"kind": "spi"}}, "buses.a.kind"),
            ({"a": {"kind": "i2c", "sdl": 1}}, "buses.a.sdl"),
            ({"a": {"kind": "i2c", "scl": "22"}}, "buses.a: scl"),
            ({"a": {"kind": "i2c", "hz": 10}}, "buses.a: hz"),
            ({"a": {"kind": "uart", "baud": "9600"}}, "buses.a: baud"),
            ({"a": {"kind": "uart", "parity": "mark"}}, "buses.a: parity"),
            ({"a": {"kind": "uart", "stop_bits": 3}}, "buses.a: stop_bits"),
            ({"a": {"kind": "uart", "path": 5}}, "buses.a: path"),
        ):
            with self.assertRaises(settings.SettingsError) as raised:
                settings.check(with_change(buses=buses))
            self.assertTrue(named in str(raised.exception), "%s" % raised.exception)
        complete = settings.check(with_change(buses={"i2c0": {"kind": "i2c", "number": 1}}))
        self.assertEqual(complete["buses"]["i2c0"]["hz"], 100000)

    def test_a_sensor_names_a_bus_that_is_declared(self):
        for buses in ({}, {"i2c0": {"kind": "uart"}}):
            with self.assertRaises(settings.SettingsError) as raised:
                chosen = settings.check(with_change(buses=buses, sensors=[{"driver": "sht3x", "bus": "i2c0"}]))
                settings.make_sensors(chosen, Clock(HOST, 1))
            self.assertTrue("sensors[0]: bus must name" in str(raised.exception))

    def test_every_driver_says_what_is_missing(self):
        required = {
            "battery": ("pin", "points"),
            "flow": ("pin", "pulses_per_litre"),
            "soil_adc": ("pin", "points"),
            "modbus": ("bus", "registers"),
            "ksx3267": ("bus", "channels"),
        }
        for name in ("bh1750", "bme280", "ds18b20", "mhz19", "scd4x", "sht3x", "sht4x", "soil_7in1"):
            required[name] = ("bus",)
        for name in required:
            with self.assertRaises(settings.SettingsError) as raised:
                self.make({"driver": name})
            self.assertTrue("missing setting sensors[0].%s:" % required[name][0] in str(raised.exception))

    def test_recordings_have_a_position_each(self):
        path = scratch.folder()
        entries = []
        try:
            for number in range(17):
                with open(recording_path(path, number), "w") as stream:
                    stream.write("time,a,b\n2022-01-01,%d,2\n" % number)
                columns = {"a": {"name": "a-%d" % number}}
                entry = {"driver": "replay", "file": recording_path(path, number), "columns": columns}
                entries.append(dict(entry, time_column="time"))
            self.assertEqual(len(self.make(*entries[:16])), 16)
            twice = dict(entries[0], columns={"b": {"name": "b"}})
            for wrong, named in (([entries[0], twice], "same recording"), (entries, "more than 16")):
                with self.assertRaises(settings.SettingsError) as raised:
                    self.make(*wrong)
                self.assertTrue(named in str(raised.exception))
        finally:
            scratch.remove(path)


class Load(unittest.TestCase):
    def setUp(self):
        self.path = scratch.folder()

    def tearDown(self):
        scratch.remove(self.path)

    def test_files(self):
        at = self.path + "/node.json"
        with self.assertRaises(settings.SettingsError):
            settings.load(at)
        for content in ("", "{", "[1]"):
            with open(at, "w") as stream:
                stream.write(content)
            with self.assertRaises(settings.SettingsError):
                settings.load(at)
        with open(at, "w") as stream:
            stream.write(json.dumps(GOOD))
        self.assertEqual(settings.load(at)["site"], "farm")
        tls = {"ca": "authority.pem", "key": "/etc/node.key"}
        with open(at, "w") as stream:
            json.dump(with_change(broker={"host": "b", "tls": tls}), stream)
        found = settings.load(at)["broker"]["tls"]
        self.assertEqual(found["ca"], at[: at.rfind("/") + 1] + "authority.pem")
        self.assertEqual((found["key"], found["certificate"]), ("/etc/node.key", None))


if __name__ == "__main__":
    unittest.main()
