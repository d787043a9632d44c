"""MicroPython onto a board: by esptool or mpflash, which are programs of their own, or by copying onto a Pico's drive.

esptool is under the GPL and mpflash builds on it: neither is imported, nor does Earmark bring them (dependencies.md).
"""

import contextlib
import glob
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from earmark.device.image import EspImage, Uf2Image
from earmark.errors import ConfigError, DeviceError

Progress = Callable[[int, int], None]

LEAST_ESPTOOL = 5
DRIVE_S = 30.0
_PIECE = 64 << 10
_MOUNTED = "/media/*/*", "/media/*", "/run/media/*/*", "/Volumes/*", "/mnt/*", "/mnt"
_INFO = "INFO_UF2.TXT"
_BOARD_IDS = {"rp2040": "RPI-RP2", "rp2350": "RP2350", "rp2350-riscv": "RP2350"}
_PERCENT = re.compile(rb"(\d{1,3})(?:\.\d+)? ?%")
_KEPT_WORDS = 2000
_STDERR = 2


def find_program(name: str) -> str:
    """Return where a program is: on PATH, or beside this interpreter; `ConfigError` says how to install it."""
    found = shutil.which(name) or shutil.which(name, path=os.path.dirname(sys.executable))
    if found is None:
        raise ConfigError(
            f"{name} is not installed; it writes MicroPython onto a board and is a program of its own: "
            f"`pipx install {name}`, or `pip install {name}` in an environment of its own, on PATH"
        )
    return found


def write_esp(device: str, image: EspImage, *, erase: bool, progress: Progress) -> None:
    """Write an image with esptool, which resets the board into its boot loader and out of it again."""
    program = find_program("esptool")
    _check_esptool(program)
    run_program(esptool_command(program, device, image, erase=erase), progress)


def esptool_command(program: str, device: str, image: EspImage, *, erase: bool) -> list[str]:
    """Return the command that writes an image: the chip and the offset are those that the image names."""
    erasing = ["--erase-all"] if erase else []
    head = [program, "--chip", image.chip, "--port", device, "--baud", "460800"]
    return [*head, "write-flash", *erasing, hex(image.offset), str(image.path)]


def write_by_mpflash(device: str, image: str, *, erase: bool) -> None:
    """Let mpflash fetch the newest stable MicroPython and write it; what it says goes to stderr.

    `image` is as micropython.org names it: the board, and after a hyphen its variant where it has one.
    """
    program = find_program("mpflash")
    board, _, variant = image.partition("-")
    options = (["--variant", variant] if variant else []) + (["--erase"] if erase else [])
    command = [program, "flash", "--version", "stable", "--serial", device, "--board", board, *options]
    status = subprocess.run(command, stdout=_STDERR, check=False).returncode
    if status:
        raise DeviceError(
            f"mpflash ended with status {status}, its words are above. Without internet, give --micropython with an "
            "image from micropython.org/download"
        )


def _check_esptool(program: str) -> None:
    said = subprocess.run([program, "version"], capture_output=True, text=True, check=False, timeout=60).stdout
    version = re.search(r"(\d+)\.\d+", said)
    if version is None or int(version[1]) < LEAST_ESPTOOL:
        raise ConfigError(
            f"{program} is version {version[0] if version else 'unknown'}; {LEAST_ESPTOOL} or later is needed: "
            "`pipx upgrade esptool`"
        )


def run_program(command: list[str], progress: Progress) -> None:
    """Run a program and follow its percentages; `DeviceError` with its last words where it fails."""
    words = b""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL) as run:
        assert run.stdout is not None
        while piece := os.read(run.stdout.fileno(), 4096):
            words = (words + piece)[-_KEPT_WORDS:]
            if found := _PERCENT.findall(piece):
                progress(min(100, int(found[-1])), 100)
    if run.returncode:
        said = [line.strip() for line in words.decode(errors="replace").splitlines() if line.strip()]
        raise DeviceError(
            f"{Path(command[0]).name} ended with status {run.returncode}: {' '.join(said[-3:])}. If the board did not "
            "go into its boot loader by itself, hold BOOT, press RESET, let go of BOOT, and give the same command again"
        )


def write_uf2(image: Uf2Image, drive: Path, progress: Progress) -> None:
    """Copy an image onto the drive of a Pico's boot loader; the board starts it once it has the last block."""
    _check_drive(image, drive)
    target = drive / image.path.name
    done = 0
    try:
        with image.path.open("rb") as source, target.open("wb", buffering=0) as file:
            while piece := source.read(_PIECE):
                done += file.write(piece)
                progress(done, image.size)
            with contextlib.suppress(OSError):  # the board has all and is gone with its drive
                os.fsync(file.fileno())
    except OSError as error:
        if done < image.size:
            raise DeviceError(
                f"{drive} took {done:,} of {image.size:,} bytes ({error.strerror}): hold BOOTSEL, plug the board in "
                "again, and give the same command again"
            ) from error


def _check_drive(image: Uf2Image, drive: Path) -> None:
    wanted = _BOARD_IDS[image.chip]
    try:
        words = (drive / _INFO).read_text(errors="replace")
    except OSError as error:
        raise ConfigError(f"{drive} is not the drive of a Pico's boot loader: it has no {_INFO}") from error
    found = re.search(r"^Board-ID: *(\S+)", words, re.MULTILINE)
    if found is None or found[1] != wanted:
        raise ConfigError(
            f"the board behind {drive} calls itself {found[1] if found else 'nothing'}, and {image.path.name} is for "
            f"{wanted}: take the image for that board"
        )


def await_drive(image: Uf2Image, limit_s: float = DRIVE_S) -> Path:
    """Return the drive of the board's boot loader once the system has mounted it."""
    deadline = time.monotonic() + limit_s
    while True:
        found = [Path(info).parent for pattern in _MOUNTED for info in glob.glob(f"{pattern}/{_INFO}")]
        if len(found) == 1:
            return found[0]
        if found:
            raise DeviceError(f"several boards wait as drives, {', '.join(map(str, found))}: say which with --volume")
        if time.monotonic() > deadline:
            raise DeviceError(
                f"no drive for {image.path.name}: hold BOOTSEL while you plug the board in. Where drives are not "
                "mounted by themselves, `lsblk` names it, mount it, and say where with --volume"
            )
        time.sleep(0.2)
