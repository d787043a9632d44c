"""Make proof files from a store: reads only, beside a running gateway or without one, docs/protocol.md §8."""

from collections.abc import Sequence

from earmark import cbor, merkle
from earmark.anchor.devchain import DEVELOPMENT_CHAIN
from earmark.errors import EarmarkError
from earmark.proof import Proof
from earmark.recognise import claims_of
from earmark.statement import REGISTRY
from earmark.store import AnchorRow, SealedBlock, Store
from earmark.tiles import TileTree


class NotSealed(EarmarkError):
    """The statement is in the log but in no sealed block yet: ask again in a few seconds."""


def prove(store: Store, operator: bytes, indexes: Sequence[int]) -> Proof:
    """Return the proof of these leaves (ascending), against the earliest anchored block over them, or the newest block.

    Raises `NotSealed` where the newest block does not cover them.
    """
    block, anchors = choose_block(store, indexes[-1])
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
        checkpoint=block.checkpoint,
        receipt=block.receipt,
        statements=tuple((index, statements[index]) for index in ascending),
        subjects=tuple(indexes),
        rest=tuple(merkle.prove_leaves(ascending, block.size, tree.subtree)),
        beacons=tuple(sorted(found.items())),
        anchors=tuple(sorted((row.kind, row.target, row.evidence) for row in anchors)),
    )


def choose_block(store: Store, index: int) -> tuple[SealedBlock, list[AnchorRow]]:
    """Return the earliest block over a leaf that has a final anchor, with its anchors; else the newest block, and none.

    An anchor on the development chain, which is worth nothing, counts only where there is no other.
    """
    newest = store.newest_block()
    if newest is None or newest.size <= index:
        raise NotSealed(
            f"leaf {index} is in no sealed block yet; blocks are sealed every few seconds while the gateway runs"
        )
    first = store.block_over(index)
    height = first.height if first else newest.height
    anchors = store.final_anchors(height, besides=DEVELOPMENT_CHAIN) or store.final_anchors(height)
    block = store.block(anchors[0].height) if anchors else newest
    return block or newest, anchors
