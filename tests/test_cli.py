"""The command `earmark` as a whole: its documentation, its wrong calls, its JSON, its page; words and values."""

import json
import re
from decimal import Decimal
from pathlib import Path

import pytest

from commands import DOCS, Earmark, Said, in_farm
from earmark import cose, settings
from earmark.cli import arguments
from earmark.cli.logs import CURES
from earmark.cli.parser import COMMANDS, build_parser, parsers
from earmark.cli.text import clean
from earmark.cli.words import count, span, utc, value_text
from earmark.errors import EncodingError, Rejected
from farm import NOW_S, Signing
from sample_farm import SampleFarm

pytest_plugins = ["command_fixtures"]

DID = cose.Signer(bytes(32)).did


def section(page: str, command: str) -> str:
    """The text of a command's section in docs/cli.md."""
    parts = re.split(r"^## `earmark (.+)`$", page, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert command in sections, f"docs/cli.md has no section for earmark {command}"
    return sections[command]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_is_documented(command: str) -> None:
    text = section((DOCS / "cli.md").read_text(), command)
    parser = dict(parsers(build_parser()))[command]
    for action in parser._actions:
        names = action.option_strings or [action.metavar if isinstance(action.metavar, str) else action.dest]
        for name in names:
            if name not in ("-h", "--help", "--json", "--farm"):
                assert f"`{name}" in text, f"docs/cli.md says nothing of {name} under earmark {command}"


def test_every_documented_command_is_there() -> None:
    named = re.findall(r"^## `earmark (.+)`$", (DOCS / "cli.md").read_text(), flags=re.MULTILINE)
    assert sorted(named) == sorted(COMMANDS)


def settings_table() -> str:
    """The settings as docs/operating.md shows them."""
    rows, last = [], ""
    for table, name, default, unit, meaning in settings.settings():
        if table != last:
            lists = {"anchor": "[[anchor]], one table for each target", "witness": "[[witness]], one table for each"}
            shown = lists.get(table, f"[{table}]")
            rows += ["", f"### {shown}", "", "| setting | default | unit | meaning |", "|---|---|---|---|"]
            last = table
        rows.append(f"| `{name}` | `{json.dumps(default)}` | {unit} | {meaning} |")
    return "\n".join(rows).strip()


def test_every_setting_is_documented() -> None:
    table = settings_table()
    assert table in (DOCS / "operating.md").read_text(), f"docs/operating.md: put this in:\n\n{table}\n"


def test_every_reason_of_the_quarantine_has_a_cure() -> None:
    names = {EncodingError.__name__} | {kind.__name__ for kind in Rejected.__subclasses__()}
    assert set(CURES) == names


def test_version(earmark: Earmark) -> None:
    said = earmark("--version")
    assert (said.status, said.out) == (0, "earmark 0.1.0\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_help(earmark: Earmark, command: str) -> None:
    said = earmark(*command.split(), "--help")
    assert said.status == 0
    assert said.out.startswith(f"usage: earmark {command} ")
    assert "--json" in said.out
    assert max(map(len, said.out.splitlines())) <= 80


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["no-such"],
        ["node"],
        ["init"],
        ["check", "x"],
        ["check", "x", "--operator", "did:key:z6Mk"],
        ["check", "x", "--operator", DID, "--block", "eip155:1=0x12"],
        ["prove"],
        ["prove", "1", "--node", "n1"],
        ["prove", "--node", "n1"],
        ["prove", "--node", "n1", "--seq", "1", "--last"],
        ["prove", "5-3"],
        ["prove", "--wait", "-1", "3"],
        ["prove", "3", "--last"],
        ["node", "enroll"],
        ["node", "enroll", "did:key:zQ", "n1"],
        ["node", "revoke", "n1"],
        ["node", "revoke", "n1", "--reason", "x", "--compromised-since", "yesterday"],
        ["node", "revoke", "n1", "--reason", "x", "--compromised-since", "-1"],
        ["node", "rotate", "n1", "--reason", "x"],
        ["node", "rotate", "n1", DID],
        ["node", "rotate", "n1", DID, "--dir", "x", "--reason", "x"],
        ["node", "rotate", "n1", "did:key:zQ", "--reason", "x"],
        ["node", "revoke", "n1", "--reason", ""],
        ["node", "revoke", "n1", "--reason", "é" * 101],
        ["log", "list", "--last", "0"],
        ["log", "consistency", "--from", "1"],
        ["log", "consistency", "--from", "1", "--to", "0"],
        ["log", "consistency", "--from", "x", "--to", "0"],
        ["log", "consistency", "--check", "x", "--log", "x"],
        ["witness", "init", "w"],
        ["witness", "run"],
        ["log", "quarantine", "--held", "--refused"],
        ["log", "export", "--format", "xml"],
        ["init", "--site", "x", "--port", "70000"],
        ["log", "check", "--far", "x"],
    ],
)
def test_wrong_calls_are_told_apart(earmark: Earmark, sample: SampleFarm, words: list[str]) -> None:
    has_farm = words[:1] in (["prove"], ["log"]) or words[:2] in (
        ["node", "enroll"],
        ["node", "revoke"],
        ["node", "rotate"],
    )
    place = ["--farm", "farm"] if has_farm else []
    said = earmark(*words, *place)
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("earmark")
    assert said.err.count("\n") == 1
    assert "--help`" in said.err
    error = earmark(*words, *place, "--json").json()["error"]
    assert (error["kind"], error["status"]) == ("UsageError", 2)


