"""The stored Merkle tree, in tiles of 256 hashes as C2SP tlog-tiles lays them out.

Tile (0, n) holds the leaf hashes 256·n …; tile (t, n) the roots of tiles (t−1, 256·n) ….  Everything between is
computed when it is asked for, so the tree costs 32.1 bytes a leaf.
"""

from collections.abc import Callable, Sequence

from earmark.merkle import EMPTY_ROOT, HASH_SIZE, fold, node_hash, peaks

WIDTH = 256
HEIGHT = 8


class TileTree:
    """A tree read from stored tiles and grown in memory; `take_changes` gives what is to be stored.

    `read(level, number)` returns a stored tile, empty where there is none.  Reading keeps the last few tiles.
    """

    def __init__(self, size: int, read: Callable[[int, int], bytes]) -> None:
        self.size = size
        self._read = read
        self._changed: dict[tuple[int, int], bytes] = {}
        self._cache: dict[tuple[int, int], bytes] = {}

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        self.extend([leaf])

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Add leaf hashes."""
        at = 0
        while at < len(leaves):
            part = leaves[at : at + WIDTH - self.size % WIDTH]
            self._add(0, self.size, b"".join(part))
            at, self.size = at + len(part), self.size + len(part)

    def _add(self, level: int, place: int, nodes: bytes) -> None:
        name = level, place // WIDTH
        tile = self._changed[name] = (self._tile(*name) if place % WIDTH else b"") + nodes
        if len(tile) == WIDTH * HASH_SIZE:
            self._add(level + 1, place // WIDTH, _root(tile, 0, WIDTH))

    def take_changes(self) -> dict[tuple[int, int], bytes]:
        """Return the tiles that changed since the last call, by (level, number), to be stored with the new size."""
        changed, self._changed = self._changed, {}
        self._keep(changed)
        return changed

    def subtree(self, level: int, index: int) -> bytes:
        """Return the hash of a complete subtree (`merkle.Subtree`)."""
        tile_level, inner = divmod(level, HEIGHT)
        first = index << inner
        tile = self._tile(tile_level, first // WIDTH)
        return _root(tile, first % WIDTH, 1 << inner)

    def root(self, size: int | None = None) -> bytes:
        """Return the root of the first `size` leaves, by default of all."""
        wanted = self.size if size is None else size
        return fold([self.subtree(*peak) for peak in peaks(wanted)]) if wanted else EMPTY_ROOT

    def _tile(self, level: int, number: int) -> bytes:
        name = level, number
        tile = self._changed.get(name) or self._cache.get(name)
        if tile is None:
            tile = self._read(level, number)
            self._keep({name: tile})
        return tile

    def _keep(self, tiles: dict[tuple[int, int], bytes]) -> None:
        if len(self._cache) > 64:
            self._cache.clear()
        self._cache.update(tiles)


def _root(tile: bytes, first: int, count: int) -> bytes:
    """Return the root of `count` (a power of two) hashes of a tile from `first` on."""
    nodes = [tile[at : at + HASH_SIZE] for at in range(first * HASH_SIZE, (first + count) * HASH_SIZE, HASH_SIZE)]
    while len(nodes) > 1:
        nodes = [node_hash(nodes[at], nodes[at + 1]) for at in range(0, len(nodes), 2)]
    return nodes[0]
