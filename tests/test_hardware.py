"""Boards, parts, kits: the files are whole, builds have no conflict, and every conflict is found by its name."""

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from earmark.cose import did
from earmark.errors import ConfigError
from earmark.hardware import checks, library
from earmark.hardware.build import Build, fit
from earmark.hardware.firmware import node_settings
from earmark.hardware.kit import parse_kit

ROOT = Path(__file__).resolve().parent.parent
BUILDS = [(kit.name, board) for kit in library.kits().values() for board in kit.plan.boards]
PLAN = {"title": "A test", "boards": ["esp32-devkitc", "esp32-c3-devkitm-1", "pico-w", "raspberry-pi"]}
POWER = {"name": "power", "part": "usb-supply", "cable": "usb-micro"}


def built(kit: str, board: str) -> Build:
    return fit(library.kit(kit), library.board(board))


def own(board: str, *uses: dict[str, Any], **tables: Any) -> Build:
    """A build of a kit of one's own, fed by USB."""
    kit = parse_kit("own", {"kit": PLAN, "use": [POWER, *uses]} | tables, library.parts(), "own.toml")
    return fit(kit, library.board(board))


def names(build: Build) -> list[str]:
    return [conflict.name for conflict in checks.check(build)]


def qt(name: str, part: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "part": part, "bus": "i2c0", "cable": "qt-sockets"} | more


def test_every_kit_is_for_an_esp32_and_a_pico_and_every_board_has_a_kit() -> None:
    boards = library.boards()
    assert set(library.kits()) == {"climate", "cold-chain", "rs485-bridge", "soil"}
    for kit in library.kits().values():
        assert {"esp32", "rp2"} <= {boards[board].facts.platform for board in kit.plan.boards}, kit.name
    assert {board for _, board in BUILDS} == set(boards)


def test_facts_name_their_sources_and_prices_their_class() -> None:
    classes = library.prices().classes
    for board in library.boards().values():
        assert board.facts.sources
        assert board.facts.number
        assert board.facts.price in classes, board.name
    for part in library.parts().values():
        assert part.sources or part.kind not in ("sensor", "resistor", "transceiver", "battery"), part.name
        assert part.price in classes, part.name
        assert part.number or part.unverified or not part.maker or part.kind == "supply", part.name


def test_no_pin_stands_twice_on_a_board() -> None:
    for board in library.boards().values():
        gpios = [pin.gpio for pin in board.pins if pin.gpio >= 0]
        for values in (gpios, [pin.label for pin in board.pins], [pin.at for pin in board.pins]):
            assert len(values) == len(set(values)), board.name


@pytest.mark.parametrize(("kit", "board"), BUILDS)
def test_a_kit_works_on_its_boards(kit: str, board: str) -> None:
    build = built(kit, board)
    assert checks.check(build) == []
    labels = {pin.label for pin in build.board.pins}
    ends = {"board": labels, "joints": set(build.joints)} | {
        use.name: {terminal.label for terminal in build.part(use).terminals} for use in build.uses
    }
    assert all(end.label in ends[end.node] for wire in build.wires for end in (wire.start, wire.stop))


