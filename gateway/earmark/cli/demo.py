"""`earmark demo`: the way of a reading through the real parts, from a node's signature to a stranger's check."""

import argparse
import contextlib
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from earmark import cose, operator
from earmark.access import node_settings
from earmark.body import METHODS
from earmark.cli.screen import Screen
from earmark.config import create_farm
from earmark.errors import EarmarkError
from earmark.process import bound_to_us
from earmark.proof import check
from earmark.prover import choose_block, prove
from earmark.public import open_devchain
from earmark.report import Report
from earmark.simulation import NodeProcess, Recording, find_interpreters, open_recording
from earmark.statement import decode
from earmark.store import Chain
from earmark.store.sqlite import SqliteStore

SITE = "demo"
MODELLED_NODES = 3
MODELLED_STATEMENTS = 20
MODELLED_INTERVAL_S = 1
LIMIT_S = 170.0
A_DAY_ROWS = 300

CONFIGURATION = """\
# Made by `earmark demo`: short times, and a development chain that is worth nothing.
[farm]
site = "{site}"

[broker]
listen = "127.0.0.1"
port = {port}

[log]
seal_every_s = 2

[ingest]
ack_every_s = 0.5

[beacon]
every_s = 3

[[anchor]]
chain = "development"
every_s = 4
block_every_s = 1
"""


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the options of `demo`."""
    parser.add_argument(
        "--replay", metavar="CSV", type=Path, help="replay this recording; without it, nodes model a greenhouse"
    )
    parser.add_argument("--days", type=int, default=1, help="days of the recording, 0 for all (default: 1)")
    parser.add_argument("--dir", type=Path, help="new folder for the demo's farm (default: earmark-demo/<time>)")


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Run the demo; raises `EarmarkError` where a part of it did not hold."""
    recording = open_recording(args.replay) if args.replay else None
    folder = args.dir or Path("earmark-demo") / datetime.now().astimezone().strftime("%Y-%m-%dT%H-%M-%S")
    demo = Demo(folder, recording, args.days, screen.console)
    try:
        demo.begin()
        demo.watch()
        proofs = demo.prove()
    finally:
        demo.end()
    screen.document(demo.conclude(proofs))
    return 0


