"""Raspberry Pi Pico W and Pico 2 W.  Checked against the type stubs; not yet run on hardware.

The watchdog cannot wait longer than about 8.3 s, so nothing may hold the loop up for that long.  The flash can be
read by whoever holds the board, and with it the key.
"""

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

NAME = "rp2: " + os.uname().machine
_CAUSES = {machine.PWRON_RESET: "power on", machine.WDT_RESET: "watchdog or soft reset"}


def reset_cause():
    """What the chip says of its last reset."""
    return _CAUSES.get(machine.reset_cause(), "unknown")


async def network(settings, clock, say):
    """Wi-Fi and NTP, for ever."""
    await keep_network(settings, clock, say)


async def watchdog():
    """Eight seconds."""
    await feed_watchdog(8000)
