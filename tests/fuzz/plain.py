"""Without atheris: every seed and some mutations of it, judged within bounds of time and memory.

python tests/fuzz/plain.py [TARGET …]; what `make test` runs on every platform.
"""

import random
import sys
import time
import tracemalloc
from collections.abc import Iterator

import judge
from mutate import words

MUTATIONS = 200
MOST_S, MOST_S_A_BYTE = 0.5, 2e-4
MOST_BYTES, MOST_BYTES_A_BYTE = 2 << 20, 400


def inputs(target: judge.Target) -> Iterator[bytes]:
    """Give a target's seeds, and mutations of them that are the same every time."""
    yield from target.seeds
    chance = random.Random(target.name)
    for _ in range(MUTATIONS):
        octets = bytearray(chance.choice(target.seeds))
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(octets) + 1)
            octets[at : at + chance.randrange(4)] = chance.randbytes(chance.randrange(4))
        yield bytes(octets)
        if target.is_text:
            yield words(bytes(octets), chance)


def measured(target: judge.Target, octets: bytes) -> tuple[float, int]:
    """Judge one input, and return the processor's seconds and the bytes of memory that it took."""
    tracemalloc.reset_peak()
    before, began = tracemalloc.get_traced_memory()[0], time.process_time()
    target.judge(octets)
    return time.process_time() - began, tracemalloc.get_traced_memory()[1] - before


def judge_bounded(target: judge.Target, octets: bytes) -> None:
    """Judge one input, and raise where that took too long or too much memory for its length."""
    limit = MOST_S + MOST_S_A_BYTE * len(octets)
    spent, taken = measured(target, octets)
    if spent >= limit:  # once more: what a target makes only once is not the input's cost
        spent = measured(target, octets)[0]
    assert spent < limit, f"{spent} s for {len(octets)} bytes"
    assert taken < MOST_BYTES + MOST_BYTES_A_BYTE * len(octets), f"{taken} bytes of memory for {len(octets)} bytes"


def main() -> int:
    """Judge the inputs of the targets that are named, or of all; 1 where one broke a promise."""
    targets, broken = judge.load(), 0
    tracemalloc.start()
    for name in sys.argv[1:] or sorted(targets):
        chosen = list(inputs(targets[name]))
        for octets in chosen:
            try:
                judge_bounded(targets[name], octets)
            except Exception as error:  # noqa: BLE001 - whatever comes out is the finding
                broken += 1
                print(f"{name}: {octets.hex()}: {type(error).__name__}: {error}")
        print(f"{name}: {len(chosen)} inputs")
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
