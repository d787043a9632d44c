"""Builds of the firmware for each board: that they fit, are the same each time, and run in a board's memory."""

from pathlib import Path
from typing import Any

import pytest

from acknowledger import Acknowledger, Mosquitto
from commands import Earmark
from earmark.device import build as building
from earmark.device.build import TARGETS, build, loader, target_of, with_constants, write
from earmark.device.release import release_files
from earmark.errors import ConfigError, DeviceError
from earmark.release import MANIFEST, decode, sha256
from interpreters import command
from test_node import Node

pytest_plugins = ["command_fixtures"]

BOARDS = [name for name, target in TARGETS.items() if target.number > 3]
HEAP_KB = 176
"""What docs/firmware.md says that a node takes."""


@pytest.mark.parametrize("name", BOARDS)
def test_a_release_fits_the_board(name: str) -> None:
    files, target = build(name), TARGETS[name]
    manifest = decode(files[MANIFEST])
    assert (manifest.target, manifest.mpy) == (name, target.mpy)
    assert target_of(manifest.mpy) == name
    assert [file.path for file in manifest.files] == [path for path in files if path != MANIFEST]
    assert all(sha256(files[file.path]) == file.digest for file in manifest.files)
    assert {"main.mpy", "app.mpy", "updates.mpy", "board/esp32.mpy", "sensors/__init__.mpy"} <= set(files)
    assert "loader.mpy" not in files
    size = sum(map(len, files.values()))
    assert 60_000 < size <= target.flash
    words = (Path(building.__file__).resolve().parents[3] / "docs" / "firmware.md").read_text()
    [row] = [line for line in words.splitlines() if line.startswith(f"| `{name}` |")]
    taken, room = (int(cell.split()[0]) for cell in row.split("|")[3:5])
    assert abs(taken - size / 1000) < 15, "docs/firmware.md says what a release takes: bring it up to date"
    assert room == target.flash >> 10
    if name == "esp32":
        assert build(name) == files
        board = release_files(manifest.mpy)
        assert list(board)[-2:] == [f"/a/{MANIFEST}", "/main.py"]
        assert board["/main.py"] == loader()


def test_what_does_not_fit_is_no_release(monkeypatch: pytest.MonkeyPatch) -> None:
    small = building.Target("", 0, "a small board", 1000)
    monkeypatch.setitem(TARGETS, "linux", small)
    with pytest.raises(ConfigError, match="there is room for 1,000"):
        build("linux")
    for mpy in (0, 5 | 3 << 8 | 10 << 10, 6 | 2 << 8 | 10 << 10, 6 | 3 << 8 | 9 << 10):
        with pytest.raises(DeviceError, match="unknown here"):
            target_of(mpy)


def test_private_constants_lose_their_names_and_stay_on_their_lines() -> None:
    source = "_A, _B = 1, -2  # two\n_S = 'a'\n_SUM = 1 << 4\nK = 3\n_L = (1, 2)\n_M = _A + 1\n_X, _Y = 1, len('')\n"
    assert with_constants(source).splitlines() == [
        "_A = const(1); _B = const(-2)  # two",
        "_S = const('a')",
        "_SUM = const(1 << 4)",
        *source.splitlines()[3:],
    ]


def test_the_command(earmark: Earmark, tmp_path: Path) -> None:
    said = earmark("node", "build", "linux", tmp_path / "made", "--number", 7, "--version", "x 7", "--json")
    assert said.status == 0, said.err
    assert said.json()["number"] == 7
    assert decode((tmp_path / "made" / MANIFEST).read_bytes()).version == "x 7"
    assert earmark("node", "build", "linux", tmp_path / "made").status == 3
    assert "Release 1" in earmark("node", "build", "linux", tmp_path / "other").out


def test_a_node_lives_in_the_memory_that_the_document_says(tmp_path: Path) -> None:
    """The compiled firmware under MicroPython 32-bit, loader and all, within the heap that docs/firmware.md names."""
    write(build("linux-x86"), tmp_path / "slot")
    broker = Mosquitto(tmp_path)
    broker.start()
    gateway = Acknowledger(broker.port)
    settings: dict[str, Any] = {
        "site": "farm",
        "name": "node-1",
        "gateway_key": gateway.key.hex(),
        "operator_key": gateway.key.hex(),
        "broker": {"host": "127.0.0.1", "port": broker.port, "retry_s": [0.05, 0.5]},
        "sensors": [{"driver": "modelled"}, {"driver": "waiting"}],
        "interval_s": 1,
    }
    node = Node([*command("micropython-32"), "-X", f"heapsize={HEAP_KB}K"], tmp_path, settings)
    try:
        (tmp_path / "slot").rename(node.folder / "a")
        (node.folder / "loader.py").write_bytes(loader())
        node.use_loader()
        node.start()
        gateway.wait(lambda: len(gateway.statements) >= 6)
        assert "MemoryError" not in node.log.read_text()
        assert "memory" not in node.log.read_text()
    finally:
        node.kill()
        gateway.close()
        broker.stop()
