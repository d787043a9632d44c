"""A second reader of cosignatures and consistency files, written from docs/protocol.md §5.4 and §5.5 alone."""

import base64
import re
from itertools import pairwise

from second_statement import Refused, need, sha256, verify

LINE = re.compile(r"\u2014 ([!-*,-~]{1,128}) ([A-Za-z0-9+/]{102}==)")


def plain(text: str) -> bytes:
    """The bytes of canonical base64."""
    try:
        octets = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise Refused from error
    need(base64.b64encode(octets).decode() == text)
    return octets


def key_of_witness(text: str) -> tuple[str, bytes, bytes]:
    """The name, key id and key of a witness' verifier key."""
    match = re.fullmatch(r"([!-*,-~]{1,128})\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})", text)
    need(match)
    name, identifier, encoded = match.groups()  # type: ignore[union-attr]
    octets = plain(encoded)
    need(octets[0] == 4 and sha256(name.encode(), b"\n", octets)[:4].hex() == identifier)
    return name, octets[:0] + bytes.fromhex(identifier), octets[1:]


def cosignatures(checkpoint: bytes) -> tuple[bytes, list[tuple[str, bytes, int, bytes]]]:
    """A checkpoint up to the gateway's line, and (name, key id, time, signature) of each line after it."""
    try:
        lines = checkpoint.decode().split("\n")
    except UnicodeDecodeError as error:
        raise Refused from error
    need(len(lines) >= 7 and lines[-1] == "" and len(lines) - 7 <= 16)
    found = []
    for line in lines[6:-1]:
        match = LINE.fullmatch(line)
        need(match)
        octets = plain(match[2])  # type: ignore[index]
        time_s = int.from_bytes(octets[4:12], "big")
        need(1 <= time_s < 1 << 63)
        found.append((match[1], octets[:4], time_s, octets[12:]))  # type: ignore[index]
    need(all(a[:2] < b[:2] for a, b in pairwise(found)))
    return "\n".join([*lines[:6], ""]).encode(), found


def check_witness(checkpoint: bytes, vkey: str) -> int | None:
    """The time at which a witness cosigned, None where it did not."""
    name, identifier, key = key_of_witness(vkey)
    signed, found = cosignatures(checkpoint)
    text = signed[: signed.index(b"\n\n") + 1]
    for whose, number, time_s, signature in found:
        if (whose, number) == (name, identifier):
            verify(key, b"cosignature/v1\ntime " + str(time_s).encode() + b"\n" + text, signature)
            return time_s
    return None


def root_pair(old: int, new: int, proof: list[bytes], old_root: bytes) -> tuple[bytes, bytes]:
    """RFC 9162 §2.1.4: the two roots that a consistency proof leads to, by recursion over the tree's division."""
    hashes = list(proof)

    def walk(low: int, high: int, whole: bool) -> tuple[bytes, bytes]:
        """(hash of what the old tree has here, hash of all here)."""
        if high <= old:
            if whole:
                return old_root, old_root
            need(hashes)
            node = hashes.pop(0)
            return node, node
        middle = low + (1 << (high - low - 1).bit_length() - 1)
        if old <= middle:
            left = walk(low, middle, whole)
            need(hashes)
            return left[0], sha256(b"\1", left[1], hashes.pop(0))
        right = walk(middle, high, False)
        need(hashes)
        node = hashes.pop(0)
        return sha256(b"\1", node, right[0]), sha256(b"\1", node, right[1])

    pair = walk(0, new, True)
    need(not hashes)
    return pair


def check_consistency_file(octets: bytes, origin: str, key: bytes) -> tuple[int, int]:
    """The heights of the two blocks that a file shows to be of one history."""
    b64 = "[A-Za-z0-9+/]"
    note = rf"([^\n]+)\n(0|[1-9][0-9]*)\n({b64}{{43}}=)\nearmark-block (0|[1-9][0-9]*) ({b64}{{43}}=)\n"
    note += rf"\n\u2014 ([^\n ]+) ({b64}{{91}}=)\n"
    form = rf"({note})\nold (0|[1-9][0-9]*)\n((?:{b64}{{43}}=\n){{0,63}})\n({note})"
    match = re.fullmatch(form, octets.decode())
    need(match)
    groups = match.groups()  # type: ignore[union-attr]
    notes = []
    for at in (0, 10):
        whole, name, size, root, height, block, signer, blob = groups[at : at + 8]
        signed = plain(blob)
        need(name == signer == origin and signed[:4] == sha256(origin.encode(), b"\n\1", key)[:4])
        verify(key, whole[: whole.index("\n\n") + 1].encode(), signed[4:])
        notes.append((int(size), plain(root), int(height), plain(block)))
    (old, old_root, first, old_block), (new, new_root, last, new_block) = notes
    need(int(groups[8]) == old and first <= last and (old == new) == (first == last) and 0 < old <= new)
    proof = [plain(line) for line in groups[9].splitlines()]
    if old == new:
        need(not proof and (old_root, old_block) == (new_root, new_block))
    else:
        need(root_pair(old, new, proof, old_root) == (old_root, new_root))
    return first, last
