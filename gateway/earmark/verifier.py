"""What arrived, decoded and verified: rules 1 and 2 of docs/protocol.md §4.2, here or in a process of its own.

`python -m earmark.verifier FD` answers batches over the socket FD until that is closed.  A frame is its length (4
bytes) and a marshalled list: of messages one way, of verdicts the other.
"""

import marshal
import socket
import sys
from contextlib import suppress
from typing import Any, NamedTuple

from earmark import errors
from earmark.cose import verify
from earmark.errors import EarmarkError, EncodingError
from earmark.recognise import recognise
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
