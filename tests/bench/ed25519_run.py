"""Run by an interpreter under measurement: `ed25519_run.py CODE SIZE RUNS`; prints one JSON line.

CODE is the module of the firmware, on the path.  Milliseconds are the least of RUNS, since whatever else the machine
does only adds to them, and to a long run more.  The heap is what one signature allocates in all, with no garbage
collected on the way.
"""

import gc
import json
import sys
import time

code = __import__(sys.argv[1])
size, runs = int(sys.argv[2]), int(sys.argv[3])
seed, message = bytes(range(32)), bytes([n & 255 for n in range(size)])
key = code.public_key(seed)
signature = code.sign(seed, key, message)
code.verify(key, message, signature)


def now_us():
    return time.ticks_us() if hasattr(time, "ticks_us") else time.perf_counter_ns() // 1000


def passed(begun):
    return time.ticks_diff(now_us(), begun) if hasattr(time, "ticks_diff") else now_us() - begun


def least_ms(work):
    found = []
    for _ in range(runs):
        begun = now_us()
        work()
        found.append(passed(begun))
    return min(found) / 1000


found = {
    "sign_ms": least_ms(lambda: code.sign(seed, key, message)),
    "verify_ms": least_ms(lambda: code.verify(key, message, signature)),
}
if hasattr(gc, "mem_alloc"):
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    code.sign(seed, key, message)
    found["sign_heap_bytes"] = gc.mem_alloc() - before
print(json.dumps(found))
