"""Strict RLP and the Merkle-Patricia proof of Ethereum's tries, for checking only.  docs/protocol.md §7.

Pure and free of dependencies but for Keccak-256: an auditor reads this file and `evidence.py`
and has read all that stands between a chain's block hash and an anchored digest.
"""

from typing import TypeAlias

from earmark.errors import ProofError

Item: TypeAlias = "bytes | list[Item]"

MAX_DEPTH = 32
"""Lists within lists: a transaction needs 5, a trie node with embedded nodes at most 16."""


def keccak256(message: bytes) -> bytes:
    """Return the 32-byte Keccak-256 of `message`, with Ethereum's padding (not SHA3-256's)."""
    from Crypto.Hash import keccak  # takes longer to import than most commands take

    return keccak.new(digest_bits=256, data=message).digest()


def decode_rlp(encoded: bytes) -> Item:
    """Decode one RLP item that fills `encoded` exactly.

    Accepts only what an encoder would have produced: shortest length forms, single bytes below 0x80
    as themselves, nothing left over.  Raises `ProofError` otherwise.
    """
    item, end = _decode_at(encoded, 0, len(encoded), 0)
    if end != len(encoded):
        raise ProofError(f"RLP: {len(encoded) - end} bytes left over after the item")
    return item


def decode_rlp_list(encoded: bytes, what: str) -> list[Item]:
    """Decode an RLP list; `what` names it in the `ProofError` raised for anything else."""
    item = decode_rlp(encoded)
    if not isinstance(item, list):
        raise ProofError(f"{what}: an RLP string where a list belongs")
    return item


def bytes_of(item: Item, what: str) -> bytes:
    """Return `item` if it is an RLP string; `what` names it in the `ProofError` raised otherwise."""
    if not isinstance(item, bytes):
        raise ProofError(f"{what}: an RLP list where a string belongs")
    return item


def uint_of(item: Item, what: str) -> int:
    """Return the unsigned 64-bit integer in `item`; leading zero bytes raise `ProofError`."""
    digits = bytes_of(item, what)
    if digits[:1] == b"\x00" or len(digits) > 8:
        raise ProofError(f"{what}: {digits[:12].hex()} is not a minimal integer below 2^64")
    return int.from_bytes(digits, "big")


def encode_rlp(item: Item) -> bytes:
    """Encode one item as RLP."""
    if isinstance(item, bytes):
        return item if len(item) == 1 and item[0] < 0x80 else _prefix(0x80, len(item)) + item
    body = b"".join(encode_rlp(part) for part in item)
    return _prefix(0xC0, len(body)) + body


