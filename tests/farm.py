"""A farm for tests: keys that never change, a clock that is set by hand, and nodes that sign what they are told."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from earmark import cose
from earmark.log import Log, Outcome
from earmark.statement import NO_ENTRY, REGISTRY, Clock, decode, origin, sign
from earmark.store import Store
from earmark.store.sqlite import SqliteStore
from earmark.verifier import Arrival, receive

NOW_S = 1_790_000_000
SITE = "home"
CLOCK = Clock(4, 1, 60)


class Signing:
    """One chain of a signer: `say` signs the next statement; `seq` and `prev` may be bent to make a wrong one."""

    def __init__(self, seed: int, sub: str) -> None:
        self.signer = cose.Signer(bytes([seed]) * 32)
        self.sub = sub
        self.seq = 0
        self.prev = NO_ENTRY

    @property
    def key(self) -> bytes:
        return self.signer.key

    def say(self, payload: Any, **claims: Any) -> bytes:
        claims = {"issued_at_s": NOW_S, "clock": CLOCK} | claims
        seq, prev = claims.pop("seq", self.seq + 1), claims.pop("prev", self.prev)
        raw = sign(self.signer, claims.pop("sub", self.sub), seq, prev, payload, **claims)
        self.seq, self.prev = seq, decode(raw).entry
        return raw

    def read(self, value: int = 1290, **claims: Any) -> bytes:
        """Sign one temperature in hundredths."""
        record = {-2: f"{claims.get('sub', self.sub)}/", -3: NOW_S, 0: "t", 1: "Cel", 2: Decimal(value).scaleb(-2)}
        return self.say([record], **({"boot_count": 1, "method": 0} | claims))


class Bench:
    """A log over a store with its operator, gateway, and a clock in `now_ms`."""

    def __init__(self, store: Store, log: Callable[..., Log] = Log) -> None:
        self.store = store
        self.now_ms = NOW_S * 1000
        self.operator = Signing(1, REGISTRY)
        self.gateway = cose.Signer(b"\2" * 32)
        self.origin = origin(SITE, self.gateway.key)
        self._make = log
        self.open()

    def open(self) -> Log:
        """Open the log, anew after a crash."""
        self.log = self._make(self.store, self.operator.key, self.gateway, lambda: self.now_ms)
        return self.log

    def found(self) -> "Bench":
        """Enrol the gateway at leaf 0."""
        raw = self.operator.say({0: "enrolment", 1: self.gateway.key, 2: "gateway", 3: self.origin})
        assert self.admit(raw)[0].index == 0
        return self

    def enrol(self, seed: int, name: str) -> Signing:
        """Enrol a node and return its chain."""
        node = Signing(seed, name)
        [outcome] = self.admit(self.operator.say({0: "enrolment", 1: node.key, 2: "node", 3: name}))
        assert outcome.error is None
        return node

    def admit(self, *raws: bytes) -> list[Outcome]:
        """Admit messages as one batch."""
        return self.log.admit([self.arrival(raw) for raw in raws])

    def arrival(self, raw: bytes) -> Arrival:
        return receive(raw, "earmark/v1/home/x/up", self.now_ms)


def new_store(folder: Path) -> SqliteStore:
    """Make an empty store."""
    return SqliteStore(folder / "earmark.db", create=True)
