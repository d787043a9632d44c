"""RS-485 soil probes with moisture, temperature, EC, pH and an estimate of N, P, K, in the two usual register maps."""

from sensors import REQUIRED, Sensor, failed, one_of
from sensors.exact import number
from sensors.modbus import make_master

SETTINGS = {"bus": REQUIRED, "unit": 1, "map": "block", "timeout_ms": 500, "retries": 2, "prefix": ""}
# Quantity, unit, decimals, least and most of the register as a signed number.  1 uS/cm is 0.0001 S/m; mg/kg is ppm.
_QUANTITIES = (
    ("moisture", "%", 1, 0, 1000),
    ("temperature", "Cel", 1, -400, 800),
    ("conductivity", "S/m", 4, 0, 20000),
    ("ph", "pH", 1, 30, 100),
    ("nitrogen", "ppm", 0, 0, 2999),
    ("phosphorus", "ppm", 0, 0, 2999),
    ("potassium", "ppm", 0, 0, 2999),
)
# Runs of registers, with the place of each in `_QUANTITIES`; then the decimals of pH.
_MAPS = {
    "block": (((0x00, (0, 1, 2, 3, 4, 5, 6)),), 1),
    "scattered": (((0x12, (0, 1)), (0x15, (2,)), (0x06, (3,)), (0x1E, (4, 5, 6))), 2),
}


class Soil7in1(Sensor):
    """Reads its runs one after the other."""

    def __init__(self, name, settings, master):
        quantities = [settings["prefix"] + row[0] for row in _QUANTITIES]
        detail = "7-in-1 soil probe, map %s; N, P, K are its estimate from the conductivity" % settings["map"]
        super().__init__(name, "soil_7in1", detail, quantities)
        self._master = master
        self._runs, self._ph_places = _MAPS[settings["map"]]

    async def read(self):
        """Moisture in 0.1 %, temperature in 0.1 Cel, conductivity in 0.0001 S/m, pH, and N, P, K in ppm by mass."""
        readings = [None] * len(_QUANTITIES)
        for address, places in self._runs:
            words = await self._master.read(3, address, len(places))
            for at, word in zip(places, words):
                readings[at] = self._reading(at, word)
        return readings

    def _reading(self, at, word):
        name, unit, places, least, most = _QUANTITIES[at]
        if name == "ph" and self._ph_places == 2:
            places, least, most = 2, 10 * least, 10 * most
        signed = word - (word >> 15 << 16)
        if not least <= signed <= most:
            return failed(self.quantities[at], "out-of-range")
        return self.quantities[at], unit, number(signed, places)


def make(name, settings, clock, buses):
    """The probe on its line."""
    one_of(settings, "map", sorted(_MAPS))
    return Soil7in1(name, settings, make_master(settings, buses))
