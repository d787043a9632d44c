"""A sensor node of a Korean smart greenhouse: KS X 3267, the default register map, as public sources give it.

docs/firmware.md says which sources, and what is not verified.  Registers stand in the frame by their own number
unless an offset is set; a 32-bit value has its low word first.
"""

from bus import SensorError
from sensors import REQUIRED, Sensor, failed, one_of, whole
from sensors.modbus import complete, make_master, value

SETTINGS = {
    "bus": REQUIRED,
    "unit": 1,
    "channels": REQUIRED,
    "function": 3,
    "offset": 0,
    "timeout_ms": 500,
    "retries": 2,
    "prefix": "",
}
CHANNEL = {"channel": REQUIRED, "name": REQUIRED, "unit": None, "places": 1, "range": None, "code": None}
_INFORMATION, _DEVICE_CODES, _NODE_STATUS = 1, 101, 202
_SENSOR_NODE, _INTEGRATED_NODE = 1, 3
_CHANNELS = 30
_READY, _BUSY = 0, 2


class Ksx3267(Sensor):
    """Identified before the first reading and after every failure."""

    def __init__(self, name, settings, master, channels):
        quantities = [settings["prefix"] + channel["name"] for channel in channels]
        super().__init__(name, "ksx3267", "KS X 3267 sensor node, unit %d" % settings["unit"], quantities)
        self._master = master
        self._function = settings["function"]
        self._offset = settings["offset"]
        self._channels = channels
        self._last = max(channel["channel"] for channel in channels)
        self._identified = False

    async def read(self):
        """Each channel's value with its decimals; for one that is not ready, its error and, as `…/status`, why."""
        try:
            if not self._identified:
                await self._identify()
                self._identified = True
            words = await self._registers(_NODE_STATUS, 1 + 3 * self._last)
        except SensorError:
            self._identified = False
            raise
        if words[0] != _READY:
            raise SensorError(_fault(words[0]), "the node's status is %d" % words[0])
        readings = []
        for quantity, channel in zip(self.quantities, self._channels):
            at = 3 * channel["channel"] - 2
            readings += _reading(quantity, channel, words[at : at + 2], words[at + 2])
        return readings

    async def _registers(self, first, count):
        return await self._master.read(self._function, first + self._offset, count)

    async def _identify(self):
        node = await self._registers(_INFORMATION, 8)
        if node[2] not in (_SENSOR_NODE, _INTEGRATED_NODE):
            raise SensorError("wrong-device", "product type %d is no sensor node" % node[2])
        codes = await self._registers(_DEVICE_CODES, self._last)
        for channel in self._channels:
            code = codes[channel["channel"] - 1]
            if code == 0 or channel["code"] not in (None, code):
                said = (channel["channel"], code, channel["code"] or "a sensor's")
                raise SensorError("wrong-device", "channel %d has the device code %d, not %s" % said)


def _reading(quantity, channel, words, status):
    if status != _READY:
        return [failed(quantity, _fault(status)), (quantity + "/status", None, status)]
    try:
        return [(quantity, channel["unit"], value(channel, words))]
    except SensorError as failure:
        return [failed(quantity, failure.error)]


def _fault(status):
    return "device-busy" if status == _BUSY else "device-fault"


def _channel(given):
    made = complete(given, CHANNEL)
    for name, most in (("channel", _CHANNELS), ("code", 65535)):
        number = made[name]
        if number is not None and (type(number) is not int or not 1 <= number <= most):
            raise ValueError("%s must be a whole number from 1 to %d" % (name, most))
    made.update(type="float32", order="little")
    return made


def make(name, settings, clock, buses):
    """The node, with 1 to 30 channels."""
    given = settings["channels"]
    if not isinstance(given, list) or not 1 <= len(given) <= _CHANNELS:
        raise ValueError("channels must be a list of 1 to 30")
    channels = []
    for at, channel in enumerate(given):
        try:
            channels.append(_channel(channel))
        except ValueError as wrong:
            raise ValueError("channels[%d]: %s" % (at, wrong))
    one_of(settings, "function", (3, 4))
    whole(settings["offset"], "offset", -1, 50000)
    return Ksx3267(name, settings, make_master(settings, buses), channels)
