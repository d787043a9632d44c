"""Sensirion SCD40, SCD41: CO2, with the temperature and humidity inside its case (data sheet SCD4x, version 1.3)."""

import bus
from bus.i2c import Device
from cbor import Fraction
from sensors import REQUIRED, Sensor, SensorError, whole, within
from sensors.exact import rounded
from sensors.sht3x import celsius

SETTINGS = {"bus": REQUIRED, "prefix": "", "altitude_m": None, "pressure_hpa": None, "self_calibration": True}
_ADDRESS = 0x62
_START, _STOP, _READ, _READY = 0x21B1, 0x3F86, 0xEC05, 0xE4B8
_ALTITUDE, _PRESSURE, _SELF_CALIBRATION = 0x2427, 0xE000, 0x2416
_STOP_MS = 500
_POLL_MS = 500
_FIRST_MS = 6500  # one is due every 5 s


class Scd4x(Sensor):
    """Measures for itself every 5 s from the first reading on; set up anew after every failure."""

    def __init__(self, name, settings, device):
        quantities = [settings["prefix"] + quantity for quantity in ("co2", "temperature", "humidity")]
        super().__init__(name, "scd4x", "SCD4x, measuring every 5 s" + _compensation(settings), quantities)
        self._settings = settings
        self._device = device
        self._running = False

    async def read(self):
        """CO2 in ppm, 1 to 40000; temperature in 0.01 Cel, -10 to 60; relative humidity in 0.1 %RH, 0 to 100."""
        try:
            if not self._running:
                await self._set_up()
                self._running = True
            await self._wait()
            co2, temperature, humidity = await self._device.words(_READ, 1, 3)
        except SensorError:
            self._running = False
            raise
        values = (
            within(co2, 1, 40000, "CO2 in ppm"),
            celsius(temperature, -1000, 6000),
            Fraction(-1, rounded(1000 * humidity, 65535)),
        )
        return list(zip(self.quantities, ("ppm", "Cel", "%RH"), values))

    async def _set_up(self):
        """Settings are taken only while it does not measure, which it may since before a restart of the node."""
        await self._say(_STOP, _STOP_MS)
        if self._settings["altitude_m"] is not None:
            await self._say(_ALTITUDE, 1, self._settings["altitude_m"])
        await self._say(_SELF_CALIBRATION, 1, int(self._settings["self_calibration"]))
        await self._say(_START, 1)
        if self._settings["pressure_hpa"] is not None:
            await self._say(_PRESSURE, 1, self._settings["pressure_hpa"])

    async def _say(self, code, wait_ms, *words):
        self._device.command(code, *words)
        await bus.pause_ms(wait_ms)

    async def _wait(self):
        for _ in range(_FIRST_MS // _POLL_MS + 1):
            if (await self._device.words(_READY, 1, 1))[0] & 0x7FF:
                return
            await bus.pause_ms(_POLL_MS)
        raise SensorError("not-ready", "no new measurement within %d ms" % _FIRST_MS)


def _compensation(settings):
    if settings["pressure_hpa"] is not None:
        return ", at %d hPa" % settings["pressure_hpa"]
    return "" if settings["altitude_m"] is None else ", at %d m" % settings["altitude_m"]


def make(name, settings, clock, buses):
    """The chip, compensated for the altitude or the pressure of its place."""
    if settings["altitude_m"] is not None:
        whole(settings["altitude_m"], "altitude_m", 0, 3000)
    if settings["pressure_hpa"] is not None:
        whole(settings["pressure_hpa"], "pressure_hpa", 700, 1200)
        if settings["altitude_m"] is not None:
            raise ValueError("altitude_m and pressure_hpa: the pressure alone counts; take the altitude out")
    if not isinstance(settings["self_calibration"], bool):
        raise ValueError("self_calibration must be true or false")  # noqa: TRY004 - settings refuse by ValueError
    return Scd4x(name, settings, Device(buses.get(settings["bus"], "i2c"), _ADDRESS))
