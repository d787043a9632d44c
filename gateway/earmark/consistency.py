"""Consistency proofs as text: the request to a witness (C2SP tlog-witness), and a file between two blocks of one log,
docs/protocol.md §5.4 and §5.5.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from earmark import merkle
from earmark.block import Checkpoint, decode_checkpoint
from earmark.errors import EncodingError, ProofError
from earmark.note import b64, decimal, unb64

MOST_HASHES = 63

_WHAT = "a consistency proof"
_CHECKPOINT_LINES = 6


@dataclass(frozen=True, slots=True)
class Continuation:
    """A checkpoint with the proof (RFC 9162 §2.1.4.1) that its tree begins with that of `old` leaves."""

    old: int
    proof: tuple[bytes, ...]
    checkpoint: bytes

    def encode(self) -> bytes:
        """Return the body of an `add-checkpoint` request."""
        hashes = "".join(f"{b64(node)}\n" for node in self.proof)
        return f"old {self.old}\n{hashes}\n".encode() + self.checkpoint


def decode_continuation(encoded: bytes) -> Continuation:
    """Decode the body of a request; `EncodingError` unless it is canonical.  The checkpoint is not looked at."""
    head, empty, checkpoint = encoded.partition(b"\n\n")
    try:
        first, *hashes = head.decode("ascii").split("\n", MOST_HASHES + 1)
    except UnicodeDecodeError as error:
        raise EncodingError(f"{_WHAT} that is not ASCII") from error
    if not empty or not first.startswith("old "):
        raise EncodingError(f"{_WHAT} is a line `old SIZE`, lines of base64, an empty line and a checkpoint")
    if len(hashes) > MOST_HASHES:
        raise EncodingError(f"{_WHAT} of more than {MOST_HASHES} hashes")
    old = decimal(first.removeprefix("old "), _WHAT)
    return Continuation(old, tuple(unb64(text, merkle.HASH_SIZE, _WHAT) for text in hashes), checkpoint)


def prove_continuation(old: int, size: int, checkpoint: bytes, subtree: merkle.Subtree) -> Continuation:
    """Return a checkpoint over `size` leaves with the proof from `old` leaves: none where `old` is 0 or `size`."""
    proof = merkle.prove_consistency(old, size, subtree) if 0 < old < size else []
    return Continuation(old, tuple(proof), checkpoint)


def encode_file(older: bytes, newer: Continuation) -> bytes:
    """Return the file that shows two checkpoints of one log to be of one history (§5.5)."""
    return older + b"\n" + newer.encode()


def check_file(encoded: bytes, origin: str, key: bytes) -> tuple[Checkpoint, Checkpoint]:
    """Return the two checkpoints, older first, of a file that shows the second to continue the first.

    Both are signed by the log's `key` under its `origin`.  `EncodingError` where the bytes are not the form,
    `BadSignature` where the log did not sign one of them, `ProofError` where the proof does not hold.
    """
    lines = encoded.split(b"\n", _CHECKPOINT_LINES)
    if len(lines) <= _CHECKPOINT_LINES or not lines[-1].startswith(b"\n"):
        raise EncodingError(f"{_WHAT} file is a checkpoint, an empty line, and a proof to a later checkpoint")
    continuation = decode_continuation(lines[-1][1:])
    old, new = decode_checkpoint(encoded[: -len(lines[-1])]), decode_checkpoint(continuation.checkpoint)
    for checkpoint in (old, new):
        checkpoint.verify(origin, key)
    if continuation.old != old.size or old.height > new.height:
        raise ProofError("the proof is not from the file's first checkpoint, or that is the later one")
    _check(old, new, continuation.proof)
    return old, new


def _check(old: Checkpoint, new: Checkpoint, proof: Sequence[bytes]) -> None:
    if (old.size == new.size) != (old.height == new.height) or (
        old.height == new.height and old.block_hash != new.block_hash
    ):
        raise ProofError("two blocks of one height or one size that are not the same: the log has two histories")
    merkle.check_consistency(old.size, new.size, old.root, new.root, proof)
