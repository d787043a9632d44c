"""Serial ports, and the one that a board is on."""

import os
from dataclasses import dataclass

from serial.tools import list_ports

from earmark.errors import DeviceError

AUTO = "auto"

_KNOWN = {
    (0x2E8A, 0x0005): "Raspberry Pi Pico with MicroPython",
    (0x2E8A, 0x000A): "Raspberry Pi Pico",
    (0x303A, 0x1001): "ESP32-S3 or -C3 on its own USB",
    (0x303A, 0x4001): "ESP32-S2 or -S3 with MicroPython",
    (0x10C4, 0xEA60): "board behind a CP210x",
    (0x1A86, 0x7523): "board behind a CH340",
    (0x1A86, 0x55D4): "board behind a CH9102",
    (0x1A86, 0x55D3): "board behind a CH343",
    (0x0403, 0x6001): "board behind an FT232",
    (0x0403, 0x6015): "board behind an FT231X",
}


@dataclass(frozen=True, slots=True)
class Port:
    """A serial port on USB: its name for the system, and what it says of itself."""

    device: str
    is_called: str
    serial_number: str

    def __str__(self) -> str:
        return f"{self.device} ({self.is_called})"


class NoPort(DeviceError):
    """No board is connected, or not yet again."""


def ports() -> list[Port]:
    """Return the USB serial ports of this machine, in the order of their names; no other has a board."""
    found = [port for port in list_ports.comports() if port.vid is not None]
    return [
        Port(port.device, _KNOWN.get((port.vid, port.pid)) or port.product or "unknown", port.serial_number or "")
        for port in sorted(found, key=lambda port: port.device)
    ]


def choose(given: str) -> str:
    """Return the port that is meant: the one given, or with `auto` the only one; `DeviceError` names what there is."""
    if given != AUTO:
        return given
    found = ports()
    if len(found) == 1:
        return found[0].device
    if found:
        raise DeviceError(
            f"{len(found)} boards are connected: {', '.join(map(str, found))}. Say which with --port, such as "
            f"--port {found[0].device}"
        )
    raise NoPort(
        "no board is connected: plug it in with a cable that carries data (many only charge), and look again with "
        "`earmark node list --boards`. A Pico that shows up as a drive has no MicroPython yet: give --micropython"
    )


def can_open(device: str) -> bool:
    """Say whether there is such a port and this user may open it."""
    return os.access(device, os.R_OK | os.W_OK)


def explain(device: str, error: OSError | None) -> DeviceError:
    """Return the error of a port that does not open, with its cure."""
    if not os.path.exists(device):
        there = ", ".join(map(str, ports())) or "none"
        return NoPort(f"there is no port {device}; ports with a board: {there}")
    if not can_open(device):
        return DeviceError(
            f"{device} is not open to you: `sudo usermod -aG {_group(device)} $USER`, then log out and in again"
        )
    return DeviceError(
        f"{device} does not open{f' ({error})' if error else ''}: another program may hold it, such as a serial "
        "monitor or an editor; close that first"
    )


def _group(device: str) -> str:
    """Return the name of the group that may use a port: dialout on Debian, uucp elsewhere."""
    import grp

    try:
        return grp.getgrgid(os.stat(device).st_gid).gr_name
    except (OSError, KeyError):
        return "dialout"
