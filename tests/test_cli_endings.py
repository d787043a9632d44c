"""`earmark node rotate` and `node revoke --compromised-since`, and what `prove`, `check` and the lists make of them."""

import csv
import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from commands import Earmark, in_farm
from earmark import cose
from earmark.access import Users
from farm import NOW_S, Signing
from sample_farm import SampleFarm

pytest_plugins = ["command_fixtures"]

REASON = ("--reason", "stolen")


def received_later(sample: SampleFarm, *leaves: int) -> None:
    """Let the gateway have received some leaves an hour after the others; what nodes signed is as it was."""
    with closing(sqlite3.connect(sample.farm.database)) as bare, bare:
        for leaf in leaves:
            bare.execute("UPDATE entries SET received_at_ms = received_at_ms + 3600000 WHERE idx = ?", (leaf,))


def test_rotating(earmark: Earmark, sample: SampleFarm) -> None:
    new = Signing(20, "field-1")
    ahead = new.read()
    sample.admit(ahead)
    said = in_farm(earmark)("node", "rotate", "field-1", cose.did(new.key), "--reason", "new board")
    assert (said.status, said.err) == (0, "")
    assert "field-1 is rotated at leaf 14" in said.words
    assert "Of 1 held statement 1 went into the log." in said.words
    sample.admit(sample.field.read(), new.read())
    assert in_farm(earmark)("log", "quarantine", "--json").json()["counts"]["RevokedKey"] == 1
    old, _, now = in_farm(earmark)("node", "list", "--json").json()["nodes"]
    assert (old["rotated_at"], old["successor"], old["revoked_at"], old["reason"]) == (
        14,
        cose.did(new.key),
        None,
        "new board",
    )
    assert (now["name"], now["enrolled_at"], now["newest_seq"]) == ("field-1", 14, 2)
    assert (
        f"ROTATED at leaf 14: its name went to {cose.did(new.key)}: new board" in in_farm(earmark)("node", "list").words
    )
    assert in_farm(earmark)("log", "check").status == 0


def test_the_broker_knows_the_new_key_alone(earmark: Earmark, sample: SampleFarm) -> None:
    passwords = Users(sample.farm)
    before = passwords()
    new = Signing(20, "field-1")
    told = in_farm(earmark)("node", "rotate", "field-1", cose.did(new.key), "--reason", "x", "--json").json()
    assert told["former"] == cose.did(sample.field.key)
    after = passwords()
    assert set(after) == set(before)
    assert after["field-1"] == told["settings"]["broker"]["password"] != before["field-1"]


def test_a_proof_over_both_keys_holds(earmark: Earmark, sample: SampleFarm) -> None:
    new = Signing(20, "field-1")
    in_farm(earmark)("node", "rotate", "field-1", cose.did(new.key), "--reason", "new board")
    sample.admit(new.read())
    sample.seal()
    proven = in_farm(earmark)("prove", "3", "15", "-o", "both.earmark", "--json").json()
    assert proven["passed_over"] is None
    said = earmark("check", "both.earmark", "--operator", sample.did)
    assert said.status == 0
    assert f"ROTATED at leaf 14, after these: its name went to {cose.did(new.key)}: new board" in said.words
    assert "enrolled by the operator at leaf 14" in said.words
    old = in_farm(earmark)("prove", "--node", cose.did(sample.field.key), "--last", "2", "--json").json()
    assert (old["subjects"], old["block"]) == ([8, 12], 2)
    assert in_farm(earmark)("prove", "3", "--json").json()["block"] == 0


@pytest.mark.parametrize("words", [["nobody", "DID"], ["field-1", "OWN"], ["field-1", "OTHER"]])
def test_what_cannot_be_rotated(earmark: Earmark, sample: SampleFarm, words: list[str]) -> None:
    keys = {"DID": Signing(20, "x").key, "OWN": sample.field.key, "OTHER": sample.shed.key}
    said = in_farm(earmark)("node", "rotate", words[0], cose.did(keys[words[1]]), "--reason", "x")
    assert (said.status, said.out) == (3, "")
    assert "earmark node list" in said.err if words[0] == "nobody" else "has been enrolled before" in said.err


