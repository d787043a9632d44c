"""A capacitive soil probe at an analogue input: moisture between the two voltages that it was calibrated with."""

from cbor import Fraction
from sensors import REQUIRED, Sensor, SensorError, one_of, whole
from sensors.exact import check_points, on_line

SETTINGS = {"pin": REQUIRED, "points": REQUIRED, "raw": False, "attenuation_db": 11, "samples": 15, "prefix": ""}
_BEYOND = 100  # tenths of a percent that a value may lie beyond 0 and 100: soil drier or wetter than the calibration's
_UNCONNECTED_MV = 50


class SoilAdc(Sensor):
    """The median of some samples, on the line through two points."""

    def __init__(self, name, settings, adc):
        quantities = [settings["prefix"] + "moisture"]
        if settings["raw"]:
            quantities.append(settings["prefix"] + "moisture/raw")
        super().__init__(name, "soil_adc", "capacitive probe, points %s" % settings["points"], quantities)
        self._adc = adc
        self._samples = settings["samples"]
        self._points = [[millivolts, 10 * percent] for millivolts, percent in settings["points"]]

    async def read(self):
        """Moisture in 0.1 % of the calibrated span, -10 to 110; with `raw` the voltage in 0.001 V as well."""
        millivolts = median(self._adc, self._samples)
        if millivolts < _UNCONNECTED_MV:
            raise SensorError("no-answer", "%d mV: no probe, or none that has power" % millivolts)
        tenths = on_line(self._points, millivolts)
        if not -_BEYOND <= tenths <= 1000 + _BEYOND:
            raise SensorError("out-of-range", "%d mV is far outside the points of its calibration" % millivolts)
        readings = [(self.quantities[0], "%", Fraction(-1, tenths))]
        if len(self.quantities) > 1:
            readings.append((self.quantities[1], "V", Fraction(-3, millivolts)))
        return readings


def median(adc, samples):
    """The middle one of some measurements, in millivolts."""
    return (sorted(adc() for _ in range(samples))[samples // 2] + 500) // 1000


def open_adc(settings, buses):
    """The analogue input of settings `pin`, `attenuation_db`, `samples`, `raw`; ValueError names what is wrong."""
    whole(settings["pin"], "pin", 0, 255)
    whole(settings["samples"], "samples", 1, 255)
    one_of(settings, "attenuation_db", (0, 2, 6, 11))
    one_of(settings, "raw", (False, True))
    return buses.adc(settings["pin"], settings["attenuation_db"])


def make(name, settings, clock, buses):
    """The probe, with its points [[millivolts, percent], [millivolts, percent]]."""
    check_points(settings["points"], 0, 100)
    return SoilAdc(name, settings, open_adc(settings, buses))
