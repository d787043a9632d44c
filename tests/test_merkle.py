"""The tree against a naive recursive definition, and against the public RFC 6962/9162 vectors."""

import base64
import hashlib
import json
from pathlib import Path

import pytest

from earmark import merkle
from earmark.errors import ProofError
from frontier import Frontier

MOST = 64
LEAVES = [merkle.leaf_hash(n.to_bytes(2, "big")) for n in range(MOST)]


def naive(leaves: list[bytes]) -> bytes:
    """RFC 9162 §2.1.1 as it is written."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return hashlib.sha256(b"\1" + naive(leaves[:half]) + naive(leaves[half:])).digest()


NAIVE = [naive(LEAVES[:size]) for size in range(MOST + 1)]


def subtree(level: int, index: int) -> bytes:
    return naive(LEAVES[index << level : (index + 1) << level])


def flips(hashes: list[bytes]) -> list[list[bytes]]:
    changed = [[*hashes[:n], bytes([h[0] ^ 1]) + h[1:], *hashes[n + 1 :]] for n, h in enumerate(hashes)]
    return [*changed, [*hashes, bytes(32)], *([hashes[:-1], hashes[1:]] if hashes else [])]


def test_frontier_has_the_naive_root_at_every_size() -> None:
    frontier = Frontier()
    for size in range(MOST):
        assert frontier.root() == NAIVE[size]
        frontier.append(LEAVES[size])
    restored = Frontier(MOST - 1, [subtree(*peak) for peak in merkle.peaks(MOST - 1)])
    restored.append(LEAVES[MOST - 1])
    assert restored.root() == frontier.root() == NAIVE[MOST]


def test_a_copy_of_a_frontier_is_independent() -> None:
    frontier = Frontier()
    frontier.append(LEAVES[0])
    copy = frontier.copy()
    copy.append(LEAVES[1])
    assert (frontier.size, frontier.root(), copy.root()) == (1, NAIVE[1], NAIVE[2])


@pytest.mark.parametrize("size", range(1, MOST + 1))
def test_inclusion_of_every_leaf_and_every_element_flipped(size: int) -> None:
    for index in range(size):
        path = merkle.prove_inclusion(index, size, subtree)
        merkle.check_inclusion(LEAVES[index], index, size, path, NAIVE[size])
        for wrong in flips(path):
            with pytest.raises(ProofError):
                merkle.check_inclusion(LEAVES[index], index, size, wrong, NAIVE[size])
        with pytest.raises(ProofError):
            merkle.check_inclusion(LEAVES[index], (index + 1) % size if size > 1 else 1, size, path, NAIVE[size])


@pytest.mark.parametrize("new", range(1, MOST + 1))
def test_consistency_with_every_older_size_and_every_element_flipped(new: int) -> None:
    for old in range(new + 1):
        if old == 0:
            with pytest.raises(ProofError):
                merkle.check_consistency(old, new, NAIVE[old], NAIVE[new], [])
            continue
        proof = merkle.prove_consistency(old, new, subtree)
        merkle.check_consistency(old, new, NAIVE[old], NAIVE[new], proof)
        for wrong in flips(proof):
            with pytest.raises(ProofError):
                merkle.check_consistency(old, new, NAIVE[old], NAIVE[new], wrong)
        with pytest.raises(ProofError):
            merkle.check_consistency(old, new, bytes(32), NAIVE[new], proof)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 13, 33, MOST])
def test_many_leaves_share_one_proof(size: int) -> None:
    for step in (1, 2, 3, 5, size):
        for first in range(min(step, size)):
            indexes = list(range(first, size, step))
            leaves = [(index, LEAVES[index]) for index in indexes]
            rest = merkle.prove_leaves(indexes, size, subtree)
            assert merkle.root_of_leaves(leaves, size, rest) == NAIVE[size]
            for wrong in flips(rest):
                try:
                    assert merkle.root_of_leaves(leaves, size, wrong) != NAIVE[size]
                except ProofError:
                    continue


@pytest.mark.parametrize("indexes", [[1, 0], [0, 0], [5], [-1]])
def test_leaves_out_of_order_or_range_are_refused(indexes: list[int]) -> None:
    with pytest.raises(ProofError):
        merkle.root_of_leaves([(index, bytes(32)) for index in indexes], 5, [])


def cases(shared: Path, kind: str) -> list[dict[str, object]]:
    folder = shared / "vectors" / "rfc6962" / kind
    if not folder.is_dir():
        pytest.skip(f"the public vectors are not here: {folder}")
    return [json.loads(file.read_text()) for file in sorted(folder.rglob("*.json"))]


def b64(text: object) -> bytes:
    return base64.b64decode(str(text or ""))


def test_public_inclusion_vectors(shared: Path) -> None:
    for case in cases(shared, "inclusion"):
        path = [b64(node) for node in case["proof"] or []]  # type: ignore[attr-defined]
        args = b64(case["leafHash"]), int(str(case["leafIdx"])), int(str(case["treeSize"])), path, b64(case["root"])
        if case["wantErr"]:
            with pytest.raises(ProofError):
                merkle.check_inclusion(*args)
        else:
            merkle.check_inclusion(*args)


def test_public_consistency_vectors(shared: Path) -> None:
    for case in cases(shared, "consistency"):
        proof = [b64(node) for node in case["proof"] or []]  # type: ignore[attr-defined]
        args = int(str(case["size1"])), int(str(case["size2"])), b64(case["root1"]), b64(case["root2"]), proof
        if case["wantErr"]:
            with pytest.raises(ProofError):
                merkle.check_consistency(*args)
        else:
            merkle.check_consistency(*args)
