"""What the documents say of the code is so."""

import json
import re
import sys
from pathlib import Path

import pytest

from bench.report import GOALS, shown

ROOT = Path(__file__).resolve().parent.parent


def test_every_setting_of_the_node_stands_in_the_firmware_document_with_its_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "firmware"), *sys.path])
    before = set(sys.modules)
    import sensors
    import settings

    words = (ROOT / "docs" / "firmware.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", words, re.MULTILINE))
    for name, (default, _) in settings.TABLE.items():
        shown = (
            "required"
            if default is settings.REQUIRED
            else {"None": "none", "False": "false"}.get(str(default), str(default))
        )
        assert rows[name].strip() == shown, name
    for table in (settings.BROKER, settings.TLS, settings.WIFI):
        assert all(f"`{name}`" in words for name in table)
    for driver in sensors.DRIVERS:
        assert driver in rows
        assert all(f"`{name}`" in words for name in sensors.driver(driver).SETTINGS)
    import bus
    from bus import kinds
    from sensors import ksx3267, modbus

    assert dict(re.findall(r"^\| `([a-z-]+)` \| [^|]+ \| (.+) \|$", words, re.MULTILINE)).keys() >= set(bus.ERRORS)
    for table in (*kinds.KINDS.values(), kinds.KINDS, modbus.REGISTER, ksx3267.CHANNEL):
        assert all(f"`{name}`" in words for name in table)
    for name in set(sys.modules) - before:  # the firmware's modules have names that the tests use too
        if str(ROOT / "firmware") in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_links_between_documents_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "hardware").glob("*.md"))]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())]
    assert links
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []


def test_the_figures_of_the_performance_document_are_the_report_s() -> None:
    figures = json.loads((ROOT / "tests" / "bench" / "report.json").read_text())
    if figures["quick"]:
        pytest.skip(
            "the report here is a quick run's, which is not to be quoted: `git checkout tests/bench` has the other"
        )
    words = (ROOT / "docs" / "performance.md").read_text()
    for key in ("machine.name", "machine.cpu", "machine.date", "machine.python"):
        assert figures[key] in words, key
    rows = re.findall(r"^\| `([\w.]+)` \| \**([\d.,]+)\** \|", words, re.MULTILINE)
    assert {goal.key for goal in GOALS} <= {key for key, _ in rows}
    assert rows == [(key, shown(figures[key])) for key, _ in rows]


def test_every_error_that_the_firmware_names_is_one_of_its_list() -> None:
    source = "".join(
        path.read_text() for folder in ("bus", "sensors") for path in (ROOT / "firmware" / folder).glob("*.py")
    )
    listed = re.search(r"^ERRORS = \((.*?)^\)", source, re.MULTILINE | re.DOTALL)
    assert listed
    errors = set(re.findall(r'"([a-z-]+)"', listed[1]))
    named = set(re.findall(r'SensorError\(\s*"([a-z-]+)"', source)) | set(re.findall(r'\d: "([a-z-]+)",', source))
    assert {"crc", "no-answer", "illegal-address"} <= named <= errors
