"""Drivers at single pins: 1-Wire against the data sheet's table, analogue inputs and pulses."""

import asyncio

import unittest_mini as unittest
from transcript import Board, flipped

import bus
from bus import Buses, SensorError, crc
from bus.wire import Wire
from cbor import Fraction
from clock import HOST, Clock
from sensors import ERRORS, driver, ds18b20, flow
from sensors.exact import on_line, rounded

# DS18B20 data sheet 19-7487, revision 6, table 1: temperature and its register, high byte first, at 12 bits.
TABLE = (
    (12500, 0x07D0),
    (8500, 0x0550),
    (2506, 0x0191),  # +25.0625
    (1013, 0x00A2),  # +10.125
    (50, 0x0008),
    (0, 0x0000),
    (-50, 0xFFF8),
    (-1012, 0xFF5E),  # -10.125: halves go upwards
    (-2506, 0xFE6F),
    (-5500, 0xFC90),
)
ROMS = ("28-0316a2797e4b", "28-000000000001")


def scratchpad(register, configuration=0x7F):
    """Nine bytes as figure 9 has them: the register, alarms 4B 46, configuration, FF, one reserved byte, 10, CRC."""
    octets = bytes([register & 255, register >> 8, 0x4B, 0x46, configuration, 0xFF, 0x0C, 0x10])
    return octets + bytes([crc.dallas(octets)])


def rom(name):
    octets = b"\x28" + bytes.fromhex("".join(name[at : at + 2] for at in range(13, 2, -2)))
    return octets + bytes([crc.dallas(octets)])


class Probes:
    """onewire.OneWire with these probes on it, {name: scratchpad}; what was written since each reset is kept."""

    def __init__(self, probes):
        self.probes = probes
        self.found = [rom(name) for name in probes]
        self.said = []
        self.powered = 1
        self.waits = []
        bus.pause_ms = self.pause

    async def pause(self, least_ms):
        self.waits.append(least_ms)

    def reset(self):
        self.said.append(b"")
        return bool(self.probes)

    def scan(self):
        return [bytearray(each) for each in self.found]

    def readbit(self):
        assert self.said[-1] == b"\xcc\xb4"
        return self.powered

    def writebyte(self, octet):
        self.said[-1] += bytes([octet])

    def select_rom(self, octets):
        self.said[-1] += b"\x55" + octets

    def readinto(self, octets):
        said = self.said[-1]
        assert said[0] == 0x55 and said[9:] == b"\xbe"
        octets[:] = next(self.probes[name] for name in self.probes if rom(name) == said[1:9])


