"""The loader: picks one of two slots, and goes back where a new release does not reach the gateway (protocol.md §10.3).

On a board this file is /main.py, which no update replaces; the slots are /a and /b.  On Linux `loader.py --dir DIR`
runs DIR/a or DIR/b, and whatever started it starts it again when it ends.  It needs nothing of a slot, and hands a
`Slots` to the `main` of the one that it starts.
"""

import os
import struct
import sys
from binascii import crc32

STARTS = 3  # of a new release without a confirmation
RESTART = 4  # the status with which a node asks to be started again
CONFIRMED, RETURNED = 1, 2
NAMES = ("a", "b")

_BOARDS = ("esp32", "rp2")
_WRONG = 2
_PAUSE_S = 10
_FORM = ">BIBBBIIB32s"  # form 1, serial, active slot, on trial, its starts, floor, release, what is to be told, entry
_SIZE = struct.calcsize(_FORM) + 4


class Slots:
    """Which slot runs and what became of the last update, kept in two files of which the older one is written next.

    `active` is the slot that was confirmed, `trial` whether the other one is on trial, `starts` how often it was
    started so; `floor` is the highest release that was ever confirmed.  `entry` names the operator's statement of the
    last update, `release` is its number, and `told` what is still to be said of it: 0, `CONFIRMED` or `RETURNED`.
    `running` is the slot that was started; `known` is whether the medium said all this.
    """

    def __init__(self, root, home):
        self.root = root
        self._home = home
        self.running = None
        read = [self._read(number) for number in (0, 1)]
        newest = max([state for state in read if state], default=None)
        self.known = newest is not None
        state = newest or (0, 0, 0, 0, 0, 0, 0, bytes(32))
        self._serial, self.active, self.trial, self.starts, self.floor, self.release, self.told, self.entry = state

    def path(self, slot):
        """The directory of slot 0 or 1."""
        return self.root + "/" + NAMES[slot]

    def save(self):
        """Put it on the medium; a power cut leaves what was there or this.  Raises `OSError`."""
        serial = self._serial + 1
        fields = (serial, self.active, self.trial, self.starts, self.floor, self.release, self.told, self.entry)
        content = struct.pack(_FORM, 1, *fields)
        with open(self._at(serial & 1), "wb") as stream:
            if stream.write(content + struct.pack(">I", crc32(content))) != _SIZE:
                raise OSError(28, "no room for " + self._at(serial & 1))
            stream.flush()
            if hasattr(os, "fsync"):
                os.fsync(stream.fileno())
        self._serial = serial

    def switch(self, entry, release):
        """Put the other slot on trial, from the next start on; the one that runs is the one to come back to."""
        self.active, self.entry, self.release = self.running, entry, release
        self.trial, self.starts, self.told = 1, 0, 0
        self.save()

    def confirm(self):
        """Keep the slot that runs."""
        self.active, self.trial, self.starts, self.told = self.running, 0, 0, CONFIRMED
        self.floor = max(self.floor, self.release)
        self.save()

    def back(self):
        """Give the slot on trial up, for good."""
        self.trial, self.starts, self.told = 0, 0, RETURNED
        self.save()

    def pick(self):
        """The slots to start, in order, the first one with its start counted where it is on trial."""
        if not self.known:
            return [0, 1]
        usual = [self.active, 1 - self.active]
        if not self.trial:
            return usual
        try:
            if self.starts >= STARTS:
                self.back()
                return usual
            self.starts += 1
            self.save()
        except OSError:  # a start that cannot be counted is none
            return usual
        return usual[::-1]

    def is_whole(self, slot):
        """Whether a slot has its manifest, which goes before anything else changes and comes back last."""
        try:
            os.stat(self.path(slot) + "/release.cbor")
            return True
        except OSError:
            return False

    def failed(self, slot):
        """Note that a slot could not be started."""
        if self.trial and slot != self.active:
            self.back()

    def started(self, slot):
        """Note that a slot could be started."""
        self.running = slot
        if not self.known:
            self.active = slot
            self.known = True
            self.save()

    def _at(self, number):
        return "%s/slots.%d" % (self._home, number)

    def _read(self, number):
        """The fields of one of the files from the serial on, or None."""
        try:
            with open(self._at(number), "rb") as stream:
                content = stream.read(_SIZE + 1)
        except OSError:
            return None
        if len(content) != _SIZE or struct.pack(">I", crc32(content[:-4])) != content[-4:] or content[0] != 1:
            return None
        return struct.unpack(_FORM, content[:-4])[1:]


def start(slots, given):
    """Start the first slot that can be; returns its status.  Raises what the last one raised."""
    failure = None
    for slot in slots.pick():
        before = set(sys.modules)
        sys.path.insert(0, slots.path(slot))
        try:
            main = _main_in(slots, slot)
        except Exception as wrong:  # noqa: BLE001 - whatever it is, the other slot may do
            failure = wrong
            print("slot %s does not start: %s: %s" % (NAMES[slot], type(wrong).__name__, wrong))
            sys.path.pop(0)
            for name in set(sys.modules) - before:
                del sys.modules[name]
            _note(slots.failed, slot)
            continue
        _note(slots.started, slot)
        return main(given, slots)
    raise failure or RuntimeError("there is no slot")


def _main_in(slots, slot):
    if slots.is_whole(1 - slot) and not slots.is_whole(slot):
        raise RuntimeError("it is not whole")
    return __import__("main").main  # where the slot has none a board finds this file, which has no `main` either


def _note(what, slot):
    try:
        what(slot)
    except OSError as failure:
        print("the state of the slots cannot be written: %s" % failure)


def _on_board():
    import time

    import machine

    slots = Slots("", "/earmark")
    status = RESTART
    try:
        status = start(slots, [])
    except Exception as failure:  # noqa: BLE001 - the next start may do, or is the last one of a trial
        print("the node ended: %s: %s" % (type(failure).__name__, failure))
    if status == _WRONG and not slots.trial:
        return  # a person has to look at the settings: leave the board to its serial line
    if status != RESTART:
        time.sleep(_PAUSE_S)
    machine.reset()


def _on_linux(given):
    if "--dir" not in given[:-1]:
        print("usage: loader.py --dir DIR [--identity]")
        return _WRONG
    home = given[given.index("--dir") + 1].rstrip("/")
    return start(Slots(home, home), given)


if __name__ == "__main__":
    if sys.platform in _BOARDS:
        _on_board()
    else:
        sys.exit(_on_linux(sys.argv[1:]))
