"""Maxim DS18B20: temperature, one or many on a wire (data sheet 19-7487, revision 6)."""

from bus import SensorError, crc
from cbor import Fraction
from sensors import REQUIRED, Sensor, failed, within
from sensors.exact import rounded

SETTINGS = {"bus": REQUIRED, "probes": {}, "resolution": 12, "prefix": ""}
_LONGEST_MS = 750  # a conversion of 12 bits (table 2); each bit less takes half
_POWER_ON = 0x0550  # what the register says before a conversion: 85 Cel


class Ds18b20(Sensor):
    """All probes of a wire that node.json names, or the only one there is."""

    def __init__(self, name, settings, wire):
        self._probes = settings["probes"]
        prefix = settings["prefix"]
        quantities = [prefix + self._probes[rom] for rom in sorted(self._probes)] or [prefix + "temperature"]
        super().__init__(name, "ds18b20", "DS18B20 at %d bits" % settings["resolution"], quantities)
        self._wire = wire
        self._register = (settings["resolution"] - 9 << 5) | 0x1F
        self._wait_ms = _LONGEST_MS

    async def read(self):
        """Temperature in 0.01 Cel, -55 to 125, of each probe."""
        roms = sorted(self._probes) or self._only(self._wire.roms())
        waited_ms, self._wait_ms = self._wait_ms, conversion_ms(self._register)
        await self._wire.convert(waited_ms)
        readings = []
        for rom, quantity in zip(roms, self.quantities):
            try:
                octets = await self._wire.scratchpad(rom)
                readings.append((quantity, "Cel", self._temperature(octets, rom, waited_ms)))
            except SensorError as failure:
                self._wait_ms = _LONGEST_MS
                if len(roms) == 1:
                    raise
                readings.append(failed(quantity, failure.error))
        return readings

    def _only(self, roms):
        if not roms:
            raise SensorError("no-answer", "no DS18B20 on the wire")
        if len(roms) > 1:
            raise SensorError("wrong-device", "%d probes: name them in probes (%s)" % (len(roms), ", ".join(roms)))
        return roms

    def _temperature(self, octets, rom, waited_ms):
        value = hundredths(octets)
        if octets[4] != self._register:
            self._wait_ms = _LONGEST_MS
            self._wire.configure(rom, self._register)
            if waited_ms < conversion_ms(octets[4]):
                raise SensorError("not-ready", "it lost its power and resolution, and has not converted yet")
        return Fraction(-2, value)


def conversion_ms(register):
    """How long a conversion takes with this configuration register."""
    return -(-_LONGEST_MS >> 3 - (register >> 5 & 3))


def hundredths(octets):
    """0.01 Cel of a scratchpad (figure 9); `SensorError` if it is none, or no conversion's."""
    if octets == b"\xff" * 9:
        raise SensorError("no-answer", "the probe is silent")
    if crc.dallas(octets):
        raise SensorError("crc", "the scratchpad %s does not go with its CRC" % octets.hex())
    if octets[4] & 0x9F != 0x1F:  # a wire held low reads as zeros, whose CRC is right
        raise SensorError("bad-frame", "%s is no scratchpad" % octets.hex())
    if octets[0] | octets[1] << 8 == _POWER_ON:
        raise SensorError("not-ready", "85 Cel, which is what it says when it lost power and did not convert")
    return within(celsius(octets), -5500, 12500, "temperature in 0.01 Cel")


def celsius(octets):
    """0.01 Cel of the temperature register, without the bits that the resolution leaves undefined."""
    sixteenths = octets[0] | octets[1] << 8
    sixteenths &= ~((1 << 3 - (octets[4] >> 5 & 3)) - 1)
    return rounded(100 * (sixteenths - (sixteenths >> 15 << 16)), 16)


def make(name, settings, clock, buses):
    """The probes {"28-…": name}; none named means the only one on the wire."""
    probes = settings["probes"]
    if not isinstance(probes, dict) or not all(_is_rom(rom) and isinstance(probes[rom], str) for rom in probes):
        raise ValueError('probes must be {"28-0316a2797e4b": "name", …}: family 28 and the serial number')
    if settings["resolution"] not in (9, 10, 11, 12):
        raise ValueError("resolution must be 9, 10, 11 or 12 bits")
    return Ds18b20(name, settings, buses.get(settings["bus"], "onewire"))


def _is_rom(name):
    return len(name) == 15 and name[:3] == "28-" and all(digit in "0123456789abcdef" for digit in name[3:])
