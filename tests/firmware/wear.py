"""Runs a node's outbox on flash in memory and counts what that costs the flash: `wear.py BLOCKS PROGRAM ONLINE COUNT`.

Prints one JSON object.  ONLINE is 1 where each statement is acknowledged before the next, and 0 where none ever is and
the outbox overflows.  A third of the flash holds files that never change, as two slots of firmware do.
"""

import json
import sys
import time

import flash

import storage

STATEMENT = bytes(range(256)) + bytes(94)  # as long as one of six readings
SETTINGS = {"outbox_bytes": None, "segment_bytes": 16384}
KID = b"wear-kid"


def run(blocks, program, online, count):
    """The counters after so many statements, those of a first filling left out where none is acknowledged."""
    medium = flash.Flash(blocks, None, program)
    flash.vfs.VfsLfs2.mkfs(medium, progsize=program)
    flash.mount(medium)
    with open("/flash/slots", "wb") as stream:
        for _ in range(blocks // 3):
            stream.write(bytes(flash.BLOCK))
    box = storage.open_outbox("/flash/earmark", KID, SETTINGS, flash.NoSync())
    while not online and not box.dropped:
        _append(box)
    medium.erases = [0] * blocks
    medium.programs = medium.programmed = 0
    for _ in range(count):
        _append(box)
        if online:
            box.free([(1, box.head[0])])
    found = {"blocks": blocks, "statements": count, "programs": medium.programs / count}
    found["programmed_bytes"] = medium.programmed / count
    found["erases"] = sum(medium.erases) / count
    found["most_erases_of_a_block"] = max(medium.erases) / count
    found["waiting"] = box.count
    box = None
    return found, medium


def _append(box):
    due = box.due()
    box.append(box.head[0] + 1, STATEMENT, b"\x82\x01\xa0", due[:2] if due else None)


def boot(found):
    """Add what it costs to start with that outbox: time, and memory that is kept."""
    import gc

    gc.collect()
    before = gc.mem_alloc()
    began = time.ticks_ms()
    box = storage.open_outbox("/flash/earmark", KID, SETTINGS, flash.NoSync())
    found["boot_ms"] = time.ticks_diff(time.ticks_ms(), began)
    gc.collect()
    found["boot_kept_bytes"] = gc.mem_alloc() - before
    found["boot_statements"] = box.count
    found["boot_bytes"] = box.size


if __name__ == "__main__":
    counted, _medium = run(*(int(word) for word in sys.argv[1:5]))
    boot(counted)
    print(json.dumps(counted))
