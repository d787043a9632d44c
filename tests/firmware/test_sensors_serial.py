"""Drivers on serial lines against transcripts: Modbus RTU and what is built on it, and the MH-Z19."""

import asyncio

import unittest_mini as unittest
from transcript import Board, Line, flipped

from bus import Buses, SensorError, crc
from bus.modbus import Master
from cbor import Fraction
from clock import HOST, Clock
from sensors import ERRORS, driver
from sensors.exact import float32

AGAIN = ("no-answer", "crc", "bad-frame", "device-busy")


def framed(text):
    """A frame of hexadecimal digits with its CRC."""
    octets = bytes.fromhex(text)
    return octets + crc.modbus(octets).to_bytes(2, "little")


def asked(question, answer):
    """The steps of a question and its answer, after 3.5 characters of silence (5 ms at 9600 baud)."""
    return [("wait", 5), ("w", framed(question)), ("r", framed(answer))]


def make(name, line, **changes):
    settings = dict(driver(name).SETTINGS)
    settings.update(bus="rs485", **changes)
    buses = Buses({"rs485": {"kind": "uart"}}, Board(line.port))
    return driver(name).make("soil", settings, Clock(HOST, 1), buses)


class Case(unittest.TestCase):
    def error(self, work):
        with self.assertRaises(SensorError) as raised:
            asyncio.run(work)
        self.assertTrue(raised.exception.error in ERRORS)
        return raised.exception.error


class Frames(Case):
    def test_crc(self):
        # Modbus over serial line V1.02, appendix B: 02 07 is followed by 41 12.
        self.assertEqual(framed("0207"), bytes.fromhex("02074112"))

    def test_reading_and_writing(self):
        # Modbus Application Protocol V1.1b3, §6.3, §6.4, §6.6: the examples' questions and answers, for unit 17.
        line = Line(
            asked("1103006b0003", "110306022b00000064")
            + asked("110400080001", "110402000a")
            + asked("110600010003", "110600010003")
        )
        master = Master(line.port, 17, 100, 0)
        self.assertEqual(asyncio.run(master.read(3, 0x6B, 3)), [555, 0, 100])
        self.assertEqual(asyncio.run(master.read(4, 8, 1)), [10])
        asyncio.run(master.write(1, 3))
        self.assertEqual(line.left, [])

    def test_each_byte_damaged(self):
        for question, answer, work in (
            ("1103006b0003", "110306022b00000064", lambda master: master.read(3, 0x6B, 3)),
            ("110600010003", "110600010003", lambda master: master.write(1, 3)),
        ):
            for octets in flipped(framed(answer)):
                line = Line([("w", framed(question)), ("r", octets)])
                self.assertEqual(self.error(work(Master(line.port, 17, 100, 0))), "crc")

    def test_another_s_frame_or_a_torn_one(self):
        question = "1103006b0003"
        for answer in ("120306022b00000064", "110406022b00000064", "110304022b00000064"):
            line = Line(asked(question, answer))
            self.assertEqual(self.error(Master(line.port, 17, 100, 0).read(3, 0x6B, 3)), "bad-frame")
        whole = framed("110306022b00000064")
        for size in range(1, len(whole)):
            line = Line([("w", framed(question)), ("r", whole[:size])])
            self.assertTrue(self.error(Master(line.port, 17, 100, 0).read(3, 0x6B, 3)) in ("bad-frame", "crc"))
        line = Line(asked("110600010003", "110600010004"))
        self.assertEqual(self.error(Master(line.port, 17, 100, 0).write(1, 3)), "bad-frame")

    def test_exceptions_by_name(self):
        # §7: the exception codes.
        names = {
            1: "illegal-function",
            2: "illegal-address",
            3: "illegal-value",
            4: "device-fault",
            6: "device-busy",
            11: "exception",
        }
        for code, name in names.items():
            line = Line(asked("0a0304a10001", "0a83%02x" % code))
            self.assertEqual(self.error(Master(line.port, 10, 100, 0).read(3, 0x04A1, 1)), name)

    def test_silence_and_retries(self):
        question = framed("1103006b0001")
        line = Line([("w", question)] * 2 + asked("1103006b0001", "1103020007"))
        self.assertEqual(asyncio.run(Master(line.port, 17, 100, 2).read(3, 0x6B, 1)), [7])
        line = Line([("w", question)] * 3)
        self.assertEqual(self.error(Master(line.port, 17, 100, 2).read(3, 0x6B, 1)), "no-answer")
        self.assertEqual(line.left, [])
        self.assertTrue(line.waited_ms >= 100)
        refused = asked("1103006b0001", "118302")
        line = Line(refused * 2)
        self.assertEqual(self.error(Master(line.port, 17, 100, 2).read(3, 0x6B, 1)), "illegal-address")
        self.assertEqual(line.left, refused)

    def test_noise_before_the_question_is_thrown_away(self):
        line = Line(asked("1103006b0001", "1103020007"), noise=b"\x11\x03\x02\xff\xff")
        self.assertEqual(asyncio.run(Master(line.port, 17, 100, 0).read(3, 0x6B, 1)), [7])
        line = Line([])
        line.any = lambda: 5
        self.assertEqual(self.error(Master(line.port, 17, 100, 0).read(3, 0x6B, 1)), "bad-frame")

    def test_a_line_that_went_is_closed_to_be_opened_anew(self):
        line = Line([("w", framed("1103006b0001")), ("none",)])
        self.assertEqual(self.error(Master(line.port, 17, 100, 0).read(3, 0x6B, 1)), "no-answer")
        self.assertEqual(line.closed, 1)


