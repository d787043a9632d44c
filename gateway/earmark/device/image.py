"""Images of MicroPython as they are published: which chip one is for, and where it goes."""

import struct
from dataclasses import dataclass
from pathlib import Path

from earmark.errors import ConfigError

ESP_MAGIC = 0xE9
UF2_MAGIC = b"UF2\n\x57\x51\x5d\x9e"
UF2_END = 0x0AB16F30
UF2_BLOCK = 512
_FAMILY = 0x2000
_MOST_BYTES = 64 << 20

# Chip ids in the header of an image (Espressif, "App Image Format"), as esptool calls the chips, and where the
# bootloader that a published image begins with is expected.
ESP_CHIPS = {
    0: ("esp32", 0x1000),
    2: ("esp32s2", 0x1000),
    5: ("esp32c3", 0x0),
    9: ("esp32s3", 0x0),
    12: ("esp32c2", 0x0),
    13: ("esp32c6", 0x0),
    16: ("esp32h2", 0x0),
    18: ("esp32p4", 0x2000),
    23: ("esp32c5", 0x2000),
}
# Family ids of UF2 blocks (microsoft/uf2, "uf2families.json").
UF2_FAMILIES = {0xE48BFF56: "rp2040", 0xE48BFF59: "rp2350", 0xE48BFF5A: "rp2350-riscv"}


@dataclass(frozen=True, slots=True)
class EspImage:
    """An image for an ESP32 chip, written by esptool from `offset` on."""

    path: Path
    chip: str
    offset: int


@dataclass(frozen=True, slots=True)
class Uf2Image:
    """An image for a Pico, copied onto the drive that its boot loader shows."""

    path: Path
    chip: str
    size: int


def open_image(path: Path) -> EspImage | Uf2Image:
    """Look at an image's first and last bytes; `ConfigError` where it is none, is cut short, or is for another chip."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            head = file.read(UF2_BLOCK)
            file.seek(max(0, size - UF2_BLOCK))
            tail = file.read(UF2_BLOCK)
    except OSError as error:
        raise ConfigError(f"the image {path} cannot be read: {error.strerror}") from error
    if size > _MOST_BYTES:
        raise ConfigError(f"{path} has {size:,} bytes: it is no image of MicroPython for a board")
    if head.startswith(UF2_MAGIC):
        return _uf2(path, head, tail, size)
    if len(head) >= 24 and head[0] == ESP_MAGIC:
        return _esp(path, head)
    raise ConfigError(
        f"{path} is no image of MicroPython: a .bin for an ESP32 begins with e9, a .uf2 for a Pico with 'UF2'. Images "
        "are at micropython.org/download"
    )


def _esp(path: Path, head: bytes) -> EspImage:
    [chip] = struct.unpack_from("<H", head, 12)
    if chip not in ESP_CHIPS:
        raise ConfigError(f"{path} is for a chip with id {chip}, which is not known here: use esptool by hand")
    name, offset = ESP_CHIPS[chip]
    return EspImage(path, name, offset)


def _uf2(path: Path, head: bytes, tail: bytes, size: int) -> Uf2Image:
    flags, _, _, _, _, family = struct.unpack_from("<6I", head, 8)
    last = struct.unpack_from("<I", tail, 20)[0] if len(tail) == UF2_BLOCK and tail.startswith(UF2_MAGIC) else -1
    ending = struct.unpack_from("<I", tail, UF2_BLOCK - 4)[0] if len(tail) == UF2_BLOCK else 0
    if size % UF2_BLOCK or ending != UF2_END or last < 0:
        raise ConfigError(f"{path} is cut short: {size:,} bytes are no whole UF2 file; download it again")
    if not flags & _FAMILY or family not in UF2_FAMILIES:
        raise ConfigError(f"{path} is for a chip of UF2 family {family:#010x}; a Pico's is {min(UF2_FAMILIES):#010x}")
    return Uf2Image(path, UF2_FAMILIES[family], size)
