"""The node's log: one line on standard output for each thing that happened, with the time and what it means."""

import sys

from clock import utc


class Log:
    """Prints lines; a closed output is no reason to stop."""

    def __init__(self, clock):
        self._clock = clock

    def __call__(self, text):
        seconds, (_, _, uptime_s) = self._clock.now()
        stamp = "%04d-%02d-%02dT%02d:%02d:%02dZ" % utc(seconds) if seconds else "up %d s" % uptime_s
        line = "".join(character if character >= " " else " " for character in text)
        try:
            print(stamp + "  " + line)
            if hasattr(sys.stdout, "flush"):
                sys.stdout.flush()
        except OSError:
            pass
