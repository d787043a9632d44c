"""A computer with an operating system: Linux, on CPython or on MicroPython's unix port.

The system keeps the clock (source 4, host) and the network.  CPython syncs with os.fsync.  MicroPython has none: its
`flush` of a file is an fsync, and directories are synced through the C library.
"""

import asyncio
import os
import sys

import pem
from bus.linux import adc, i2c, onewire, pulses, uart
from clock import HOST, Clock

__all__ = (
    "NAME",
    "ROOT",
    "SYNC",
    "adc",
    "clock",
    "i2c",
    "lock",
    "network",
    "onewire",
    "pulses",
    "reset_cause",
    "tls",
    "uart",
    "urandom",
    "watchdog",
)

ROOT = "."
SLEEP_DRIFT = 20000
_MICROPYTHON = sys.implementation.name == "micropython"

if _MICROPYTHON:
    import ffi  # type: ignore[import-not-found] # the unix port's

    _libc = ffi.open(None)
    _open = _libc.func("i", "open", "sii")
    _fsync = _libc.func("i", "fsync", "i")
    _close = _libc.func("i", "close", "i")
    _flock = _libc.func("i", "flock", "ii")
    _libc.func("i", "umask", "i")(0o077)  # what a node writes, its key above all, is its owner's alone
    _machine = sys.implementation._machine.split(" ")[0]
else:
    import fcntl  # type: ignore[import-not-found] # CPython's

    os.umask(0o077)
    _machine = sys.platform + " " + os.uname().machine

NAME = "%s, %s %s" % (_machine, sys.implementation.name, ".".join(str(part) for part in sys.implementation.version[:3]))


class _Sync:
    """The system's fsync."""

    def file(self, stream):
        """Put what was written to an open file on the medium."""
        stream.flush()
        if not _MICROPYTHON:
            os.fsync(stream.fileno())

    def folder(self, path):
        """Put a directory's names on the medium."""
        if _MICROPYTHON:
            descriptor = _open(path, 0, 0)
            failed = descriptor < 0 or _fsync(descriptor)
            if descriptor >= 0:
                _close(descriptor)
            if failed:
                raise OSError(5, "cannot sync the directory " + path)
            return
        descriptor = os.open(path, os.O_RDONLY)  # type: ignore[attr-defined] # CPython's
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


SYNC = _Sync()
urandom = os.urandom
restart = None


def reset_cause():
    """A process knows no cause beyond that it was started."""
    return "process start"


def lock(path):
    """Hold the node's directory: two processes with one key would sign two statements with one seq.

    The system lets go of it when the process ends, however it ends.  Raises `OSError` if another process holds it.
    """
    held = open(path + "/lock", "wb")
    if _MICROPYTHON:
        taken = _flock(held.fileno(), 2 | 4) == 0
    else:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken = True
        except OSError:
            taken = False
    if not taken:
        held.close()
        raise OSError(16, "another process runs the node in " + path)
    return held


def clock(settings):
    """The host system's clock with the bound that the settings state."""
    return Clock(HOST, settings["clock_error_s"])


def tls(settings):
    """An SSLContext that checks the broker's certificate against `ca`."""
    module = __import__("tls" if _MICROPYTHON else "ssl")
    context = module.SSLContext(module.PROTOCOL_TLS_CLIENT)
    with open(settings["ca"], "rb") as stream:
        authority = pem.der(stream.read())
    if _MICROPYTHON:
        context.verify_mode = module.CERT_REQUIRED
        context.load_verify_locations(authority)
    else:
        context.load_verify_locations(cadata=authority)
    if settings["certificate"]:
        _load_certificate(context, settings)
    return context


def _load_certificate(context, settings):
    if not _MICROPYTHON:
        context.load_cert_chain(settings["certificate"], settings["key"])
        return
    with open(settings["certificate"], "rb") as certificate, open(settings["key"], "rb") as key:
        context.load_cert_chain(certificate.read(), key.read())


def name_server():
    """The system looks names up."""


def online():
    """The system's own affair."""
    return True


async def network(settings, clock, names, say):
    """The system's own affair."""


def network_off():
    """The system's own affair."""


async def watchdog(pulse, say):
    """End the process when a loop is stuck; what started it starts it again.  The rest is the system's own affair."""
    while True:
        stuck = pulse.stuck()
        if stuck:
            raise RuntimeError("the loop '%s' is stuck" % stuck)
        await asyncio.sleep(1)


def led(named):
    """The light of that name in /sys/class/leds; None where it cannot be switched."""
    path = "/sys/class/leds/%s/brightness" % named
    try:
        with open(path, "w") as stream:
            stream.write("0")
    except OSError:
        return None

    def switch(on):
        with open(path, "w") as stream:
            stream.write("1" if on else "0")

    return switch


def kept():
    """A process that sleeps keeps its memory."""


async def sleep(ms, keep):
    """Wait; the computer is the system's own affair."""
    await asyncio.sleep(ms / 1000)
