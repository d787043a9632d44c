"""A bus that is a transcript: what the driver writes, in this order and to the byte, what it then reads, and how long
it has to wait in between.  Time is only counted, never spent."""

import bus
from bus.port import Port


class Transcript:
    """`steps` are ("w", octets), ("r", octets), ("wait", least_ms) and ("none",), where nothing answers any more.

    It is an I2C bus with one address, and, as `line`, a serial line.  `pause` stands in for `bus.pause_ms`.
    """

    def __init__(self, steps, address=None):
        self.left = list(steps)
        self.address = address
        self.waited_ms = 0
        self.closed = 0
        bus.pause_ms = self.pause

    async def pause(self, least_ms):
        self.waited_ms += least_ms

    def _next(self, kind):
        if self.left and self.left[0][0] == "wait":
            least_ms = self.left.pop(0)[1]
            assert self.waited_ms >= least_ms, "waited %d ms of %d" % (self.waited_ms, least_ms)
        if self.left and self.left[0][0] == "none":
            raise OSError(19)
        assert self.left, "the transcript is at its end"
        assert self.left[0][0] == kind, "%s where the transcript has %r" % (kind, self.left[0])
        self.waited_ms = 0
        return self.left.pop(0)[1]

    def writeto(self, address, octets):
        assert address == self.address
        expected = self._next("w")
        assert bytes(octets) == expected, "%s, not %s" % (bytes(octets).hex(), expected.hex())

    def readfrom(self, address, count):
        assert address == self.address
        octets = self._next("r")
        assert count == len(octets) or not octets
        return octets


class Line(Transcript):
    """A serial line; an answer is there as soon as it is asked for, noise before that."""

    def __init__(self, steps, noise=b""):
        Transcript.__init__(self, steps)
        self.there = noise
        self.port = Port(self, 9600)

    def write(self, octets):
        assert not self.there, "sent into what is still on the line"
        expected = self._next("w")
        assert bytes(octets) == expected, "%s, not %s" % (bytes(octets).hex(), expected.hex())
        if self.left and self.left[0][0] == "r":
            self.there = self.left.pop(0)[1]
        elif self.left and self.left[0][0] == "none":
            raise OSError(5)

    def any(self):
        return len(self.there)

    def read(self, most):
        octets, self.there = self.there[:most], self.there[most:]
        return octets

    def close(self):
        self.closed += 1


class Board:
    """As much of a board as drivers ask for: every bus is the one given, and `values` are what a pin says."""

    def __init__(self, made=None, values=()):
        self._made = made
        self._values = list(values)

    def i2c(self, settings):
        return self._made

    def uart(self, settings):
        return self._made

    onewire = uart

    def adc(self, pin, attenuation_db):
        return lambda: self._values.pop(0) if len(self._values) > 1 else self._values[0]

    def pulses(self, pin):
        return lambda: self._values.pop(0)


def flipped(octets):
    """Every octet string that differs from this one in one byte, by one bit or by all."""
    for at in range(len(octets)):
        for mask in (0x01, 0x80, 0xFF):
            yield octets[:at] + bytes([octets[at] ^ mask]) + octets[at + 1 :]
