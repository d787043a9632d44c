"""The gateway's acknowledgement, the only thing that frees statements from the outbox, docs/protocol.md §10.1."""

import cbor
import cose
import ed25519
import identity

CONTENT_TYPE = "application/vnd.earmark.ack+cbor"
MAX_SIZE = 4096

_VERSION = 2
_MAX_ITEMS = 16
_SEQ_LIMIT = 1 << 53
_FORM = "acknowledgement: not [2, kid, runs, refused, checkpoint, time]"


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Ack:
    """What one acknowledgement says of this node's statements.

    `runs` are [(first, last)] of `seq` that are in the log on disk, ascending and disjoint; `refused` is
    [(seq, name of the error)], refused for good; `checkpoint` is the newest, as bytes, empty before the first;
    `unix_ms` is the gateway's clock when it signed.
    """

    def __init__(
        self, runs: list[tuple[int, int]], refused: list[tuple[int, str]], checkpoint: bytes, unix_ms: int
    ) -> None:
        self.runs = runs
        self.refused = refused
        self.checkpoint = checkpoint
        self.unix_ms = unix_ms


def tree_size(checkpoint: bytes) -> int:
    """The size of the tree under a checkpoint (protocol.md §5.1), 0 where there is none; ValueError for another form.

    Reads no more of it: whoever signed the acknowledgement answers for the rest.
    """
    lines = checkpoint.split(b"\n")
    if not checkpoint:
        return 0
    if len(lines) < 2 or not lines[1].isdigit() or len(lines[1]) > 16:
        raise ValueError("acknowledgement: not a checkpoint")
    return int(lines[1])


def verify(payload: bytes, gateway_key: bytes, kid: bytes) -> Ack:
    """Return what the gateway with this key says to the node with this kid; ValueError for anything else."""
    if len(payload) > MAX_SIZE:
        raise ValueError("acknowledgement: more than %d bytes" % MAX_SIZE)
    protected, content, signature = cose.decode_sign1(payload)
    expected = {cose.ALG: cose.EDDSA, cose.CONTENT_TYPE: CONTENT_TYPE, cose.KID: identity.kid(gateway_key)}
    if protected != cbor.encode(expected):
        raise ValueError("acknowledgement: not the protected header of this gateway")
    ack = _decode(content, kid)
    ed25519.verify(gateway_key, cose.signed_bytes(protected, content), signature)
    return ack


def _decode(content: bytes, kid: bytes) -> Ack:
    fields = cbor.decode(content)
    if not isinstance(fields, list) or len(fields) != 6:
        raise ValueError(_FORM)
    version, named, runs, refused, checkpoint, unix_ms = fields
    if type(version) is not int or version != _VERSION or not isinstance(checkpoint, bytes):
        raise ValueError(_FORM)
    if not cbor.is_uint(unix_ms, _SEQ_LIMIT):
        raise ValueError(_FORM)
    if named != kid:
        raise ValueError("acknowledgement: it is for another node")
    return Ack(_runs(_pairs(runs)), _refused(_pairs(refused)), checkpoint, unix_ms)


def _pairs(items: object) -> "list[list[Any]]":
    if not isinstance(items, list) or len(items) > _MAX_ITEMS:
        raise ValueError("acknowledgement: not a list of at most %d" % _MAX_ITEMS)
    for item in items:
        if not isinstance(item, list) or len(item) != 2 or not cbor.is_uint(item[0], _SEQ_LIMIT) or item[0] == 0:
            raise ValueError("acknowledgement: not a pair that begins with a seq")
    return items


def _runs(pairs: "list[list[Any]]") -> list[tuple[int, int]]:
    last = 0
    for pair in pairs:
        if not cbor.is_uint(pair[1], _SEQ_LIMIT) or not last < pair[0] <= pair[1]:
            raise ValueError("acknowledgement: runs that are not ascending and disjoint")
        last = pair[1]
    return [(pair[0], pair[1]) for pair in pairs]


def _refused(pairs: "list[list[Any]]") -> list[tuple[int, str]]:
    if not all(isinstance(pair[1], str) for pair in pairs):
        raise ValueError("acknowledgement: a refusal without the name of the error")
    return [(pair[0], pair[1]) for pair in pairs]
