"""Durable files of one directory: what a call wrote is on the medium when it returns.

`sync` has two calls: `sync.file(stream)` puts an open file's bytes on the medium and `sync.folder(path)` puts the
names in a directory there (nothing to do on littlefs, where closing a file commits both).  `OSError` passes through.
"""

import os

_ENOSPC = 28  # not in every port's errno


class Folder:
    """The files of one directory, by name.  A name ending in `.new` is an unfinished `replace` and is never listed."""

    def __init__(self, path, sync):
        self.path = path
        self._sync = sync
        make_folder(path, sync)
        for name in os.listdir(path):
            if name.endswith(".new"):
                os.remove(self._at(name))

    def _at(self, name):
        return self.path + "/" + name

    def names(self):
        """The names, sorted."""
        return sorted(name for name in os.listdir(self.path) if not name.endswith(".new"))

    def size(self, name):
        """Length in bytes; raises `OSError` if there is no such file."""
        return os.stat(self._at(name))[6]

    def room(self):
        """Bytes that the file system has free."""
        found = os.statvfs(self.path)
        return found[1] * found[4]

    def read(self, name, offset, length):
        """Up to `length` bytes from `offset`; shorter at the end of the file, `OSError` if there is no such file."""
        with open(self._at(name), "rb") as stream:
            stream.seek(offset)
            return stream.read(length)

    def append(self, name, piece):
        """Add bytes at the end, making the file if there is none.  A power cut leaves any prefix of `piece`."""
        try:
            os.stat(self._at(name))
            made = False
        except OSError:
            made = True
        self._write(self._at(name), "ab", (piece,))
        if made:
            self._sync.folder(self.path)

    def replace(self, name, content):
        """Give the file this content, bytes or pieces of it, one in memory at a time: a board has none for long ones.

        A power cut leaves the old or the new content, whole.
        """
        self._write(self._at(name + ".new"), "wb", (content,) if isinstance(content, bytes) else content)
        os.rename(self._at(name + ".new"), self._at(name))
        self._sync.folder(self.path)

    def remove(self, name):
        """Delete the file for good; one that is gone, by a call that failed after it, is gone."""
        try:
            os.remove(self._at(name))
        except OSError:
            if name in self.names():
                raise
        self._sync.folder(self.path)

    def _write(self, path, mode, pieces):
        with open(path, mode) as stream:
            for piece in pieces:
                if stream.write(piece) != len(piece):
                    raise OSError(_ENOSPC, "no room for " + path)
            self._sync.file(stream)


def make_folder(path, sync):
    """Make a directory, and those above it, where there is none; durable."""
    try:
        os.stat(path)
        return
    except OSError:
        pass
    parent = path.rsplit("/", 1)[0] if "/" in path else "."
    if parent:
        make_folder(parent, sync)
    os.mkdir(path)
    sync.folder(parent or "/")
