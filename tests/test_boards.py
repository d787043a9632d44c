"""Boards on a serial port: the real mpremote over a pty, to a double with the real MicroPython and littlefs behind it.

What is a double: the REPL's own bytes, the port (a pty) and what the unix port lacks (board_runner.py).  No board was
there.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import pytest
from nacl.signing import SigningKey

import interpreters
from board_double import BoardDouble
from commands import Earmark, Said
from earmark import cose
from earmark.config import Farm
from earmark.device import board as board_module
from earmark.device import enrolment, install, ports
from earmark.device.board import Board, open_board
from earmark.device.fingerprint import blinks, fingerprint
from earmark.errors import ConfigError, DeviceError
from earmark.hardware import library
from earmark.hardware.build import fit
from earmark.hardware.firmware import node_settings
from earmark.operator import enrol as enrol_key
from earmark.operator import find_key
from services import free_port, gateway, make_farm, takes_connections, wait_for
from test_board_images import esp, program, put

pytest_plugins = ["command_fixtures"]

Enrol = Callable[..., Said]
Patch = pytest.MonkeyPatch


@pytest.fixture(scope="module")
def micropython() -> list[str]:
    """The interpreter in the word size of boards."""
    try:
        return interpreters.command("micropython-32")
    except interpreters.MissingInterpreter as missing:
        if interpreters.required():
            pytest.fail(str(missing))
        pytest.skip(str(missing))


@pytest.fixture
def board(micropython: list[str], tmp_path: Path) -> Iterator[BoardDouble]:
    """A board with MicroPython and nothing else, plugged in."""
    double = BoardDouble(micropython, tmp_path / "flash")
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
        return earmark("node", "enroll", name, "--farm", farm.folder, "--port", port, "--wait", "60", *wifi, *more)

    return call


def test_two_commands_lead_from_a_blank_board_to_its_first_reading_in_the_log(
    earmark: Earmark, farm: Farm, enrol: Enrol, micropython: list[str], tmp_path: Path, monkeypatch: Patch
) -> None:
    """Under five minutes, with 115,200 bit/s in both directions, as boards have.  esptool's own time is not in it."""
    written = program(tmp_path / "bin", "esptool")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    image = put(tmp_path, "micropython.bin", esp(0))
    board = BoardDouble(micropython, tmp_path / "slow", baud_rate=115_200)
    board.image = written
    with gateway(farm), board:
        wait_for(lambda: takes_connections(farm.config.broker.port), "the broker takes connections")
        began = time.monotonic()
        assert earmark("node", "flash", "--port", board.port, "--micropython", image).status == 0
        said = enrol(board.port, "field-1", "--json")
        assert said.json()["first_reading"] is not None, said.err
        seconds = time.monotonic() - began
        print(f"from a blank board to its first reading: {seconds:.1f} s, and what esptool takes")
    assert seconds < 60


def test_a_key_stays_on_its_board_and_no_secret_is_shown(
    earmark: Earmark, board: BoardDouble, farm: Farm, enrol: Enrol
) -> None:
    assert earmark("node", "flash", "--port", board.port).status == 0
    said = enrol(board.port, "field-1")
    assert said.status == 0, said.err
    with open_board(board.port) as opened:
        about = enrolment.look(opened)
        settings = enrolment.settings_on(opened)
        seed = opened.call("files", "text", "/earmark/authority.pem")
    assert seed == (farm.folder / "authority.pem").read_text()
    shown = said.out + said.err
    assert about.key is not None
    assert fingerprint(about.key) in shown
    assert "correct horse" not in shown
    assert settings["broker"]["password"] not in shown
    assert settings["site"] == "home"
    assert cose.did(about.key) in shown


def test_the_firmware_is_written_once_and_repaired(earmark: Earmark, board: BoardDouble) -> None:
    first = earmark("node", "flash", "--port", board.port, "--json").json()
    assert first["bytes"] > 10_000
    assert earmark("node", "flash", "--port", board.port, "--json").json()["bytes"] == 0
    with open_board(board.port) as opened:
        install.write(opened, "/a/app.mpy", b"damaged")
        install.write(opened, "/a/stray.mpy", b"of an older firmware")
    again = earmark("node", "flash", "--port", board.port, "--json").json()
    assert 0 < again["bytes"] < first["bytes"]
    with open_board(board.port) as opened:
        assert "/a/stray.mpy" not in dict(opened.call("files", "below", "/a"))