class Floats(unittest.TestCase):
    def test_singles(self):
        for bits, places, expected in (
            (0x41E66666, 1, 288),
            (0x41E66666, 6, 28799999),
            (0xC1E66666, 1, -288),
            (0, 3, 0),
            (0x80000000, 3, 0),
            (0x3F800000, 0, 1),
            (0x4B800000, 0, 16777216),
            (0x00000001, 9, 0),
            (0x3DCCCCCD, 1, 1),
        ):
            self.assertEqual(float32(bits, places), expected)
        for bits in (0x7F800000, 0xFF800000, 0x7FC00000):
            with self.assertRaises(ValueError):
                float32(bits, 1)


class Generic(Case):
    REGISTERS = [
        {"name": "a", "unit": "Cel", "address": 1, "type": "int16", "places": 1, "range": [-400, 800]},
        {"name": "b", "address": 2, "function": 4, "type": "uint32"},
        {"name": "c", "address": 4, "type": "int32", "order": "little", "places": 2},
        {"name": "d", "unit": "V", "address": 6, "type": "float32", "places": 3},
    ]

    def test_types_and_setup(self):
        line = Line(
            asked("050600100001", "050600100001")
            + asked("050300010001", "050302ff9b")
            + asked("050400020002", "05040400010002")
            + asked("050300040002", "050304fffeffff")
            + asked("050300060002", "0503043f99999a")
        )
        sensor = make("modbus", line, unit=5, registers=self.REGISTERS, setup=[[16, 1]])
        expected = [
            ("a", "Cel", Fraction(-1, -101)),
            ("b", None, 65538),
            ("c", None, Fraction(-2, -2)),
            ("d", "V", Fraction(-3, 1200)),
        ]
        self.assertEqual(asyncio.run(sensor.read()), expected)
        self.assertEqual(line.left, [])

    def test_one_that_fails_leaves_the_others(self):
        line = Line(
            asked("050300010001", "0503021000")
            + asked("050400020002", "058402")
            + asked("050300040002", "05030400000000")
            + asked("050300060002", "0503047fc00000")
        )
        readings = asyncio.run(make("modbus", line, unit=5, registers=self.REGISTERS).read())
        self.assertEqual(readings[0], ("a/error", None, "out-of-range"))
        self.assertEqual(readings[1], ("b/error", None, "illegal-address"))
        self.assertEqual(readings[3], ("d/error", None, "out-of-range"))

    def test_a_silent_unit_is_not_asked_for_every_register(self):
        line = Line([("w", framed("050300010001"))])
        sensor = make("modbus", line, unit=5, registers=self.REGISTERS, retries=0)
        self.assertEqual(self.error(sensor.read()), "no-answer")

    def test_settings_are_named(self):
        good = self.REGISTERS[0]
        for change, named in (
            ({"registers": []}, "registers"),
            ({"registers": [{"name": "a"}]}, "registers[0]: address"),
            ({"registers": [good, dict(good, adress=1)]}, "registers[1]: unknown adress"),
            ({"registers": [dict(good, address=65536)]}, "address"),
            ({"registers": [dict(good, function=6)]}, "function"),
            ({"registers": [dict(good, type="float")]}, "type"),
            ({"registers": [dict(good, order="middle")]}, "order"),
            ({"registers": [dict(good, places=10)]}, "places"),
            ({"registers": [dict(good, range=[1.5, 2])]}, "range"),
            ({"registers": [dict(good, range=[10, 5])]}, "range"),
            ({"registers": [dict(good, name=5)]}, "name"),
            ({"registers": [good], "unit": 0}, "unit"),
            ({"registers": [good], "timeout_ms": 1}, "timeout_ms"),
            ({"registers": [good], "retries": 9}, "retries"),
            ({"registers": [good], "setup": [[1]]}, "setup"),
            ({"registers": [good], "setup": [[1, 65536]]}, "setup"),
        ):
            with self.assertRaises(ValueError) as raised:
                make("modbus", Line([]), **change)
            self.assertTrue(named in str(raised.exception), "%s" % raised.exception)


