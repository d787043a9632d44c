"""This process in its machine: the clock, child processes that do not outlive us, the service manager above us."""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import time
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def clock_ms() -> int:
    """Return Unix milliseconds."""
    return time.time_ns() // 1_000_000


def machine_memory() -> int:
    """Return the bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def bound_to_us(command: Sequence[str]) -> list[str]:
    """Return the command so that the kernel ends it (SIGTERM) with the thread that started it, even if we are killed.

    Done by util-linux's `setpriv`; where there is none, the command is returned as it is.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", *command] if setpriv else list(command)


def end_with(parent: int) -> None:
    """Have the kernel end this process (SIGTERM) with its parent, which is the process of this number."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before
        os._exit(1)


def notify(state: str) -> None:
    """Tell systemd how we are, such as `READY=1`: a datagram to NOTIFY_SOCKET, sd_notify(3).

    Nothing happens where there is no such socket, and nobody is waited for.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.setblocking(False)
        manager.sendto(state.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)


class Watchdog:
    """Tells systemd that the work goes on, three times in the interval after which it would end us, sd_notify(3).

    It has no thread of its own, so that it falls silent with whoever calls `beat`.
    """

    def __init__(self) -> None:
        """Take the interval from the environment; where none is set, `beat` does nothing."""
        asked = os.environ.get("WATCHDOG_USEC", "")
        is_ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._every_s = int(asked) / 3e6 if asked.isdecimal() and is_ours else 0.0
        self._next_s = 0.0

    def beat(self) -> None:
        """Say so, where it is time to."""
        now_s = time.monotonic()
        if self._every_s and now_s >= self._next_s:
            self._next_s = now_s + self._every_s
            notify("WATCHDOG=1")
