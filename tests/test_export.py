"""The log as JSON lines, CSV and COSE, and a proof file taken apart."""

import csv
import hashlib
import io
import itertools
import json
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from earmark import cbor, cose, export, merkle, unpack
from earmark.block import decode_checkpoint, decode_header
from earmark.errors import ProofError
from earmark.evidence import EVM
from earmark.evidence.evm import check_evm, check_evm_header
from earmark.proof import Proof
from earmark.prover import prove
from earmark.statement import decode
from earmark.store.sqlite import SqliteStore
from farm import NOW_S, Bench, new_store
from sample_farm import SampleFarm


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleFarm:
    return SampleFarm(tmp_path_factory.mktemp("export") / "farm").fill()


@pytest.fixture
def store(sample: SampleFarm) -> Iterator[SqliteStore]:
    with closing(SqliteStore(sample.farm.database)) as opened:
        yield opened


def rows_of_csv(lines: Iterator[bytes]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(b"".join(lines).decode(), newline="")))


def test_json_lines_hold_every_statement(store: SqliteStore, sample: SampleFarm) -> None:
    lines = [json.loads(line, parse_float=Decimal) for line in export.json_lines(store)]
    assert [line.pop("counts") for line in lines] == [True] * 14
    assert [line["index"] for line in lines] == list(range(14))
    for line, (index, _, raw) in zip(lines, store.statements(0, 14), strict=True):
        assert line["entry"] == hashlib.sha256(raw).hexdigest(), index
    assert lines[3] | {"entry": "", "received_at": ""} == {
        "index": 3,
        "entry": "",
        "signer": cose.did(sample.field.key),
        "name": "field-1",
        "kind": "readings",
        "seq": 1,
        "issued_at": "2026-09-21T14:13:20Z",
        "issued_at_s": NOW_S,
        "method": "measured",
        "boot": 1,
        "clock": {"source": "host", "error_s": 1, "uptime_s": 60},
        "beacon": sample.nonce.hex(),
        "received_at": "",
        "readings": [
            {
                "name": "field-1/t",
                "unit": "Cel",
                "value": Decimal("12.90"),
                "taken_at": "2026-09-21T14:13:20Z",
                "taken_at_s": NOW_S,
            }
        ],
    }
    assert lines[0]["body"]["role"] == "gateway"
    assert lines[9]["body"]["sensors"] == [
        {"name": "air", "driver": "modelled", "method": "modelled", "detail": "a greenhouse"}
    ]
    assert lines[11]["body"] == {"first": 3, "last": 4, "reason": "outbox full"}


def test_digits_are_the_signed_ones(store: SqliteStore) -> None:
    line = next(line for line in export.json_lines(store) if b'"seq": 1,' in line and b"field-1" in line)
    assert b'"value": 12.90,' in line


def test_an_unset_clock_has_no_time(store: SqliteStore) -> None:
    line = json.loads(list(export.json_lines(store))[13])
    assert line["issued_at"] is line["issued_at_s"] is line["clock"]["error_s"] is None
    assert line["readings"][0]["taken_at"] is line["readings"][0]["taken_at_s"] is None
    row = rows_of_csv(export.csv_lines(store))[-1]
    assert (row["issued_at"], row["taken_at"], row["clock"], row["clock_error_s"]) == ("", "", "unset", "")


def test_csv_has_one_row_a_reading_with_its_method(store: SqliteStore) -> None:
    rows = rows_of_csv(export.csv_lines(store))
    assert [row["method"] for row in rows] == ["measured"] * 6 + ["modelled", "measured", "replayed"]
    assert [row["value"] for row in rows[:3]] == ["12.90", "12.91", "12.92"]
    assert rows[6]["reading"] == "shed-2/t"


def test_one_node_alone(store: SqliteStore, sample: SampleFarm) -> None:
    assert [row["node"] for row in rows_of_csv(export.csv_lines(store, "shed-2"))] == ["shed-2"] * 2
    raws = [raw for _, _, raw in store.statements(0, 14)]
    assert b"".join(export.cose_sequence(store, "shed-2")) == b"".join(raws[n] for n in (9, 10, 11, 13))
    assert list(export.json_lines(store, "nobody")) == []


def test_cose_is_a_sequence_of_the_received_bytes(store: SqliteStore) -> None:
    whole = b"".join(export.cose_sequence(store))
    assert whole == b"".join(raw for _, _, raw in store.statements(0, 14))


@pytest.mark.parametrize("step", [1, 2, 5, 100])
def test_the_newest_rows_are_found_from_behind(store: SqliteStore, step: int) -> None:
    for most in (1, 3, 20):
        assert [index for index, *_ in export.newest_rows(store, most, step=step)] == list(range(14))[-most:]
    assert [index for index, *_ in export.newest_rows(store, 2, "shed-2", step)] == [11, 13]
    assert [index for index, *_ in export.newest_rows(store, 9, "shed-2", step)] == [9, 10, 11, 13]


