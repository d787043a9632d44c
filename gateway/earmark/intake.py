"""The way in: messages to verifier processes and back, in the order they came, within bounds.

Batches make themselves: whatever came while the verifiers were busy goes to the next one that is free, so that a
lone statement waits for nothing and a flood travels in few, large pieces.
"""

import asyncio
import logging
import marshal
import os
import socket
import subprocess
import sys
from asyncio import Future, StreamReader, StreamWriter
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from earmark.mqtt import Message
from earmark.process import bound_to_us
from earmark.verifier import FORMAT, Verdict, frame, poison, unpack

BATCH = 512
GATHERED, GATHER_S = 4096, 0.1
"""Statements that are worth a transaction while more wait than the verifiers can take, and how long they may take."""
HIGH, LOW = 4 << 20, 2 << 20
"""Bytes that wait: above the one nothing more is read, below the other it is again."""

OVERHEAD = 256
"""What a message takes besides its payload, in bytes, roughly."""

HANG_S = 30.0
HANG_PARTS = 10
"""Parts of that time; a stall of our own loop, such as on a slow disk, counts as one of them."""

VERIFIER_MEMORY = 128 << 20
"""Bytes of the machine's memory for each verifier, which takes a sixth of that."""

RELAUNCH_S = 1.0
ATTEMPTS = 3
MOST_TOPICS = 65_536

_log = logging.getLogger(__name__)

Verified = tuple[Message, Verdict]


class Verifiers:
    """Processes that examine batches.  One that dies or hangs is replaced and its batch tried again, in halves, so
    that a message that does it is found; what ends `ATTEMPTS` processes alone is a poison.

    Only a process that has answered before is given messages, so that one that cannot start blames none of them.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.restarts = 0
        # None is the place of a process that is still to be started.
        self._free: asyncio.Queue[_Process | None] = asyncio.Queue()
        self._all: set[_Process] = set()

    async def start(self) -> None:
        """Start the processes; the place of one that cannot be started is filled when it is needed."""
        for process in await asyncio.gather(*(self._launch() for _ in range(self.count))):
            self._free.put_nowait(process)

    def stop(self) -> None:
        """End them; no `examine` may be under way that is not cancelled."""
        for process in self._all:
            process.end()
        self._all.clear()

    async def examine(self, raws: Sequence[bytes]) -> list[Verdict]:
        """Return the verdict on each message, in order."""
        for _ in range(ATTEMPTS if len(raws) == 1 else 1):
            verdicts = await self._ask(raws)
            if verdicts is not None:
                return verdicts
        if len(raws) == 1:
            return [poison(raws[0])]
        middle = len(raws) // 2
        return await self.examine(raws[:middle]) + await self.examine(raws[middle:])

    async def _ask(self, raws: Sequence[bytes]) -> list[Verdict] | None:
        process = await self._next_free()
        try:
            verdicts = await process.ask(raws)
        except _FAILURES as error:
            _log.warning("a verifier process %s; %s messages go to another one", _how(error), len(raws))
            self._give_up(process)
            self._free.put_nowait(None)
            return None
        self._free.put_nowait(process)
        return verdicts

    async def _next_free(self) -> "_Process":
        while True:
            process = await self._free.get()
            if process and not process.is_alive:
                self._give_up(process)
                process = None
            process = process or await self._launch()
            if process:
                return process
            self._free.put_nowait(None)
            await asyncio.sleep(RELAUNCH_S)

    async def _launch(self) -> "_Process | None":
        """Start a process and have it answer; None where that fails."""
        process = None
        try:
            process = await _open()
            self._all.add(process)
            await process.ask([])
        except _FAILURES as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else _how(error)
            _log.error("no verifier process starts (%s): statements wait for one", reason)
            if process:
                self._give_up(process)
            return None
        return process

    def _give_up(self, process: "_Process") -> None:
        self.restarts += 1
        process.end()
        self._all.discard(process)


_FAILURES = (OSError, EOFError, ValueError, TypeError)  # TimeoutError and IncompleteReadError are among them


def _how(error: Exception) -> str:
    return f"did not answer within {HANG_S:.0f} s" if isinstance(error, TimeoutError) else "ended by itself"


class _Process:
    """One verifier process and the socket to it."""

    def __init__(self, child: subprocess.Popen[bytes], reader: StreamReader, writer: StreamWriter) -> None:
        self._child = child
        self._reader = reader
        self._writer = writer

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended yet."""
        return self._child.poll() is None

    async def ask(self, raws: Sequence[bytes]) -> list[Verdict]:
        """Send a batch and return the answer; `TimeoutError` where there is none within `HANG_S`."""
        self._writer.write(frame(marshal.dumps(list(raws), FORMAT)))
        answer = asyncio.ensure_future(self._answer())
        try:
            for _ in range(HANG_PARTS):
                if (await asyncio.wait([answer], timeout=HANG_S / HANG_PARTS))[0]:
                    break
            else:
                raise TimeoutError
        finally:
            answer.cancel()
        verdicts = answer.result()
        if len(verdicts) != len(raws):
            raise ValueError("a verifier answered other messages than it was asked about")
        return verdicts

    async def _answer(self) -> list[Verdict]:
        head = await self._reader.readexactly(4)
        return unpack(await self._reader.readexactly(int.from_bytes(head, "big")))

    def end(self) -> None:
        """End the process and wait for it."""
        self._writer.close()
        self._child.kill()
        self._child.wait()


