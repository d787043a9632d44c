"""The tree of RFC 9162 grown leaf by leaf: what the stored tree and the audit's are held against."""

from collections.abc import Sequence

from earmark.merkle import fold, node_hash


class Frontier:
    """The right edge of a growing tree: its size and the hashes of its `peaks`, O(log size)."""

    __slots__ = ("_peaks", "size")

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        self.size = size
        self._peaks = list(hashes)
        assert len(self._peaks) == size.bit_count()

    def copy(self) -> "Frontier":
        """Return an independent frontier: appends to one do not show in the other."""
        return Frontier(self.size, self._peaks)

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        index, node = self.size, leaf
        while index & 1:
            node = node_hash(self._peaks.pop(), node)
            index >>= 1
        self._peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        """Return the root over all leaves so far."""
        return fold(self._peaks)

    @property
    def peaks(self) -> Sequence[bytes]:
        """The hashes of its `peaks`, left to right."""
        return self._peaks
