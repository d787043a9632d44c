"""All benchmarks, and the report: `python -m bench [--quick]` in tests/, or `make bench [QUICK=1]`.

What cannot be measured on a machine is in the report with the reason, and the exit status is 1.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import bound as bound_module
from bench import checking, direct, farms, growth, ingest, latency, node, peers, profiling, report, single, wear
from bench.bound import Bound, compare_with_c

CONFIGURATIONS = {
    "broker": ("mosquitto", 100),
    "embedded": ("embedded", 100),
    "broker.1000": ("mosquitto", 1000),
    "embedded.1000": ("embedded", 1000),
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured: seconds, runs, leaves, statements."""

    runs: int
    warm_s: float
    seconds: float
    latencies: int
    leaves: tuple[int, ...]
    checked: int
    check_runs: int
    peer_warm_s: float
    peer_s: float
    pymerkle_singles: int
    pymerkle_size: int
    profiled: int
    signatures: int
    worn: int


FULL = Sizes(
    5, 5.0, 10.0, 300, (10_000, 1_000_000, 10_000_000), 100_000, 5, 8.0, 10.0, 5000, 100_000, 50_000, 41, 40_000
)
QUICK = Sizes(1, 1.0, 1.0, 5, (2_000, 10_000), 3_000, 1, 1.0, 1.0, 300, 10_000, 2_000, 3, 300)

CHECKS = ("check.", "log_check.", "checking.", "single.")
NODE = "node."
COUNTED = ("node.cortex_m3.", "node.esp32.")  # stand until they are counted anew: not every machine can
QUICK_BOUND_S = 0.4
FAULTS = report.HERE / "faults.json"  # what `make faults` and `make soak` counted


class Bench:
    """One run of everything: what was found so far, and what could not be."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.found: dict[str, Any] = {}
        self.failed: list[str] = []

    def part(self, name: str, measure: Callable[[], Any]) -> Any:
        """Measure one part; where that fails the report says so, and the others go on."""
        begun, failure = time.monotonic(), ""
        try:
            result = measure()
        except (RuntimeError, OSError, ValueError, ArithmeticError, subprocess.SubprocessError) as error:
            failure = str(error) or type(error).__name__
            result = {"not_measured": failure}
            self.failed.append(name)
        print(f"{name}: {time.monotonic() - begun:.0f} s {failure}", file=sys.stderr, flush=True)
        return result

    def ingest(self, bound: Bound) -> None:
        """The bound and the ways in, taking turns."""
        sizes, per_s = self.sizes, bound.measure().per_s
        files = {nodes: ingest.enough(nodes, sizes.seconds, per_s * 1.2, sizes.warm_s) for nodes in (100, 1000)}
        runs: dict[str, list[Any]] = {name: [] for name in (*CONFIGURATIONS, "direct")}
        for _ in range(sizes.runs):
            for name, (broker, nodes) in CONFIGURATIONS.items():
                given = broker, nodes, sizes.seconds, bound, files[nodes], sizes.warm_s
                runs[name].append(self.part(f"ingest.{name}", lambda given=given: ingest.measure(*given)))
            one = 100, sizes.seconds * 0.8, bound, files[100], sizes.warm_s * 0.6
            runs["direct"].append(self.part("ingest.direct", lambda one=one: direct.measure(*one)))
        for name, each in runs.items():
            good = [run for run in each if not (isinstance(run, dict) and "not_measured" in run)]
            summary = direct.summary if name == "direct" else ingest.summary
            self.found[f"ingest.{name}"] = summary(good) if len(good) == len(each) else each[-1]
        rates = [bound.measure().per_s for _ in range(sizes.runs)]
        compared = compare_with_c(files[100], sizes.runs)
        self.found["bound"] = {"per_s": statistics.median(rates), "raw_per_s": rates, **compared}
        at_rest = self.part("ingest.latency", lambda: latency.measure("mosquitto", sizes.latencies))
        self.found["ingest.latency"] = at_rest
        self.found["profile"] = self.part(
            "profile", lambda: profiling.measure(files[100], min(sizes.seconds, 4.0) / 2, sizes.profiled)
        )

    def check(self, bound: Bound) -> None:
        """Bulk checks."""
        sizes = self.sizes
        found = self.part("checking", lambda: checking.measure(sizes.checked, sizes.check_runs, bound))
        for name in ("check", "log_check"):
            self.found[name] = found.pop(name, found)
        self.found["checking"] = found | {"date": report.machine()["date"]}
        self.found["single"] = self.part("single", lambda: single.measure(sizes.checked, sizes.check_runs))

    def sign(self) -> None:
        """What a signature costs a node."""
        sizes = self.sizes
        self.found["node"] = self.part("node", lambda: node.measure(sizes.runs, sizes.signatures))
        self.found["node.outbox"] = self.part("node.outbox", lambda: wear.measure(sizes.worn))

    def grow(self) -> None:
        """Growth; the short keys are those of the largest log."""
        found = self.part("growth", lambda: growth.measure(list(self.sizes.leaves)))
        largest = found.get(str(self.sizes.leaves[-1]), {})
        short = {
            "prove.p50_ms": "prove_p50_ms", "rss_mb": "rss_mb", "start_s": "start_s",
            "disk.bytes_over_statement": "bytes_over",
        }  # fmt: skip
        self.found |= {name: largest[key] for name, key in short.items() if key in largest}
        self.found["growth"] = found

    def compare(self, bound: Bound) -> None:
        """Peers, and ourselves killed in the same way."""
        sizes = self.sizes
        measures: dict[str, Callable[[], Any]] = {
            "earmark": lambda: peers.measure_earmark(bound, sizes.peer_s + sizes.peer_warm_s, sizes.runs),
            "pymerkle": lambda: peers.measure_pymerkle(sizes.pymerkle_singles, sizes.pymerkle_size, 100),
        }
        for peer in peers.PEERS:
            measures[peer.name] = lambda peer=peer: peers.measure(peer, sizes.peer_warm_s, sizes.peer_s, sizes.runs)
        self.found["peers"] = {name: self.part(f"peers.{name}", measure) for name, measure in measures.items()}


def _node_again(folder: Path) -> int:
    """Measure the nodes' signatures, and replace what the report in a folder says of them."""
    figures = json.loads((folder / "report.json").read_text())
    bench = Bench(FULL)
    bench.sign()
    fresh = dict(report.flat(bench.found))
    counted = any(key.startswith(COUNTED) for key in fresh)
    stays = [key for key in figures if not key.startswith(NODE) or (key.startswith(COUNTED) and not counted)]
    report.write({key: figures[key] for key in stays} | fresh, folder)
    return 1 if bench.failed else 0