def test_a_theft_from_a_leaf_on(earmark: Earmark, sample: SampleFarm) -> None:
    sample.seal()
    said = in_farm(earmark)("node", "revoke", "field-1", *REASON, "--compromised-since", "7", "--yes")
    assert (said.status, said.err) == (0, "")
    assert "The gateway received leaf 7 at 2026-09-21 14:13:20 UTC." in said.words
    assert "3 statements that field-1's key signed from leaf 7 on will not count, for good." in said.words
    assert "field-1 is revoked at leaf 14" in said.words
    listed = in_farm(earmark)("node", "list")
    assert "IN OTHER HANDS from leaf 7 on: 3 statements there do not count: stolen" in listed.words
    checked = in_farm(earmark)("log", "check")
    assert checked.status == 0
    assert "3 statements do not count" in checked.words
    assert in_farm(earmark)("log", "check", "--json").json()["not_counting"] == 3
    assert "DOES NOT COUNT: " in in_farm(earmark)("log", "list").words
    lines = [json.loads(line) for line in in_farm(earmark)("log", "export").out.splitlines()]
    assert [line["index"] for line in lines if not line["counts"]] == [7, 8, 12]
    assert lines[14]["body"]["since"] == 7
    rows = csv.DictReader(io.StringIO(in_farm(earmark)("log", "export", "--format", "csv").out))
    assert {row["index"] for row in rows if row["counts"] == "false"} == {"7", "8", "12"}


def test_a_time_is_that_of_the_gateway_s_clock(earmark: Earmark, sample: SampleFarm) -> None:
    received_later(sample, 8, 9, 12)
    when = "2026-09-21T15:00:00Z"
    told = in_farm(earmark)("node", "revoke", "field-1", *REASON, "--compromised-since", when, "--yes", "--json").json()
    assert (told["compromised_since"], told["not_counting"], told["revoked_at"]) == (8, 2, 14)
    later = in_farm(earmark)(
        "node", "revoke", "shed-2", *REASON, "--compromised-since", "2030-01-01", "--yes", "--json"
    )
    assert (later.json()["compromised_since"], later.json()["not_counting"]) == (15, 0)


def test_a_theft_that_becomes_known_later(earmark: Earmark, sample: SampleFarm) -> None:
    new = cose.did(Signing(20, "field-1").key)
    in_farm(earmark)("node", "rotate", "field-1", new, "--reason", "new board")
    old = cose.did(sample.field.key)
    assert in_farm(earmark)("node", "revoke", old, *REASON).status == 3
    told = in_farm(earmark)("node", "revoke", old, *REASON, "--compromised-since", "8", "--yes")
    assert (told.status, "is revoked at" in told.out) == (0, False)
    assert "the key was in other hands from leaf 8 on" in told.words
    again = in_farm(earmark)("node", "revoke", old, *REASON, "--compromised-since", "9", "--yes")
    assert (again.status, "another revocation can only say an earlier one" in again.err) == (3, True)
    assert in_farm(earmark)("node", "revoke", old, *REASON, "--compromised-since", "5", "--yes").status == 0
    held = in_farm(earmark)("node", "list", "--json").json()["nodes"]
    assert (held[0]["compromised_since"], held[0]["rotated_at"], held[2]["revoked_at"]) == (5, 14, None)


