"""What goes on with public chains beside the log: anchors, beacons, the development chain's blocks.

In threads of their own, over store connections of their own.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from earmark import beacon, cbor
from earmark.anchor.bitcoin import BitcoinTarget
from earmark.anchor.calendars import AT_ONCE, DEPTH, CalendarsTarget
from earmark.anchor.devchain import DEVELOPMENT_CHAIN, DEVELOPMENT_KEY, DevChain
from earmark.anchor.drand import Relays
from earmark.anchor.evm import EvmTarget
from earmark.anchor.headers import CoreHeaders, EsploraHeaders, Headers
from earmark.anchor.http import TIMEOUT_S
from earmark.anchor.rpc import HttpRpc
from earmark.anchor.target import Place, Target
from earmark.anchor.tsa import TsaTarget
from earmark.anchoring import UNLIMITED, Anchoring, Plan, is_overdue
from earmark.block import NO_BEACON, decode_header
from earmark.config import Farm
from earmark.errors import AnchorError, ConfigError, CorruptLog, EarmarkError, EncodingError, StoreError
from earmark.evidence import EVM, OTS, RFC3161, Authority, ChainBlock
from earmark.evidence.bitcoin import MAINNET, is_bitcoin
from earmark.evidence.rfc3161 import read_authorities
from earmark.keys import read_private
from earmark.metrics import FEW_LEFT, Metrics
from earmark.process import clock_ms
from earmark.settings import DEVELOPMENT, AnchorSettings
from earmark.store.sqlite import SqliteStore

ANCHOR_STEP_S = 1.0
EVM_DEPTH = 12
SEARCH_S = 900.0
"""How long a Bitcoin node may take to look through all coins of the chain: minutes, on a small machine."""
STOP_S = 30.0
RETRY_S = 10.0
AGAIN_S = 60.0
"""Time until relays of drand are asked again of which none had a new round."""
AHEAD_S = 2 * 3600
"""A block so far ahead of this machine's clock keeps no other one out of the beacon: a false answer would for ever."""
COUNT_S = 3600.0
UNITS = {EVM: 10**18, OTS: 10**8}
"""The smallest units of a coin, by kind of evidence."""

_log = logging.getLogger(__name__)


