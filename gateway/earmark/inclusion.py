"""That an entry is in the tree of a checkpoint, as text: C2SP tlog-proof, docs/protocol.md §11.2."""

from collections.abc import Sequence

from earmark.note import b64

_FORM = "c2sp.org/tlog-proof@v1"


def encode_inclusion(index: int, path: Sequence[bytes], checkpoint: bytes) -> bytes:
    """Return the proof of the entry at `index`, its RFC 9162 §2.1.3.1 path leaf to root; the checkpoint goes in as it
    is, with whatever signature lines it has.
    """
    lines = [_FORM, f"index {index}", *map(b64, path), "", ""]
    return "\n".join(lines).encode() + checkpoint
