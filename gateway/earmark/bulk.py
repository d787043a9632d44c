"""Work on many statements at once, by all cores, in order."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context
from types import TracebackType
from typing import Self, TypeVar

from earmark.process import end_with
from earmark.verifier import Verdict, examine, pack, unpack

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
    """

    def __init__(self, count: int) -> None:
        self._cores = len(os.sched_getaffinity(0))
        self._pool: ProcessPoolExecutor | None = None
        if count >= WORTH and self._cores > 1:
            context = get_context("fork" if threading.active_count() == 1 else "spawn")
            self._pool = ProcessPoolExecutor(self._cores, context, end_with, (os.getpid(),))
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
        try:
            for task in islice(left, 2 * self._cores + 1):
                ahead.append(self._pool.submit(work, task))
            while ahead:
                yield ahead.popleft().result()
                for task in islice(left, 1):
                    ahead.append(self._pool.submit(work, task))
        except BrokenProcessPool as error:
            raise ChildProcessError(
                "a process that verified statements was ended, perhaps for want of memory: nothing is found yet, "
                "try again"
            ) from error

    def examine_all(self, raws: Iterable[bytes]) -> Iterator[Verdict]:
        """Give the verdict on each message, in order."""
        left = iter(raws)
        for packed in self.map(_examine, iter(lambda: list(islice(left, CHUNK)), [])):
            yield from unpack(packed)


def _examine(raws: list[bytes]) -> bytes:
    return pack([examine(raw) for raw in raws])
