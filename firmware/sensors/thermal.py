"""The host's own thermal sensors on Linux: /sys/class/thermal and /sys/class/hwmon, in thousandths of a degree."""

import os

from cbor import Fraction
from sensors import MEASURED, SensorError

SETTINGS = {"thermal_path": "/sys/class/thermal", "hwmon_path": "/sys/class/hwmon", "prefix": ""}
_NAME = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-."


class Thermal:
    """Every temperature that the kernel shows, in Cel."""

    driver = "thermal"
    method = MEASURED

    def __init__(self, name, sources):
        self.name = name
        self.detail = "%d temperatures of the host's kernel (sysfs)" % len(sources)
        self.quantities = [quantity for quantity, _ in sources]
        self._sources = sources

    async def read(self):
        """The temperatures that could be read; raises `SensorError` if none could."""
        readings = []
        failures = []
        for quantity, path in self._sources:
            try:
                readings.append((quantity, "Cel", Fraction(-3, int(_line(path)))))
            except (OSError, ValueError) as failure:
                failures.append("%s: %s" % (path, failure))
        if not readings:
            raise SensorError("no-answer", "no temperature to read (%s)" % ("; ".join(failures) or "none found"))
        return readings


def _line(path):
    with open(path) as stream:
        return stream.readline().strip()


def _entries(path):
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def _label(path, fallback):
    """The file's first line as a SenML name, or the fallback."""
    try:
        text = _line(path)
    except OSError:
        text = ""
    return "".join(c if c in _NAME else "-" for c in text).strip("-.")[:24] or fallback


def _found(settings):
    """Yield (label, path) of every temperature file."""
    for zone in _entries(settings["thermal_path"]):
        if zone.startswith("thermal_zone"):
            folder = settings["thermal_path"] + "/" + zone
            yield _label(folder + "/type", zone), folder + "/temp"
    for chip in _entries(settings["hwmon_path"]):
        folder = settings["hwmon_path"] + "/" + chip
        for entry in _entries(folder):
            if entry.startswith("temp") and entry.endswith("_input"):
                label = _label(folder + "/name", chip) + "-" + _label(folder + "/" + entry[:-5] + "label", entry[:-6])
                yield label, folder + "/" + entry


def make(name, settings, clock, buses):
    """All temperatures there are now, each under a name of its own."""
    sources = []
    taken = set()
    for label, path in _found(settings):
        quantity = settings["prefix"] + label
        number = 1
        while quantity in taken:
            number += 1
            quantity = "%s%s-%d" % (settings["prefix"], label, number)
        taken.add(quantity)
        sources.append((quantity, path))
    return Thermal(name, sources)
