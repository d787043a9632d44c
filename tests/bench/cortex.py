"""Instructions of a Cortex-M3, counted by QEMU: `python -m bench.cortex FIRMWARE.elf` in tests/.

FIRMWARE.elf is MicroPython's own `ports/qemu`, built from its sources for the board MPS2_AN385:
`make -C mpy-cross && make -C ports/qemu BOARD=MPS2_AN385 FROZEN_MANIFEST=`.  With `-icount shift=0` QEMU's clock goes
on by a nanosecond an instruction, so that what the board calls a millisecond is a million of them.  Modules go in as
the `.mpy` files that boards get; the count includes the interpreter and its garbage collection.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from bench import node

MACHINE = ["qemu-system-arm", "-machine", "mps2-an385", "-nographic", "-monitor", "none", "-semihosting"]
COUNTED = ["-icount", "shift=0", "-serial", "stdio", "-kernel"]
CHUNK = 180

# A file system of the modules sent; opening one gives its bytes.
RECEIVER = """
import io, vfs, binascii
class File(io.IOBase):
    def __init__(self, octets):
        self.octets = octets
        self.at = 0
    def ioctl(self, request, argument):
        return 0
    def readinto(self, buffer):
        part = self.octets[self.at : self.at + len(buffer)]
        buffer[: len(part)] = part
        self.at += len(part)
        return len(part)
class Files:
    sent = {}
    def mount(self, readonly, mkfs):
        pass
    def umount(self):
        pass
    def chdir(self, path):
        pass
    def stat(self, path):
        if path.lstrip('/') in self.sent:
            return (0x8000,) + (0,) * 9
        raise OSError(2)
    def open(self, path, mode):
        return File(self.sent.pop(path.lstrip('/')))
vfs.mount(Files(), '/sent')
import sys
sys.path.append('/sent')
"""
MEASURE = """
import gc, time
def count(work, runs):
    gc.collect()
    begun = time.ticks_us()
    for _ in range(runs):
        work()
    return time.ticks_diff(time.ticks_us(), begun) / runs / 1000
message, seed = bytes(range(100)) * 3, bytes(range(32))
"""


class Board:
    """A board in QEMU, spoken to by its raw REPL."""

    def __init__(self, elf: Path) -> None:
        self._process = subprocess.Popen([*MACHINE, *COUNTED, str(elf)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin
        assert self._process.stdout
        self._in: IO[bytes] = self._process.stdin
        self._out: IO[bytes] = self._process.stdout
        self._send(b"\r\x01")
        self._until(b"raw REPL; CTRL-B to exit\r\n>")

    def close(self) -> None:
        """End the machine."""
        self._process.kill()
        self._process.communicate()

    def run(self, source: str) -> str:
        """What the source prints; raises `RuntimeError` with its traceback."""
        self._send(source.encode() + b"\x04")
        self._until(b"OK")
        printed, failed = self._until(b"\x04"), self._until(b"\x04")
        self._until(b">")
        if failed:
            raise RuntimeError(failed.decode())
        return printed.decode()

    def give(self, name: str, octets: bytes) -> None:
        """Send a module."""
        self.run(f"Files.sent[{name!r}] = bytearray({len(octets)})")
        for at in range(0, len(octets), CHUNK):
            part = octets[at : at + CHUNK]
            self.run(f"Files.sent[{name!r}][{at}:{at + len(part)}] = binascii.unhexlify({part.hex()!r})")

    def _send(self, octets: bytes) -> None:
        self._in.write(octets)
        self._in.flush()

    def _until(self, end: bytes) -> bytes:
        found = b""
        while not found.endswith(end):
            octet = self._out.read(1)
            if not octet:
                raise RuntimeError(f"QEMU ended: {found!r}")
            found += octet
        return found[: -len(end)]


def _code(board: Board, code: str) -> Iterator[tuple[str, float]]:
    board.run(f"import {code} as code\nkey = code.public_key(seed)\nsignature = code.sign(seed, key, message)")
    board.run("code.verify(key, message, signature)")
    runs = {"sign": "code.sign(seed, key, message)", "verify": "code.verify(key, message, signature)"}
    if code == node.VIPER[-1]:
        board.run("def first():\n    code._known = b'', []\n    code.verify(key, message, signature)")
        runs["verify_new_key"] = "first()"
    for what, call in runs.items():
        yield f"{what}_m", float(board.run(f"print(count(lambda: {call}, 20))"))


def measure(elf: Path) -> dict[str, Any]:
    """Millions of instructions of signing and verifying 300 bytes by each code."""
    found: dict[str, Any] = {}
    for code, modules in node.CODES.items():
        board = Board(elf)
        try:
            board.run(RECEIVER + MEASURE)
            for name in modules:
                board.give(f"{name}.mpy", node.compiled(name, "armv7m"))
            found[code] = dict(_code(board, modules[-1]))
        finally:
            board.close()
    return found


def main() -> int:
    """Print what was counted as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("elf", type=Path, help="MicroPython for QEMU's board mps2-an385")
    print(json.dumps(measure(parser.parse_args().elf), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
