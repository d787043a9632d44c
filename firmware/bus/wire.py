"""A 1-Wire bus on a pin: DS18B20 probes by their ROM codes, on MicroPython's `onewire` (reset, bits, ROM search)."""

import bus
from bus import SensorError, crc

_CONVERT, _READ_SCRATCHPAD, _WRITE_SCRATCHPAD, _READ_POWER = 0x44, 0xBE, 0x4E, 0xB4
_SKIP_ROM = 0xCC
FAMILY = 0x28


class Wire:
    """`lines` is a onewire.OneWire.  A probe is named as Linux names it: 28- and the serial number, high byte first."""

    def __init__(self, lines):
        self._lines = lines

    def roms(self):
        """The names of all DS18B20 that the ROM search finds; `SensorError` where a ROM's CRC is wrong."""
        self._reset()
        found = []
        for rom in [bytes(rom) for rom in self._lines.scan()]:
            if crc.dallas(rom):
                raise SensorError("crc", "the ROM search read %s" % rom.hex())
            if rom[0] == FAMILY:
                found.append(_name(rom))
        return sorted(found)

    async def convert(self, wait_ms):
        """Let all probes measure.  Needs probes with a supply of their own (VDD): a pin cannot feed them meanwhile."""
        self._reset()
        self._write(bytes([_SKIP_ROM, _READ_POWER]))
        if not self._lines.readbit():
            raise SensorError("device-fault", "a probe has no supply of its own (parasitic power): wire its VDD")
        self._reset()
        self._write(bytes([_SKIP_ROM, _CONVERT]))
        await bus.pause_ms(wait_ms)

    async def scratchpad(self, rom):
        """The nine bytes of a probe's scratchpad."""
        self._select(rom)
        self._write(bytes([_READ_SCRATCHPAD]))
        octets = bytearray(9)
        self._lines.readinto(octets)
        return bytes(octets)

    def configure(self, rom, register):
        """Set a probe's configuration register until its power goes; its alarm bytes become 4B 46, the factory's."""
        self._select(rom)
        self._write(bytes([_WRITE_SCRATCHPAD, 0x4B, 0x46, register]))

    def _select(self, rom):
        self._reset()
        self._lines.select_rom(_octets(rom))

    def _reset(self):
        if not self._lines.reset():
            raise SensorError("no-answer", "no probe answers on the 1-Wire bus")

    def _write(self, octets):
        for octet in octets:
            self._lines.writebyte(octet)


def _name(rom):
    return "%02x-%s" % (rom[0], bytes(rom[at] for at in range(6, 0, -1)).hex())


def _octets(name):
    rom = bytes([FAMILY]) + bytes(int(name[at : at + 2], 16) for at in range(13, 2, -2))
    return rom + bytes([crc.dallas(rom)])
