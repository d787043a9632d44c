"""Images of MicroPython, and the programs that write them.

esptool and mpflash are doubles here, programs that say what they were called with; a test with the real esptool, which
finds no chip, runs where it is installed.  No image was written to a chip.
"""

import json
import shutil
import struct
import sys
from pathlib import Path

import pytest

from board_double import BoardDouble
from commands import Earmark
from earmark.device import flashing
from earmark.device.image import EspImage, Uf2Image, open_image
from earmark.errors import ConfigError, DeviceError

pytest_plugins = ["command_fixtures"]

PICO, PICO_2 = 0xE48BFF56, 0xE48BFF59
INFO = "UF2 Bootloader v3.0\r\nModel: Raspberry Pi RP2\r\nBoard-ID: {}\r\n"


def esp(chip: int) -> bytes:
    return bytes([0xE9, 1, 2, 0x20]) + bytes(8) + struct.pack("<H", chip) + bytes(500)


def uf2(family: int, blocks: int = 3) -> bytes:
    made = b""
    for number in range(blocks):
        head = struct.pack("<8I", 0x0A324655, 0x9E5D5157, 0x2000, 0x10000000, 256, number, blocks, family)
        made += head + bytes(476) + struct.pack("<I", 0x0AB16F30)
    return made


def put(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("chip", "name", "offset"), [(0, "esp32", 0x1000), (5, "esp32c3", 0), (9, "esp32s3", 0), (2, "esp32s2", 0x1000)]
)
def test_an_image_says_its_chip_and_its_place(tmp_path: Path, chip: int, name: str, offset: int) -> None:
    path = put(tmp_path, "x.bin", esp(chip))
    assert open_image(path) == EspImage(path, name, offset)