def minimal_bytes(value: int) -> bytes:
    """Return an unsigned integer big-endian without leading zeros, as RLP carries integers; 0 is empty."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def _prefix(base: int, length: int) -> bytes:
    if length <= 55:
        return bytes([base + length])
    digits = minimal_bytes(length)
    return bytes([base + 55 + len(digits)]) + digits


def _decode_at(encoded: bytes, start: int, limit: int, depth: int) -> tuple[Item, int]:
    """Decode the item at `start`; return it and the offset behind it, at most `limit`."""
    if start >= limit:
        raise ProofError(f"RLP: ends at byte {limit} where an item is due")
    first = encoded[start]
    if first < 0x80:
        return encoded[start : start + 1], start + 1
    base = 0xC0 if first >= 0xC0 else 0x80
    body, end = _extent(encoded, start, limit, base)
    if base == 0xC0:
        return _decode_items(encoded, body, end, depth + 1), end
    if end - body == 1 and encoded[body] < 0x80:
        raise ProofError(f"RLP: byte {start} prefixes a single byte that stands for itself")
    return encoded[body:end], end


def _decode_items(encoded: bytes, start: int, end: int, depth: int) -> list[Item]:
    if depth > MAX_DEPTH:
        raise ProofError(f"RLP: lists are nested deeper than {MAX_DEPTH}")
    items: list[Item] = []
    while start < end:
        item, start = _decode_at(encoded, start, end, depth)
        items.append(item)
    return items


def _extent(encoded: bytes, start: int, limit: int, base: int) -> tuple[int, int]:
    """Return where the body of the item at `start` begins and ends; `base` is 0x80 or 0xc0."""
    short = encoded[start] - base
    if short <= 55:
        body, length = start + 1, short
    else:
        body = start + 1 + short - 55
        digits = encoded[start + 1 : body]
        length = int.from_bytes(digits, "big")
        if body > limit or digits[0] == 0 or length <= 55:
            raise ProofError(f"RLP: the length at byte {start} is not in its shortest form")
    if body + length > limit:
        raise ProofError(f"RLP: the item at byte {start} runs past byte {limit}")
    return body, body + length


def check_trie(root: bytes, key: bytes, nodes: list[bytes]) -> bytes:
    """Check a Merkle-Patricia proof and return the value that the trie with hash `root` holds at `key`.

    `nodes` are the RLP nodes on the way, from the root down.  Each is used exactly once, in order;
    nodes below 32 bytes lie embedded in their parents and are not listed.  Raises `ProofError`.
    docs/protocol.md §7.
    """
    pending = list(nodes)
    node = _take(pending, root, is_root=True)
    path = [nibble for byte in key for nibble in (byte >> 4, byte & 15)]
    while True:
        reference, path, is_value = _step(node, path)
        if is_value:
            break
        node = _child(reference, pending)
    if pending:
        raise ProofError(f"trie: {len(pending)} nodes are not on the way to the key")
    value = bytes_of(reference, "trie value")
    if not value:
        raise ProofError("trie: holds nothing at the key")
    return value


def _take(pending: list[bytes], digest: bytes, *, is_root: bool = False) -> list[Item]:
    """Decode the next listed node, which must hash to `digest`."""
    if not pending:
        raise ProofError(f"trie: the node {digest.hex()} is missing")
    encoded = pending.pop(0)
    if keccak256(encoded) != digest:
        raise ProofError(f"trie: the node {digest.hex()} is due, one with another hash is listed")
    if len(encoded) < 32 and not is_root:
        raise ProofError(f"trie: a node of {len(encoded)} bytes is named by hash, not embedded")
    return decode_rlp_list(encoded, "trie node")


def _child(reference: Item, pending: list[bytes]) -> list[Item]:
    """Follow a parent's reference: 32 bytes name the next listed node, a list is an embedded node."""
    if isinstance(reference, list):
        if len(encode_rlp(reference)) >= 32:
            raise ProofError("trie: an embedded node has 32 bytes or more")
        return reference
    if not reference:
        raise ProofError("trie: holds nothing at the key")
    if len(reference) != 32:
        raise ProofError(f"trie: a reference of {len(reference)} bytes is neither a hash nor a node")
    return _take(pending, reference)


def _step(node: list[Item], path: list[int]) -> tuple[Item, list[int], bool]:
    """Return what the node holds for `path`, the rest of the path, and whether that is the value."""
    if len(node) == 17:
        return (node[path[0]], path[1:], False) if path else (node[16], path, True)
    if len(node) != 2:
        raise ProofError(f"trie: a node of {len(node)} items is neither a branch nor a leaf nor an extension")
    part, is_leaf = _hex_prefix(bytes_of(node[0], "trie path"))
    if path[: len(part)] != part or (is_leaf and len(path) != len(part)):
        raise ProofError("trie: a node leads away from the key")
    if not is_leaf and not part:
        raise ProofError("trie: an extension without a path")
    return node[1], path[len(part) :], is_leaf


def _hex_prefix(encoded: bytes) -> tuple[list[int], bool]:
    """Decode a hex-prefix path; return its nibbles and whether it ends in a leaf."""
    nibbles = [nibble for byte in encoded for nibble in (byte >> 4, byte & 15)]
    if not nibbles or nibbles[0] > 3 or (nibbles[0] in (0, 2) and nibbles[1] != 0):
        raise ProofError(f"trie: {encoded[:40].hex() or 'nothing'} is not a hex-prefix path")
    return nibbles[1 if nibbles[0] & 1 else 2 :], nibbles[0] >= 2
