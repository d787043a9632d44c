"""Make proof files from a store: reads only, beside a running gateway or without one, docs/protocol.md §8."""

import logging
from collections.abc import Sequence

from earmark import cbor, cosignature, evidence, merkle
from earmark.anchor.devchain import DEVELOPMENT_CHAIN
from earmark.errors import EarmarkError, ProofError, RevokedKey
from earmark.evidence import ChainBlock
from earmark.log import load_registry
from earmark.proof import Proof
from earmark.recognise import claims_of
from earmark.registry import Enrolment
from earmark.statement import REGISTRY
from earmark.store import AnchorRow, SealedBlock, Store
from earmark.tiles import TileTree

AUTHORITIES = "tsa:*"
"""The ids of authorities as the store takes a pattern."""


_log = logging.getLogger(__name__)


class NotSealed(EarmarkError):
    """The statement is in the log but in no sealed block yet: ask again in a few seconds."""


def prove(store: Store, operator: bytes, indexes: Sequence[int]) -> Proof:
    """Return the proof of these leaves (ascending), against the earliest anchored block over them, or the newest block.

    The block is above every revocation of their signers too, so that no file is made that hides one.  Raises
    `NotSealed` where the newest block does not cover all that, and `RevokedKey` for a leaf that does not count (§4.1).
    """
    block, anchors = choose_block(store, *last_needed(store, operator, indexes))
    chain = store.chain(operator, REGISTRY)
    registry = dict(store.chain_statements(chain.id, block.size)) if chain else {}
    statements = registry | {index: store.statement(index) for index in indexes}
    ascending = sorted(statements)
    tree = TileTree(store.size(), store.tile)
    found = {}
    for index in indexes:
        nonce = claims_of(statements[index]).beacon
        kept = store.beacon(nonce) if nonce else None
        if kept:
            found[kept[0]] = tuple(cbor.decode(kept[1]))
    return Proof(
        header=block.header,
        checkpoint=cosignature.join(block.checkpoint, store.cosignatures(block.height)),
        receipt=block.receipt,
        statements=tuple((index, statements[index]) for index in ascending),
        subjects=tuple(indexes),
        rest=tuple(merkle.prove_leaves(ascending, block.size, tree.subtree)),
        beacons=tuple(sorted(found.items())),
        anchors=_evidence(anchors),
    )


def last_needed(store: Store, operator: bytes, indexes: Sequence[int]) -> tuple[int, Enrolment | None]:
    """Return the last leaf that a proof of these (ascending) needs, and the signer whose revocation that is, if it is
    one; `RevokedKey` where a leaf does not count.
    """
    registry = load_registry(store, operator)
    revoked = {node.key: node for node in registry.nodes() if node.told_at is not None}
    last, signer = indexes[-1], None
    for index in indexes if revoked else ():
        node = revoked.get(claims_of(store.statement(index)).key)
        if node is None or node.told_at is None:
            continue
        if node.since is not None and node.since <= index:
            try:
                node.check_counts(index)
            except RevokedKey as error:
                raise RevokedKey(f"leaf {index}: {error}. Name leaves of it below {node.since}") from error
        if node.told_at > last:
            last, signer = node.told_at, node
    return last, signer


def choose_block(store: Store, index: int, revoked: Enrolment | None = None) -> tuple[SealedBlock, list[AnchorRow]]:
    """Return the earliest block over a leaf that has a final anchor, with its anchors; else the newest block, and none.

    An authority's time stamp alone counts only where no chain has an anchor, and an anchor on the development chain,
    which is worth nothing, only where there is no other at all.  `revoked` is the node whose revocation the leaf is,
    for the message of `NotSealed`.
    """
    newest = store.newest_block()
    if newest is None or newest.size <= index:
        what = f", the revocation of {revoked.name}, which the file is not to hide," if revoked else ""
        raise NotSealed(
            f"leaf {index}{what} is in no sealed block yet; blocks are sealed every few seconds while the gateway runs"
        )
    first = store.block_over(index)
    height = first.height if first else newest.height
    anchors = (
        store.final_anchors(height, DEVELOPMENT_CHAIN, AUTHORITIES)
        or store.final_anchors(height, DEVELOPMENT_CHAIN)
        or store.final_anchors(height)
    )
    block = store.block(anchors[0].height) if anchors else newest
    return block or newest, anchors


def reached(row: AnchorRow) -> ChainBlock | None:
    """Return the chain's block that a row's evidence leads to; None, and a warning, where it does not check."""
    try:
        return evidence.read(row.kind, row.chain, row.evidence, row.block_hash)
    except ProofError as error:
        _log.warning(
            "the anchor of block %s on %s is left out, for its evidence does not check: %s",
            row.height,
            row.target,
            error,
        )
        return None


def _evidence(rows: Sequence[AnchorRow]) -> tuple[tuple[str, str, bytes], ...]:
    """Return the rows' evidence, ascending; of two of one kind and chain the one that leads to the earlier block."""
    found: dict[tuple[str, str], tuple[int, bytes]] = {}
    for row in rows:
        block = reached(row)
        if block is None:
            continue
        name = row.kind, row.chain
        found[name] = min((block.time_s, row.evidence), found.get(name, (block.time_s, row.evidence)))
    return tuple((*name, octets) for name, (_, octets) in sorted(found.items()))