class Demo:
    """One run: a farm in a new folder, its gateway and its nodes as processes of their own."""

    def __init__(self, folder: Path, recording: Recording | None, days: int, console: Console) -> None:
        self._folder = folder
        self._recording = recording
        self._days = days
        self._console = console
        self._gateway: subprocess.Popen[bytes] | None = None
        self._nodes: list[NodeProcess] = []
        self.restarts = 0

    def begin(self) -> None:
        """Make the farm, start the gateway, enrol the nodes and start them."""
        port = _free_port()
        text = CONFIGURATION.format(site=SITE, port=port)
        self._farm = create_farm(self._folder, text)
        operator.found(self._farm)
        self._store = SqliteStore(self._farm.database)
        self._say(f"farm in {self._folder}: keys made, log begun")
        self._start_gateway()
        self._await_beacon()
        interpreters = find_interpreters()
        for place, sensor in enumerate(self._sensors()):
            interpreter = interpreters[place % len(interpreters)]
            node = NodeProcess(self._farm.folder / "nodes" / f"node-{place + 1}", interpreter)
            own = {"sensors": [sensor], "interval_s": MODELLED_INTERVAL_S, "resend_s": 3}
            common = node_settings(self._farm, node.name, node.key(), is_here=True)
            node.configure(common | own | {"exit_when_done": bool(self._recording)})
            leaf = operator.enrol(self._farm, node.key(), node.name)
            self._say(f"{node.name}: enrolled at leaf {leaf}, runs the firmware under {interpreter.name}")
            self._nodes.append(node)
        for node in self._nodes:
            node.start()

    def _sensors(self) -> list[dict[str, Any]]:
        if self._recording:
            return list(self._recording.sensors(self._days))
        return [{"driver": "modelled", "seed": seed} for seed in range(1, MODELLED_NODES + 1)]

    def _start_gateway(self) -> None:
        command = bound_to_us([sys.executable, "-m", "earmark", "run", "--farm", str(self._folder)])
        with (self._folder / "gateway.log").open("ab") as log:
            self._gateway = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        (self._folder / "gateway.pid").write_text(f"{self._gateway.pid}\n")

    def keep_up(self) -> None:
        """Start the gateway again where it died: nothing is lost by that."""
        if self._gateway and self._gateway.poll() is not None:
            self.restarts += 1
            self._say(f"the gateway ended (status {self._gateway.returncode}); starting it again")
            self._start_gateway()

    def _await_beacon(self) -> None:
        for _ in self._ticks("the gateway published no beacon"):
            if self._store.newest_beacon():
                return

    def watch(self) -> None:
        """Show what arrives until every node has said what it has to say."""
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        with Progress(*columns, console=self._console, disable=not self._console.is_terminal) as progress:
            total = self._expected()
            bars = {node.name: progress.add_task(f"{node.name} in the log", total=total) for node in self._nodes}
            for _ in self._ticks("the nodes' statements did not all arrive"):
                logged = {chain.sub: _logged(chain) for chain in self._store.chains()}
                for name, bar in bars.items():
                    progress.update(bar, completed=min(logged.get(name, 0), total))
                if self._is_done(logged):
                    for bar in bars.values():
                        progress.update(bar, completed=total)
                    break
        for node in self._nodes:
            node.stop()

    def _expected(self) -> int:
        if self._recording is None:
            return MODELLED_STATEMENTS
        times = {time_s for _, _, time_s in self._recording.readings(self._days)}
        return len(times) + 1

    def _is_done(self, logged: dict[str, int]) -> bool:
        if self._recording is None:
            return all(logged.get(node.name, 0) >= MODELLED_STATEMENTS for node in self._nodes)
        for node in self._nodes:
            if node.poll() not in (None, 0):
                raise EarmarkError(f"{node.name} ended with status {node.poll()}: {node.last_words()}")
        return all(node.poll() == 0 for node in self._nodes)

    def prove(self) -> dict[str, Path]:
        """Wait until everything is sealed and anchored, and write one proof file a node."""
        last = self._store.size() - 1
        self._say(f"{last + 1:,} statements in the log; waiting for the block over them to be final on the chain")
        for _ in self._ticks("the anchor did not become final"):
            newest = self._store.newest_block()
            if newest and newest.size > last and choose_block(self._store, last)[1]:
                break
        proofs = {}
        for node in self._nodes:
            index = self._newest_readings(node)
            path = self._folder / f"{node.name}.earmark"
            path.write_bytes(prove(self._store, self._farm.operator_key(), [index]).encode())
            proofs[node.name] = path
        return proofs

    def _newest_readings(self, node: NodeProcess) -> int:
        chain = next(chain for chain in self._store.chains() if chain.sub == node.name)
        rows = [(index, decode(raw)) for index, raw in self._store.chain_statements(chain.id, self._store.size())]
        return max((index for index, statement in rows if statement.readings), default=rows[-1][0])

    def end(self) -> None:
        """End what still runs."""
        for node in self._nodes:
            node.stop()
        if self._gateway:
            with contextlib.suppress(ProcessLookupError):
                self._gateway.send_signal(signal.SIGTERM)
            self._gateway.wait(30)

    def conclude(self, proofs: dict[str, Path]) -> dict[str, Any]:
        """Compare the log with the recording, check every proof as a stranger would, and say how to do it by hand."""
        counted = self._compare()
        did = cose.did(self._farm.operator_key())
        commands = {name: self._check_command(path, did) for name, path in proofs.items()}
        for name, command in commands.items():
            run = subprocess.run(
                [sys.executable, "-m", *command], capture_output=True, text=True, timeout=60, check=False
            )
            if run.returncode != 0:
                raise EarmarkError(f"the check of {name}'s proof does not hold: {run.stdout}{run.stderr}")
            self._say(
                f"{proofs[name]}: checked by a process that has only this file, the operator's did and two block hashes"
            )
        name = min(commands)
        self._console.print()
        subprocess.run(
            [sys.executable, "-m", *commands[name]],
            timeout=60,
            check=False,
            stdout=sys.stderr if self._console.stderr else None,
        )
        self._store.close()
        shown = shlex.join([_program(), *commands[name][1:]])
        self._console.print(
            "\nCheck it yourself; the block hashes stand for your own view of the chain:\n", highlight=False
        )
        self._console.print(shown, highlight=False, soft_wrap=True, markup=False)
        paths = {name: str(path) for name, path in proofs.items()}
        return counted | {"operator": did, "proofs": paths, "checks": commands}

    def _check_command(self, path: Path, did: str) -> list[str]:
        """Return the check with the hashes that the chain itself, not the file, gives for the blocks it speaks of."""
        report = check(path.read_bytes(), self._farm.operator_key())
        command = ["earmark", "check", str(path), "--operator", did]
        for chain, block_hash in self._hashes_from_chain(report):
            command += ["--block", f"{chain}=0x{block_hash.hex()}"]
        return command

    def _hashes_from_chain(self, report: Report) -> list[tuple[str, bytes]]:
        chain = open_devchain(self._farm)
        try:
            numbers = {block.number: block.chain for block in report.blocks}
            answers = {n: chain.call("eth_getBlockByNumber", [hex(n), False]) for n in sorted(numbers)}
        finally:
            chain.close()
        return [(numbers[n], bytes.fromhex(answer["hash"][2:])) for n, answer in answers.items()]

    def _compare(self) -> dict[str, Any]:
        """Count the readings in the log, and hold them against the recording, value by value."""
        logged: list[tuple[str, str, int]] = []
        methods: set[str] = set()
        for _, _, raw in self._store.statements(0, self._store.size()):
            statement = decode(raw)
            prefix = len(statement.sub) + 1
            methods |= {METHODS[statement.method]} if statement.method is not None else set()
            logged += [(r.name[prefix:], _digits(r.value), int(r.taken_at_s)) for r in statement.readings]
        words = " and ".join(sorted(methods))
        if self._recording:
            recorded = sorted(self._recording.readings(self._days))
            if sorted(logged) != recorded:
                raise EarmarkError(f"the log holds {len(logged)} readings, the recording {len(recorded)}: they differ")
            self._say(f"all {len(recorded):,} recorded values are in the log exactly once, digit by digit ({words})")
        else:
            self._say(f"{len(logged):,} readings are in the log ({words}: nothing here was measured)")
        return {
            "statements": self._store.size(),
            "readings": len(logged),
            "methods": sorted(methods),
            "restarts": self.restarts,
        }

    def _ticks(self, failure: str) -> Iterator[None]:
        limit_s = LIMIT_S * max(1, self._days) if self._days else LIMIT_S * 60
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            self.keep_up()
            yield
            time.sleep(0.1)
        raise EarmarkError(f"{failure} within {limit_s:.0f} s; see gateway.log and nodes/*/node.log in {self._folder}")

    def _say(self, text: str) -> None:
        now = datetime.now().astimezone()
        self._console.print(f"[{now:%H:%M:%S}] {text}", markup=False, highlight=False, soft_wrap=True)


def _program() -> str:
    """Return how the user's shell finds this command: by name where PATH leads here, else by path."""
    here = Path(sys.argv[0])
    found = shutil.which("earmark")
    is_script = here.name == "earmark" and here.is_file()
    return str(here) if is_script and (found is None or not here.samefile(found)) else "earmark"


def _logged(chain: Chain) -> int:
    return sum(last - first + 1 for first, last in chain.runs)


def _digits(value: object) -> str:
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
