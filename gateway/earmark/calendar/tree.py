"""A Merkle tree in OpenTimestamps operations: one digest for many messages, and each message's way to it.

A node is SHA-256 of its two children joined; where a level has an odd number, its last goes up as it is.
"""

import hashlib
from collections.abc import Sequence

from earmark.ots import HASH, Op, append, prepend


def levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """Return all levels of the tree over one leaf or more, the leaves first and the root last."""
    made = [list(leaves)]
    while len(made[-1]) > 1:
        below = made[-1]
        pairs = [hashlib.sha256(below[at] + below[at + 1]).digest() for at in range(0, len(below) - 1, 2)]
        made.append(pairs + below[len(pairs) * 2 :])
    return made


def way(made: Sequence[Sequence[bytes]], index: int) -> tuple[Op, ...]:
    """Return the operations that lead from a leaf to the root."""
    ops: list[Op] = []
    for level in made[:-1]:
        beside = index ^ 1
        if beside < len(level):
            ops += [prepend(level[beside]) if index & 1 else append(level[beside]), HASH]
        index //= 2
    return tuple(ops)
