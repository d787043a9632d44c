"""Where the processor's time goes that is left: the gateway's own process and a verifier's, by function."""

import cProfile
import pstats
import tempfile
from pathlib import Path
from typing import Any

from bench import direct, farms
from earmark.intake import BATCH
from earmark.verifier import examine, pack

LARGEST = 12
NODES = 100


def measure(statements: Path, seconds: float, count: int) -> dict[str, Any]:
    """Return the largest costs of both, in microseconds a statement; the profiler's own cost is in them."""
    with tempfile.TemporaryDirectory(dir=farms.CACHE, prefix="profile-") as folder:
        own = Path(folder, "gateway.prof")
        found = direct.run(NODES, seconds, statements, profile=str(own))
        gateway = _largest(pstats.Stats(str(own)), found["acknowledged"])
    raws = list(farms.read(statements, count))
    profile = cProfile.Profile()
    profile.enable()
    for at in range(0, count, BATCH):
        pack([examine(raw) for raw in raws[at : at + BATCH]])
    profile.disable()
    return {"gateway": gateway, "verifier": _largest(pstats.Stats(profile), count)}


def _largest(stats: pstats.Stats, count: int) -> list[dict[str, Any]]:
    rows = []
    for (file, line, name), (_, calls, own_s, _, _) in stats.stats.items():
        if "select" in name and "poll" in name:  # it waits there
            continue
        where = name if file == "~" else f"{Path(file).name}:{line} {name}"
        rows.append({"function": where, "us": own_s / count * 1e6, "calls": calls / count})
    return sorted(rows, key=lambda row: -row["us"])[:LARGEST]
