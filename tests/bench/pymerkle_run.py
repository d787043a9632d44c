"""pymerkle's own appends and proofs: run by the Python that has it, with folder, singles, bulk and proofs."""

import json
import random
import statistics
import sys
import time
from pathlib import Path

from pymerkle import SqliteTree


def entries(first: int, count: int) -> list[bytes]:
    """Return as many entries of 32 bytes."""
    return [number.to_bytes(32, "big") for number in range(first, first + count)]


def main(folder: str, singles: int, bulk: int, proofs: int) -> None:
    """Measure, and print the figures."""
    with SqliteTree(str(Path(folder, "tree.db"))) as tree:
        begun = time.perf_counter()
        for entry in entries(0, singles):
            tree.append_entry(entry)
        append_per_s = singles / (time.perf_counter() - begun)
        made = entries(singles, bulk - singles)
        begun = time.perf_counter()
        tree.append_entries(made)
        bulk_per_s = len(made) / (time.perf_counter() - begun)
        chosen, took_ms = random.Random(1), []
        for _ in range(proofs):
            index = chosen.randrange(1, bulk + 1)
            begun = time.perf_counter()
            tree.prove_inclusion(index, bulk)
            took_ms.append((time.perf_counter() - begun) * 1000)
    found = {"append_per_s": append_per_s, "bulk_append_per_s": bulk_per_s, "size": bulk}
    print(json.dumps(found | {"prove_p50_ms": statistics.median(took_ms), "raw_prove_ms": took_ms}))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