def test_json_of_an_export_goes_beside_a_file(earmark: Earmark, sample: SampleFarm) -> None:
    said = in_farm(earmark)("log", "export", "--json")
    assert (said.status, said.json()["error"]["kind"]) == (2, "UsageError")


@pytest.mark.parametrize("command", ["node list", "log check", "log list", "anchor status", "prove 3", "run"])
def test_without_a_farm_there_is_advice(earmark: Earmark, tmp_path: Path, command: str) -> None:
    said = earmark(*command.split(), "--farm", tmp_path, "--json")
    assert said.status == 3
    assert said.err == f"earmark: no farm in {tmp_path}: run `earmark init`, or name the folder with --farm\n"
    assert said.json()["error"]["kind"] == "ConfigError"


def test_the_farm_is_the_option_the_environment_or_here(
    earmark: Earmark, sample: SampleFarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert earmark("log", "list").status == 3
    monkeypatch.setenv("EARMARK_FARM", "farm")
    assert earmark("log", "list").status == 0
    assert earmark("log", "list", "--farm", "nowhere").status == 3
    monkeypatch.delenv("EARMARK_FARM")
    monkeypatch.chdir("farm")
    assert earmark("log", "list").status == 0


def test_what_is_no_database_is_no_traceback(earmark: Earmark, sample: SampleFarm) -> None:
    for name in ("earmark.db", "earmark.db-wal", "earmark.db-shm"):
        (sample.farm.folder / name).unlink(missing_ok=True)
    sample.farm.database.write_bytes(b"not a database, but long enough to look at" * 100)
    said = in_farm(earmark)("log", "list")
    assert said.status == 3
    assert "file is not a database" in said.err
    assert in_farm(earmark)("log", "check").status == 1


CALLS = {
    "init": ["init", "new", "--site", "home"],
    "node enroll": ["node", "enroll", cose.did(Signing(9, "porch-9").key), "porch-9"],
    "node list": ["node", "list"],
    "node revoke": ["node", "revoke", "shed-2", "--reason", "sold"],
    "node rotate": ["node", "rotate", "--reason", "worn", "shed-2", cose.did(Signing(9, "porch-9").key)],
    "log backup": ["log", "backup", "copy"],
    "log check": ["log", "check"],
    "log list": ["log", "list"],
    "log export": ["log", "export", "-o", "x.jsonl"],
    "log quarantine": ["log", "quarantine"],
    "log restore": ["log", "restore", "farm", "--farm", "new"],
    "anchor status": ["anchor", "status"],
    "anchor now": ["anchor", "now"],
    "log consistency": ["log", "consistency", "--from", "0", "--to", "2"],
    "witness init": ["witness", "init", "w", "--name", "farm.example/witness"],
    "witness list": ["witness", "list", "made"],
    "witness status": ["witness", "status"],
    "prove": ["prove", "3"],
    "check": ["check", "all.earmark", "--operator", "farm/operator.did"],
    "unpack": ["unpack", "all.earmark", "parts"],
}
"""A call of every command that ends by itself, in the folder that the sample farm `farm` stands in."""

WITHOUT_FARM = ("init", "log restore", "witness init", "witness list", "check", "unpack")
SHAPES = {
    "init": "anchors broker farm gateway operator site",
    "node enroll": "admitted did enrolled_at held name refused settings",
    "node list": "nodes waiting",
    "node revoke": "compromised_since did name not_counting reason revoked_at",
    "node rotate": "admitted did former held name reason refused rotated_at settings",
    "log backup": "block bytes folder private sealed sealed_at seconds size",
    "log check": "anchored blocks contradictions explained holds missing more nodes not_counting operator origin "
    "quarantined sealed seconds size statements",
    "log list": "size statements",
    "log export": "bytes file format",
    "log quarantine": "counts dropped messages",
    "log restore": "block bytes folder private sealed sealed_at seconds size",
    "anchor status": "block running sealed size targets",
    "anchor now": "block leaves running targets",
    "log consistency": "bytes file from log to",
    "witness init": "folder name port vkey",
    "witness list": "evidence logs name vkey",
    "witness status": "block vkey witnesses",
    "prove": "anchors block bytes file leaves operator passed_over stamps subjects",
    "check": "block gateway holds misdated not_after not_before not_established operator origin stamps steps subjects "
    "to_compare witnessed",
    "unpack": "checked files folder",
}


def call(earmark: Earmark, sample: SampleFarm, command: str, *more: str) -> Said:
    """Call a command over a proof of everything that the sample farm has."""
    sample.seal()
    assert in_farm(earmark)("prove", "0-13", "-o", "all.earmark").status == 0
    assert earmark("witness", "init", "made", "--name", "made.example").status == 0
    said = earmark(*CALLS[command], *([] if command in WITHOUT_FARM else ["--farm", "farm"]), *more)
    assert (said.status, said.err) == (0, "")
    return said


@pytest.mark.parametrize("command", CALLS)
def test_json_is_one_object_with_stable_keys_that_are_documented(
    earmark: Earmark, sample: SampleFarm, command: str
) -> None:
    keys = sorted(call(earmark, sample, command, "--json").json())
    assert keys == SHAPES[command].split()
    text = section((DOCS / "cli.md").read_text(), command)
    for key in keys:
        assert f"`{key}`" in text, f"docs/cli.md says nothing of the key {key} under earmark {command}"


@pytest.mark.parametrize("command", CALLS)
def test_words_fit_a_page_of_80_columns_without_colour(earmark: Earmark, sample: SampleFarm, command: str) -> None:
    said = call(earmark, sample, command)
    assert said.out
    assert "\x1b" not in said.out
    for line in said.out.splitlines():
        assert line == line.rstrip()
        is_to_copy = any(part in line for part in ("did:key:", "0x", "earmark ", "vkey = ", "+"))
        assert len(line) <= 80 or is_to_copy, line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3605, "1 h"),
        (7500, "2 h 5 min"),
        (90_061, "1 d 1 h"),
        (-61, "-1 min 1 s"),
        (10**9, "11,574 d 1 h"),
    ],
)
def test_spans(seconds: int, text: str) -> None:
    assert span(seconds) == text


def test_counts_values_and_times() -> None:
    assert [count(1, "leaf", "leaves"), count(2000, "leaf", "leaves")] == ["1 leaf", "2,000 leaves"]
    values = [True, Decimal("12.90"), Decimal("-0.000001"), -7, 'x\n"']
    assert [value_text(value) for value in values] == ["true", "12.90", "-0.000001", "-7", '"x\\n""']
    assert utc(NOW_S) == "2026-09-21 14:13:20 UTC"
    assert utc(1 << 300).endswith("s after 1970, beyond any calendar")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ø 水 €", "plain ø 水 €"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x7f\x9b", "\\x7f\\x9b"),
        ("\u202e\u2066\u200b", "\\u202e\\u2066\\u200b"),
        ("e\u0301", "e\u0301"),
        ("e" + "\u0301" * 4, "e\u0301\u0301\\u0301\\u0301"),
        ("\ud800", "\\ud800"),
    ],
)
def test_clean(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_ranges_are_joined() -> None:
    assert arguments.joined([range(5, 7), range(1, 2), range(6, 8)], 10) == [1, 5, 6, 7]
