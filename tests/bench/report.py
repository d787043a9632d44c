"""The report: report.json with flat keys, and report.md, which says the same for people."""

import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


ALONE = 0.9  # of the cores, that the bound has where nothing else runs
CORES = "machine.cores"


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on a figure: at least, or at most."""

    key: str
    bound: float
    at_least: bool

    def is_met(self, value: float) -> bool:
        """Say whether a measured value is on the right side."""
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"


GOALS = (
    Goal("ingest.broker.ratio", 0.45, True),
    Goal("ingest.broker.1000.ratio", 0.45, True),
    Goal("ingest.embedded.ratio", 0.45, True),
    Goal("ingest.embedded.1000.ratio", 0.45, True),
    Goal("ingest.direct.ratio", 0.65, True),
    Goal("ingest.latency.p50_ms", 100, False),
    Goal("check.ratio", 0.85, True),
    Goal("log_check.ratio", 0.85, True),
    Goal("single.statement_and_ots_bytes", 2048, False),
    Goal("single.check_warm_ms", 50, False),
    Goal("single.check_fresh_s", 0.5, False),
    Goal("prove.p50_ms", 1, False),
    Goal("rss_mb", 200, False),
    Goal("start_s", 5, False),
    Goal("disk.bytes_over_statement", 120, False),
    Goal("node.sign.speedup", 5, True),
    Goal("node.sign.heap_bytes", 10_240, False),
    Goal("node.mpy.xtensawin_bytes", 49_152, False),
    Goal("node.cortex_m3.viper.sign_m", 5, False),
    Goal("node.cortex_m3.signatures", 2.5, False),
)

NOTES = """\
How each figure is measured, and what it leaves out, is in docs/performance.md.  Ratios are medians of runs that took
turns with the others; beside each is the range of its runs.  `cpu_ratio` is the bound's processor time over that of all
processes of a run, which other programs on the machine change less than the clock.
"""


def machine() -> dict[str, Any]:
    """Return what was measured on, and when."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "name": platform.node(),
        "cpu": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Give the leaves of nested results as (`a.b.c`, value); lists stay whole."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def write(results: dict[str, Any], folder: Path = HERE) -> None:
    """Write both files; each is there whole or not at all."""
    figures = dict(flat(results))
    texts = {"report.json": json.dumps(figures, indent=1, ensure_ascii=False) + "\n", "report.md": text(figures)}
    for name, content in texts.items():
        part = folder / f"{name}.part"
        part.write_text(content)
        part.rename(folder / name)


def text(figures: dict[str, Any]) -> str:
    """Return report.md."""
    shared = [key for key, value in figures.items() if key.endswith("bound_cores") and value < ALONE * figures[CORES]]
    facts = {key.partition(".")[2]: value for key, value in figures.items() if key.startswith("machine.")}
    lines = ["# What was measured", ""]
    if figures["quick"]:
        lines += ["**A quick run: small sizes and single runs.  Quote none of these figures.**", ""]
    if shared:
        lines += [
            f"**Other programs used the machine (`{shared[0]}`): ratios are not to be trusted, `cpu_ratio` is.**",
            "",
        ]
    lines += [f"On {facts.pop('name')}, {facts.pop('date')}: {', '.join(f'{k} {v}' for k, v in facts.items())}.", ""]
    lines += [NOTES, *_goals(figures)]
    failed = {key: value for key, value in figures.items() if key.endswith("not_measured")}
    lines += [f"\n`{key.removesuffix('.not_measured')}` was not measured: {why}." for key, why in failed.items()]
    for title, prefixes in SECTIONS:
        if not any(key.startswith(prefixes) for key in figures):
            continue
        lines += ["", f"## {title}", "", "| figure | value |", "|---|---|"]
        lines += [f"| `{key}` | {shown(value)} |" for key, value in figures.items() if _belongs(key, value, prefixes)]
    lines += ["", *_costs(figures), "## Raw numbers", "", "| figure | runs |", "|---|---|"]
    lines += [f"| `{key}` | {_raw(value)} |" for key, value in figures.items() if _is_raw(key, value)]
    return "\n".join(lines) + "\n"


SECTIONS = (
    ("Sizes", ("sizes.", "took_s")),
    ("The bound", ("bound.",)),
    ("Ingest", ("ingest.",)),
    ("Bulk check", ("check.", "log_check.", "checking.")),
    ("One statement", ("single.",)),
    ("Growth", ("prove.", "rss_mb", "start_s", "disk.", "growth.")),
    ("A node's signatures and outbox", ("node.",)),
    ("Peers", ("peers.",)),
    ("Faults, as `make faults` and `make soak` counted them", ("faults.",)),
)


def _belongs(key: str, value: Any, prefixes: tuple[str, ...]) -> bool:
    return key.startswith(prefixes) and not isinstance(value, list)


def _is_raw(key: str, value: Any) -> bool:
    return isinstance(value, list) and not key.startswith("profile.")


def _goals(figures: dict[str, Any]) -> list[str]:
    lines = ["| figure | measured | goal | |", "|---|---|---|---|"]
    for goal in GOALS:
        value = figures.get(goal.key)
        verdict = "not measured" if value is None else "met" if goal.is_met(value) else "**missed**"
        spread = figures.get(f"{goal.key}s", [])
        said = "" if value is None else shown(value) + (f" ({min(spread):.3f} – {max(spread):.3f})" if spread else "")
        lines.append(f"| `{goal.key}` | {said} | {goal} | {verdict} |")
    return lines


def _costs(figures: dict[str, Any]) -> list[str]:
    lines = ["## The largest remaining costs", ""]
    for process in ("gateway", "verifier"):
        rows = figures.get(f"profile.{process}")
        if rows is None:
            continue
        lines += [f"In the {process}, under the profiler, which makes small functions look dearer than they are:", ""]
        lines += ["| function | µs a statement | calls a statement |", "|---|---|---|"]
        lines += [f"| `{row['function']}` | {row['us']:.2f} | {row['calls']:.3f} |" for row in rows]
        lines.append("")
    return lines


def shown(value: Any) -> str:
    """Return a figure as the report says it."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


def _raw(values: list[Any]) -> str:
    """Return a list in short: numbers as they are (at most 50 of them), runs by their rates."""
    rows = values[:50]
    parts = [", ".join(f"{key} {shown(inner)}" for key, inner in flat(row)) if isinstance(row, dict) else shown(row)
             for row in rows]  # fmt: skip
    more = f"; and {len(values) - 50} more in report.json" if len(values) > 50 else ""
    return "; ".join(parts) + more