@pytest.fixture
def firmware(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The real firmware's settings module; its modules leave again, since tests have some of the same names."""
    folder = str(ROOT / "firmware")
    monkeypatch.setattr(sys, "path", [folder, *sys.path])
    before = set(sys.modules)
    import settings

    yield settings
    for name in set(sys.modules) - before:
        if folder in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


class Machine:
    """A double of a board: gives a bus for any settings, and does nothing on it."""

    def _bus(self, *settings: Any) -> Any:
        return lambda: 0

    i2c = uart = onewire = adc = pulses = _bus


@pytest.mark.parametrize(("kit", "board"), BUILDS)
def test_the_firmware_takes_the_settings_of_every_build(firmware: Any, kit: str, board: str) -> None:
    given = node_settings(built(kit, board))
    missing = {"mode", "buses"} - set(firmware.TABLE)
    drivers = {entry["driver"] for entry in given["sensors"]} - set(firmware.sensors.DRIVERS)
    if missing or drivers:
        pytest.skip(f"this firmware has not {', '.join(sorted(missing | drivers))} yet")
    farm = {"site": "s", "name": "n", "gateway_key": did(bytes.fromhex("d75a980182b10ab7d54bfed3c964073a"
            "0ee172f3daa62325af021a68f707511a")), "broker": {"host": "h"}}  # fmt: skip
    made = firmware.make_sensors(firmware.check(given | farm), None, Machine())
    names = [use.name for use in built(kit, board).uses if built(kit, board).part(use).driver]
    assert [sensor.name for sensor in made] == names


def test_settings_follow_the_wiring() -> None:
    pico = node_settings(built("cold-chain", "pico-w"))
    assert pico["mode"] == "deep-sleep"
    assert pico["buses"]["i2c0"] == {"kind": "i2c", "hz": 100000, "scl": 5, "sda": 4}
    assert pico["buses"]["wire"] == {"kind": "onewire", "pin": 22}
    assert pico["status_led"] == "LED"
    assert pico["send_every"] == 6
    lamp = own(ESP, {"name": "lamp", "part": "lamp"})
    assert (node_settings(lamp)["status_led"], checks.check(lamp)) == (23, [])
    assert {"driver": "battery", "name": "gauge", "pin": 26}.items() <= pico["sensors"][0].items()
    pi = node_settings(built("climate", "raspberry-pi"))
    assert pi["buses"]["i2c0"] == {"kind": "i2c", "hz": 100000, "number": 1}
    bridge = node_settings(built("rs485-bridge", "esp32-devkitc"))["buses"]["rs485"]
    assert bridge == {"kind": "uart", "baud": 9600, "tx": 17, "rx": 16, "direction": 4}


AIR, CO2 = qt("air", "sht45-qt"), qt("co2", "scd41-qt")
SOIL = {"name": "soil", "part": "soil-probe"}
PROBE = {"name": "probe", "part": "ds18b20-probe", "bus": "wire"}
PULL = {"name": "pull", "part": "resistor-4k7", "bus": "wire"}
WATER, CELLS = {"name": "water", "part": "flow-meter"}, {"name": "cells", "part": "aa-lithium-3"}
LINE = {"name": "line", "part": "rs485-module", "bus": "rs485", "cable": "jumper"}


def at(board: str, **pins: str) -> dict[str, Any]:
    return {"pins": {board: {net.replace("__", "."): label for net, label in pins.items()}}}


C3, ESP, PICO = "esp32-c3-devkitm-1", "esp32-devkitc", "pico-w"
WRONG = {
    "two lines on one pin": ("pin-used-twice", ESP, [AIR, SOIL], at(ESP, soil__signal="IO32", i2c0__scl="IO32")),
    "flash": ("reserved-pin", ESP, [AIR], at(ESP, i2c0__scl="CLK")),
    "USB serial": ("shared-pin", ESP, [AIR], at(ESP, i2c0__scl="TX")),
    "input only": ("input-only-pin", ESP, [AIR], at(ESP, i2c0__sda="IO34")),
    "no converter": ("no-analog-input", ESP, [SOIL], at(ESP, soil__signal="IO23")),
    "beyond the converter": ("adc-out-of-range", C3, [SOIL], {}),
    "ADC2": ("adc2-with-wifi", ESP, [SOIL], at(ESP, soil__signal="IO25")),
    "pull-up at IO12": ("strapping-pin", ESP, [PROBE, PULL], at(ESP, wire__data="IO12")),
    "I2C at IO2": ("strapping-pin", ESP, [AIR], at(ESP, i2c0__scl="IO2")),
    "I2C across blocks": ("wrong-function", PICO, [AIR], at(PICO, i2c0__scl="GP3")),
    "serial swapped": ("wrong-function", PICO, [LINE], at(PICO, rs485__tx="GP13", rs485__rx="GP12")),
    "5 V flow meter": ("voltage-too-high", ESP, [{"name": "water", "part": "flow-meter-5v"}], {}),
    "5 V transceiver": ("voltage-too-high", ESP, [LINE | {"part": "rs485-module-5v"}], {}),
    "one address": ("address-used-twice", ESP, [AIR, qt("air-2", "sht45-qt", after=["air"])], {}),
    "another address": ("address-impossible", ESP, [AIR | {"settings": {"address": 0x45}}], {}),
    "a meter asleep": ("asleep", ESP, [WATER], {"kit": PLAN | {"mode": "deep-sleep"}}),
    "no pull-up": ("pull-up-missing", ESP, [PROBE], {}),
    "no direction": ("direction-missing", ESP, [LINE], {}),
    "no termination": ("termination-missing", ESP, [LINE], {}),
    "not reached": ("not-connected", ESP, [AIR, qt("light", "bh1750-qt", after=["power"])], {}),
    "no feed": ("supply-missing", ESP, [AIR, qt("light", "bh1750-qt", after=["power"])], {}),
    "a meter's pull-up": ("input-only-pin", ESP, [WATER], at(ESP, water__signal="IO34")),
    "a lamp at IO0": ("strapping-pin", ESP, [{"name": "lamp", "part": "lamp"}], at(ESP, lamp__signal="IO0")),
    "two buses on one block": (
        "wrong-function",
        PICO,
        [AIR, AIR | {"name": "air-2", "bus": "i2c1"}],
        at(PICO, i2c1__scl="GP9", i2c1__sda="GP8"),
    ),
    "two buses of one number": (
        "wrong-function",
        ESP,
        [AIR, AIR | {"name": "air-2", "bus": "i2c1"}],
        at(ESP, i2c1__scl="IO19", i2c1__sda="IO18"),
    ),
    "USB beside a battery": ("two-supplies", PICO, [CELLS], {}),
    "a converter that nothing feeds": ("supply-missing", PICO, [{"name": "step", "part": "converter-5v"}], {}),
    "battery on no pin": ("supply-missing", ESP, [CELLS], {}),
    "battery on a board without": ("supply-out-of-range", ESP, [CELLS], {}),
}


@pytest.mark.parametrize(("name", "board", "uses", "tables"), WRONG.values(), ids=WRONG)
def test_each_conflict_is_found_by_its_name(name: str, board: str, uses: list[Any], tables: dict[str, Any]) -> None:
    build = own(board, *uses, **tables)
    if name == "direction-missing":
        build = replace(build, pins={net: pin for net, pin in build.pins.items() if not net.endswith("direction")})
    if name == "termination-missing":
        parts = build.kit.parts | {"rs485-module": replace(build.kit.parts["rs485-module"], ohm=0.0)}
        build = replace(build, kit=replace(build.kit, parts=parts))
    assert name in names(build)


def test_too_much_current_and_too_many_pull_ups() -> None:
    ten = [qt(f"light-{n}", "bh1750-qt", after=[f"light-{n - 1}"] if n else []) for n in range(12)]
    assert "pull-up-too-strong" in names(own(ESP, *ten))
    three = [qt(f"co2-{n}", "scd41-qt", after=[f"co2-{n - 1}"] if n else []) for n in range(3)]
    assert "rail-over-budget" in names(own(ESP, *three))
    weak = library.parts() | {"usb-supply": replace(library.parts()["usb-supply"], gives_ma=500.0)}
    kit = parse_kit("own", {"kit": PLAN, "use": [POWER, CO2]}, weak, "own.toml")
    assert "supply-over-budget" in names(fit(kit, library.board(ESP)))


@pytest.mark.parametrize(
    ("pins", "said"),
    [
        ({"3v3": "5V"}, "3v3 is to come from 5V, which carries 5v"),
        ({"gnd": "IO4"}, "gnd is to come from IO4, which is no supply"),
        ({"i2c0__slc": "IO4"}, "moves i2c0.slc, which is no line to a pin here"),
        ({"rs485__a": "IO4"}, "moves rs485.a, which is no line to a pin here"),
    ],
)
def test_a_kit_moves_no_supply_onto_another_pin_nor_what_it_does_not_have(pins: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        own(ESP, AIR, LINE, **at(ESP, **pins))


def test_a_part_on_the_5_v_pin_has_nothing_from_a_battery_and_a_board_alone_has_nothing() -> None:
    for uses, where in (([CELLS, {"name": "co2", "part": "mhz19", "bus": "uart"}], "5v"), ([AIR], "board")):
        kit = parse_kit("own", {"kit": PLAN, "use": uses}, library.parts(), "own.toml")
        found = {(conflict.name, conflict.where) for conflict in checks.check(fit(kit, library.board(PICO)))}
        assert ("supply-missing", where) in found


def test_two_buses_of_two_numbers_are_none_too_many() -> None:
    pins = at(ESP, i2c1__scl="IO19", i2c1__sda="IO18")
    assert names(own(ESP, AIR, AIR | {"name": "air-2", "bus": "i2c1"}, buses={"i2c1": {"number": 1}}, **pins)) == []


def test_a_pico_s_rail_has_300_ma_for_parts() -> None:
    two = [qt(f"co2-{n}", "scd41-qt", bus=f"i2c{n}") for n in range(2)]
    pins = at(PICO, i2c1__scl="GP3", i2c1__sda="GP2")
    assert names(own(PICO, *two[:1])) == []
    assert names(own(PICO, *two, **pins)) == ["rail-over-budget"]


def test_every_name_is_tested_and_said_with_a_cure() -> None:
    tested = {row[0] for row in WRONG.values()} | {"pull-up-too-strong", "rail-over-budget", "supply-over-budget"}
    assert tested == set(checks.CONFLICTS)
    for _, board, uses, tables in WRONG.values():
        for conflict in checks.check(own(board, *uses, **tables)):
            assert conflict.name in checks.CONFLICTS
            assert conflict.message
            assert conflict.cure


REFUSED = {
    "unknown part": ({"use": [{"name": "a", "part": "warp-drive"}]}, "warp-drive"),
    "unknown setting": ({"use": [{"name": "a", "part": "sht45-qt", "colour": "red"}]}, "colour"),
    "a name twice": ({"use": [POWER, POWER]}, "two uses of one board are called power"),
    "no name": ({"use": [POWER | {"name": "Power!"}]}, "not a name"),
    "after nothing": ({"use": [AIR | {"after": ["moon"]}]}, "moon"),
    "no such mode": ({"kit": {"mode": "sometimes"}}, "always-on, deep-sleep"),
    "no such joint": ({"kit": {"joint": "glue"}}, "glue"),
    "no wire": ({"kit": {"wire": ""}}, "there is no part"),
    "an unknown table": ({"usse": []}, "unknown table [usse]"),
    "uses that are no tables": ({"use": {"name": "a"}}, "[[use]], a table for each"),
    "settings that are none": ({"use": [AIR | {"settings": 3}]}, "its settings as"),
    "pins that are none": ({"pins": {"pico-w": 3}}, "[pins.BOARD]"),
    "a bus that is none": ({"buses": 1}, "[buses]"),
    "a pin by its number": ({"pins": {"pico-w": {"i2c0.scl": 5}}}, "a text in double quotes"),
    "no bus": ({"use": [{"name": "air", "part": "sht45-qt"}]}, "hangs on a bus"),
    "no sending": ({"kit": {"send_every": 0}}, "at least 1"),
    "no interval": ({"kit": {"interval_s": 0}}, "at least 1"),
}  # fmt: skip


@pytest.mark.parametrize(("tables", "said"), REFUSED.values(), ids=REFUSED)
def test_a_kit_that_is_none_is_refused_by_what_is_wrong(tables: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        parse_kit("own", {"kit": PLAN} | tables, library.parts(), "own.toml")


def test_pins_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="GPIO99"):
        own(ESP, AIR, **at(ESP, i2c0__scl="GPIO99"))
    with pytest.raises(ConfigError, match=r"no pin for soil, AOUT \(analog\)"):
        own("raspberry-pi", SOIL)
    with pytest.raises(ConfigError, match="there is no kit"):
        library.kit("warp")
    with pytest.raises(ConfigError, match="there is no board"):
        library.board("warp")
    path = tmp_path / "mine.toml"
    for text, said in (("[kit", "not TOML"), ('[kit]\ntitle = "Mine"\n', "")):
        path.write_text(text)
        if said:
            with pytest.raises(ConfigError, match=said):
                library.kit(str(path))
    assert library.kit(str(path)).plan.title == "Mine"
    with pytest.raises(ConfigError, match="cannot read"):
        library.kit(str(tmp_path / "none.toml"))


def test_names_of_conflicts_and_boards_are_documented() -> None:
    words = (ROOT / "docs" / "hardware.md").read_text()
    for name, meaning in checks.CONFLICTS.items():
        assert f"| `{name}` | {meaning} |" in words
    for board in library.boards().values():
        assert f"| {board.facts.title} ({board.facts.number}) | {board.facts.key} |" in words
    for kit in library.kits().values():
        assert f"[{kit.plan.title}](kits/{kit.name}.md)" in words


def test_the_kit_of_the_document_works(tmp_path: Path) -> None:
    [text] = re.findall(r"^```toml\n(.*?)^```$", (ROOT / "hardware" / "README.md").read_text(), re.M | re.S)
    path = tmp_path / "bench.toml"
    path.write_text(text)
    build = fit(library.kit(str(path)), library.board("pico-w"))
    assert checks.check(build) == []
    assert node_settings(build)["buses"]["i2c0"] == {"kind": "i2c", "scl": 9, "sda": 8}