class Public:
    """The targets of a farm, each with a thread of its own: one that hangs holds up no other.

    `nonce` is the newest beacon's; `failure` is set where the store contradicts itself, and the gateway has to stop.
    """

    def __init__(self, farm: Farm, publish: Callable[[bytes], None], metrics: Metrics) -> None:
        self.nonce = NO_BEACON
        self._metrics = metrics
        self.failure: CorruptLog | None = None
        self._farm = farm
        self._publish = publish
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._heads: dict[str, tuple[ChainBlock, bytes]] = {}
        self._next_beacon = 0.0
        self._threads = [
            threading.Thread(target=self._run, args=(settings,), name=f"earmark-{settings.called}", daemon=True)
            for settings in farm.config.anchor
        ]
        if farm.config.beacon.drand and farm.config.beacon.every_s:
            self._threads.append(threading.Thread(target=self._follow_drand, name="earmark-drand", daemon=True))

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads and wait for them, but not for one that waits for the network."""
        self._stop.set()
        deadline = time.monotonic() + STOP_S
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self, settings: AnchorSettings) -> None:
        """Drive one target until the gateway stops.  What ends it before that is logged and told in health."""
        try:
            opened = self._open(settings)
        except Exception as error:  # noqa: BLE001 - a thread must not end without a word
            said = f"no anchors on {settings.called} until this is mended and the gateway started again: {error}"
            with self._lock:
                self._metrics.anchoring_failure = "; ".join(filter(None, [self._metrics.anchoring_failure, said]))
            _log.error("%s", said, exc_info=not isinstance(error, EarmarkError))
            return
        if opened is None:
            return
        store, driven = opened
        every_s = self._farm.config.beacon.every_s
        next_head = 0.0
        while not self._stop.is_set() and self.failure is None:
            with self._guarded(f"anchoring on {driven.name}"):
                driven.step()
                driven.tell(self._metrics)
            if every_s and driven.target.place.has_head and time.monotonic() >= next_head:
                next_head = time.monotonic() + every_s
                with self._guarded(f"the beacon of {driven.name}"):
                    self._look_at_head(driven, store, every_s)
            self._stop.wait(ANCHOR_STEP_S)
        driven.close()
        store.close()

    def _follow_drand(self) -> None:
        """Have the newest round of drand in the beacon until the gateway stops."""
        settings = self._farm.config.beacon
        try:
            relays = Relays(settings.drand)
            store = self._open_store("the beacon of drand")
        except EarmarkError as error:
            self._metrics.drand_away(str(error))
            _log.error("no rounds of drand in the beacon until this is mended and the gateway started again: %s", error)
            return
        while store and not self._stop.is_set() and self.failure is None:
            with self._guarded("the beacon of drand"):
                try:
                    head = relays.head()
                except AnchorError as error:
                    self._metrics.drand_away(str(error))
                    raise
                self._metrics.drand_seen(head[0].time_s)
                self._take(head, store, settings.every_s)
            self._stop.wait(settings.every_s if self._metrics.drand_trouble is None else min(settings.every_s, AGAIN_S))
        if store:
            store.close()

    def _open_store(self, what: str) -> SqliteStore | None:
        """Open the store once it can be opened; None where the gateway stops first."""
        while not self._stop.is_set() and self.failure is None:
            try:
                return SqliteStore(self._farm.database)
            except StoreError as error:
                _log.warning("%s waits: %s", what, error)
                self._stop.wait(RETRY_S)
        return None

    def _open(self, settings: AnchorSettings) -> "tuple[SqliteStore, Driven] | None":
        """Open the store and a target over it, once the store can be opened; None where the gateway stops first."""
        store = self._open_store(f"anchoring on {settings.called}")
        if store is None:
            return None
        try:
            return store, Driven(self._farm, settings, store, self._metrics)
        except Exception:
            store.close()
            raise

    @contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        """Outlive whatever a target does: it is tried again."""
        try:
            yield
        except CorruptLog as error:
            self.failure = error
        except EarmarkError as error:
            _log.warning("%s waits: %s", what, error)
        except Exception:  # noqa: BLE001 - an anchor's fault must not end the log
            _log.exception("%s failed in a way that it should not; it is tried again", what)

    def _look_at_head(self, driven: "Driven", store: SqliteStore, every_s: float) -> None:
        """Take a chain's newest block into the beacon."""
        self._take(driven.target.head(), store, every_s)

    def _take(self, head: tuple[ChainBlock, bytes], store: SqliteStore, every_s: float) -> None:
        """Remember a source's newest block, and publish a beacon of all that are known when it is time.

        One that is older than the one before is left out: whoever gave it is behind, or lies.
        """
        with self._lock:
            before = self._heads.get(head[0].chain)
            if before is None or not head[0].time_s < before[0].time_s <= time.time() + AHEAD_S:
                self._heads[head[0].chain] = head
            else:
                _log.info("block %s of %s is older than the beacon's: left out", head[0].number, head[0].chain)
            if time.monotonic() >= self._next_beacon:
                self._next_beacon = time.monotonic() + every_s / 2
                self._renew_beacon(store)

    def _renew_beacon(self, store: SqliteStore) -> None:
        heads = sorted(self._heads.values(), key=lambda head: head[0].time_s, reverse=True)
        message = beacon.encode([block for block, _ in heads[: beacon.MOST_SOURCES]])
        headers = cbor.encode([header for _, header in heads[: beacon.MOST_SOURCES]])
        nonce = beacon.nonce(message)
        try:
            with store.transaction():
                store.add_beacon(nonce, message, headers, clock_ms())
        except EarmarkError as error:
            _log.warning("no new beacon: %s", error)
            return
        self.nonce = nonce
        self._publish(message)


class Driven:
    """One anchor target with its state machine; a development chain also gets its blocks."""

    def __init__(self, farm: Farm, settings: AnchorSettings, store: SqliteStore, metrics: Metrics) -> None:
        self._chain = open_devchain(farm) if settings.chain == DEVELOPMENT else None
        self._store = store
        self._metrics = metrics
        self._overdue_s = round(settings.overdue_s)
        self._block_every_s = settings.block_every_s
        self._next_block = self._next_count = 0.0
        self.target = open_target(farm.folder, settings, self._chain)
        self.name = self.target.place.name
        coin = UNITS.get(self.target.place.kind, 1)
        budget = round(settings.month_budget * coin) if settings.month_budget else UNLIMITED
        plan = Plan(round(settings.every_s), self._overdue_s, round(settings.replace_after_s), budget)
        self._anchoring = Anchoring(store, self.target, plan, clock_ms, metrics.anchor_event)

    def step(self) -> None:
        """Make a development block when it is time, bring the anchors on, and count what is left to pay for more."""
        if self._chain and time.monotonic() >= self._next_block:
            self._next_block = time.monotonic() + self._block_every_s
            self._chain.mine()
        self._anchoring.step()
        if time.monotonic() >= self._next_count:
            self._next_count = time.monotonic() + COUNT_S
            self._count()

    def _count(self) -> None:
        """An account that is empty is best noticed before an anchor needs it."""
        left = self.target.anchors_left()
        if left is None:
            return
        self._metrics.anchors_left(self.name, left)
        if left < FEW_LEFT:
            _log.warning("the funds on %s are good for %s more anchors: `earmark anchor status`", self.name, left)

    def tell(self, metrics: Metrics) -> None:
        """Say how far the newest anchor is, and which is overdue."""
        row = self._store.newest_anchor(self.name)
        block = self._store.block(row.height) if row else None
        if row and block:
            under_way = self._store.anchor_rows(self.name, open_only=True)
            late = [each.height for each in under_way if is_overdue(each, self._overdue_s, clock_ms())]
            metrics.anchored(row, decode_header(block.header).sealed_at_ms, overdue=late[0] if late else None)

    def close(self) -> None:
        """Let go of the development chain's file."""
        if self._chain:
            self._chain.close()


