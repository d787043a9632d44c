"""The stored tiles, held against the leaves that they should be made of."""

from collections.abc import Callable

from earmark import merkle
from earmark.audit.finding import Note
from earmark.merkle import HASH_SIZE
from earmark.tiles import WIDTH


class Tiles:
    """The tiles that the leaves so far give, each held against the stored one when it is full."""

    def __init__(self, read: Callable[[int, int], bytes], note: Note) -> None:
        self._read = read
        self._note = note
        self._levels: list[tuple[int, bytearray]] = []

    def append(self, node: bytes, level: int = 0) -> None:
        """Add one leaf hash, or the root of a full tile to the level above."""
        if level == len(self._levels):
            self._levels.append((0, bytearray()))
        number, hashes = self._levels[level]
        hashes += node
        if len(hashes) == WIDTH * HASH_SIZE:
            self._compare(level, number, bytes(hashes))
            self._levels[level] = number + 1, bytearray()
            self.append(_root(bytes(hashes)), level + 1)

    def finish(self) -> None:
        """Compare the tiles that are not full, and see that there is none beyond."""
        for level, (number, hashes) in enumerate([*self._levels, (0, bytearray())]):
            self._compare(level, number, bytes(hashes))

    def stored_leaf(self, index: int) -> bytes:
        """Return the stored hash of a leaf whose statement is gone; zeros where that is gone too."""
        place = index % WIDTH * HASH_SIZE
        return self._read(0, index // WIDTH)[place : place + HASH_SIZE].ljust(HASH_SIZE, b"\0")

    def _compare(self, level: int, number: int, hashes: bytes) -> None:
        stored = self._read(level, number)
        if stored == hashes:
            return
        where = f"tile {level}/{number}"
        if len(stored) != len(hashes):
            self._note(where, f"holds {len(stored) // HASH_SIZE} hashes, the log gives it {len(hashes) // HASH_SIZE}")
            return
        place = next(at for at in range(len(hashes)) if stored[at] != hashes[at]) // HASH_SIZE
        what = f"leaf {number * WIDTH + place}" if level == 0 else f"tile {level - 1}/{number * WIDTH + place}"
        self._note(where, f"hash {place} is not the one of {what}")


def _root(hashes: bytes) -> bytes:
    tree = merkle.Frontier()
    nodes = [hashes[at : at + HASH_SIZE] for at in range(0, len(hashes), HASH_SIZE)]
    for node in nodes:
        tree.append(node)
    return tree.root()
