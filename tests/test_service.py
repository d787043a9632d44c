"""The gateway as a service: its log's lines, and what the service manager hears."""

import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import ROOT
from earmark.cli.loglines import LOG_FORMATS
from earmark.cli.parser import COMMANDS
from earmark.process import Watchdog, notify
from services import GatewayProcess, wait_for
from watched import Watched

# logs


def test_a_log_of_json_objects(tmp_path: Path) -> None:
    site = Watched(tmp_path / "farm")
    command = [sys.executable, "-m", "earmark", "run", "--farm", str(site.farm.folder), "--log-format", "json"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: "sealed block" in (tmp_path / "log").read_text(), "a block is sealed")
    finally:
        process.terminate()
        assert process.wait(30) == 0
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert all(list(line)[:4] == ["time", "level", "logger", "message"] for line in lines)
    [sealed] = [line for line in lines if line["message"].startswith("sealed block")]
    assert (sealed["level"], sealed["logger"]) == ("info", "earmark.gateway")
    assert (sealed["height"], sealed["size"]) == (0, 1)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", sealed["time"])


def test_a_line_stays_a_line_whatever_is_in_it() -> None:
    wicked = "a\nb\x1b[2J\u202e"
    try:
        int(wicked)
    except ValueError:
        record = logging.makeLogRecord({"msg": "%s", "args": (wicked,), "exc_info": sys.exc_info(), "topic": wicked})
    line = LOG_FORMATS["json"]().format(record)
    assert line.isascii()
    assert "\n" not in line
    assert (json.loads(line)["topic"], "ValueError" in json.loads(line)["exception"]) == (wicked, True)
    assert "\\x1b[2J\\u202e" in LOG_FORMATS["text"]().format(record).splitlines()[0]


# the service manager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A service manager's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.settimeout(30)
        yield made


def test_the_service_manager_hears_of_start_work_and_end(tmp_path: Path, manager: socket.socket) -> None:
    site = Watched(tmp_path / "farm")
    told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000"}
    process = GatewayProcess(site.farm, environment=told)
    process.start()
    try:
        assert manager.recv(100) == b"READY=1"
        assert site.get("/health")[0] in (200, 503)
        assert [manager.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        os.kill(process.pid, signal.SIGSTOP)  # a writer that hangs
        drain(manager)
        manager.settimeout(1)
        with pytest.raises(TimeoutError):
            manager.recv(100)
        os.kill(process.pid, signal.SIGCONT)
        manager.settimeout(30)
        assert manager.recv(100) == b"WATCHDOG=1"
    finally:
        assert process.stop() == 0
    assert drain(manager)[-1] == b"STOPPING=1"


def drain(manager: socket.socket) -> list[bytes]:
    """All that waits."""
    manager.setblocking(False)
    got = []
    try:
        while True:
            got.append(manager.recv(100))
    except BlockingIOError:
        return got


def test_a_watchdog_beats_at_its_pace_and_only_for_us(
    tmp_path: Path, manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    now_s = [50.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    Watchdog().beat()
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    Watchdog().beat()
    assert drain(manager) == []
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    ours = Watchdog()
    for _ in range(30):
        ours.beat()
        now_s[0] += 0.1
    assert len(drain(manager)) == 3
    for nobody in (str(tmp_path / "nobody"), "vsock:1", ""):
        monkeypatch.setenv("NOTIFY_SOCKET", nobody)
        notify("READY=1")


def test_an_abstract_socket_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"earmark-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind("\0" + name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        notify("READY=1")
        made.settimeout(5)
        assert made.recv(100) == b"READY=1"


def settings_of(unit: str) -> set[str]:
    lines = (ROOT / "packaging" / unit).read_text().splitlines()
    return {line for line in lines if "=" in line and not line.startswith("#")}


@pytest.mark.parametrize("kind", ["calendar", "witness"])
def test_the_other_units_give_no_more_rights_than_the_gateway_s(kind: str) -> None:
    own, other = settings_of("earmark.service"), settings_of(f"earmark-{kind}.service")
    more = {line.partition("=")[0] for line in other - own}
    assert more == {"Description", "User", "Group", "StateDirectory", "ExecStart"}
    run = next(line for line in other if line.startswith("ExecStart=")).split()
    folder = f"/var/lib/earmark-{kind}/folder"
    assert run[1:] == [kind, "run", folder, "--log-format", "json"]
    assert f"{kind} run" in COMMANDS


@pytest.mark.parametrize("name", ["earmark", "earmark-calendar", "earmark-witness"])
def test_the_unit_is_one_that_systemd_takes(name: str) -> None:
    unit = (ROOT / "packaging" / f"{name}.service").read_text()
    assert "Type=notify\n" in unit
    assert ("WatchdogSec=" in unit) == (name == "earmark")
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze here")
    run = subprocess.run(
        [program, "verify", "--man=no", ROOT / "packaging" / f"{name}.service"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    ours = [line for line in run.stderr.splitlines() if f"{name}.service" in line and "is not executable" not in line]
    assert ours == []
