"""Raspberry Pi Pico W and Pico 2 W.  Checked against the type stubs and a double; not yet run on hardware.

The watchdog cannot wait longer than about 8.3 s, so nothing may hold the loop up for that long.  The flash can be
read by whoever holds the board, and with it the key.
"""

import hashlib
import os

import machine

from board.microcontroller import (
    ROOT,
    SYNC,
    Dog,
    clock,
    led,
    lock,
    name_server,
    network,
    network_off,
    online,
    restart,
    tls,
)
from bus.pins import adc, i2c, onewire, pulses, uart

__all__ = (
    "NAME",
    "ROOT",
    "SLEEP_DRIFT",
    "SYNC",
    "adc",
    "clock",
    "i2c",
    "kept",
    "led",
    "lock",
    "name_server",
    "network",
    "network_off",
    "onewire",
    "online",
    "pulses",
    "reset_cause",
    "restart",
    "sleep",
    "tls",
    "uart",
    "urandom",
    "watchdog",
)

NAME = "rp2: " + os.uname().machine
SLEEP_DRIFT = 20000  # the crystal goes on
_IS_2350 = "RP2350" in NAME
_WATCHDOG_REASON = 0x400D8008 if _IS_2350 else 0x40058008
_CHIP_RESET = 0x4010002C if _IS_2350 else 0x40064008
# (bit, cause) in the chip's registers.  The RP2040 has one bit for power-on and brown-out.
_REASONS = ((0, "watchdog"), (1, "reset by software"))
_RESETS = (
    ((17, "brown-out"), (18, "reset pin"), (16, "power on"))
    if _IS_2350
    else ((16, "reset pin"), (8, "power on or brown-out"))
)
_SLICE_MS = 5000
_dog = Dog(8000)


def urandom(count):
    """Each 32 bytes condensed from 1024 of the port's, which are single bits of an oscillator, and biased."""
    drawn = b""
    while len(drawn) < count:
        drawn += hashlib.sha256(os.urandom(1024)).digest()
    return drawn[:count]


def reset_cause():
    """What the chip's registers say of its last reset; MicroPython knows only power-on and watchdog."""
    for register, causes in ((_WATCHDOG_REASON, _REASONS), (_CHIP_RESET, _RESETS)):
        bits = machine.mem32[register]
        for bit, cause in causes:
            if bits >> bit & 1:
                return cause
    return "unknown"


async def watchdog(pulse, say):
    """Eight seconds."""
    await _dog.guard(pulse, say)


def kept():
    """Stock MicroPython has no deep sleep here that would start the board anew."""


async def sleep(ms, keep):
    """Light sleep in slices that the watchdog bears; memory and the counter of milliseconds stay."""
    while ms > 0:
        machine.lightsleep(min(ms, _SLICE_MS))
        _dog.feed()
        ms -= _SLICE_MS
