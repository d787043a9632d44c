"""A pulse flow meter: litres since the node started, and the rate since the last reading.

The sum begins at 0 with each start.  Every statement carries the boot count, so whoever adds up volumes sees where it
began anew; what flowed after the last statement before a power cut is not known.  It counts only while the node is on.
"""

from cbor import Fraction
from clock import elapsed_ms, ticks_ms
from sensors import REQUIRED, Sensor, SensorError, whole
from sensors.exact import rounded

SETTINGS = {"pin": REQUIRED, "pulses_per_litre": REQUIRED, "most_l_min": 1000, "prefix": ""}


class Flow(Sensor):
    """Counts from when it is made."""

    def __init__(self, name, settings, pulses):
        quantities = [settings["prefix"] + quantity for quantity in ("volume", "flow")]
        super().__init__(name, "flow", "flow meter of %d pulses a litre" % settings["pulses_per_litre"], quantities)
        self._per_litre = settings["pulses_per_litre"]
        self._most_l_min = settings["most_l_min"]
        self._pulses = pulses
        self._last = pulses()
        self._first = self._last
        self._read_at = ticks_ms()

    async def read(self):
        """Volume in 0.001 l since the start; flow in 0.001 l/s since the last reading, at most `most_l_min`."""
        count, passed_ms = self._pulses(), max(1, elapsed_ms(self._read_at))
        since = count - self._last
        self._last = count
        self._read_at = ticks_ms()
        if since < 0 or since * 60000 > self._most_l_min * self._per_litre * passed_ms:
            said = (since, passed_ms, self._most_l_min)
            raise SensorError("out-of-range", "%d pulses in %d ms are more than %d l/min: a bad contact?" % said)
        volume = Fraction(-3, rounded(1000 * (count - self._first), self._per_litre))
        rate = Fraction(-3, rounded(1000000 * since, self._per_litre * passed_ms))
        return list(zip(self.quantities, ("l", "l/s"), (volume, rate)))


def make(name, settings, clock, buses):
    """The meter at a pin."""
    whole(settings["pin"], "pin", 0, 255)
    whole(settings["pulses_per_litre"], "pulses_per_litre", 1, 100000)
    whole(settings["most_l_min"], "most_l_min", 1, 100000)
    return Flow(name, settings, buses.pulses(settings["pin"]))
