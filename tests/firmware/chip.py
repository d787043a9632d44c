"""Doubles of the modules that only boards have, `machine` and `network`, as far as firmware/board uses them.

No chip: registers are a dictionary, Wi-Fi is a flag, and a deep sleep ends the program.
"""

import sys


class Slept(Exception):
    """The chip went to deep sleep."""


class Pin:
    """A pin that remembers its level."""

    OUT = 1
    IN = 0

    def __init__(self, named, mode=None):
        self.named = named
        self.levels = []

    def value(self, level):
        self.levels.append(level)


class Rtc:
    """The RTC's memory and what the clock was set to."""

    kept = b""
    set_to = ()

    def memory(self, content=None):
        if content is None:
            return Rtc.kept
        Rtc.kept = bytes(content)
        return None

    def datetime(self, stamp):
        Rtc.set_to.append(stamp)


class Dog:
    """A watchdog that counts how often it is fed."""

    made = ()

    def __init__(self, timeout):
        self.timeout = timeout
        self.fed = 0
        Dog.made.append(self)

    def feed(self):
        self.fed += 1


class Machine:
    """The module `machine`."""

    PWRON_RESET, HARD_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = 1, 2, 3, 4, 5
    RTC = Rtc
    WDT = Dog
    Pin = Pin

    def __init__(self):
        self.cause = self.PWRON_RESET
        self.mem32 = {}
        self.sleeps = []

    def reset_cause(self):
        return self.cause

    def reset(self):
        self.resets = getattr(self, "resets", 0) + 1

    def deepsleep(self, ms):
        raise Slept(ms)

    def lightsleep(self, ms):
        self.sleeps.append(ms)


class Station:
    """A Wi-Fi that is there or not, and lets a station in on its next look."""

    def __init__(self):
        self.there = True
        self.joined = False
        self.on = False
        self.server = "127.0.0.1"
        self.asked = []

    def active(self, on=None):
        if on is not None:
            self.on = on
            self.joined = self.joined and on
        return self.on

    def isconnected(self):
        return self.joined and self.there

    def connect(self, ssid, password):
        self.asked.append((ssid, password))
        self.joined = self.there

    def disconnect(self):
        self.joined = False

    def status(self):
        return 201

    def ifconfig(self):
        return ("127.0.0.1", "255.0.0.0", "127.0.0.1", self.server)


class Network:
    """The module `network`."""

    STA_IF = 0

    def __init__(self):
        self.station = Station()

    def WLAN(self, interface):  # noqa: N802 - MicroPython's name
        return self.station


class Tls:
    """The module `tls`, which takes certificates as bytes; CPython has none."""

    PROTOCOL_TLS_CLIENT, CERT_NONE, CERT_REQUIRED = 0, 0, 2

    class SSLContext:
        """A context that remembers what it was given."""

        def __init__(self, protocol):
            self.protocol = protocol
            self.verify_mode = Tls.CERT_NONE
            self.chain = None

        def load_verify_locations(self, authority):
            self.authority = bytes(authority)

        def load_cert_chain(self, certificate, key):
            self.chain = certificate, key


def board(name, uname):
    """(board module, machine, station): firmware/board/NAME.py over new doubles; `uname` is what the port says."""
    import os

    machine, network = Machine(), Network()
    sys.modules["machine"], sys.modules["network"] = machine, network
    for loaded in ("board.esp32", "board.rp2", "board.microcontroller"):
        sys.modules.pop(loaded, None)
    try:
        __import__("tls")
    except ImportError:
        sys.modules["tls"] = Tls
    Rtc.kept, Rtc.set_to, Dog.made = b"", [], []
    sys.modules["os"] = _Os(os, uname)
    try:
        package = __import__("board." + name)
    finally:
        sys.modules["os"] = os
    return getattr(package, name), machine, network.station


class _Os:
    """The module `os` with another `uname`."""

    def __init__(self, real, machine):
        self._real = real
        self.machine = machine

    def uname(self):
        return self

    def __getattr__(self, name):
        return getattr(self._real, name)