def test_texts_cannot_run_in_a_spreadsheet_nor_in_a_terminal(tmp_path: Path) -> None:
    bench = Bench(new_store(tmp_path)).found()
    node = bench.enrol(3, "n1")
    texts = ["=1+1", "+1", "-1", "@x", "\x1b[31m\rx", 'a "quoted", text', "plain"]
    records = [{-2: "n1/", -3: NOW_S, 0: "a", 3: texts[0]}] + [{0: "a", 3: text} for text in texts[1:]]
    records.append({0: "b", 2: -7})
    bench.admit(node.say(records, boot_count=1, method=0))
    rows = rows_of_csv(export.csv_lines(bench.store))
    bench.store.close()
    shown = ["'=1+1", "'+1", "'-1", "'@x", "\\x1b[31m\\rx", 'a "quoted", text', "plain", "-7"]
    assert [row["value"] for row in rows] == shown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (Decimal("1790000000.25"), "2026-09-21T14:13:20.250Z"),
        (253_402_300_799, "9999-12-31T23:59:59Z"),
        (253_402_300_800, None),
        (1 << 200, None),
        (-1, None),
    ],
)
def test_times_that_no_calendar_has_are_none(seconds: int | Decimal, text: str | None) -> None:
    assert export.iso(seconds) == text


def test_json_keeps_what_is_not_ascii_harmless() -> None:
    assert export.to_json({"a": [Decimal("0.10"), True, None, "\x1b\u202e\x9b"]}) == (
        '{"a": [0.10, true, null, "\\u001b\\u202e\\u009b"]}'
    )


# a proof file taken apart


def leaves(size: int) -> list[bytes]:
    return [merkle.leaf_hash(bytes([index])) for index in range(size)]


@pytest.mark.parametrize("size", range(1, 18))
def test_paths_are_the_inclusion_paths_of_every_choice_of_leaves(size: int) -> None:
    hashes = leaves(size)

    def subtree(level: int, index: int) -> bytes:
        if level == 0:
            return hashes[index]
        return merkle.node_hash(subtree(level - 1, 2 * index), subtree(level - 1, 2 * index + 1))

    root = merkle.range_hash(0, size, subtree)
    choices = itertools.chain.from_iterable(itertools.combinations(range(size), most) for most in (1, 2, 3, size))
    for chosen in choices:
        rest = merkle.prove_leaves(chosen, size, subtree)
        found = unpack.paths([(index, hashes[index]) for index in chosen], size, rest)
        assert list(found) == list(chosen)
        for index, path in found.items():
            assert path == merkle.prove_inclusion(index, size, subtree)
            merkle.check_inclusion(hashes[index], index, size, path, root)


def test_paths_refuse_hashes_that_do_not_make_up_the_tree() -> None:
    [leaf] = leaves(1)
    with pytest.raises(ProofError, match="missing"):
        unpack.paths([(0, leaf)], 2, [])
    with pytest.raises(ProofError, match="left over"):
        unpack.paths([(0, leaf)], 1, [leaf])


@pytest.fixture
def proof(store: SqliteStore, sample: SampleFarm) -> Proof:
    return prove(store, sample.farm.operator_key(), [3, 10])


def test_every_part_checks_by_its_own_standard(proof: Proof, sample: SampleFarm) -> None:
    parts = {part.name: part.octets for part in unpack.unpack(proof)}
    checkpoint, header = decode_checkpoint(parts["checkpoint"]), decode_header(parts["header.bin"])
    gateway = sample.farm.signer("gateway")
    checkpoint.verify(checkpoint.origin, gateway.key)
    for index in (0, 1, 2, 3, 10):
        raw = parts[f"statement-{index}.cose"]
        decode(raw).verify()
        receipt = cose.decode_sign1(parts[f"statement-{index}.receipt.cbor"])
        receipt.verify(gateway.key, detached=checkpoint.root)
        size, place, path = cbor.decode(receipt.unprotected[396][-1][0])
        assert (size, place) == (header.size, index)
        merkle.check_inclusion(merkle.leaf_hash(hashlib.sha256(raw).digest()), place, size, path, checkpoint.root)
    evidence = parts["anchor-1-evm-eip155-1337.cbor"]
    assert check_evm("eip155:1337", evidence, header.hash) == sample.anchored
    assert check_evm_header("eip155:1337", parts["beacon-1-1-eip155-1337.rlp"]) == sample.beacon
    assert hashlib.sha256(parts["beacon-1.cbor"]).digest()[:16] == sample.nonce


def test_the_readme_names_every_other_part(proof: Proof) -> None:
    *parts, readme = unpack.unpack(proof)
    assert readme.name == "README.txt"
    for part in parts:
        assert f"{part.name}\n    {part.standard}\n" in readme.octets.decode()
        assert part.standard


def test_names_from_the_file_lead_nowhere(proof: Proof) -> None:
    wicked = "../../etc/passwd\x1b[2J"
    _, chain, octets = proof.anchors[0]
    anchors = ((EVM, chain, octets), (wicked, wicked, octets), (wicked, wicked + "é" * 300, octets))
    changed = Proof(*(getattr(proof, name) for name in proof.__slots__[:-1]), anchors=anchors)
    names = [part.name for part in unpack.unpack(changed)]
    assert len(names) == len(set(names))
    for name in names:
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."), name
        assert ".." not in name
        assert len(name) < 150


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"header": b"x"}, "a header of 1 bytes"),
        ({"rest": ()}, "missing"),
        ({"statements": ((5, b"x"),)}, "statement 0"),
        ({"statements": ((0, b"x"),)}, "cannot be taken apart"),
        ({"beacons": ((b"x", ()),)}, "cannot be taken apart"),
    ],
)
def test_a_file_that_does_not_fit_together_is_refused(proof: Proof, change: dict[str, object], what: str) -> None:
    fields = {name: getattr(proof, name) for name in proof.__slots__} | change
    with pytest.raises(ProofError, match=what):
        list(unpack.unpack(Proof(**fields)))
