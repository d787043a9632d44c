"""A second reader of beacons and of Ethereum's blocks and evidence, written from docs/protocol.md alone (§6, §7.1)."""

import re
from typing import Any

from second_statement import is_octets, is_uint, need, unpack

CAIP2 = "[-a-z0-9]{3,8}:[-_a-zA-Z0-9]{1,32}"


def keccak256(message: bytes) -> bytes:
    state, rate = [[0] * 5 for _ in range(5)], 136
    padded = bytearray(message + b"\1" + bytes(-(len(message) + 1) % rate))
    padded[-1] |= 0x80
    for start in range(0, len(padded), rate):
        for lane in range(rate // 8):
            word = padded[start + 8 * lane : start + 8 * lane + 8]
            state[lane % 5][lane // 5] ^= int.from_bytes(word, "little")
        permute(state)
    return b"".join(state[lane][0].to_bytes(8, "little") for lane in range(4))


def permute(a: list[list[int]]) -> None:
    """Keccak-f[1600] in place; round constants come from their shift register."""
    register = 1
    for turned in range(24):
        parity = [a[x][0] ^ a[x][1] ^ a[x][2] ^ a[x][3] ^ a[x][4] for x in range(5)]
        for x in range(5):
            effect = parity[x - 1] ^ turn(parity[(x + 1) % 5], 1)
            a[x] = [lane ^ effect for lane in a[x]]
        x, y, current = 1, 0, a[1][0]
        for step in range(24):
            x, y = y, (2 * x + 3 * y) % 5
            current, a[x][y] = a[x][y], turn(current, (step + 1) * (step + 2) // 2 % 64)
        for y in range(5):
            row = [a[x][y] for x in range(5)]
            for x in range(5):
                a[x][y] = row[x] ^ (~row[(x + 1) % 5] & row[(x + 2) % 5])
        for bit in range(7):
            if turned or bit:
                register = register << 1 ^ (register >> 7) * 0x171
            if register & 1:
                a[0][0] ^= 1 << ((1 << bit) - 1)


def turn(word: int, by: int) -> int:
    return (word << by | word >> (64 - by)) & (1 << 64) - 1


def rlp(octets: bytes) -> Any:
    value, rest = rlp_item(octets)
    need(not rest)
    return value


def rlp_item(octets: bytes) -> tuple[Any, bytes]:
    need(octets)
    first, size = octets[0], 0
    if first < 0x80:
        return octets[:1], octets[1:]
    length = first - (0xC0 if first >= 0xC0 else 0x80)
    if length > 55:
        size, length = length - 55, int.from_bytes(octets[1 : length - 54], "big")
        need(length > 55 and octets[1])
    body, rest = octets[1 + size : 1 + size + length], octets[1 + size + length :]
    need(len(body) == length)
    if first < 0xC0:
        need(length != 1 or body[0] >= 0x80)
        return body, rest
    items = []
    while body:
        item, body = rlp_item(body)
        items.append(item)
    return items, rest


def rlp_of(value: int) -> bytes:
    octets = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return octets if 0 < value < 0x80 else bytes([0x80 + len(octets)]) + octets


def number(octets: Any) -> int:
    need(type(octets) is bytes and len(octets) <= 8 and octets[:1] != b"\0")
    return int.from_bytes(octets, "big")


def sources(message: bytes) -> list[list[Any]]:
    """What a beacon's message names: [chain, height, hash, time] of each source."""
    value = unpack(message)
    need(len(message) <= 512 and type(value) is list and len(value) == 2)
    need(is_uint(value[0], 2, 1) and type(value[1]) is list and 1 <= len(value[1]) <= 4)
    for source in value[1]:
        need(type(source) is list and len(source) == 4)
        chain, height, digest, time = source
        need(type(chain) is str and re.fullmatch(CAIP2, chain) and is_octets(digest, 32))
        need(is_uint(height, 1 << 64) and is_uint(time, 1 << 64))
    return list(value[1])


def chain_block(chain: str, header: bytes) -> tuple[str, int, bytes, int]:
    """(chain, number, hash, time) of a block header's RLP."""
    need(re.fullmatch("eip155:[1-9][0-9]*", chain) and len(header) <= 4096)
    fields = rlp(header)
    need(type(fields) is list and len(fields) >= 15 and all(type(field) is bytes for field in fields))
    need([len(field) for field in fields[:7]] == [32, 32, 20, 32, 32, 32, 256])
    return chain, number(fields[8]), keccak256(header), number(fields[11])


def in_trie(root: bytes, key: bytes, nodes: list[bytes]) -> bytes:
    path, reference = key.hex(), root
    while True:
        if type(reference) is bytes:
            need(nodes and keccak256(nodes[0]) == reference)
            reference, nodes = rlp(nodes[0]), nodes[1:]
        node = reference
        need(type(node) is list and len(node) in (2, 17))
        if len(node) == 17:
            reference, path, ends = (node[int(path[0], 16)], path[1:], False) if path else (node[16], "", True)
        else:
            coded = node[0].hex()
            part = coded[1:] if coded[0] in "13" else coded[2:]
            need(coded[0] in "0123" and path.startswith(part))
            reference, path, ends = node[1], path[len(part) :], coded[0] in "23"
        if ends:
            need(not path and not nodes and reference)
            return bytes(reference)


def anchored(chain: str, octets: bytes, digest: bytes) -> tuple[str, int, bytes, int]:
    evidence = unpack(octets)
    need(type(evidence) is list and [type(part) for part in evidence] == [bytes, int, list])
    header, index, nodes = evidence
    need(is_uint(index, 1 << 64) and len(nodes) <= 16 and all(type(node) is bytes for node in nodes))
    block = chain_block(chain, header)
    transaction = in_trie(rlp(header)[4], rlp_of(index), nodes)
    if transaction[0] >= 0xC0:
        fields = rlp(transaction)
        need(len(fields) == 9 and number(fields[6]) >= 37)
        chain_id, calldata = (number(fields[6]) - 35) // 2, fields[5]
    else:
        fields, place = rlp(transaction[1:]), {1: 6, 2: 7}.get(transaction[0])
        need(place and len(fields) == {1: 11, 2: 12}[transaction[0]])
        chain_id, calldata = number(fields[0]), fields[place or 0]
    need(chain == f"eip155:{chain_id}" and calldata == digest)
    return block
