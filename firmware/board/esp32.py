"""ESP32 boards with Wi-Fi.  Checked against the type stubs; not yet run on hardware.

Files lie on the internal flash's littlefs, where closing a file commits it and its name.  The clock is set by NTP as
soon as the network is there; until then, and after a reset that lost it, statements say that it is unset.
"""

import asyncio
import os

import machine
from board.wireless import keep_network
from board.wireless import tls as tls
from clock import UNSET, Clock

ROOT = "/earmark"
NAME = "esp32: " + os.uname().machine
_WATCHDOG_MS = 30000
_CAUSES = {
    machine.PWRON_RESET: "power on",
    machine.HARD_RESET: "hard reset",
    machine.WDT_RESET: "watchdog",
    machine.DEEPSLEEP_RESET: "deep sleep",
    machine.SOFT_RESET: "soft reset",
}


class _Sync:
    """littlefs commits a file and its directory entry together."""

    def file(self, stream):
        """Commit what was written."""
        stream.flush()

    def folder(self, path):
        """Nothing is left to do."""


SYNC = _Sync()
urandom = os.urandom


def reset_cause():
    """What the chip says of its last reset."""
    return _CAUSES.get(machine.reset_cause(), "unknown")


def lock(path):
    """Nothing else runs here."""


def clock(settings):
    """Unset until NTP has answered."""
    return Clock(UNSET, 0)


async def network(settings, clock, say):
    """Wi-Fi and NTP, for ever."""
    await keep_network(settings, clock, say)


async def watchdog():
    """Fed by a task of its own: whatever the network does, only a stuck loop resets the board."""
    dog = machine.WDT(timeout=_WATCHDOG_MS)
    while True:
        dog.feed()
        await asyncio.sleep(1)
