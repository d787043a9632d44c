"""The outbox's last room: a file as long as a segment, which gives way to what must be written before room is made."""

_NO_ROOM = (28, 122)  # ENOSPC, EDQUOT
_NAME = "reserve"
_PIECE = 1024


def is_full(failure):
    """Whether an `OSError` says that the medium has no room."""
    return failure.args[0] in _NO_ROOM


class Reserve:
    """The file, of `length` bytes, in the outbox's own folder."""

    def __init__(self, folder, length):
        self._folder = folder
        self._length = length

    def surely(self, write, *arguments):
        """Write what makes room, or what no room can be made without, at the cost of the reserve if need be."""
        try:
            write(*arguments)
        except OSError as failure:
            if not is_full(failure) or not self.release():
                raise
            write(*arguments)

    def release(self):
        """Make the last room; returns whether there was any."""
        there = _NAME in self._folder.names()
        if there:
            self._folder.remove(_NAME)
        return there

    def keep(self):
        """Take the room up where there is none; on a medium that is full the next call tries again."""
        if _NAME in self._folder.names():
            return
        zeros = bytes(_PIECE)
        pieces = (zeros[: self._length - at] for at in range(0, self._length, _PIECE))
        try:
            self._folder.replace(_NAME, pieces)
        except OSError:
            pass  # again after the next segment that goes
