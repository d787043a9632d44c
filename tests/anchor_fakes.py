"""A target of anchors in memory that fails when told to, and the state machine over it."""

from collections.abc import Callable

from earmark.anchor.target import Deferred, Place, Progress, Signed, State
from earmark.anchoring import Anchoring, Plan
from earmark.errors import AnchorError
from earmark.evidence import ChainBlock
from earmark.store import AnchorRow
from farm import Bench

BLOCK = ChainBlock("test:1", 7, b"\1" * 32, 1_790_000_000)


class FakeTarget:
    """A target in memory: `fail` names the method that fails next, before or after its effect."""

    place = Place("test:1", "fake", "test:1")

    def __init__(self) -> None:
        self.signed = 0
        self.sent: list[bytes] = []
        self.states: dict[bytes, State] = {}
        self.fail: tuple[str, bool] | None = None
        self.price = 0
        self.evidence = b"evidence"

    def _run(self, method: str, effect: Callable[[], None]) -> None:
        fails = self.fail is not None and self.fail[0] == method
        after = fails and self.fail is not None and self.fail[1]
        if not fails or after:
            effect()
        if fails:
            self.fail = None
            raise AnchorError(f"{method} failed on purpose")

    def sign(self, digest: bytes, most: int) -> Signed:
        self.signed += 1
        payload = digest + bytes([self.signed])
        self._run("sign", lambda: None)
        return self._priced(payload, self.price, most)

    def _priced(self, payload: bytes, price: int, most: int) -> Signed:
        if price > most:
            raise Deferred(f"{price} is more than {most}")
        return Signed(payload, price)

    def send(self, payload: bytes) -> bytes:
        def put() -> None:
            self.sent.append(payload)
            self.states.setdefault(payload, "pending")

        self._run("send", put)
        return payload

    def poll(self, payload: bytes) -> Progress:
        self._run("poll", lambda: None)
        state = self.states.get(payload, "unknown")
        found = state in ("mined", "final")
        evidence = self.evidence if found else None
        return Progress(state, "ref-" + payload[-1:].hex(), BLOCK if found else None, 1, evidence)

    def replace(self, payload: bytes, most: int) -> Signed:
        self._run("replace", lambda: None)
        self.price *= 2
        return self._priced(payload + b"+", self.price, most)

    def anchors_left(self) -> int | None:
        return None

    def head(self) -> tuple[ChainBlock, bytes]:
        return BLOCK, b""


def machine(bench: Bench, target: FakeTarget, every_s: int = 60) -> Anchoring:
    return Anchoring(bench.store, target, Plan(every_s, overdue_s=100), lambda: bench.now_ms)


def row(bench: Bench) -> AnchorRow:
    [found] = bench.store.anchor_rows()
    return found