def test_a_board_that_runs_another_program_is_interrupted(earmark: Earmark, board: BoardDouble) -> None:
    with open_board(board.port) as opened:
        install.write(opened, "/main.py", b"import time\nwhile True:\n    time.sleep(1)\n    print('busy')\n")
        opened.restart()
    said = earmark("node", "monitor", "--port", board.port, "--seconds", "4", "--json")
    assert "busy" in [line["text"] for line in said.json()["lines"]]
    said = earmark("node", "flash", "--port", board.port)
    assert said.status == 0, said.err


def test_a_board_of_another_farm_is_refused_and_can_be_taken_over(
    earmark: Earmark, board: BoardDouble, farm: Farm, enrol: Enrol, tmp_path: Path
) -> None:
    other = make_farm(tmp_path / "other", free_port())
    assert earmark("node", "flash", "--port", board.port).status == 0
    assert enrol(board.port, "shed", "--farm", str(other.folder)).status == 0
    starts = board.starts
    refused = enrol(board.port, "field-1")
    assert refused.status == 3
    assert "is the node shed of the site home, another farm's" in refused.err
    assert "--new-key" in refused.err
    wait_for(lambda: board.starts > starts, "the node goes on")
    words = ["--farm", farm.folder, "--port", board.port, "--yes"]
    enrol_key(farm, SigningKey(bytes(32)).verify_key.encode(), "held")
    assert "is the node shed" in earmark("node", "rotate", "held", "--reason", "new board", *words).err
    assert "the name 'held' is" in enrol(board.port, "held", "--new-key").err
    with open_board(board.port) as opened:
        about = enrolment.look(opened)
    assert about.node is not None
    assert (about.node["name"], about.key) == ("shed", find_key(other, "shed").key)
    taken = enrol(board.port, "field-1", "--new-key", "--json")
    assert taken.status == 0, taken.err
    assert cose.key_of(taken.json()["did"]) != find_key(other, "shed").key


def test_a_revoked_key_is_not_enrolled_again(earmark: Earmark, board: BoardDouble, farm: Farm, enrol: Enrol) -> None:
    assert earmark("node", "flash", "--port", board.port).status == 0
    assert enrol(board.port, "field-1").status == 0
    again = enrol(board.port, "field-1")
    assert again.status == 0, again.err
    other = enrol(board.port, "field-2")
    assert (other.status, "is field-1 already" in other.err) == (3, True)
    assert earmark("node", "revoke", "field-1", "--reason", "lost", "--farm", farm.folder).status == 0
    ended = enrol(board.port, "field-1")
    assert (ended.status, "has a key that ended at leaf" in ended.err) == (3, True)
    words = ["--farm", farm.folder, "--port", board.port, "--yes"]
    assert "field-1 ended at leaf" in earmark("node", "rotate", "field-1", "--reason", "yearly", *words).err
    with open_board(board.port) as opened:
        assert enrolment.look(opened).coming is None


def test_a_flash_without_room_is_said_before_anything_is_written(
    earmark: Earmark, micropython: list[str], tmp_path: Path
) -> None:
    with BoardDouble(micropython, tmp_path / "small", kib=96) as board:
        said = earmark("node", "flash", "--port", board.port)
        assert said.status == 3
        assert "KiB free" in said.err
        with open_board(board.port) as opened:
            assert opened.call("files", "below", "/") == []


def test_a_newer_firmware_without_room_leaves_the_older_one(micropython: list[str], tmp_path: Path) -> None:
    files = {"/a/app.mpy": b"1" * 4096, "/a/release.cbor": b"r", "/main.py": b"print()"}
    with BoardDouble(micropython, tmp_path / "small", kib=256) as board, open_board(board.port) as opened:
        install.install(opened, files, lambda done, total: None)
        install.write(opened, "/earmark/outbox/1", bytes(100 << 10))
        with pytest.raises(DeviceError, match="KiB free"):
            install.install(opened, files | {"/a/app.mpy": bytes(128 << 10)}, lambda done, total: None)
        assert install.digest_on(opened, "/a/app.mpy") == install._digest(files["/a/app.mpy"])
        assert install.install(opened, files, lambda done, total: None) == 0
        opened.call("files", "remove", "/earmark/outbox/1")
        install.write(opened, "/b/app.mpy", bytes(100 << 10))
        assert install.install(opened, files | {"/a/app.mpy": bytes(80 << 10)}, lambda done, total: None) > 80 << 10


