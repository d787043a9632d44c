"""The gateway's acknowledgement, on which a node frees its outbox, docs/protocol.md §10.1."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from earmark import cbor, cose
from earmark.errors import EncodingError

CONTENT = "application/vnd.earmark.ack+cbor"
VERSION = 2
MAX_SIZE = 4096
MAX_ROWS = 16


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Runs of `seq` that are in the log on disk, single ones refused for good, the newest checkpoint, and when."""

    kid: bytes
    runs: tuple[tuple[int, int], ...]
    refused: tuple[tuple[int, str], ...]
    checkpoint: bytes
    time_ms: int


def sign(gateway: cose.Signer, ack: Acknowledgement) -> bytes:
    """Return the signed acknowledgement; at most 16 runs and 16 refusals."""
    assert max(len(ack.runs), len(ack.refused)) <= MAX_ROWS
    rows: list[Sequence[Any]] = [[list(run) for run in ack.runs], [list(row) for row in ack.refused]]
    payload = cbor.encode([VERSION, ack.kid, *rows, ack.checkpoint, ack.time_ms])
    return cose.sign1(gateway, _header(gateway.kid), payload)


def decode(encoded: bytes, gateway: bytes) -> Acknowledgement:
    """Decode and verify what a gateway sent: `EncodingError` for another form, `BadSignature` for another signer."""
    if len(encoded) > MAX_SIZE:
        raise EncodingError(f"an acknowledgement of {len(encoded)} bytes; it has at most {MAX_SIZE}")
    sign1 = cose.decode_sign1(encoded)
    if sign1.protected != cbor.encode(_header(cose.kid(gateway))) or sign1.unprotected or sign1.payload is None:
        raise EncodingError("not an acknowledgement of this gateway")
    sign1.verify(gateway)
    value = cbor.decode(sign1.payload)
    if type(value) is not list or [type(item) for item in value] != [int, bytes, list, list, bytes, int]:
        raise EncodingError("an acknowledgement is [2, kid, runs, refused, checkpoint, time]")
    version, kid, runs, refused, checkpoint, time_ms = value
    if version != VERSION or len(kid) != 8 or len(runs) > MAX_ROWS or len(refused) > MAX_ROWS:
        raise EncodingError("an acknowledgement of another version, without a kid, or with too many rows")
    for rows, types in ((runs, [int, int]), (refused, [int, str])):
        if any(type(row) is not list or [type(item) for item in row] != types for row in rows):
            raise EncodingError("an acknowledgement with a row of the wrong form")
    bounds = [bound for run in runs for bound in run]
    if not 0 <= time_ms < cbor.MAX_MAGNITUDE:
        raise EncodingError("an acknowledgement whose time is not from 0 to 2^53 - 1")
    if any(not 1 <= seq < cbor.MAX_MAGNITUDE for seq in [*bounds, *(seq for seq, _ in refused)]):
        raise EncodingError("an acknowledgement with a seq that is not from 1 to 2^53 - 1")
    if bounds != sorted(bounds):
        raise EncodingError("an acknowledgement whose runs are not ascending")
    if any(a[1] >= b[0] for a, b in pairwise(runs)):
        raise EncodingError("an acknowledgement whose runs overlap")
    return Acknowledgement(kid, tuple(map(tuple, runs)), tuple(map(tuple, refused)), checkpoint, time_ms)


def _header(kid: bytes) -> dict[Any, Any]:
    return {cose.ALG: cose.EDDSA, cose.CONTENT_TYPE: CONTENT, cose.KID: kid}
