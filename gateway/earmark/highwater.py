"""The log's high-water mark: its newest checkpoint, remembered where going back to an old database does not reach it.

Three memories hold it: a file beside the database, a retained message of the broker, and every node that had an
acknowledgement (docs/protocol.md §10).  A checkpoint under the gateway's own key whose block the store does not hold
shows that the store is an older copy, or one of two that both went on: then nothing may be served from it.
"""

import secrets
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

from earmark.block import Checkpoint, decode_checkpoint, decode_header
from earmark.errors import ConfigError, CorruptLog, EarmarkError, StoreError
from earmark.keys import replace_private
from earmark.mqtt import Endpoint, Link, Message
from earmark.store import SealedBlock, Store

ASK_EVERY_S = 1.0
DENIED_S = 30.0
MOST_HEARD = 1000

_WHAT_TO_DO = (
    "Nothing is served from it. Find the newer copy of the database and run that one, once `earmark log check` holds. "
    "If it is lost for good, begin a new log with `earmark init` in another folder and keep this one for proofs: nodes "
    "still have what was not acknowledged, and proof files that were made stay valid"
)


class HighWater:
    """The newest checkpoint that may have left this machine, held against a store of the log `origin`."""

    def __init__(self, store: Store, path: Path, origin: str, key: bytes) -> None:
        """`path` is the file that remembers; `key` the gateway's public key.  Touches nothing yet."""
        self._store = store
        self._path = path
        self._origin = origin
        self._key = key
        self._kept = b""

    def check(self) -> None:
        """Hold the store against the file; `CorruptLog` where the store is older.  No file is no evidence."""
        try:
            encoded, written_at_s = self._path.read_bytes(), self._path.stat().st_mtime
        except FileNotFoundError:
            return
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be read: {error.strerror}") from error
        if not self.hold(encoded, f"{self._path}, written {_utc(written_at_s)},"):
            raise ConfigError(
                f"{self._path} holds no checkpoint of {self._origin}: it is another log's, or damaged. Move it away if "
                "you are sure that this database is the newest copy"
            )

    def keep(self, block: SealedBlock | None) -> bytes | None:
        """Remember a block's checkpoint, on disk and synced when this returns; only then may it leave the machine.

        Returns it to be published, where it is not the one that was kept last; `StoreError` where it was not written.
        """
        if block is None or block.checkpoint == self._kept:
            return None
        try:
            replace_private(self._path, block.checkpoint.decode())
        except OSError as error:
            raise StoreError(f"{self._path} cannot be written: {error.strerror}") from error
        self._kept = block.checkpoint
        return block.checkpoint

    def hears(self, payload: bytes, topic: str) -> bool:
        """Say whether a message is a checkpoint of this log, as nodes send it before their statements; `CorruptLog`
        where the store does not hold its block.
        """
        return payload.startswith(b"earmark/") and self.meet(payload, f"a node, on {topic},")

    def meet(self, encoded: bytes, where: str) -> bool:
        """As `hold`, of what somebody else remembers; what contradicts the store is kept in the file, so that no later
        start serves before it hears it again.
        """
        try:
            return self.hold(encoded, where)
        except CorruptLog:
            with suppress(OSError):  # then only this start is refused
                replace_private(self._path, encoded.decode())
            raise

    def hold(self, encoded: bytes, where: str) -> bool:
        """Hold a checkpoint that was found somewhere against the store; False where it is none of this log.

        Raises `CorruptLog`, which says what to do, where the store has no such block.
        """
        try:
            seen = decode_checkpoint(encoded)
            seen.verify(self._origin, self._key)
        except EarmarkError:
            return False
        ours = self._store.block(seen.height)
        if ours is None:
            raise CorruptLog(self._older(seen, where))
        if decode_header(ours.header).hash != seen.block_hash:
            raise CorruptLog(
                f"this store and {where} hold two histories of one log: block {seen.height} seals {ours.size:,} leaves "
                f"here, and {seen.size:,} there under another hash. Two copies of this farm went on, each by itself. "
                f"{_WHAT_TO_DO}"
            )
        return True

    def _older(self, seen: Checkpoint, where: str) -> str:
        newest = self._store.newest_block()
        ends = "has no block at all"
        if newest:
            sealed = _utc(decode_header(newest.header).sealed_at_ms / 1000)
            ends = f"ends at block {newest.height} with {newest.size:,} leaves, sealed {sealed}"
        return (
            f"this store is an older copy of its log: it {ends}; {where} has this gateway's own checkpoint of block "
            f"{seen.height} with {seen.size:,} leaves. Going on would give leaves out a second time. {_WHAT_TO_DO}"
        )


class BrokerMemory:
    """What the broker remembers of a log: asked at the start, and listened to from then on, over a link of its own.

    The link subscribes to `topic` alone.  A broker gives the retained message on a subscription before anything that
    is published after it, so the answer is complete once a message of our own came back.
    """

    def __init__(self, endpoint: Endpoint, session: str, topic: str, mark: HighWater) -> None:
        self.has_answered = False
        self.link = Link(endpoint, session, [topic], self._take)
        self._topic = topic
        self._mark = mark
        self._token = secrets.token_bytes(16)
        self._heard: deque[Message] = deque(maxlen=MOST_HEARD)
        self._asked_at_s = self._next_ask_s = 0.0

    def _take(self, messages: list[Message]) -> None:
        self._heard.extend(messages)

    def listen(self) -> None:
        """Hold what the broker said since the last time against the store, and ask it until it has answered.

        `CorruptLog` where it knows a block that the store does not hold; `ConfigError` where it is there and gives
        nothing back, since then it remembers nothing for us either.
        """
        while self._heard:
            message = self._heard[0]
            if message.payload == self._token:
                self.has_answered = True
            else:
                self._mark.meet(message.payload, "the broker")
            self.link.acknowledge([self._heard.popleft()])  # not before: a store that failed is asked once more
        if not self.has_answered and self.link.is_connected:
            self._ask(time.monotonic())

    def _ask(self, now_s: float) -> None:
        if now_s < self._next_ask_s:
            return
        self._asked_at_s = self._asked_at_s or now_s
        if now_s - self._asked_at_s > DENIED_S:
            raise ConfigError(
                f"the broker gives nothing back on {self._topic}, where it remembers the newest checkpoint: allow the "
                "gateway's user to read and write it"
            )
        self._next_ask_s = now_s + ASK_EVERY_S
        self.link.publish(self._topic, self._token)


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
