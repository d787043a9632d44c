"""The buses of a Linux computer: I2C by smbus2, serial lines by pyserial, 1-Wire by the kernel's w1 (sysfs).

They need CPython.  Packages are imported when a bus of theirs is declared; devices are opened when they are first used,
and again after they went: an adapter may be unplugged.
"""

import asyncio
import os
import sys

from bus import SensorError
from bus.port import Port

_PACKAGES = "pip install 'earmark[sensors]'"


def _package(name, kind):
    if sys.implementation.name == "micropython":
        raise ValueError("%s is not available under MicroPython on Linux: start the node with python3" % kind)
    try:
        return __import__(name)
    except ImportError:
        raise ValueError("%s needs the Python package %s: %s" % (kind, name, _PACKAGES))


def _refuse(settings, names, instead):
    for name in names:
        if settings[name] is not None:
            raise ValueError("%s is for microcontrollers; on Linux %s" % (name, instead))


class _I2C:
    def __init__(self, smbus2, number):
        self._smbus2 = smbus2
        self._number = number
        self._bus = None

    def writeto(self, address, octets):
        self._transfer(self._smbus2.i2c_msg.write(address, list(octets)))

    def readfrom(self, address, count):
        message = self._smbus2.i2c_msg.read(address, count)
        self._transfer(message)
        return bytes(list(message))

    def _transfer(self, message):
        if self._bus is None:
            self._bus = self._smbus2.SMBus(self._number)
        try:
            self._bus.i2c_rdwr(message)
        except OSError:  # nothing answers, or the adapter went and comes back as another device
            self._bus.close()
            self._bus = None
            raise


def i2c(settings):
    """/dev/i2c-N by smbus2."""
    _refuse(settings, ("scl", "sda"), 'say {"kind": "i2c", "number": 1} for /dev/i2c-1')
    if settings["number"] is None:
        raise ValueError("number is missing: 1 for /dev/i2c-1")
    return _I2C(_package("smbus2", "i2c"), settings["number"])


class _Line:
    """A serial device; RS-485 adapters switch direction themselves."""

    def __init__(self, serial, settings):
        self._serial = serial
        self._settings = settings
        self._gone = __import__("termios").error
        self._open = None

    def _device(self):
        if self._open is None:
            parity = self._settings["parity"][0].upper()
            stop = self._settings["stop_bits"]
            self._open = self._serial.Serial(
                self._settings["path"], self._settings["baud"], parity=parity, stopbits=stop, timeout=0, write_timeout=2
            )
        return self._open

    def any(self):
        return self._device().in_waiting

    def read(self, most):
        return self._device().read(most)

    def write(self, octets):
        self._device().write(octets)
        try:
            self._device().flush()
        except self._gone as failure:  # no OSError, though the device went
            raise OSError(5, str(failure))

    def close(self):
        if self._open is not None:
            self._open.close()
            self._open = None


def uart(settings):
    """A `Port` on a serial device by pyserial."""
    _refuse(settings, ("tx", "rx", "number"), 'say {"kind": "uart", "path": "/dev/ttyUSB0"}')
    _refuse(settings, ("direction",), "an RS-485 adapter switches its direction itself")
    if not settings["path"]:
        raise ValueError("path is missing: /dev/ttyUSB0 or the like, best one under /dev/serial/by-id")
    return Port(_Line(_package("serial", "uart"), settings), settings["baud"])


class _Wire:
    """The kernel's w1: it searches, converts and reads.  Reading takes as long as a conversion, so a thread does it."""

    def __init__(self, path):
        self._path = path

    def roms(self):
        try:
            names = os.listdir(self._path)
        except OSError as failure:
            raise SensorError("no-answer", "the kernel shows no 1-Wire bus (%s): enable the overlay w1-gpio" % failure)
        return sorted(name for name in names if name.startswith("28-"))

    async def convert(self, wait_ms):
        """The kernel does it when it is asked for a scratchpad."""

    async def scratchpad(self, rom):
        read = asyncio.get_event_loop().run_in_executor
        try:
            text = await read(None, _text, "%s/%s/w1_slave" % (self._path, rom))
            return bytes(int(part, 16) for part in text.split(" ")[:9])
        except OSError as failure:
            raise SensorError("no-answer", "%s does not answer (%s)" % (rom, failure))
        except ValueError:
            raise SensorError("bad-frame", "the kernel says '%s' of %s" % (text[:40], rom))

    def configure(self, rom, register):
        try:
            with open("%s/%s/resolution" % (self._path, rom), "w") as stream:
                stream.write(str((register >> 5) + 9))
        except OSError as failure:
            raise SensorError("device-fault", "the resolution of %s cannot be set (%s)" % (rom, failure))


def _text(path):
    with open(path) as stream:
        return stream.read(200)


def onewire(settings):
    """All DS18B20 that the kernel knows."""
    _refuse(settings, ("pin",), "the kernel has the pin (overlay w1-gpio)")
    if sys.implementation.name == "micropython":
        raise ValueError("onewire is not available under MicroPython on Linux: start the node with python3")
    return _Wire(settings["path"])


def adc(pin, attenuation_db):
    """A Linux computer has none."""
    raise ValueError("pin: this computer has no analogue inputs; use a board that has (ESP32, Pico W)")


def pulses(pin):
    """A process cannot count pulses without losing some."""
    raise ValueError("pin: pulses are counted on microcontrollers only (ESP32, Pico W)")
