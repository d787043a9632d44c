"""Sensirion SHT30, SHT31, SHT35: temperature and humidity (data sheet SHT3x-DIS, version 5)."""

from bus.i2c import Device
from cbor import Fraction
from sensors import REQUIRED, Sensor, one_of, within
from sensors.exact import rounded

SETTINGS = {"bus": REQUIRED, "address": 0x44, "prefix": ""}
_SINGLE_SHOT = 0x2400  # high repeatability, no clock stretching (table 9)
_WAIT_MS = 16  # table 4: 15.5 ms at most


class Sht3x(Sensor):
    """One measurement for each reading; between them the chip sleeps."""

    def __init__(self, name, settings, device):
        quantities = [settings["prefix"] + quantity for quantity in ("temperature", "humidity")]
        super().__init__(name, "sht3x", "SHT3x at I2C address 0x%02x" % settings["address"], quantities)
        self._device = device

    async def read(self):
        """Temperature in 0.01 Cel, -40 to 125; relative humidity in 0.01 %RH, 0 to 100."""
        temperature, humidity = await self._device.words(_SINGLE_SHOT, _WAIT_MS, 2)
        values = (celsius(temperature, -4000, 12500), Fraction(-2, rounded(10000 * humidity, 65535)))
        return list(zip(self.quantities, ("Cel", "%RH"), values))


def celsius(word, least, most):
    """-45 + 175 word / 65535 in hundredths (§4.13), within the data sheet's range."""
    return Fraction(-2, within(rounded(17500 * word, 65535) - 4500, least, most, "temperature in 0.01 Cel"))


def make(name, settings, clock, buses):
    """The chip at its address, 68 or 69 (0x44, 0x45)."""
    one_of(settings, "address", (0x44, 0x45))
    return Sht3x(name, settings, Device(buses.get(settings["bus"], "i2c"), settings["address"]))
