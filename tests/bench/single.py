"""One statement for a stranger: how large its proof on Bitcoin is, and how long checking it takes."""

import hashlib
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "vectors"))

import satoshi

from bench import checking, farms
from earmark.evidence.bitcoin import REGTEST
from earmark.proof import Proof, check, decode_proof
from earmark.store import FINAL, AnchorRow
from earmark.store.sqlite import SqliteStore
from earmark.unpack import unpack

NODES = 10
NEIGHBOURS = 4000  # transactions of a full Bitcoin block
WARM = 200


def measure(leaves: int, runs: int) -> dict[str, Any]:
    """Prove one statement of a log of so many leaves, under an anchor in a full block, and check it."""
    with tempfile.TemporaryDirectory(dir=farms.CACHE, prefix="single-") as folder:
        farm = farms.make_farm(Path(folder, "farm"), NODES, 1883, embedded=True)
        checking.fill(farm, NODES, leaves)
        store = SqliteStore(farm.database)
        _anchor(store)
        store.close()
        file, did = Path(folder, "one.earmark"), farm.folder / "operator.did"
        checking.earmark("prove", "--farm", str(farm.folder), str(leaves // 2), "-o", str(file))
        encoded, operator = file.read_bytes(), farm.operator_key()
        command = [sys.executable, "-m", "earmark", "check", str(file), "--operator", str(did)]
        fresh_s = [_timed(command) for _ in range(max(runs, 3))]
    warm_ms = []
    for _ in range(WARM):
        begun = time.perf_counter()
        check(encoded, operator)
        warm_ms.append((time.perf_counter() - begun) * 1000)
    found = {"leaves": leaves, "proof_bytes": len(encoded), **_parts(decode_proof(encoded), leaves // 2)}
    middle = statistics.median
    return found | {"check_warm_ms": middle(warm_ms), "check_fresh_s": middle(fresh_s), "fresh_raw_s": fresh_s}


def _timed(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begun


def _anchor(store: SqliteStore) -> None:
    block = store.newest_block()
    assert block
    digest = hashlib.sha256(block.header).digest()
    others = [number.to_bytes(4, "big") * 50 for number in range(NEIGHBOURS - 1)]
    found = satoshi.Block(850_000, int(time.time()), [satoshi.transaction(digest), *others])
    evidence = found.evidence(0, digest)
    with store.transaction():
        store.put_anchor(AnchorRow("bitcoin", "ots", REGTEST, block.height, digest, FINAL, evidence=evidence))


def _parts(proof: Proof, index: int) -> dict[str, int]:
    """Return the bytes of a statement and of the `.ots` that is complete for it, which any stranger's tool reads."""
    sizes = {part.name: len(part.octets) for part in unpack(proof)}
    statement, stamp = sizes[f"statement-{index}.cose"], sizes[f"statement-{index}.cose.ots"]
    return {"statement_bytes": statement, "ots_bytes": stamp, "statement_and_ots_bytes": statement + stamp}
