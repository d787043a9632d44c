"""Runs in MicroPython's unix port and makes it a board: a littlefs of its own, and what a board's ports have more.

Started by tests/board_double.py with the file of the flash and the mode.  In mode `raw` it executes what comes over
stdin, each as a line with its length and the text, and answers as the raw REPL does: output, 4, error, 4.  In mode
`boot` it runs /main.py.  What is faked is what the unix port lacks: platform, reset causes, watchdog, Wi-Fi, NTP.
"""

import os
import sys
import time

import machine as unix_machine
import vfs

BLOCK = 4096
REAL = sys


class Flash:
    """A block device in a file."""

    def __init__(self, path, blocks):
        self.file = open(path, "r+b")  # noqa: SIM115 - for as long as the board lives
        self.blocks = blocks

    def readblocks(self, number, into, offset=0):
        self.file.seek(number * BLOCK + offset)
        self.file.readinto(into)

    def writeblocks(self, number, octets, offset=0):
        self.file.seek(number * BLOCK + offset)
        self.file.write(octets)

    def ioctl(self, what, argument):
        if what == 3:
            self.file.flush()
        if what == 4:
            return self.blocks
        if what == 5:
            return BLOCK
        return 0


class Over:
    """A module with some of its names replaced."""

    def __init__(self, module, **names):
        self._module = module
        for name, value in names.items():
            setattr(self, name, value)

    def __getattr__(self, name):
        return getattr(self._module, name)


class Wdt:
    def __init__(self, number=0, timeout=5000):
        pass

    def feed(self):
        pass


class Timer:
    PERIODIC = 1

    def __init__(self, number=-1):
        pass

    def init(self, **settings):
        pass


class Pin:
    OUT, IN, PULL_UP = 1, 0, 2

    def __init__(self, name, *settings, **more):
        self.name = name

    def value(self, level=None):
        return 1

    on = off = __call__ = value


class Rtc:
    """A clock that nobody reads, and memory that a deep sleep leaves."""

    kept = b""

    def datetime(self, when=None):
        return when

    def memory(self, octets=None):
        if octets is not None:
            Rtc.kept = bytes(octets)
        return Rtc.kept


class Bus:
    """An I2C bus on which nothing answers."""

    def __init__(self, *pins, **settings):
        pass

    def scan(self):
        return []

    def writeto(self, *_):
        raise OSError(19)

    readfrom = readfrom_into = readfrom_mem = writeto_mem = writeto


class Station:
    """A Wi-Fi that lets everybody in who knows the word."""

    joined = False

    def __init__(self, kind):
        pass

    def active(self, on=None):
        return True

    def scan(self):
        return [(b"farm", b"", 1, -50, 3, 0)]

    def isconnected(self):
        return Station.joined

    def connect(self, ssid, password):
        Station.joined = ssid == "farm" and password == "correct horse"

    def disconnect(self):
        Station.joined = False

    def ifconfig(self, *more):
        return ("127.0.0.1", "255.0.0.0", "127.0.0.1", "127.0.0.1")

    def config(self, *names, **settings):
        return None

    def status(self, *what):
        return 1010 if Station.joined else 202


class Reset(BaseException):
    """The board starts anew."""


def reset(*_):
    raise Reset


def install_fakes():
    uname = ("double", "double", "1.25.0", "", "Double of an ESP32 in MicroPython's unix port")
    modules = sys.modules
    machine = Over(
        unix_machine, WDT=Wdt, Timer=Timer, Pin=Pin, RTC=Rtc, I2C=Bus, SoftI2C=Bus, reset=reset, PWRON_RESET=1,
        HARD_RESET=2, WDT_RESET=3, DEEPSLEEP_RESET=4, SOFT_RESET=5, reset_cause=lambda: 1, unique_id=lambda: b"double",
    )  # fmt: skip

    class Uname(tuple):
        machine = uname[4]

    modules["machine"] = machine
    modules["network"] = Over(vfs, WLAN=Station, STA_IF=0, AP_IF=1)
    modules["ntptime"] = Over(vfs, settime=lambda: None, time=time.time, host="", timeout=1)
    modules["os"] = Over(os, uname=lambda: Uname(uname))
    modules["sys"] = Over(sys, platform="esp32")


def raw():
    names = {"__name__": "__main__"}
    while True:
        try:
            line = REAL.stdin.buffer.readline()
        except KeyboardInterrupt:  # meant for a command that had just ended
            continue
        if not line:
            return 0
        text = REAL.stdin.buffer.read(int(line))
        error = b""
        try:
            exec(compile(text.decode(), "<stdin>", "exec"), names)  # noqa: S102
        except Reset:
            return 77
        except BaseException as failure:  # noqa: BLE001 - a board prints them all
            import io

            told = io.StringIO()
            REAL.print_exception(failure, told)
            error = told.getvalue().encode()
        REAL.stdout.buffer.write(b"\x04" + error + b"\x04")
        REAL.stdout.flush() if hasattr(REAL.stdout, "flush") else None


def boot():
    try:
        with open("/main.py") as file:
            text = file.read()
    except OSError:
        return 0
    try:
        exec(compile(text, "/main.py", "exec"), {"__name__": "__main__"})  # noqa: S102
    except Reset:
        return 77
    except SystemExit:
        return 0
    except BaseException as failure:  # noqa: BLE001 - a board prints them all
        REAL.print_exception(failure)
    return 0


def main():
    path, blocks, mode = REAL.argv[1], int(REAL.argv[2]), REAL.argv[3]
    flash = Flash(path, blocks)
    try:
        disk = vfs.VfsLfs2(flash)
    except OSError:
        vfs.VfsLfs2.mkfs(flash)
        disk = vfs.VfsLfs2(flash)
    install_fakes()
    vfs.umount("/")
    vfs.mount(disk, "/")
    os.chdir("/")
    sys.path[:] = ["", ".frozen", "/lib"]
    return raw() if mode == "raw" else boot()


REAL.exit(main())
