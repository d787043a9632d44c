"""End to end: signed statements by MQTT to leaves on disk, offered at just over what the gateway takes.

`python -m bench.ingest --broker mosquitto --nodes 100 --seconds 10 --runs 5`, in tests/, prints a line of JSON a run
and one with the medians.
"""

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from bench import farms, processes
from bench.bound import Bound
from bench.publisher import Publisher
from earmark.config import Farm

BROKERS = ("mosquitto", "embedded")
WARM_S = 5.0
LOOK_S = 0.5
RAMP, RAMP_S = 1.5, 0.1  # offered against taken, while less than this waits at the broker
OVER, BACKLOG_S = 1.1, 0.6  # and while less than that does; with more, no more than what is taken
LEAST_PER_S = 200.0
FIRST = 0.25  # of the bound, offered before anything is known
MOST = 0.75  # of the bound: statements enough for this are made
DRAIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Run:
    """One run.  Rates are a second; `cpu` is processor seconds per 10,000 statements by process.

    `ratio` is the rate over the bound's; `cpu_ratio` the bound's processor time over that of all four, which other
    programs on the machine change less.
    """

    broker: str
    nodes: int
    seconds: float
    per_s: float
    offered_per_s: float
    bound_before_per_s: float
    bound_after_per_s: float
    bound_cores: float
    ratio: float
    cpu_ratio: float
    cpu: dict[str, float]
    sent: int
    acknowledged: int
    leaves: int
    answers: int


@contextlib.contextmanager
def serving(broker: str, nodes: int) -> Iterator[tuple[Farm, int, int | None, int]]:
    """Run a gateway and its broker on a new farm: the farm, the port, the broker's process where it is ours, the
    gateway's.
    """
    farms.CACHE.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=farms.CACHE, prefix="run-")))
        port, is_embedded = processes.free_port(), broker == "embedded"
        farm = farms.make_farm(folder / "farm", nodes, port, embedded=is_embedded)
        own = None if is_embedded else stack.enter_context(processes.mosquitto(folder, port)).pid
        yield farm, port, own, stack.enter_context(processes.gateway(farm)).pid


class Counted(Protocol):
    """What says how many messages are stored."""

    def count(self) -> int:
        """Return it."""


class Steering:
    """Keeps what is offered just over what is taken, without a queue that grows for ever."""

    def __init__(self, publisher: Publisher, stored: Counted, per_s: float) -> None:
        """`stored` counts what is on disk; `per_s` is offered at first."""
        self._publisher, self._stored, self._per_s = publisher, stored, per_s
        self._offered = 0.0
        self._began = self._last = (time.monotonic(), stored.count())
        publisher.set_rate(per_s)

    def step(self) -> tuple[float, int]:
        """Wait a moment, offer anew, and return the time and what was stored then."""
        time.sleep(LOOK_S)
        before, self._last = self._last, (time.monotonic(), self._stored.count())
        took_s = self._last[0] - before[0]
        self._offered += self._per_s * took_s
        taken_per_s = (self._last[1] - before[1]) / took_s
        backlog = self._offered - (self._last[1] - self._began[1])
        over = RAMP if backlog < taken_per_s * RAMP_S else OVER if backlog < taken_per_s * BACKLOG_S else 1.0
        self._per_s = max(taken_per_s * over, LEAST_PER_S)
        self._publisher.set_rate(self._per_s)
        return self._last

    def run(self, seconds: float) -> tuple[float, int]:
        """Steer for so long, or until the first is stored, and return the time and what was stored at its end."""
        deadline, before = time.monotonic() + seconds, self._last[1]
        while (now := self.step())[0] < deadline or (now[1] == before and now[0] < deadline + DRAIN_S):
            pass
        return now

    @property
    def offered(self) -> float:
        """How many statements it asked for so far."""
        return self._offered


