"""Time as a node knows it: Unix seconds with their source and error bound, and uptime (protocol.md §3, clock)."""

import time

UNSET, KEPT, NTP, GATEWAY, HOST = range(5)
_EARLIEST = 1735689600  # 2025-01-01: a clock that says less was never set
_DRIFT_S = 20000  # seconds in which a clock that nobody sets again may go wrong by one more (50 ppm)
# The epoch is 1970 on some ports and 2000 on others.
_EPOCH = 946684800 if time.gmtime(0)[0] == 2000 else 0

if hasattr(time, "ticks_ms"):
    ticks_ms = time.ticks_ms

    def elapsed_ms(since):
        """Milliseconds since a `ticks_ms`; right for half its period, days at the least."""
        return time.ticks_diff(time.ticks_ms(), since)

else:

    def ticks_ms():
        """A counter of milliseconds."""
        return time.monotonic_ns() // 1000000  # type: ignore[attr-defined] # CPython's

    def elapsed_ms(since):
        """Milliseconds since a `ticks_ms`."""
        return ticks_ms() - since


class Clock:
    """The node's clock.  `source` and `error_s` say how far it can be trusted when it was last set.

    With source HOST something else keeps the clock right and the bound stays; otherwise it grows by 50 ppm.
    """

    def __init__(self, source=UNSET, error_s=0):
        self._uptime_ms = 0
        self._ticks = ticks_ms()
        self.set(source, error_s)

    def set(self, source, error_s):
        """Something has just set the system's clock to within `error_s` seconds."""
        self._source = source
        self._error_s = error_s
        self._set_at_s = self.uptime_s()

    def uptime_s(self):
        """Seconds since this object was made, at the boot; to be asked more often than the ticks wrap round."""
        now = ticks_ms()
        self._uptime_ms += elapsed_ms(self._ticks)
        self._ticks = now
        return self._uptime_ms // 1000

    def now(self):
        """(Unix seconds, (source, error_s, uptime_s)); seconds, source and error are 0 where the clock is unset."""
        uptime_s = self.uptime_s()
        seconds = int(time.time()) + _EPOCH
        if self._source == UNSET or seconds < _EARLIEST:
            return 0, (UNSET, 0, uptime_s)
        error_s = self._error_s
        if self._source != HOST:
            error_s += (uptime_s - self._set_at_s) // _DRIFT_S + 1
        return seconds, (self._source, error_s, uptime_s)


def utc(seconds):
    """Unix seconds as (year, month, day, hour, minute, second)."""
    return tuple(time.gmtime(seconds - _EPOCH)[:6])
