"""Calendars, a Bitcoin chain and its explorer on loopback, all of which can fail and lie."""

import contextlib
import hashlib
import http.server
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from earmark import ots
from earmark.anchor.calendars import CalendarsTarget
from earmark.anchor.headers import Headers
from earmark.anchor.target import Place, Progress, Signed, State
from earmark.anchoring import UNLIMITED
from earmark.errors import AnchorError
from earmark.evidence import ChainBlock
from earmark.evidence.bitcoin import (
    EASIEST,
    OTS,
    REGTEST,
    check_bitcoin_header,
    double_sha256,
    encode_ots,
    merkle_root,
)

DIGEST = bytes(range(32))

GENESIS = bytes.fromhex(
    "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e"
    "67768f617fc81bc3888a51323a9fb8aa4b1e5e4adae5494dffff7f2002000000"
)
"""Regtest's first header."""


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s

    def now_ms(self) -> int:
        return round(self.now_s * 1000)


class Chain:
    """A chain of headers with regtest's work, mined here."""

    def __init__(self, blocks: int = 3) -> None:
        self.headers = [GENESIS]
        self.mine(count=blocks)

    @property
    def height(self) -> int:
        return len(self.headers) - 1

    def mine(self, root: bytes = b"", count: int = 1) -> int:
        """Mine so many blocks, the first of them over a Merkle root, and return that one's height."""
        first = self.height + 1
        for at in range(count):
            given = root if at == 0 and root else secrets.token_bytes(32)
            self.headers.append(mined(self.headers[-1], given, self.height + 1))
        return first

    def drop(self, count: int) -> None:
        """Take the newest blocks away."""
        del self.headers[len(self.headers) - count :]


def mined(before: bytes, root: bytes, height: int) -> bytes:
    """A header on another with the work that regtest asks for."""
    head = (4).to_bytes(4, "little") + double_sha256(before) + root
    head += (1_790_000_000 + 600 * height).to_bytes(4, "little") + bytes.fromhex("ffff7f20")
    for nonce in range(1 << 20):
        header = head + nonce.to_bytes(4, "little")
        if int.from_bytes(double_sha256(header), "little") <= EASIEST[REGTEST]:
            return header
    raise AssertionError("no nonce was found")


class ChainSource:
    """A `HeaderSource` over such a chain; `down` makes it fail, `bend` changes the headers that it gives."""

    def __init__(self, chain: Chain, endpoint: str = "http://headers.example") -> None:
        self.chain = chain
        self.endpoint = endpoint
        self.down = False
        self.behind = 0
        self.bend: Callable[[bytes], bytes] = lambda header: header
        self.calls = 0
        self._named: dict[bytes, bytes] = {}

    def tip(self) -> int:
        self._call()
        return self.chain.height - self.behind

    def hash(self, height: int) -> bytes:
        self._call()
        bent = self.bend(self.chain.headers[height])
        named = double_sha256(bent)[::-1]
        self._named[named] = bent
        return named

    def header(self, block: bytes) -> bytes:
        self._call()
        return self._named[block]  # also of a block that is no longer in the chain, as real nodes do

    def _call(self) -> None:
        self.calls += 1
        if self.down:
            raise AnchorError(f"{self.endpoint} is unavailable (on purpose)")


