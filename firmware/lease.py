"""How far a key may have signed, kept apart from its outbox: what is left to go on from when the newest statements
are lost.

The lease is a file of its own, best in another directory than the outbox: a record (record.py) without a statement, of
the newest seq when it was taken, with the application's mark and (oldest seq that waited, limit) as its gap.  One is
taken with each segment, whose name is on the medium by then, and every seq in that segment is below its limit: a lease
whose segment is missing means a loss.
"""

import record

SPAN = 64  # statements of one segment at most; so many seq are passed over when the end of the chain is lost


class Lease:
    """The lease kept as `name` in a `files.Folder`; `seq`, `entry`, `mark`, `oldest` and `limit` are 0 or empty before
    the first."""

    def __init__(self, folder, name="lease"):
        self._folder = folder
        self._name = name
        self.seq = self.oldest = self.limit = 0
        self.entry, self.mark = bytes(32), b""

    def read(self):
        """Take up what is kept.  Raises `ValueError` if it is damaged; there is no lease then."""
        if self._name not in self._folder.names():
            return
        found = record.decode(0, self._folder.read(self._name, 0, record.MAX_HEADER))
        if found is None or found.gap is None:
            raise ValueError("the lease of sequence numbers is damaged and was ignored")
        self._take(found.seq, found.entry, found.mark, found.gap)

    def renew(self, seq, entry, mark, oldest):
        """Allow `SPAN` more seq after `seq`, the newest; on the medium when this returns."""
        gap = (oldest, seq + 1 + SPAN)
        self._folder.replace(self._name, record.encode(seq, entry, b"", mark, gap))
        self._take(seq, entry, mark, gap)

    def _take(self, seq, entry, mark, gap):
        self.seq, self.entry, self.mark = seq, entry, mark
        self.oldest, self.limit = gap