def test_it_is_asked_before_statements_stop_counting(
    earmark: Earmark, sample: SampleFarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("node", "revoke", "field-1", *REASON, "--compromised-since", "7")
    alone = in_farm(earmark)(*words)
    assert (alone.status, "3 statements would not count" in alone.err, "--yes" in alone.err) == (3, True, True)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)

    def left(question: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", left)
    assert in_farm(earmark)(*words).err == "interrupted\n"
    monkeypatch.setattr("builtins.input", lambda _: "y")
    assert "not confirmed: nothing was done" in in_farm(earmark)(*words).err
    assert in_farm(earmark)("node", "list", "--json").json()["nodes"][0]["revoked_at"] is None
    monkeypatch.setattr("builtins.input", lambda _: "yes")
    assert in_farm(earmark)(*words).status == 0


@pytest.mark.parametrize("leaf", ["0", "1", "99"])
def test_a_leaf_before_the_enrolment_or_after_the_log_is_refused(
    earmark: Earmark, sample: SampleFarm, leaf: str
) -> None:
    said = in_farm(earmark)("node", "revoke", "field-1", *REASON, "--compromised-since", leaf, "--yes")
    assert (said.status, "say a leaf above 1" in said.err) == (3, True)


def test_no_file_is_made_that_hides_a_revocation(earmark: Earmark, sample: SampleFarm) -> None:
    assert in_farm(earmark)("prove", "3", "-o", "old.earmark", "--json").json()["block"] == 0
    in_farm(earmark)("node", "revoke", "field-1", *REASON, "--compromised-since", "7", "--yes")
    early = in_farm(earmark)("prove", "3")
    assert (early.status, "the revocation of field-1, which the file is not to hide, is in no sealed" in early.err) == (
        3,
        True,
    )
    assert in_farm(earmark)("prove", "10", "--json").json()["block"] == 0
    header = sample.seal()
    told = in_farm(earmark)("prove", "3-6", "-o", "new.earmark")
    assert "Block 0 would do for the statements." in told.words
    assert "NOT ANCHORED yet" in told.words
    sample.anchor(header)
    found = in_farm(earmark)("prove", "3-6", "-o", "new.earmark", "--json").json()
    assert (found["block"], found["passed_over"], len(found["anchors"])) == (2, 0, 1)
    said = earmark("check", "new.earmark", "--operator", sample.did)
    assert said.status == 0
    assert "field-1's key was in other hands from leaf 7 on" in said.words
    assert "IN OTHER HANDS from leaf 7 on, as the operator said at leaf 14: stolen" in said.words
    assert "the order of the leaves says so, and nobody's clock" in said.words
    signer = earmark("check", "new.earmark", "--operator", sample.did, "--json").json()["subjects"][0]["enrolment"]
    assert (signer["compromised_since"], signer["revoked_at"], signer["successor"]) == (7, 14, None)
    assert earmark("check", "old.earmark", "--operator", sample.did).status == 0  # it cannot know, and says so
    stolen = in_farm(earmark)("prove", "3", "7", "-o", "bad.earmark")
    assert (stolen.status, Path("bad.earmark").exists()) == (3, False)
    assert "leaf 7: the operator said at leaf 14 that this key was in other hands from leaf 7 on" in stolen.err


def test_a_thief_s_old_time_helps_him_nothing(earmark: Earmark, sample: SampleFarm) -> None:
    """He signs after the theft with a clock set back: admitted before the revocation, and worth nothing after it."""
    sample.admit(sample.field.read(issued_at_s=NOW_S - 86_400))
    in_farm(earmark)("node", "revoke", "field-1", *REASON, "--compromised-since", "14", "--yes")
    sample.seal()
    assert in_farm(earmark)("prove", "12").status == 0
    assert in_farm(earmark)("prove", "14").status == 3


def test_the_new_key_is_taken_from_a_node_s_folder(earmark: Earmark, sample: SampleFarm, tmp_path: Path) -> None:
    new = cose.Signer(bytes([21]) * 32)
    (tmp_path / "n1").mkdir()
    (tmp_path / "n1" / "identity").write_bytes(bytes([21]) * 32 + new.key)
    told = in_farm(earmark)("node", "rotate", "field-1", "--dir", "n1", "--reason", "new board", "--json").json()
    assert (told["did"], told["settings"]) == (new.did, None)
    held = json.loads((tmp_path / "n1" / "node.json").read_text())
    assert (held["name"], held["broker"]["password"]) == ("field-1", Users(sample.farm)()["field-1"])
