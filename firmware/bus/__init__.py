"""What sensors hang on: I2C, serial lines, 1-Wire, analogue pins and pulses, and how each can fail.

`kinds.KINDS` is the reference of the setting `buses`.  A bus object is the board's (board/), with

    i2c       writeto(address, octets), readfrom(address, count) → bytes; OSError where nothing answers
    uart      a `port.Port`
    onewire   roms() → names, async convert(wait_ms), async scratchpad(rom) → 9 bytes, configure(rom, register)
    adc       () → microvolts;   pulses  () → count since it was made

One sensor is read after the other, so a bus has one user at a time.
"""

import asyncio

# All that a statement says of a reading that failed (docs/firmware.md has what each means).
ERRORS = (
    "no-answer",
    "crc",
    "bad-frame",
    "out-of-range",
    "not-ready",
    "wrong-device",
    "device-fault",
    "device-busy",
    "illegal-function",
    "illegal-address",
    "illegal-value",
    "exception",
)


class SensorError(Exception):
    """A sensor gave no reading: `error`, one of `ERRORS`, and what was seen.  The node signs the error and goes on."""

    def __init__(self, error, seen):
        super().__init__("%s: %s" % (error, seen))
        self.error = error


if hasattr(asyncio, "sleep_ms"):

    async def pause_ms(least_ms):
        """Let others run for at least that long."""
        await asyncio.sleep_ms(least_ms + 1)

else:

    async def pause_ms(least_ms):
        """Let others run for at least that long."""
        await asyncio.sleep(least_ms / 1000)


def whole(value, name, least, most):
    """`value`, if it is a whole number from `least` to `most`; ValueError that names it otherwise."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError("%s must be a whole number from %d to %d" % (name, least, most))
    return value


class Buses:
    """The buses that node.json declares, on a board.  Each is made when the first sensor asks for it."""

    def __init__(self, declared, machine):
        self._declared = declared
        self._machine = machine
        self._made = {}

    def get(self, name, kind):
        """The bus of that name; ValueError says what to change in node.json."""
        settings = self._declared.get(name)
        if settings is None or settings["kind"] != kind:
            known = [each for each in sorted(self._declared) if self._declared[each]["kind"] == kind]
            said = (kind, ", ".join(known) or 'none: declare one in "buses"')
            raise ValueError("bus must name a bus of the kind %s; there is %s" % said)
        if name not in self._made:
            try:
                self._made[name] = getattr(self._machine, kind)(settings)
            except (ValueError, OSError) as wrong:
                raise ValueError("buses.%s: %s" % (name, wrong))
        return self._made[name]

    def adc(self, pin, attenuation_db):
        """A function that measures the voltage at a pin, in microvolts."""
        return self._machine.adc(pin, attenuation_db)

    def pulses(self, pin):
        """A function that counts the pulses at a pin, from now on."""
        return self._machine.pulses(pin)
