"""Sensirion SHT40, SHT41, SHT45: temperature and humidity (data sheet SHT4x)."""

import bus
from bus.i2c import Device
from cbor import Fraction
from sensors import REQUIRED, Sensor, one_of
from sensors.exact import rounded
from sensors.sht3x import celsius

SETTINGS = {"bus": REQUIRED, "address": 0x44, "prefix": ""}
_MEASURE = b"\xfd"  # high precision
_WAIT_MS = 9  # 8.3 ms at most


class Sht4x(Sensor):
    """One measurement for each reading; between them the chip idles."""

    def __init__(self, name, settings, device):
        quantities = [settings["prefix"] + quantity for quantity in ("temperature", "humidity")]
        super().__init__(name, "sht4x", "SHT4x at I2C address 0x%02x" % settings["address"], quantities)
        self._device = device

    async def read(self):
        """Temperature in 0.01 Cel, -40 to 125; humidity in 0.01 %RH, cropped to 0 to 100 as the data sheet says."""
        self._device.write(_MEASURE)
        await bus.pause_ms(_WAIT_MS)
        temperature, word = await self._device.words(None, 0, 2)
        humidity = Fraction(-2, max(0, min(10000, rounded(12500 * word, 65535) - 600)))
        return list(zip(self.quantities, ("Cel", "%RH"), (celsius(temperature, -4000, 12500), humidity)))


def make(name, settings, clock, buses):
    """The chip at its address, 68 to 70 (0x44 to 0x46, by its type)."""
    one_of(settings, "address", (0x44, 0x45, 0x46))
    return Sht4x(name, settings, Device(buses.get(settings["bus"], "i2c"), settings["address"]))
