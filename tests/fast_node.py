"""The node's firmware on a fast clock, as an ESP32 whose chip is a double: `fast_node.py CONTROL --dir NODE`.

CONTROL is a JSON file that the soak (tests/node_soak.py) writes: `speed`, how many seconds pass in one; `began_ms`, the
real Unix time at which its time began; `unix_s`, that time; the ports of `dns` and `ntp`; `wifi`, whether there is one;
`port_s`, what the port's own clock is off by.  Real is all of firmware/, the interpreter, its sockets and its asyncio;
the board's code runs over the doubles of firmware/chip.py, and a deep sleep ends the program with status 42.
"""

import json
import os
import sys

ROOT = __file__.rsplit("/", 2)[0]
sys.path[:0] = [ROOT + "/firmware", ROOT + "/tests/firmware"]

import asyncio  # noqa: E402
import time  # noqa: E402

import chip  # noqa: E402

import clock  # noqa: E402

SLEPT = 42
CONTROL = sys.argv[1]
LIVE_S = 0.3  # real seconds after which the control file is read again

with open(CONTROL) as stream:
    control = json.load(stream)
SPEED = control["speed"]
_real_ticks, _real_diff = clock.ticks_ms, clock.elapsed_ms


def _unix_ns():
    """Real Unix time; its epoch is 1970 on the unix port and on CPython."""
    return time.time_ns()


def soak_ms():
    """Unix milliseconds of the soak."""
    return control["unix_s"] * 1000 + (_unix_ns() // 1000000 - control["began_ms"]) * SPEED


_started = _real_ticks()


def _ticks():
    return _real_diff(_started) * SPEED


clock.ticks_ms = _ticks
clock.elapsed_ms = lambda since: _ticks() - since
_sleep, _wait_for = asyncio.sleep, asyncio.wait_for
asyncio.sleep = lambda seconds: _sleep(seconds / SPEED)
asyncio.wait_for = lambda work, seconds: _wait_for(work, None if seconds is None else seconds / SPEED)

import dial  # noqa: E402
import link  # noqa: E402
import names  # noqa: E402
import ntp  # noqa: E402
import pulse  # noqa: E402
import udp  # noqa: E402

# What waits for the loopback of this machine waits by its time.
udp._POLL_MS, udp.WAIT_MS, udp.TRIES = 5 * SPEED, 400 * SPEED, 1
dial._POLL_MS = 2 * SPEED
link._POLL_MS, link._LEAVE_MS, link._AGAIN_MS = 5 * SPEED, 1000 * SPEED, 50 * SPEED
pulse.BOUND_S = 6 * SPEED
_dial, _ask, _names = dial.dial, ntp.ask, names.Names


async def _dial_if_online(host, port, tls=None, server_name=None):
    if not board.online():
        raise OSError(118, "no route to the host")
    return await _dial(host, port, tls, server_name)


async def _ask_port(address):
    return await _ask(address, control["ntp"])


link.dial = _dial_if_online
ntp.ask = _ask_port
names.Names = lambda server: _names(server, control["dns"])

board, machine, station = chip.board("esp32", "Generic ESP32 module with ESP32")


class Port:
    """The module `time` as the board has it: an epoch and a step of its own."""

    def time_ns(self):
        return (soak_ms() - 946684800000 + control["port_s"] * 1000) * 1000000


board.time = Port()


class Slept(BaseException):
    """Nothing runs after this."""


def _deepsleep(ms):
    with open(_place + "/rtc.new", "wb") as stream:
        stream.write(chip.Rtc.kept)
    os.rename(_place + "/rtc.new", _place + "/rtc")
    with open(_place + "/wakes_at", "w") as stream:
        stream.write("%d" % (_unix_ns() // 1000000 + ms // SPEED))
    raise Slept


def _look():
    """What the control file says now."""
    try:
        with open(CONTROL) as stream:
            control.update(json.load(stream))
    except (OSError, ValueError):
        return  # it is being written
    station.there = control["wifi"]


_keep_network = board.network


async def _network(*given):
    task = asyncio.create_task(_keep_network(*given))
    try:
        while True:
            _look()
            await _sleep(LIVE_S)
    finally:
        task.cancel()


_place = sys.argv[sys.argv.index("--dir") + 1]
machine.deepsleep = _deepsleep
machine.cause = machine.DEEPSLEEP_RESET if "--woken" in sys.argv else machine.PWRON_RESET
machine.mem32[0x3FF48034] = 1
board.network = _network
_look()
if "--woken" in sys.argv:
    sys.argv.remove("--woken")
    with open(_place + "/rtc", "rb") as stream:
        chip.Rtc.kept = stream.read()

import board as boards  # noqa: E402
import main  # noqa: E402

boards.current = lambda: board
board.restart = None
microcontroller = sys.modules["board.microcontroller"]
microcontroller._NTP_EVERY_S = 3600
try:
    status = main.main(sys.argv[2:])
except Slept:
    status = SLEPT
sys.exit(status)