def measure(broker: str, nodes: int, seconds: float, bound: Bound, statements: Path, warm_s: float = WARM_S) -> Run:
    """Measure once, on a farm of its own, with the bound before and after."""
    before = bound.measure()
    with contextlib.ExitStack() as stack:
        farm, port, broker_id, gateway_id = stack.enter_context(serving(broker, nodes))
        users = [farms.credentials(farm, name) for name in farms.names(nodes)]
        out = stack.enter_context(Publisher(port, users, statements))
        leaves = processes.Leaves(farm)
        enrolled = leaves.count()
        roles = {"publisher": out.process.pid, "gateway": gateway_id}
        accounts = processes.Accounts(roles | ({"broker": broker_id} if broker_id else {}))
        steering = Steering(out, leaves, before.per_s * FIRST)
        begin = steering.run(warm_s)
        spent, offered = accounts.seconds(), steering.offered
        end = steering.run(seconds)
        spent = {role: total - spent[role] for role, total in accounts.seconds().items()}
        offered = steering.offered - offered
        counts = out.stop()
        logged = drained(leaves, enrolled + counts["acknowledged"]) - enrolled
        leaves.close()
    after = bound.measure()
    taken, took_s = end[1] - begin[1], end[0] - begin[0]
    bound_per_s, bound_cpu = (before.per_s + after.per_s) / 2, (before.cpu_s_per_10k + after.cpu_s_per_10k) / 2
    cpu = {role: total / taken * 10_000 for role, total in spent.items()}
    return Run(
        broker=broker,
        nodes=nodes,
        seconds=took_s,
        per_s=taken / took_s,
        offered_per_s=offered / took_s,
        bound_before_per_s=before.per_s,
        bound_after_per_s=after.per_s,
        bound_cores=(before.cores + after.cores) / 2,
        ratio=taken / took_s / bound_per_s,
        cpu_ratio=bound_cpu / sum(cpu.values()),
        cpu=cpu,
        leaves=logged,
        **counts,
    )


def drained(stored: Counted, wanted: int) -> int:
    """Wait until so much is stored, or for `DRAIN_S`; return what is."""
    deadline = time.monotonic() + DRAIN_S
    while (count := stored.count()) < wanted and time.monotonic() < deadline:
        time.sleep(LOOK_S)
    return count


def enough(nodes: int, seconds: float, bound_per_s: float, warm_s: float = WARM_S) -> Path:
    """Return statements enough for a run of these seconds."""
    return farms.statements(nodes, round((seconds + warm_s) * bound_per_s * MOST / nodes) + 1)


def summary(runs: list[Run]) -> dict[str, object]:
    """Return the medians of runs, beside the raw ratios and rates."""
    middle = statistics.median
    return {
        "ratio": middle(run.ratio for run in runs),
        "cpu_ratio": middle(run.cpu_ratio for run in runs),
        "per_s": middle(run.per_s for run in runs),
        "bound_per_s": middle((run.bound_before_per_s + run.bound_after_per_s) / 2 for run in runs),
        "bound_cores": middle(run.bound_cores for run in runs),
        "cpu_s_per_10k": {role: middle(run.cpu[role] for run in runs) for role in runs[0].cpu},
        "lost": sum(max(0, run.acknowledged - run.leaves) for run in runs),
        "ratios": [run.ratio for run in runs],
        "raw": [asdict(run) for run in runs],
    }


def main() -> None:
    """Measure one broker with one number of nodes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", choices=BROKERS, default="mosquitto")
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--runs", type=int, default=1)
    given = parser.parse_args()
    with Bound(farms.statements(given.nodes, 50)) as bound:
        statements = enough(given.nodes, given.seconds, bound.measure().per_s)
        runs = []
        for _ in range(given.runs):
            runs.append(measure(given.broker, given.nodes, given.seconds, bound, statements))
            print(json.dumps(asdict(runs[-1])), flush=True)
    print(json.dumps({key: value for key, value in summary(runs).items() if key != "raw"}))


if __name__ == "__main__":
    main()
