"""A farm's witnesses are asked to cosign each newest block, each in a thread of its own: never in the way of the log.

Each is asked over HTTP (C2SP tlog-witness), with the proof from what it saw last; its cosignature is verified and kept
for the proof files.  A witness that refuses the log as one that contradicts what it saw is an alarm.
"""

import logging
import threading
import time
from collections.abc import Callable

from earmark.anchor.http import Http
from earmark.block import decode_checkpoint
from earmark.config import Farm
from earmark.consistency import prove_continuation
from earmark.cosignature import Cosignature, find
from earmark.errors import AnchorError, BadSignature, EarmarkError, EncodingError, SplitView, WitnessError
from earmark.metrics import Metrics
from earmark.note import COSIGNATURE, VerifierKey, decimal, decode_verifier_key
from earmark.process import clock_ms
from earmark.settings import WitnessSettings
from earmark.store import AWAY, COSIGNED, SPLIT, SealedBlock, Store, WitnessRow
from earmark.store.sqlite import SqliteStore
from earmark.tiles import TileTree

LOOK_S = 0.5
TIMEOUT_S = 10.0
STOP_S = 3.0
FIRST_WAIT_S = 2.0
LONGEST_WAIT_S = 600.0
MOST_ANSWER = 64 << 10

_log = logging.getLogger(__name__)

Post = Callable[[bytes], tuple[int, bytes]]
"""Send the body of a request to a witness and return the answer's status and body; `WitnessError` for no answer."""


class Cosigning:
    """The witnesses of a farm, each with a thread of its own: one that hangs holds up no other."""

    def __init__(self, farm: Farm, metrics: Metrics) -> None:
        """`height` is the newest block that may leave this machine, -1 before the first; whoever seals sets it."""
        self.height = -1
        self._farm = farm
        self._metrics = metrics
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(settings,), name="earmark-witness", daemon=True)
            for settings in farm.config.witness
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads and wait for them, but not for long: one that waits for an answer has nothing to lose."""
        self._stop.set()
        deadline_s = time.monotonic() + STOP_S
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline_s - time.monotonic()))

    def _run(self, settings: WitnessSettings) -> None:
        try:
            store = SqliteStore(self._farm.database)
            witness = Asked(settings, store, self._metrics)
        except Exception as error:  # noqa: BLE001 - health has to tell
            said = f"{settings.url} is not asked until the gateway is started again: {error}"
            self._metrics.unwitnessed(said)
            _log.exception("no cosignatures: %s", said)
            return
        while not self._stop.wait(LOOK_S):
            self._step(witness)
        store.close()

    def _step(self, witness: "Asked") -> None:
        try:
            witness.step(self.height, time.monotonic())
        except Exception:  # noqa: BLE001 - a witness' fault must not end the others
            _log.exception("asking %s failed in a way that it should not; it is tried again", witness.key.name)


class Asked:
    """One witness: when it is asked next, and what it said last."""

    def __init__(self, settings: WitnessSettings, store: Store, metrics: Metrics, post: Post | None = None) -> None:
        """`post` stands for the network, by default HTTP to the settings' URL."""
        self.key: VerifierKey = decode_verifier_key(settings.vkey, COSIGNATURE)
        self._every_s = settings.every_s
        self._store = store
        self._metrics = metrics
        self._post = post or poster(settings.url)
        self._known = 0
        self._next_s = 0.0
        self._wait_s = FIRST_WAIT_S
        self._said: tuple[str, str] | None = None
        before = next((row for row in store.witnesses() if row.vkey == self.key.encode()), None)
        self._is_split = before is not None and before.state == SPLIT
        if before:
            metrics.witness_said(self.key.name, before)
        newest = store.newest_cosigned(self.key.name, self.key.id)
        self._height = newest[0] if newest else -1
        if newest:
            block = store.block(newest[0])
            self._known = block.size if block else 0

    def step(self, height: int, now_s: float) -> None:
        """Ask for the block at a height, where it has not cosigned that far and it is time; keep the answer."""
        if height <= self._height or now_s < self._next_s:
            return
        try:
            block = self._store.block(height)
            if block is None:
                return
            tree = TileTree(block.size, self._store.tile)
            self._keep(block, ask(self.key, block, tree, self._post, self._known, self._newest_size))
            self._next_s, self._wait_s = now_s + self._every_s, FIRST_WAIT_S
        except EarmarkError as error:
            self._tell(SPLIT if isinstance(error, SplitView) else AWAY, str(error))
            self._next_s = time.monotonic() + self._wait_s
            self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)

    def _newest_size(self) -> int:
        newest = self._store.newest_block()
        return newest.size if newest else 0

    def _keep(self, block: SealedBlock, cosignature: Cosignature) -> None:
        with self._store.transaction():
            self._store.add_cosignature(block.height, cosignature)
        self._height, self._known = block.height, block.size
        self._metrics.cosigned(self.key.name, block.height)
        _log.info("block %s is cosigned by %s", block.height, self.key.name)
        self._tell(COSIGNED, "")

    def _tell(self, state: str, message: str) -> None:
        """Say how it went: each time to the metrics, and where it changed to the log and the store.

        A split view stands until it cosigns: that it does not answer any more takes nothing back.
        """
        row = WitnessRow(self.key.encode(), state, message, clock_ms())
        self._metrics.witnessed(self.key.name, row)
        if self._said == (state, message):
            return
        if state == SPLIT:
            _log.error("SPLIT VIEW: the witness %s refuses this log: %s", self.key.name, message)
        elif state == AWAY:
            _log.warning("the witness %s is asked again later: %s", self.key.name, message)
        try:
            if not (self._is_split and state == AWAY):
                self._is_split = state == SPLIT
                with self._store.transaction():
                    self._store.put_witness(row)
            self._said = state, message
        except EarmarkError as error:
            _log.warning("what the witness %s said is not kept: %s", self.key.name, error)


