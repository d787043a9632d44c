"""A serial line on which a question is sent and an answer awaited."""

import bus
from bus import SensorError

_POLL_MS = 2
_MAX_NOISE = 50  # silences awaited before giving the line up as one that never falls silent


class Port:
    """`line` is the board's: any() → bytes there are, read(most) → bytes or None, write(octets), which returns when all
    are on the wire and the line listens again, and close(), after which the next use opens it anew."""

    def __init__(self, line, baud):
        self._line = line
        # Modbus over serial line V1.02 §2.5.1.1: 3.5 characters of 11 bits, never less than 1.75 ms.
        self._silence_ms = max(2, 38500 // baud + 1)

    async def exchange(self, octets, length, timeout_ms):
        """Send, and return the answer: as many bytes as `length(those so far)` says it has, fewer where nothing more
        comes for `timeout_ms`.  What was on the line before is no answer."""
        try:
            await self._fall_silent()
            self._line.write(octets)
            answer = b""
            waited_ms = 0
            while len(answer) < length(answer) and waited_ms < timeout_ms:
                more = self._line.read(length(answer) - len(answer)) if self._line.any() else None
                if more:
                    answer += more
                    waited_ms = 0
                else:
                    await bus.pause_ms(_POLL_MS)
                    waited_ms += _POLL_MS
            return answer
        except OSError as failure:
            self._line.close()
            raise SensorError("no-answer", "the serial line is not there (%s)" % failure)

    async def _fall_silent(self):
        for _ in range(_MAX_NOISE):
            await bus.pause_ms(self._silence_ms)
            there = self._line.any()
            if not there:
                return
            self._line.read(there)
        raise SensorError("bad-frame", "the serial line never falls silent")
