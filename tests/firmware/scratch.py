"""Folders for the firmware's cases: in memory with power cuts on demand, and on disk."""

import os
import time


class PowerCut(Exception):
    """The power went in the middle of a write."""


class MemoryFolder:
    """`files.Folder` without a medium.  `after_cut(files)` is called with every state that a power cut may leave."""

    def __init__(self, files=None):
        self.files = {} if files is None else dict(files)
        self.after_cut = None
        self.refuse_after = None
        self.capacity = None

    def names(self):
        return sorted(self.files)

    def size(self, name):
        return len(self._content(name))

    def read(self, name, offset, length):
        return self._content(name)[offset : offset + length]

    def append(self, name, piece):
        old = self.files.get(name)
        room = self._room(piece)
        if self.capacity is not None:
            room = max(0, min(room, self.capacity - sum(len(content) for content in self.files.values())))
        if self.after_cut:
            self._show(name, old)
            for size in range(len(piece) + 1):
                self._show(name, (old or b"") + piece[:size])
        self.files[name] = (old or b"") + piece[:room]
        if room < len(piece):
            raise OSError(28)

    def replace(self, name, content):
        content = content if isinstance(content, bytes) else b"".join(content)
        used = sum(len(kept) for kept in self.files.values())
        full = self.capacity is not None and used + len(content) > self.capacity
        if full or self._room(content) < len(content):
            raise OSError(28)
        if self.after_cut:
            self._show(name, self.files.get(name))
            self._show(name, content)
        self.files[name] = bytes(content)

    def remove(self, name):
        old = self._content(name)
        if self.after_cut:
            self._show(name, old)
            self._show(name, None)
        del self.files[name]

    def _content(self, name):
        if name not in self.files:
            raise OSError(2)
        return self.files[name]

    def _room(self, piece):
        return len(piece) if self.refuse_after is None else min(len(piece), self.refuse_after)

    def _show(self, name, content):
        left = dict(self.files)
        if content is None:
            left.pop(name, None)
        else:
            left[name] = bytes(content)
        self.after_cut(left)


class NoSync:
    """A medium that needs no syncing, and a record of what was asked: ("file" | "folder", …)."""

    def __init__(self):
        self.calls = []

    def file(self, stream):
        stream.flush()
        self.calls.append("file")

    def folder(self, path):
        self.calls.append("folder")


def folder():
    """The path of a new, empty folder; `remove` it after."""
    base = (os.getenv("TMPDIR") or "/tmp") + "/earmark-%d" % (time.time() * 1000)
    for number in range(1000):
        path = "%s-%d" % (base, number)
        try:
            os.mkdir(path)
            return path
        except OSError:
            continue
    raise OSError("no folder could be made at " + base)


def remove(path):
    """Delete a folder and what is in it."""
    for name in os.listdir(path):
        inner = path + "/" + name
        if os.stat(inner)[0] & 0x4000:
            remove(inner)
        else:
            os.remove(inner)
    os.rmdir(path)
