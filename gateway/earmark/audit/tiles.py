"""The tree over the leaves, and the stored tiles held against it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from earmark.audit.finding import Note
from earmark.merkle import HASH_SIZE, fold, node_hash
from earmark.tiles import HEIGHT, WIDTH


def _rows() -> list[list[bytes]]:
    return [[] for _ in range(HEIGHT + 1)]


@dataclass(slots=True)
class _Tile:
    """The tile that is being filled: how many are full before it, and over its hashes all complete nodes, by level."""

    number: int = 0
    nodes: list[list[bytes]] = field(default_factory=_rows)

    def extend(self, hashes: Sequence[bytes]) -> None:
        below = self.nodes[0]
        below += hashes
        for above in self.nodes[1:]:
            at = range(2 * len(above), len(below) - 1, 2)
            if not at:
                break
            above += [node_hash(below[left], below[left + 1]) for left in at]
            below = above

    def peaks(self) -> list[bytes]:
        """Return the complete nodes that make up what is there, left to right."""
        return [nodes[-1] for nodes in reversed(self.nodes) if len(nodes) & 1]


class Tiles:
    """The tree over `size` leaves so far, tile by tile, each held against the stored one when it is full."""

    def __init__(self, read: Callable[[int, int], bytes], note: Note) -> None:
        self.size = 0
        self._read = read
        self._note = note
        self._levels = [_Tile()]

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Add leaf hashes."""
        at = 0
        while at < len(leaves):
            part = leaves[at : at + WIDTH - self.size % WIDTH]
            self._add(part, 0)
            at, self.size = at + len(part), self.size + len(part)

    def _add(self, nodes: Sequence[bytes], level: int) -> None:
        """Add nodes, no more than the level's tile has room for."""
        tile = self._levels[level]
        tile.extend(nodes)
        if len(tile.nodes[0]) == WIDTH:
            self._compare(level, tile.number, b"".join(tile.nodes[0]))
            self._levels[level] = _Tile(tile.number + 1)
            if level + 1 == len(self._levels):
                self._levels.append(_Tile())
            self._add(tile.nodes[HEIGHT], level + 1)

    def root(self) -> bytes:
        """Return the root over all leaves so far."""
        return fold([peak for tile in reversed(self._levels) for peak in tile.peaks()])

    def finish(self) -> None:
        """Compare the tiles that are not full, and see that there is none beyond."""
        for level, tile in enumerate([*self._levels, _Tile()]):
            self._compare(level, tile.number, b"".join(tile.nodes[0]))

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