def ask(
    witness: VerifierKey, block: SealedBlock, tree: TileTree, post: Post, known: int, newest_size: Callable[[], int]
) -> Cosignature:
    """Return a witness' verified cosignature of a block; `known` is the tree size that it saw last, as far as we know.

    `newest_size` tells how many leaves the log has by now: anybody may show the witness a newer checkpoint of it.
    `SplitView` where it saw another history of this log, `WitnessError` where it gave no cosignature.
    """
    for _ in range(2):  # its first answer may teach us what it saw last
        asked = prove_continuation(known, block.size, block.checkpoint, tree.subtree)
        status, body = post(asked.encode())
        if status == 200:
            return _verified(witness, block, body)
        if status == 422:
            raise SplitView(f"it saw another history than this log's {block.size:,} leaves: {_words(body)}")
        if status != 409:
            raise WitnessError(f"it answered {status}: {_words(body)}")
        known = _size(body)
        if known > block.size:
            newest = newest_size()
            if known <= newest:
                raise WitnessError(f"it saw {known:,} leaves already, more than the {block.size:,} asked for")
            raise SplitView(
                f"it cosigned {known:,} leaves of this log, which has {newest:,} under its newest block: this is "
                "an older copy, or a second log goes on under the same key"
            )
    raise WitnessError("it answered 409 to the size that it gave itself: another gateway asks it for this log too")


def _size(body: bytes) -> int:
    try:
        return decimal(body.decode("ascii").removesuffix("\n"), "a witness' size")
    except (EncodingError, UnicodeDecodeError) as error:
        raise WitnessError("it answered 409 without the size that it saw last") from error


def _verified(witness: VerifierKey, block: SealedBlock, body: bytes) -> Cosignature:
    try:
        found = find(body.decode(), witness)
        if found:
            found.verify(witness, decode_checkpoint(block.checkpoint).signed)
    except (EncodingError, BadSignature, UnicodeDecodeError) as error:
        raise WitnessError(f"it gave no cosignature under {witness.encode()}: {error}") from error
    if found is None:
        raise WitnessError(f"it gave no signature line under {witness.encode()}")
    return found


def _words(body: bytes) -> str:
    return body[:200].decode(errors="replace").strip() or "no reason given"


def poster(url: str) -> Post:
    """Return how a witness at this URL is asked: one request a connection, `TIMEOUT_S` for all of it.

    `WitnessError` where nobody can be asked there.
    """
    try:
        http = Http(url, TIMEOUT_S)
    except AnchorError as error:
        raise WitnessError(str(error)) from error

    def post(body: bytes) -> tuple[int, bytes]:
        try:
            return http.post(body, {"Content-Type": "text/plain; charset=utf-8"}, MOST_ANSWER, "/add-checkpoint")
        except AnchorError as error:
            raise WitnessError(f"it does not answer: {error}") from error

    return post
