"""What a witness answers to a checkpoint, by C2SP tlog-witness `add-checkpoint`."""

import hashlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from earmark.consistency import Continuation, decode_continuation
from earmark.cose import Signer, verify
from earmark.cosignature import TreeHead, cosign, decode_tree_head
from earmark.errors import BadSignature, CorruptLog, EncodingError, ProofError, StoreError
from earmark.merkle import EMPTY_ROOT, check_consistency
from earmark.note import Note, VerifierKey, decode_note, encode_line
from earmark.serving import Answer, text
from earmark.witness.ledger import FORK, UNPROVEN, Evidence, Ledger, Seen

MOST_BODY = 128 << 10
"""Bytes of a request: 63 hashes, and a checkpoint with 16 signatures of 5 kB each."""
AGAIN_S = 30
"""So long the same checkpoint is answered with the same cosignature, so that whoever repeats it costs no write."""
SAID_S = 60
"""So long nothing more is said of the same kind of evidence against one log: anybody can send the like."""
SIZE_KIND = "text/x.tlog.size"

_log = logging.getLogger(__name__)


class Witness:
    """Cosigns for logs by their origin, each with the keys that may sign it.  Any thread may ask; one at a time is
    judged.

    `failure` is set where the memory contradicts itself: nothing is cosigned any more, and the witness has to stop.
    """

    def __init__(
        self,
        own: VerifierKey,
        signer: Signer,
        logs: Mapping[str, Sequence[VerifierKey]],
        ledger: Ledger,
        clock_s: Callable[[], int],
    ) -> None:
        """`own` is the witness' verifier key, that of `signer` and of the ledger."""
        assert own.key == signer.key
        self.own = own
        self.logs = logs
        self._signer = signer
        self._ledger = ledger
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._said: dict[tuple[str, str], int] = {}
        self.failure: CorruptLog | None = None

    def add_checkpoint(self, body: bytes) -> Answer:
        """Return the answer to a request.  A cosignature is in it only once its checkpoint is on disk, synced."""
        try:
            asked = decode_continuation(body)
            note = decode_note(asked.checkpoint)
            head = decode_tree_head(note.text)
        except EncodingError as error:
            return text(400, str(error))
        keys = self.logs.get(head.origin)
        if keys is None:
            return text(404, "this witness does not know that log")
        try:
            line = _verified_line(note, keys)
        except BadSignature as error:
            return text(403, str(error))
        if asked.old > head.size:
            return text(400, f"an old size of {asked.old} above the checkpoint's {head.size}")
        try:
            with self._lock, self._ledger.transaction():
                return self._judge(body, asked, head, note.text, line)
        except StoreError as error:
            _log.error("nothing is cosigned until the disk takes writes again: %s", error)
            return text(500, "the witness cannot write: ask again later")
        except CorruptLog as error:
            self.failure = error
            _log.error("nothing is cosigned any more: %s", error)
            return text(500, "the witness' memory is damaged: it stops")

    def _judge(self, body: bytes, asked: Continuation, head: TreeHead, signed: bytes, line: str) -> Answer:
        """Decide within a transaction that sees the newest checkpoint and lets nobody else change it."""
        before = self._ledger.seen(head.origin)
        size = before.size if before else 0
        if before and size and size == head.size and before.root != head.root:
            self._accuse(FORK, before, body, head, signed)
        if asked.old != size:
            return Answer(409, SIZE_KIND, b"%d\n" % size)
        fault = _fault(asked, head, before.root if before else EMPTY_ROOT)
        if fault:
            if before and asked.old < head.size:
                self._accuse(UNPROVEN, before, body, head, signed)
            return text(422, fault)
        return Answer(200, "text/plain; charset=utf-8", self._cosign(before, head, signed, line).encode())

    def _cosign(self, before: Seen | None, head: TreeHead, signed: bytes, line: str) -> str:
        now_s = max(self._clock_s(), before.cosigned_at_s if before else 0)  # a clock that went back dates nothing back
        if before and before.text == signed and now_s - before.cosigned_at_s < AGAIN_S:
            return before.cosigned
        cosigned = cosign(self._signer, self.own.name, signed, now_s).encode()
        self._ledger.put(Seen(head.origin, head.size, head.root, signed, line, cosigned, now_s))
        return cosigned

    def _accuse(self, kind: str, before: Seen, body: bytes, head: TreeHead, signed: bytes) -> None:
        """Keep evidence and say so; what is not kept is said too, but not more than once in `SAID_S`."""
        now_s = self._clock_s()
        is_kept = self._ledger.accuse(Evidence(head.origin, signed, kind, now_s, before.note, body))
        if 0 <= now_s - self._said.get((head.origin, kind), -SAID_S) < SAID_S:
            return
        self._said[head.origin, kind] = now_s
        said = "SPLIT VIEW" if kind == FORK else "a proof that does not hold"
        kept = "kept as evidence" if is_kept else "not kept: it was before, or enough of the kind are"
        _log.error("%s of %s: %s leaves after %s; %s", said, head.origin, head.size, before.size, kept)

    def checkpoint(self, origin: str) -> Answer:
        """Return the newest checkpoint that was cosigned, with both signatures, or 404."""
        with self._lock:
            seen = self._ledger.seen(origin)
        return Answer(200, "text/plain; charset=utf-8", seen.note) if seen else text(404, "none was cosigned yet")

    def known(self) -> tuple[list[Seen], dict[str, int]]:
        """Return what was cosigned last of each log, and how many forks are kept, by origin."""
        with self._lock:
            return self._ledger.all_seen(), self._ledger.forks()


def origin_hash(origin: str) -> str:
    """Return how a log's origin stands in a path."""
    return hashlib.sha256(origin.encode()).hexdigest()


def _verified_line(note: Note, keys: Sequence[VerifierKey]) -> str:
    """Return the first signature line under one of the keys; `BadSignature` where there is none, or one is forged."""
    found = ""
    for name, blob in note.signatures:
        for key in keys:
            if (name, blob[:4]) == (key.name, key.id):
                verify(key.key, note.text, blob[4:])
                found = found or encode_line(name, blob)
    if not found:
        raise BadSignature("no signature by a key that this witness knows for that log")
    return found


def _fault(asked: Continuation, head: TreeHead, old_root: bytes) -> str:
    """Say why a checkpoint does not continue the one before, or nothing."""
    if head.size == 0 and head.root != EMPTY_ROOT:
        return "the root of an empty tree is the hash of nothing"
    if asked.old == 0:
        return "a proof from an empty tree is empty" if asked.proof else ""
    try:
        check_consistency(asked.old, head.size, old_root, head.root, asked.proof)
    except ProofError as error:
        return str(error)
    return ""
