"""Nodes on this machine: the real firmware, each in a process of its own, under MicroPython where there is one."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from earmark.cose import key_of
from earmark.errors import ConfigError
from earmark.process import bound_to_us

OLDEST = (1, 24)
COLUMNS_A_NODE = 8

# Columns of the recordings that we know, with the SenML unit where RFC 8428 or RFC 8798 has one.
UNITS = {
    "Tair": "Cel",
    "Rhair": "%RH",
    "CO2air": "ppm",
    "VentLee": "/100",
    "VentWind": "/100",
    "EnScr": "/100",
    "BlckScr": "/100",
    "Tpipe": "Cel",
    "Tair_sigrow": "Cel",
    "Rhair_sigrow": "%RH",
    "Netrad_ridder": "W/m2",
    "Tleaf_ridder": "Cel",
}
TIME_FORMATS = {"mdy": "%m/%d/%Y %H:%M", "iso": "%Y-%m-%d %H:%M"}
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9\-:./_]")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """What runs a node: a name for people, and the program."""

    name: str
    program: str


def find_interpreters() -> list[Interpreter]:
    """Return the MicroPythons (1.24 or newer) on PATH and beside the sources; where there is none, this CPython."""
    beside = firmware_folder().parent / ".cache" / "micropython"
    candidates = [shutil.which("micropython"), *map(str, sorted(beside.glob("*/micropython"), reverse=True))]
    found = [interpreter for program in candidates if program and (interpreter := _micropython(program))]
    return found or [Interpreter(f"CPython {sys.version.split()[0]}", sys.executable)]


def _micropython(program: str) -> Interpreter | None:
    question = "import sys; v = sys.implementation; print(v.name, v.version[0], v.version[1], sys.maxsize > 1 << 40)"
    try:
        run = subprocess.run([program, "-c", question], capture_output=True, text=True, timeout=20, check=True)
        name, major, minor, is_wide = run.stdout.split()
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    if name != "micropython" or (int(major), int(minor)) < OLDEST:
        return None
    return Interpreter(f"MicroPython {major}.{minor}, {64 if is_wide == 'True' else 32}-bit", program)


def firmware_folder() -> Path:
    """Return the folder of the node firmware: of this checkout, or the one that the package carries."""
    package = Path(__file__).resolve().parent
    for folder in (package / "_firmware", package.parents[1] / "firmware"):
        if (folder / "main.py").is_file():
            return folder
    raise ConfigError("the node firmware is not beside this installation: reinstall earmark")


class NodeProcess:
    """One node in `folder`: its settings, its key, its outbox, and its process while it runs."""

    def __init__(self, folder: Path, interpreter: Interpreter) -> None:
        self.folder = folder
        self.name = folder.name
        self.interpreter = interpreter
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, settings: dict[str, Any]) -> None:
        """Write node.json; it holds the broker's password, so only its owner reads it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / "node.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(settings, indent=1))

    def key(self) -> bytes:
        """Return the node's public key, which the node makes at its first call."""
        command = [*self._command(), "--identity"]
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            raise ConfigError(f"the node {self.name} did not give its key: {error}") from error
        return key_of(run.stdout.strip())

    def start(self) -> None:
        """Start the node; what it says goes to node.log in its folder."""
        with (self.folder / "node.log").open("ab") as log:
            command = bound_to_us(self._command())
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def poll(self) -> int | None:
        """Return the exit status, None while it runs."""
        return self._process.poll() if self._process else None

    def kill(self) -> None:
        """End the process as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask the process to end, and wait for it."""
        self._end(signal.SIGTERM)

    def last_words(self) -> str:
        """Return the last line that the node said."""
        lines = (self.folder / "node.log").read_text(errors="replace").splitlines()
        return lines[-1] if lines else ""

    def _end(self, how: int) -> None:
        if self._process and self._process.poll() is None:
            os.kill(self._process.pid, how)
            self._process.wait()

    def _command(self) -> list[str]:
        return [self.interpreter.program, str(firmware_folder() / "main.py"), "--dir", str(self.folder)]


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded CSV: the first column is the time, every other one a quantity."""

    path: Path
    time_column: str
    time_format: str
    columns: tuple[str, ...]

    def sensors(self, days: int) -> Iterator[dict[str, Any]]:
        """Give one replaying sensor's settings for every eight columns."""
        for at in range(0, len(self.columns), COLUMNS_A_NODE):
            part = self.columns[at : at + COLUMNS_A_NODE]
            yield {
                "driver": "replay",
                "file": str(self.path.resolve()),
                "time_column": self.time_column,
                "time_format": self.time_format,
                "days": days,
                "columns": {column: _mapped(column) for column in part},
            }

    def readings(self, days: int) -> Iterator[tuple[str, str, int]]:
        """Give (name, text of the value, Unix seconds) of every cell that is not blank, of the first `days` days."""
        end_s = None
        for row in self._rows():
            time_s = int(_moment(row[self.time_column], self.time_format).timestamp())
            end_s = end_s or time_s - time_s % 86_400 + days * 86_400
            if days and time_s >= end_s:
                return
            for column in self.columns:
                if text := row[column].strip():
                    yield _name(column), text, time_s

    def _rows(self) -> Iterator[dict[str, str]]:
        with self.path.open(newline="") as file:
            yield from csv.DictReader(file)


def open_recording(path: Path) -> Recording:
    """Look at a recording; `ConfigError` where it is not one that a node can replay."""
    try:
        with path.open(newline="") as file:
            reader = csv.reader(file)
            header, first = next(reader), next(reader)
    except (OSError, StopIteration, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} is not a recording: a CSV with a header and at least one row ({error})") from error
    for name in TIME_FORMATS:
        with suppress(ValueError):
            _moment(first[0], name)
            return Recording(path, header[0], name, tuple(header[1:]))
    raise ConfigError(f"{path}: {first[0]!r} in the first column is no time such as 2/1/2022 0:04 or 2022-02-01 00:04")


def _moment(text: str, name: str) -> datetime:
    return datetime.strptime(f"{text.strip()} +0000", f"{TIME_FORMATS[name]} %z")


def _mapped(column: str) -> dict[str, str]:
    unit = {"unit": UNITS[column]} if column in UNITS else {}
    return {"name": _name(column)} | unit


def _name(column: str) -> str:
    return _NOT_IN_NAMES.sub("_", column)
