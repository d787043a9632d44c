"""`earmark node flash`: MicroPython and Earmark onto a board."""

import argparse
import time
from pathlib import Path

from earmark.cli.boards import add_port
from earmark.cli.parser import UsageError
from earmark.cli.screen import Screen
from earmark.device import flashing
from earmark.device.board import Board, NoMicroPython, open_board
from earmark.device.enrolment import About, look
from earmark.device.image import Uf2Image, open_image
from earmark.device.install import install
from earmark.device.ports import NoPort, choose
from earmark.device.release import LEAST_MICROPYTHON, release_files
from earmark.errors import ConfigError, DeviceError

START_S = 60.0
"""How long a board may take from its new image to its first answer: it makes its file system meanwhile."""


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the options of `node flash`."""
    add_port(parser)
    image = parser.add_mutually_exclusive_group()
    image.add_argument(
        "--micropython",
        metavar="FILE",
        type=Path,
        help="write this MicroPython first: .bin (ESP32), .uf2 (Pico)",
    )
    image.add_argument(
        "--download", metavar="IMAGE", help="let mpflash fetch and write the newest for this board: RPI_PICO2_W …"
    )
    parser.add_argument("--volume", metavar="DIR", type=Path, help="the drive of a Pico's boot loader")
    parser.add_argument("--erase", action="store_true", help="erase the whole flash first: key and outbox are gone")


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Write what is asked for, and then Earmark."""
    if args.erase and not (args.micropython or args.download):
        raise UsageError("earmark node flash", "--erase leaves no MicroPython: give --micropython or --download")
    began = time.monotonic()
    if args.micropython or args.download:
        _write_micropython(args, screen)
    deadline = began + START_S if args.micropython or args.download else began
    device, about, written = _install(args.port, deadline, screen)
    seconds = round(time.monotonic() - began, 1)
    screen.say(
        f"Earmark is on the {about.machine} on {device}, MicroPython {about.runs}: {written:,} bytes written in "
        f"{seconds} s."
    )
    if about.node is None:
        screen.say("Next: `earmark node enroll NAME`.")
    screen.document(
        {"port": device, "machine": about.machine, "micropython": about.runs, "bytes": written, "seconds": seconds}
    )
    return 0


def _write_micropython(args: argparse.Namespace, screen: Screen) -> None:
    if args.download:
        flashing.write_by_mpflash(choose(args.port), args.download, erase=args.erase)
        return
    image = open_image(args.micropython)
    with screen.progress(f"MicroPython for {image.chip}") as told:
        if not isinstance(image, Uf2Image):
            flashing.write_esp(choose(args.port), image, erase=args.erase, progress=told)
            return
        if args.erase:
            raise ConfigError("a Pico's drive cannot erase: copy Raspberry Pi's flash_nuke.uf2 onto it first")
        flashing.write_uf2(image, args.volume or flashing.await_drive(image), told)


def _install(port: str, deadline: float, screen: Screen) -> tuple[str, About, int]:
    """Install Earmark on the board, which until `deadline` may still be starting, and restart it."""
    while True:
        try:
            device = choose(port)
            with open_board(device) as board:
                about = look(board)
                return device, about, _install_on(board, about, screen)
        except (NoMicroPython, NoPort):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _install_on(board: Board, about: About, screen: Screen) -> int:
    if about.version[:2] < LEAST_MICROPYTHON:
        least = ".".join(map(str, LEAST_MICROPYTHON))
        raise DeviceError(f"the board runs MicroPython {about.runs}; {least} or later is needed: give --micropython")
    with screen.progress("Earmark") as told:
        written = install(board, release_files(about.mpy), told)
    board.restart()
    return written
