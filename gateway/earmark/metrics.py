"""What the gateway counts and measures of itself, as Prometheus reads it (docs/operating.md).

The gateway tells it what happened, a call a batch and not a statement; any thread may read.
"""

import os
import shutil
import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from earmark.errors import EncodingError, Rejected
from earmark.log import Outcome, Run
from earmark.store import AWAY, COSIGNED, FINAL, SPLIT, AnchorRow, SealedBlock, WitnessRow

REASONS = (EncodingError.__name__, *sorted(kind.__name__ for kind in Rejected.__subclasses__()))
ANCHOR_STATES = ("planned", "signed", "broadcast", "mined", FINAL)
FEW_LEFT = 24
"""Anchors that funds should be good for, at least."""
BATCHES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000)
QUICK_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 3600)
SLOW_S = (1, 5, 10, 30, 60, 300, 900, 3600, 6 * 3600, 24 * 3600, 48 * 3600, 7 * 24 * 3600)


class Metrics:
    """The numbers of one gateway, and what `/health` is made of.

    `turned_s`, `unsealed_since_s` are of the monotonic clock, None where there was no turn yet, or everything is
    sealed; `witnesses` how each answered since when, by name; `store_failure` says why the newest write failed, and is
    empty once one held; `drand_trouble` since when (monotonic) no relay of drand answers, and why, None where one
    does; `anchoring_failure` and `witnessing_failure` say what is not done until the next start.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.turned_s: float | None = None
        self.unsealed_since_s: float | None = None
        self.store_failure = ""
        self.anchoring_failure = ""
        self.drand_trouble: tuple[float, str] | None = None
        self.witnessing_failure = ""
        self._lock = threading.Lock()
        self.overdue: dict[str, int] = {}
        self.left: dict[str, int] = {}
        self.witnesses: dict[str, WitnessRow] = {}
        self._anchors: dict[str, AnchorRow] = {}
        self._count_statements()
        self._measure_delays()
        self._follow_anchors()
        self._follow_witnesses()
        ProcessCollector(registry=self.registry)

    def _count_statements(self) -> None:
        counter, gauge = self._counter, self._gauge
        self._admitted = counter("earmark_statements_admitted", "Statements that got a leaf")
        self._repeated = counter("earmark_statements_repeated", "Statements that came again and had their leaf")
        said = "Messages put in the quarantine, by reason"
        self._quarantined = counter("earmark_statements_quarantined", said, "reason")
        for reason in REASONS:
            self._quarantined.labels(reason)
        self._trimmed = counter("earmark_quarantine_dropped", "Messages that left a full quarantine")
        self._limited = counter("earmark_limit_refusals", "Messages or connections refused by a limit", "limit")
        self._store_failures = counter("earmark_store_failures", "Writes that the store could not make")
        self._leaves = gauge("earmark_log_leaves", "Leaves in the newest block")
        self._height = gauge("earmark_block_height", "Height of the newest block")
        self._nodes = gauge("earmark_nodes", "Nodes whose statements are in the log")
        said = "Statements that wait at a node, as its newest reading of its outbox says"
        self._outboxes = gauge("earmark_node_outbox", said, "node")
        said = "Readings that failed at a node, as its statements say"
        self._failed = counter("earmark_node_failed_readings", said, "node")
        said = "1 while the node is connected to the broker, 0 when it is not, or sleeps"
        self._connected = gauge("earmark_node_connected", said, "node")
        said = "1 while the node sleeps, as it said, and wakes by itself"
        self._asleep = gauge("earmark_node_asleep", said, "node")
        self._missing = gauge("earmark_statements_missing", "Statements below a node's newest that are not in the log")

    def _measure_delays(self) -> None:
        said = "Outcomes written in one transaction"
        self._batches = Histogram("earmark_batch_statements", said, registry=self.registry, buckets=BATCHES)
        said = "From arrival at the gateway to the disk, of the first statement of each batch; gateway's clock"
        self._ingest = Histogram("earmark_ingest_seconds", said, registry=self.registry, buckets=QUICK_S)
        said = "From signing to the disk, of the first statement of each batch; the node's clock against the gateway's"
        self._age = Histogram("earmark_statement_age_seconds", said, registry=self.registry, buckets=SLOW_S)
        said = "From the first statement that no block covers to the block"
        self._sealing = Histogram("earmark_block_seconds", said, registry=self.registry, buckets=QUICK_S)

    def _follow_anchors(self) -> None:
        said = "From a block's sealing until its anchor reached the state"
        labels = ("chain", "state")
        self._anchoring = Histogram("earmark_anchor_seconds", said, labels, registry=self.registry, buckets=SLOW_S)
        self._anchor_state = self._gauge("earmark_anchor_state", "1 for the state of the newest anchor", *labels)
        self._anchor_height = self._gauge("earmark_anchor_height", "Height of the newest anchor's block", "chain")
        said = "What happened to anchors beside coming on, by kind"
        self._anchor_events = self._counter("earmark_anchor_events", said, "chain", "event")
        self._overdue = self._gauge("earmark_anchor_overdue", "1 where an anchor is overdue", "chain")
        self._anchors_left = self._gauge("earmark_anchor_left", "Anchors that the funds are good for", "chain")

        self._drand_time = self._gauge("earmark_drand_time_seconds", "Time of the newest round of drand that was seen")

    def _follow_witnesses(self) -> None:
        self._cosigned = self._gauge("earmark_witness_height", "Height of the newest block it cosigned", "witness")
        self._split = self._gauge("earmark_witness_split", "1 where it saw another history of the log", "witness")
        said = "Times that it was asked, by how it went"
        self._asked = self._counter("earmark_witness_requests", said, "witness", "state")

    def _counter(self, name: str, said: str, *labels: str) -> Counter:
        return Counter(name, said, labels, registry=self.registry)

    def _gauge(self, name: str, said: str, *labels: str) -> Gauge:
        return Gauge(name, said, labels, registry=self.registry)

    # told by the writer

    def turned(self) -> None:
        """The writer's loop came round; what it had to write is written."""
        self.turned_s = time.monotonic()
        self.store_failure = ""

    def store_failed(self, error: Exception) -> None:
        """The store could not write; the loop goes on and tries again."""
        self.turned_s = time.monotonic()
        self.store_failure = str(error)
        self._store_failures.inc()

    def settled(self, outcomes: Sequence[Outcome], now_ms: int) -> None:
        """A batch is on disk."""
        if not outcomes:
            return
        reasons = Tally([type(outcome.error).__name__ for outcome in outcomes if outcome.error is not None])
        repeats = sum([outcome.repeat for outcome in outcomes])
        admitted = len(outcomes) - reasons.total() - repeats
        for reason, count in reasons.items():
            self._quarantined.labels(reason).inc(count)
        self._repeated.inc(repeats)
        self._batches.observe(len(outcomes))
        self._ingest.observe(max(0, now_ms - outcomes[0].arrival.received_at_ms) / 1000)
        if admitted:
            self._admitted.inc(admitted)
            self.unsealed_since_s = self.unsealed_since_s or time.monotonic()
            self._note_age(outcomes, now_ms)

    def _note_age(self, outcomes: Sequence[Outcome], now_ms: int) -> None:
        new = (outcome.arrival.claims for outcome in outcomes if outcome.error is None and not outcome.repeat)
        for claims in islice(new, 1):
            if claims is not None and claims.issued_at_s:
                self._age.observe(max(0, now_ms - claims.issued_at_s * 1000) / 1000)

    def sealed(self, block: SealedBlock) -> None:
        """A block covers everything that is in the log."""
        if self.unsealed_since_s is not None:
            self._sealing.observe(time.monotonic() - self.unsealed_since_s)
        self.unsealed_since_s = None
        self._leaves.set(block.size)
        self._height.set(block.height)

    def trimmed(self, count: int) -> None:
        """The quarantine was full, and let messages go."""
        self._trimmed.inc(count)

    def refused(self, limit: str, count: int = 1) -> None:
        """A limit refused messages or a connection; `limit` is its name, one of a few."""
        self._limited.labels(limit).inc(count)

    def outbox(self, node: str, waiting: int) -> None:
        """A node said how many of its statements wait."""
        self._outboxes.labels(node).set(waiting)

    def failed(self, node: str, count: int) -> None:
        """A node signed that so many of its readings failed."""
        self._failed.labels(node).inc(count)

    def presence(self, node: str, word: str) -> None:
        """The retained word on a node's topic `status` (docs/protocol.md §10); nobody signed it."""
        self._connected.labels(node).set(word == "online")
        self._asleep.labels(node).set(word == "asleep")

    def chains(self, chains: Iterable[Sequence[Run]]) -> None:
        """The runs of `seq` that each node has in the log."""
        runs = [chain for chain in chains if chain]
        self._nodes.set(len(runs))
        self._missing.set(sum(chain[-1][1] - sum(last - first + 1 for first, last in chain) for chain in runs))

    # told by the thread of the public chains

    def anchored(self, row: AnchorRow, sealed_at_ms: int, *, overdue: int | None) -> None:
        """How far a target's newest anchor is; told at every step, counted where something changed.

        `overdue` is the height of the oldest one that should be final by now.
        """
        before = self._anchors.get(row.target)
        if before and (row.height, row.state) != (before.height, before.state):
            self._anchoring.labels(row.target, row.state).observe(max(0, row.changed_at_ms - sealed_at_ms) / 1000)
        self._anchors[row.target] = row
        for state in ANCHOR_STATES:
            self._anchor_state.labels(row.target, state).set(state == row.state)
        self._anchor_height.labels(row.target).set(row.height)
        self._overdue.labels(row.target).set(overdue is not None)
        with self._lock:
            self.overdue = {name: height for name, height in self.overdue.items() if name != row.target}
            if overdue is not None:
                self.overdue |= {row.target: overdue}

    def anchors_left(self, target: str, left: int) -> None:
        """How many more anchors a target's funds are good for."""
        self._anchors_left.labels(target).set(left)
        with self._lock:
            self.left = self.left | {target: left}

    def anchor_event(self, event: str, row: AnchorRow) -> None:
        """Something else happened to an anchor: one of `anchoring.EVENTS`."""
        self._anchor_events.labels(row.target, event).inc()

    # told by the thread of drand

    def drand_seen(self, time_s: int) -> None:
        """A relay of drand has a round of this time."""
        self._drand_time.set(time_s)
        self.drand_trouble = None

    def drand_away(self, why: str) -> None:
        """No relay of drand has a round for us."""
        since_s = self.drand_trouble[0] if self.drand_trouble else time.monotonic()
        self.drand_trouble = since_s, why

    # told by the threads of the witnesses

    def cosigned(self, witness: str, height: int) -> None:
        """A witness cosigned a block."""
        self._cosigned.labels(witness).set(height)

    def witnessed(self, witness: str, row: WitnessRow) -> None:
        """A witness was asked; the row says how it went.  A split view stands until it cosigns."""
        for state in (COSIGNED, AWAY, SPLIT):
            self._asked.labels(witness, state).inc(state == row.state)
        before = self.witnesses.get(witness)
        if before is None or row.state != AWAY or before.state == COSIGNED:
            self.witness_said(witness, row)  # since then

    def witness_said(self, witness: str, row: WitnessRow) -> None:
        """How a witness answered last, perhaps before the gateway was started."""
        self._split.labels(witness).set(row.state == SPLIT)
        with self._lock:
            self.witnesses = self.witnesses | {witness: row}  # a new one: another thread may read

    def unwitnessed(self, said: str) -> None:
        """A witness is not asked any more."""
        with self._lock:
            self.witnessing_failure = "; ".join(filter(None, [self.witnessing_failure, said]))

    # read when somebody asks

    def read_gauge(self, name: str, said: str, read: Callable[[], float]) -> None:
        """Add a gauge whose value is read at each scrape, from another thread; an `OSError` leaves it out."""
        self.registry.register(_Read(lambda: GaugeMetricFamily(name, said, read())))

    def read_counter(self, name: str, said: str, read: Callable[[], float]) -> None:
        """Add a counter that somebody else keeps."""
        self.registry.register(_Read(lambda: CounterMetricFamily(name, said, read())))

    def watch_disk(self, database: Path) -> None:
        """Add the free room beside the database, and its own size, write-ahead log included."""
        self.read_gauge(
            "earmark_disk_free_bytes", "Room for the store", lambda: shutil.disk_usage(database.parent).free
        )
        self.read_gauge("earmark_database_bytes", "Size of the store", lambda: _size(database))


class _Read(Collector):
    def __init__(self, read: Callable[[], Metric]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        with suppress(OSError):
            yield self._read()


def _size(database: Path) -> int:
    wal = database.with_name(database.name + "-wal")
    return os.stat(database).st_size + (wal.stat().st_size if wal.exists() else 0)
