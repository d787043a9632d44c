"""`earmark init`, `node`, `log` and `anchor`."""

import json
import re
import sqlite3
import subprocess
import sys
import tomllib
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from commands import ROOT, Earmark, in_farm
from earmark import config, cose, settings
from earmark.access import node_password
from earmark.anchor.calendars import PUBLIC
from earmark.anchor.drand import PUBLIC as RELAYS
from earmark.anchor.target import Place
from earmark.cli.nodelist import holes
from earmark.evidence.bitcoin import MAINNET
from earmark.public import open_target
from earmark.store import AnchorRow
from sample_farm import TEXT, SampleFarm

pytest_plugins = ["command_fixtures"]


def test_init_makes_a_farm_whose_keys_are_private(earmark: Earmark, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "farm"
    said = earmark("init", folder, "--site", "home")
    assert said.status == 0
    assert cose.key_of((folder / "operator.did").read_text().strip())
    assert (folder / "operator.did").read_text().strip() in said.out
    assert "operator.key" in said.out
    assert "not anchored" in said.words
    assert f"earmark run --farm {folder}" in said.out
    for name in ("operator.key", "gateway.key", "broker.json", "authority.key"):
        assert (folder / "keys" / name).stat().st_mode & 0o777 == 0o600
    opened = config.open_farm(folder)
    assert opened.config == settings.parse_config('[farm]\nsite = "home"\n', "defaults")
    assert earmark("log", "check", "--farm", folder).status == 0


def test_init_never_overwrites(earmark: Earmark, tmp_path: Path) -> None:
    earmark("init", tmp_path / "farm", "--site", "home")
    before = (tmp_path / "farm" / "keys" / "operator.key").read_text()
    again = earmark("init", tmp_path / "farm", "--site", "home")
    assert again.status == 3
    assert "is a farm already" in again.err
    assert (tmp_path / "farm" / "keys" / "operator.key").read_text() == before


def test_init_writes_what_it_was_told(earmark: Earmark, tmp_path: Path) -> None:
    pem = 'odd "name" \\ é.pem'
    earmark("init", tmp_path / "b", "--site", "b", "--broker", "mqtts://h:1", "--user", "u", "--authority", pem)
    broker = config.open_farm(tmp_path / "b").config.broker
    assert (broker.embedded, broker.url, broker.user, broker.authority) == (
        False,
        "mqtts://h:1",
        "u",
        str(Path(pem).absolute()),
    )
    earmark("init", tmp_path / "c", "--site", "c", "--port", "2000", "--listen", "127.0.0.1", "--anchor", "development")
    made = config.open_farm(tmp_path / "c").config
    assert (made.broker.listen, made.broker.port, made.broker.tls) == ("127.0.0.1", 2000, True)
    said = earmark("init", tmp_path / "e", "--site", "e", "--anchor", "calendars", "--json").json()
    assert said["anchors"] == ["calendars"]
    anchored = config.open_farm(tmp_path / "e")
    assert open_target(anchored.folder, anchored.config.anchor[0], None).place == Place("calendars", "ots", MAINNET, 48)
    earmark("init", tmp_path / "d", "--site", "d", "--plain")
    plain = config.open_farm(tmp_path / "d").config.broker
    assert (plain.port, plain.tls) == (1883, False)
    assert [anchor.chain for anchor in made.anchor] == ["development"]


@pytest.mark.parametrize(("anchor", "relays"), [("calendars", RELAYS), ("development", ())])
def test_drand_is_followed_where_public_calendars_are(
    earmark: Earmark, tmp_path: Path, anchor: str, relays: tuple[str, ...]
) -> None:
    said = earmark("init", tmp_path / "farm", "--site", "home", "--anchor", anchor)
    assert config.open_farm(tmp_path / "farm").config.beacon.drand == relays
    assert ("newest round of drand" in said.words) == bool(relays)


def test_the_commented_settings_are_real_ones(earmark: Earmark, tmp_path: Path) -> None:
    earmark("init", tmp_path / "farm", "--site", "home")
    text = (tmp_path / "farm" / "earmark.toml").read_text()
    live = re.sub(r"^# (\[\[anchor\]\]|\w+ = .*)$", r"\1", text, flags=re.MULTILINE)
    assert "rpc_file" in tomllib.loads(live)["anchor"][1]
    parsed = settings.parse_config(live, "uncommented")
    first, second, third = parsed.anchor
    assert parsed.beacon.drand == RELAYS
    assert (first.calendars, second.chain, third.called) == (PUBLIC, "eip155:1", "tsa.example")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--site", "Home"], "is not a name"),
        (["--site", "x", "--broker", "http://h"], "mqtt://host:port"),
        (["--site", "x", "--user", "u"], "--broker"),
    ],
)
def test_init_refuses_what_would_not_run(earmark: Earmark, tmp_path: Path, words: list[str], what: str) -> None:
    said = earmark("init", tmp_path / "farm", *words)
    assert said.status == 3
    assert what in said.err
    assert not (tmp_path / "farm").exists()


