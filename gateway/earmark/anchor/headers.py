"""Headers of Bitcoin blocks from those who have them: Bitcoin Core, or a block explorer that speaks Esplora's HTTP."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median_low
from typing import Any, Protocol, TypeVar

from earmark.anchor.http import Http
from earmark.anchor.pace import Pace
from earmark.anchor.rpc import Rpc
from earmark.errors import AnchorError, ProofError
from earmark.evidence.bitcoin import HEADER_SIZE, check_bitcoin_header, merkle_root
from earmark.evidence.chain import ChainBlock

TIMEOUT_S = 10.0
BELOW_TIP = 2
"""How deep a beacon's block is: the newest blocks are the ones that go away again."""

BEHIND_S = 4 * 3600
"""A source whose newest block is so much older than another's is behind: four hours without a block are rarer than once
in a hundred thousand years, and two hours are what Bitcoin's own clock may be off by."""

KEPT_S = 60.0
_MOST_TEXT = 1_000
_MOST_KEPT = 256
_MOST_HEIGHT = 1 << 31

T = TypeVar("T")


class HeaderSource(Protocol):
    """Somebody who knows a Bitcoin chain.  All methods raise `AnchorError` where there is no good answer."""

    @property
    def endpoint(self) -> str:
        """What messages call it."""

    def tip(self) -> int:
        """Return the height of its newest block."""

    def hash(self, height: int) -> bytes:
        """Return the hash of its block at a height, 32 bytes as explorers write it."""

    def header(self, block: bytes) -> bytes:
        """Return the header of the block with this hash."""


class CoreHeaders:
    """Headers from a Bitcoin Core node over JSON-RPC."""

    def __init__(self, rpc: Rpc, endpoint: str) -> None:
        self._rpc = rpc
        self.endpoint = endpoint

    def tip(self) -> int:
        """Return the height of its newest block."""
        return _height(self._rpc.call("getblockcount", []))

    def hash(self, height: int) -> bytes:
        """Return the hash of its block at a height."""
        return _octets(self._rpc.call("getblockhash", [height]), 32)

    def header(self, block: bytes) -> bytes:
        """Return the header of a block."""
        return _octets(self._rpc.call("getblockheader", [block.hex(), False]), HEADER_SIZE)


