"""Sensor drivers, one a file.

A driver module has `SETTINGS`, {name: default or REQUIRED} of what node.json may say beyond `driver` and `name`, and
`make(name, settings, clock)`, which returns a sensor or raises `ValueError` that says what to change.  A sensor has

    name, driver, method, detail   as the boot statement tells them (protocol.md §3.2); method is one of those below
    quantities                     the SenML names of all it may read
    read()                         [(SenML name, unit or None, int | Fraction | str | bool)], now; raises `SensorError`

A recording (replay.py) has `rows` in place of `read`: its readings have times of their own.
"""

MEASURED, MODELLED, REPLAYED = range(3)
METHODS = ("measured", "modelled", "replayed")
DRIVERS = ("modelled", "replay", "thermal", "waiting")


class REQUIRED:
    """Stands for the default of a setting that has none."""


class SensorError(Exception):
    """A sensor gave no reading; says which and why.  The node goes on with the others."""


def driver(name):
    """The driver module of that name, one of `DRIVERS`."""
    return getattr(__import__("sensors." + name), name)
