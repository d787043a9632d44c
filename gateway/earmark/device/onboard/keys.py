"""The board's key: made there, of its hardware random source, and never read out; what shows which board has it."""

import os
import sys
import time
from binascii import hexlify, unhexlify

_PROMISE = b"earmark enrolment\x00"
"""Begins what is signed to show that the board has its key: no statement does, so nothing else can be made of it."""


def use_slot(slot):
    """Take the firmware's modules from a slot."""
    if slot not in sys.path:
        sys.path.insert(0, slot)


def make(path):
    """Make the key in a file, where there is none yet; return its public half in hexadecimal digits."""
    import board
    import identity

    machine = board.current()
    return hexlify(identity.load_or_create(path, machine.urandom, machine.SYNC).key).decode()


def promise(path, nonce):
    """Sign a nonce (hexadecimal digits) with the key in a file; return the signature in the same way."""
    import board
    import identity

    machine = board.current()
    signer = identity.load_or_create(path, machine.urandom, machine.SYNC)
    return hexlify(signer.sign(_PROMISE + unhexlify(nonce))).decode()


def newest(folder):
    """The `seq` of the newest statement that the key in a node's folder signed, 0 where there is no key or outbox."""
    if not _is_there(folder + "/identity") or not _is_there(folder + "/outbox"):
        return 0
    import board
    import identity
    import storage

    machine = board.current()
    kid = identity.load_or_create(folder + "/identity", machine.urandom, machine.SYNC).kid
    return storage.open_outbox(folder, kid, {"outbox_bytes": None, "segment_bytes": 16384}, machine.SYNC).head[0]


def blink(pin, counts, repeats, unit_ms):
    """Blink each count in turn, a pause between two, a longer one before the next time."""
    import machine

    led = machine.Pin(pin, machine.Pin.OUT)
    for _ in range(repeats):
        for count in counts:
            for _ in range(count):
                led.value(1)
                time.sleep_ms(unit_ms)
                led.value(0)
                time.sleep_ms(unit_ms)
            time.sleep_ms(4 * unit_ms)
        time.sleep_ms(8 * unit_ms)


def put_away(folder, former):
    """Move key, outbox and settings of a node into `folder/former`, and put what is in `folder/next` in their place.

    The settings go first and come last: without them the firmware does not start, so that a board which is switched on
    half-way makes no third key.  `next/former` holds the name while that is under way; called then, it goes on with it.
    """
    coming = folder + "/next"
    if "former" in os.listdir(coming):
        with open(coming + "/former") as file:
            former = file.read()
    else:
        with open(coming + "/former.new", "w") as file:
            file.write(former)
        os.rename(coming + "/former.new", coming + "/former")
    _move(folder, folder + "/" + former)
    for name in ("identity", "node.json"):
        if name in os.listdir(coming):
            os.rename(coming + "/" + name, folder + "/" + name)


def settle(folder):
    """Forget that keys were changed: until then a call that was cut off can tell that they were."""
    coming = folder + "/next"
    if _is_there(coming + "/former"):
        os.remove(coming + "/former")
        os.rmdir(coming)


def _move(folder, kept):
    """Move what is the old key's, unless the new key's is there already."""
    if not _is_there(kept):
        os.mkdir(kept)
    leases = [name for name in os.listdir(folder) if name.endswith(".lease")]
    for name in ["node.json", "outbox", "identity"] + leases:  # noqa: RUF005 - MicroPython knows no other way
        if _is_there(folder + "/" + name) and not _is_there(kept + "/" + name):
            os.rename(folder + "/" + name, kept + "/" + name)


def _is_there(path):
    try:
        os.stat(path)
        return True
    except OSError:
        return False
