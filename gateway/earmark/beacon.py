"""Beacons: public randomness with a date, docs/protocol.md §6."""

import hashlib
import re
from collections.abc import Sequence

from earmark import cbor
from earmark.errors import EncodingError
from earmark.evidence import ChainBlock

VERSION = 1
MAX_SIZE = 512
NONCE_SIZE = 16
MOST_SOURCES = 4

_CHAIN = re.compile(r"[-a-z0-9]{3,8}:[-_a-zA-Z0-9]{1,32}")


def is_chain_id(text: str) -> bool:
    """Say whether this is a CAIP-2 chain id."""
    return bool(_CHAIN.fullmatch(text))


def encode(sources: Sequence[ChainBlock]) -> bytes:
    """Return the beacon message of 1 to 4 sources: the newest block of each chain."""
    return cbor.encode([VERSION, [[s.chain, s.number, s.hash, s.time_s] for s in sources]])


def nonce(message: bytes) -> bytes:
    """Return the 16 bytes that statements and headers carry for a message."""
    return hashlib.sha256(message).digest()[:NONCE_SIZE]


def decode(message: bytes) -> list[ChainBlock]:
    """Decode a beacon message; `EncodingError` unless it is of §6's form."""
    if len(message) > MAX_SIZE:
        raise EncodingError(f"a beacon of {len(message)} bytes; it has at most {MAX_SIZE}")
    value = cbor.decode(message)
    shaped = type(value) is list and len(value) == 2 and type(value[0]) is int and value[0] == VERSION
    if not shaped or type(value[1]) is not list or not 1 <= len(value[1]) <= MOST_SOURCES:
        raise EncodingError("a beacon is [1, sources] with 1 to 4 sources")
    return [_source(item) for item in value[1]]


def _source(item: object) -> ChainBlock:
    if type(item) is not list or [type(field) for field in item] != [str, int, bytes, int]:
        raise EncodingError("a beacon's source is [chain, height, hash, time_s]")
    source = ChainBlock(*item)
    if not is_chain_id(source.chain) or len(source.hash) != 32 or source.number < 0 or source.time_s < 0:
        raise EncodingError(f"a beacon with a malformed source {source.chain[:50]!r}")
    return source
