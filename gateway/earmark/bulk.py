"""Many statements examined at once, by all cores, in order."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context

from earmark.verifier import Verdict, examine, pack, unpack

CHUNK = 512
WORTH = 4 * CHUNK
"""Fewer statements than this are examined sooner than a process starts."""


def examine_all(raws: Iterable[bytes], count: int) -> Iterator[Verdict]:
    """Give the verdict on each of about `count` messages, in order; a few chunks are read ahead of what is taken.

    `ChildProcessError` where a process is ended from outside: that says nothing of the messages.
    """
    cores = len(os.sched_getaffinity(0))
    if count < WORTH or cores < 2:
        yield from map(examine, raws)
        return
    try:
        yield from _by_all_cores(iter(raws), cores)
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a process that verified statements was ended, perhaps for want of memory: nothing is found yet, try again"
        ) from error


def _by_all_cores(left: Iterator[bytes], cores: int) -> Iterator[Verdict]:
    ahead: deque[Future[bytes]] = deque()
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        while chunk := list(islice(left, CHUNK)):
            ahead.append(pool.submit(_examine, chunk))
            if len(ahead) > 2 * cores:
                yield from unpack(ahead.popleft().result())
        while ahead:
            yield from unpack(ahead.popleft().result())


def _examine(raws: list[bytes]) -> bytes:
    return pack([examine(raw) for raw in raws])
