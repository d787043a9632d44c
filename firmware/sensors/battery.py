"""A battery's voltage at an analogue input, behind a divider that two points calibrate."""

from cbor import Fraction
from sensors import REQUIRED, Sensor, SensorError, whole
from sensors.exact import check_points, on_line
from sensors.soil_adc import median, open_adc

SETTINGS = {
    "pin": REQUIRED,
    "points": REQUIRED,
    "least_mv": 0,
    "most_mv": 60000,
    "raw": False,
    "attenuation_db": 11,
    "samples": 15,
    "prefix": "",
}


class Battery(Sensor):
    """The median of some samples, on the line through two points."""

    def __init__(self, name, settings, adc):
        quantities = [settings["prefix"] + "battery"]
        if settings["raw"]:
            quantities.append(settings["prefix"] + "battery/raw")
        super().__init__(name, "battery", "voltage by the points %s" % settings["points"], quantities)
        self._adc = adc
        self._settings = settings

    async def read(self):
        """The battery's voltage in 0.001 V, `least_mv` to `most_mv`; with `raw` that at the pin as well."""
        pin = median(self._adc, self._settings["samples"])
        battery = on_line(self._settings["points"], pin)
        if not self._settings["least_mv"] <= battery <= self._settings["most_mv"]:
            raise SensorError("out-of-range", "%d mV, from %d mV at the pin" % (battery, pin))
        values = (Fraction(-3, battery), Fraction(-3, pin))
        return [(quantity, "V", value) for quantity, value in zip(self.quantities, values)]


def make(name, settings, clock, buses):
    """The input, with its points [[millivolts at the pin, millivolts of the battery], […]]."""
    check_points(settings["points"], 0, 100000)
    whole(settings["least_mv"], "least_mv", 0, 100000)
    whole(settings["most_mv"], "most_mv", settings["least_mv"], 100000)
    return Battery(name, settings, open_adc(settings, buses))
