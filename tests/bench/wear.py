"""How long a board's flash lives under the node's outbox: `python -m bench.wear` in tests/.

MicroPython's littlefs runs over flash in memory (tests/firmware/flash.py), which counts programs and erases: one
statement of 350 bytes a minute, acknowledged at once, or never, with the outbox full.  A life ends when one block has
had its 100,000 erases.  What the flash of a board does besides, and its own limits, is not in the figure.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import interpreters

CASES = Path(__file__).resolve().parent.parent / "firmware"
FIRMWARE = CASES.parent.parent / "firmware"
BOARDS = {"esp32": (512, 32), "picow": (212, 256)}
"""The blocks of 4,096 bytes of a board's file system (2 MB, 848 KB), and the bytes that it programs at least."""

CYCLES = 100_000
MINUTES_OF_A_YEAR = 365.25 * 24 * 60


def measure(statements: int) -> dict[str, Any]:
    """Return the keys below `node.outbox`; raises `RuntimeError` where there is no MicroPython."""
    try:
        program = interpreters.command("micropython-32")
    except interpreters.MissingInterpreter as missing:
        raise RuntimeError(str(missing)) from missing
    found: dict[str, Any] = {"statements": statements}
    for board, (blocks, least) in BOARDS.items():
        online, full = (_run(program, blocks, least, acknowledged, statements) for acknowledged in (1, 0))
        found[f"flash_years_{board}"] = min(_years(online), _years(full))
        found[board] = {
            "flash_years_online": _years(online),
            "flash_years_full": _years(full),
            "programs_per_statement": online["programs"],
            "programmed_bytes_per_statement": online["programmed_bytes"],
            "erases_per_statement": online["erases"],
            "erases_per_statement_full": full["erases"],
            "boot_full_ms": full["boot_ms"],
            "boot_full_kept_bytes": full["boot_kept_bytes"],
            "boot_full_statements": full["boot_statements"],
        }
    found["programs_per_statement"] = found["esp32"]["programs_per_statement"]
    return found


def _run(program: list[str], blocks: int, least: int, online: int, statements: int) -> dict[str, Any]:
    command = [*program, "-X", "heapsize=64m", str(CASES / "wear.py"), *map(str, (blocks, least, online, statements))]
    environment = os.environ | {"MICROPYPATH": f".frozen:{FIRMWARE}"}
    done = subprocess.run(command, env=environment, cwd=CASES, capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    counted: dict[str, Any] = json.loads(done.stdout)
    return counted


def _years(counted: dict[str, Any]) -> float:
    """At one statement a minute, until the block with the most erases has had all that it can have."""
    return float(CYCLES / counted["most_erases_of_a_block"] / MINUTES_OF_A_YEAR)


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 40_000), indent=1))
