"""The sealed blocks, each checked over the leaves that it seals, and the beacons that headers and statements carry."""

from collections.abc import Iterator

from earmark import beacon, cbor
from earmark.audit.finding import Audit
from earmark.audit.tiles import Tiles
from earmark.block import (
    NO_BEACON,
    NO_BLOCK,
    Header,
    check_block,
    decode_checkpoint,
    decode_header,
    origin_hash,
    verify_receipt,
)
from earmark.errors import EarmarkError
from earmark.evidence import check_source
from earmark.evidence.drand import verify_known
from earmark.registry import Registry
from earmark.store import SealedBlock, Store

_MOST_REMEMBERED = 4096


class Beacons:
    """The beacons that the gateway kept, each checked once as it comes up."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._good: set[bytes] = set()
        self._absent: set[bytes] = set()

    def fault(self, nonce: bytes, is_ours: bool) -> str:
        """Say what is wrong with the kept beacon of a nonce (§6), or nothing.

        A node may carry one that this gateway never published; a header may not (`is_ours`).
        """
        if nonce in self._good or (nonce in self._absent and not is_ours):
            return ""
        kept = self._store.beacon(nonce)
        if kept is None:
            self._remember(self._absent, nonce)
            return "has a beacon that the store has not" if is_ours else ""
        try:
            fits = beacon.nonce(kept[0]) == nonce and _evidence_fits(*kept)
        except EarmarkError as error:
            return f"has a beacon whose evidence does not check: {error}"
        if not fits:
            return "has a beacon that the store keeps in other bytes, or with other evidence"
        self._remember(self._good, nonce)
        return ""

    @staticmethod
    def _remember(seen: set[bytes], nonce: bytes) -> None:
        if len(seen) == _MOST_REMEMBERED:
            seen.clear()
        seen.add(nonce)


def _evidence_fits(message: bytes, evidence: bytes) -> bool:
    sources, kept = beacon.decode(message), cbor.decode(evidence)
    if len(sources) != len(kept):
        return False
    pairs = list(zip(sources, kept, strict=True))
    for source, octets in pairs:
        check_source(source, octets)
    verify_known(pairs)
    return True


class Blocks:
    """The sealed blocks in order."""

    def __init__(self, blocks: Iterator[SealedBlock], registry: Registry, beacons: Beacons, audit: Audit) -> None:
        self._blocks = blocks
        self._registry = registry
        self._beacons = beacons
        self._audit = audit
        self._next = next(blocks, None)
        self._last: Header | None = None
        self._height = 0
        self._bad_roots = 0

    @property
    def next_size(self) -> int:
        """The number of leaves, more than there are, up to which no block ends."""
        return self._next.size if self._next else 1 << 62

    def advance(self, tree: Tiles) -> None:
        """Check the blocks over the leaves so far."""
        while self._next is not None and self._next.size <= tree.size:
            self._check(self._next, tree)
            self._next = next(self._blocks, None)

    def finish(self, size: int) -> None:
        """Name the blocks that seal more than there is."""
        while self._next is not None:
            self._audit.note(f"block {self._next.height}", f"seals {self._next.size} leaves; the log has {size}")
            self._next = next(self._blocks, None)
        if self._bad_roots > 1:
            self._audit.note(
                "blocks", f"the roots of {self._bad_roots - 1} later ones do not fit the statements either"
            )

    def _check(self, block: SealedBlock, tree: Tiles) -> None:
        where, before = f"block {block.height}", len(self._audit.contradictions)
        self._audit.blocks += 1
        expected, self._height = self._height, block.height + 1
        if block.height != expected:
            self._audit.note(where, f"stands where block {expected} should")
        try:
            header = decode_header(block.header)
            for fault in self._faults(block, header):
                self._audit.note(where, fault)
            self._last = header
            self._check_root(where, header, tree)
            self._check_signatures(block, header)
        except EarmarkError as error:
            self._audit.note(where, f"{type(error).__name__}: {error}")
        if len(self._audit.contradictions) == before and not self._bad_roots:
            self._audit.sealed = block.size

    def _faults(self, block: SealedBlock, header: Header) -> Iterator[str]:
        """Give what does not fit between a header, its row and the header before it (§5)."""
        if (header.height, header.size) != (block.height, block.size):
            row = f"block {block.height} of {block.size} leaves"
            yield f"is stored as {row}; its header says {header.height} and {header.size}"
        if header.origin_hash != origin_hash(self._registry.origin):
            yield "is of another log"
        if header.registry != self._registry.head:
            yield "names another statement than the operator's newest among its leaves"
        if header.prev != (self._last.hash if self._last else NO_BLOCK):
            yield "does not follow the block before it"
        if self._last and header.size <= self._last.size:
            yield "seals no more than the block before it"
        if self._last and header.sealed_at_ms < self._last.sealed_at_ms:
            yield "is older than the block before it"
        fault = self._beacons.fault(header.beacon, is_ours=True) if header.beacon != NO_BEACON else ""
        if fault:
            yield fault

    def _check_root(self, where: str, header: Header, tree: Tiles) -> None:
        if header.size != tree.size or header.root == tree.root():
            return
        self._bad_roots += 1
        if self._bad_roots == 1:
            self._audit.note(where, f"its root is not the one over the first {tree.size} statements")

    def _check_signatures(self, block: SealedBlock, header: Header) -> None:
        """Check checkpoint and receipt (§5.1, §5.2); raises what does not hold."""
        gateway, origin = self._registry.gateway, self._registry.origin
        checkpoint = decode_checkpoint(block.checkpoint)
        checkpoint.verify(origin, gateway)
        check_block(header, checkpoint)
        verify_receipt(gateway, origin, header.root, block.receipt)