def test_after_an_update_the_slot_that_runs_is_asked(earmark: Earmark, board: BoardDouble, tmp_path: Path) -> None:
    """The states are written by the loader's own code."""
    loader = run_path(str(Path(__file__).resolve().parent.parent / "firmware" / "loader.py"))
    states = loader["Slots"](str(tmp_path), str(tmp_path))
    assert earmark("node", "flash", "--port", board.port).status == 0

    def put_state(opened: Board, name: str) -> None:
        install.write(opened, f"/earmark/{name}", (tmp_path / name).read_bytes())

    with open_board(board.port) as opened:
        opened._run("import os; os.rename('/a', '/b')", 10)
        assert install.whole_slot(opened) == "/b"
        install.write(opened, "/a/release.cbor", b"of the release before")
        install.write(opened, "/a/identity.mpy", b"damaged")
        assert install.whole_slot(opened) == "/a"
        states.started(0)
        states.switch(bytes(32), 2)
        put_state(opened, "slots.0")
        put_state(opened, "slots.1")
        assert install.whole_slot(opened) == "/a", "the other one is on trial"
        states.started(1)
        states.confirm()
        newest = f"slots.{states._serial & 1}"
        put_state(opened, newest)
        assert install.whole_slot(opened) == "/b"
        key = enrolment.make_key(opened)
        assert enrolment.look(opened).key == key
        install.write(opened, f"/earmark/{newest}", (tmp_path / newest).read_bytes()[:-1] + b"x")
        assert install.whole_slot(opened) == "/a", "a damaged state does not count"
        put_state(opened, newest)
        opened.call("files", "remove", "/b/release.cbor")
        assert install.whole_slot(opened) == "/a", "a slot that is not whole is not started either"
    assert earmark("node", "flash", "--port", board.port).status == 0
    with open_board(board.port) as opened:
        assert install.whole_slot(opened) == "/a"


def test_an_answer_that_was_garbled_is_not_shown() -> None:
    def exec_raw(code: str, timeout: float) -> tuple[bytes, bytes]:
        return b'\x02"{\\"password\\": \\"correct horse', b""

    board = board_module.Board("/dev/ttyA1", SimpleNamespace(exec_raw=exec_raw))  # type: ignore[arg-type]
    with pytest.raises(DeviceError) as wrong:
        enrolment.settings_on(board)
    assert "no answer to files.text" in str(wrong.value)
    assert "horse" not in str(wrong.value)


def test_what_does_not_answer_is_no_micropython(earmark: Earmark, board: BoardDouble, monkeypatch: Patch) -> None:
    monkeypatch.setattr(board_module, "ENTER_S", 0.3)
    board.image = Path("nowhere")
    board.unplug()
    said = earmark("node", "flash", "--port", board.plug())
    assert said.status == 3
    assert "no MicroPython answers" in said.err
    assert "--micropython" in said.err


def test_without_earmark_a_board_is_not_enrolled(earmark: Earmark, board: BoardDouble, enrol: Enrol) -> None:
    said = enrol(board.port, "field-1")
    assert (said.status, "`earmark node flash` puts it there" in said.err) == (3, True)


@pytest.mark.parametrize(
    ("count", "what"),
    [(0, "a cable that carries data"), (2, "2 boards are connected: /dev/ttyA1 (ESP32-S3 or -C3")],
)
def test_a_board_is_found_where_there_is_one(earmark: Earmark, monkeypatch: Patch, count: int, what: str) -> None:
    rows = [
        SimpleNamespace(device=f"/dev/ttyA{n}", vid=0x303A, pid=0x1001, product="x", serial_number="1") for n in (1, 2)
    ]
    serial = SimpleNamespace(device="/dev/ttyS0", vid=None, pid=None, product=None, serial_number=None)
    monkeypatch.setattr(ports.list_ports, "comports", lambda: [serial, *rows[:count]])
    said = earmark("node", "doctor")
    assert (said.status, what in said.err) == (3, True), said.err
    monkeypatch.setattr(ports.list_ports, "comports", lambda: [serial, rows[0]])
    assert ports.choose("auto") == "/dev/ttyA1"
    assert earmark("node", "list", "--boards", "--json").json()["boards"][0]["device"] == "/dev/ttyA1"


