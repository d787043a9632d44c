"""Time as a node knows it: Unix seconds with their source and error bound, and uptime (protocol.md §3, clock)."""

import time

UNSET, KEPT, NTP, GATEWAY, HOST = range(5)
_EARLIEST = 1735689600  # 2025-01-01: a clock that says less was never set
_DRIFT = 20000  # a clock that nobody sets goes wrong by one part in so many (50 ppm) while it is awake
_YEARS_28_S = 883612800
_FLOOR_MS = 1000  # a statement says whole seconds
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

    With source HOST the system's clock is read, something else keeps it right, and the bound stays.  With any other
    it runs on the board's counter of milliseconds from the moment when it was `set`, so that neither the port's epoch
    nor whoever else sets the port's clock matters, and the bound grows by 50 ppm.
    """

    def __init__(self, source=UNSET, error_s=0):
        self._uptime_ms = 0
        self._ticks = ticks_ms()
        self._source = source
        self._error_ms = error_s * 1000
        self._unix_ms = self._set_at_ms = 0
        self._host_ahead = None
        self.on_set = lambda unix_s: None

    def set(self, source, error_ms, unix_ms):
        """It is `unix_ms` now, to within `error_ms`.  Returns how far off it was beyond the bounds of both, in whole
        seconds, positive where it was ahead; 0 where they agree or it was unset."""
        before_ms, bound_ms = self._now_ms()
        off_ms = before_ms - unix_ms if before_ms else 0
        self._source = source
        self._error_ms = error_ms
        self._unix_ms = unix_ms
        self._set_at_ms = self.uptime_ms()
        self.on_set(unix_ms // 1000)
        return off_ms // 1000 if abs(off_ms) > bound_ms + error_ms + _FLOOR_MS else 0

    def wants(self, error_ms):
        """Whether a time with this bound is better than what is known."""
        if self._source == HOST:
            return False
        unix_ms, bound_ms = self._now_ms()
        return not unix_ms or error_ms < bound_ms

    def kept(self):
        """[Unix ms or 0, bound in ms, uptime in ms], for `wake` after a sleep that takes the counter away."""
        unix_ms, bound_ms = self._now_ms()
        return [unix_ms, bound_ms, self.uptime_ms()]

    def wake(self, kept, slept_ms, drift):
        """Go on from what was `kept` before a sleep of `slept_ms`, measured with an error of one part in `drift`."""
        unix_ms, bound_ms, uptime_ms = kept
        self._uptime_ms = uptime_ms + slept_ms
        self._ticks = ticks_ms()
        if unix_ms and self._source != HOST:
            self.set(KEPT, bound_ms + slept_ms // drift + 1, unix_ms + slept_ms)

    def uptime_ms(self):
        """Milliseconds since the boot, sleeps included; to be asked more often than the ticks wrap round."""
        now = ticks_ms()
        self._uptime_ms += elapsed_ms(self._ticks)
        self._ticks = now
        return self._uptime_ms

    def uptime_s(self):
        """Seconds since the boot."""
        return self.uptime_ms() // 1000

    def now(self):
        """(Unix seconds, (source, error_s, uptime_s)); seconds, source and error are 0 where the clock is unset."""
        uptime_s = self.uptime_s()
        if self._source == HOST:
            seconds = int(time.time()) + _EPOCH
            quality = (HOST, self._error_ms // 1000, uptime_s)
            return (seconds, quality) if seconds >= _EARLIEST else (0, (UNSET, 0, uptime_s))
        unix_ms, bound_ms = self._now_ms()
        if not unix_ms:
            return 0, (UNSET, 0, uptime_s)
        return unix_ms // 1000, (self._source, (bound_ms + _FLOOR_MS + 999) // 1000, uptime_s)

    def host_step_s(self):
        """By how many seconds somebody set the host's clock since the last call; 0 for any other clock."""
        if self._source != HOST:
            return 0
        ahead, before = int(time.time()) - self.uptime_s(), self._host_ahead
        self._host_ahead = ahead
        return ahead - before if before is not None and abs(ahead - before) > 2 else 0

    def _now_ms(self):
        """(Unix ms, bound in ms), (0, 0) where the clock is unset or another keeps it."""
        passed_ms = self.uptime_ms() - self._set_at_ms
        unix_ms = self._unix_ms + passed_ms
        if self._source in (UNSET, HOST) or unix_ms < _EARLIEST * 1000:
            return 0, 0
        return unix_ms, self._error_ms + passed_ms // _DRIFT


def utc(seconds):
    """Unix seconds as (year, month, day, hour, minute, second), right up to 2099."""
    years = 0
    while seconds - _EPOCH >= 1 << 31:  # more than a board's `gmtime` takes; the calendar repeats every 28 years
        seconds -= _YEARS_28_S
        years += 28
    year, month, day, hour, minute, second = time.gmtime(seconds - _EPOCH)[:6]
    return year + years, month, day, hour, minute, second
