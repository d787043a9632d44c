"""Whether the node's loops live: what feeds the watchdog asks this first.

A loop that waits for the network wakes up now and then to `beat` all the same, so trouble there is no reason for a
reset, and a loop that hangs is one.
"""

from clock import elapsed_ms, ticks_ms

BOUND_S = 120
LOOK_S = 5  # a loop that waits for something looks up so often


class Pulse:
    """The loops that said that they run, each by its name, and when they were last heard."""

    def __init__(self, bound_s=None):
        self._bound_ms = (bound_s or BOUND_S) * 1000
        self._beats = {}
        self.feed = lambda: None

    def beat(self, name):
        """This loop makes progress."""
        self._beats[name] = ticks_ms()

    def rest(self, name):
        """This loop ended, or sleeps: it is not watched until it beats again."""
        self._beats.pop(name, None)

    def stuck(self):
        """The name of a loop that was not heard for longer than the bound, or None."""
        for name, at in self._beats.items():
            if elapsed_ms(at) > self._bound_ms:
                return name
        return None
