"""`earmark prove`, `check` and `unpack`."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from commands import Earmark, in_farm
from earmark import cose
from earmark.evidence.drand import QUICKNET
from earmark.proof import decode_proof
from farm import NOW_S
from pinned import vectors
from sample_farm import SampleFarm

pytest_plugins = ["command_fixtures"]


def blocks(sample: SampleFarm, *names: str) -> list[str]:
    found = [getattr(sample, name) for name in names]
    return [word for block in found for word in ("--block", f"{block.chain}=0x{block.hash.hex()}")]


@pytest.mark.parametrize(
    ("words", "subjects"),
    [
        (["3"], [3]),
        (["10", "3-5"], [3, 4, 5, 10]),
        (["--node", "field-1", "--seq", "2-3", "8"], [4, 5, 8]),
        (["--node", "field-1", "--last"], [12]),
        (["--node", "field-1", "--last", "3"], [7, 8, 12]),
        (["--node", "field-1", "--last", "99"], [3, 4, 5, 6, 7, 8, 12]),
        (["-o", "other.earmark", "3"], [3]),
    ],
)
def test_what_a_proof_covers(earmark: Earmark, sample: SampleFarm, words: list[str], subjects: list[int]) -> None:
    said = in_farm(earmark)("prove", *words, "--json")
    assert (said.status, said.err) == (0, "")
    assert said.json()["subjects"] == subjects
    assert list(decode_proof(Path(said.json()["file"]).read_bytes()).subjects) == subjects


def test_a_proof_says_whether_it_is_anchored(earmark: Earmark, sample: SampleFarm) -> None:
    said = in_farm(earmark)("prove", "3")
    assert "anchored in block 4000003 of eip155:1337" in said.words
    assert f"earmark check leaf-3.earmark --operator {sample.did}" in said.out
    late = in_farm(earmark)("prove", "12")
    assert "NOT ANCHORED yet" in late.words
    assert in_farm(earmark)("prove", "12", "--json").json()["anchors"] == []


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["13"], "leaf 13 is in no sealed block yet"),
        (["14"], "there is no leaf 14: the log has 14 leaves"),
        (["0-200000"], "more than 100,000 statements"),
        (["--node", "x", "--last"], "nothing in the log is by 'x'"),
        (["--node", "field-1", "--seq", "7"], "seq 7 of field-1 is not in the log"),
        (["3", "-o", "nowhere/x.earmark"], "nowhere"),
    ],
)
def test_what_cannot_be_proven(earmark: Earmark, sample: SampleFarm, words: list[str], what: str) -> None:
    said = in_farm(earmark)("prove", *words)
    assert (said.status, said.out) == (3, "")
    assert what in said.err
    assert not list(Path().glob("*.earmark"))


def test_a_newer_proof_replaces_an_older_one_and_nothing_else(earmark: Earmark, lot: Path) -> None:
    assert in_farm(earmark)("prove", "3", "-o", lot).status == 0
    Path("precious").write_text("words")
    said = in_farm(earmark)("prove", "3", "-o", "precious")
    assert (said.status, "is not overwritten" in said.err) == (3, True)
    assert Path("precious").read_text() == "words"


class Clock:
    """Stands in for `time`: sleeping passes the time at once, and calls `at` each time."""

    def __init__(self, at: Callable[[float], None]) -> None:
        self.now_s = 0.0
        self._at = at

    def monotonic(self) -> float:
        return self.now_s

    def time_ns(self) -> int:
        return NOW_S * 10**9

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now_s += seconds
        self._at(self.now_s)


def test_waiting_ends_with_the_anchor(earmark: Earmark, sample: SampleFarm, monkeypatch: pytest.MonkeyPatch) -> None:
    def gateway(now_s: float) -> None:
        if now_s == 2:
            sample.anchor(sample.seal())

    monkeypatch.setattr("earmark.cli.prove.time", Clock(gateway))
    said = in_farm(earmark)("prove", "13", "--wait", "60", "--json")
    assert (said.status, said.err) == (0, "")
    assert len(said.json()["anchors"]) == 1


def test_waiting_ends_with_the_time(earmark: Earmark, sample: SampleFarm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earmark.cli.prove.time", Clock(lambda now_s: None))
    for leaf, why in (("12", "the gateway plans the next one"), ("13", "in no sealed block yet")):
        said = in_farm(earmark)("prove", leaf, "--wait", "60")
        assert said.status == 3
        assert f"no final anchor covers leaf {leaf} after 1 min" in said.err
        assert why in said.err
    assert not list(Path().glob("*.earmark"))


def test_a_check_shows_every_step_and_what_is_left_to_do(earmark: Earmark, sample: SampleFarm, lot: Path) -> None:
    said = earmark("check", lot, "--operator", sample.did)
    assert said.status == 0
    for number, title in enumerate(["File", "Registry", "Checkpoint", "Block", "Log", "Signer"], 1):
        assert f"\n{number} {title}: holds\n" in said.out
    assert "\n7 Not before: NOT PROVEN\n" in said.out
    assert "\n8 Not after: NOT PROVEN\n" in said.out
    assert "\n9 Your block hashes: none given\n" in said.out
    for block in (sample.beacon, sample.anchored):
        assert f"--block {block.chain}=0x{block.hash.hex()}\n" in said.out
    assert "Signed after: not proven" in said.out
    assert "field-1, 5 statements" in said.out
    assert "12.90" in said.out
    assert "MODELLED: the readings of 1 statement are computed, not measured" in said.words
    assert "MODELLED" in next(line for line in said.out.splitlines() if "shed-2/t" in line)
    assert "This does not establish" in said.out


def test_a_check_with_the_chains_blocks_gives_the_window(earmark: Earmark, sample: SampleFarm, lot: Path) -> None:
    only_after = earmark("check", lot, "--operator", sample.did, *blocks(sample, "anchored"))
    assert "Signed after: not proven" in only_after.out
    assert "All of it existed before 2026-09-21 14:13:44 UTC (block 4000003 of eip155:1337)." in only_after.words
    said = earmark("check", lot, "--operator", sample.did, *blocks(sample, "anchored", "beacon"))
    assert "All of it was signed after 2026-09-21 14:13:08 UTC (block 4000000 of eip155:1337)." in said.words
    assert "a window of 36 s, whatever the signer's clock said" in said.words
    assert "To prove the times" not in said.out
    found = earmark("check", lot, "--operator", sample.did, *blocks(sample, "anchored", "beacon"), "--json").json()
    assert found["not_before"]["time_s"] == sample.beacon.time_s
    assert found["not_after"]["hash"] == f"0x{sample.anchored.hash.hex()}"
    assert found["to_compare"] == []
    assert sorted({step["number"] for step in found["steps"]}) == list(range(1, 10))


def test_a_lower_bound_for_some_is_said_to_be_for_some(earmark: Earmark, sample: SampleFarm) -> None:
    in_farm(earmark)("prove", "3", "9", "-o", "mixed.earmark")
    said = earmark("check", "mixed.earmark", "--operator", sample.did, *blocks(sample, "beacon"))
    assert "\n7 Not before: partly proven\n" in said.out
    assert "Signed after: proven for 1 of 2 statements only" in said.words
    assert "1 statement(s) with no beacon that counts for you" in said.words
    assert earmark("check", "mixed.earmark", "--operator", sample.did, "--json").json()["not_before"] is None


def test_the_operator_may_stand_in_a_file(earmark: Earmark, sample: SampleFarm, lot: Path) -> None:
    assert earmark("check", lot, "--operator", sample.farm.folder / "operator.did").status == 0
    Path("bad.did").write_text("did:key:z6Mk\n")
    said = earmark("check", lot, "--operator", "bad.did")
    assert (said.status, "bad.did: 'did:key:z6Mk' is not a did" in said.err) == (2, True)
    missing = earmark("check", lot, "--operator", "no.did")
    assert (missing.status, "neither a did" in missing.err) == (3, True)


def test_a_wrong_operator_or_block_fails_with_its_step(earmark: Earmark, sample: SampleFarm, lot: Path) -> None:
    said = earmark("check", lot, "--operator", cose.Signer(bytes(32)).did)
    assert said.status == 1
    assert "1 File: holds\n2 Registry: FAILS\n" in said.out
    assert "Nothing in this file is established." in said.out
    strange = earmark("check", lot, "--operator", sample.did, "--block", f"eip155:1=0x{'00' * 32}", "--json")
    assert strange.status == 1
    found = strange.json()
    assert (found["holds"], found["step"], found["title"]) == (False, 9, "Your block hashes")
    words = earmark("check", lot, "--operator", sample.did, "--block", f"eip155:1=0x{'00' * 32}").out
    assert "6 Signer: holds\n7 Not before: no fault found\n8 Not after: no fault found\n" in words


def test_no_flipped_bit_holds(earmark: Earmark, sample: SampleFarm, lot: Path) -> None:
    encoded = lot.read_bytes()
    for at in range(0, len(encoded), len(encoded) // 60):
        changed = bytearray(encoded)
        changed[at] ^= 1 << at % 8
        Path("bad.earmark").write_bytes(changed)
        said = earmark("check", "bad.earmark", "--operator", sample.did, "--json")
        assert (said.status, said.json()["holds"]) == (1, False), at
    Path("bad.earmark").write_bytes(encoded[:-1])
    assert earmark("check", "bad.earmark", "--operator", sample.did).status == 1
    Path("bad.earmark").write_bytes(b"")
    assert earmark("check", "bad.earmark", "--operator", sample.did).status == 1
    assert earmark("check", "none.earmark", "--operator", sample.did).status == 3


def test_many_readings_are_cut_until_all_are_asked_for(earmark: Earmark, sample: SampleFarm) -> None:
    records = [{-2: "field-1/", -3: NOW_S, 0: "t", 1: "Cel", 2: 0}] + [{0: "t", 2: n} for n in range(1, 30)]
    sample.admit(sample.field.say(records, boot_count=1, method=0))
    sample.seal()
    in_farm(earmark)("prove", "14", "-o", "many.earmark")
    said = earmark("check", "many.earmark", "--operator", sample.did)
    assert said.out.count("field-1/t") == 20
    assert "… and more, of 1 statement in all; --all shows all" in said.words
    assert earmark("check", "many.earmark", "--operator", sample.did, "--all").out.count("field-1/t") == 30


def test_an_unset_clock_and_other_statements_are_said_so(earmark: Earmark, sample: SampleFarm) -> None:
    sample.seal()
    in_farm(earmark)("prove", "9", "11", "13", "-o", "odd.earmark")
    said = earmark("check", "odd.earmark", "--operator", sample.did)
    assert "its own clock was not set, so its times are unknown" in said.words
    assert "not known" in said.out
    assert "REPLAYED: the readings of 1 statement come from a recording" in said.words
    assert "leaf 11, gap: first 3, last 4, reason outbox full" in said.words
    assert "leaf 9, boot: cause power on" in said.words


def test_unpacking_writes_every_part_once(earmark: Earmark, sample: SampleFarm, lot: Path, tmp_path: Path) -> None:
    said = earmark("unpack", lot, "parts")
    assert said.status == 0
    assert "Nothing but the file's form was checked" in said.words
    names = {path.name for path in (tmp_path / "parts").iterdir()}
    assert {"README.txt", "checkpoint", "header.bin", "statement-3.cose", "statement-3.receipt.cbor"} <= names
    again = earmark("unpack", lot, "parts")
    assert (again.status, "nothing is overwritten" in again.err) == (3, True)
    Path("bad.earmark").write_bytes(lot.read_bytes()[:-1])
    bad = earmark("unpack", "bad.earmark", "other")
    assert (bad.status, Path("other").exists()) == (1, False)
    other = earmark("unpack", lot, "others", "--json").json()
    assert {file["name"] for file in other["files"]} == names
    assert other["checked"] is False


def test_a_round_of_drand_is_told_in_words_a_buyer_understands(earmark: Earmark, tmp_path: Path) -> None:
    row = next(row for row in vectors("proof")["valid"] if row["name"] == "a round of quicknet and a Bitcoin block")
    (tmp_path / "round.earmark").write_bytes(bytes.fromhex(row["bytes"]))
    said = earmark("check", tmp_path / "round.earmark", "--operator", row["operator"])
    assert said.status == 0
    assert "\n7 Not before: holds\n" in said.out
    assert "It was signed after 2023-09-15 11:00:03 UTC (round 657413 of drand's quicknet)." in said.words
    assert "Nobody knew this one before" in said.words
    assert "that not enough of drand's operators to do so signed a round before its time" in said.words
    assert said.out.count("--block") == 1  # the block in the same beacon is newer than the round
    found = earmark("check", tmp_path / "round.earmark", "--operator", row["operator"], "--json").json()
    assert (found["not_before"]["chain"], found["not_before"]["number"]) == (QUICKNET.id, 657413)
    looked_up = found["not_before"]["hash"]
    for place, status in ((f"{QUICKNET.id}/657413", 0), (f"{QUICKNET.id}/657414", 1), (QUICKNET.id, 2)):
        given = "--block", f"{place}={looked_up}"
        assert earmark("check", tmp_path / "round.earmark", "--operator", row["operator"], *given).status == status
    folder = tmp_path / "parts"
    assert earmark("unpack", tmp_path / "round.earmark", folder).status == 0
    [signature] = folder.glob("*.signature")
    assert f"0x{sha256(signature.read_bytes()).hexdigest()}" == found["not_before"]["hash"]