def test_enrolling_lets_in_what_was_held(earmark: Earmark, sample: SampleFarm) -> None:
    did = cose.did(sample.stranger.key)
    waiting = in_farm(earmark)("node", "list")
    assert f"earmark node enroll {did} porch-9" in waiting.out
    said = in_farm(earmark)("node", "enroll", did, "porch-9")
    assert "porch-9 is enrolled at leaf 14" in said.words
    assert "Of 2 held statements 2 went into the log." in said.words
    found = in_farm(earmark)("node", "list", "--json").json()
    assert found["waiting"] == []
    assert found["nodes"][-1]["newest_seq"] == 2


def test_enrolling_under_another_name_says_what_was_refused(earmark: Earmark, sample: SampleFarm) -> None:
    said = in_farm(earmark)("node", "enroll", cose.did(sample.stranger.key), "garden")
    assert "2 were refused" in said.words


def test_a_node_is_enrolled_from_its_folder(earmark: Earmark, sample: SampleFarm, tmp_path: Path) -> None:
    firmware = ROOT / "firmware" / "main.py"
    command = [sys.executable, str(firmware), "--dir", "n1", "--identity"]
    did = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    nameless = in_farm(earmark)("node", "enroll", "--dir", "n1")
    assert nameless.status == 3
    assert "names no node: give the name" in nameless.err
    given = {"name": "bed-7", "interval_s": 5, "broker": {"host": "old", "keepalive_s": 9}}
    (tmp_path / "n1" / "node.json").write_text(json.dumps(given))
    said = in_farm(earmark)("node", "enroll", "--dir", "n1", "--json").json()
    assert (said["did"], said["name"], said["enrolled_at"]) == (did, "bed-7", 14)
    made = json.loads((tmp_path / "n1" / "node.json").read_text())
    assert (made["site"], made["interval_s"], made["gateway_key"]) == ("home", 5, sample.farm.signer("gateway").did)
    password = node_password(sample.farm, cose.key_of(did))
    assert (made["broker"]["user"], made["broker"]["password"], made["broker"]["keepalive_s"]) == ("bed-7", password, 9)
    assert Path(made["broker"]["tls"]["ca"]) == (sample.farm.folder / "authority.pem").resolve()
    assert (tmp_path / "n1" / "node.json").stat().st_mode & 0o777 == 0o600
    assert said["settings"] is None
    twice = in_farm(earmark)("node", "enroll", "--dir", "n1", "bed-8")
    assert twice.status == 3
    assert "has been enrolled before" in twice.err


def test_enrolling_shows_what_node_json_needs(earmark: Earmark, sample: SampleFarm) -> None:
    said = in_farm(earmark)("node", "enroll", cose.did(sample.stranger.key), "porch-9")
    [shown] = [line for line in said.out.splitlines() if line.strip().startswith("{")]
    broker = json.loads(shown)["broker"]
    assert (broker["user"], broker["password"]) == ("porch-9", node_password(sample.farm, sample.stranger.key))
    assert broker["tls"] == {"ca": "authority.pem", "server_name": "earmark-home"}
    assert "authority.pem into the node's folder" in said.words


def test_no_node_takes_the_gateways_user(earmark: Earmark, sample: SampleFarm) -> None:
    said = in_farm(earmark)("node", "enroll", cose.did(sample.stranger.key), "gateway")
    assert (said.status, "give the node another name" in said.err) == (3, True)


def test_files_for_mosquitto_are_for_a_farm_that_uses_it(earmark: Earmark, sample: SampleFarm) -> None:
    said = in_farm(earmark)("broker", "mosquitto", "--out", "files")
    assert (said.status, "uses the embedded broker" in said.err) == (3, True)
    assert not Path("files").exists()


@pytest.mark.parametrize("held", [None, b"", b"x" * 64, b"x" * 65])
def test_a_folder_without_a_sound_key_is_refused(
    earmark: Earmark, sample: SampleFarm, tmp_path: Path, held: bytes | None
) -> None:
    (tmp_path / "n1").mkdir()
    if held is not None:
        (tmp_path / "n1" / "identity").write_bytes(held)
    said = in_farm(earmark)("node", "enroll", "--dir", "n1", "bed-7")
    assert said.status == 3
    assert ("is damaged" if held is not None else "--identity` makes one") in said.err


