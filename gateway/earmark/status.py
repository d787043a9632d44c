"""`/health` and `/metrics` over HTTP, for whoever looks after the machine."""

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from earmark.metrics import FEW_LEFT, Metrics
from earmark.process import clock_ms
from earmark.serving import Answer, Served
from earmark.store import AWAY, SPLIT

SILENT_S = 30.0
OVERDUE_S = 15.0
LEAST_FREE = 16 << 20
AWAY_S = 3600.0


@dataclass(frozen=True, slots=True)
class Reason:
    """What is wrong, as a word for machines and a sentence for people."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Health:
    """Whether statements can be admitted and blocks are sealed on time: where `reasons` is empty.  `warnings` can
    wait.
    """

    reasons: tuple[Reason, ...]
    warnings: tuple[Reason, ...]


class Doctor:
    """Tells a gateway's health from what it tells its metrics, from its connection and from the disk.  Any thread may
    ask.
    """

    def __init__(self, metrics: Metrics, folder: Path, seal_every_s: float, is_connected: Callable[[], bool]) -> None:
        self._metrics = metrics
        self._folder = folder
        self._seal_every_s = seal_every_s
        self._is_connected = is_connected

    def examine(self) -> Health:
        """Look at everything once."""
        reasons = [*self._writer(), *self._disk(), *self._blocks()]
        if not self._is_connected():
            reasons.append(Reason("broker-away", "not connected to the broker: no statement arrives"))
        return Health(tuple(reasons), (*self._anchors(), *self._drand(), *self._witnesses()))

    def _writer(self) -> list[Reason]:
        turned_s, failure = self._metrics.turned_s, self._metrics.store_failure
        if turned_s is None:
            return [Reason("starting", "the log is not being written yet")]
        silent_s = time.monotonic() - turned_s
        if silent_s > SILENT_S:
            return [Reason("writer-silent", f"the writer of the log was last heard {silent_s:.0f} s ago")]
        return [Reason("store-fails", failure)] if failure else []

    def _disk(self) -> list[Reason]:
        try:
            free = shutil.disk_usage(self._folder).free
            is_read_only = os.statvfs(self._folder).f_flag & os.ST_RDONLY
        except OSError as error:
            return [Reason("disk-gone", f"{self._folder}: {error.strerror}")]
        if is_read_only:
            return [Reason("disk-read-only", f"the file system of {self._folder} takes no writes")]
        least = f"{free >> 20} MiB are free; at least {LEAST_FREE >> 20} are needed"
        return [Reason("disk-full", least)] if free < LEAST_FREE else []

    def _blocks(self) -> list[Reason]:
        since_s = self._metrics.unsealed_since_s
        waited_s = time.monotonic() - since_s if since_s is not None else 0.0
        if waited_s <= self._seal_every_s + OVERDUE_S:
            return []
        return [Reason("block-overdue", f"statements wait for a block since {waited_s:.0f} s")]

    def _anchors(self) -> list[Reason]:
        overdue = [
            Reason("anchor-overdue", f"the anchor of block {height} on {chain} is not final: `earmark anchor status`")
            for chain, height in self._metrics.overdue.items()
        ]
        few = [
            Reason("funds-low", f"the funds on {chain} are good for {left} more anchors: send some to its address")
            for chain, left in self._metrics.left.items()
            if left < FEW_LEFT
        ]
        failure = self._metrics.anchoring_failure
        return overdue + few + ([Reason("no-anchors", failure)] if failure else [])

    def _drand(self) -> list[Reason]:
        since_s, why = self._metrics.drand_trouble or (time.monotonic(), "")
        away_s = time.monotonic() - since_s
        return [Reason("drand-away", f"no round of drand for {away_s:.0f} s: {why}")] if away_s > AWAY_S else []

    def _witnesses(self) -> list[Reason]:
        found = []
        for name, row in self._metrics.witnesses.items():
            away_s = (clock_ms() - row.changed_at_ms) / 1000
            if row.state == SPLIT:
                found.append(Reason("split-view", f"the witness {name} refuses this log: {row.message}"))
            elif row.state == AWAY and away_s > AWAY_S:
                found.append(Reason("witness-away", f"{name} has cosigned nothing for {away_s:.0f} s: {row.message}"))
        failure = self._metrics.witnessing_failure
        return found + ([Reason("no-witnesses", failure)] if failure else [])


def routes(metrics: Metrics, doctor: Doctor) -> Served:
    """Return what is served: `/metrics` for Prometheus, `/health` for whatever asks whether all is well."""

    def tell_health() -> Answer:
        health = doctor.examine()
        told = {"status": "failing" if health.reasons else "ok"} | asdict(health)
        return Answer(503 if health.reasons else 200, "application/json", json.dumps(told).encode() + b"\n")

    return Served(
        {
            "/health": tell_health,
            "/metrics": lambda: Answer(200, CONTENT_TYPE_LATEST, generate_latest(metrics.registry)),
        }
    )
