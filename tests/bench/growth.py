"""The log as it grows: admit, seal, prove, open, and what it takes on disk and in memory.

The statements are well-formed, chained and of real size, but copies of signed ones with another `seq` and `prev`, and
are given to the log as verified: this measures the log, not the signature check, so that ten million are there in
minutes.
"""

import hashlib
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from bench import farms, processes
from earmark import merkle
from earmark.config import Farm
from earmark.log import Arrival, Log
from earmark.prover import prove
from earmark.statement import Claims, Clock, decode, sign
from earmark.store.sqlite import SqliteStore
from earmark.tiles import TileTree

NODES = 100
BATCH = 1000  # statements in one transaction, and in one block
WINDOW = 20  # batches whose median is the cost at a size
PROOFS = 200
FIRST_SEQ = 1 << 20  # from here on `seq` takes five bytes, whatever it is
ROOM = 1.3  # of disk, over what the statements themselves take


class Chain:
    """One node's statements, made from a signed one by putting in `seq` and `prev`."""

    def __init__(self, name: str) -> None:
        self._seq, self._prev = FIRST_SEQ, hashlib.sha256(name.encode()).digest()
        record = {-2: f"{name}/", -3: farms.BEGAN_S, 0: "Tair", 1: "Cel", 2: 2150}
        self._raw = bytearray(
            sign(farms.signer(name), name, self._seq, self._prev, [record], issued_at_s=farms.BEGAN_S,
                 clock=Clock(2, 1, 60), beacon=farms.BEACON, boot_count=1, method=0)
        )  # fmt: skip
        self.size = len(self._raw)
        self._claims = decode(bytes(self._raw)).claims
        self._prev_at = self._raw.index(self._prev)
        self._seq_at = self._prev_at - 6  # four bytes of `seq`, then two that begin the 32 bytes of `prev`

    def next(self, now_ms: int) -> Arrival:
        """Return the next statement as if it had been verified."""
        self._raw[self._seq_at : self._seq_at + 4] = self._seq.to_bytes(4, "big")
        self._raw[self._prev_at : self._prev_at + 32] = self._prev
        raw = bytes(self._raw)
        entry = hashlib.sha256(raw).digest()
        claims: Claims = self._claims._replace(seq=self._seq, prev=self._prev, entry=entry)
        self._seq, self._prev = self._seq + 1, entry
        return Arrival(raw, "", now_ms, claims)


def measure(sizes: list[int]) -> dict[str, Any]:
    """Grow one log to these sizes, ascending, and return what was measured at each."""
    farms.CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=farms.CACHE, prefix="growth-") as folder:
        port = processes.free_port()
        farm = farms.make_farm(Path(folder, "farm"), NODES, port, embedded=False)
        chains = [Chain(name) for name in farms.names(NODES)]
        free, statement = shutil.disk_usage(folder).free, chains[0].size
        results: dict[str, Any] = {"statement_bytes": statement}
        for size in sizes:
            if size * (statement + 120) * ROOM > free:
                results[str(size)] = {"not_measured": f"needs {size * (statement + 120) * ROOM / 1e9:.0f} GB of disk"}
                continue
            results[str(size)] = _at(farm, chains, size, Path(folder), port)
    return results


def _at(farm: Farm, chains: list[Chain], size: int, folder: Path, port: int) -> dict[str, Any]:
    store, statement = SqliteStore(farm.database), chains[0].size
    log = Log(store, farm.operator_key(), farm.signer("gateway"), lambda: time.time_ns() // 1_000_000)
    costs_us = list(_grow(log, chains, size))
    store.close()
    used = os.stat(farm.database).st_size / size - statement
    begun = time.perf_counter()
    store = SqliteStore(farm.database)
    Log(store, farm.operator_key(), farm.signer("gateway"), lambda: time.time_ns() // 1_000_000)
    open_s = time.perf_counter() - begun
    found = {"admit_and_seal_us": statistics.median(costs_us[-WINDOW:]), "open_s": open_s, "bytes_over": used}
    found |= {"raw_us": costs_us[-WINDOW:]} | _proofs(farm, store, size)
    store.close()
    return found | _run(farm, folder, port)


def _grow(log: Log, chains: list[Chain], size: int) -> Iterator[float]:
    """Admit and seal, batch by batch, until the log has this size; gives microseconds a statement of each batch."""
    while log.size < size:
        now_ms = time.time_ns() // 1_000_000
        count = min(BATCH, size - log.size)
        arrivals = [chains[number % len(chains)].next(now_ms) for number in range(count)]
        begun = time.perf_counter()
        outcomes = log.admit(arrivals)
        log.seal()
        yield (time.perf_counter() - begun) / count * 1e6
        if any(outcome.error for outcome in outcomes):
            raise RuntimeError(f"the log refused a statement: {next(o.error for o in outcomes if o.error)}")


def _proofs(farm: Farm, store: SqliteStore, size: int) -> dict[str, Any]:
    """Return milliseconds of inclusion proofs and of whole proof files of leaves all over the tree, nothing cached."""
    chosen, inclusion_ms, file_ms = random.Random(size), [], []
    for _ in range(PROOFS):
        index = chosen.randrange(NODES + 1, size)
        begun = time.perf_counter()
        path = merkle.prove_inclusion(index, size, TileTree(size, store.tile).subtree)
        inclusion_ms.append((time.perf_counter() - begun) * 1000)
        if not path:
            raise RuntimeError("an inclusion proof without a hash")
        begun = time.perf_counter()
        prove(store, farm.operator_key(), [index])
        file_ms.append((time.perf_counter() - begun) * 1000)
    ordered = sorted(inclusion_ms)
    return {
        "prove_p50_ms": statistics.median(ordered),
        "prove_p95_ms": ordered[round(PROOFS * 0.95)],
        "proof_file_p50_ms": statistics.median(file_ms),
        "raw_prove_ms": inclusion_ms,
    }


def _run(farm: Farm, folder: Path, port: int) -> dict[str, float]:
    """Start the gateway itself on the log: seconds until it takes statements, and its resident memory."""
    with processes.mosquitto(folder, port):
        begun = time.perf_counter()
        with processes.gateway(farm) as process:
            start_s = time.perf_counter() - begun
            running = psutil.Process(process.pid)
            own = running.memory_info().rss
            workers = sum(child.memory_info().rss for child in running.children(recursive=True))
    return {"start_s": start_s, "rss_mb": own / 1e6, "workers_rss_mb": workers / 1e6}
