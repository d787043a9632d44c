"""ESP32 boards with Wi-Fi.  Checked against the type stubs and a double of the chip; not yet run on hardware."""

import os
import struct
import time

import machine
import network as wlan

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

NAME = "esp32: " + os.uname().machine
SLEEP_DRIFT = 20  # the RC oscillator that keeps time in deep sleep: up to half an hour in ten was seen, 5 %
_CAUSES = {
    machine.PWRON_RESET: "power on",
    machine.HARD_RESET: "hard reset",
    machine.WDT_RESET: "watchdog",
    machine.DEEPSLEEP_RESET: "deep sleep",
    machine.SOFT_RESET: "soft reset",
}
_RESET_STATE = {"ESP32": 0x3FF48034, "ESP32S3": 0x60008038, "ESP32C3": 0x60008038}  # RTC_CNTL_RESET_STATE_REG
_POWER_ON = 1
_KEPT = ">IqI"  # magic, the port's milliseconds, milliseconds that the sleep was to last
_MAGIC = 0x4561726D
_dog = Dog(30000)


def urandom(count):
    """From the chip's generator, with the radio on: with it off Espressif calls what it gives pseudo-random only."""
    station = wlan.WLAN(wlan.STA_IF)
    was_on = station.active()
    station.active(True)
    try:
        return os.urandom(count)
    finally:
        station.active(was_on)


def reset_cause():
    """What the chip says of its last reset.

    MicroPython calls a brown-out a power-on; the chip's own register tells them apart, but for a voltage that fell so
    low that the chip began anew.
    """
    cause = machine.reset_cause()
    register = _RESET_STATE.get(NAME.split(" ")[-1])
    if cause == machine.PWRON_RESET and register and machine.mem32[register] & 0x3F != _POWER_ON:
        return "brown-out"
    return _CAUSES.get(cause, "unknown")


async def watchdog(pulse, say):
    """Thirty seconds."""
    await _dog.guard(pulse, say)


def kept():
    """What lies in the RTC's memory after a deep sleep, and for how long it slept by the RTC's own clock."""
    memory = machine.RTC().memory()
    size = struct.calcsize(_KEPT)
    if machine.reset_cause() != machine.DEEPSLEEP_RESET or len(memory) < size:
        return None
    magic, then_ms, planned_ms = struct.unpack(_KEPT, memory[:size])
    slept_ms = time.time_ns() // 1000000 - then_ms
    if magic != _MAGIC or not planned_ms // 2 <= slept_ms <= 2 * planned_ms + 60000:
        return None
    return memory[size:], slept_ms


async def sleep(ms, keep):
    """Deep sleep, from which the board starts anew."""
    now_ms = time.time_ns() // 1000000
    machine.RTC().memory(struct.pack(_KEPT, _MAGIC, now_ms, ms) + keep)
    machine.deepsleep(ms)
