"""A client of a log over HTTP, written from C2SP tlog-tiles, tlog-checkpoint and signed-note alone.

It knows nothing of `earmark`: an address, the log's name and its key are all that it is given.
"""

import base64
import hashlib
import http.client
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from nacl.signing import VerifyKey


def sha256(octets: bytes) -> bytes:
    return hashlib.sha256(octets).digest()


def mth(hashes: list[bytes]) -> bytes:
    """RFC 6962 §2.1 over leaf hashes."""
    if len(hashes) == 1:
        return hashes[0]
    middle = 1 << (len(hashes) - 1).bit_length() - 1
    return sha256(b"\1" + mth(hashes[:middle]) + mth(hashes[middle:]))


def tile_path(level: int | str, number: int, width: int) -> str:
    """The path of a tile or bundle; 256 wide is a full one."""
    digits = f"{number:0{3 * -(-len(str(number)) // 3)}}"
    parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    path = "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])
    return f"/tile/{level}/{path}" + (f".p/{width}" if width < 256 else "")


def tiles(size: int) -> dict[int, list[tuple[int, int]]]:
    """(number, width) of every tile of a tree, by level."""
    found, level = dict[int, list[tuple[int, int]]](), 0
    while count := size >> 8 * level:
        full, rest = divmod(count, 256)
        found[level] = [(number, 256) for number in range(full)] + ([(full, rest)] if rest else [])
        level += 1
    return found


@dataclass(frozen=True)
class Reply:
    """What was answered."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Head:
    """A checkpoint whose signature verified."""

    size: int
    root: bytes
    text: bytes


class Client:
    """Reads one log and believes nothing: each answer is held against the signed root."""

    def __init__(self, port: int, origin: str, key: bytes) -> None:
        self.port, self._origin, self._key = port, origin, key
        self.asked: list[str] = []

    def get(self, path: str, method: str = "GET") -> Reply:
        self.asked.append(path)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, headers={"Accept-Encoding": "gzip, identity"})
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, headers, answer.read())
        finally:
            connection.close()

    def checkpoint(self) -> Head:
        """The newest checkpoint, after its signature by the log was verified."""
        reply = self.get("/checkpoint")
        assert reply.status == 200
        assert reply.headers["content-type"] == "text/plain; charset=utf-8"
        assert reply.headers["cache-control"] == "no-store"
        at = reply.body.rindex(b"\n\n") + 1
        origin, size, root, *_ = reply.body[:at].decode().split("\n")
        assert origin == self._origin
        own = sha256(origin.encode() + b"\n\1" + self._key)[:4]
        blobs = [base64.b64decode(line.split(" ")[2]) for line in reply.body[at + 1 :].decode().splitlines()]
        [signature] = [blob[4:] for blob in blobs if blob[:4] == own]
        VerifyKey(self._key).verify(reply.body[:at], signature)
        return Head(int(size), base64.b64decode(root), reply.body)

    def tile(self, level: int | str, number: int, width: int = 256) -> bytes:
        """A tile or bundle that has to be there, and may be cached for long."""
        reply = self.get(tile_path(level, number, width))
        assert reply.status == 200, self.asked[-1]
        assert reply.headers["content-type"] == "application/octet-stream"
        assert "content-encoding" not in reply.headers
        caching = reply.headers["cache-control"].split(", ")
        assert "immutable" in caching
        assert "max-age=31536000" in caching
        return reply.body

    def hashes(self, head: Head) -> list[bytes]:
        """The leaf hashes of a tree: every tile of it fetched and held against the tiles below and the root."""
        below = list[bytes]()
        leaves = list[bytes]()
        for level, places in tiles(head.size).items():
            joined = b"".join(self.tile(level, *place) for place in places)
            found = [joined[at : at + 32] for at in range(0, len(joined), 32)]
            assert len(found) == head.size >> 8 * level
            if level:
                assert found == [mth(below[256 * at : 256 * at + 256]) for at in range(len(found))]
            below, leaves = found, leaves or found
        assert mth(leaves) == head.root
        return leaves

    def entries(self, head: Head) -> list[bytes]:
        """The entries of a tree, from all of its bundles."""
        found = list[bytes]()
        for place in tiles(head.size)[0]:
            bundle = self.tile("entries", *place)
            while bundle:
                length = int.from_bytes(bundle[:2], "big")
                found.append(bundle[2 : 2 + length])
                bundle = bundle[2 + length :]
        return found

    def range_hash(self, size: int) -> Callable[[int, int], bytes]:
        """A reader of MTH(D[low:high]) in the tree of a size, for the ranges of its division, from its tiles alone."""
        widths = {level: dict(places) for level, places in tiles(size).items()}
        fetched = cache(lambda level, number: self.tile(level, number, widths[level][number]))

        def read(low: int, high: int) -> bytes:
            count = high - low
            if count & (count - 1):
                middle = low + (1 << count.bit_length() - 1)
                return sha256(b"\1" + read(low, middle) + read(middle, high))
            level, inner = divmod(count.bit_length() - 1, 8)
            first = low >> 8 * level
            tile = fetched(level, first // 256)
            at = [32 * (first % 256 + number) for number in range(1 << inner)]
            return mth([tile[place : place + 32] for place in at])

        return read

    def check_inclusion(self, head: Head, index: int, entry: bytes) -> int:
        """An entry is at its index under the head: a path from a few tiles; returns how many hashes it has."""
        read = self.range_hash(head.size)
        low, high, path = 0, head.size, list[tuple[bytes, bool]]()
        while high - low > 1:
            middle = low + (1 << (high - low - 1).bit_length() - 1)
            if index < middle:
                path.append((read(middle, high), False))
                high = middle
            else:
                path.append((read(low, middle), True))
                low = middle
        node = sha256(b"\0" + entry)
        for other, is_left in reversed(path):
            node = sha256(b"\1" + (other + node if is_left else node + other))
        assert node == head.root
        return len(path)

    def check_consistency(self, old: Head, new: Head) -> None:
        """The new tree begins with the old one: both roots from the same nodes of the new tree (RFC 6962 §2.1.2)."""
        read = self.range_hash(new.size)

        def both(low: int, high: int) -> tuple[bytes | None, bytes]:
            """(hash of what the old tree has here, hash of all here)."""
            if high <= old.size:
                node = read(low, high)
                return node, node
            if low >= old.size:
                return None, read(low, high)
            middle = low + (1 << (high - low - 1).bit_length() - 1)
            (before, left), (after, right) = both(low, middle), both(middle, high)
            assert before is not None
            return before if after is None else sha256(b"\1" + before + after), sha256(b"\1" + left + right)

        assert both(0, new.size) == (old.root, new.root)
