"""Rohm BH1750FVI: illuminance (technical note 2009.04, revision B).  It has no check sum."""

import bus
from bus.i2c import Device
from sensors import REQUIRED, Sensor, SensorError, one_of
from sensors.exact import rounded

SETTINGS = {"bus": REQUIRED, "address": 0x23, "prefix": ""}
_POWER_ON, _ONE_TIME_HIGH = b"\x01", b"\x20"
_WAIT_MS = 180  # high resolution, at most


class Bh1750(Sensor):
    """One measurement for each reading; after it the chip powers down by itself."""

    def __init__(self, name, settings, device):
        super().__init__(
            name, "bh1750", "BH1750 at I2C address 0x%02x" % settings["address"], [settings["prefix"] + "light"]
        )
        self._device = device

    async def read(self):
        """Light in lx, 0 to 54611."""
        self._device.write(_POWER_ON)
        self._device.write(_ONE_TIME_HIGH)
        await bus.pause_ms(_WAIT_MS)
        return [(self.quantities[0], "lx", lux(self._device.read(2)))]


def lux(octets):
    """The count by 1.2; a count at its end says only that it is brighter."""
    count = octets[0] << 8 | octets[1]
    if count == 0xFFFF:
        raise SensorError("out-of-range", "brighter than 54611 lx")
    return rounded(10 * count, 12)


def make(name, settings, clock, buses):
    """The chip at its address, 35 (0x23, ADDR low) or 92 (0x5c, ADDR high)."""
    one_of(settings, "address", (0x23, 0x5C))
    return Bh1750(name, settings, Device(buses.get(settings["bus"], "i2c"), settings["address"]))
