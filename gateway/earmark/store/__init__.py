"""What the gateway keeps: the interface that every store has, and its rows.

A store does what it is told and knows nothing of rules.  All writing happens inside `transaction`, which is
on disk, synced, when the block ends, or has not happened at all.  One process writes the log at a time; any
number read.  An instance belongs to one thread.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from earmark.cosignature import Cosignature

Entry = tuple[int, int, int, int, bytes]
"""One leaf as stored: index, chain's id, seq, when it was received (Unix ms), statement."""

FINAL = "final"
"""The state in which an anchor moves no more."""

COSIGNED, AWAY, SPLIT = "cosigned", "away", "split"
"""How a witness answered last."""


@dataclass(frozen=True, slots=True)
class Chain:
    """One signer's chain: `runs` are the ascending, disjoint runs (first, last) of `seq` in the log."""

    id: int
    key: bytes
    sub: str
    runs: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class SealedBlock:
    """A sealed block as stored: header (144 bytes), checkpoint text, receipt signature."""

    height: int
    size: int
    header: bytes
    checkpoint: bytes
    receipt: bytes


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One message that is not in the log, and why.

    `raw` is kept up to 64 KiB, `size` is what arrived, `entry` SHA-256 of all of it.  `held` rows are tried again:
    once `key` is
    enrolled, after `due_ms`, or after `seq` − 1 arrived; `key`, `sub` and `seq` are empty or 0 where the bytes did
    not decode.
    """

    entry: bytes
    received_at_ms: int
    topic: str
    size: int
    raw: bytes
    reason: str
    message: str
    held: bool
    key: bytes = b""
    sub: str = ""
    seq: int = 0
    due_ms: int = 0


@dataclass(frozen=True, slots=True)
class AnchorRow:
    """One block on its way to one target; `state` is planned, signed, broadcast, mined or final.

    `kind` names the evidence's form and `chain` what it leads to (protocol §7); `payload` is what the target signed (on
    disk before it is on the wire), `reference` its name there (such as a transaction hash), `reason` why it waits,
    `evidence` what a proof file carries once there is some.  `cost` is what it cost, or can cost at most until that is
    known, in the chain's smallest unit (below 2^63).  Times are Unix ms: `state_at_ms` is when it came into its state,
    for what is signed or broadcast when these bytes were signed; `changed_at_ms` is when anything of the row last
    changed; `attempts` failed since then.
    """

    target: str
    kind: str
    chain: str
    height: int
    block_hash: bytes
    state: str
    payload: bytes = b""
    reference: str = ""
    reason: str = ""
    evidence: bytes = b""
    cost: int = 0
    planned_at_ms: int = 0
    state_at_ms: int = 0
    changed_at_ms: int = 0
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class WitnessRow:
    """How a witness answered last: `state` is `cosigned`, `away` (asked again later) or `split` (it refused the log as
    one that contradicts what it saw), `message` says why.
    """

    vkey: str
    state: str
    message: str = ""
    changed_at_ms: int = 0


class AnchorStore(Protocol):
    """What the state machine of anchors keeps, and what it takes digests from; as in `Store`."""

    def transaction(self) -> AbstractContextManager[None]: ...
    def newest_digest(self, target: str) -> tuple[int, bytes] | None: ...
    def put_anchor(self, row: AnchorRow) -> None: ...
    def anchor_rows(self, target: str | None = None, open_only: bool = False) -> list[AnchorRow]: ...
    def newest_anchor(self, target: str) -> AnchorRow | None: ...
    def anchor_cost(self, target: str, since_ms: int, besides: int) -> int: ...
    def final_anchors_of(self, target: str, most: int) -> list[AnchorRow]: ...


class Store(AnchorStore, Protocol):
    """The interface; methods that write must stand inside `transaction`."""

    def close(self) -> None: ...

    # the log
    def size(self) -> int: ...
    def add_entries(self, rows: Sequence[Entry]) -> None: ...
    def statement(self, index: int) -> bytes: ...
    def statements(self, start: int, stop: int) -> Iterator[tuple[int, int, bytes]]: ...
    def leaves(self, start: int, stop: int) -> Iterator[tuple[int, tuple[int, int], bytes]]: ...
    def find(self, chain: int, seq: int) -> tuple[int, bytes] | None: ...
    def chains(self) -> list[Chain]: ...
    def chain(self, key: bytes, sub: str) -> Chain | None: ...
    def add_chain(self, key: bytes, sub: str) -> Chain: ...
    def lengthen_runs(self, rows: Sequence[tuple[int, int, int]]) -> None: ...
    def change_runs(self, chain: int, gone: list[tuple[int, int]], new: tuple[int, int]) -> None: ...
    def chain_statements(self, chain: int, below: int) -> Iterator[tuple[int, bytes]]: ...
    def received_from(self, chain: int, since_ms: int) -> int | None: ...
    def count_from(self, chain: int, index: int) -> int: ...
    def tile(self, level: int, number: int) -> bytes: ...
    def set_tile(self, level: int, number: int, hashes: bytes) -> None: ...
    def add_block(self, block: SealedBlock) -> None: ...
    def newest_block(self) -> SealedBlock | None: ...
    def block(self, height: int) -> SealedBlock | None: ...
    def block_over(self, index: int) -> SealedBlock | None: ...
    def blocks(self, start: int = 0) -> Iterator[SealedBlock]: ...

    # what waits outside it
    def submit(self, raw: bytes) -> int: ...
    def submitted(self) -> list[tuple[int, bytes]]: ...
    def withdraw(self, submission: int) -> None: ...
    def quarantine(self, row: Quarantined) -> None: ...
    def quarantined(self, entry: bytes) -> Quarantined | None: ...
    def quarantine_rows(self, held: bool | None = None, limit: int = 1000) -> list[Quarantined]: ...
    def due(self, reason: str, key: bytes | None, before_ms: int, limit: int) -> list[Quarantined]: ...
    def release(self, entries: Sequence[bytes]) -> None: ...
    def quarantine_counts(self) -> dict[str, int]: ...
    def quarantine_size(self) -> int: ...
    def trim_quarantine(self, most_bytes: int) -> int: ...

    # beacons, and anchors as proofs want them
    def add_beacon(self, nonce: bytes, message: bytes, headers: bytes, at_ms: int) -> None: ...
    def beacon(self, nonce: bytes) -> tuple[bytes, bytes] | None: ...
    def newest_beacon(self) -> bytes | None: ...
    def final_anchors(self, height: int, *besides: str) -> list[AnchorRow]: ...

    # witnesses
    def add_cosignature(self, height: int, cosignature: Cosignature) -> None: ...
    def cosignatures(self, height: int) -> list[Cosignature]: ...
    def newest_cosigned(self, name: str, key_id: bytes) -> tuple[int, Cosignature] | None: ...
    def all_cosignatures(self) -> Iterator[tuple[int, Cosignature]]: ...
    def put_witness(self, row: WitnessRow) -> None: ...
    def witnesses(self) -> list[WitnessRow]: ...
