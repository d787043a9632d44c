"""What microcontroller boards with Wi-Fi share.  Checked against the type stubs; not yet run on hardware.

Files lie on the internal flash's littlefs, where closing a file commits it and its name.  The clock is set by NTP as
soon as the network is there; until then statements say that it is unset.
"""

import asyncio
import os
import ssl

import machine
import network
import ntptime

import pem
from clock import NTP, UNSET, Clock

ROOT = "/earmark"

_JOIN_S = 20
_AGAIN_S = 10
_NTP_EVERY_S = 21600
_NTP_ERROR_S = 1


class _Sync:
    """littlefs commits a file and its directory entry together."""

    def file(self, stream):
        """Commit what was written."""
        stream.flush()

    def folder(self, path):
        """Nothing is left to do."""


SYNC = _Sync()
urandom = os.urandom


def lock(path):
    """Nothing else runs here."""


def clock(settings):
    """Unset until NTP has answered."""
    return Clock(UNSET, 0)


async def feed_watchdog(timeout_ms):
    """Feed the watchdog from a task of its own: whatever the network does, only a stuck loop resets the board."""
    dog = machine.WDT(timeout=timeout_ms)
    while True:
        dog.feed()
        await asyncio.sleep(1)


async def keep_network(settings, clock, say):
    """Join the Wi-Fi of the settings, set the clock by NTP, and see to both for ever."""
    station = network.WLAN(network.STA_IF)
    station.active(True)
    due_s = 0
    while True:
        if not station.isconnected():
            await _join(station, settings["wifi"], say)
        elif clock.uptime_s() >= due_s:
            due_s = clock.uptime_s() + (_NTP_EVERY_S if _set_clock(settings, clock, say) else 60)
        await asyncio.sleep(_AGAIN_S)


async def _join(station, wifi, say):
    if not wifi:
        say("no Wi-Fi is set up: add wifi to node.json")
        return
    try:
        station.disconnect()
        station.connect(wifi["ssid"], wifi["password"])
    except OSError as failure:
        say("Wi-Fi %s refuses: %s" % (wifi["ssid"], failure))
        return
    for _ in range(_JOIN_S):
        if station.isconnected():
            say("joined Wi-Fi %s as %s" % (wifi["ssid"], station.ifconfig()[0]))
            return
        await asyncio.sleep(1)
    say("Wi-Fi %s does not answer (status %d)" % (wifi["ssid"], station.status()))


def _set_clock(settings, clock, say):
    """Ask NTP, which holds up the loop for a second at most; returns whether it answered."""
    ntptime.host = settings["ntp_host"]
    ntptime.timeout = 1
    try:
        ntptime.settime()
    except (OSError, OverflowError) as failure:
        say("no time from %s: %s" % (ntptime.host, failure))
        return False
    clock.set(NTP, _NTP_ERROR_S)
    say("the clock is set by %s" % ntptime.host)
    return True


def tls(settings):
    """An SSLContext that checks the broker's certificate against `ca`.

    Where the port checks times, one that begins in the future is refused until the clock is set; those that
    `earmark init` makes begin in 1970.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_mode = ssl.CERT_REQUIRED  # type: ignore[attr-defined] # the stubs lack it
    with open(settings["ca"], "rb") as stream:
        context.load_verify_locations(pem.der(stream.read()))
    if settings["certificate"]:
        with open(settings["certificate"], "rb") as certificate, open(settings["key"], "rb") as key:
            context.load_cert_chain(certificate.read(), key.read())
    return context