def open_devchain(farm: Farm) -> DevChain:
    """Open the farm's development chain."""
    return DevChain(farm.folder / "development.chain")


def place_of(folder: Path, settings: AnchorSettings) -> Place:
    """Return where an [[anchor]] table leads; relative files are taken from the folder."""
    if settings.tsa_url:
        return Place(settings.called, RFC3161, open_authority(folder, settings).id, has_head=False)
    if settings.calendars:
        return Place(settings.called, OTS, settings.chain or MAINNET, AT_ONCE)
    chain = DEVELOPMENT_CHAIN if settings.chain == DEVELOPMENT else settings.chain
    return Place(settings.name or chain, OTS if is_bitcoin(chain) else EVM, chain)


def open_target(folder: Path, settings: AnchorSettings, chain: DevChain | None) -> Target:
    """Return the target of an [[anchor]] table; relative files are taken from the folder."""
    place = place_of(folder, settings)
    if settings.tsa_url:
        return TsaTarget(settings.tsa_url, open_authority(folder, settings), name=place.name)
    if chain is not None:
        return EvmTarget(chain, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY, name=place.name)
    if settings.calendars:
        depth = settings.confirmations or DEPTH
        headers = open_headers(folder, settings)
        return CalendarsTarget(settings.calendars, headers, chain=place.chain, name=place.name, confirmations=depth)
    try:
        return _open_chain(folder, settings, place)
    except AnchorError as error:
        raise ConfigError(f"[[anchor]] {place.name}, {settings.rpc_file} or {settings.key_file}: {error}") from error


def _open_chain(folder: Path, settings: AnchorSettings, place: Place) -> Target:
    rpc = _open_rpc(folder, settings)
    try:
        key = bytes.fromhex(read_private(folder / settings.key_file, "the anchor key").strip().removeprefix("0x"))
    except ValueError as error:
        raise ConfigError(f"{settings.key_file} does not hold a key in hexadecimal digits") from error
    name, depth = place.name, settings.confirmations
    if place.kind == OTS:
        rate, depth = settings.fee_cap_sat_vb, depth or DEPTH
        patient = _open_rpc(folder, settings, SEARCH_S)
        return BitcoinTarget(
            rpc, place.chain, key, name=name, fee_cap_sat_vb=rate, confirmations=depth, patient=patient
        )
    cap = settings.fee_cap_gwei
    return EvmTarget(rpc, place.chain, key, name=name, fee_cap_gwei=cap, confirmations=depth or EVM_DEPTH)


def open_authority(folder: Path, settings: AnchorSettings) -> Authority:
    """Return the authority of an [[anchor]] table with `tsa_url`; `ConfigError` unless its file has one certificate."""
    where = f"[[anchor]] {settings.called}: tsa_certificate, {settings.tsa_certificate}"
    try:
        found = read_authorities((folder / settings.tsa_certificate).read_bytes())
    except OSError as error:
        raise ConfigError(f"{where}, cannot be read: {error.strerror}") from error
    except EncodingError as error:
        raise ConfigError(f"{where}: {error}") from error
    if len(found) != 1:
        raise ConfigError(f"{where}, holds {len(found)} certificates: leave the authority's root in it alone")
    return found[0]


def open_headers(folder: Path, settings: AnchorSettings) -> Headers:
    """Return where an [[anchor]] table has Bitcoin's headers from: the own node first, where there is one."""
    own = _open_rpc(folder, settings) if settings.rpc_file else None
    cores = [CoreHeaders(own, own.endpoint)] if own else []
    return Headers(settings.chain or MAINNET, [*cores, *map(EsploraHeaders, settings.headers)])


def _open_rpc(folder: Path, settings: AnchorSettings, timeout_s: float = TIMEOUT_S) -> HttpRpc:
    return HttpRpc(read_private(folder / settings.rpc_file, "the endpoint's URL").strip(), timeout_s)
