"""Any Modbus RTU device, by the registers that its manual lists."""

from bus import SensorError
from bus.modbus import Master
from sensors import REQUIRED, Sensor, failed, whole
from sensors.exact import MAX_PLACES, float32, number

SETTINGS = {
    "bus": REQUIRED,
    "unit": 1,
    "registers": REQUIRED,
    "setup": [],
    "timeout_ms": 300,
    "retries": 2,
    "prefix": "",
}
REGISTER = {
    "name": REQUIRED,
    "address": REQUIRED,
    "unit": None,
    "function": 3,
    "type": "uint16",
    "order": "big",
    "places": 0,
    "range": None,
}
_WORDS = {"uint16": 1, "int16": 1, "uint32": 2, "int32": 2, "float32": 2}
_SILENT = ("no-answer", "crc", "bad-frame")  # the line's or the unit's trouble, not one register's


class Modbus(Sensor):
    """Reads one register after the other."""

    def __init__(self, name, driver, detail, settings, master, registers):
        super().__init__(name, driver, detail, [settings["prefix"] + register["name"] for register in registers])
        self._master = master
        self._registers = registers
        self._setup = list(settings.get("setup", ()))

    async def read(self):
        """Each register's value, a whole number by 10^`places`."""
        while self._setup:
            await self._master.write(*self._setup[0])
            self._setup.pop(0)
        readings = []
        for quantity, register in zip(self.quantities, self._registers):
            try:
                words = await self._master.read(register["function"], register["address"], _WORDS[register["type"]])
                readings.append((quantity, register["unit"], value(register, words)))
            except SensorError as failure:
                if failure.error in _SILENT or len(self._registers) == 1:
                    raise
                readings.append(failed(quantity, failure.error))
        return readings


def value(register, words):
    """The number in a register's words; `SensorError` out-of-range where it is none or outside its range."""
    raw = words[0]
    if len(words) > 1:
        high, low = words if register["order"] == "big" else (words[1], words[0])
        raw = high << 16 | low
    kind = register["type"]
    if kind == "float32":
        try:
            raw = float32(raw, register["places"])
        except ValueError as wrong:
            raise SensorError("out-of-range", "%s is %s" % (register["name"], wrong))
    elif kind[0] == "i" and raw >> 16 * len(words) - 1:
        raw -= 1 << 16 * len(words)
    span = register["range"]
    if abs(raw) >= 1 << 53 or (span is not None and not span[0] <= raw <= span[1]):
        raise SensorError("out-of-range", "%s says %d" % (register["name"], raw))
    return number(raw, register["places"])


def complete(register, defaults):
    """A description with its defaults, checked; ValueError names what is wrong."""
    if not isinstance(register, dict):
        raise ValueError('each must be {"name": …, …}')  # noqa: TRY004 - settings refuse by ValueError
    for name in register:
        if name not in defaults:
            raise ValueError("unknown %s: use one of %s" % (name, ", ".join(sorted(defaults))))
    made = dict(defaults)
    made.update(register)
    for name in sorted(made):
        if made[name] is REQUIRED:
            raise ValueError("%s is missing" % name)
    if not isinstance(made["name"], str) or not isinstance(made["unit"], (str, type(None))):
        raise ValueError("name and unit must be texts")  # noqa: TRY004
    whole(made["places"], "places", 0, MAX_PLACES)
    span = made["range"]
    pair = isinstance(span, list) and len(span) == 2 and all(type(end) is int for end in span)
    if span is not None and not (pair and span[0] <= span[1]):
        raise ValueError("range must be [least, most], in steps of the last place")
    return made


def make_master(settings, buses):
    """The master of settings `bus`, `unit`, `timeout_ms`, `retries`; ValueError names what is wrong."""
    whole(settings["unit"], "unit", 1, 247)
    whole(settings["timeout_ms"], "timeout_ms", 10, 2000)
    whole(settings["retries"], "retries", 0, 3)
    return Master(buses.get(settings["bus"], "uart"), settings["unit"], settings["timeout_ms"], settings["retries"])


def _register(given):
    made = complete(given, REGISTER)
    whole(made["address"], "address", 0, 65535)
    for name, known in (("function", (3, 4)), ("type", sorted(_WORDS)), ("order", ("big", "little"))):
        if made[name] not in known:
            raise ValueError("%s must be one of %s" % (name, ", ".join(str(each) for each in known)))
    return made


def make(name, settings, clock, buses):
    """The device, with 1 to 32 registers."""
    given = settings["registers"]
    if not isinstance(given, list) or not 1 <= len(given) <= 32:
        raise ValueError("registers must be a list of 1 to 32")
    registers = []
    for at, register in enumerate(given):
        try:
            registers.append(_register(register))
        except ValueError as wrong:
            raise ValueError("registers[%d]: %s" % (at, wrong))
    if not isinstance(settings["setup"], list):
        raise ValueError("setup must be [[address, value], …]")  # noqa: TRY004
    for pair in settings["setup"]:
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError("setup must be [[address, value], …]")
        whole(pair[0], "setup: the address", 0, 65535)
        whole(pair[1], "setup: the value", 0, 65535)
    return Modbus(
        name, "modbus", "Modbus unit %d" % settings["unit"], settings, make_master(settings, buses), registers
    )
