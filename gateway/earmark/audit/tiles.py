"""The tree over the leaves, and the stored tiles held against it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from earmark.audit.finding import Note
from earmark.merkle import HASH_SIZE, Frontier, fold
from earmark.tiles import WIDTH


@dataclass(slots=True)
class _Level:
    """The tile that is being filled: how many are full before it, its hashes, and the tree over them."""

    number: int = 0
    hashes: list[bytes] = field(default_factory=list)
    tree: Frontier = field(default_factory=Frontier)


class Tiles:
    """The tree over `size` leaves so far, tile by tile, each held against the stored one when it is full."""

    def __init__(self, read: Callable[[int, int], bytes], note: Note) -> None:
        self.size = 0
        self._read = read
        self._note = note
        self._levels = [_Level()]

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        self.size += 1
        self._add(leaf, 0)

    def _add(self, node: bytes, number: int) -> None:
        level = self._levels[number]
        level.hashes.append(node)
        level.tree.append(node)
        if len(level.hashes) == WIDTH:
            self._compare(number, level.number, b"".join(level.hashes))
            self._levels[number] = _Level(level.number + 1)
            if number + 1 == len(self._levels):
                self._levels.append(_Level())
            self._add(level.tree.root(), number + 1)

    def root(self) -> bytes:
        """Return the root over all leaves so far."""
        return fold([peak for level in reversed(self._levels) for peak in level.tree.peaks])

    def finish(self) -> None:
        """Compare the tiles that are not full, and see that there is none beyond."""
        for number, level in enumerate([*self._levels, _Level()]):
            self._compare(number, level.number, b"".join(level.hashes))

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
