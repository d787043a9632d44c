"""Winsen MH-Z19, MH-Z19B, MH-Z19C: CO2 over a serial line of 9600 baud (user's manual MH-Z19B)."""

from bus import SensorError
from sensors import REQUIRED, Sensor, whole, within

SETTINGS = {"bus": REQUIRED, "prefix": "", "self_calibration": True, "warm_up_s": 180}
_READ, _SELF_CALIBRATION = 0x86, 0x79
_SIZE = 9
_TIMEOUT_MS = 500


class Mhz19(Sensor):
    """Heats and measures all the time; what it says before it is warm does not count."""

    def __init__(self, name, settings, port, clock):
        super().__init__(name, "mhz19", "MH-Z19", [settings["prefix"] + "co2"])
        self._port = port
        self._clock = clock
        self._warm_up_s = settings["warm_up_s"]
        self._self_calibration = settings["self_calibration"]
        self._set = False

    async def read(self):
        """CO2 in ppm, 1 to 10000."""
        if not self._set:
            # The manual has no answer to it; some versions send one.
            value = 0xA0 if self._self_calibration else 0
            await self._port.exchange(command(_SELF_CALIBRATION, value), lambda so_far: _SIZE, _TIMEOUT_MS)
        value = concentration(await self._port.exchange(command(_READ, 0), lambda so_far: _SIZE, _TIMEOUT_MS))
        self._set = True
        if self._clock.uptime_s() < self._warm_up_s:
            raise SensorError("not-ready", "it warms up for %d s from the node's start" % self._warm_up_s)
        return [(self.quantities[0], "ppm", within(value, 1, 10000, "CO2 in ppm"))]


def command(code, value):
    """A frame to the sensor."""
    octets = bytes([0xFF, 0x01, code, value, 0, 0, 0, 0])
    return octets + bytes([checksum(octets)])


def checksum(octets):
    """The byte that makes the second to the ninth add up to 0."""
    return -sum(octets[1:8]) & 255


def concentration(octets):
    """ppm of an answer to 86."""
    if not octets:
        raise SensorError("no-answer", "the sensor is silent")
    if len(octets) != _SIZE:
        raise SensorError("bad-frame", "%d bytes, not %d" % (len(octets), _SIZE))
    if checksum(octets) != octets[8]:
        raise SensorError("crc", "%s does not go with its check sum" % octets.hex())
    if octets[:2] != bytes([0xFF, _READ]):
        raise SensorError("bad-frame", "%s is no answer to the question for CO2" % octets.hex())
    return octets[2] << 8 | octets[3]


def make(name, settings, clock, buses):
    """The sensor on its line."""
    if not isinstance(settings["self_calibration"], bool):
        raise ValueError("self_calibration must be true or false")  # noqa: TRY004 - settings refuse by ValueError
    whole(settings["warm_up_s"], "warm_up_s", 0, 3600)
    return Mhz19(name, settings, buses.get(settings["bus"], "uart"), clock)
