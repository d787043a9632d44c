"""A greenhouse that exists only as a formula: a day's course of light, temperature, humidity and CO2, with noise.

Light is a parabola from 6 to 18 h local time; temperature follows it two hours later; humidity falls as it
gets warmer; CO2 is used up by light.  Whole numbers only, so that every board computes the same.
"""

from cbor import Fraction
from sensors import MODELLED

SETTINGS = {"seed": 1, "prefix": "", "utc_offset_s": 0}
_DAY_S = 86400
_NOON = 21600 * 21600
_MODEL = "formula of a greenhouse day (light parabola 6 to 18 h, temperature 2 h later), seed %d"


class Modelled:
    """A modelled greenhouse; see the module."""

    driver = "modelled"
    method = MODELLED

    def __init__(self, name, clock, seed, prefix, utc_offset_s):
        self.name = name
        self.detail = _MODEL % seed
        self.quantities = [prefix + name for name in ("temperature", "humidity", "co2", "light")]
        self._clock = clock
        self._noise = (seed * 2654435761 + 1) & 0x7FFFFFFF or 1
        self._utc_offset_s = utc_offset_s

    async def read(self):
        """Temperature in 0.01 Cel, relative humidity in 0.1 %RH, CO2 in ppm, light in W/m2."""
        seconds, (_, _, uptime_s) = self._clock.now()
        second = ((seconds or uptime_s) + self._utc_offset_s) % _DAY_S
        light = max(0, 600 * _parabola(second) // _NOON + self._jitter(8)) if _parabola(second) else 0
        warmth = _parabola((second - 7200) % _DAY_S) * 900 // _NOON
        temperature = 1500 + warmth + self._jitter(15)
        humidity = min(1000, 880 - warmth // 3 + self._jitter(10))
        co2 = 620 - light // 3 + self._jitter(12)
        values = (Fraction(-2, temperature), Fraction(-1, humidity), co2, light)
        return list(zip(self.quantities, ("Cel", "%RH", "ppm", "W/m2"), values))

    def _jitter(self, most):
        """A whole number from -most to most (a linear congruential generator)."""
        self._noise = (self._noise * 1103515245 + 12345) & 0x7FFFFFFF
        return (self._noise >> 8) % (2 * most + 1) - most


def _parabola(second):
    """Height over the day: 0 at night, 21600² at noon."""
    return max(0, (second - 21600) * (64800 - second))


def make(name, settings, clock, buses):
    """The modelled greenhouse with a whole number as seed."""
    if not isinstance(settings["seed"], int) or not 0 <= settings["seed"] < 2**31:
        raise ValueError("seed must be a whole number from 0 to 2147483647")
    if not isinstance(settings["utc_offset_s"], int):
        raise ValueError("utc_offset_s must be a whole number of seconds")  # noqa: TRY004 - settings refuse by ValueError
    return Modelled(name, clock, settings["seed"], settings["prefix"], settings["utc_offset_s"])
