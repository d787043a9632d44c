"""The RFC 9162 Merkle tree, docs/protocol.md §4, §5.2 and §8.1.

Whole trees are never held: a complete subtree is named by (level, index), the hash of leaves
index·2^level … (index+1)·2^level − 1, and whoever stores the tree gives a function that reads one.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from earmark.errors import ProofError

HASH_SIZE = 32
EMPTY_ROOT = hashlib.sha256().digest()

Subtree = Callable[[int, int], bytes]
"""Give the hash of the complete subtree at (level, index)."""


def leaf_hash(entry: bytes) -> bytes:
    """Return SHA-256(00 ‖ entry)."""
    return hashlib.sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\1" + left + right).digest()


def split(count: int) -> int:
    """Return the largest power of two below `count` ≥ 2: where RFC 9162 divides a tree."""
    return 1 << ((count - 1).bit_length() - 1)


def peaks(size: int) -> list[tuple[int, int]]:
    """Return the complete subtrees (level, index) that make up a tree of this size, left to right."""
    found, low = [], 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            found.append((level, low >> level))
            low += 1 << level
    return found


def fold(hashes: Sequence[bytes]) -> bytes:
    """Return the root over the hashes of `peaks`, left to right."""
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


def range_hash(low: int, high: int, subtree: Subtree) -> bytes:
    """Return the hash of leaves low … high−1, a node of RFC 9162's division of some tree."""
    count = high - low
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return subtree(level, low >> level)
    middle = low + split(count)
    return node_hash(range_hash(low, middle, subtree), range_hash(middle, high, subtree))


def prove_inclusion(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """Return RFC 9162 §2.1.3.1's path of leaf `index` in the tree of `size`, leaf to root."""
    assert 0 <= index < size
    low, high, path = 0, size, []
    while high - low > 1:
        middle = low + split(high - low)
        if index < middle:
            path.append(range_hash(middle, high, subtree))
            high = middle
        else:
            path.append(range_hash(low, middle, subtree))
            low = middle
    return path[::-1]


def check_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Raise `ProofError` unless the path leads from the leaf hash at `index` to the root of `size` leaves."""
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} is not in a tree of {size}")
    inner = (index ^ (size - 1)).bit_length()
    border = (index >> inner).bit_count()
    _check_sizes(leaf, root, *path)
    if len(path) != inner + border:
        raise ProofError(f"an inclusion path of {len(path)} hashes; leaf {index} of {size} has {inner + border}")
    node = leaf
    for level, sibling in enumerate(path):
        left = level >= inner or index >> level & 1
        node = node_hash(sibling, node) if left else node_hash(node, sibling)
    if node != root:
        raise ProofError(f"leaf {index} is not under the root of {size} leaves")


def prove_consistency(old: int, new: int, subtree: Subtree) -> list[bytes]:
    """Return RFC 9162 §2.1.4.1's proof that the tree of `new` leaves begins with the tree of `old`."""
    assert 0 < old <= new
    low, high, proof, whole = 0, new, [], True
    while old < high:
        middle = low + split(high - low)
        if old <= middle:
            proof.append(range_hash(middle, high, subtree))
            high = middle
        else:
            proof.append(range_hash(low, middle, subtree))
            low, whole = middle, False
    if not whole:
        proof.append(range_hash(low, high, subtree))
    return proof[::-1]


def check_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Raise `ProofError` unless the proof shows that the `new` tree begins with the `old` one (RFC 9162 §2.1.4.2)."""
    if not 0 < old <= new:
        raise ProofError(f"there is nothing to prove of a tree of {new} that begins with one of {old}")
    _check_sizes(*proof)
    if old == new:
        if proof or old_root != new_root:
            raise ProofError(f"the trees of {old} and {new} leaves do not agree")
        return
    got_old, got_new = _walk_consistency(old, new, old_root, list(proof))
    if got_old != old_root or got_new != new_root:
        raise ProofError(f"the tree of {new} leaves does not begin with the tree of {old}")


def _check_sizes(*hashes: bytes) -> None:
    if any(len(each) != HASH_SIZE for each in hashes):
        raise ProofError("a hash that is not 32 bytes")


def _walk_consistency(old: int, new: int, old_root: bytes, proof: list[bytes]) -> tuple[bytes, bytes]:
    if old & (old - 1) == 0:
        proof = [old_root, *proof]
    if not proof:
        raise ProofError("an empty consistency proof")
    first, last = old - 1, new - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    got_old = got_new = proof[0]
    for node in proof[1:]:
        if last == 0:
            raise ProofError("a consistency proof with hashes left over")
        if first & 1 or first == last:
            got_old, got_new = node_hash(node, got_old), node_hash(node, got_new)
            while first and not first & 1:
                first, last = first >> 1, last >> 1
        else:
            got_new = node_hash(got_new, node)
        first, last = first >> 1, last >> 1
    if last:
        raise ProofError("a consistency proof that ends too early")
    return got_old, got_new


def _root(nodes: list[bytes]) -> bytes:
    """Return the root over leaf hashes, level by level: the last of an odd number goes up as it is."""
    while len(nodes) > 1:
        pairs = range(0, len(nodes) - 1, 2)
        nodes = [node_hash(nodes[at], nodes[at + 1]) for at in pairs] + nodes[2 * len(pairs) :]
    return nodes[0]


def prove_leaves(indexes: Sequence[int], size: int, subtree: Subtree) -> list[bytes]:
    """Return the hashes of the subtrees without any of these leaves, in the order of protocol §8.1.

    `indexes` are ascending and distinct, each below `size`.
    """

    def rest(low: int, high: int, start: int, stop: int) -> Iterator[bytes]:
        if start == stop:
            yield range_hash(low, high, subtree)
        elif high - low > 1:
            middle = low + split(high - low)
            at = bisect_left(indexes, middle, start, stop)
            yield from rest(low, middle, start, at)
            yield from rest(middle, high, at, stop)

    return list(rest(0, size, 0, len(indexes)))


def root_of_leaves(leaves: Sequence[tuple[int, bytes]], size: int, hashes: Sequence[bytes]) -> bytes:
    """Return the root of a tree from some leaf hashes, ascending (index, hash), and the hashes of `prove_leaves`.

    Raises `ProofError` where an index is out of order or range, or a hash is missing or left over.
    """
    indexes = [index for index, _ in leaves]
    ascending = all(a < b for a, b in pairwise(indexes))
    if not ascending or not size or (indexes and not 0 <= indexes[0] <= indexes[-1] < size):
        raise ProofError(f"leaves out of order or outside the tree of {size}")
    rest = iter(hashes)

    def subtree(low: int, high: int, start: int, stop: int) -> bytes:
        if start == stop:
            found = next(rest, None)
            if found is None:
                raise ProofError("a hash of the rest of the tree is missing")
            return found
        if high - low == stop - start:
            return _root([node for _, node in leaves[start:stop]])
        middle = low + split(high - low)
        at = bisect_left(indexes, middle, start, stop)
        left = subtree(low, middle, start, at)
        return node_hash(left, subtree(middle, high, at, stop))

    root = subtree(0, size, 0, len(leaves))
    if next(rest, None) is not None:
        raise ProofError("a hash of the rest of the tree is left over")
    return root