class Soil(Case):
    # The first four words are the example of a published manual (DFRobot SEN0604, "Communication protocol", which is
    # the same map without N, P, K): 65.8 %, -10.1 Cel, 1000 uS/cm, pH 5.6.  N, P, K are put together.
    BLOCK = asked("010300000007", "01030e0292ff9b03e80038002000250030")
    VALUES = [
        ("moisture", "%", Fraction(-1, 658)),
        ("temperature", "Cel", Fraction(-1, -101)),
        ("conductivity", "S/m", Fraction(-4, 1000)),
        ("ph", "pH", Fraction(-1, 56)),
        ("nitrogen", "ppm", 32),
        ("phosphorus", "ppm", 37),
        ("potassium", "ppm", 48),
    ]

    def test_the_manual_s_frames(self):
        self.assertEqual(framed("010300000004"), bytes.fromhex("0103000000044409"))
        self.assertEqual(framed("0103080292ff9b03e80038"), bytes.fromhex("0103080292ff9b03e8003857b6"))

    def test_block(self):
        self.assertEqual(asyncio.run(make("soil_7in1", Line(self.BLOCK)).read()), self.VALUES)

    def test_scattered(self):
        line = Line(
            asked("010300120002", "0103040292ff9b")
            + asked("010300150001", "01030203e8")
            + asked("010300060001", "0103020230")
            + asked("0103001e0003", "010306002000250030")
        )
        values = list(self.VALUES)
        values[3] = ("ph", "pH", Fraction(-2, 560))
        self.assertEqual(asyncio.run(make("soil_7in1", line, map="scattered").read()), values)

    def test_damage(self):
        for octets in flipped(self.BLOCK[2][1]):
            sensor = make("soil_7in1", Line([self.BLOCK[1], ("r", octets)]), retries=0)
            self.assertEqual(self.error(sensor.read()), "crc")
        line = Line(asked("010300000007", "01030e03e90321fff60065ffff0bb80000"))
        readings = asyncio.run(make("soil_7in1", line).read())
        failed = ["moisture", "temperature", "conductivity", "ph", "nitrogen", "phosphorus"]
        self.assertEqual(readings[:6], [(name + "/error", None, "out-of-range") for name in failed])
        self.assertEqual(readings[6], ("potassium", "ppm", 0))


