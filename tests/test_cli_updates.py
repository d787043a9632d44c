"""What `node update` and `node list` say of the nodes' firmware, out of the log alone."""

from pathlib import Path
from typing import Any

import pytest

from commands import Earmark, in_farm
from earmark.config import Farm
from earmark.device.build import build, write
from earmark.log import load_registry
from earmark.release import targets_of
from earmark.store.sqlite import SqliteStore
from farm import Signing
from sample_farm import SampleFarm

pytest_plugins = ["command_fixtures"]
ESP32 = "esp32: Generic ESP32 module with ESP32; Ed25519 viper"
PICO = "rp2: Raspberry Pi Pico W with RP2040; Ed25519 portable"


def boot(node: Signing, board: str, count: int, software: str) -> bytes:
    return node.say({0: "boot", 1: "power on", 2: board, 3: []}, boot_count=count, software=software)


def entry(farm: Farm) -> bytes:
    store = SqliteStore(farm.database)
    try:
        return load_registry(store, farm.operator_key()).updates()[-1].entry
    finally:
        store.close()


def told(node: Signing, farm: Farm, outcome: str, count: int, reason: str = "") -> bytes:
    return node.say({0: "updated", 1: entry(farm), 2: 1, 3: 2, 4: outcome, 5: reason}, boot_count=count)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    write(build("linux", 2, "earmark-node 2"), tmp_path / "two")
    return tmp_path / "two"


@pytest.fixture
def nodes(sample: SampleFarm) -> SampleFarm:
    """A Raspberry Pi and a Pico, each with a start before the newest one."""
    for node, board in ((sample.field, "aarch64, micropython 1.27.0; Ed25519 portable"), (sample.shed, PICO)):
        sample.admit(boot(node, board, 2, "earmark-node 0"), node.read(boot_count=2))
        sample.admit(boot(node, board, 3, "earmark-node 1"), *(node.read(boot_count=3) for _ in range(20)))
    return sample


def listed(earmark: Earmark, *words: object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = in_farm(earmark)("node", *words, "--json").json()["nodes"]
    return found


def test_the_list_has_each_nodes_software(earmark: Earmark, nodes: SampleFarm) -> None:
    field, shed = listed(earmark, "list")
    assert (field["software"], shed["software"], shed["board"]) == ("earmark-node 1", "earmark-node 1", PICO)
    assert (field["release"], shed["release"]) == (None, None)
    said = in_farm(earmark)("node", "list").words
    assert f"software earmark-node 1 on {PICO}" in said


def test_a_boot_statement_that_is_missing_is_not_made_up(earmark: Earmark, nodes: SampleFarm) -> None:
    boot(nodes.field, "x", 4, "earmark-node 9")
    nodes.admit(nodes.field.read(boot_count=4))
    assert listed(earmark, "list")[0]["software"] is None


def test_nodes_of_another_target_are_named(earmark: Earmark, nodes: SampleFarm, release: Path) -> None:
    said = in_farm(earmark)("node", "update", "--all", "--release", release)
    assert "Not for shed-2: of another target" in said.words
    found = in_farm(earmark)("node", "update", "--all", "--release", release, "--json").json()
    assert found["other_target"] == ["shed-2"]
    field, shed = found["nodes"]
    assert (field["state"], field["target"]) == ("pending", "linux")
    assert (shed["state"], shed["targets"]) == ("other-target", ["pico-w"])
    assert "it is for linux, the node for pico-w" in shed["reason"]
    assert "other-target" in in_farm(earmark)("node", "list").words


def test_what_became_of_an_update_is_known_for_good(earmark: Earmark, nodes: SampleFarm, release: Path) -> None:
    """However much the node has said since, and whether its newest start was long ago."""
    in_farm(earmark)("node", "update", "field-1", "--release", release)
    farm, node = nodes.farm, nodes.field
    nodes.admit(told(node, farm, "downloading", 3), told(node, farm, "trial", 3))
    assert listed(earmark, "list")[0]["release"]["state"] == "trial"
    nodes.admit(boot(node, "aarch64, micropython 1.27.0; x", 4, "earmark-node 2"), told(node, farm, "confirmed", 4))
    nodes.admit(*(node.read(boot_count=4) for _ in range(1500)))
    [field] = listed(earmark, "update", "field-1")
    assert (field["state"], field["software"]) == ("confirmed", "earmark-node 2")
    assert listed(earmark, "list")[0]["release"]["state"] == "confirmed"
    assert "release 2 (earmark-node 2): confirmed, it runs it" in in_farm(earmark)("node", "list").words


@pytest.mark.parametrize(
    ("board", "targets"),
    [
        (ESP32, ["esp32"]),
        ("esp32: Generic ESP32S3 module with ESP32S3; Ed25519 viper", ["esp32"]),
        ("esp32: ESP32C3 module with ESP32C3; Ed25519 viper", ["esp32-c3"]),
        (PICO, ["pico-w"]),
        ("rp2: Raspberry Pi Pico 2 W with RP2350; x", ["pico-2-w"]),
        ("armv7l, cpython 3.11.2; Ed25519 portable", ["linux", "linux-x86", "linux-x64"]),
        ("somebody's own board", []),
        ("", []),
    ],
)
def test_the_targets_of_a_board(board: str, targets: list[str]) -> None:
    assert list(targets_of(board)) == targets
