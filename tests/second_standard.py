"""A second reader of transparent statements and tlog-proofs, written from docs/protocol.md §11 alone."""

import re
from typing import Any

import cbor2

from second_note import cosignatures, plain
from second_statement import Refused, Said, did_of, is_uint, kid_of, need, sha256, to_be_signed, unpack, verify

LINE = "[A-Za-z0-9+/]{43}="


def root_from(entry: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """RFC 9162 §2.1.3: the root that a path leads to, by recursion over the tree's division."""
    hashes = list(path)

    def walk(low: int, high: int) -> bytes:
        if high - low == 1:
            return sha256(b"\0", entry)
        middle = low + (1 << (high - low - 1).bit_length() - 1)
        node = walk(low, middle) if index < middle else walk(middle, high)
        need(hashes)
        other = hashes.pop(0)
        return sha256(b"\1", node, other) if index < middle else sha256(b"\1", other, node)

    need(0 <= index < size < 1 << 63)
    root = walk(0, size)
    need(not hashes)
    return root


def check_transparent(octets: bytes, gateway: bytes, origin: str) -> tuple[Said, int, int, bytes]:
    """The statement, its index, the tree's size and root, of a transparent statement that holds (§11.1)."""
    tagged = unpack(octets)
    need(isinstance(tagged, cbor2.CBORTag) and tagged.tag == 18 and type(tagged.value) is list)
    need(len(tagged.value) == 4 and type(tagged.value[1]) is dict and set(tagged.value[1]) == {394})
    protected, unprotected, payload, signature = tagged.value
    receipts: Any = unprotected[394]
    need(type(receipts) is list and len(receipts) == 1 and type(receipts[0]) is bytes)
    said = Said(cbor2.dumps(cbor2.CBORTag(18, [protected, {}, payload, signature]), canonical=True))
    said.verify()
    return said, *check_receipt(receipts[0], said.entry, gateway, origin)


def check_receipt(octets: bytes, entry: bytes, gateway: bytes, origin: str) -> tuple[int, int, bytes]:
    """The index, size and root of a receipt (§5.2) that holds for an entry."""
    protected, unprotected, payload, signature = unpack(octets).value
    claims = {1: did_of(gateway), 2: origin}
    need(unpack(protected) == {1: -8, 4: kid_of(gateway), 15: claims, 395: 1} and payload is None)
    need(set(unprotected) == {396} and set(unprotected[396]) == {-1} and len(unprotected[396][-1]) == 1)
    size, index, path = unpack(unprotected[396][-1][0])
    need(is_uint(size, 1 << 63) and is_uint(index, size) and all(len(each) == 32 for each in path))
    root = root_from(entry, index, size, path)
    verify(gateway, to_be_signed(protected, root), signature)
    return index, size, root


def check_tlog_proof(text: bytes, entry: bytes, origin: str, key: bytes) -> tuple[int, bytes]:
    """The index of an entry, and the checkpoint with its lines of witnesses, of a tlog-proof that holds (§11.2)."""
    match = re.fullmatch(
        rf"c2sp\.org/tlog-proof@v1\nindex (0|[1-9][0-9]*)\n((?:{LINE}\n){{0,63}})\n(.*)", text.decode(), re.DOTALL
    )
    if match is None:
        raise Refused
    note = match[3].encode()
    signed, _ = cosignatures(note)
    name, size, root, _, empty, line, _ = signed.decode().split("\n")
    need(name == origin and empty == "" and line.startswith(f"\u2014 {origin} "))
    blob = plain(line.removeprefix(f"\u2014 {origin} "))
    need(len(blob) == 68 and blob[:4] == sha256(origin.encode(), b"\n\1", key)[:4])
    verify(key, signed[: signed.index(b"\n\n") + 1], blob[4:])
    path = [plain(each) for each in match[2].splitlines()]
    need(root_from(entry, int(match[1]), int(size), path) == plain(root))
    return int(match[1]), note