@dataclass(slots=True)
class Reply:
    """What a server answers; `drip_s` between two bytes of it, `length` in place of the true one."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    drip_s: float = 0.0
    length: int | None = None


class Server(http.server.ThreadingHTTPServer):
    """An HTTP server on loopback whose answers `respond` gives, for a method, path and body."""

    daemon_threads = True

    def __init__(self, respond: Callable[[str, str, bytes], Reply]) -> None:
        super().__init__(("127.0.0.1", 0), _Exchange)
        self.respond = respond
        self.requests: list[tuple[str, str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: Any) -> None:
        """A client that gave up waiting is no error here."""


class _Exchange(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        self.server.requests.append((self.command, self.path, dict(self.headers)))
        reply = self.server.respond(self.command, self.path, body)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body) if reply.length is None else reply.length))
        self.end_headers()
        for octet in reply.body if reply.drip_s else []:
            self.wfile.write(bytes([octet]))
            self.wfile.flush()
            time.sleep(reply.drip_s)
        if not reply.drip_s:
            self.wfile.write(reply.body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serving(*servers: Server) -> Iterator[None]:
    """Serve for the length of the block."""
    threads = [threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()


class Calendar(Server):
    """A calendar over a chain.  It keeps what it answered, and `complete` puts all that waits into a block.

    `posts` and `gets` hold faults, the next one first: each is called with the answer that would have been given and
    returns another, or raises `Silent` to give none after doing everything else.
    """

    def __init__(self, chain: Chain) -> None:
        super().__init__(self._respond)
        self.chain = chain
        self.uri = ""
        self.waiting: dict[bytes, bytes] = {}
        self.done: dict[bytes, bytes] = {}
        self.posts: list[Callable[[Reply], Reply]] = []
        self.gets: list[Callable[[Reply], Reply]] = []
        self.forgets = False
        self.digests: list[bytes] = []

    def _respond(self, method: str, path: str, body: bytes) -> Reply:
        if method == "POST" and path == "/digest":
            faults, reply = self.posts, Reply(200, self._take(body))
        elif method == "GET" and path.startswith("/timestamp/"):
            faults, reply = self.gets, self._look(bytes.fromhex(path.removeprefix("/timestamp/")))
        else:
            return Reply(400)
        return faults.pop(0)(reply) if faults else reply

    def _take(self, digest: bytes) -> bytes:
        ops = (ots.append(secrets.token_bytes(16)), ots.HASH, ots.prepend(b"time"), ots.append(b"mac-mac-"))
        self.digests.append(digest)
        if not self.forgets:
            self.waiting[ots.commit(digest, ops)] = b""
        return ots.encode([ots.Branch(ops, ots.pending(self.uri or self.url))])

    def _look(self, commitment: bytes) -> Reply:
        if commitment in self.done:
            return Reply(200, self.done[commitment])
        return Reply(404, b"Pending confirmation in Bitcoin blockchain")

    def complete(self, *beside: "Calendar") -> int:
        """Put what waits here into a block, and what waits at others into the same one; return its height."""
        calendars = (self, *beside)
        ops, root = way_to_root({commitment for calendar in calendars for commitment in calendar.waiting})
        height = self.chain.mine(root)
        for calendar in calendars:
            for commitment in calendar.waiting:
                calendar.done[commitment] = ots.encode([ots.Branch(ops[commitment], ots.bitcoin(height))])
            calendar.waiting.clear()
        return height

    def undo(self) -> None:
        """Have wait again what was in blocks that the chain no longer has, as after a reorganisation."""
        for commitment, rest in list(self.done.items()):
            [way] = ots.decode(rest)
            height = way.attestation.height or 0
            root = ots.commit(commitment, way.ops)
            if height > self.chain.height or merkle_root(self.chain.headers[height]) != root:
                self.waiting[commitment] = b""
                del self.done[commitment]


class MiningTarget:
    """A `Target` that puts each digest into a block of its own; final at a depth of `depth`."""

    def __init__(self, chain: Chain, depth: int = 2) -> None:
        self.place = Place("miner", OTS, REGTEST, 3)
        self.chain = chain
        self.depth = depth
        self.sent: dict[bytes, tuple[int, ots.Branch]] = {}
        self.is_down = False

    def sign(self, digest: bytes, most: int) -> Signed:
        return Signed(digest)

    def send(self, payload: bytes) -> bytes:
        if self.is_down:
            raise AnchorError("the miner is down on purpose")
        if payload not in self.sent:
            ops = (ots.prepend(b"transaction"), ots.HASH, ots.HASH)
            height = self.chain.mine(ots.commit(payload, ops))
            self.sent[payload] = height, ots.Branch(ops, ots.bitcoin(height))
        return payload

    def replace(self, payload: bytes, most: int) -> Signed:
        return Signed(payload)

    def poll(self, payload: bytes) -> Progress:
        if payload not in self.sent:
            return Progress("unknown", "")
        height, way = self.sent[payload]
        header = self.chain.headers[height]
        block = check_bitcoin_header(REGTEST, header, height)
        depth = self.chain.height - height + 1
        state: State = "final" if depth >= self.depth else "mined"
        return Progress(state, "block", block, depth, encode_ots(way, header))

    def head(self) -> tuple[ChainBlock, bytes]:
        header = self.chain.headers[-1]
        return check_bitcoin_header(REGTEST, header, self.chain.height), header

    def anchors_left(self) -> int | None:
        return None


def way_to_root(commitments: set[bytes]) -> tuple[dict[bytes, tuple[ots.Op, ...]], bytes]:
    """The operations from each commitment to one message of 32 bytes, in a chain of siblings, and that message."""
    if not commitments:
        return {}, secrets.token_bytes(32)
    leaves = sorted(commitments)
    ways: dict[bytes, tuple[ots.Op, ...]] = {leaves[0]: (ots.HASH,)}
    root = hashlib.sha256(leaves[0]).digest()
    for leaf in leaves[1:]:
        step = (ots.append(leaf), ots.HASH)
        ways = {other: (*ops, *step) for other, ops in ways.items()}
        ways[leaf] = (ots.prepend(root), ots.HASH)
        root = hashlib.sha256(root + leaf).digest()
    return ways, root


def explorer(chain: Chain) -> Server:
    """An Esplora interface over a chain."""

    def respond(method: str, path: str, body: bytes) -> Reply:
        words = path.strip("/").split("/")
        by_hash = {double_sha256(header)[::-1].hex(): header for header in chain.headers}
        if words == ["blocks", "tip", "height"]:
            return Reply(200, str(chain.height).encode())
        if words[0] == "block-height" and int(words[1]) <= chain.height:
            return Reply(200, double_sha256(chain.headers[int(words[1])])[::-1].hex().encode())
        if words[0] == "block" and words[1] in by_hash:
            return Reply(200, by_hash[words[1]].hex().encode())
        return Reply(404, b"Block not found")

    return Server(respond)


class Scene:
    """Three calendars, a chain, one source of its headers, and a target over them."""

    def __init__(self, count: int = 3) -> None:
        self.chain = Chain()
        self.clock = Clock()
        self.source = ChainSource(self.chain)
        self.calendars = [Calendar(self.chain) for _ in range(count)]
        self.target = self.open()

    def open(self, **options: float) -> CalendarsTarget:
        """Make the target anew, as after a restart."""
        urls = [calendar.url for calendar in self.calendars]
        headers = Headers(REGTEST, [self.source], self.clock)
        settings = {"ask_every_s": 60.0, "timeout_s": 0.3} | options
        self.target = CalendarsTarget(urls, headers, chain=REGTEST, clock=self.clock, **settings)  # type: ignore[arg-type]
        return self.target

    def send(self) -> bytes:
        return self.target.send(self.target.sign(DIGEST, UNLIMITED).payload)

    def poll(self, payload: bytes, after_s: float = 0.0) -> tuple[bytes, Progress]:
        """Poll when that time has passed, and keep what is to be kept."""
        self.clock.now_s += after_s
        progress = self.target.poll(payload)
        return progress.payload or payload, progress
