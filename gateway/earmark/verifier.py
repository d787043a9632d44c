"""What arrived, decoded and verified: rules 1 and 2 of docs/protocol.md §4.2, here or in a process of its own.

`python -m earmark.verifier FD` answers batches over the socket FD until that is closed.  A frame is its length (4
bytes) and a marshalled list: of messages one way, of verdicts the other.
"""

import marshal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from earmark import errors
from earmark.cose import verify
from earmark.errors import EarmarkError, EncodingError
from earmark.recognise import begins_as_usual, claims_of, recognise, signed_by
from earmark.statement import Claims, decode

FORMAT = 2
"""The version of `marshal` that spends no time on finding equal values."""

Verdict = tuple[Claims | None, EarmarkError | None]


class Arrival(NamedTuple):
    """A message as it came in: its claims, and what is wrong with it (None: decoded and verified)."""

    raw: bytes
    topic: str
    received_at_ms: int
    claims: Claims | None
    error: EarmarkError | None = None


def examine(raw: bytes) -> Verdict:
    """Return a message's claims, and the `EncodingError` or `BadSignature` that keeps it out, or None."""
    claims = None
    try:
        found = recognise(raw)
        if found:
            claims, signed = found
            verify(claims.key, signed, raw[-64:])
        else:
            statement = decode(raw)
            claims = statement.claims
            statement.verify()
    except EarmarkError as error:
        return claims, error
    return claims, None


def read(raw: bytes) -> Verdict:
    """Return a message's claims, and the `EncodingError` that it is, or the `BadSignature` that `check` cannot tell."""
    try:
        claims = claims_of(raw)
    except EncodingError as error:
        return None, error
    return (claims, None) if begins_as_usual(raw) else examine(raw)


def check(raw: bytes) -> EarmarkError | None:
    """Return the `BadSignature` of a statement that `read` decoded and had nothing to say of, or None."""
    found = signed_by(raw)
    try:
        if found:
            verify(*found, raw[-64:])
    except EarmarkError as error:
        return error
    return None


def faults_of(raws: Sequence[bytes]) -> dict[int, EarmarkError]:
    """Return what `check` finds, by place."""
    return {place: error for place, raw in enumerate(raws) if (error := check(raw))}


class Examination:
    """Statements that are read first and verified afterwards, here by this process.

    A caller takes all of `verdicts`, has its own work to do, and then takes `faults`: somebody with more processes
    verifies meanwhile.
    """

    def __init__(self, raws: Sequence[bytes]) -> None:
        self._raws = raws

    def verdicts(self) -> Iterator[Verdict]:
        """Give what `read` says of each statement, in order."""
        return map(read, self._raws)

    def faults(self) -> dict[int, EarmarkError]:
        """Return what is wrong with signatures that `read` could not tell, by place; once, after all verdicts."""
        return faults_of(self._raws)


def receive(raw: bytes, topic: str, received_at_ms: int) -> Arrival:
    """Examine one message in this process."""
    return Arrival(raw, topic, received_at_ms, *examine(raw))


def pack(verdicts: list[Verdict]) -> bytes:
    """Return verdicts as a frame's content."""
    rows = [(claims and tuple(claims), error and (type(error).__name__, str(error))) for claims, error in verdicts]
    return marshal.dumps(rows, FORMAT)


def unpack(content: bytes) -> list[Verdict]:
    """Return the verdicts of a frame's content."""
    rows: list[Any] = marshal.loads(content)  # noqa: S302 - from our own child over a private socket
    return [(claims and Claims._make(claims), error and _error(*error)) for claims, error in rows]


def _error(name: str, message: str) -> EarmarkError:
    made: EarmarkError = getattr(errors, name)(message)
    return made


def poison(raw: bytes) -> Verdict:
    """Return the verdict on a message that ended, or hung, every process that looked at it."""
    return None, EncodingError(f"{len(raw)} bytes that ended or hung their decoder: keep them and report this")


def frame(content: bytes) -> bytes:
    """Return content with its length before it."""
    return len(content).to_bytes(4, "big") + content


def _serve(connection: socket.socket) -> None:
    with suppress(ConnectionError), connection, connection.makefile("rb") as incoming:  # whoever asked may be gone
        while head := incoming.read(4):
            batch: list[bytes] = marshal.loads(incoming.read(int.from_bytes(head, "big")))  # noqa: S302 - our parent's
            connection.sendall(frame(pack([examine(raw) for raw in batch])))


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
