"""A double of a board: a serial port that speaks MicroPython's raw REPL, and the real interpreter behind it.

The interpreter is MicroPython's unix port, started by board_runner.py with a littlefs in a file, which stays when the
board is unplugged.  The REPL's own bytes (raw and raw-paste mode, soft reset) are of this file, as MicroPython's
"The MicroPython Interactive Interpreter Mode" documents them.  `unplug` takes the power away at a chosen moment.
"""

import contextlib
import os
import pty
import select
import signal
import subprocess
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path

RUNNER = Path(__file__).resolve().parent / "board_runner.py"
BANNER = b"raw REPL; CTRL-B to exit\r\n>"
PROMPT = b"\r\nMicroPython v1.25.0 on a double; ESP32\r\n>>> "
WINDOW = 128
RESET = 77
BLOCK = 4096


class BoardDouble:
    """A board that is plugged in between `plug` and `unplug`; its flash is a file.

    `unplug_at` (n, phase) takes the power away before or after the n-th command is executed: what it wrote is in flash
    then, and its answer never comes.  `commands` counts them since it was plugged in, `starts` how often its program
    was started.  `baud_rate` slows the line down.
    """

    def __init__(self, interpreter: list[str], flash: Path, kib: int = 2048, baud_rate: int = 0) -> None:
        self._interpreter, self._flash, self._kib = interpreter, flash, kib
        self._baud_rate = baud_rate
        self.unplug_at: tuple[int, str] | None = None
        self.commands = self.starts = 0
        self.port = ""
        self.image: Path | None = None
        if not flash.exists():
            with flash.open("wb") as file:
                file.truncate(kib * 1024)
        self._thread: threading.Thread | None = None

    @property
    def has_micropython(self) -> bool:
        """Whether it has been flashed: from the start, or once the file `image` is there, by a double of esptool."""
        return self.image is None or self.image.exists()

    def plug(self) -> str:
        """Give it power; returns its port."""
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self.commands = 0
        self._wake, self._waker = os.pipe()
        self._thread = threading.Thread(target=self._live, name="board double")
        self._thread.start()
        return self.port

    def unplug(self) -> None:
        """Take its power and its port away; returns once it is dead."""
        if self._thread is not None:
            os.write(self._waker, b"x")
            self._thread.join(30)
            assert not self._thread.is_alive()
            os.close(self._waker)
            os.close(self._wake)
            self._thread = None

    def __enter__(self) -> "BoardDouble":
        self.plug()
        return self

    def __exit__(self, *_: object) -> None:
        self.unplug()

    def _live(self) -> None:
        with contextlib.suppress(_PowerCut):
            while True:
                status = self._run_program() if self.has_micropython else RESET + 1
                while status != RESET:
                    status = self._repl()
        os.close(self._master)
        os.close(self._slave)

    def _start(self, mode: str) -> subprocess.Popen[bytes]:
        command = [*self._interpreter, str(RUNNER), str(self._flash), str(self._kib * 1024 // BLOCK), mode]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        )

    def _run_program(self) -> int:
        """Run /main.py to its end; Ctrl-C interrupts it."""
        self.starts += 1
        with self._process("boot") as process:
            while True:
                source = self._wait(process)
                if source == "program":
                    octets = os.read(process.stdout.fileno(), 4096)
                    if not octets:
                        return process.wait()
                    self._say(octets.replace(b"\n", b"\r\n"))
                else:  # what comes after an interrupt waits for the REPL
                    heard = self._heard + self._receive()
                    _, interrupt, self._heard = heard.rpartition(b"\x03")
                    if interrupt:
                        process.send_signal(signal.SIGINT)

    def _repl(self) -> int:
        """The friendly REPL, which only knows how to become raw."""
        self._say(PROMPT)
        while True:
            heard = self._hear()
            if b"\x01" in heard and self.has_micropython:
                self._heard = heard.partition(b"\x01")[2]
                status = self._raw()
                if status is not None:
                    return status

    def _raw(self) -> int | None:
        """The raw REPL until Ctrl-B (None) or a reset of the board."""
        self._say(BANNER)
        while True:
            with self._process("raw") as process:
                ended = self._commands(process)
            if ended != "soft reset":
                return RESET if ended == "reset" else None
            self._say(b"OK\r\nMPY: soft reboot\r\n" + BANNER)

    def _commands(self, process: subprocess.Popen[bytes]) -> str:
        held = bytearray()
        while True:
            byte = self._byte()
            if byte == b"\x01":
                held.clear()
                self._say(BANNER)
            elif byte == b"\x02":
                return "friendly"
            elif byte == b"\x03":
                held.clear()
            elif byte == b"\x05" and not held:
                assert self._byte() + self._byte() == b"A\x01"
                if self._execute(process, self._paste()):
                    return "reset"
            elif byte == b"\x04":
                if not held:
                    return "soft reset"
                self._say(b"OK")
                if self._execute(process, bytes(held)):
                    return "reset"
                held.clear()
            else:
                held += byte

    def _paste(self) -> bytes:
        """Raw-paste mode: the text comes in windows, and each is granted when it is used up."""
        self._say(b"R\x01" + WINDOW.to_bytes(2, "little") + b"\x01")
        held, left = bytearray(), 2 * WINDOW
        while True:
            byte = self._byte()
            if byte == b"\x04":
                self._say(b"\x04")
                return bytes(held)
            held += byte
            left -= 1
            if left == WINDOW:
                self._say(b"\x01")
                left += WINDOW

    def _execute(self, process: subprocess.Popen[bytes], text: bytes) -> bool:
        """Execute a command; returns whether it restarted the board."""
        self.commands += 1
        self._cut("before")
        process.stdin.write(b"%d\n" % len(text) + text)
        answer, ends = b"", 0
        while ends < 2:
            if self._wait(process) == "port":
                if b"\x03" in self._hear():
                    process.send_signal(signal.SIGINT)
                continue
            octets = os.read(process.stdout.fileno(), 4096)
            if not octets:
                process.wait()  # machine.reset(), or a crash, after which a board starts anew as well
                return True
            ends += octets.count(b"\x04")
            answer += octets
        self._cut("after")
        self._say(answer.replace(b"\n", b"\r\n") + b">")
        return False

    def _cut(self, phase: str) -> None:
        if self.unplug_at == (self.commands, phase):
            raise _PowerCut

    @contextlib.contextmanager
    def _process(self, mode: str) -> Iterator[subprocess.Popen[bytes]]:
        process = self._start(mode)
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()

    def _wait(self, process: subprocess.Popen[bytes]) -> str:
        ready = select.select([self._wake, process.stdout, self._master], [], [])[0]
        if self._wake in ready:
            raise _PowerCut
        return "program" if process.stdout in ready else "port"

    _heard = b""

    def _hear(self) -> bytes:
        if self._heard:
            heard, self._heard = self._heard, b""
            return heard
        return self._receive()

    def _receive(self) -> bytes:
        ready = select.select([self._wake, self._master], [], [])[0]
        if self._wake in ready:
            raise _PowerCut
        octets = os.read(self._master, 4096)
        self._pace(octets)
        return octets

    def _byte(self) -> bytes:
        if not self._heard:
            self._heard = self._hear()
        byte, self._heard = self._heard[:1], self._heard[1:]
        return byte

    def _say(self, octets: bytes) -> None:
        self._pace(octets)
        while octets:
            ready = select.select([self._wake], [self._master], [], 0)
            if self._wake in ready[0]:
                raise _PowerCut
            if not ready[1]:  # nobody listens, and the line is full
                return
            octets = octets[os.write(self._master, octets) :]

    def _pace(self, octets: bytes) -> None:
        if self._baud_rate:
            time.sleep(len(octets) * 10 / self._baud_rate)


class _PowerCut(Exception):
    pass
