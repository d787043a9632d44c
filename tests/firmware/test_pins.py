"""The buses of a microcontroller over doubles of MicroPython's drivers, which note how they were made and used."""

import asyncio
import sys

import scratch  # noqa: F401 - it finds the firmware
import unittest_mini as unittest

from bus import SensorError
from bus.kinds import KINDS


class Pin:
    """A pin that notes its levels in the log of all."""

    IN, OUT, PULL_UP, IRQ_FALLING = "in", "out", "up", "falling"
    log = []

    def __init__(self, number, mode=None, pull=None, value=None):
        self.number, self.mode, self.pull = number, mode, pull
        if value is not None:
            self.value(value)

    def value(self, level):
        Pin.log.append((self.number, level))

    def irq(self, handler, trigger, **more):
        assert trigger == self.IRQ_FALLING
        self.handler, self.more = handler, more
        Machine.pin = self


class Uart:
    """A line whose other end says `there`."""

    def __init__(self, number, baud, **more):
        self.made = (number, baud)
        self.more = more
        self.there = b""
        Machine.uart = self

    def any(self):
        return len(self.there)

    def read(self, most):
        octets, self.there = self.there[:most], self.there[most:]
        return octets

    def write(self, octets):
        Pin.log.append(octets)
        self.there = b"\x07"

    def flush(self):
        Pin.log.append("flush")


class Adc:
    """RP2's; ESP32's below."""

    def __init__(self, pin):
        assert pin.number == 26

    def read_u16(self):
        return 65535 // 3


class CalibratedAdc:
    ATTN_0DB, ATTN_2_5DB, ATTN_6DB, ATTN_11DB = range(4)

    def __init__(self, pin, atten):
        self.made = (pin.number, atten)

    def read_uv(self):
        return self.made[1] * 1000000 + self.made[0]


class Counter:
    FALLING = "falling"

    def __init__(self, unit, pin, edge, filter_ns):
        assert edge == "falling" and pin.pull == "up" and filter_ns > 0
        self.made = unit

    def value(self):
        return 100 + self.made


class Machine:
    """The module `machine`; `uart` and `pin` are the newest made."""

    Pin, UART, ADC = Pin, Uart, Adc
    uart = pin = None

    def I2C(self, number, scl, sda, freq):  # noqa: N802 - MicroPython's name
        return (number, scl.number, sda.number, freq)


class Time:
    """`time` as the module under test sees it."""

    def __init__(self):
        self.slept_us = []

    def sleep_us(self, us):
        self.slept_us.append(us)


def settings(kind, **more):
    made = dict(KINDS[kind])
    made.update(more)
    return made


class Pins(unittest.TestCase):
    def setUp(self):
        self.machine = Machine()
        sys.modules["machine"] = self.machine
        sys.modules.pop("bus.pins", None)
        self.pins = __import__("bus.pins").pins
        self.pins.machine = self.machine
        self.pins.time = Time()
        self.pins._RP2 = False
        Pin.log = []

    def test_i2c(self):
        made = settings("i2c", scl=22, sda=21)
        self.assertEqual(self.pins.i2c(made), (0, 22, 21, 100000))
        self.assertEqual(self.pins.i2c(settings("i2c", scl=22, sda=21, number=1, hz=400000)), (1, 22, 21, 400000))
        self.pins._RP2 = True
        for scl, number in ((1, 0), (3, 1), (5, 0), (7, 1), (21, 0), (27, 1)):
            self.assertEqual(self.pins.i2c(settings("i2c", scl=scl, sda=scl - 1))[0], number)
        for missing in ({"scl": 1}, {"sda": 1}):
            with self.assertRaises(ValueError):
                self.pins.i2c(settings("i2c", **missing))

    def test_uart_numbers_and_form(self):
        self.pins.uart(settings("uart", tx=17, rx=16, baud=4800, parity="even", stop_bits=2))
        self.assertEqual(Machine.uart.made, (1, 4800))
        form = [Machine.uart.more[name] for name in ("bits", "parity", "stop", "timeout")]
        self.assertEqual(form, [8, 0, 2, 0])
        self.pins._RP2 = True
        for tx, number in ((0, 0), (4, 1), (8, 1), (12, 0), (16, 0), (20, 1), (24, 1), (28, 0)):
            self.pins.uart(settings("uart", tx=tx, rx=tx + 1))
            self.assertEqual(Machine.uart.made[0], number)

    def exchange(self):
        port = self.pins.uart(settings("uart", tx=17, rx=16, direction=4))
        return asyncio.run(port.exchange(b"question", lambda so_far: 1, 20))

    def test_direction_is_high_exactly_while_it_sends(self):
        self.assertEqual(self.exchange(), b"\x07")
        self.assertEqual(Pin.log, [(4, 0), (4, 1), b"question", "flush", (4, 0)])
        self.assertEqual(self.pins.time.slept_us, [0])
        self.pins._RP2 = True
        self.exchange()
        self.assertEqual(self.pins.time.slept_us[1], 1250)

    def test_direction_is_low_again_whatever_happens(self):
        def refuse(line):
            raise OSError(5)

        flush, Uart.flush = Uart.flush, refuse
        try:
            with self.assertRaises(SensorError):
                self.exchange()
        finally:
            Uart.flush = flush
        self.assertEqual(Pin.log[-1], (4, 0))

    def test_adc(self):
        self.assertEqual(self.pins.adc(26, 11)(), 1100000)
        self.machine.ADC = CalibratedAdc
        readings = [self.pins.adc(34, decibels)() for decibels in (0, 2, 6, 11)]
        self.assertEqual(readings, [34, 1000034, 2000034, 3000034])

    def test_pulses_by_interrupts(self):
        for is_rp2 in (False, True):
            self.pins._RP2 = is_rp2
            count = self.pins.pulses(4)
            for _ in range(3):
                Machine.pin.handler(Machine.pin)
            self.assertEqual((count(), Machine.pin.pull, "hard" in Machine.pin.more), (3, "up", is_rp2))

    def test_pulses_are_counted_on_where_the_interrupt_s_number_begins_anew(self):
        self.pins._WRAP = 8
        count = self.pins.pulses(4)
        for total in (7, 8, 8, 15, 22):
            while count() < total:
                Machine.pin.handler(Machine.pin)
            self.assertEqual(count(), total)
        for _ in range(5):
            Machine.pin.handler(Machine.pin)
        self.assertEqual(count(), 27)

    def test_pulses_by_the_counters(self):
        self.machine.Counter = Counter
        self.assertEqual([self.pins.pulses(4)(), self.pins.pulses(5)()], [100, 101])

    def test_one_wire(self):
        class Module:
            """The module `onewire`."""

        sys.modules["onewire"] = Module()
        sys.modules["onewire"].OneWire = lambda pin: pin
        wire = self.pins.onewire(settings("onewire", pin=13))
        self.assertEqual(wire._lines.number, 13)
        with self.assertRaises(ValueError):
            self.pins.onewire(settings("onewire"))


if __name__ == "__main__":
    unittest.main()
