"""What every row of the fault table ends with: the store is opened anew and held against what was promised."""

import random
from collections import Counter
from contextlib import closing
from hashlib import sha256
from pathlib import Path

from earmark.audit import check_log
from earmark.block import decode_checkpoint
from earmark.config import Farm
from earmark.log import Log
from earmark.merkle import leaf_hash
from earmark.statement import decode, origin
from earmark.store import Store
from earmark.store.sqlite import SqliteStore
from farm import Bench
from fault_report import SEED, Counts
from frontier import Frontier


def chance(name: str, run: int = 0) -> random.Random:
    """Return the randomness of a row, or of one of its runs: the same for one seed."""
    return random.Random(f"{SEED} {name} {run}")


class Promises:
    """What a gateway gave its word for, collected while it is made to fail.

    `acknowledged` are statements that a node may have let go, `checkpoints` all that were ever signed and seen, and
    `leaves` the entries that a reader once found, by index.
    """

    def __init__(self, operator: bytes, gateway: bytes, log_origin: str) -> None:
        self.operator, self.gateway, self.origin = operator, gateway, log_origin
        self.acknowledged: set[bytes] = set()
        self.checkpoints: set[bytes] = set()
        self.leaves: dict[int, bytes] = {}

    def observe(self, store: Store) -> None:
        """Read as anybody may at any time: from here on these leaves and checkpoints are known outside."""
        first = max(self.leaves, default=-1) + 1
        self.leaves |= {index: sha256(raw).digest() for index, _, raw in store.statements(first, store.size())}
        self.checkpoints |= {block.checkpoint for block in store.blocks()}

    def observe_in(self, database: Path) -> None:
        """Do so in a store's file, beside the gateway."""
        with closing(SqliteStore(database, snapshot=True)) as store:
            self.observe(store)

    def settle(self, store: Store, counts: Counts) -> None:
        """Check the whole log, and every promise against it; what was broken is counted."""
        audit = check_log(store, self.operator)
        assert audit.holds, audit.contradictions
        raws = [raw for _, _, raw in store.statements(0, store.size())]
        entries = [sha256(raw).digest() for raw in raws]
        again = Counter((statement.key, statement.sub, statement.seq) for statement in map(decode, raws))
        counts.runs += 1
        counts.lost += len(self.acknowledged.difference(raws))
        counts.duplicated += sum(again.values()) - len(again)
        counts.reissued += sum(index >= len(entries) or entries[index] != entry for index, entry in self.leaves.items())
        self._check_checkpoints(entries, store)

    def _check_checkpoints(self, entries: list[bytes], store: Store) -> None:
        """Every checkpoint is of this one tree: its root is that of the final leaves up to its size."""
        roots, tree = {}, Frontier()
        for entry in entries:
            tree.append(leaf_hash(entry))
            roots[tree.size] = tree.root()
        self.checkpoints |= {block.checkpoint for block in store.blocks()}
        for encoded in self.checkpoints:
            checkpoint = decode_checkpoint(encoded)
            checkpoint.verify(self.origin, self.gateway)
            assert roots.get(checkpoint.size) == checkpoint.root, f"a signed checkpoint of size {checkpoint.size}"


def promises_of(farm: Farm) -> Promises:
    """Return the promises of a farm's gateway, none yet."""
    gateway = farm.signer("gateway").key
    return Promises(farm.operator_key(), gateway, origin(farm.config.farm.site, gateway))


def promises_at(bench: Bench) -> Promises:
    """Return the promises of a log on the bench, none yet."""
    return Promises(bench.operator.key, bench.gateway.key, bench.origin)


def reopen(farm: Farm, promises: Promises, counts: Counts, database: Path | None = None) -> None:
    """Open the farm's store, or a copy of it, as the gateway would, and settle it."""
    with closing(SqliteStore(database or farm.database, snapshot=True)) as store:
        Log(store, farm.operator_key(), farm.signer("gateway"), lambda: 0)
        promises.settle(store, counts)
