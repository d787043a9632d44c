"""The beacon: public randomness that dates what is signed after it, docs/protocol.md §6."""

import hashlib

import cbor

MAX_SIZE = 512

_VERSION = 1
_LOWER = "abcdefghijklmnopqrstuvwxyz0123456789-"
_ANY = _LOWER + "ABCDEFGHIJKLMNOPQRSTUVWXYZ_"


def nonce(message: bytes) -> bytes:
    """Return the 16 bytes that a statement carries for a beacon message; ValueError unless it is of §6's form."""
    if len(message) > MAX_SIZE:
        raise ValueError("beacon: more than %d bytes" % MAX_SIZE)
    fields = cbor.decode(message)
    if not isinstance(fields, list) or len(fields) != 2 or type(fields[0]) is not int or fields[0] != _VERSION:
        raise ValueError("beacon: not [1, sources]")
    sources = fields[1]
    if not isinstance(sources, list) or not 1 <= len(sources) <= 4 or not all(_is_source(s) for s in sources):
        raise ValueError("beacon: not 1 to 4 sources [chain, height, hash, time]")
    return hashlib.sha256(message).digest()[:16]


def _is_source(source: object) -> bool:
    if not isinstance(source, list) or len(source) != 4:
        return False
    chain, height, block_hash, time_s = source
    return (
        isinstance(chain, str)
        and _is_chain(chain)
        and isinstance(block_hash, bytes)
        and len(block_hash) == 32
        and cbor.is_uint(height)
        and cbor.is_uint(time_s)
    )


def _is_chain(chain: str) -> bool:
    """Whether this is a CAIP-2 id, such as eip155:1."""
    space, _, reference = chain.partition(":")
    return 3 <= len(space) <= 8 and 1 <= len(reference) <= 32 and _only(space, _LOWER) and _only(reference, _ANY)


def _only(text: str, allowed: str) -> bool:
    return all(character in allowed for character in text)