def _check_again(folder: Path) -> int:
    """Measure the checks, and replace what the report in a folder says of them."""
    figures = json.loads((folder / "report.json").read_text())
    bench = Bench(FULL)
    with Bound(farms.statements(100, 50)) as bound:
        bench.check(bound)
    kept = {key: value for key, value in figures.items() if not key.startswith(CHECKS)}
    report.write(kept | bench.found, folder)
    return 1 if bench.failed else 0


def main() -> int:
    """Measure everything, and write the report beside this file or into the folder named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, in under a minute")
    parser.add_argument(
        "--again", action="store_true", help="only the checks, put with their date into the report that is there"
    )
    parser.add_argument("--node", action="store_true", help="as --again, but only what a signature costs a node")
    parser.add_argument("--into", metavar="DIR", type=Path, default=report.HERE, help="where the report goes")
    given = parser.parse_args()
    given.into.mkdir(parents=True, exist_ok=True)
    if given.node:
        return _node_again(given.into)
    for install in (peers.install_python, peers.install_node):
        with contextlib.suppress(RuntimeError, OSError):  # the part that needs it says why
            install()
    if given.quick:
        bound_module.MEASURE_S = QUICK_BOUND_S
    if given.again:
        return _check_again(given.into)
    begun = time.monotonic()
    bench = Bench(QUICK if given.quick else FULL)
    with Bound(farms.statements(100, 50)) as bound:
        bench.ingest(bound)
        bench.check(bound)
        bench.compare(bound)
    bench.grow()
    bench.sign()
    took_s = time.monotonic() - begun
    head = {"quick": given.quick, "took_s": took_s, "machine": report.machine(), "sizes": asdict(bench.sizes)}
    if FAULTS.exists():
        head["faults"] = json.loads(FAULTS.read_text())
    report.write(head | bench.found, given.into)
    print(f"{given.into / 'report.md'}: {took_s:.0f} s", file=sys.stderr)
    return 1 if bench.failed else 0


if __name__ == "__main__":
    sys.exit(main())