class EsploraHeaders:
    """Headers from an Esplora HTTP interface, such as https://blockstream.info/api."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        self._http = Http(url, timeout_s)
        self.endpoint = self._http.endpoint

    def tip(self) -> int:
        """Return the height of its newest block."""
        text = self._ask("/blocks/tip/height")
        return _height(int(text) if len(text) < 20 and text.isdecimal() else text)

    def hash(self, height: int) -> bytes:
        """Return the hash of its block at a height."""
        return _octets(self._ask(f"/block-height/{height}"), 32)

    def header(self, block: bytes) -> bytes:
        """Return the header of a block."""
        return _octets(self._ask(f"/block/{block.hex()}/header"), HEADER_SIZE)

    def _ask(self, path: str) -> str:
        status, body = self._http.get(path, {"Accept": "text/plain", "User-Agent": "earmark"}, _MOST_TEXT)
        if status != 200:
            raise AnchorError(f"{self.endpoint} answered {path} with HTTP {status}")
        return body.decode("ascii", "replace").strip()


@dataclass(frozen=True, slots=True)
class Held:
    """A block of the chain with its header, and how deep it is: 1 for the newest."""

    block: ChainBlock
    header: bytes
    depth: int


class Headers:
    """A Bitcoin chain as several sources know it; one caller at a time.

    Nothing is taken from a source but what `check_bitcoin_header` admits under the hash that the source itself names
    for the height, and only where its first block is the chain's.  A source can still hold back the newest blocks, or
    serve a chain that it mined itself with all the work that a header must show; that holds up, but makes nothing
    final, where another one answers too.  Answers are kept for `KEPT_S`.
    """

    def __init__(
        self, chain: str, sources: Sequence[HeaderSource], clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not sources:
            raise AnchorError("no source of Bitcoin headers is set: what calendars answer cannot be checked")
        self._chain = chain
        self._views = [_View(chain, source, clock) for source in sources]

    def holding(self, height: int, root: bytes) -> Held | None:
        """Return the block at a height where its Merkle root is this one; None where the chain has another there.

        All sources that answer have to agree on it, and its depth is below the lowest of their newest blocks: 1 also
        where that is yet below it.  `AnchorError` where nobody can say: no source answers, none has come to that height
        yet, or they disagree.
        """
        troubles, tips, found = [], [], []
        for view in self._views:
            try:
                tips.append(view.tip())
                found.append((view.endpoint, view.at(height)))
            except AnchorError as error:
                troubles.append(str(error))
        if not found:
            raise AnchorError("; ".join(dict.fromkeys(troubles)))
        by, held = next(((by, held) for by, held in found if merkle_root(held.header) == root), found[0])
        if merkle_root(held.header) != root:
            return None
        for other, shown in found:
            if shown.header != held.header:
                raise AnchorError(f"{by} and {other} have different blocks {height}: one of them is behind, or lies")
        return replace(held, depth=max(1, min(tips) - height + 1))

    def head(self) -> tuple[ChainBlock, bytes]:
        """Return a block that is two below the newest, and its header; `AnchorError` where no source has it.

        Sources whose newest block is hours older than another's do not count: they are behind, or call an old block a
        high one, and a newer one than there is costs the work of a block.  Of the others it is the block that most of
        them have, two below the middle one of their newest, and no old one, since a source may call a new block a low
        one; where they are even the first in the settings is believed.
        """
        tops = self._answers(lambda view: view.at(max(0, view.tip() - BELOW_TIP)), self._views)
        since_s = max(held.block.time_s for _, held in tops) - BEHIND_S
        fresh = [view for view, held in tops if held.block.time_s >= since_s]
        height = median_low(held.block.number for _, held in tops if held.block.time_s >= since_s)
        answers = self._answers(lambda view: view.at(height), fresh)
        shown = [held for _, held in answers if held.block.time_s >= since_s]
        if not shown:
            raise AnchorError(f"all that the sources show of their block {height} is hours old")
        votes = Counter(held.header for held in shown)
        chosen = max(shown, key=lambda held: votes[held.header])
        return chosen.block, chosen.header

    @staticmethod
    def _answers(ask: "Callable[[_View], Held]", views: "Sequence[_View]") -> "list[tuple[_View, Held]]":
        """Return what those say that answer; `AnchorError` where nobody does."""
        troubles, found = [], []
        for view in views:
            try:
                found.append((view, ask(view)))
            except AnchorError as error:
                troubles.append(str(error))
        if not found:
            raise AnchorError("; ".join(dict.fromkeys(troubles)))
        return found


class _View:
    """The chain as one source shows it."""

    def __init__(self, chain: str, source: HeaderSource, clock: Callable[[], float]) -> None:
        self.endpoint = source.endpoint
        self._chain = chain
        self._source = source
        self._clock = clock
        self._pace = Pace(clock)
        self._is_checked = False
        self._tip: tuple[float, int] | None = None
        self._seen: dict[int, tuple[float, ChainBlock, bytes]] = {}

    def tip(self) -> int:
        """Return the height of the newest block."""
        if self._tip is None or self._clock() >= self._tip[0]:
            self._tip = self._clock() + KEPT_S, self._judged(self._fetch_tip)
        return self._tip[1]

    def at(self, height: int) -> Held:
        """Return the block at a height."""
        tip = self.tip()
        if not 0 <= height <= tip:
            raise AnchorError(f"{self._source.endpoint} knows no block {height} yet")
        kept = self._seen.get(height)
        if kept is None or self._clock() >= kept[0]:
            block, header = self._judged(lambda: self._fetch(height))
            if len(self._seen) >= _MOST_KEPT:
                self._seen.clear()
            self._seen[height] = kept = self._clock() + KEPT_S, block, header
        return Held(kept[1], kept[2], tip - height + 1)

    def _judged(self, ask: Callable[[], T]) -> T:
        if self._pace.is_resting:
            raise AnchorError(self._pace.trouble or f"{self._source.endpoint} is slow, and is not asked for a while")
        return self._pace.judge(ask)

    def _fetch_tip(self) -> int:
        if not self._is_checked:
            first = self._source.hash(0).hex()
            if first[:32] != self._chain.partition(":")[2]:
                raise AnchorError(f"{self._source.endpoint} does not serve {self._chain}: correct the configuration")
            self._is_checked = True
        return self._source.tip()

    def _fetch(self, height: int) -> tuple[ChainBlock, bytes]:
        named = self._source.hash(height)
        header = self._source.header(named)
        try:
            block = check_bitcoin_header(self._chain, header, height)
        except ProofError as error:
            raise AnchorError(f"{self._source.endpoint}, block {height}: {error}") from error
        if block.hash != named:
            raise AnchorError(f"{self._source.endpoint} gives another block's header for its block {height}")
        return block, header


def _height(answer: Any) -> int:
    if type(answer) is not int or not 0 <= answer < _MOST_HEIGHT:
        raise AnchorError(f"{str(answer)[:20]!r} where the height of a Bitcoin block should be")
    return answer


def _octets(answer: Any, size: int) -> bytes:
    try:
        octets = bytes.fromhex(answer)
    except (ValueError, TypeError):
        octets = b""
    if len(octets) != size:
        raise AnchorError(f"{str(answer)[:20]!r} where {size} bytes in hexadecimal digits should be")
    return octets
