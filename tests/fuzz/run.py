"""Fuzz the decoders with atheris: all of them in turn in a process each, or some by name.

python tests/fuzz/run.py --runs 100000 --seed 1 [TARGET …]     what `make fuzz RUNS=… SEED=…` does
python tests/fuzz/run.py --input FILE TARGET                   judge one input, such as a finding

What adds coverage stays in .cache/fuzz/corpus/TARGET and is where the next run begins; an input that broke a promise is
written to .cache/fuzz/found.  The seeds are made from the protocol's vectors and are the same every time.
"""

import argparse
import json
import random
import re
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import judge
from mutate import words

HERE = Path(__file__).resolve()
KEPT = HERE.parents[2] / ".cache" / "fuzz"
INSTRUMENTED = ("earmark", "tomllib", "sensors", *(path.stem for path in judge.FIRMWARE.glob("*.py")))
MOST_S, MOST_S_A_BYTE = 0.5, 1e-4
LIMITS = ("-timeout=20", "-rss_limit_mb=1024", "-print_final_stats=1")
EXECUTED = re.compile(r"stat::number_of_executed_units:\s*(\d+)")


def fuzz(names: list[str], runs: int, seed: int, kept: Path) -> None:
    """Run libFuzzer in this process, which ends with it: on one target, or on several (none named: all), one of them
    for each input.
    """
    import atheris

    with atheris.instrument_imports(include=list(INSTRUMENTED)):
        targets = judge.load()
    chosen = [targets[name] for name in names or sorted(targets)]
    target = chosen[0] if len(chosen) == 1 else together(chosen)
    corpus, seeds = kept / "corpus" / target.name, kept / "seeds" / target.name
    for folder in (corpus, seeds, kept / "found"):
        folder.mkdir(parents=True, exist_ok=True)
    for each in target.seeds:
        (seeds / sha256(each).hexdigest()[:16]).write_bytes(each)

    def judge_in_time(octets: bytes) -> None:
        began = time.process_time()
        target.judge(octets)
        spent = time.process_time() - began
        assert spent < MOST_S + MOST_S_A_BYTE * len(octets), f"{spent} s for {len(octets)} bytes"

    def mutate(octets: bytes, most: int, number: int) -> bytes:
        chance = random.Random(number)
        made = words(octets, chance) if chance.random() < 0.5 else atheris.Mutate(octets, most)
        return bytes(made[:most])

    flags = [f"-runs={runs}", f"-seed={seed}", f"-max_len={target.longest}"]
    flags += [f"-artifact_prefix={kept}/found/{target.name}-"]
    mutator = {"custom_mutator": mutate} if target.is_text else {}
    atheris.Setup([target.name, *LIMITS, *flags, str(corpus), str(seeds)], judge_in_time, **mutator)
    atheris.Fuzz()


def together(targets: list[judge.Target]) -> judge.Target:
    """Return one target for all of these: the first byte of an input says whose the rest is."""

    def judge_one(octets: bytes) -> None:
        if octets:
            targets[octets[0] % len(targets)].judge(octets[1:])

    seeds = [bytes([at]) + seed for at, target in enumerate(targets) for seed in target.seeds]
    return judge.Target("together", judge_one, tuple(seeds), max(target.longest for target in targets), is_text=False)


def fuzz_all(names: list[str], runs: int, seed: int, kept: Path) -> dict[str, dict[str, Any]]:
    """Fuzz targets in turn, each in a process; say and return how many inputs each took, and how it failed."""
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        began = time.monotonic()
        options = ["--here", "--runs", str(runs), "--seed", str(seed), "--kept", str(kept)]
        command = [sys.executable, str(HERE), *options, name]
        ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
        executed = EXECUTED.search(ran.stderr)
        found[name] = {
            "executions": int(executed[1]) if executed else 0,
            "seconds": round(time.monotonic() - began, 1),
            "failure": (ran.stdout[-6000:] + ran.stderr[-2000:]) if ran.returncode else "",
        }
        print(f"{name:26}{found[name]['executions']:>12,}{found[name]['seconds']:>9} s", flush=True)
        if ran.returncode:
            print(found[name]["failure"], flush=True)
    return found


def account(path: Path, found: dict[str, dict[str, Any]]) -> None:
    """Add a run to the executions of each target that are counted in a file, and say them all."""
    total: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
    for name, row in found.items():
        total[name] = total.get(name, 0) + row["executions"]
    path.write_text(json.dumps(total, indent=1, sort_keys=True) + "\n")
    now = sum(row["executions"] for row in found.values())
    print(f"{'in this run':26}{now:>12,}\n{'in all runs so far':26}{sum(total.values()):>12,}")


def main() -> int:
    """Do what the command line asks for; the exit code is 1 where a target broke a promise."""
    parser = argparse.ArgumentParser(description="Fuzz every decoder that sees foreign bytes.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="targets by name; by default all")
    parser.add_argument("--runs", type=int, default=50_000, help="inputs for each target")
    parser.add_argument("--seed", type=int, default=1, help="seed of libFuzzer's chance")
    parser.add_argument("--kept", type=Path, default=KEPT, help="folder of corpus and findings")
    parser.add_argument("--input", type=Path, help="judge this one file")
    parser.add_argument("--here", action="store_true", help="fuzz the targets together, in this process")
    asked = parser.parse_args()
    if asked.here:
        fuzz(asked.targets, asked.runs, asked.seed, asked.kept)
    targets = judge.load()
    if asked.input:
        targets[asked.targets[0]].judge(asked.input.read_bytes())
        return 0
    found = fuzz_all(asked.targets or sorted(targets), asked.runs, asked.seed, asked.kept)
    account(asked.kept / "executions.json", found)
    return int(any(row["failure"] for row in found.values()))


if __name__ == "__main__":
    sys.exit(main())
