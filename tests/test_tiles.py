"""Tiles against the frontier and the naive subtree."""

from earmark import merkle
from earmark.tiles import TileTree
from frontier import Frontier

SIZE = 256 * 5 + 77
LEAVES = [merkle.leaf_hash(n.to_bytes(4, "big")) for n in range(SIZE)]


def test_roots_subtrees_and_reload_agree_with_the_frontier() -> None:
    stored: dict[tuple[int, int], bytes] = {}
    read = lambda level, number: stored.get((level, number), b"")  # noqa: E731
    tree, frontier, roots = TileTree(0, read), Frontier(), [merkle.EMPTY_ROOT]
    for size, leaf in enumerate(LEAVES, 1):
        tree.append(leaf)
        frontier.append(leaf)
        roots.append(frontier.root())
        if size % 101 == 0 or size == SIZE:
            stored |= tree.take_changes()
            tree = TileTree(size, read)  # as after a restart
            assert tree.root() == frontier.root()
    for size in range(0, SIZE + 1, 37):
        assert tree.root(size) == roots[size]
    for index in (0, 1, 255, 256, 1000, SIZE - 1):
        path = merkle.prove_inclusion(index, SIZE, tree.subtree)
        merkle.check_inclusion(LEAVES[index], index, SIZE, path, roots[SIZE])
    assert sum(map(len, stored.values())) < 32.2 * SIZE


def test_a_tree_grows_across_the_third_level() -> None:
    """256² leaves fill the second level: its root goes one level up."""
    stored: dict[tuple[int, int], bytes] = {}
    tree, frontier = TileTree(0, lambda level, number: stored.get((level, number), b"")), Frontier()
    for n in range(256 * 256 + 3):
        leaf = merkle.leaf_hash(n.to_bytes(4, "big"))
        tree.append(leaf)
        frontier.append(leaf)
        if n % 999 == 0:
            stored |= tree.take_changes()
    stored |= tree.take_changes()
    assert len(stored[(2, 0)]) == 32
    assert tree.root() == frontier.root()
