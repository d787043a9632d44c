"""What the gateway keeps: the interface that every store has, and its rows.

A store does what it is told and knows nothing of rules.  All writing happens inside `transaction`, which is
on disk, synced, when the block ends, or has not happened at all.  One process writes the log at a time; any
number read.  An instance belongs to one thread.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

Entry = tuple[int, int, int, int, bytes]
"""One leaf as stored: index, chain's id, seq, when it was received (Unix ms), statement."""

FINAL = "final"
"""The state in which an anchor moves no more."""


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

    `kind` names the evidence's form (protocol §7); `payload` is what the target signed (on disk before it is on the
    wire), `reference` its name there (such as a
    transaction hash), `reason` why it waits, `evidence` what a proof file carries once there is some.
    """

    target: str
    kind: str
    height: int
    block_hash: bytes
    state: str
    payload: bytes = b""
    reference: str = ""
    reason: str = ""
    evidence: bytes = b""
    planned_at_ms: int = 0
    changed_at_ms: int = 0
    attempts: int = 0


class Store(Protocol):
    """The interface; methods that write must stand inside `transaction`."""

    def transaction(self) -> AbstractContextManager[None]: ...
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

    # beacons and anchors
    def add_beacon(self, nonce: bytes, message: bytes, headers: bytes, at_ms: int) -> None: ...
    def beacon(self, nonce: bytes) -> tuple[bytes, bytes] | None: ...
    def newest_beacon(self) -> bytes | None: ...
    def put_anchor(self, row: AnchorRow) -> None: ...
    def anchor_rows(self, target: str | None = None, open_only: bool = False) -> list[AnchorRow]: ...
    def newest_anchor(self, target: str) -> AnchorRow | None: ...
    def final_anchors(self, height: int, besides: str = "") -> list[AnchorRow]: ...
