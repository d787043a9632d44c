"""The log and the registry against a model, in every order of admissions, failures and restarts that chance finds."""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from earmark import ack
from earmark.acknowledge import Acknowledger
from earmark.audit import check_log
from earmark.block import decode_header
from earmark.errors import Rejected, StoreError
from earmark.log import Outcome
from earmark.merkle import leaf_hash
from earmark.registry import Enrolment
from earmark.statement import NO_ENTRY, REGISTRY, decode, origin
from earmark.store import SealedBlock
from earmark.store.sqlite import SqliteStore
from farm import SITE, Bench, Signing
from frontier import Frontier
from log_model import HELD, Model, Said, Signer

NAMES = ("n1", "n2")
SEEDS = range(3, 7)
REFUSED_UNSAID = ("EncodingError", "BadSignature", *HELD)


class FailingStore(SqliteStore):
    """A store whose next transaction fails when it is told to: with nothing of it on disk, or with all of it."""

    fault = ""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        fault, self.fault = self.fault, ""
        with super().transaction():
            yield
            if fault == "before":
                raise StoreError("failed and not persisted")
        if fault == "after":
            raise StoreError("failed but persisted")


class LogMachine(RuleBasedStateMachine):
    """Signers say things into `pool`; rules deliver some of it, seal, break, reopen, and compare."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "earmark.db"
        self.bench = Bench(FailingStore(self.path, create=True))
        self.model = Model(self.bench.operator.key, self.bench.gateway.key, self.bench.now_ms)
        self.nodes = [Signing(seed, NAMES[seed % 2]) for seed in SEEDS]
        self.pool: list[Said] = []
        self.by_entry: dict[bytes, Said] = {}
        self.blocks: list[SealedBlock] = []
        self.acknowledged: set[bytes] = set()
        self.begin_acknowledging()

    def begin_acknowledging(self) -> None:
        self.acks = Acknowledger(self.bench.log, self.bench.gateway, 0)
        self.noted: dict[Signer, set[tuple[int, str]]] = {}
        self.turn_ms = 0  # the gateway answers by a clock that never goes back

    @initialize()
    def found(self) -> None:
        self.enter(self.bench.operator, {0: "enrolment", 1: self.bench.gateway.key, 2: "gateway", 3: self.bench.origin})
        self.admit(self.pool[-1:])
        for node in self.nodes[:2]:
            self.enter(self.bench.operator, {0: "enrolment", 1: node.key, 2: "node", 3: node.sub})
        self.admit(self.pool[-2:])

    # what is said

    def note(self, raw: bytes) -> None:
        """Put what was signed just now into the pool."""
        found = decode(raw)
        signer = found.key, found.sub
        said = Said(raw, found.entry, signer, found.seq, found.prev, found.issued_at_s, found.body)
        self.pool.append(said)
        self.by_entry[said.entry] = said

    def enter(self, signing: Signing, body: dict[int, Any], **claims: Any) -> None:
        self.note(signing.say(body, **claims))

    @rule(node=st.sampled_from(SEEDS), count=st.integers(1, 4), ahead_s=st.sampled_from((0, 0, 0, 0, 301, 900)))
    def read(self, node: int, count: int, ahead_s: int) -> None:
        signing = self.nodes[node - SEEDS[0]]
        for _ in range(count):
            self.note(signing.read(len(self.pool), issued_at_s=self.bench.now_ms // 1000 + ahead_s))

    @rule(node=st.sampled_from(SEEDS), count=st.integers(1, 5))
    def read_and_deliver(self, node: int, count: int) -> None:
        self.read(node, count, 0)
        self.admit(self.pool[-count:])

    @rule(node=st.sampled_from(SEEDS), place=st.integers(0, 8))
    def go_back(self, node: int, place: int) -> None:
        """A board restored from a copy: it signs on from one of its earlier statements, or from the beginning."""
        signing = self.nodes[node - SEEDS[0]]
        mine = [said for said in self.pool if said.signer == (signing.key, signing.sub)]
        signing.seq, signing.prev = (mine[-place].seq, mine[-place].entry) if 0 < place <= len(mine) else (0, NO_ENTRY)

    @rule(node=st.sampled_from(SEEDS), kind=st.sampled_from(("sub", "prev", "zero", "enrolment", "gap", "skip")))
    def say_wrong_and_deliver(self, node: int, kind: str) -> None:
        signing = self.nodes[node - SEEDS[0]]
        if kind == "enrolment":
            self.enter(signing, {0: "enrolment", 1: Signing(99, "x").key, 2: "node", 3: "x"})
        elif kind == "gap" and signing.seq > 1:
            self.enter(signing, {0: "gap", 1: 1, 2: 1, 3: "full"}, boot_count=1)
        else:
            bent = {"sub": {"sub": "other"}, "prev": {"prev": b"\7" * 32}, "zero": {"prev": NO_ENTRY}}
            self.note(signing.read(**bent.get(kind, {"seq": signing.seq + 2})))
        self.admit(self.pool[-1:])

    @rule(node=st.sampled_from(SEEDS), other_name=st.booleans(), ahead_s=st.sampled_from((0, 301)))
    def order(self, node: int, other_name: bool, ahead_s: int) -> None:
        """The operator revokes a node that is enrolled, and enrols any other, perhaps under a name that is taken."""
        signing = self.nodes[node - SEEDS[0]]
        body = {0: "enrolment", 1: signing.key, 2: "node", 3: NAMES[other_name]}
        if signing.key in self.model.names:
            body = {0: "revocation", 1: signing.key, 2: "lost"}
        self.enter(self.bench.operator, body, issued_at_s=self.bench.now_ms // 1000 + ahead_s)

    @rule(node=st.sampled_from(SEEDS), and_revoke=st.booleans())
    def order_anew(self, node: int, and_revoke: bool) -> None:
        """The operator goes on from what is logged: a node takes its name, after whoever holds it was revoked."""
        chain = self.model.chains[self.bench.operator.key, REGISTRY]
        self.bench.operator.seq, self.bench.operator.prev = len(chain), chain[len(chain)].entry
        signing, before = self.nodes[node - SEEDS[0]], len(self.pool)
        for key in [key for key, name in self.model.names.items() if name == signing.sub and and_revoke]:
            self.enter(self.bench.operator, {0: "revocation", 1: key, 2: "replaced"})
        self.enter(self.bench.operator, {0: "enrolment", 1: signing.key, 2: "node", 3: signing.sub})
        self.admit(self.pool[before:])

    @rule(node=st.sampled_from(SEEDS), other=st.sampled_from(SEEDS), back=st.integers(-1, 30), anew=st.booleans())
    def order_an_ending(self, node: int, other: int, back: int, anew: bool) -> None:
        """The operator goes on from what is logged: a key ends for another one, or it was stolen some leaves ago."""
        chain = self.model.chains[self.bench.operator.key, REGISTRY]
        self.bench.operator.seq, self.bench.operator.prev = len(chain), chain[len(chain)].entry
        old, new = self.nodes[node - SEEDS[0]], self.nodes[other - SEEDS[0]]
        body = {0: "rotation", 1: old.key, 2: new.key, 3: "worn"}
        if not anew:
            body = {0: "revocation", 1: old.key, 2: "stolen", 3: max(0, len(self.model.leaves) - back)}
        self.enter(self.bench.operator, body)
        self.admit(self.pool[-1:])

    @rule()
    def order_a_second_gateway(self) -> None:
        """What no registry takes."""
        key = Signing(9, "x").key
        self.enter(self.bench.operator, {0: "enrolment", 1: key, 2: "gateway", 3: origin(SITE, key)})

    # what is delivered

    def chosen(self, places: Sequence[int]) -> list[Said]:
        return [self.pool[-1 - place % len(self.pool)] for place in places]

    def admit(self, batch: list[Said]) -> None:
        outcomes = self.bench.admit(*[said.raw for said in batch])
        assert [outcome.arrival.raw for outcome in outcomes] == [said.raw for said in batch]
        self.compare(outcomes)

    def compare(self, outcomes: Sequence[Outcome]) -> None:
        """Hold outcomes against the model, one after the other, and let the gateway's acknowledgements go out."""
        for outcome in outcomes:
            said = self.by_entry[hashlib.sha256(outcome.arrival.raw).digest()]
            expected = self.model.take(said)
            refusal = type(outcome.error).__name__ if outcome.error else ""
            assert (outcome.index, outcome.repeat, refusal) == expected, said
            if said.signer[0] in self.model.names and refusal not in REFUSED_UNSAID:
                self.noted.setdefault(said.signer, set()).add((said.seq, refusal))
        self.acks.note(outcomes)  # type: ignore[arg-type]

    @precondition(lambda self: self.pool)
    @rule(places=st.lists(st.integers(0, 12), min_size=1, max_size=8))
    def deliver(self, places: list[int]) -> None:
        self.admit(self.chosen(places))

    @precondition(lambda self: self.pool)
    @rule(count=st.integers(1, 20))
    def deliver_newest_in_order(self, count: int) -> None:
        self.admit(self.pool[-count:])

    @rule(junk=st.sampled_from((b"", b"\xff", b"x" * 9000)), place=st.integers(0, 12))
    def deliver_junk(self, junk: bytes, place: int) -> None:
        good = self.chosen([place])[0].raw
        outcomes = self.bench.admit(junk, good[:-1] + bytes([good[-1] ^ 1]))
        assert [type(outcome.error).__name__ for outcome in outcomes] == ["EncodingError", "BadSignature"]

    @precondition(lambda self: self.pool)
    @rule(places=st.lists(st.integers(0, 5), min_size=1, max_size=3))
    def submit(self, places: list[int]) -> None:
        with self.bench.store.transaction():
            for said in self.chosen(places):
                self.bench.store.submit(said.raw)

    @rule()
    def take_submissions(self) -> None:
        self.compare(self.bench.log.take_submissions())
        assert self.bench.store.submitted() == []

    @rule()
    def retry(self) -> None:
        """What was held comes in when it may; after it nothing is left that may."""
        self.compare(self.bench.log.retry())
        self.compare(self.bench.log.retry())
        held = [self.by_entry[entry] for entry, reason in self.model.reasons.items() if reason in HELD]
        assert [said for said in held if not self.model.refusal(said)] == []

    @rule(seconds=st.sampled_from((1, 300, 901, -400)))
    def pass_time(self, seconds: int) -> None:
        self.bench.now_ms += seconds * 1000
        self.model.now_ms = self.bench.now_ms

    @rule()
    def acknowledge(self) -> None:
        """The runs said are in the log, and cover all that came; what was refused for good is said by name."""
        self.turn_ms += 1
        covered: dict[Signer, set[int]] = {}
        for sub, payload in self.acks.due(self.turn_ms):
            found = ack.decode(payload, self.bench.gateway.key)
            [signer] = [signer for signer in self.noted if signer[1] == sub and is_kid(signer[0], found.kid)]
            said = {seq for first, last in found.runs for seq in range(first, last + 1)}
            logged = self.model.chains.get(signer, {})
            assert said <= set(logged)
            assert set(found.refused) <= self.noted[signer]
            assert found.checkpoint == (self.blocks[-1].checkpoint if self.blocks else b"")
            covered.setdefault(signer, set()).update(said)
            self.acknowledged |= {logged[seq].entry for seq in said}
        for signer, noted in self.noted.items():
            assert {seq for seq, refusal in noted if not refusal} <= covered[signer]
        self.noted.clear()

    @rule()
    def seal(self) -> None:
        is_due = len(self.model.leaves) > (self.blocks[-1].size if self.blocks else 0)
        block = self.bench.log.seal()
        assert (block is not None) == is_due
        if block:
            self.see(block)

    def see(self, block: SealedBlock) -> None:
        header = decode_header(block.header)
        assert (block.height, block.size, header.root) == (len(self.blocks), len(self.model.leaves), self.root())
        self.blocks.append(block)

    def root(self) -> bytes:
        frontier = Frontier()
        for said in self.model.leaves:
            frontier.append(leaf_hash(said.entry))
        return frontier.root()

    # what goes wrong

    @precondition(lambda self: self.pool)
    @rule(fault=st.sampled_from(("before", "after")), places=st.lists(st.integers(0, 12), min_size=1, max_size=6))
    def fail_to_admit(self, fault: str, places: list[int]) -> None:
        batch = self.chosen(places)
        self.failing(fault, lambda: self.bench.admit(*[said.raw for said in batch]))
        for said in batch if fault == "after" else ():
            self.model.take(said)

    @rule(fault=st.sampled_from(("before", "after")))
    def fail_to_seal(self, fault: str) -> None:
        if self.failing(fault, self.bench.log.seal) and fault == "after":
            newest = self.bench.store.newest_block()
            assert newest
            self.see(newest)

    @rule(fault=st.sampled_from(("before", "after")), submitted=st.booleans())
    def fail_to_retry(self, fault: str, submitted: bool) -> None:
        """What a failed retry left on disk is a part of what it may do, in some order."""
        self.failing(fault, self.bench.log.take_submissions if submitted else self.bench.log.retry)
        if fault == "before":
            return
        for _, _, raw in list(self.bench.store.statements(len(self.model.leaves), self.bench.store.size())):
            assert self.model.take(self.by_entry[hashlib.sha256(raw).digest()])[2] == ""
        for said in self.pool:
            row = self.bench.store.quarantined(said.entry)
            self.model.reasons.pop(said.entry, None)
            if row:
                self.model.reasons[said.entry] = row.reason

    def failing(self, fault: str, act: Callable[[], object]) -> bool:
        """Do something while the store fails; say whether it came to that."""
        self.bench.store.fault = fault  # type: ignore[attr-defined]
        failed = True
        with suppress(StoreError):
            act()
            failed = False
        self.bench.store.fault = ""  # type: ignore[attr-defined]
        return failed

    @rule()
    def reopen(self) -> None:
        self.bench.store.close()
        self.bench.store = FailingStore(self.path)
        self.bench.open()
        self.begin_acknowledging()

    # what must always hold

    @invariant()
    def log_is_the_model(self) -> None:
        assert self.bench.store.size() == self.bench.log.size == len(self.model.leaves)
        assert self.bench.log.newest == (self.blocks[-1] if self.blocks else None)
        for signing in (*self.nodes, self.bench.operator):
            signer = signing.key, signing.sub
            assert list(self.bench.log.runs(*signer)) == self.model.runs(signer)

    @invariant()
    def keys_are_the_model_s(self) -> None:
        registry = self.bench.log.registry
        assert {node.key: node.name for node in registry.nodes()} == self.model.names
        for node in registry.nodes():
            edges = [node.enrolled_at, node.ended_at, node.since, len(self.model.leaves)]
            for leaf in {edge + near for edge in edges if edge is not None for near in (-1, 0, 1)}:
                assert counts(node, leaf) == self.model.counts(node.key, leaf)

    def teardown(self) -> None:
        try:
            self.check_everything()
        finally:
            self.bench.store.close()
            self.folder.cleanup()

    def check_everything(self) -> None:
        """Leaves and blocks are those that were ever shown, each acknowledged statement there once, and all checks."""
        stored = [raw for _, _, raw in self.bench.store.statements(0, self.bench.store.size())]
        assert stored == [said.raw for said in self.model.leaves]
        assert len(set(stored)) == len(stored)
        assert self.acknowledged <= {said.entry for said in self.model.leaves}
        assert list(self.bench.store.blocks()) == self.blocks
        assert all(a.size < b.size for a, b in pairwise(self.blocks))
        for said in self.pool:
            row = self.bench.store.quarantined(said.entry)
            assert (row.reason if row else None) == self.model.reasons.get(said.entry)
        if stored:
            assert check_log(self.bench.store, self.bench.operator.key).contradictions == []


def counts(node: Enrolment, index: int) -> bool:
    with suppress(Rejected):
        node.check_counts(index)
        return True
    return False


def is_kid(key: bytes, kid: bytes) -> bool:
    return hashlib.sha256(b"\xa3\x01\x01\x20\x06\x21\x58\x20" + key).digest()[:8] == kid


SETTINGS = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
TestLog = LogMachine.TestCase
TestLog.settings = settings(SETTINGS, max_examples=60, stateful_step_count=40, derandomize=True)


@pytest.mark.faults
@pytest.mark.timeout(1800)
class TestLogAtLength(LogMachine.TestCase):
    settings = settings(SETTINGS, max_examples=3000, stateful_step_count=120)
