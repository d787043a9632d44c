"""Boards that are unplugged at every step: whatever was under way, the same command completes it.

For each command that the board executes the power is taken away once it has done it, and before its answer; before the
first as well.  Enrolment and rotation are cut at one command in six here, and at every one by `make faults`.
"""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import interpreters
from board_double import BoardDouble
from commands import Earmark, Said
from earmark import cose
from earmark.access import node_password
from earmark.cli import flash
from earmark.config import Farm
from earmark.device import enrolment, install
from earmark.device.board import open_board
from earmark.log import load_registry
from earmark.operator import find_key
from earmark.registry import Enrolment
from earmark.store.sqlite import SqliteStore
from services import free_port, make_farm

pytest_plugins = ["command_fixtures"]
pytestmark = pytest.mark.timeout(600)  # a power cut and a new start at each of some dozens of steps

FILES = {
    "/a/one.mpy": b"1" * 100,
    "/a/deep/two.mpy": bytes(range(256)) * 5,
    "/a/release.cbor": b"r" * 40,
    "/main.py": b"print('started')\n",
}
# A node starts again at each step, which takes seconds: all of them by `make faults`.
STRIDES = pytest.mark.parametrize("stride", [6, pytest.param(1, marks=pytest.mark.faults)])
Command = Callable[[str], Said]
Check = Callable[[BoardDouble], None]


@pytest.fixture(scope="module")
def micropython() -> list[str]:
    try:
        return interpreters.command("micropython-32")
    except interpreters.MissingInterpreter as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def flashed(micropython: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The flash of a board with Earmark, not enrolled."""
    path = tmp_path_factory.mktemp("flashed") / "flash"
    with BoardDouble(micropython, path) as board, open_board(board.port) as opened:
        about = enrolment.look(opened)
        install.install(opened, flash.release_files(about.mpy), lambda done, total: None)
    return path


def cut_everywhere(
    micropython: list[str], before: Path | None, folder: Path, command: Command, check: Check, stride: int
) -> int:
    """Take the power away at every step of a command on a board with this flash, or at one in `stride`; returns the
    step at which it was done.
    """
    for step in itertools.count(0, stride):
        path = folder / f"step-{step}"
        if before:
            shutil.copy(before, path)
        board = BoardDouble(micropython, path)
        board.unplug_at = (step, "after") if step else (1, "before")
        with board:
            first = command(board.port)
        if first.status == 0:
            return step
        assert (first.status, "the same command again" in first.err or "no MicroPython" in first.err) == (3, True), (
            first.err
        )
        board.unplug_at = None
        with board:
            again = command(board.port)
            assert again.status == 0, (step, again.err)
            check(board)
        path.unlink()
    raise AssertionError


def test_flashing(micropython: list[str], earmark: Earmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flash, "release_files", lambda mpy: FILES)

    def check(board: BoardDouble) -> None:
        with open_board(board.port) as opened:
            below = opened.call("files", "below", "/")
            assert dict(below) == {path: len(content) for path, content in FILES.items()}
            for path, content in FILES.items():
                assert install.digest_on(opened, path) == install._digest(content)

    steps = cut_everywhere(micropython, None, tmp_path, lambda port: earmark("node", "flash", "--port", port), check, 1)
    assert steps > 20


@pytest.mark.faults
def test_flashing_all_of_the_firmware(micropython: list[str], earmark: Earmark, tmp_path: Path) -> None:
    """The real release, the power taken away at every 25th step; what is there at the end is all of it."""
    path = tmp_path / "flash"
    for step in itertools.count(1, 25):
        board = BoardDouble(micropython, path)
        board.unplug_at = (step, "after")
        with board:
            said = earmark("node", "flash", "--port", board.port, "--json")
        if said.status == 0:
            break
        board.unplug_at = None
        with board:
            assert earmark("node", "flash", "--port", board.port).status == 0
            assert earmark("node", "flash", "--port", board.port, "--json").json()["bytes"] == 0
        path.unlink()
    assert step > 100


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    return make_farm(tmp_path / "farm", free_port(), tls=True)


def nodes(farm: Farm) -> list[Enrolment]:
    store = SqliteStore(farm.database)
    try:
        return load_registry(store, farm.operator_key()).nodes()
    finally:
        store.close()


@pytest.fixture
def set_up(tmp_path: Path) -> list[str]:
    password = tmp_path / "wifi"
    password.touch(mode=0o600)
    password.write_text("correct horse\n")
    return ["--wifi", "farm", "--wifi-password-file", str(password), "--host", "127.0.0.1", "--yes"]


def check_node(farm: Farm, board: BoardDouble, name: str) -> None:
    """The board has the key that the name belongs to, that key's password, and nothing half-way."""
    with open_board(board.port) as opened:
        about = enrolment.look(opened)
        settings = enrolment.settings_on(opened)
    node = find_key(farm, name)
    assert (about.key, about.coming, about.is_moving) == (node.key, None, False)
    assert node.ended_at is None
    assert settings["broker"]["password"] == node_password(farm, node.key)
    assert settings["wifi"] == {"ssid": "farm", "password": "correct horse"}


@STRIDES
def test_enrolling(
    micropython: list[str], flashed: Path, earmark: Earmark, farm: Farm, set_up: list[str], tmp_path: Path, stride: int
) -> None:
    names = (f"n{number}" for number in itertools.count())
    current = [""]

    def command(port: str) -> Said:
        return earmark("node", "enroll", current[0], "--farm", farm.folder, "--port", port, "--wait", "0", *set_up)

    def check(board: BoardDouble) -> None:
        check_node(farm, board, current[0])
        assert [node.name for node in nodes(farm)].count(current[0]) == 1
        current[0] = next(names)

    current[0] = next(names)
    assert cut_everywhere(micropython, flashed, tmp_path, command, check, stride) > 12


@STRIDES
def test_rotating(
    micropython: list[str], flashed: Path, earmark: Earmark, farm: Farm, set_up: list[str], tmp_path: Path, stride: int
) -> None:
    before = tmp_path / "enrolled"
    shutil.copy(flashed, before)
    words = ["--farm", farm.folder, *set_up]
    with BoardDouble(micropython, before) as board:
        assert earmark("node", "enroll", "field-1", "--port", board.port, "--wait", "0", *words).status == 0
        with open_board(board.port) as opened:
            old = enrolment.look(opened).key
    fresh = tmp_path / "fresh.db"
    shutil.copy(farm.database, fresh)

    def command(port: str) -> Said:
        if command.is_first:
            for name in farm.folder.glob("earmark.db*"):
                name.unlink()
            farm.high_water.unlink(missing_ok=True)
            shutil.copy(fresh, farm.database)
        command.is_first = not command.is_first
        return earmark("node", "rotate", "field-1", "--reason", "yearly", "--port", port, *words)

    command.is_first = True

    def check(board: BoardDouble) -> None:
        check_node(farm, board, "field-1")
        assert [node.name for node in nodes(farm)] == ["field-1", "field-1"]
        assert nodes(farm)[0].key == old
        with open_board(board.port) as opened:
            kept = f"/earmark/former-{cose.kid(old).hex()}/identity"
            assert opened.call("about", "key", kept) == old.hex()

    assert cut_everywhere(micropython, before, tmp_path, command, check, stride) > 12
