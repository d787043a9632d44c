"""Fault table, disk: durable steps that fail both ways, every file system call of a commit, short writes, no room."""

import contextlib
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from earmark.errors import StoreError
from earmark.store import Store
from farm import Bench, Signing, new_store
from fault_report import Counts, fault_row
from fault_scene import Scene
from faults import Promises, chance, promises_at
from services import wait_for

STOPPED = "nothing is acknowledged until the store takes writes again"


class FailingStore:
    """A store that fails once, when it is told to: at the `at`-th call inside a transaction, or at its end.

    At the end it fails in two ways: nothing of the transaction is on disk, or all of it is although it says otherwise.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._calls_left: int | None = None
        self._ending: str | None = None
        self.failed = 0

    def arm(self, draw: random.Random) -> None:
        """Choose how the next transaction fails."""
        self._calls_left = draw.randrange(40) if draw.random() < 0.4 else None
        self._ending = draw.choice(["persisted", "not persisted"])

    def disarm(self) -> None:
        """Fail no more."""
        self._calls_left = self._ending = None

    def __getattr__(self, name: str) -> Any:
        step = getattr(self._store, name)
        return step if not callable(step) else lambda *values, **named: self._step(step, *values, **named)

    def _step(self, step: Callable[..., Any], *values: Any, **named: Any) -> Any:
        if self._calls_left is not None:
            self._calls_left -= 1
            if self._calls_left < 0:
                self._fail()
        return step(*values, **named)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._store.transaction():
            yield
            if self._ending == "not persisted":
                self._fail()
        if self._ending == "persisted":
            self._fail()

    def _fail(self) -> None:
        self.disarm()
        self.failed += 1
        raise StoreError("a fault that was asked for")


class Steps:
    """Random steps of a log over a failing store; nodes keep what no outcome was returned for."""

    def __init__(self, folder: Path, draw: random.Random) -> None:
        self._draw = draw
        self.store = FailingStore(new_store(folder))
        self.bench = Bench(self.store).found()
        self._nodes = [self.bench.enrol(seed, f"n{seed}") for seed in (3, 4, 5)]
        self._waiting: list[bytes] = []
        self._late = [Signing(seed, f"n{seed}") for seed in range(6, 30)]
        self.promises: Promises = promises_at(self.bench)

    def take(self, steps: int) -> None:
        """Take steps, a fault before every other one."""
        for _ in range(steps):
            if self._draw.random() < 0.5:
                self.store.arm(self._draw)
            with contextlib.suppress(StoreError):
                self._draw.choice([self._admit, self._admit, self._seal, self._submit, self._reopen])()
            self.store.disarm()
        self._admit()
        self.bench.log.seal()

    def _admit(self) -> None:
        signer = self._draw.choice(self._nodes)
        self._waiting += [signer.read(self._draw.randrange(4000)) for _ in range(self._draw.randrange(12))]
        known = sorted(self.promises.acknowledged)
        again = self._draw.choices(known, k=3) if known else []
        outcomes = self.bench.admit(*self._waiting, *again, b"junk %d" % self._draw.randrange(9))
        self.promises.acknowledged |= {outcome.arrival.raw for outcome in outcomes if outcome.error is None}
        self._waiting = [raw for raw in self._waiting if raw not in self.promises.acknowledged]
        self.promises.observe(self.store)

    def _seal(self) -> None:
        block = self.bench.log.seal()
        self.promises.checkpoints |= {block.checkpoint} if block else set()

    def _submit(self) -> None:
        """Leave an enrolment of a node that was heard before: it waits in the store until it is taken."""
        if self._late and not self.store.submitted():
            node = self._late.pop()
            self._waiting.append(node.read())
            operator = self.bench.operator
            raw = operator.say({0: "enrolment", 1: node.key, 2: "node", 3: node.sub})
            self.store.disarm()
            with self.store.transaction():
                self.store.submit(raw)
            self.store.arm(self._draw)
        self.bench.log.take_submissions()
        self.bench.log.retry()

    def _reopen(self) -> None:
        self.bench.open()


@fault_row(bounded=20, full=400)
def test_every_durable_step_failing_both_ways(runs: int, counts: Counts, tmp_path: Path) -> None:
    for run in range(runs):
        folder = tmp_path / str(run)
        folder.mkdir()
        steps = Steps(folder, chance("durable steps", run))
        steps.take(20)
        steps.bench.open()
        steps.promises.settle(steps.store, counts)
        counts.faults += steps.store.failed
        counts.acknowledged += len(steps.promises.acknowledged)
        steps.store.close()
        shutil.rmtree(folder)


CALLS = [("pwrite64", ("error=ENOSPC", "error=EIO", "retval=0")), ("fdatasync", ("error=EIO", "error=ENOSPC"))]
OPENING = [("openat", "error=EIO"), ("openat", "error=EMFILE"), ("fcntl", "error=EIO"), ("ftruncate", "error=ENOSPC")]
OPENING += [("pread64", "error=EIO"), ("mmap", "error=ENOMEM"), ("newfstatat", "error=EIO")]


def injecting(scene: Scene, call: str, fault: str, when: int) -> list[str]:
    """Return the strace in front of a gateway that lets the n-th such call on the store's files fail."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("no strace here")
    paths = [word for suffix in ("", "-wal", "-shm") for word in ("-P", f"{scene.farm.database}{suffix}")]
    record = ["-o", str(scene.farm.folder / "strace.log"), "-A"]
    return [
        strace,
        "-D",
        "-f",
        "-qq",
        *record,
        *paths,
        "-e",
        f"trace={call}",
        "-e",
        f"inject={call}:{fault}:when={when}",
    ]


