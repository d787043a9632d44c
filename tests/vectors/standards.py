"""transparent.json and inclusion.json (§11)."""

import hashlib
from typing import Any

from actors import GATEWAY, NEIGHBOUR, ORIGIN, T0
from cosigners import LOG, OTHER, cosigned
from small_log import Log, first_log

from earmark import block, cosignature, merkle
from earmark.inclusion import encode_inclusion

LEAVES = 0, 4, 8


def transparents() -> dict[str, Any]:
    """The content of transparent.json."""
    log = first_log()
    size, root = len(log.statements), log.header().root
    signature = block.sign_receipt(GATEWAY, ORIGIN, root)
    rows = []
    for index in LEAVES:
        path = merkle.prove_inclusion(index, size, log.subtree)
        receipt = block.encode_receipt(GATEWAY.key, ORIGIN, signature, size, index, path)
        raw = log.statements[index]
        octets = block.encode_transparent(raw, receipt)
        rows.append({"index": index, "statement": raw.hex(), "receipt": receipt.hex(), "bytes": octets.hex()})
    return {"key": GATEWAY.key.hex(), "root": root.hex(), "size": size, "valid": rows}


def inclusions() -> dict[str, Any]:
    """The content of inclusion.json."""
    log = first_log()
    checkpoint = block.sign_checkpoint(GATEWAY, ORIGIN, log.header(bytes(range(16))))
    both = cosignature.join(checkpoint, [cosigned(checkpoint), cosigned(checkpoint, NEIGHBOUR, OTHER, T0 + 8)])
    alone = Log()
    alone.enrol(GATEWAY.key, "gateway", ORIGIN)
    rows = [_row(f"leaf {index} of 9", log, index, checkpoint) for index in LEAVES]
    rows.append(_row("with two witnesses", log, 4, both))
    rows.append(_row("the only leaf", alone, 0, block.sign_checkpoint(GATEWAY, ORIGIN, alone.header())))
    return {"log": LOG.encode(), "valid": rows}


def _row(name: str, log: Log, index: int, checkpoint: bytes) -> dict[str, Any]:
    path = merkle.prove_inclusion(index, len(log.statements), log.subtree)
    raw = log.statements[index]
    text = encode_inclusion(index, path, checkpoint).decode()
    entry = hashlib.sha256(raw).hexdigest()
    return {"name": name, "index": index, "statement": raw.hex(), "entry": entry, "text": text}
