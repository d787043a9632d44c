"""What follows from a build: wiring, bill of material, battery life, build pages; and the commands that show them."""

import csv
import html
import importlib.util
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from commands import Earmark
from earmark.errors import ConfigError
from earmark.hardware import battery, bom, library
from earmark.hardware.build import Build, fit
from earmark.hardware.kit import parse_kit
from earmark.hardware.wiring import connections

pytest_plugins = ["command_fixtures"]

ROOT = Path(__file__).resolve().parent.parent
WIREVIZ = Path(sys.executable).with_name("wireviz")


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """tools/kits.py."""
    spec = importlib.util.spec_from_file_location("kits_tool", ROOT / "tools" / "kits.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def built(kit: str, board: str) -> Build:
    return fit(library.kit(kit), library.board(board))


def test_pages_and_wiring_are_what_hardware_says(tool: ModuleType) -> None:
    texts = tool.texts()
    wrong = [path.name for path, text in texts.items() if not path.exists() or path.read_text() != text]
    assert wrong == [], "run make kits"
    kept = {path for folder in (tool.PAGES, tool.WIRING) for path in folder.iterdir()}
    pictures = {tool.PAGES / f"{build.name}.svg" for build in tool.builds()}
    assert kept == set(texts) | pictures


def test_each_picture_shows_every_wire_and_part(tool: ModuleType) -> None:
    for build in tool.builds():
        picture = (tool.PAGES / f"{build.name}.svg").read_text()
        words = {html.unescape(text).strip() for text in re.findall(r"<text[^>]*>([^<]+)</text>", picture)}
        assert {use.name for use in build.uses} <= words, build.name
        for start, stop, _, _ in connections(build):
            pin = re.sub(r"^(board|joint) ", lambda word: {"board ": "board:", "joint ": "joints:"}[word[0]], start)
            name, _, label = stop.partition(" ")
            end = f"joints:{label}" if name == "joint" else f"{name}:{label}"
            for wanted in (pin if ":" in pin else pin.replace(" ", ":", 1), end):
                assert wanted in words, (build.name, wanted)


@pytest.mark.skipif(not WIREVIZ.exists() or not shutil.which("dot"), reason="WireViz or Graphviz is not installed")
def test_wireviz_draws_the_wiring(tool: ModuleType, tmp_path: Path) -> None:
    picture = tool.draw(tool.WIRING / "rs485-bridge-pico-w.yml", tmp_path).read_text()
    assert picture.rstrip().endswith("</svg>")
    kept = (tool.PAGES / "rs485-bridge-pico-w.svg").read_text()
    texts = [re.findall(r"<text[^>]*>([^<]+)</text>", drawn) for drawn in (picture, kept)]
    assert sorted(texts[0]) == sorted(texts[1]), "run make kits"


def test_links_of_the_pages_lead_somewhere(tool: ModuleType) -> None:
    for path in tool.PAGES.glob("*.md"):
        text = path.read_text()
        anchors = {
            re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in re.findall(r"^#+ (.+)$", text, re.M)
        }
        for link, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", text):
            assert not link or (path.parent / link).exists(), link
            assert link or anchor in anchors, anchor


def test_a_bill_counts_what_the_wiring_needs() -> None:
    prices = library.prices()
    made = bom.bill(built("climate", "esp32-devkitc"), prices)
    count = {line.title: line.count for line in made.lines}
    assert count["STEMMA QT cable, 10 cm"] == 2
    assert count["ESP32-DevKitC V4 with ESP32-WROOM-32E"] == 1
    assert not any("Lever" in title for title in count)
    soil = {line.title: line for line in bom.bill(built("soil", "pico-w"), prices).lines}
    probes = soil["Capacitive soil moisture probe"]
    low, high = prices.classes["d"]
    assert (probes.count, probes.low, probes.high, probes.uses) == (3, 3 * low, 3 * high, "soil-1, soil-2, soil-3")
    bridge = {line.title for line in bom.bill(built("rs485-bridge", "pico-w"), prices).lines}
    assert not any("7-in-1" in title or "KS X" in title for title in bridge), "the farm has them"
    assert made.low == sum(line.low for line in made.lines) < made.high


def test_a_net_of_more_wires_than_levers_takes_more_joints() -> None:
    build = built("soil", "pico-w")
    assert build.joints == {"3v3": 7, "gnd": 6, "wire.data": 3}
    assert bom.joints(build) == 2 + 2 + 1


def test_a_bill_as_csv_and_markdown() -> None:
    made = bom.bill(built("soil", "pico-w"), library.prices())
    rows = list(csv.DictReader(io.StringIO(bom.as_csv(made))))
    assert [int(row["count"]) for row in rows[:-1]] == [line.count for line in made.lines]
    assert float(rows[-1]["high_EUR"]) == pytest.approx(made.high, abs=0.01)
    assert f"| | **in all** | | **{bom.span(made.low, made.high)}** | |" in bom.as_markdown(made)


def test_battery_life_is_charge_over_current() -> None:
    build = built("cold-chain", "esp32-c3-devkitm-1")
    cells = battery.cells_of(build)
    duty = battery.Duty("deep-sleep", 600, 3, 6, send_every=3)
    life = battery.estimate(build, cells, duty)
    draw = build.board.draw
    parts = [build.part(use) for use in build.uses if not build.part(use).terminal("bat")]
    active, asleep = sum(p.active_ma for p in parts), sum(p.sleep_ma for p in parts)
    charge = 3 * (draw.cpu_low_ma + active) + 2 * (draw.wifi_low_ma + asleep) + 595 * (draw.sleep_low_ma + asleep)
    assert life.average_ma[0] == pytest.approx(charge / 600 + draw.rest_low_ma + 0.17)
    fade = cells.capacity_mah * cells.fade_a_year / (365 * 24)
    assert life.days[1] == pytest.approx(cells.capacity_mah / (life.average_ma[0] + fade) / 24)
    assert life.days[0] < life.days[1]


def test_a_switching_regulator_passes_power_on() -> None:
    build = built("cold-chain", "pico-w")
    cells, always = battery.cells_of(build), battery.Duty("always-on", 600, 3, 6)
    draw, facts = build.board.draw, build.board.facts
    active = sum(build.part(use).active_ma for use in build.uses if not build.part(use).terminal("bat"))
    expected = (draw.idle_low_ma + active) * 3.3 / (4.5 * facts.efficiency) + draw.rest_low_ma + 0.17
    assert battery.estimate(build, cells, always).average_ma[0] == pytest.approx(expected)


def test_sleep_cold_and_pace_change_battery_life_as_they_should() -> None:
    build = built("cold-chain", "pico-w")
    cells = battery.cells_of(build)

    def lasts(mode: str = "deep-sleep", interval_s: float = 600, at_c: float = 20) -> float:
        return battery.estimate(build, cells, battery.duty_of(build, mode, interval_s, at_c)).days[0]

    lasts_best = battery.estimate(build, cells, battery.duty_of(build)).days[1]
    assert lasts("always-on") < lasts()
    assert lasts(interval_s=3600) > lasts()
    assert (
        lasts(at_c=40)
        == lasts()
        > lasts(at_c=10)
        > lasts(at_c=0)
        > lasts(at_c=-10)
        > lasts(at_c=-20)
        == lasts(at_c=-30)
    )
    assert lasts(at_c=-20) / lasts() == pytest.approx(cells.share_at_minus_20c, rel=1e-3)
    rarely = battery.estimate(build, cells, battery.duty_of(build, send_every=60))
    often = battery.estimate(build, cells, battery.duty_of(build, send_every=1))
    assert often.days[1] < lasts_best < rarely.days[1]
    with pytest.raises(ConfigError, match="no time to sleep"):
        lasts(interval_s=5)
    with pytest.raises(ConfigError, match="is no mode"):
        lasts("dozing")
    with pytest.raises(ConfigError, match="has no battery"):
        battery.cells_of(built("climate", "pico-w"))


def test_everything_assumed_is_said() -> None:
    build = built("cold-chain", "pico-w")
    life = battery.estimate(build, battery.cells_of(build), battery.duty_of(build, at_c=-20))
    said = dict(life.assumptions)
    assert {"mode", "awake", "Wi-Fi", "asleep", "regulator", "battery", "self-discharge", "air", "goods"} <= set(said)
    assert said["battery"] == "3,000 mAh, 80% of it at -20 °C"


def test_a_panel_is_enough_with_twice_what_is_taken() -> None:
    build = built("cold-chain", "pico-w")
    cells = battery.cells_of(build)
    life = battery.estimate(build, cells, battery.duty_of(build))
    takes = life.average_ma[1] * 24 * 4.5 / 1000
    assert battery.solar(life, cells, 5, 2).gives_wh == pytest.approx(6)
    assert battery.solar(life, cells, 5, 2).takes_wh == pytest.approx(takes)
    assert battery.solar(life, cells, 2 * takes / 1.2 + 0.01, 2).is_enough
    assert not battery.solar(life, cells, 2 * takes / 1.2 - 0.01, 2).is_enough


def test_the_commands(earmark: Earmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    listed = earmark("kit", "list", "--json").json()
    assert {kit["name"] for kit in listed["kits"]} == set(library.kits())
    assert "cold-chain" in earmark("kit", "list").out
    shown = earmark("kit", "show", "soil", "--board", "pico-w")
    assert "board GP26 (31) soil-1 AOUT blue" in shown.words
    grove = earmark("kit", "show", "cold-chain", "--board", "pico-w").words
    assert "board GP5 (7) air SCL yellow" in grove
    assert "board GP4 (6) air SDA white" in grove
    small = earmark("kit", "show", "soil", "--board", "esp32-devkitc")
    assert "Its memory: its 112 KB are too little for a node" in small.words
    set_up = earmark("kit", "show", "soil", "--board", "esp32-devkitc", "--json").json()["settings"]
    assert set_up["sensors"][0]["pin"] == 34
    assert earmark("kit", "check", "climate").status == 0
    assert earmark("kit", "wire", "climate").status == 0
    assert (
        Path("climate-esp32-s3-devkitc-1.yml").read_text()
        == (ROOT / "hardware" / "wiring" / "climate-esp32-s3-devkitc-1.yml").read_text()
    )
    priced = earmark("kit", "bom", "soil", "-o", "order.csv")
    assert priced.status == 0
    assert "SEN0193" in Path("order.csv").read_text()
    life = earmark("kit", "battery", "cold-chain", "--interval", "3600", "--solar", "5", "--json").json()
    assert life["solar"]["is_enough"] is True
    assert "reckoned, not measured" in earmark("kit", "battery", "cold-chain", "--temperature", "-20").words


def test_the_commands_name_what_is_wrong(earmark: Earmark, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    air = '[[use]]\nname = "air"\npart = "sht45-qt"\nbus = "i2c0"\ncable = "qt-sockets"\n'
    power = '[[use]]\nname = "power"\npart = "usb-supply"\ncable = "usb-micro"\n'
    path.write_text(f'[kit]\ntitle = "Mine"\n{power}{air}[pins.esp32-devkitc]\n"i2c0.scl" = "IO34"\n')
    said = earmark("kit", "check", path, "--board", "esp32-devkitc")
    assert said.status == 1
    assert "input-only-pin: i2c0.scl must be driven, IO34 can only listen. Cure: take another pin" in said.words
    [conflict] = earmark("kit", "check", path, "--board", "esp32-devkitc", "--json").json()["conflicts"]
    assert conflict["where"] == "IO34"
    for words, status in ((("check", path), 2), (("check", "none"), 3), (("bom", "soil", "--board", "x"), 3)):
        assert earmark("kit", *words).status == status
    assert earmark("kit", "battery", "cold-chain", "--interval", "-1").status == 2


def test_a_kit_without_joints_needs_none() -> None:
    kit = parse_kit("own", {"use": [{"name": "power", "part": "usb-supply"}]}, library.parts(), "own.toml")
    assert bom.joints(fit(kit, library.board("pico-w"))) == 0


def test_the_generator_says_what_is_out_of_date() -> None:
    run = subprocess.run(
        [sys.executable, ROOT / "tools" / "kits.py", "--check"], capture_output=True, text=True, timeout=60
    )
    assert (run.returncode, run.stdout.strip()) == (0, "")
