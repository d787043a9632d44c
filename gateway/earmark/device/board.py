"""A board with MicroPython on a serial port: functions that run on it, files on it, and what it says.

mpremote speaks the raw REPL.  Whatever it and the port raise becomes a `DeviceError` that says what to do.
"""

import contextlib
import io
import json
import struct
import time
from collections.abc import Iterator
from importlib import resources
from typing import Any

import serial
from mpremote.transport import TransportError, TransportExecError
from mpremote.transport_serial import SerialTransport

from earmark.device.ports import can_open, explain
from earmark.errors import DeviceError

ANSWER_S = 30.0
ENTER_S = 5.0
_READ_S = 2.0
_MOST_LINE = 4096
_HELD_S = 4.0
_INTERRUPTS = 3
_FAILURES = (TransportError, serial.SerialException, OSError, struct.error, UnicodeDecodeError)


class Board:
    """A board whose program is interrupted and which runs what `call` sends.  One at a time holds the port."""

    def __init__(self, device: str, transport: SerialTransport) -> None:
        self.device = device
        self._transport = transport
        self._sent: set[str] = set()
        self.is_stopped = False

    def call(self, script: str, function: str, *arguments: Any, timeout_s: float = ANSWER_S) -> Any:
        """Run a function of `onboard/SCRIPT.py` on the board and return what it returns, by way of JSON.

        Arguments are what Python and MicroPython write alike: numbers, texts, bytes, lists, None.  The script is sent
        before its first call; what it keeps stays until the board restarts.  `DeviceError` carries what it raised.
        """
        if script not in self._sent:
            self._run((resources.files("earmark.device") / "onboard" / f"{script}.py").read_text(), timeout_s)
            self._sent.add(script)
        listed = ", ".join(map(repr, arguments))
        said = self._run(f"import json\nprint('\\x02' + json.dumps({function}({listed})) + '\\x03')", timeout_s)
        answer = said.rpartition(b"\x02")[2].partition(b"\x03")[0]
        try:
            return json.loads(answer)
        except ValueError:
            # What came is not shown: it may be part of node.json, which has passwords.
            raise self._failed(f"{len(said):,} bytes came that are no answer to {script}.{function}") from None

    def restart(self) -> None:
        """Start the board anew, as switching it on does; its program runs from the beginning."""
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                self._transport.exec_raw_no_follow("import machine\nmachine.reset()")
        except _FAILURES as error:
            raise self._failed(str(error)) from error
        self._sent.clear()
        self.is_stopped = False

    def lines(self, until_s: float | None = None) -> Iterator[str]:
        """Give the lines that the board says, from now on, for ever or until this moment of the monotonic clock.

        An empty text stands for a second in which it said nothing.
        """
        held = b""
        while until_s is None or time.monotonic() < until_s:
            try:
                held += self._transport.serial.read(max(1, self._transport.serial.in_waiting))
            except _FAILURES as error:
                raise self._failed(str(error)) from error
            *whole, held = held.split(b"\n")
            if len(held) > _MOST_LINE:
                whole, held = [*whole, held], b""
            yield from (line.decode(errors="replace").rstrip("\r") for line in whole)
            if not whole:
                yield ""

    def _run(self, code: str, timeout_s: float) -> bytes:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                said, wrong = self._transport.exec_raw(code, timeout=timeout_s)
        except TransportExecError as error:
            raise self._failed(str(error)) from error
        except _FAILURES as error:
            raise self._failed(str(error)) from error
        if wrong:
            raise OnBoard(self.device, wrong.decode(errors="replace"))
        return bytes(said)

    def _failed(self, why: str) -> DeviceError:
        return DeviceError(
            f"the board on {self.device} stopped answering ({why.strip() or 'nothing came'}): check the cable, and "
            "give the same command again"
        )


class OnBoard(DeviceError):
    """Code on the board raised something; `raised` is the last line of its traceback, such as `OSError: 28`."""

    def __init__(self, device: str, traceback: str) -> None:
        lines = [line.strip() for line in traceback.splitlines() if line.strip()] or ["unknown"]
        super().__init__(f"the board on {device} refused: {lines[-1]}")
        self.raised = lines[-1]


@contextlib.contextmanager
def open_board(device: str, *, interrupt: bool = True) -> Iterator[Board]:
    """Open the board on a port; with `interrupt` its program is stopped, and its memory is as after a start.

    A program that Earmark put there keeps a watchdog, which is fed from here on, so that the board does not restart in
    the middle.  Whatever happens, it is started again at the end, so that no node stays silent because somebody looked.
    Without `interrupt` it only listens.
    """
    transport = _open(device, _READ_S if interrupt else 1.0)
    board = Board(device, transport)
    try:
        if interrupt:
            _interrupt(board, transport)
        yield board
    finally:
        with contextlib.suppress(DeviceError):
            if board.is_stopped:
                board.restart()
        with contextlib.suppress(*_FAILURES):
            transport.close()
        with contextlib.suppress(*_FAILURES):  # where the port is gone mpremote gives up before this
            transport.serial.close()


def _open(device: str, read_s: float) -> SerialTransport:
    """Open the port; one that is held by another program is tried again, since systems look at each new one for a
    moment.
    """
    deadline = time.monotonic() + _HELD_S
    while True:
        try:
            return SerialTransport(device, baudrate=115_200, timeout=read_s)
        except (TransportError, OSError, ValueError) as error:
            if time.monotonic() > deadline or not can_open(device):
                raise explain(device, error if isinstance(error, OSError) else None) from error
            time.sleep(0.1)


def _interrupt(board: Board, transport: SerialTransport) -> None:
    """Stop what runs and enter the raw REPL; a program may catch the first interrupts, and a board may be starting."""
    for _ in range(_INTERRUPTS):
        with contextlib.suppress(*_FAILURES), contextlib.redirect_stdout(io.StringIO()):
            transport.serial.write(b"\r\x03\x03")
            transport.enter_raw_repl(soft_reset=True, timeout_overall=ENTER_S)
            board.is_stopped = True
            board.call("watchdog", "feed")
            return
    raise NoMicroPython(
        f"no MicroPython answers on {board.device}: give --micropython with its image for this board. If it should "
        "have one, press its reset button and try again at once"
    )


class NoMicroPython(DeviceError):
    """Nothing on the port speaks MicroPython's raw REPL: a blank board, or one that runs something else."""
