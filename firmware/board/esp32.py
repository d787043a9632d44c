"""ESP32 boards with Wi-Fi.  Checked against the type stubs; not yet run on hardware."""

import os

import machine

from board.microcontroller import ROOT, SYNC, clock, feed_watchdog, keep_network, lock, tls, urandom

__all__ = (
    "NAME",
    "ROOT",
    "SYNC",
    "clock",
    "lock",
    "network",
    "reset_cause",
    "tls",
    "urandom",
    "watchdog",
)

NAME = "esp32: " + os.uname().machine
_CAUSES = {
    machine.PWRON_RESET: "power on",
    machine.HARD_RESET: "hard reset",
    machine.WDT_RESET: "watchdog",
    machine.DEEPSLEEP_RESET: "deep sleep",
    machine.SOFT_RESET: "soft reset",
}


def reset_cause():
    """What the chip says of its last reset."""
    return _CAUSES.get(machine.reset_cause(), "unknown")


async def network(settings, clock, say):
    """Wi-Fi and NTP, for ever."""
    await keep_network(settings, clock, say)


async def watchdog():
    """Thirty seconds."""
    await feed_watchdog(30000)
