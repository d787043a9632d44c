"""What microcontroller boards with Wi-Fi share.  Checked against the type stubs and doubles; not yet run on hardware.

Files lie on the internal flash's littlefs, where closing a file commits it and its name.  The clock is set by NTP as
soon as the network is there, or by the gateway's acknowledgements; until then statements say that it is unset.
"""

import asyncio
import os

import machine
import network as wlan
import tls as mbedtls

import ntp
import pem
from clock import NTP, UNSET, Clock, utc

ROOT = "/earmark"

_JOIN_S = 20
_AGAIN_S = 10
_NTP_EVERY_S = 21600
_NTP_AGAIN_S = 60


class _Sync:
    """littlefs commits a file and its directory entry together."""

    def file(self, stream):
        """Commit what was written."""
        stream.flush()

    def folder(self, path):
        """Nothing is left to do."""


SYNC = _Sync()
urandom = os.urandom
restart = machine.reset


def lock(path):
    """Nothing else runs here."""


def clock(settings):
    """Unset until NTP or the gateway has answered; what sets it sets the port's own clock as well, which TLS reads."""
    made = Clock(UNSET, 0)
    made.on_set = _set_port
    return made


def _set_port(unix_s):
    year, month, day, hour, minute, second = utc(unix_s)
    machine.RTC().datetime((year, month, day, 0, hour, minute, second, 0))


class Dog:
    """The watchdog: started with the node's loops, and fed from a task of its own.

    It resets the board when nothing runs any more, and when one loop is stuck.  Whatever the network does, does not.
    """

    def __init__(self, timeout_ms):
        self._timeout_ms = timeout_ms
        self._dog = None

    def feed(self):
        """Feed it, if it was started."""
        if self._dog:
            self._dog.feed()

    async def guard(self, pulse, say):
        """Start it and feed it for ever, but while a loop is stuck."""
        if self._dog is None:
            self._dog = machine.WDT(timeout=self._timeout_ms)
        pulse.feed = self.feed
        while True:
            stuck = pulse.stuck()
            if stuck:
                say("the loop '%s' is stuck: the watchdog resets the board" % stuck)
                pulse.feed = lambda: None
                await asyncio.sleep(2 * self._timeout_ms // 1000)
            self.feed()
            await asyncio.sleep(1)


def _station():
    return wlan.WLAN(wlan.STA_IF)


def online():
    """Whether the board is in a Wi-Fi."""
    return _station().isconnected()


def name_server():
    """The DNS server that came with the network's address."""
    server = _station().ifconfig()[3]
    return server if server != "0.0.0.0" else None  # noqa: S104 - it says that there is none


def network_off():
    """Let go of the Wi-Fi and switch the radio off."""
    _station().active(False)


async def network(settings, clock, names, say):
    """Join the Wi-Fi of the settings, set the clock by NTP, and see to both for ever."""
    station = _station()
    due_s = 0
    while True:
        if not station.isconnected():
            await _join(station, settings["wifi"], say)
        if station.isconnected() and clock.uptime_s() >= due_s:
            due_s = clock.uptime_s() + (_NTP_EVERY_S if await _set_clock(settings, clock, names, say) else _NTP_AGAIN_S)
        await asyncio.sleep(_AGAIN_S)


async def _join(station, wifi, say):
    if not wifi:
        say("no Wi-Fi is set up: add wifi to node.json")
        return
    try:
        if not station.active():
            station.active(True)
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


async def _set_clock(settings, clock, names, say):
    """Ask NTP; returns whether it answered."""
    host = settings["ntp_host"]
    try:
        unix_ms, error_ms = await ntp.ask(await names.find(host))
    except (OSError, ValueError) as failure:
        names.doubt(host)
        say("no time from %s: %s" % (host, failure))
        return False
    off_s = clock.set(NTP, error_ms, unix_ms)
    say("the clock is set by %s%s" % (host, "; it was off by %d s, more than was stated" % off_s if off_s else ""))
    return True


def led(named):
    """The light on the pin with this number or name, lit by a high level."""
    if named is None:
        return None
    return machine.Pin(named, machine.Pin.OUT).value


def tls(settings):
    """An SSLContext that checks the broker's certificate against `ca`.

    By the module `tls`: the boards' `ssl` is Python around it, which takes the name of a file where that takes bytes.
    Where the port checks times, one that begins in the future is refused until the clock is set; those that
    `earmark init` makes begin in 1970.
    """
    context = mbedtls.SSLContext(mbedtls.PROTOCOL_TLS_CLIENT)
    context.verify_mode = mbedtls.CERT_REQUIRED  # type: ignore[attr-defined] # the stubs lack it
    with open(settings["ca"], "rb") as stream:
        context.load_verify_locations(pem.der(stream.read()))
    if settings["certificate"]:
        with open(settings["certificate"], "rb") as certificate, open(settings["key"], "rb") as key:
            context.load_cert_chain(certificate.read(), key.read())
    return context
