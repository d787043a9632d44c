"""One device on an I2C bus, and the words with a CRC that Sensirion's devices speak in."""

import bus
from bus import SensorError
from bus.crc import sensirion


class Device:
    """An address on a bus.  Whatever goes wrong is a `SensorError`."""

    def __init__(self, lines, address):
        self._lines = lines
        self._address = address

    def write(self, octets):
        """Write in one transfer."""
        try:
            self._lines.writeto(self._address, octets)
        except OSError as failure:
            raise self._silent(failure)

    def read(self, count):
        """Exactly that many bytes, read in one transfer."""
        try:
            octets = bytes(self._lines.readfrom(self._address, count))
        except OSError as failure:
            raise self._silent(failure)
        if len(octets) != count:
            raise SensorError("bad-frame", "0x%02x gave %d bytes, not %d" % (self._address, len(octets), count))
        return octets

    def _silent(self, failure):
        return SensorError("no-answer", "nothing answers at I2C address 0x%02x (%s)" % (self._address, failure))

    def command(self, code, *words):
        """Write a 16-bit command with its words, each followed by its CRC."""
        octets = code.to_bytes(2, "big")
        for word in words:
            octets += _with_crc(word.to_bytes(2, "big"))
        self.write(octets)

    async def words(self, code, wait_ms, count):
        """The words that answer a command; None for the command reads without one."""
        if code is not None:
            self.command(code)
            await bus.pause_ms(wait_ms)
        return self._words(self.read(3 * count))

    def _words(self, octets):
        words = []
        for at in range(0, len(octets), 3):
            if _with_crc(octets[at : at + 2]) != octets[at : at + 3]:
                said = (self._address, octets[at], octets[at + 1], octets[at + 2])
                raise SensorError("crc", "0x%02x: %02x %02x does not go with its CRC %02x" % said)
            words.append(octets[at] << 8 | octets[at + 1])
        return words


def _with_crc(octets):
    return octets + bytes([sensirion(octets)])
