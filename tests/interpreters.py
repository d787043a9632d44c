"""The Python interpreters that run the firmware's cases: CPython, and MicroPython in both word sizes.

Not named after MicroPython's own module: the firmware, imported under CPython with tests/ on its path, would
find this file in that module's place.
"""

import functools
import platform
import subprocess
import sys
from pathlib import Path

NAMES = ("cpython", "micropython-64", "micropython-32")

_FETCHED = Path(__file__).resolve().parent.parent / ".cache" / "micropython"
_MAXSIZE = {"64": 2**63 - 1, "32": 2**31 - 1}


class MissingInterpreter(Exception):
    """An interpreter is not there or does not run; the message says which, and what to do."""


def required() -> bool:
    """Whether this machine must have all: Debian on x86-64, where tools/micropython.sh gets both sizes."""
    try:
        system = platform.freedesktop_os_release().get("ID")
    except OSError:
        return False
    return system == "debian" and platform.machine() == "x86_64"


@functools.cache
def _micropython(bits: str) -> str:
    """The program in the word size named, just seen running.  Raises `MissingInterpreter`."""
    program = _FETCHED / bits / "micropython"
    if not program.exists():
        raise MissingInterpreter(f"no MicroPython at {program}: run tools/micropython.sh")
    question = [str(program), "-c", "import sys; print(sys.maxsize)"]
    try:
        run = subprocess.run(question, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as failure:
        raise MissingInterpreter(f"{program} does not run ({failure}): run tools/micropython.sh") from failure
    if run.stdout.strip() != str(_MAXSIZE[bits]):
        raise MissingInterpreter(f"{program} answers sys.maxsize {run.stdout!r}: run tools/micropython.sh")
    return str(program)


def command(name: str) -> list[str]:
    """The command that starts the interpreter of that name, one of `NAMES`.  Raises `MissingInterpreter`."""
    if name == "cpython":
        return [sys.executable]
    return [_micropython(name.removeprefix("micropython-"))]


def interpreters() -> list[tuple[str, list[str]]]:
    """(name, command) of every interpreter here, CPython first.

    Leaves out one that this machine may lack; raises `MissingInterpreter` for one that is `required`.
    """
    found = []
    for name in NAMES:
        try:
            found.append((name, command(name)))
        except MissingInterpreter:
            if required():
                raise
    return found