class Ksx3267(Case):
    CHANNELS = [
        {"channel": 1, "name": "temperature", "unit": "Cel", "range": [-400, 800], "code": 1},
        {"channel": 4, "name": "humidity", "unit": "%RH", "code": 2},
    ]
    # Put together by the default register map; 28.8 is 41E66666, low word first, an example of the standard that public
    # implementations quote (docs/firmware.md).
    INFORMATION = asked("020300010008", "020310" + "0000000000010000000a001e00010000")
    CODES = asked("020300650004", "0203080001000000000002")

    def values(self, node="0000", first="0000", fourth="0000"):
        words = node + "666641e6" + first + "000000000000" * 2 + "00004270" + fourth
        return asked("020300ca000d", "02031a" + words)

    def make(self, steps, **changes):
        self.line = Line(steps)
        return make("ksx3267", self.line, unit=2, channels=self.CHANNELS, retries=0, **changes)

    def test_values(self):
        sensor = self.make(self.INFORMATION + self.CODES + self.values() + self.values())
        expected = [("temperature", "Cel", Fraction(-1, 288)), ("humidity", "%RH", Fraction(-1, 600))]
        self.assertEqual(asyncio.run(sensor.read()), expected)
        self.assertEqual(asyncio.run(sensor.read()), expected)
        self.assertEqual(self.line.left, [])

    def test_a_node_that_counts_otherwise(self):
        steps = [list(step) for step in self.INFORMATION + self.CODES + self.values()]
        for step, question in ((steps[1], "020300000008"), (steps[4], "020300640004"), (steps[7], "020300c9000d")):
            step[1] = framed(question)
        self.assertEqual(len(asyncio.run(self.make(steps, offset=-1).read())), 2)
        self.assertEqual(self.line.left, [])

    def test_what_the_node_says_of_itself(self):
        sensor = self.make(self.INFORMATION + self.CODES + self.values(first="0066", fourth="0002"))
        expected = [
            ("temperature/error", None, "device-fault"),
            ("temperature/status", None, 102),
            ("humidity/error", None, "device-busy"),
            ("humidity/status", None, 2),
        ]
        self.assertEqual(asyncio.run(sensor.read()), expected)
        for status, error in (("0001", "device-fault"), ("0002", "device-busy")):
            sensor = self.make(self.INFORMATION + self.CODES + self.values(node=status))
            self.assertEqual(self.error(sensor.read()), error)

    def test_another_node_or_another_sensor(self):
        actuators = asked("020300010008", "0203100000000000020000000a001800010000")
        self.assertEqual(self.error(self.make(actuators).read()), "wrong-device")
        for codes in ("0203080003000000000002", "0203080001000000000000"):
            sensor = self.make(self.INFORMATION + asked("020300650004", codes))
            self.assertEqual(self.error(sensor.read()), "wrong-device")

    def test_damage(self):
        values = self.values()
        for octets in flipped(values[2][1]):
            sensor = self.make(self.INFORMATION + self.CODES + [values[1], ("r", octets)])
            self.assertEqual(self.error(sensor.read()), "crc")

    def test_settings_are_named(self):
        for channel in ({"channel": 31}, {"channel": 0}, {"places": 10}, {"code": 0}, {"name": 5}, {"x": 1}):
            with self.assertRaises(ValueError) as raised:
                make("ksx3267", Line([]), channels=[dict(self.CHANNELS[0], **channel)])
            self.assertTrue("channels[0]" in str(raised.exception))


class Mhz19(Case):
    # MH-Z19B user's manual, "0x86 Read CO2 concentration": FF 86 02 20 00 00 00 00 58 is 544 ppm.
    READ = [("w", bytes.fromhex("ff0186000000000079")), ("r", bytes.fromhex("ff8602200000000058"))]
    # The same, "0x79 On/Off Self-calibration": the two commands, which have no answer.
    ON, OFF = [("w", bytes.fromhex("ff0179a000000000e6"))], [("w", bytes.fromhex("ff0179000000000086"))]

    def test_the_manual_s_reading(self):
        sensor = make("mhz19", Line(self.ON + self.READ + self.READ), warm_up_s=0)
        for _ in range(2):
            self.assertEqual(asyncio.run(sensor.read()), [("co2", "ppm", 544)])
        off = make("mhz19", Line(self.OFF + self.READ), warm_up_s=0, self_calibration=False)
        self.assertEqual(asyncio.run(off.read()), [("co2", "ppm", 544)])

    def test_it_warms_up(self):
        self.assertEqual(self.error(make("mhz19", Line(self.ON + self.READ)).read()), "not-ready")

    def test_damage(self):
        for octets in flipped(self.READ[1][1]):
            sensor = make("mhz19", Line(self.ON + [self.READ[0], ("r", octets)]), warm_up_s=0)
            self.assertEqual(self.error(sensor.read()), "bad-frame" if octets[0] != 0xFF else "crc")
        for answer, error in ((b"", "no-answer"), (b"\xff\x86\x02", "bad-frame")):
            sensor = make("mhz19", Line(self.ON + [self.READ[0], ("r", answer)]), warm_up_s=0)
            self.assertEqual(self.error(sensor.read()), error)
        for answer in ("ff860000000000007a", "ff8627110000000042"):
            sensor = make("mhz19", Line(self.ON + [self.READ[0], ("r", bytes.fromhex(answer))]), warm_up_s=0)
            self.assertEqual(self.error(sensor.read()), "out-of-range")
        other = make("mhz19", Line(self.ON + [self.READ[0], ("r", bytes.fromhex("ff7901000000000086"))]), warm_up_s=0)
        self.assertEqual(self.error(other.read()), "bad-frame")


if __name__ == "__main__":
    unittest.main()