async def _open() -> _Process:
    """Start a verifier process; `OSError` where the system has no room for one."""
    ours, theirs = socket.socketpair()
    with theirs:
        reader, writer = await asyncio.open_connection(sock=ours, limit=1 << 20)
        command = bound_to_us([sys.executable, "-m", "earmark.verifier", str(theirs.fileno())])
        try:
            child = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
            )
        except OSError:
            writer.close()
            raise
    return _Process(child, reader, writer)


class Intake:
    """Takes messages from a connection and gives them back verified, in order.

    `hold` is called with True when too many wait, and with False when there is room again; `drop` gets what a node
    sent beyond `most_a_minute`: it is not examined, only counted, and the node sends it again later.
    """

    def __init__(
        self,
        verifiers: Verifiers,
        most_a_minute: int,
        hold: Callable[[bool], None],
        drop: Callable[[list[Message]], None],
    ) -> None:
        self._verifiers = verifiers
        self._most_a_minute = most_a_minute
        self._hold = hold
        self._drop = drop
        self._minute = -1
        self._sent: dict[int, int] = {}  # by the topic's hash: topics may be as long as 64 KiB
        self._waiting: deque[Message] = deque()
        self._examined: deque[tuple[list[Message], Future[list[Verdict]]]] = deque()
        self._bytes = 0
        self._is_held = False
        self._arrived = asyncio.Event()

    def take(self, messages: Sequence[Message]) -> None:
        """Take in what came; returns at once."""
        admitted = self._within_limits(messages)
        self._waiting += admitted
        self._bytes += _size(admitted)
        self._dispatch()
        if not self._is_held and self._bytes > HIGH:
            self._is_held = True
            self._hold(True)

    def _within_limits(self, messages: Sequence[Message]) -> list[Message]:
        minute = int(asyncio.get_running_loop().time() // 60)
        if minute != self._minute or len(self._sent) > MOST_TOPICS:
            self._minute, self._sent = minute, {}
        sent, most = self._sent, self._most_a_minute
        admitted: list[Message] = []
        dropped: list[Message] = []
        for message in messages:
            topic = hash(message.topic)
            count = sent[topic] = sent.get(topic, 0) + 1
            (admitted if count <= most else dropped).append(message)
        if dropped:
            self._drop(dropped)
        return admitted

    def _dispatch(self) -> None:
        while self._waiting and sum(not examined.done() for _, examined in self._examined) < self._verifiers.count:
            size = min(BATCH, len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(size)]
            examined = asyncio.ensure_future(self._verifiers.examine([message.payload for message in batch]))
            examined.add_done_callback(self._on_examined)
            self._examined.append((batch, examined))

    def _on_examined(self, _: Future[list[Verdict]]) -> None:
        self._dispatch()
        self._arrived.set()

    async def collect(self, wait_s: float) -> list[Verified]:
        """Return what is verified, in the order it came, after waiting at most `wait_s` for a first message, and in a
        flood at most `GATHER_S` for `GATHERED` of them, or for all that are here.
        """
        if not await self._until(1, wait_s):
            return []
        if self._waiting:
            await self._until(GATHERED // BATCH, GATHER_S)
        verified: list[Verified] = []
        while self._examined and self._examined[0][1].done():
            batch, examined = self._examined.popleft()
            self._bytes -= _size(batch)
            verified += zip(batch, examined.result(), strict=True)
        if self._is_held and self._bytes < LOW:
            self._is_held = False
            self._hold(False)
        return verified

    async def _until(self, batches: int, wait_s: float) -> bool:
        """Wait until so many batches are verified, in order, and no longer; say whether they are."""
        try:
            async with asyncio.timeout(wait_s):
                while not self._has(batches):
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            return False
        return True

    def _has(self, batches: int) -> bool:
        if self._waiting and len(self._examined) < batches:
            return False
        return bool(self._examined) and all(done.done() for _, done in islice(self._examined, batches))

    def forget(self) -> None:
        """Let go of what waits: the broker, or the node, sends it again."""
        self._waiting.clear()  # else the cancelled ones make room for them
        for _, examined in self._examined:
            examined.cancel()


def _size(messages: list[Message]) -> int:
    return sum([len(message.payload) for message in messages]) + OVERHEAD * len(messages)


def verifiers_for_this_machine(memory: int) -> int:
    """Return how many verifier processes a machine with so many bytes of memory is worth, at most six: a core each, and
    two more that have work while the answers of the others are written to disk; fewer where memory is short.
    """
    return max(1, min(6, len(os.sched_getaffinity(0)) + 2, memory // VERIFIER_MEMORY))
