"""Boards on a serial port: the real mpremote over a pty, to a double with the real MicroPython and littlefs behind it.

What is a double: the REPL's own bytes, the port (a pty) and what the unix port lacks (board_runner.py).  No board was
there.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from board_double import BoardDouble
from commands import Earmark, Said
from earmark import cose
from earmark.config import Farm
from services import free_port, gateway, make_farm

pytest_plugins = ["command_fixtures"]

Enrol = Callable[..., Said]


@pytest.fixture
def board(interpreter: list[str], tmp_path: Path) -> Iterator[BoardDouble]:
    """A blank board, plugged in; only where there is MicroPython."""
    if "micropython" not in interpreter[0]:
        pytest.skip("a board runs MicroPython")
    double = BoardDouble(interpreter, tmp_path / "flash")
    double.plug()
    yield double
    double.unplug()


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    return make_farm(tmp_path / "farm", free_port(), tls=True)


@pytest.fixture
def enrol(earmark: Earmark, farm: Farm, tmp_path: Path) -> Enrol:
    """Enrol the board on a port, on a Wi-Fi that is there."""
    password = tmp_path / "wifi"
    password.touch(mode=0o600)
    password.write_text("correct horse\n")

    def call(port: str, name: str, *more: str) -> Said:
        wifi = ["--wifi", "farm", "--wifi-password-file", password, "--host", "127.0.0.1", "--yes"]
        return earmark("node", "enroll", name, "--farm", farm.folder, "--port", port, *wifi, *more)

    return call


def test_two_commands_lead_from_a_board_with_micropython_to_its_first_reading_in_the_log(
    earmark: Earmark, board: BoardDouble, farm: Farm, enrol: Enrol
) -> None:
    with gateway(farm):
        flashed = earmark("node", "flash", "--port", board.port, "--json")
        assert flashed.status == 0, flashed.err
        said = enrol(board.port, "field-1", "--json")
        assert said.status == 0, said.err
    first = said.json()
    assert first["first_reading"] is not None
    print(flashed.json()["seconds"], first["seconds"])