def injected(scene: Scene) -> int:
    """How many calls failed on purpose until now."""
    record = scene.farm.folder / "strace.log"
    return record.read_text().count("(INJECTED)") if record.exists() else 0


@fault_row(bounded=2, full=30, limit_s=600)
def test_file_system_calls_of_a_commit_failing_in_turn(runs: int, counts: Counts, tmp_path: Path) -> None:
    """A short write is one that wrote nothing; the rows below have those that wrote a part."""
    with Scene(tmp_path, "commit calls", counts) as scene:
        for _ in scene.rounds(runs, most_s=0.1):
            scene.gateway.kill()
            call, faults = scene.chance.choice(CALLS)
            before = injected(scene)
            most = 60 if call == "pwrite64" else 12
            scene.gateway.prefix = injecting(scene, call, scene.chance.choice(faults), scene.chance.randint(1, most))
            scene.gateway.start()
            deadline = time.monotonic() + 4
            while injected(scene) == before and time.monotonic() < deadline:
                scene.talk(0.1)
            scene.broke(injected(scene) - before)
            scene.talk(0.5)  # a gateway that met it while opening the store is ending
            _start_again_if_ended(scene)
    assert counts.faults >= runs // 2


@fault_row(bounded=1, full=20)
def test_file_system_calls_of_opening_failing_in_turn(runs: int, counts: Counts, tmp_path: Path) -> None:
    """The gateway may end by itself then, but says why in a line of its own, and the next start finds all."""
    with Scene(tmp_path, "opening calls", counts) as scene:
        for _ in scene.rounds(runs, most_s=0.1):
            scene.gateway.kill()
            before = injected(scene)
            scene.gateway.prefix = injecting(scene, *scene.chance.choice(OPENING), scene.chance.randint(1, 12))
            scene.gateway.start()
            scene.talk(1.0)
            scene.broke(injected(scene) - before)
            scene.gateway.kill()
            _start_again_if_ended(scene)


def _start_again_if_ended(scene: Scene) -> None:
    """A store that cannot be opened ends the gateway with a line that says why; the service manager starts it again."""
    if not scene.gateway.is_running:
        traceback = scene.gateway.said.partition("Traceback")[2]
        assert not traceback, traceback
        scene.gateway.prefix = ()
        scene.gateway.start()


@fault_row(bounded=1, full=12)
def test_writes_cut_short(runs: int, counts: Counts, tmp_path: Path) -> None:
    """A limit on the size of files: the write that meets it writes a part, the next ones nothing."""
    with Scene(tmp_path, "short writes", counts) as scene:
        for _ in scene.rounds(runs):
            scene.talk(0.3)
            stops = scene.gateway.said.count(STOPPED)
            process = psutil.Process(scene.gateway.pid)
            wal = Path(f"{scene.farm.database}-wal").stat().st_size
            most = scene.chance.randrange(1 << 13, max(wal, 1 << 14))  # the log begins anew before it grows
            process.rlimit(psutil.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
            _talk_until(scene, lambda stops=stops: scene.gateway.said.count(STOPPED) > stops)
            process.rlimit(psutil.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            scene.broke(scene.gateway.said.count(STOPPED) - stops)


def _talk_until(scene: Scene, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert scene.gateway.is_running, scene.gateway.said[-2000:]
        assert time.monotonic() < deadline, "the gateway does not say that it cannot write"
        scene.talk(0.1)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """Mount a file system of its own; skips where that is not allowed."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take all the room that there is; returns the file that has it."""
    filler = folder / "filler"
    with filler.open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)
    return filler


@pytest.mark.parametrize("kind", ["embedded", "mosquitto"])
@fault_row(bounded=1, full=8)
def test_a_full_disk(kind: str, runs: int, counts: Counts, tmp_path: Path) -> None:
    """The gateway says so, acknowledges nothing, lets others read, and goes on by itself when there is room."""
    with small_disk(tmp_path / "farm", "16m"):
        (tmp_path / "farm" / "gateway.log").symlink_to(tmp_path / "gateway.log")
        with Scene(tmp_path, f"full disk {kind}", counts, kind) as scene:
            wait_for(lambda: "sealed block" in scene.gateway.said, "a block is sealed")
            for _ in scene.rounds(runs):
                stops = _stops(scene)
                _fold(scene.farm.database)
                filler = fill(scene.farm.folder)
                _talk_until(scene, lambda stops=stops: _stops(scene) > stops)
                _assert_reads_only(scene, tmp_path / "lot.earmark")
                scene.broke()
                filler.unlink()


def _stops(scene: Scene) -> int:
    """How often the gateway said that there is no room, in its store or for its broker, which notices first."""
    said = scene.gateway.said
    return said.count(STOPPED) + said.count("the disk is full: the embedded broker takes nothing in")


def _fold(database: Path) -> None:
    """Fold the write-ahead log into the database, so that the next write needs room."""
    with contextlib.closing(sqlite3.connect(database, timeout=10)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _assert_reads_only(scene: Scene, proof: Path) -> None:
    time.sleep(0.3)  # what was acknowledged before is on its way
    acknowledged = [set(node.acknowledged) for node in scene.nodes]
    proof.unlink(missing_ok=True)
    for words in (["log", "list"], ["prove", "1", "-o", str(proof)]):
        command = [sys.executable, "-m", "earmark", *words, "--farm", str(scene.farm.folder)]
        said = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert said.returncode == 0, said.stderr
    assert proof.stat().st_size > 0
    scene.talk(1.0)
    assert [node.acknowledged for node in scene.nodes] == acknowledged