def test_a_picos_image_says_its_chip(tmp_path: Path) -> None:
    path = put(tmp_path, "x.uf2", uf2(PICO))
    assert open_image(path) == Uf2Image(path, "rp2040", 1536)
    assert open_image(put(tmp_path, "y.uf2", uf2(PICO_2))).chip == "rp2350"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is no image of MicroPython"),
        (b"<html>not found</html>" * 50, "is no image of MicroPython"),
        (esp(4242), "a chip with id 4242"),
        (uf2(PICO)[:-1], "cut short"),
        (uf2(PICO)[:700], "cut short"),
        (uf2(0x12345678), "family 0x12345678"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        open_image(put(tmp_path, "x", content))


def test_an_image_is_copied_onto_the_drive_of_its_board(tmp_path: Path) -> None:
    drive = tmp_path / "drive"
    drive.mkdir()
    image = open_image(put(tmp_path, "pico.uf2", uf2(PICO, 300)))
    assert isinstance(image, Uf2Image)
    with pytest.raises(ConfigError, match=r"no INFO_UF2\.TXT"):
        flashing.write_uf2(image, drive, lambda done, total: None)
    put(drive, "INFO_UF2.TXT", INFO.format("RP2350").encode())
    with pytest.raises(ConfigError, match="calls itself RP2350"):
        flashing.write_uf2(image, drive, lambda done, total: None)
    put(drive, "INFO_UF2.TXT", INFO.format("RPI-RP2").encode())
    told: list[tuple[int, int]] = []
    flashing.write_uf2(image, drive, lambda done, total: told.append((done, total)))
    assert (drive / "pico.uf2").read_bytes() == image.path.read_bytes()
    assert told[-1] == (image.size, image.size)


def test_the_drive_is_found_where_the_system_mounts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = open_image(put(tmp_path, "pico.uf2", uf2(PICO)))
    assert isinstance(image, Uf2Image)
    monkeypatch.setattr(flashing, "_MOUNTED", (str(tmp_path / "media" / "*"),))
    with pytest.raises(DeviceError, match="hold BOOTSEL"):
        flashing.await_drive(image, 0)
    for name in ("one", "two"):
        (tmp_path / "media" / name).mkdir(parents=True)
        put(tmp_path / "media" / name, "INFO_UF2.TXT", INFO.encode())
        if name == "one":
            assert flashing.await_drive(image, 0) == tmp_path / "media" / "one"
    with pytest.raises(DeviceError, match="which with --volume"):
        flashing.await_drive(image, 0)


PROGRAM = """\
#!{python}
import json, pathlib, sys
if sys.argv[1:] == ["version"]:
    print("esptool v{version}")
    sys.exit()
pathlib.Path({calls!r}).write_text(json.dumps(sys.argv[1:]))
print("Writing at 0x00001000 [====>    ]  42.0% 100/200 bytes...", flush=True)
print("Writing at 0x00002000 [=========] 100.0% 200/200 bytes...", flush=True)
print("A fatal error occurred: Failed to connect to ESP32: No serial data received." if {status} else "Done")
sys.exit({status})
"""


def program(folder: Path, name: str, *, version: str = "5.1.0", status: int = 0) -> Path:
    """Make a program that writes down how it was called; returns where."""
    folder.mkdir(exist_ok=True)
    calls = folder / f"{name}.json"
    path = folder / name
    path.write_text(PROGRAM.format(python=sys.executable, version=version, status=status, calls=str(calls)))
    path.chmod(0o755)
    return calls


def test_esptool_is_called_with_the_chip_and_the_place_of_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = program(tmp_path / "bin", "esptool")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    image = open_image(put(tmp_path, "x.bin", esp(0)))
    assert isinstance(image, EspImage)
    told: list[int] = []
    flashing.write_esp("/dev/ttyUSB7", image, erase=True, progress=lambda done, total: told.append(done))
    assert json.loads(calls.read_text()) == [
        *["--chip", "esp32", "--port", "/dev/ttyUSB7", "--baud", "460800"],
        *["write-flash", "--erase-all", "0x1000", str(tmp_path / "x.bin")],
    ]
    assert told[-1] == 100


def test_what_keeps_esptool_from_writing_is_said(
    earmark: Earmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["node", "flash", "--port", "/dev/null", "--micropython", put(tmp_path, "x.bin", esp(9))]
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    missing = earmark(*words)
    assert (missing.status, "pipx install esptool" in missing.err) == (3, True)
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    program(tmp_path / "bin", "esptool", version="4.8.1")
    old = earmark(*words)
    assert (old.status, "pipx upgrade esptool" in old.err) == (3, True)
    program(tmp_path / "bin", "esptool", status=2)
    failed = earmark(*words)
    assert (failed.status, "No serial data received" in failed.err, "hold BOOT" in failed.err) == (3, True, True)


def test_mpflash_is_called_with_port_and_board(
    earmark: Earmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = program(tmp_path / "bin", "mpflash", status=1)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    said = earmark("node", "flash", "--port", "/dev/ttyUSB7", "--download", "ESP32_GENERIC_S3-SPIRAM_OCT")
    assert (said.status, "Without internet" in said.err) == (3, True)
    called = ["flash", "--version", "stable", "--serial", "/dev/ttyUSB7", "--board", "ESP32_GENERIC_S3"]
    assert json.loads(calls.read_text()) == [*called, "--variant", "SPIRAM_OCT"]


@pytest.mark.slow
def test_the_real_esptool_takes_the_command_and_finds_no_chip(tmp_path: Path) -> None:
    real = shutil.which("esptool")
    if real is None:
        pytest.skip("esptool is not installed: it is a program of its own, under the GPL")
    image = open_image(put(tmp_path, "x.bin", esp(0)))
    assert isinstance(image, EspImage)
    board = BoardDouble([], tmp_path / "flash")
    board.image = tmp_path / "never"
    with board:
        command = flashing.esptool_command(real, board.port, image, erase=False)
        with pytest.raises(DeviceError, match="Failed to connect to ESP32"):
            flashing.run_program([*command[:1], "--connect-attempts", "1", *command[1:]], lambda done, total: None)
