"""What stands beside the log in its store: anchors, cosignatures and quarantine."""

import struct
from hashlib import sha256

from earmark import evidence
from earmark.audit.finding import Audit
from earmark.cosignature import decode_cosignature
from earmark.errors import EarmarkError, FutureTime, MissingPredecessor, ProofError, UnknownNode
from earmark.statement import decode
from earmark.store import AnchorRow, Quarantined, Store

_HELD = tuple(error.__name__ for error in (UnknownNode, FutureTime, MissingPredecessor))
_STATES = ("planned", "signed", "broadcast", "mined", "final")


def check_anchors(store: Store, audit: Audit) -> None:
    """Check every anchor's block and evidence (§7), and note how far each chain covers the log."""
    for row in store.anchor_rows():
        fault = _anchor_fault(store, row)
        if fault:
            audit.note(f"anchor of block {row.height} on {row.target}", fault)
        elif row.state == "final":
            block = store.block(row.height)
            covered = block.size if block else 0
            audit.anchored[row.chain] = max(covered, audit.anchored.get(row.chain, 0))


def _anchor_fault(store: Store, row: AnchorRow) -> str:
    block = store.block(row.height)
    if block is None:
        return "there is no such block"
    if sha256(block.header).digest() != row.block_hash:
        return "it is of another block hash"
    if row.state not in _STATES:
        return f"its state is {row.state!r}, which is none"
    if not row.evidence:
        return "it is called final, and has no evidence" if row.state == "final" else ""
    try:
        evidence.read(row.kind, row.chain, row.evidence, row.block_hash)
    except ProofError as error:
        return f"its evidence does not check: {error}"
    return ""


def check_quarantine(store: Store, audit: Audit) -> None:
    """Check what is outside the log: its bytes, its counts, and that nothing held is in the log as well (§4.2)."""
    counts = store.quarantine_counts()
    counts.pop("dropped", None)
    rows = store.quarantine_rows(limit=sum(counts.values()) + 1)
    audit.quarantined = len(rows)
    if len(rows) != sum(counts.values()):
        audit.note("quarantine", f"holds {len(rows)} messages, and counts {sum(counts.values())}")
    for row in rows:
        fault = _quarantine_fault(store, row)
        if fault:
            audit.note(f"quarantine, message {row.entry.hex()[:16]}", fault)


def _quarantine_fault(store: Store, row: Quarantined) -> str:
    if len(row.raw) > row.size:
        return "more bytes are kept than came"
    if len(row.raw) == row.size and sha256(row.raw).digest() != row.entry:
        return "its bytes are not those that came"
    if row.held != (row.reason in _HELD):
        return f"{row.reason} is {'held' if row.held else 'refused'}, which it may not be"
    if not row.key:
        return ""
    try:
        statement = decode(row.raw)
    except EarmarkError as error:
        return f"it is kept as a statement, and is none: {error}"
    if (statement.key, statement.sub, statement.seq) != (row.key, row.sub, row.seq):
        return "it is kept under another signer or seq than its own"
    chain = store.chain(row.key, row.sub)
    found = store.find(chain.id, row.seq) if chain else None
    return "it is held, and in the log as well" if row.held and found and found[1] == row.raw else ""


def check_cosignatures(store: Store, audit: Audit) -> None:
    """Check that every cosignature is of a block and of the form; whether its witness made it, its key would show."""
    newest = store.newest_block()
    for height, cosignature in store.all_cosignatures():
        where = f"cosignature of block {height} by {cosignature.name}"
        if newest is None or not 0 <= height <= newest.height:
            audit.note(where, "there is no such block")
            continue
        try:
            if decode_cosignature(cosignature.encode().removesuffix("\n")) != cosignature:
                audit.note(where, "is not what its line says")
        except (EarmarkError, struct.error) as error:
            audit.note(where, str(error))
