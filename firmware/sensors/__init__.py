"""Sensor drivers, one a file, loaded only where node.json names them.

A driver module has `SETTINGS`, {name: default or REQUIRED} of what node.json may say beyond `driver` and `name`, and
`make(name, settings, clock, buses)`, which returns a sensor or raises `ValueError` that says what to change.  A sensor
has

    name, driver, method, detail   as the boot statement tells them (protocol.md §3.2); method is one of those below
    quantities                     the SenML names of all it may read
    async read()                   [(SenML name, unit or None, int | Fraction | str | bool)]; waits for the sensor
                                   without holding up the loop, for seconds at most; raises `SensorError`

A quantity that could not be read while others could stands among them as `failed(quantity, error)`.  A recording
(replay.py) has `rows` in place of `read`: its readings have times of their own.
"""

import asyncio

from bus import ERRORS, SensorError, whole

__all__ = ("DRIVERS", "ERRORS", "METHODS", "Sensor", "SensorError", "driver", "failed", "whole")

MEASURED, MODELLED, REPLAYED = range(3)
METHODS = ("measured", "modelled", "replayed")
_MOST_S = 60  # half of what the watchdog grants the loop that measures
DRIVERS = (
    "battery",
    "bh1750",
    "bme280",
    "ds18b20",
    "flow",
    "ksx3267",
    "mhz19",
    "modbus",
    "modelled",
    "replay",
    "scd4x",
    "sht3x",
    "sht4x",
    "soil_7in1",
    "soil_adc",
    "thermal",
    "waiting",
)


class REQUIRED:
    """Stands for the default of a setting that has none."""


class Sensor:
    """What measuring sensors share."""

    method = MEASURED

    def __init__(self, name, driver, detail, quantities):
        self.name = name
        self.driver = driver
        self.detail = detail
        self.quantities = quantities


def driver(name):
    """The driver module of that name, one of `DRIVERS`."""
    return getattr(__import__("sensors." + name), name)


async def read(sensor):
    """A sensor's readings; raises `SensorError` whatever went wrong, and where it took too long."""
    try:
        return await asyncio.wait_for(sensor.read(), _MOST_S)
    except asyncio.TimeoutError:
        raise SensorError("no-answer", "not read within %d s" % _MOST_S)
    except OSError as failure:  # such as an analogue input that Wi-Fi takes
        raise SensorError("no-answer", str(failure))


def failed(quantity, error):
    """The record of a reading that failed, with one of `ERRORS`; a quantity, or a sensor's name for all of its."""
    return (quantity + "/error", None, error)


def one_of(settings, name, known):
    """A setting that has only so many values; ValueError that lists them otherwise."""
    if settings[name] not in known:
        raise ValueError("%s must be one of %s" % (name, ", ".join(str(value) for value in known)))
    return settings[name]


def within(value, least, most, what):
    """`value`, if the data sheet allows it; `SensorError` out-of-range otherwise."""
    if not least <= value <= most:
        raise SensorError("out-of-range", "%s %d is not from %d to %d" % (what, value, least, most))
    return value
