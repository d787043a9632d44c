"""The log: the single writer that admits statements, sequences them and seals blocks, docs/protocol.md §4 and §5.

Whatever a method returned is on disk, synced.  Where a write fails, nothing of it has happened, in the store
or in memory, and the exception goes to the caller.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256

from earmark import cose, merkle
from earmark.block import (
    NO_BEACON,
    NO_BLOCK,
    Header,
    check_block,
    decode_checkpoint,
    decode_header,
    origin_hash,
    sign_checkpoint,
    sign_receipt,
)
from earmark.body import BY_OPERATOR
from earmark.errors import (
    BrokenChain,
    CorruptLog,
    EarmarkError,
    EncodingError,
    Equivocation,
    FutureTime,
    MissingPredecessor,
    Rejected,
    UnknownNode,
)
from earmark.registry import Registry
from earmark.statement import NO_ENTRY, REGISTRY, Claims, Statement, decode
from earmark.store import Chain, Entry, Quarantined, SealedBlock, Store
from earmark.tiles import TileTree
from earmark.verifier import Arrival, receive

KEPT_BYTES = 65_536
MAX_AHEAD_S = 300
RETRY_ROWS = 500
TOPIC_CHARACTERS = 200
MESSAGE_CHARACTERS = 500
FORKS = (Equivocation.__name__, BrokenChain.__name__)

Run = tuple[int, int]


@dataclass(slots=True)  # not frozen: one is made for every statement, and that takes three times as long
class Outcome:
    """What became of an arrival: its leaf index (`repeat`: it was there before), or the error it is quarantined
    under.
    """

    arrival: Arrival
    index: int | None = None
    repeat: bool = False
    error: EarmarkError | None = None


class _Pending:
    """Statements that have their leaves and are not yet in the store, in the order of both."""

    __slots__ = ("entries", "grown", "leaves", "rows")

    def __init__(self) -> None:
        self.rows: list[Entry] = []
        self.leaves: list[bytes] = []
        self.entries: list[bytes] = []
        self.grown: dict[int, Chain] = {}


class Log:
    """The log of one gateway over its store; one instance, in one thread of one process, writes."""

    def __init__(
        self,
        store: Store,
        operator: bytes,
        gateway: cose.Signer,
        clock_ms: Callable[[], int],
        max_ahead_s: int = MAX_AHEAD_S,
    ) -> None:
        """Open the log and hold the store against its newest checkpoint; `CorruptLog` where they contradict."""
        self._store = store
        self._operator = operator
        self._gateway = gateway
        self._clock_ms = clock_ms
        self._max_ahead_ms = max_ahead_s * 1000
        self._stale: bool = True
        self.reload()

    def _settle(self) -> None:
        """Take memory from the store, at the start and after a write that failed."""
        if not self._stale:
            return
        self._newest = self._store.newest_block()  # first: another gateway that is just ending may still add leaves
        self._tree = TileTree(self._store.size(), self._store.tile)
        self._chains = {(chain.key, chain.sub): chain for chain in self._store.chains()}
        self._heads: dict[int, bytes] = {}
        self._cleared: set[int] = set()
        self._pending = _Pending()
        self._registry = load_registry(self._store, self._operator)
        self._untried = {node.key for node in self._registry.nodes()}
        self._stale = False

    @property
    def size(self) -> int:
        """The number of leaves."""
        self._settle()
        return self._tree.size

    @property
    def registry(self) -> Registry:
        """Who may sign; it follows the log."""
        self._settle()
        return self._registry

    @property
    def newest(self) -> SealedBlock | None:
        """The newest sealed block."""
        self._settle()
        return self._newest

    def runs(self, key: bytes, sub: str) -> Sequence[Run]:
        """Return the runs of a chain's `seq` that are in the log."""
        self._settle()
        chain = self._chains.get((key, sub))
        return chain.runs if chain else ()

    def reload(self) -> None:
        """Take memory anew from the store: what another process wrote while it had the right to."""
        self._stale = True
        self._settle()
        check_newest(self._store, self._tree, self._newest, self._registry, self._gateway.key)

    def admit(self, arrivals: Sequence[Arrival]) -> list[Outcome]:
        """Admit a batch by the rules of §4.2 in one transaction; what is not admitted is quarantined with its reason.

        Every outcome is on disk when this returns, so the caller may acknowledge it.
        """
        with self._writing():
            latest_s = (self._clock_ms() + self._max_ahead_ms) // 1000
            return [self._follow(arrival, latest_s) or self._place(arrival) for arrival in arrivals]

    def take_submissions(self) -> list[Outcome]:
        """Admit what the operator's commands left in the store."""
        rows = self._store.submitted()
        if not rows:
            return []
        with self._writing():
            outcomes = [self._place(receive(raw, "submission", self._clock_ms())) for _, raw in rows]
            for submission, _ in rows:
                self._store.withdraw(submission)
        return outcomes

    def retry(self) -> list[Outcome]:
        """Try again what was held and may pass now: times that have come, predecessors that arrived, newly enrolled
        nodes, those that this very call enrolled included.
        """
        self._settle()
        outcomes = self._retry(FutureTime) + self._retry(MissingPredecessor)
        while self._untried:
            key = min(self._untried)
            outcomes += self._retry(UnknownNode, key)
            self._untried.discard(key)
        return outcomes

    def _retry(self, reason: type[Rejected], key: bytes | None = None) -> list[Outcome]:
        """Try again what is held for one reason, until nothing of it passes."""
        outcomes: list[Outcome] = []
        while rows := self._store.due(reason.__name__, key, self._clock_ms(), RETRY_ROWS):
            with self._writing():
                tried = [self._place(receive(row.raw, row.topic, row.received_at_ms)) for row in rows]
            outcomes += tried
            if all(type(outcome.error) is reason for outcome in tried):
                break
        return outcomes

    def seal(self, beacon: bytes = NO_BEACON) -> SealedBlock | None:
        """Seal a block over all leaves and sign its checkpoint; None where nothing came since the last one."""
        self._settle()
        last = decode_header(self._newest.header) if self._newest else None
        if self.size == (last.size if last else 0):
            return None
        sealed_at_ms = max(self._clock_ms(), last.sealed_at_ms if last else 0)
        prev = last.hash if last else NO_BLOCK
        origin, height = self._registry.origin, last.height + 1 if last else 0
        summary = self._tree.root(), self._registry.head
        header = Header(origin_hash(origin), height, self.size, sealed_at_ms, prev, *summary, beacon)
        checkpoint = sign_checkpoint(self._gateway, origin, header)
        receipt = sign_receipt(self._gateway, origin, header.root)
        block = SealedBlock(height, self.size, header.encode(), checkpoint, receipt)
        with self._writing():
            self._store.add_block(block)
        self._newest = block
        return block

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction with the tree's tiles; where it fails, memory is taken anew from the store before it is
        used.
        """
        self._settle()
        self._stale = True
        with self._store.transaction():
            yield
            self._write_pending()
            for (level, number), hashes in self._tree.take_changes().items():
                self._store.set_tile(level, number, hashes)
        self._stale = False

    def _follow(self, arrival: Arrival, latest_s: int) -> Outcome | None:
        """Admit what is simply the next of a chain whose signer was found to be in order since the registry last
        changed, as rules 3 to 11 of §4.2 would; None for everything else.
        """
        claims = arrival.claims
        if claims is None or arrival.error is not None:
            return None
        chain = self._chains.get((claims.key, claims.sub))
        if (
            chain is None
            or chain.id not in self._cleared
            or claims.kind in BY_OPERATOR
            or claims.prev != self._heads.get(chain.id)
            or claims.seq != chain.runs[-1][1] + 1
            or claims.issued_at_s > latest_s
        ):
            return None
        index = self._append(chain, claims, arrival)
        chain.runs[-1] = (chain.runs[-1][0], claims.seq)
        self._pending.grown[chain.id] = chain
        self._heads[chain.id] = claims.entry
        return Outcome(arrival, index)

    def _append(self, chain: Chain, claims: Claims, arrival: Arrival) -> int:
        """Give it the next leaf; the store hears of it with all the others."""
        pending = self._pending
        index = self._tree.size + len(pending.leaves)
        pending.rows.append((index, chain.id, claims.seq, arrival.received_at_ms, arrival.raw))
        pending.leaves.append(merkle.leaf_hash(claims.entry))
        pending.entries.append(claims.entry)
        return index

    def _write_pending(self) -> None:
        pending, self._pending = self._pending, _Pending()
        if pending.rows:
            self._store.add_entries(pending.rows)
            self._store.release(pending.entries)
            self._store.lengthen_runs([(chain.id, *chain.runs[-1]) for chain in pending.grown.values()])
            self._tree.extend(pending.leaves)

    def _place(self, arrival: Arrival) -> Outcome:
        self._write_pending()
        try:
            if arrival.error or arrival.claims is None:
                raise arrival.error or EncodingError("nothing was decoded")
            index, repeat = self._sequence(arrival.claims, arrival)
        except (EncodingError, Rejected) as error:
            self._quarantine(arrival, error)
            return Outcome(arrival, error=error)
        return Outcome(arrival, index, repeat)

    def _sequence(self, claims: Claims, arrival: Arrival) -> tuple[int, bool]:
        """Give the statement a leaf, or find the one it has: rules 3 to 11 of §4.2."""
        self._registry.check_known(claims)
        chain = self._chains.get((claims.key, claims.sub))
        logged = self._store.find(chain.id, claims.seq) if chain and contains(chain.runs, claims.seq) else None
        if logged and logged[1] == arrival.raw:
            return logged[0], True
        self._registry.check_signer(claims)
        if logged:
            who = f"seq {claims.seq} of {claims.sub}"
            raise Equivocation(f"{who} is other bytes at leaf {logged[0]}: two signers share one key")
        if chain is None:
            chain = self._store.add_chain(claims.key, claims.sub)
            self._chains[claims.key, claims.sub] = chain
        self._check_chain(chain, claims)
        ahead_ms = claims.issued_at_s * 1000 - self._clock_ms()
        if ahead_ms > self._max_ahead_ms:
            raise FutureTime(f"signed with a clock {ahead_ms // 1000} s ahead; admitted when it is due")
        if self._registry.is_registry(claims):
            self._enter_registry(chain, self._tree.size, decode(arrival.raw))
        else:
            self._cleared.add(chain.id)
        index = self._append(chain, claims, arrival)
        self._extend(chain, claims)
        return index, False

    def _check_chain(self, chain: Chain, statement: Claims) -> None:
        seq, who = statement.seq, f"seq {statement.seq} of {chain.sub}"
        if (seq == 1) != (statement.prev == NO_ENTRY):
            raise BrokenChain(f"{who} {'names a predecessor' if seq == 1 else 'names none'}")
        before = self._entry(chain, seq - 1)
        if before not in (None, statement.prev):
            raise BrokenChain(f"{who} does not follow the logged seq {seq - 1}: a forked chain")
        after = self._store.find(chain.id, seq + 1) if contains(chain.runs, seq + 1) else None
        if after and decode(after[1]).prev != statement.entry:
            raise BrokenChain(f"{who} is not what the logged seq {seq + 1} follows: a forked chain")
        if before is None and seq > 1:
            refused = self._store.quarantined(statement.prev)
            if refused and refused.reason in FORKS:
                raise BrokenChain(f"{who} follows a statement that was refused: {refused.reason}")

    def _entry(self, chain: Chain, seq: int) -> bytes | None:
        if not contains(chain.runs, seq):
            return None
        if seq == chain.runs[-1][1] and chain.id in self._heads:
            return self._heads[chain.id]
        found = self._store.find(chain.id, seq)
        return sha256(found[1]).digest() if found else None

    def _enter_registry(self, chain: Chain, index: int, statement: Statement) -> None:
        newest = chain.runs[-1][1] if chain.runs else 0
        if statement.seq != newest + 1:
            raise MissingPredecessor(f"the operator's seq {statement.seq} came before seq {newest + 1}")
        self._registry.apply(index, statement)
        self._cleared.clear()
        body = statement.body or {}
        if statement.kind in ("enrolment", "rotation"):
            self._untried.add(body[2] if statement.kind == "rotation" else body[1])

    def _extend(self, chain: Chain, statement: Claims) -> None:
        self._store.change_runs(chain.id, *add_to_runs(chain.runs, statement.seq))
        if statement.seq == chain.runs[-1][1]:
            self._heads[chain.id] = statement.entry

    def _quarantine(self, arrival: Arrival, error: EncodingError | Rejected) -> None:
        held = isinstance(error, Rejected) and error.held
        row = Quarantined(
            entry=sha256(arrival.raw).digest(),
            received_at_ms=arrival.received_at_ms,
            topic=arrival.topic[:TOPIC_CHARACTERS],
            size=len(arrival.raw),
            raw=arrival.raw[:KEPT_BYTES],
            reason=type(error).__name__,
            message=str(error)[:MESSAGE_CHARACTERS],
            held=held,
        )
        if arrival.claims:
            signer = arrival.claims
            due_ms = signer.issued_at_s * 1000 - self._max_ahead_ms if isinstance(error, FutureTime) else 0
            row = replace(row, key=signer.key, sub=signer.sub, seq=signer.seq, due_ms=due_ms)
        self._store.quarantine(row)


def check_newest(store: Store, tree: TileTree, newest: SealedBlock | None, registry: Registry, gateway: bytes) -> None:
    """Hold the store's newest statement and block against its tree and the gateway's key.

    `CorruptLog` where they contradict; what lies before the end takes `earmark log check`.
    """
    size = tree.size
    if size and merkle.leaf_hash(sha256(store.statement(size - 1)).digest()) != tree.subtree(0, size - 1):
        raise CorruptLog(f"the newest statement, leaf {size - 1}, is not the one in the stored tree")
    if registry.gateway not in (b"", gateway):
        raise CorruptLog(f"this log is {cose.did(registry.gateway)}'s; the key given is {cose.did(gateway)}")
    if newest is None:
        return
    try:
        header, checkpoint = decode_header(newest.header), decode_checkpoint(newest.checkpoint)
        checkpoint.verify(registry.origin, gateway)
        check_block(header, checkpoint)
    except EarmarkError as error:
        raise CorruptLog(f"block {newest.height}: {error}") from error
    if header.size > size or tree.root(header.size) != header.root:
        raise CorruptLog(f"the store does not hold the {header.size} leaves of its newest block {header.height}")


def load_registry(store: Store, operator: bytes, below: int | None = None) -> Registry:
    """Replay the operator's registry chain from the store, of the first `below` leaves or of all."""
    registry = Registry(operator)
    chain = store.chain(operator, REGISTRY)
    rows = store.chain_statements(chain.id, store.size() if below is None else below) if chain else iter(())
    for index, raw in rows:
        try:
            registry.apply(index, decode(raw))
        except EarmarkError as error:
            raise CorruptLog(f"the registry's statement at leaf {index} does not replay: {error}") from error
    return registry


def contains(runs: Sequence[Run], seq: int) -> bool:
    """Say whether ascending, disjoint runs hold a `seq`."""
    if not runs or seq > runs[-1][1]:
        return False
    at = bisect_right(runs, seq, key=lambda run: run[0]) - 1
    return at >= 0 and seq <= runs[at][1]


def add_to_runs(runs: list[Run], seq: int) -> tuple[list[Run], Run]:
    """Put a `seq` that they did not hold into the runs; return those that are gone and the one in their place."""
    at = bisect_right(runs, seq, key=lambda run: run[0])
    low = high = at
    first = last = seq
    if at and runs[at - 1][1] == seq - 1:
        low, first = at - 1, runs[at - 1][0]
    if at < len(runs) and runs[at][0] == seq + 1:
        high, last = at + 1, runs[at][1]
    gone, runs[low:high] = runs[low:high], [(first, last)]
    return gone, (first, last)