def test_the_list_of_nodes(earmark: Earmark, sample: SampleFarm) -> None:
    field, shed = in_farm(earmark)("node", "list", "--json").json()["nodes"]
    assert (field["name"], field["did"], field["enrolled_at"]) == ("field-1", cose.did(sample.field.key), 1)
    assert (field["newest_seq"], field["newest_leaf"], field["method"]) == (9, 12, "measured")
    assert (field["holes"], field["missing"]) == ([[6, 7]], 2)
    assert field["last_seen"] == "2026-09-21T14:13:20Z"
    assert (shed["method"], shed["newest_readings_leaf"], shed["holes"]) == ("replayed", 13, [[3, 4]])
    said = in_farm(earmark)("node", "list")
    assert "REPLAYED; last seen 2026-09-21 14:13:20 UTC" in said.words
    assert "2 missing: seq 6-7" in said.words


def test_revoking(earmark: Earmark, sample: SampleFarm) -> None:
    said = in_farm(earmark)("node", "revoke", "shed-2", "--reason", "stolen\x1b[2J [red]")
    assert "shed-2 is revoked at leaf 14" in said.words
    listed = in_farm(earmark)("node", "list")
    assert "REVOKED at leaf 14: stolen\\x1b[2J [red]" in listed.words
    sample.admit(sample.shed.read())
    assert in_farm(earmark)("log", "quarantine", "--json").json()["counts"]["RevokedKey"] == 1
    nobody = in_farm(earmark)("node", "revoke", "nobody", "--reason", "x")
    assert (nobody.status, "no node 'nobody' is enrolled here" in nobody.err) == (3, True)


@pytest.mark.parametrize(
    ("runs", "gaps"),
    [((), []), (((1, 5),), []), (((3, 5),), [(1, 2)]), (((1, 1), (4, 4), (6, 9)), [(2, 3), (5, 5)])],
)
def test_holes(runs: tuple[tuple[int, int], ...], gaps: list[tuple[int, int]]) -> None:
    assert holes(runs) == gaps


def test_a_log_that_holds_is_said_in_words(earmark: Earmark, sample: SampleFarm) -> None:
    said = in_farm(earmark)("log", "check")
    assert said.status == 0
    assert said.out.startswith("The log holds.\n")
    assert "4 statements that nodes made are not here: 2 the nodes had to drop, and said so;" in said.words
    assert "the first 12 leaves anchored on eip155:1337" in said.words
    assert "This does not establish" in said.out
    operator = in_farm(earmark)("log", "check", "--operator", sample.farm.folder / "operator.did")
    assert operator.status == 0


def test_a_log_that_does_not_hold_is_status_1(earmark: Earmark, sample: SampleFarm) -> None:
    with closing(sqlite3.connect(sample.farm.database)) as bare, bare:
        bare.execute("UPDATE entries SET statement = zeroblob(20) WHERE idx = 4")
    said = in_farm(earmark)("log", "check")
    assert said.status == 1
    assert "leaf 4: EncodingError" in said.words
    assert "tile 0/0: hash 4 is not the one of leaf 4" in said.words
    found = in_farm(earmark)("log", "check", "--json")
    assert (found.status, found.json()["holds"]) == (1, False)
    assert {"where": "tile 0/0", "what": "hash 4 is not the one of leaf 4"} in found.json()["contradictions"]


def test_another_operators_log_does_not_hold(earmark: Earmark, sample: SampleFarm) -> None:
    said = in_farm(earmark)("log", "check", "--operator", cose.Signer(bytes(32)).did)
    assert (said.status, "another operator's log" in said.words) == (1, True)


def test_listing(earmark: Earmark, sample: SampleFarm) -> None:
    said = in_farm(earmark)("log", "list", "--last", "3")
    lines = [line for line in said.out.splitlines() if line.split()[0].isdecimal()]
    assert [line.split()[0] for line in lines] == ["11", "12", "13"]
    assert "seq 3-4 dropped: outbox" in lines[0]
    assert "t 20.00 Cel" in lines[1]
    assert "REPLAYED" in lines[2]
    of_node = in_farm(earmark)("log", "list", "--node", "shed-2", "--json").json()
    assert [statement["index"] for statement in of_node["statements"]] == [9, 10, 11, 13]
    nobody = in_farm(earmark)("log", "list", "--node", "x")
    assert (nobody.status, "nothing in the log is by 'x'" in nobody.err) == (3, True)


