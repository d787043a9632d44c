"""Without a broker: the gateway's whole way in, fed in its own process, to leaves on disk.

`python -m bench.direct`, in tests/, prints a line of JSON a run.  The one thing that is not the gateway's own is the
connection to the broker: `Feed` stands in its place and gives statements as fast as they are acknowledged.
"""

import argparse
import asyncio
import cProfile
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import farms, processes
from bench.bound import Bound
from bench.ingest import enough
from earmark import gateway
from earmark.config import open_farm
from earmark.mqtt import Message

HERE = Path(__file__).resolve().parents[1]
WARM_S = 2.0
AHEAD = 4096  # statements given and not acknowledged
PIECE = 64  # statements that a read of a socket gives at most, in the measurements with a broker


class Feed:
    """In the place of `earmark.mqtt.Link`: gives statements, and counts those that the gateway has on disk."""

    is_connected = True

    def __init__(self, waiting: list[Message], warm_s: float, seconds: float, stop: threading.Event) -> None:
        self._waiting, self._warm_s, self._seconds, self._stop = waiting, warm_s, seconds, stop
        self._receive: Callable[[list[Message]], None] = lambda _: None
        self._room = asyncio.Event()
        self._given = self.acknowledged = 0
        self._is_held = False
        self.answers = 0

    def __call__(
        self, endpoint: object, session: str, topics: list[str], receive: Callable[[list[Message]], None], qos: int
    ) -> Any:
        """Be constructed as the real one is; no node asks for releases, so that connection stays silent."""
        if not topics[0].endswith("/up"):
            return Silent()
        self._receive = receive
        return self

    async def run(self) -> None:
        """Give all there is time for, measure the second part, and end the gateway."""
        await self._give(self._warm_s)
        begun, first = time.monotonic(), self.acknowledged
        spent = processes.Accounts({"gateway": None}).seconds()
        await self._give(self._seconds)
        while self.acknowledged == first:
            await self._wait()
        took_s, count = time.monotonic() - begun, self.acknowledged - first
        cpu = {
            role: (total - spent[role]) / count * 10_000
            for role, total in processes.Accounts({"gateway": None}).seconds().items()
        }
        self.result = {"per_s": count / took_s, "seconds": took_s, "cpu": cpu}
        while self.acknowledged < self._given:
            await self._wait()
        self._stop.set()
        await asyncio.Event().wait()

    async def _give(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._given == len(self._waiting):
                raise RuntimeError(f"all {self._given} statements are given: make more of them")
            if self._is_held or self._given - self.acknowledged >= AHEAD:
                await self._wait()
                continue
            self._receive(self._waiting[self._given : self._given + PIECE])
            self._given = min(self._given + PIECE, len(self._waiting))
            await asyncio.sleep(0)

    async def _wait(self) -> None:
        self._room.clear()
        await self._room.wait()

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Take note of what is on disk."""
        self.acknowledged += len(messages)
        self._room.set()

    def hold(self, held: bool) -> None:
        """Give nothing for the moment, or go on."""
        self._is_held = held
        self._room.set()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """No checkpoint goes out here."""

    def answer(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Count the gateway's signed acknowledgements."""
        self.answers += len(messages)

    def publish_from_thread(self, topic: str, payload: bytes) -> None:
        """No beacon goes out here."""


class Silent:
    """In the place of a connection on which nothing comes."""

    is_connected = True

    async def run(self) -> None:
        """Wait for ever."""
        await asyncio.Event().wait()


def messages(nodes: int, statements: Path) -> list[Message]:
    """Return all statements as they come from a broker."""
    topics = [f"earmark/v1/{farms.SITE}/{name}/up" for name in farms.names(nodes)]
    return [Message(topics[place % nodes], raw, 1, 1, 1) for place, raw in enumerate(farms.read(statements))]


def serve(folder: Path, statements: Path, nodes: int, warm_s: float, seconds: float, profile: str) -> None:
    """Be the gateway's process: run it on a farm with the feed in place of its connection, profiled into a file where
    one is named.
    """
    farm, stop = open_farm(folder), threading.Event()
    feed = Feed(messages(nodes, statements), warm_s, seconds, stop)
    gateway.Link = feed
    if profile:
        cProfile.runctx("gateway.Gateway(farm).run(stop)", globals(), locals(), profile)
    else:
        gateway.Gateway(farm).run(stop)
    leaves = processes.Leaves(farm)
    print(json.dumps(feed.result | {"acknowledged": feed.acknowledged, "leaves": leaves.count() - nodes - 1}))
    leaves.close()


def run(nodes: int, seconds: float, statements: Path, warm_s: float = WARM_S, profile: str = "") -> dict[str, Any]:
    """Run the gateway once, in a process of its own."""
    port = processes.free_port()
    with (
        tempfile.TemporaryDirectory(dir=farms.CACHE, prefix="run-") as folder,
        processes.mosquitto(Path(folder), port),  # it has nothing to do but to remember the newest checkpoint
    ):
        farm = farms.make_farm(Path(folder, "farm"), nodes, port, embedded=False)
        given = [str(farm.folder), str(statements), str(nodes), str(warm_s), str(seconds), profile]
        command = [sys.executable, "-m", "bench.direct", "--serve", *given]
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the gateway without a broker failed: {done.stderr[-800:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(nodes: int, seconds: float, bound: Bound, statements: Path, warm_s: float = WARM_S) -> dict[str, Any]:
    """Measure once, with the bound before and after."""
    before = bound.measure()
    found = run(nodes, seconds, statements, warm_s)
    after = bound.measure()
    bound_per_s, bound_cpu = (before.per_s + after.per_s) / 2, (before.cpu_s_per_10k + after.cpu_s_per_10k) / 2
    found |= {"bound_before_per_s": before.per_s, "bound_after_per_s": after.per_s}
    found["bound_cores"] = (before.cores + after.cores) / 2
    return found | {"ratio": found["per_s"] / bound_per_s, "cpu_ratio": bound_cpu / sum(found["cpu"].values())}


def summary(runs: list[dict[str, Any]]) -> dict[str, object]:
    """Return the medians of runs, beside the raw ones."""
    return {
        **{key: statistics.median(run[key] for run in runs) for key in ("ratio", "cpu_ratio", "per_s", "bound_cores")},
        "cpu_s_per_10k": {role: statistics.median(run["cpu"][role] for run in runs) for role in runs[0]["cpu"]},
        "lost": sum(run["acknowledged"] - run["leaves"] for run in runs),
        "ratios": [run["ratio"] for run in runs],
        "raw": runs,
    }


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", nargs=6, help=argparse.SUPPRESS)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--runs", type=int, default=1)
    given = parser.parse_args()
    if given.serve:
        folder, statements, nodes, warm_s, seconds, profile = given.serve
        serve(Path(folder), Path(statements), int(nodes), float(warm_s), float(seconds), profile)
        return
    with Bound(farms.statements(given.nodes, 50)) as bound:
        statements = enough(given.nodes, given.seconds, bound.measure().per_s * 1.4, WARM_S)
        for _ in range(given.runs):
            print(json.dumps(measure(given.nodes, given.seconds, bound, statements)), flush=True)


if __name__ == "__main__":
    main()
