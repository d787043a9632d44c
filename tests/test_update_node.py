"""Updates from the command to the log: a real gateway, its embedded broker, and the node with its loader as a process
that is started again whenever it ends, under each interpreter.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import Earmark
from earmark import operator
from earmark.access import node_settings
from earmark.certificates import authority_file
from earmark.cli.nodes import key_in
from earmark.config import Farm
from earmark.device.build import build, loader, write
from earmark.release import MANIFEST, File, Manifest, sha256
from earmark.statement import decode
from services import free_port, gateway, logged, make_farm, wait_for

pytest_plugins = ["command_fixtures"]
TARGETS = {"cpython": "linux", "64": "linux-x64", "32": "linux-x86"}


class Loaded:
    """A node with a loader and its first release, and who starts it again."""

    def __init__(self, interpreter: list[str], target: str, folder: Path) -> None:
        self.folder, self.target = folder, target
        write(build(target), folder / "a")
        (folder / "loader.py").write_bytes(loader())
        self._command = [*interpreter, str(folder / "loader.py"), "--dir", str(folder)]
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        subprocess.run([*self._command, "--identity"], check=True, capture_output=True, timeout=30)

    def keep_up(self) -> None:
        """Start it unless it runs, as a service manager does."""
        if self._process is None or self._process.poll() is not None:
            self.starts += 1
            with (self.folder / "node.log").open("ab") as log:
                self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    return make_farm(tmp_path / "farm", free_port(), tls=True)


@pytest.fixture
def node(interpreter: list[str], farm: Farm, tmp_path: Path) -> Iterator[Loaded]:
    kind = (
        "cpython"
        if "python3" in interpreter[0] or interpreter[0].endswith("python")
        else Path(interpreter[0]).parent.name
    )
    made = Loaded(interpreter, TARGETS[kind], tmp_path / "n1")
    key = key_in(made.folder)
    operator.enrol(farm, key, "n1")
    (made.folder / "authority.pem").write_bytes(authority_file(farm).read_bytes())
    settings = node_settings(farm, "n1", key) | {"sensors": [{"driver": "modelled"}], "interval_s": 1, "trial_s": 5}
    settings["broker"] |= {"host": "127.0.0.1", "retry_s": [0.05, 0.5]}
    (made.folder / "node.json").write_text(json.dumps(settings))
    yield made
    made.stop()


def broken(target: str) -> dict[str, bytes]:
    """A release that cannot be started: its `app` is another's file."""
    files = build(target, 3, "x 3")
    [app] = [path for path in files if path.startswith("app.")]
    [wrong] = [path for path in files if path.startswith("runs.")]
    files[app] = files[wrong]
    rows = tuple(File(path, len(content), sha256(content)) for path, content in files.items() if path != MANIFEST)
    mpy = Manifest(3, "x 3", target, 0, rows)
    return files | {MANIFEST: mpy.encode()}


def outcomes(farm: Farm) -> list[tuple[int, int, str]]:
    said = [decode(raw).body for raw in logged(farm)]
    return [(body[2], body[3], body[4]) for body in said if body and body[0] == "updated"]


def test_an_update_is_taken_and_a_broken_one_given_back(
    node: Loaded, farm: Farm, earmark: Earmark, tmp_path: Path
) -> None:
    write(build(node.target, 2, "x 2"), tmp_path / "two")
    write(broken(node.target), tmp_path / "three")

    def update(*words: object) -> Any:
        said = earmark("node", "update", *words, "--farm", farm.folder, "--json")
        assert said.status == 0, said.err
        return said.json()

    def until(state: str, number: int) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def holds() -> bool:
            node.keep_up()
            found.update(update()["nodes"][0])
            return (found["state"], found["number"]) == (state, number)

        try:
            wait_for(holds, f"release {number} is {state}", 50)
        except BaseException:
            print((node.folder / "node.log").read_text(errors="replace"), outcomes(farm))
            raise
        return found

    with gateway(farm):
        node.keep_up()
        wait_for(lambda: len(logged(farm)) > 3, "the node reaches the gateway")
        assert update("n1", "--release", tmp_path / "two")["leaf"] is not None
        assert until("confirmed", 2)["software"] == "x 2"
        update("--all", "--release", tmp_path / "three")
        found = until("returned", 3)
        assert "did not start" in found["reason"]
        assert found["software"] == "x 2"
        wait_for(lambda: len(outcomes(farm)) >= 6, "all is said")
    steps = ["downloading", "trial"]
    assert outcomes(farm) == [
        *((1, 2, step) for step in [*steps, "confirmed"]),
        *((2, 3, step) for step in [*steps, "returned"]),
    ]
    assert earmark("log", "check", "--farm", farm.folder).status == 0
    said = earmark("node", "update", "--farm", farm.folder)
    assert "went back to the release before" in said.words
    lower = earmark("node", "update", "n1", "--release", tmp_path / "two", "--farm", farm.folder)
    assert lower.status != 0
    assert "releases only go up" in lower.err


def test_what_the_command_refuses(farm: Farm, earmark: Earmark, tmp_path: Path) -> None:
    write(build("linux"), tmp_path / "one")
    (tmp_path / "one" / "app.py").write_text("something else")
    own = "--farm", farm.folder
    for words, status, why in (
        (("--release", tmp_path / "one"), 2, "name the nodes"),
        (("--all", "n1", "--release", tmp_path / "one"), 2, "name the nodes"),
        (("--all", "--release", tmp_path / "one"), 3, "is not the file that"),
        (("--all", "--release", tmp_path / "none"), 3, "node build"),
        (("n1", "--release", tmp_path / "one"), 3, "no node 'n1'"),
    ):
        said = earmark("node", "update", *words, *own)
        assert said.status == status, said.err
        assert why in said.err
    assert "No update is for these nodes" in earmark("node", "update", *own).words