def test_exporting(earmark: Earmark, sample: SampleFarm, tmp_path: Path) -> None:
    said = in_farm(earmark)("log", "export")
    assert [json.loads(line)["index"] for line in said.out.splitlines()] == list(range(14))
    said = in_farm(earmark)("log", "export", "--format", "csv", "--node", "shed-2", "-o", "out.csv")
    assert said.status == 0
    assert len((tmp_path / "out.csv").read_bytes().splitlines()) == 3
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_quarantine_says_what_to_do(earmark: Earmark, sample: SampleFarm) -> None:
    said = in_farm(earmark)("log", "quarantine")
    assert "3 messages outside the log." in said.out
    assert "earmark node enroll DID NAME" in said.words
    assert "2 of them" in said.words
    held = in_farm(earmark)("log", "quarantine", "--held", "--json").json()["messages"]
    assert [(row["reason"], row["held"], row["name"]) for row in held] == [("UnknownNode", True, "porch-9")] * 2
    refused = in_farm(earmark)("log", "quarantine", "--refused", "--json").json()["messages"]
    assert [(row["reason"], row["bytes"]) for row in refused] == [("EncodingError", 8)]


def test_the_state_of_anchors(earmark: Earmark, sample: SampleFarm) -> None:
    found = in_farm(earmark)("anchor", "status", "--json").json()
    assert (found["size"], found["sealed"], found["block"], found["running"]) == (14, 13, 1, False)
    [target] = found["targets"]
    assert (target["chain"], target["configured"], target["development"]) == ("eip155:1337", True, False)
    assert target["anchored"]["leaves"] == 12
    assert target["anchored"]["chain_block_hash"] == f"0x{sample.anchored.hash.hex()}"
    said = in_farm(earmark)("anchor", "status")
    assert "anchored for good: 12 leaves, up to block 0" in said.words
    assert "No gateway runs here" in said.words


def test_an_anchor_that_waits_says_why_and_since_when(earmark: Earmark, sample: SampleFarm) -> None:
    in_farm(earmark)("anchor", "now")
    with closing(sqlite3.connect(sample.farm.database)) as bare, bare:
        bare.execute("UPDATE anchors SET planned_at_ms = 1, reason = 'no funds\x1b[2J' WHERE state = 'planned'")
    said = in_farm(earmark)("anchor", "status")
    assert "block 1 is planned for" in said.words
    assert "waits because: no funds\\x1b[2J" in said.words
    assert "OVERDUE: not final after 2 d" in said.words
    assert in_farm(earmark)("anchor", "status", "--json").json()["targets"][0]["current"]["overdue"] is True


def test_anchoring_now_plans_the_newest_block_once(earmark: Earmark, sample: SampleFarm) -> None:
    said = in_farm(earmark)("anchor", "now")
    assert "block 1 is planned" in said.words
    assert "1 leaf came after that block" in said.words
    assert "No gateway runs here" in said.words
    with sample.farm.lock() as is_ours:
        assert is_ours
        again = in_farm(earmark)("anchor", "now", "--json").json()
    assert again["running"] is True
    assert [(target["planned"], target["block"]) for target in again["targets"]] == [(False, 1)]


def test_anchoring_now_needs_a_block_and_a_target(earmark: Earmark, tmp_path: Path) -> None:
    SampleFarm(tmp_path / "farm")
    said = earmark("anchor", "now", "--farm", tmp_path / "farm")
    assert (said.status, "no block is sealed yet" in said.err) == (3, True)
    SampleFarm(tmp_path / "bare", TEXT.format(port=1883))
    said = earmark("anchor", "now", "--farm", tmp_path / "bare")
    assert (said.status, "has no [[anchor]]" in said.err) == (3, True)
    assert "No [[anchor]] is set" in earmark("anchor", "status", "--farm", tmp_path / "bare").words


def test_an_anchor_whose_evidence_does_not_check_is_left_out_with_a_warning(
    earmark: Earmark, sample: SampleFarm, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as one whose row was given the name of another chain: other anchors, and proofs, are there all the same."""
    rows: list[AnchorRow] = []
    sample.put(lambda store: rows.extend(store.anchor_rows()))
    ill = replace(rows[0], chain="eip155:1", target="another")
    sample.put(lambda store: store.put_anchor(replace(ill, evidence=b"ill")))
    sample.put(lambda store: store.put_anchor(replace(rows[0], height=1, evidence=b"ill")))
    said = in_farm(earmark)("anchor", "status")
    assert (said.status, "anchored for good: 12 leaves, up to block 0" in said.words) == (0, True)
    assert "nothing is anchored for good yet" in said.words  # on the other one
    assert caplog.messages[0].startswith("the anchor of block 1 on eip155:1337 is left out, for its evidence does not")
    assert caplog.messages[1].startswith("the anchor of block 0 on another is left out")
    said = in_farm(earmark)("prove", "3", "--json")
    assert said.status == 0
    assert [anchor["chain"] for anchor in said.json()["anchors"]] == ["eip155:1337"]
