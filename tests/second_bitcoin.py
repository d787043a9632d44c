"""A second reader of Bitcoin's headers and of OpenTimestamps, written from docs/protocol.md alone (§6, §7.2)."""

from second_statement import Refused, need, sha256, unpack

FILE = b"\0OpenTimestamps\0\0Proof\0" + bytes.fromhex("bf89e2e884e89294 01 08")
ATTESTATION = bytes.fromhex("00 0588960d73d71901")
APPEND, PREPEND, SHA256 = b"\xf0", b"\xf1", b"\x08"
EASIEST = {
    "bip122:000000000019d6689c085ae165831e93": 1 << 184,
    "bip122:000000000933ea01ad0ee984209779ba": 0xFFFF << 208,
    "bip122:00000000da84f2bafbbc53dee25a72ae": 0xFFFF << 208,
    "bip122:00000008819873e925422c1ff0f99f7c": 0x377AE << 216,
    "bip122:0f9188f13cb7b2c71f2a335e3a4fc328": 0x7FFFFF << 232,
}


def chain_block(chain: str, header: bytes, height: int) -> tuple[str, int, bytes, int]:
    """(chain, height, hash, time) of a block header; the height is another's word."""
    need(chain in EASIEST and len(header) == 80)
    mantissa, size, digest = int.from_bytes(header[72:75], "little"), header[75], sha256(sha256(header))
    need(0 < mantissa < 1 << 23 and 3 <= size <= 32)
    need(int.from_bytes(digest, "little") <= mantissa << 8 * (size - 3) <= EASIEST[chain])
    return chain, height, digest[::-1], int.from_bytes(header[68:72], "little")


def number(octets: bytes) -> tuple[int, bytes]:
    """A number and what follows it."""
    value = 0
    for at, octet in enumerate(octets[:9]):
        value |= (octet & 0x7F) << 7 * at
        if octet < 0x80:
            need(octet or at == 0)
            return value, octets[at + 1 :]
    raise Refused


def walk(message: bytes, timestamp: bytes, most: int = 160) -> tuple[bytes, int]:
    """The message that a timestamp makes of this one, and the height at its end."""
    for _ in range(most + 1):
        if timestamp.startswith(ATTESTATION):
            size, attested = number(timestamp[len(ATTESTATION) :])
            height, rest = number(attested)
            need(len(attested) == size and not rest)
            return message, height
        message, timestamp = operated(message, timestamp)
    raise Refused


def operated(message: bytes, timestamp: bytes) -> tuple[bytes, bytes]:
    """The message behind the next operation, and what follows it."""
    operation, rest = timestamp[:1], timestamp[1:]
    if operation == SHA256:
        return sha256(message), rest
    need(operation in (APPEND, PREPEND))
    size, rest = number(rest)
    need(1 <= size <= len(rest) and len(message) + size <= 4096)
    argument = rest[:size]
    return message + argument if operation == APPEND else argument + message, rest[size:]


def anchored(chain: str, octets: bytes, digest: bytes) -> tuple[str, int, bytes, int]:
    evidence = unpack(octets)
    need(type(evidence) is list and [type(part) for part in evidence] == [bytes, bytes])
    timestamp, header = evidence
    root, height = walk(digest, timestamp)
    block = chain_block(chain, header, height)
    need(root == header[36:68])
    return block


def file_of(entry: bytes, path: list[tuple[bytes, bytes]], header: bytes, timestamp: bytes) -> bytes:
    """The complete `.ots` file of a statement; `path` has (left, right) from its leaf up, the empty one its own."""
    tree = [with_argument(PREPEND, b"\0") + SHA256]
    tree += [with_argument(PREPEND, b"\1" + left) + with_argument(APPEND, right) + SHA256 for left, right in path]
    block = with_argument(PREPEND, header[:96]) + with_argument(APPEND, header[128:]) + SHA256
    return b"".join([FILE, entry, *tree, block, timestamp])


def with_argument(operation: bytes, argument: bytes) -> bytes:
    return operation + bytes([len(argument)]) + argument if argument else b""


def read_file(octets: bytes) -> tuple[bytes, bytes, int]:
    """(digest of the stamped file, Merkle root, height) of a complete `.ots` file."""
    need(octets.startswith(FILE) and len(octets) >= len(FILE) + 32)
    digest = octets[len(FILE) : len(FILE) + 32]
    return digest, *walk(digest, octets[len(FILE) + 32 :], 255)
