"""What goes on with public chains beside the log: anchors, beacons, the development chain's blocks.

In a thread of its own, over a store connection of its own.
"""

import logging
import threading
import time
from collections.abc import Callable

from earmark import beacon, cbor
from earmark.anchor.devchain import DEVELOPMENT_CHAIN, DEVELOPMENT_KEY, DevChain
from earmark.anchor.evm import EvmTarget
from earmark.anchor.rpc import HttpRpc
from earmark.anchor.target import Target
from earmark.anchoring import Anchoring, Plan, is_overdue
from earmark.block import NO_BEACON, decode_header
from earmark.config import DEVELOPMENT, AnchorSettings, Farm
from earmark.errors import ConfigError, CorruptLog, EarmarkError
from earmark.keys import read_private
from earmark.metrics import Metrics
from earmark.process import clock_ms
from earmark.store.sqlite import SqliteStore

ANCHOR_STEP_S = 1.0

_log = logging.getLogger(__name__)


class Public:
    """The thread, with all targets of a farm.

    `nonce` is the newest beacon's; `failure` is set where the store contradicts itself, and the gateway has to stop.
    """

    def __init__(self, farm: Farm, publish: Callable[[bytes], None], metrics: Metrics) -> None:
        self.nonce = NO_BEACON
        self._metrics = metrics
        self.failure: CorruptLog | None = None
        self._farm = farm
        self._publish = publish
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="earmark-public", daemon=True)

    def start(self) -> None:
        """Start the thread, where there is anything to do."""
        if self._farm.config.anchor:
            self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(30)

    def _run(self) -> None:
        try:
            store = SqliteStore(self._farm.database)
            targets = [Driven(self._farm, settings, store) for settings in self._farm.config.anchor]
        except EarmarkError as error:
            self._metrics.anchoring_failure = f"no anchors until this is mended and the gateway started again: {error}"
            _log.error("%s", self._metrics.anchoring_failure)
            return
        next_beacon = 0.0
        while not self._stop.is_set() and self.failure is None:
            for driven in targets:
                self._step(driven)
            every_s = self._farm.config.beacon.every_s
            if every_s and time.monotonic() >= next_beacon:
                next_beacon = time.monotonic() + every_s
                self._renew_beacon(store, targets)
            self._stop.wait(ANCHOR_STEP_S)
        for driven in targets:
            driven.close()
        store.close()

    def _step(self, driven: "Driven") -> None:
        """One step of one target; whatever a target does, the others and the beacons go on."""
        try:
            driven.step()
            driven.tell(self._metrics)
        except CorruptLog as error:
            self.failure = error
        except EarmarkError as error:
            _log.warning("anchoring on %s waits: %s", driven.target.name, error)
        except Exception:  # noqa: BLE001 - an anchor's fault must not end the log
            _log.exception("anchoring on %s failed in a way that it should not; it is tried again", driven.target.name)

    def _renew_beacon(self, store: SqliteStore, targets: list["Driven"]) -> None:
        heads = []
        for driven in targets[:4]:
            try:
                heads.append(driven.target.head())
            except EarmarkError as error:
                _log.warning("no beacon of %s: %s", driven.target.name, error)
        if not heads:
            return
        message = beacon.encode([block for block, _ in heads])
        nonce = beacon.nonce(message)
        try:
            with store.transaction():
                store.add_beacon(nonce, message, cbor.encode([header for _, header in heads]), clock_ms())
        except EarmarkError as error:
            _log.warning("no new beacon: %s", error)
            return
        self.nonce = nonce
        self._publish(message)


class Driven:
    """One anchor target with its state machine; a development chain also gets its blocks."""

    def __init__(self, farm: Farm, settings: AnchorSettings, store: SqliteStore) -> None:
        self._chain = open_devchain(farm) if settings.chain == DEVELOPMENT else None
        self._store = store
        self._overdue_s = round(settings.overdue_s)
        self._block_every_s = settings.block_every_s
        self._next_block = 0.0
        self.target = open_target(farm, settings, self._chain)
        self._anchoring = Anchoring(store, self.target, Plan(round(settings.every_s), self._overdue_s), clock_ms)

    def step(self) -> None:
        """Make a development block when it is time, and bring the anchors on."""
        if self._chain and time.monotonic() >= self._next_block:
            self._next_block = time.monotonic() + self._block_every_s
            self._chain.mine()
        self._anchoring.step()

    def tell(self, metrics: Metrics) -> None:
        """Say how far the newest anchor is."""
        row = self._store.newest_anchor(self.target.name)
        block = self._store.block(row.height) if row else None
        if row and block:
            is_late = is_overdue(row, self._overdue_s, clock_ms())
            metrics.anchored(row, decode_header(block.header).sealed_at_ms, is_overdue=is_late)

    def close(self) -> None:
        """Let go of the development chain's file."""
        if self._chain:
            self._chain.close()


def open_devchain(farm: Farm) -> DevChain:
    """Open the farm's development chain."""
    return DevChain(farm.folder / "development.chain")


def open_target(farm: Farm, settings: AnchorSettings, chain: DevChain | None) -> Target:
    """Return the target of an [[anchor]] table; relative files are taken from the farm's folder."""
    if chain is not None:
        return EvmTarget(chain, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY)
    rpc = HttpRpc(read_private(farm.folder / settings.rpc_file, "the endpoint's URL").strip())
    try:
        key = bytes.fromhex(read_private(farm.folder / settings.key_file, "the anchor key").strip().removeprefix("0x"))
    except ValueError as error:
        raise ConfigError(f"{settings.key_file} does not hold a key in hexadecimal digits") from error
    cap, depth = settings.fee_cap_gwei, settings.confirmations
    return EvmTarget(rpc, settings.chain, key, fee_cap_gwei=cap, confirmations=depth)
