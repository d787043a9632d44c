"""`earmark` in processes of its own: start, signals, pipes, terminals."""

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from commands import Earmark, in_farm
from earmark import cose
from farm import NOW_S, Signing
from sample_farm import TEXT, SampleFarm
from services import free_port, wait_for

pytest_plugins = ["command_fixtures"]

EARMARK = [sys.executable, "-m", "earmark"]


def test_a_check_starts_light(sample: SampleFarm, lot: Path) -> None:
    program = (
        "import sys; from earmark.cli import main; status = main(sys.argv[1:]); "
        "print(sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr); sys.exit(status)"
    )
    command = [sys.executable, "-c", program, "check", str(lot), "--operator", sample.did]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    heavy = {"paho", "eth_tester", "eth", "eth_account", "eth_utils", "web3", "sqlite3", "asyncio", "rlp", "trie"}
    assert not heavy & set(re.findall(r"'(\w+)'", run.stderr))
    assert "The proof holds" in run.stdout


def test_a_reader_that_goes_away_is_no_traceback(sample: SampleFarm) -> None:
    sample.admit(*[sample.field.read(value) for value in range(400)])
    command = f"{shlex.join([*EARMARK, 'log', 'export', '--farm', 'farm'])} | head -n 1"
    run = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert run.stdout.startswith('{"index": 0,')
    assert run.stderr == ""


def open_full() -> int:
    """A file descriptor of a full disk."""
    return os.open("/dev/full", os.O_WRONLY)


def open_unread() -> int:
    """A file descriptor of a pipe whose reader is gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize("words", [[], ["--json"]], ids=["words", "json"])
@pytest.mark.parametrize("where", ["full", "unread"])
def test_a_check_that_cannot_be_written_is_not_one_that_fails(
    sample: SampleFarm, lot: Path, where: str, words: list[str]
) -> None:
    command = [*EARMARK, "check", str(lot), "--operator", sample.did, *words]
    out = open_full() if where == "full" else open_unread()
    try:
        run = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, timeout=60)
    finally:
        os.close(out)
    assert (run.returncode, "Traceback" in run.stderr) == (3, False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_gateway_runs_until_it_is_told_to_stop(
    earmark: Earmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.chdir(tmp_path)
    made = SampleFarm(tmp_path / "farm", TEXT.format(port=free_port()))
    stranger = Signing(9, "porch-9")
    made.admit(stranger.read(), stranger.read(), stranger.read())
    log = tmp_path / "log"
    with log.open("w") as stderr:
        command = [*EARMARK, "run", "--farm", "farm", "--json"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        wait_for(lambda: "connected to the broker" in log.read_text(), "the gateway's connection")
        second = subprocess.run([*EARMARK, "run", "--farm", "farm"], capture_output=True, text=True, timeout=60)
        assert (second.returncode, "a gateway already runs" in second.stderr) == (3, True)
        said = in_farm(earmark)("node", "enroll", cose.did(stranger.key), "porch-9", "--json").json()
        assert (said["enrolled_at"], said["admitted"]) == (1, 3)
        assert in_farm(earmark)("anchor", "status", "--json").json()["running"] is True
    finally:
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(out) == {"stopped": True, "size": 5, "block": json.loads(out)["block"]}
    assert log.read_text().endswith("stopped\n")
    assert "no [[anchor]] is set" in log.read_text()
    assert in_farm(earmark)("log", "check").status == 0


WICKED = (
    "\x1b]0;owned\x07\x1b[2J\r\n\x9b31m\u202e [bold red]loud[/] [link=http://x]y[/link] :smile: a\u0301\u0301\u0301"
)


def wicked_farm(sample: SampleFarm) -> None:
    """Put text that would drive a terminal wherever a node or the operator may put text."""
    record = {-2: "field-1/", -3: NOW_S, 0: "t", 1: WICKED, 3: WICKED}
    sensors = [[WICKED, WICKED, 0, WICKED]]
    sample.admit(
        sample.field.say([record], boot_count=1, method=0),
        sample.field.say({0: "gap", 1: 1, 2: 2, 3: WICKED}, boot_count=1),
        sample.field.say({0: "boot", 1: WICKED, 2: WICKED, 3: sensors}, boot_count=2, software=WICKED[:20]),
    )


def test_nothing_in_a_file_or_a_log_drives_the_terminal(earmark: Earmark, sample: SampleFarm, tmp_path: Path) -> None:
    wicked_farm(sample)
    in_farm(earmark)("node", "revoke", "field-1", "--reason", WICKED)
    sample.seal()
    assert in_farm(earmark)("prove", "14-16", "-o", "wicked.earmark").status == 0
    calls = [
        ["check", "wicked.earmark", "--operator", sample.did],
        ["log", "list", "--farm", "farm"],
        ["node", "list", "--farm", "farm"],
        ["log", "export", "--farm", "farm"],
        ["log", "export", "--format", "csv", "--farm", "farm"],
    ]
    for words in calls:
        shown = in_terminal(words, tmp_path)
        ours = re.sub(r"\x1b\[[0-9;]*m", "", shown)
        assert "loud" in ours
        assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e]", ours), (words, ours)
        assert "[bold red]loud[/]" in ours.replace("\r\n", "\n") or words[:1] != ["check"]
        assert "\u263a" not in ours
        assert "\x1b[2J" not in shown
        assert "\x1b]" not in shown


def in_terminal(words: list[str], folder: Path, **environment: str) -> str:
    """What a terminal of 200 columns gets from the command in a process of its own."""
    ours, theirs = pty.openpty()
    settings = os.environ | {"COLUMNS": "200", "TERM": "xterm-256color"} | environment
    settings.pop("NO_COLOR", None) if "NO_COLOR" not in environment else None
    process = subprocess.Popen([*EARMARK, *words], cwd=folder, stdout=theirs, stderr=theirs, env=settings)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # Linux says so when the last writer has gone
        pass
    os.close(ours)
    assert process.wait(60) == 0, shown
    return shown.decode()


def test_colour_is_for_terminals_that_want_it(earmark: Earmark, sample: SampleFarm, lot: Path, tmp_path: Path) -> None:
    words = ["check", str(lot), "--operator", sample.did]
    assert "\x1b[33m" in in_terminal(words, tmp_path)
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", in_terminal(words, tmp_path, NO_COLOR="1"))
