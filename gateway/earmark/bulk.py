"""Work on many statements at once, by all cores, in order."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context
from types import TracebackType
from typing import Self, TypeVar

from earmark import verifier
from earmark.errors import EarmarkError
from earmark.process import end_with
from earmark.verifier import Verdict, pack, unpack

CHUNK = 512
WORTH = 4 * CHUNK
"""Fewer statements than this are examined sooner than processes start."""

TYPICAL = 500
"""Bytes of a statement, roughly: to tell from the size of a file how many it holds."""

Task = TypeVar("Task")
Result = TypeVar("Result")


class Pool:
    """A process for each core, started at once, for as long as the block lasts; none where `count` statements are not
    worth it, or there is one core: then this process does the work.

    The processes are forks of this one where that is safe, in a program of one thread; no database may be open then.
    They hold `shared`, what tasks are about, without its being sent with each.
    """

    def __init__(self, count: int, shared: Sequence[bytes] = ()) -> None:
        self._cores = len(os.sched_getaffinity(0))
        self._pool: ProcessPoolExecutor | None = None
        if count >= WORTH and self._cores > 1:
            context = get_context("fork" if threading.active_count() == 1 else "spawn")
            self._pool = ProcessPoolExecutor(self._cores, context, _begin, (os.getpid(), shared))
            for _ in range(self._cores):
                self._pool.submit(os.getpid)  # it starts a process for each thing to do that finds none idle

    @property
    def has_processes(self) -> bool:
        """Whether the work is not done by this process itself."""
        return self._pool is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def map(self, work: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Give the result of each task, in order; a few tasks are read ahead of what is taken.

        `work` is a function of a module, or a `partial` of one.  `ChildProcessError` where a process is ended from
        outside: that says nothing of the tasks.
        """
        if self._pool is None:
            yield from map(work, tasks)
            return
        left, ahead = iter(tasks), deque[Future[Result]]()
        with _unbroken():
            for task in islice(left, 2 * self._cores + 1):
                ahead.append(self._pool.submit(work, task))
            while ahead:
                yield ahead.popleft().result()
                for task in islice(left, 1):
                    ahead.append(self._pool.submit(work, task))

    def submit(self, work: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Give the processes all of the tasks at once, and then their results as `map` does."""
        if self._pool is None:
            return map(work, tasks)
        with _unbroken():
            return _results([self._pool.submit(work, task) for task in tasks])


def _results(futures: Sequence[Future[Result]]) -> Iterator[Result]:
    with _unbroken():
        for future in futures:
            yield future.result()


@contextmanager
def _unbroken() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a process that verified statements was ended, perhaps for want of memory: nothing is found yet, try again"
        ) from error


_shared: Sequence[bytes] = ()


def _begin(parent: int, shared: Sequence[bytes]) -> None:
    global _shared  # noqa: PLW0603 - a process of a pool has nothing else to keep it in
    end_with(parent)
    _shared = shared


class Examination(verifier.Examination):
    """Statements read and then verified by all cores, while the block lasts; few of them by this process.

    `progress` hears how many are verified, of how many.
    """

    def __init__(self, raws: Sequence[bytes]) -> None:
        super().__init__(raws)
        self.progress: Callable[[int, int], None] | None = None
        self._pool = Pool(len(raws), raws)
        self._left: Iterator[dict[int, EarmarkError]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.__exit__(kind, error, at)

    def verdicts(self) -> Iterator[Verdict]:
        """Give what is said of each statement; when all are given, the processes begin to verify."""
        if not self._pool.has_processes:
            yield from super().verdicts()
            return
        places = [(at, at + CHUNK) for at in range(0, len(self._raws), CHUNK)]
        for packed in self._pool.map(_read, places):
            yield from unpack(packed)
        self._left = self._pool.submit(_check, places)

    def faults(self) -> dict[int, EarmarkError]:
        """Return what is wrong with signatures, by place, once all are verified.

        `RuntimeError` where not all verdicts were taken before, or at a second call: nothing found is not all well.
        """
        if not self._pool.has_processes:
            return super().faults()
        left, self._left = self._left, None
        if left is None:
            raise RuntimeError("faults are taken once, after all verdicts")
        found: dict[int, EarmarkError] = {}
        for number, faults in enumerate(left):
            found |= {number * CHUNK + place: error for place, error in faults.items()}
            if self.progress:
                self.progress(min((number + 1) * CHUNK, len(self._raws)), len(self._raws))
        return found


def _read(place: tuple[int, int]) -> bytes:
    return pack([verifier.read(raw) for raw in _shared[slice(*place)]])


def _check(place: tuple[int, int]) -> dict[int, EarmarkError]:
    return verifier.faults_of(_shared[slice(*place)])
