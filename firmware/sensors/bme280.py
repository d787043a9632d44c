"""Bosch BME280: temperature, humidity, pressure (data sheet BST-BME280-DS002).  It has no check sum.

Compensation is the data sheet's own in integers (§4.2.3, appendix 8.2); Python's do not overflow on any board.
"""

import struct

import bus
from bus.i2c import Device
from cbor import Fraction
from sensors import REQUIRED, Sensor, SensorError, one_of, within
from sensors.exact import rounded

SETTINGS = {"bus": REQUIRED, "address": 0x76, "prefix": ""}
_ID, _CHIP = 0xD0, 0x60
_STATUS, _MEASURING = 0xF3, 0x08
_CALIBRATION, _CALIBRATION_H, _VALUES = 0x88, 0xE1, 0xF7
_HUMIDITY_ONCE, _MEASURE = b"\xf2\x01", b"\xf4\x25"  # each quantity once, forced mode (§5.4.3, §5.4.5)
_WAIT_MS = 10  # appendix 9.1: 9.3 ms at most
_POLLS = 5
_SKIPPED = 0x80000


class Bme280(Sensor):
    """One measurement for each reading; between them the chip sleeps."""

    def __init__(self, name, settings, device):
        quantities = [settings["prefix"] + quantity for quantity in ("temperature", "humidity", "pressure")]
        super().__init__(name, "bme280", "BME280 at I2C address 0x%02x" % settings["address"], quantities)
        self._device = device
        self._calibration = None

    async def read(self):
        """Temperature in 0.01 Cel, -40 to 85; humidity in 0.01 %RH, 0 to 100; pressure in Pa, 30000 to 110000."""
        if self._calibration is None:
            self._calibration = self._identify()
        self._device.write(_HUMIDITY_ONCE)
        self._device.write(_MEASURE)
        await bus.pause_ms(_WAIT_MS)
        await self._ready()
        _, temperature, humidity, pressure = compensate(self._calibration, self._registers(_VALUES, 8))
        values = (
            Fraction(-2, within(temperature, -4000, 8500, "temperature in 0.01 Cel")),
            Fraction(-2, rounded(100 * humidity, 1024)),
            within(rounded(pressure, 256), 30000, 110000, "pressure in Pa"),
        )
        return list(zip(self.quantities, ("Cel", "%RH", "Pa"), values))

    def _registers(self, first, count):
        self._device.write(bytes([first]))
        return self._device.read(count)

    def _identify(self):
        chip = self._registers(_ID, 1)[0]
        if chip != _CHIP:
            raise SensorError("wrong-device", "chip id 0x%02x is no BME280 (0x58 is a BMP280, without humidity)" % chip)
        return calibration(self._registers(_CALIBRATION, 26), self._registers(_CALIBRATION_H, 7))

    async def _ready(self):
        for _ in range(_POLLS):
            if not self._registers(_STATUS, 1)[0] & _MEASURING:
                return
            await bus.pause_ms(_WAIT_MS)
        raise SensorError("not-ready", "it still measures")


def calibration(low, high):
    """dig_T1 to dig_T3, dig_P1 to dig_P9, dig_H1 to dig_H6 of registers 88 to A1 and E1 to E7 (table 16)."""
    parts = struct.unpack("<HhhHhhhhhhhh", low[:24])
    if 0 in (parts[0], parts[3]) or 0xFFFF in (parts[0], parts[3]):
        raise SensorError("bad-frame", "the chip's calibration is empty")
    second, third = struct.unpack("<hB", high[:3])
    fourth = struct.unpack("b", high[3:4])[0] << 4 | high[4] & 15
    fifth = struct.unpack("b", high[5:6])[0] << 4 | high[4] >> 4
    return parts[:12] + (low[25], second, third, fourth, fifth, struct.unpack("b", high[6:7])[0])


def compensate(dig, octets):
    """(t_fine, 0.01 Cel, %RH × 1024, Pa × 256) of registers F7 to FE."""
    raw_p = octets[0] << 12 | octets[1] << 4 | octets[2] >> 4
    raw_t = octets[3] << 12 | octets[4] << 4 | octets[5] >> 4
    raw_h = octets[6] << 8 | octets[7]
    if _SKIPPED in (raw_p, raw_t) or raw_h == 0x8000:
        raise SensorError("not-ready", "the chip has not measured")
    fine = _fine(dig, raw_t)
    return fine, fine * 5 + 128 >> 8, _humidity(dig, fine, raw_h), _pressure(dig, fine, raw_p)


def _fine(dig, raw):
    first = ((raw >> 3) - (dig[0] << 1)) * dig[1] >> 11
    return first + ((((raw >> 4) - dig[0]) * ((raw >> 4) - dig[0]) >> 12) * dig[2] >> 14)


def _pressure(dig, fine, raw):
    p1, p2, p3, p4, p5, p6, p7, p8, p9 = dig[3:12]
    first = fine - 128000
    second = first * first * p6 + (first * p5 << 17) + (p4 << 35)
    first = (first * first * p3 >> 8) + (first * p2 << 12)
    first = ((1 << 47) + first) * p1 >> 33
    if first == 0:
        raise SensorError("bad-frame", "the chip's calibration divides by zero")
    quotient = ((1048576 - raw << 31) - second) * 3125
    pressure = quotient // first if quotient >= 0 else -(-quotient // first)
    first = p9 * (pressure >> 13) * (pressure >> 13) >> 25
    second = p8 * pressure >> 19
    return (pressure + first + second >> 8) + (p7 << 4)


def _humidity(dig, fine, raw):
    h1, h2, h3, h4, h5, h6 = dig[12:18]
    x = fine - 76800
    left = (raw << 14) - (h4 << 20) - h5 * x + 16384 >> 15
    right = ((x * h6 >> 10) * ((x * h3 >> 11) + 32768) >> 10) + 2097152
    x = left * (right * h2 + 8192 >> 14)
    x -= ((x >> 15) * (x >> 15) >> 7) * h1 >> 4
    return max(0, min(419430400, x)) >> 12


def make(name, settings, clock, buses):
    """The chip at its address, 118 (0x76, SDO low) or 119 (0x77, SDO high)."""
    one_of(settings, "address", (0x76, 0x77))
    return Bme280(name, settings, Device(buses.get(settings["bus"], "i2c"), settings["address"]))
