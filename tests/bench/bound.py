"""The bound: libsodium verifying the same statements in two processes, and nothing else.

Run as a program it is one of the two processes: for every line on stdin, a number of seconds, it verifies for that
long and answers with how many it did, how long it took, and the processor time of it.
"""

import ctypes
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from dryoc.sign import VerifyKey
from nacl._sodium import ffi, lib

from bench.farms import read
from earmark.cose import signed_bytes
from earmark.statement import decode

PROCESSES = 2
STATEMENTS = 5000
MEASURE_S = 1.0
ROOM = 16_384
HERE = Path(__file__).resolve().parents[1]

C_LOOP = r"""
#include <stddef.h>
extern int sodium_init(void);
extern int crypto_sign_verify_detached(const unsigned char *, const unsigned char *, unsigned long long,
                                       const unsigned char *);
long verify_all(const unsigned char *at, long count)
{
    long good = 0;
    sodium_init();
    while (count--) {
        unsigned long long size = (unsigned long long)at[0] << 8 | at[1];
        good += crypto_sign_verify_detached(at + 34, at + 98, size, at + 2) == 0;
        at += 98 + size;
    }
    return good;
}
"""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast: statements a second, and processor seconds for 10,000 of them."""

    per_s: float
    cpu_s_per_10k: float

    @property
    def cores(self) -> float:
        """How many cores it had: fewer than the machine has where other programs ran."""
        return self.per_s * self.cpu_s_per_10k / 10_000


class Bound:
    """Two processes that wait, without cost, until they are to verify."""

    def __init__(self, path: Path) -> None:
        command = [sys.executable, "-m", "bench.bound", str(path)]
        self._verifiers = [
            subprocess.Popen(command, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(PROCESSES)
        ]
        for verifier in self._verifiers:
            assert verifier.stdout
            verifier.stdout.readline()

    def measure(self) -> Pace:
        """Verify for a while with both together."""
        for verifier in self._verifiers:
            assert verifier.stdin
            verifier.stdin.write(f"{MEASURE_S}\n")
            verifier.stdin.flush()
        per_s = cpu_s = total = 0.0
        for verifier in self._verifiers:
            assert verifier.stdout
            count, took_s, spent_s = map(float, verifier.stdout.readline().split())
            per_s, cpu_s, total = per_s + count / took_s, cpu_s + spent_s, total + count
        return Pace(per_s, cpu_s / total * 10_000)

    def close(self) -> None:
        """End the processes."""
        for verifier in self._verifiers:
            verifier.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def signed(path: Path, most: int) -> list[tuple[bytes, bytes, bytes]]:
    """Return (key, signature, Sig_structure) of the first statements of a file."""
    found = []
    for raw in read(path, most):
        statement = decode(raw)
        message = signed_bytes(statement.sign1.protected, statement.sign1.payload or b"")
        found.append((statement.key, statement.sign1.signature, message))
    return found


def verify_for(seconds: float, rows: list[tuple[bytes, bytes]]) -> tuple[int, float, float]:
    """Verify (signature ‖ message, key) rows again and again; return how many, the seconds it took, and those of the
    processor.
    """
    room, length = ffi.new("unsigned char[]", ROOM), ffi.new("unsigned long long *")
    begun, spent, count, opened = time.perf_counter(), time.process_time(), 0, lib.crypto_sign_open
    while (took_s := time.perf_counter() - begun) < seconds:
        first = count % len(rows)
        chunk = rows[first : first + 64]
        for message, key in chunk:
            if opened(room, length, message, len(message), key):
                raise ValueError("libsodium refused a statement of the benchmark")
        count += len(chunk)
    return count, took_s, time.process_time() - spent


def compare_with_c(path: Path, runs: int) -> dict[str, float | str]:
    """Verify in one process by PyNaCl, by a loop in C and by dryoc, as often as said;
    a reason where there is no compiler.
    """
    rows = signed(path, STATEMENTS)
    compiler = shutil.which("gcc") or shutil.which("cc")
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder, "loop.c"), Path(folder, "loop.so")
        source.write_text(C_LOOP)
        if compiler is None:
            return {"not_measured": "no C compiler here"}
        linked = [compiler, "-O2", "-shared", "-fPIC", "-o", str(made), str(source), "-l:libsodium.so.23"]
        built = subprocess.run(linked, capture_output=True, text=True, check=False)
        if built.returncode:
            return {"not_measured": f"no libsodium.so.23 to link with: {built.stderr.strip().splitlines()[-1]}"}
        loop = ctypes.CDLL(str(made)).verify_all
    loop.restype, loop.argtypes = ctypes.c_long, (ctypes.c_char_p, ctypes.c_long)
    packed = b"".join(len(text).to_bytes(2, "big") + key + sign + text for key, sign, text in rows)
    by_c, by_python, by_dryoc = [], [], []
    for _ in range(runs):
        begun = time.perf_counter()
        if loop(packed, len(rows)) != len(rows):
            raise ValueError("libsodium refused a statement of the benchmark")
        by_c.append(len(rows) / (time.perf_counter() - begun))
        count, took_s, _ = verify_for(len(rows) / by_c[-1], [(sign + text, key) for key, sign, text in rows])
        by_python.append(count / took_s)
        begun = time.perf_counter()
        for key, sign, text in rows:
            VerifyKey(key).verify(sign, text)
        by_dryoc.append(len(rows) / (time.perf_counter() - begun))
    rates = {"c_per_s": by_c, "pynacl_per_s": by_python, "dryoc_per_s": by_dryoc}
    return {name: statistics.median(found) for name, found in rates.items()}


def main(path: Path) -> None:
    """Be one of the processes."""
    rows = [(signature + message, key) for key, signature, message in signed(path, STATEMENTS)]
    print("ready", flush=True)
    for line in sys.stdin:
        print(*verify_for(float(line), rows), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
