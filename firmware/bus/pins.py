"""The buses of a microcontroller, by MicroPython's drivers.  Checked against the type stubs; not run on hardware."""

import sys
import time

import machine

from bus.port import Port
from bus.wire import Wire

_RP2 = sys.platform == "rp2"
_next_counter = [0]
_WRAP = 1 << 29  # a larger whole number takes memory, and an interrupt has none: it would count no further


def _pin(settings, name):
    if settings[name] is None:
        raise ValueError("%s is missing: the number of its pin" % name)
    return machine.Pin(settings[name])


def _number(settings, by_pin):
    """The peripheral: as set, or on RP2 the only one that reaches the pin; on ESP32 any pin goes."""
    return by_pin if settings["number"] is None else settings["number"]


def i2c(settings):
    """A machine.I2C; its pins need pull-ups, which most breakout boards have."""
    scl, sda = _pin(settings, "scl"), _pin(settings, "sda")
    number = _number(settings, settings["scl"] >> 1 & 1 if _RP2 else 0)
    return machine.I2C(number, scl=scl, sda=sda, freq=settings["hz"])


class _Line:
    """A machine.UART whose direction pin, where there is one, is high exactly while it sends."""

    def __init__(self, uart, direction, baud):
        self._uart = uart
        self._direction = direction
        self._last_us = 12000000 // baud if _RP2 else 0  # its flush returns with the last character on the wire
        self.any = uart.any
        self.read = uart.read

    def write(self, octets):
        """Send all; holds up the loop for as long (8 bytes at 9600 baud: 9 ms), for the answer may begin at once."""
        if self._direction:
            self._direction.value(1)
        try:
            self._uart.write(octets)
            self._uart.flush()
            time.sleep_us(self._last_us)
        finally:
            if self._direction:
                self._direction.value(0)

    def close(self):
        """A peripheral is always there."""


def uart(settings):
    """A `Port` on a machine.UART."""
    tx, rx = _pin(settings, "tx"), _pin(settings, "rx")
    number = _number(settings, settings["tx"] + 4 >> 3 & 1 if _RP2 else 1)
    parity = {"none": None, "even": 0, "odd": 1}[settings["parity"]]
    line = machine.UART(
        number,
        settings["baud"],
        bits=8,
        parity=parity,
        stop=settings["stop_bits"],
        tx=tx,
        rx=rx,
        timeout=0,
        rxbuf=512,
    )
    direction = None
    if settings["direction"] is not None:
        direction = machine.Pin(settings["direction"], machine.Pin.OUT, value=0)
    return Port(_Line(line, direction, settings["baud"]), settings["baud"])


def onewire(settings):
    """A `Wire` on a pin, which needs a pull-up of 4.7 kOhm."""
    from onewire import OneWire

    return Wire(OneWire(_pin(settings, "pin")))


def adc(pin, attenuation_db):
    """Microvolts at a pin.  On ESP32 by the chip's own calibration; on RP2 against 3.3 V, as exact as its supply is."""
    if not hasattr(machine.ADC, "ATTN_11DB"):
        reader = machine.ADC(machine.Pin(pin))
        return lambda: reader.read_u16() * 3300000 // 65535
    steps = {0: machine.ADC.ATTN_0DB, 2: machine.ADC.ATTN_2_5DB, 6: machine.ADC.ATTN_6DB, 11: machine.ADC.ATTN_11DB}
    return machine.ADC(machine.Pin(pin), atten=steps[attenuation_db]).read_uv


def pulses(pin):
    """Falling edges at a pin with its pull-up: by the pulse counter of ESP32 and ESP32-S3, elsewhere by interrupts."""
    source = machine.Pin(pin, machine.Pin.IN, machine.Pin.PULL_UP)
    if hasattr(machine, "Counter"):
        counter = machine.Counter(_next_counter[0], source, edge=machine.Counter.FALLING, filter_ns=12000)
        _next_counter[0] += 1
        return counter.value
    return _interrupts(source)


def _interrupts(source):
    counted = [0, 0, 0]  # by the interrupt, modulo _WRAP; up to the last question, and all that was counted then

    def count(_):
        counted[0] = counted[0] + 1 & _WRAP - 1

    def total():
        now = counted[0]
        counted[2] += (now - counted[1]) & _WRAP - 1
        counted[1] = now
        return counted[2]

    if _RP2:
        source.irq(count, machine.Pin.IRQ_FALLING, hard=True)
    else:
        source.irq(count, machine.Pin.IRQ_FALLING)
    return total