class Ds18b20(unittest.TestCase):
    def make(self, there, **changes):
        self.line = Probes(there)
        settings = dict(driver("ds18b20").SETTINGS)
        settings.update(bus="wire", **changes)
        buses = Buses({"wire": {"kind": "onewire"}}, Board(Wire(self.line)))
        return driver("ds18b20").make("root", settings, Clock(HOST, 1), buses)

    def error(self, sensor):
        with self.assertRaises(SensorError) as raised:
            asyncio.run(sensor.read())
        self.assertTrue(raised.exception.error in ERRORS)
        return raised.exception.error

    def test_crc(self):
        # Maxim application note 27: the ROM 02 1C B8 01 00 00 00 has the CRC A2.
        self.assertEqual(crc.dallas(bytes.fromhex("021cb801000000")), 0xA2)

    def test_the_data_sheet_s_table(self):
        for hundredths, register in TABLE:
            self.assertEqual(ds18b20.celsius(scratchpad(register)), hundredths)
            if register != 0x0550:
                sensor = self.make({ROMS[0]: scratchpad(register)})
                expected = [("temperature", "Cel", Fraction(-2, hundredths))]
                self.assertEqual(asyncio.run(sensor.read()), expected)

    def test_bits_that_the_resolution_leaves_undefined(self):
        for configuration, hundredths in ((0x1F, 2500), (0x3F, 2500), (0x5F, 2500), (0x7F, 2506)):
            self.assertEqual(ds18b20.celsius(scratchpad(0x0191, configuration)), hundredths)
        self.assertEqual(ds18b20.celsius(scratchpad(0x019F, 0x5F)), 2588)

    def test_waits_for_the_conversion_at_its_resolution(self):
        for bits, configuration, wait_ms in ((9, 0x1F, 94), (10, 0x3F, 188), (11, 0x5F, 375), (12, 0x7F, 750)):
            sensor = self.make({ROMS[0]: scratchpad(0x0190)}, resolution=bits)
            asyncio.run(sensor.read())
            written = b"\x55" + rom(ROMS[0]) + b"\x4e\x4b\x46" + bytes([configuration])
            self.assertEqual(written in self.line.said, bits != 12)
            self.line.probes = {ROMS[0]: scratchpad(0x0190, configuration)}
            asyncio.run(sensor.read())
            asyncio.run(sensor.read())
            self.assertEqual(self.line.waits, [750, 750, wait_ms])

    def test_a_probe_that_lost_its_power_gives_no_value_of_the_measurement_before(self):
        sensor = self.make({ROMS[0]: scratchpad(0x0190, 0x1F)}, resolution=9)
        asyncio.run(sensor.read())
        for register in (0x0550, 0x0190):
            self.line.probes = {ROMS[0]: scratchpad(0x0190, 0x1F)}
            asyncio.run(sensor.read())
            self.line.probes = {ROMS[0]: scratchpad(register, 0x7F)}
            self.assertEqual(self.error(sensor), "not-ready")
            self.line.probes = {ROMS[0]: scratchpad(0x0191, 0x7F)}
            self.assertEqual(asyncio.run(sensor.read()), [("temperature", "Cel", Fraction(-2, 2506))])
        self.assertEqual(self.line.waits, [750, 94, 94, 750, 750, 94, 750])

    def test_many_probes_by_their_names(self):
        probes = {ROMS[0]: scratchpad(0x0191), ROMS[1]: scratchpad(0xFF5E)}
        sensor = self.make(probes, probes={ROMS[0]: "root", ROMS[1]: "air"}, prefix="bed/")
        expected = [("bed/air", "Cel", Fraction(-2, -1012)), ("bed/root", "Cel", Fraction(-2, 2506))]
        self.assertEqual(asyncio.run(sensor.read()), expected)
        self.line.probes = {ROMS[0]: scratchpad(0x0191), ROMS[1]: b"\xff" * 9}
        expected[0] = ("bed/air/error", None, "no-answer")
        self.assertEqual(asyncio.run(sensor.read()), expected)
        self.assertEqual(self.error(self.make(probes)), "wrong-device")

    def test_damage(self):
        for octets in flipped(scratchpad(0x0191)):
            self.assertEqual(self.error(self.make({ROMS[0]: octets})), "crc")
        for octets, error in (
            (b"\xff" * 9, "no-answer"),
            (bytes(9), "bad-frame"),
            (scratchpad(0x0550), "not-ready"),
            (scratchpad(0x07D1), "out-of-range"),
            (scratchpad(0xFC8F), "out-of-range"),
        ):
            self.assertEqual(self.error(self.make({ROMS[0]: octets})), error)
        self.assertEqual(self.error(self.make({})), "no-answer")

    def test_a_damaged_rom(self):
        for octets in flipped(rom(ROMS[0])):
            sensor = self.make({ROMS[0]: scratchpad(0x0191)})
            self.line.found = [octets]
            self.assertEqual(self.error(sensor), "crc")
        sensor = self.make({ROMS[0]: scratchpad(0x0191)})
        self.line.found = []
        self.assertEqual(self.error(sensor), "no-answer")

    def test_parasitic_power_is_refused_by_name(self):
        sensor = self.make({ROMS[0]: scratchpad(0x0191)})
        self.line.powered = 0
        self.assertEqual(self.error(sensor), "device-fault")

    def test_settings(self):
        for wrong in ({"probes": {"28": "a"}}, {"probes": []}, {"probes": {ROMS[0]: 1}}, {"resolution": 13}):
            with self.assertRaises(ValueError):
                self.make({}, **wrong)


class Exact(unittest.TestCase):
    def test_rounding(self):
        for numerator, denominator, expected in ((5, 2, 3), (-5, 2, -2), (4, 3, 1), (-4, 3, -1), (0, 7, 0)):
            self.assertEqual(rounded(numerator, denominator), expected)
        self.assertEqual(
            [on_line([[2800, 0], [1200, 1000]], at) for at in (2800, 1200, 2000, 3000)], [0, 1000, 500, -125]
        )