def test_a_port_that_is_not_open_to_this_user_names_the_group(earmark: Earmark, monkeypatch: Patch) -> None:
    monkeypatch.setattr(ports.os, "access", lambda path, mode: False)
    said = earmark("node", "monitor", "--port", "/dev/null")
    assert (said.status, "usermod -aG" in said.err) == (3, True)
    monkeypatch.undo()
    nowhere = earmark("node", "monitor", "--port", "/dev/ttyNOWHERE")
    assert (nowhere.status, "there is no port /dev/ttyNOWHERE" in nowhere.err) == (3, True)


def test_the_doctor_says_what_is_ill_and_what_helps(
    earmark: Earmark, board: BoardDouble, farm: Farm, enrol: Enrol
) -> None:
    bare = earmark("node", "doctor", "--port", board.port, "--json")
    assert bare.status == 1
    assert [(check["what"], check["state"]) for check in bare.json()["checks"]] == [
        ("board", "well"),
        ("firmware", "ill"),
    ]
    assert earmark("node", "flash", "--port", board.port).status == 0
    unset = earmark("node", "doctor", "--port", board.port, "--json").json()["checks"][-1]
    assert (unset["what"], unset["state"]) == ("settings", "ill")
    assert enrol(board.port, "field-1").status == 0
    away = checks(earmark("node", "doctor", "--port", board.port, "--json"))
    assert (away["broker"]["state"], away["clock"]["state"]) == ("ill", "well")
    assert "gateway" in away["broker"]["cure"]
    with socket.create_server(("127.0.0.1", farm.config.broker.port)):
        well = earmark("node", "doctor", "--port", board.port, "--json")
    assert well.status == 0, well.out
    assert {check["what"] for check in well.json()["checks"]} >= {"key", "outbox", "sensor waiting (waiting)", "radio"}
    with open_board(board.port) as opened:
        settings = enrolment.settings_on(opened)
        settings["wifi"]["ssid"] = "neighbours"
        enrolment.set_up(opened, settings, None)
    ill = checks(earmark("node", "doctor", "--port", board.port, "--json"))
    assert "neighbours is not among the 1 that it hears" in ill["radio"]["seen"]
    assert "correct horse" not in str(ill)


def checks(said: Said) -> dict[str, dict[str, str]]:
    assert said.status == 1, said.out + said.err
    return {check["what"]: check for check in said.json()["checks"]}


def test_a_kit_sets_the_board_up_and_the_doctor_asks_its_buses(
    earmark: Earmark, board: BoardDouble, enrol: Enrol, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(enrolment, "BLINK_MS", 1)
    assert earmark("node", "flash", "--port", board.port).status == 0
    alone = enrol(board.port, "field-1", "--kit", "climate")
    assert (alone.status, "--kit and --board go together" in alone.err) == (3, True)
    said = enrol(board.port, "field-1", "--kit", "climate", "--board", "pico-w")
    assert said.status == 0, said.err
    with open_board(board.port) as opened:
        settings = enrolment.settings_on(opened)
        key = enrolment.look(opened).key
    kit = node_settings(fit(library.kit("climate"), library.board("pico-w")))
    assert key is not None
    assert {name: settings[name] for name in kit} == kit
    assert f"blinks the numbers {' '.join(map(str, blinks(key)))}" in said.words
    found = checks(earmark("node", "doctor", "--port", board.port, "--json"))
    assert (found["bus i2c0 (i2c)"]["state"], found["bus i2c0 (i2c)"]["seen"]) == ("ill", "nothing answers")
    assert "wires" in found["bus i2c0 (i2c)"]["cure"]
    assert {what.partition(" ")[0] for what, check in found.items() if check["state"] == "ill"} >= {"bus", "sensor"}
    assert "no-answer" in found["sensor air (sht4x)"]["seen"]


def test_a_node_is_enrolled_only_by_who_looked(
    earmark: Earmark, board: BoardDouble, farm: Farm, tmp_path: Path
) -> None:
    assert earmark("node", "flash", "--port", board.port).status == 0
    password = put(tmp_path, "word", b"correct horse")
    password.chmod(0o600)
    words = ["--farm", farm.folder, "--port", board.port, "--wifi", "farm", "--wifi-password-file", password]
    said = earmark("node", "enroll", "field-1", *words)
    assert (said.status, "say --yes. Nothing was done" in said.err) == (3, True)
    with pytest.raises(ConfigError):
        find_key(farm, "field-1")
