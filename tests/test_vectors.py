"""The vectors are what their generator writes; here are those checked that no other file looks at."""

import subprocess
import sys
from typing import Any

import pytest
from cryptography import x509

from earmark import evidence, merkle
from earmark.errors import ProofError
from frontier import Frontier
from pinned import FOLDER, named, vectors

TREE = vectors("tree")
LEAVES = [bytes.fromhex(leaf) for leaf in TREE["leaf_hashes"]]
ROOTS = [bytes.fromhex(root) for root in TREE["roots"]]
EVIDENCE = vectors("evidence")
STAMPS = vectors("stamp")


def test_the_generator_writes_the_files_that_are_checked_in() -> None:
    command = [sys.executable, str(FOLDER / "generate.py"), "--check"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, f"{found.stdout}{found.stderr}\nrun python tests/vectors/generate.py"


def test_every_must_reject_case_has_its_own_name() -> None:
    for name in (
        "statement",
        "proof",
        "evidence",
        "checkpoint",
        "acknowledgement",
        "beacon",
        "header",
        "cosignature",
        "consistency",
        "stamp",
    ):
        names = [row["name"] for row in vectors(name)["must_reject"]]
        assert len(names) == len(set(names)) > 0


def hashes(texts: list[str]) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]


def test_the_tree() -> None:
    assert [merkle.leaf_hash(entry) for entry in hashes(TREE["entries"])] == LEAVES
    frontier = Frontier()
    for leaf, root in zip([*LEAVES, b""], ROOTS, strict=True):
        assert frontier.root() == root
        frontier.append(leaf)
    for row in TREE["inclusion"]:
        index, size = row["index"], row["size"]
        merkle.check_inclusion(LEAVES[index], index, size, hashes(row["path"]), ROOTS[size])
    for row in TREE["consistency"]:
        old, new = row["old"], row["new"]
        merkle.check_consistency(old, new, ROOTS[old], ROOTS[new], hashes(row["proof"]))
    for row in TREE["rest"]:
        leaves = [(index, LEAVES[index]) for index in row["indexes"]]
        assert merkle.root_of_leaves(leaves, row["size"], hashes(row["hashes"])) == ROOTS[row["size"]]


def check_evidence(row: dict[str, Any]) -> evidence.ChainBlock:
    return evidence.check(row["kind"], row["chain"], bytes.fromhex(row["bytes"]), bytes.fromhex(row["digest"]))


@pytest.mark.parametrize("row", **named(EVIDENCE["valid"]))
def test_evidence(row: dict[str, Any]) -> None:
    found, block = check_evidence(row), row["block"]
    assert (found.chain, found.number, found.time_s) == (row["chain"], block["number"], block["time_s"])
    assert found.hash.hex() == block["hash"]


@pytest.mark.parametrize("row", **named(EVIDENCE["must_reject"]))
def test_evidence_that_must_be_refused(row: dict[str, Any]) -> None:
    with pytest.raises(ProofError):
        check_evidence(row)


def check_stamp(row: dict[str, Any]) -> evidence.ChainBlock | None:
    authority = evidence.Authority(x509.load_der_x509_certificate(bytes.fromhex(row["certificate"])))
    octets, digest = bytes.fromhex(row["bytes"]), bytes.fromhex(row["digest"])
    return evidence.check_under([authority], row["chain"], octets, digest)


@pytest.mark.parametrize("row", **named(STAMPS["valid"]))
def test_stamp(row: dict[str, Any]) -> None:
    found, stamp = check_stamp(row), row["stamp"]
    assert found == evidence.ChainBlock(row["chain"], stamp["number"], bytes.fromhex(stamp["hash"]), stamp["time_s"])
    octets, digest = bytes.fromhex(row["bytes"]), bytes.fromhex(row["digest"])
    assert evidence.read(evidence.RFC3161, row["chain"], octets, digest) == found
    assert evidence.check_under([], row["chain"], octets, digest) is None


@pytest.mark.parametrize("row", **named(STAMPS["must_reject"]))
def test_a_stamp_that_must_be_refused(row: dict[str, Any]) -> None:
    with pytest.raises(ProofError):
        check_stamp(row)