class Analogue(unittest.TestCase):
    def make(self, name, microvolts, **changes):
        settings = dict(driver(name).SETTINGS)
        settings.update(pin=34, **changes)
        return driver(name).make("soil", settings, Clock(HOST, 1), Buses({}, Board(values=microvolts)))

    def error(self, sensor):
        with self.assertRaises(SensorError) as raised:
            asyncio.run(sensor.read())
        return raised.exception.error

    POINTS = [[2800, 0], [1200, 100]]

    def test_soil(self):
        sensor = self.make("soil_adc", [2000400], points=self.POINTS)
        self.assertEqual(asyncio.run(sensor.read()), [("moisture", "%", Fraction(-1, 500))])
        sensor = self.make("soil_adc", [0, 2000400, 3300000], points=self.POINTS, raw=True, samples=3)
        expected = [("moisture", "%", Fraction(-1, 500)), ("moisture/raw", "V", Fraction(-3, 2000))]
        self.assertEqual(asyncio.run(sensor.read()), expected)

    def test_soil_out_of_range(self):
        for microvolts, error in (
            (49000, "no-answer"),
            (3000000, "out-of-range"),
            (1000000, "out-of-range"),
        ):
            self.assertEqual(self.error(self.make("soil_adc", [microvolts], points=self.POINTS)), error)
        for microvolts, tenths in ((2960000, -100), (1040000, 1100)):
            sensor = self.make("soil_adc", [microvolts], points=self.POINTS)
            self.assertEqual(asyncio.run(sensor.read())[0][2], Fraction(-1, tenths))

    def test_battery(self):
        points = [[0, 0], [1650, 3300]]
        sensor = self.make("battery", [2050000], points=points, raw=True)
        expected = [("battery", "V", Fraction(-3, 4100)), ("battery/raw", "V", Fraction(-3, 2050))]
        self.assertEqual(asyncio.run(sensor.read()), expected)
        self.assertEqual(self.error(self.make("battery", [1000000], points=points, least_mv=2500)), "out-of-range")
        self.assertEqual(self.error(self.make("battery", [2500000], points=points, most_mv=4300)), "out-of-range")

    def test_settings(self):
        for name in ("soil_adc", "battery"):
            for wrong in (
                {"points": [[1, 2]]},
                {"points": [[1, 2], [1, 3]]},
                {"points": [[1, 2], [3, -4]]},
                {"points": [[1, 2], [3, 4.5]]},
                {"points": self.POINTS, "samples": 0},
                {"points": self.POINTS, "attenuation_db": 12},
                {"points": self.POINTS, "raw": "yes"},
            ):
                with self.assertRaises(ValueError):
                    self.make(name, [0], **wrong)


class Flow(unittest.TestCase):
    def setUp(self):
        self.now_ms = 0
        self.kept = (flow.ticks_ms, flow.elapsed_ms)
        flow.ticks_ms, flow.elapsed_ms = (lambda: self.now_ms), (lambda since: self.now_ms - since)

    def tearDown(self):
        flow.ticks_ms, flow.elapsed_ms = self.kept

    def test_volume_and_rate(self):
        settings = dict(flow.SETTINGS)
        settings.update(pin=4, pulses_per_litre=450, most_l_min=30)
        sensor = flow.make("water", settings, Clock(HOST, 1), Buses({}, Board(values=[7, 7, 232, 232 + 13501, 20000])))
        read = lambda: [reading[2] for reading in asyncio.run(sensor.read())]  # noqa: E731
        self.now_ms = 1000
        self.assertEqual(read(), [Fraction(-3, 0), Fraction(-3, 0)])
        self.now_ms = 11000
        self.assertEqual(read(), [Fraction(-3, 500), Fraction(-3, 50)])
        self.now_ms = 71000
        with self.assertRaises(SensorError) as raised:
            read()
        self.assertEqual(raised.exception.error, "out-of-range")
        self.now_ms = 131000
        self.assertEqual(read(), [Fraction(-3, 44429), Fraction(-3, 232)])

    def test_settings(self):
        for wrong in ({"pulses_per_litre": 0}, {"pulses_per_litre": 7.5}, {"most_l_min": 0}, {"pin": -1}):
            settings = dict(flow.SETTINGS)
            settings.update(pin=4, pulses_per_litre=450)
            settings.update(wrong)
            with self.assertRaises(ValueError):
                flow.make("water", settings, Clock(HOST, 1), Buses({}, Board(values=[0])))


if __name__ == "__main__":
    unittest.main()
