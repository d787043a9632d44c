"""The running gateway, wired from a farm's configuration.

Two threads: one takes statements in and writes the log; the other drives anchors and beacons, over a store connection
of its own.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from earmark import beacon, cbor
from earmark.acknowledge import Acknowledger
from earmark.anchor.devchain import DEVELOPMENT_CHAIN, DEVELOPMENT_KEY, DevChain
from earmark.anchor.evm import EvmTarget
from earmark.anchor.rpc import HttpRpc
from earmark.anchor.target import Target
from earmark.anchoring import Anchoring, Plan
from earmark.block import NO_BEACON
from earmark.broker import GATEWAY_USER, Broker
from earmark.config import DEVELOPMENT, AnchorSettings, Farm, read_text
from earmark.errors import ConfigError, CorruptLog, EarmarkError, StoreError
from earmark.log import Arrival, Log, Outcome, receive
from earmark.mqtt import Endpoint, Link, Message, parse_url
from earmark.store.sqlite import SqliteStore

COLLECT_S = 0.05
RETRY_S = 2.0
HOUSEKEEPING_S = 5.0
ANCHOR_STEP_S = 1.0
LOCK_S = 3.0

_log = logging.getLogger(__name__)


def clock_ms() -> int:
    """Return Unix milliseconds."""
    return time.time_ns() // 1_000_000


class Gateway:
    """One farm's gateway.  `run` returns when `stop` is set; `CorruptLog` and `ConfigError` end it."""

    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        config = farm.config
        self._config = config
        self._store = SqliteStore(farm.database)
        signer = farm.signer("gateway")
        self._log = Log(self._store, farm.operator_key(), signer, clock_ms, config.ingest.max_ahead_s)
        self._acks = Acknowledger(self._log, signer, round(config.ingest.ack_every_s * 1000))
        self._link = Link(_endpoint(farm), config.farm.site, _session(farm))
        self._broker = _broker(farm) if config.broker.embedded else None
        self._public = Public(farm, self._publish_beacon)
        self._unsealed_since_ms: int | None = None
        self._quarantined: dict[str, tuple[int, Outcome]] = {}

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set."""
        with self._farm.lock(LOCK_S) as is_ours:
            if not is_ours:
                raise ConfigError(f"a gateway already runs on {self._farm.folder}")
            self._log.reload()
            try:
                if self._broker:
                    self._broker.start()
                    _log.info("broker listens on %s:%s", self._broker.host, self._broker.port)
                self._link.start()
                self._public.start()
                self._serve(stop)
            finally:
                self._link.stop()
                self._public.stop()
                if self._broker:
                    self._broker.stop()
                self._store.close()

    def _publish_beacon(self, message: bytes) -> None:
        self._link.publish(f"earmark/v1/{self._config.farm.site}/beacon", message, retain=True)

    def _serve(self, stop: threading.Event) -> None:
        waiting: list[Message] = []
        next_housekeeping = 0.0
        while not stop.is_set() and self._public.failure is None:
            waiting += self._link.collect(self._config.ingest.batch - len(waiting), COLLECT_S)
            try:
                self._turn(waiting)
                if time.monotonic() >= next_housekeeping:
                    self._keep_house()
                    next_housekeeping = time.monotonic() + HOUSEKEEPING_S
            except StoreError as error:
                _log.error("nothing is acknowledged until the store takes writes again: %s", error)
                stop.wait(RETRY_S)
        if self._public.failure:
            raise self._public.failure

    def _turn(self, messages: list[Message]) -> None:
        """Take one batch in: on disk first, then the PUBACKs, then the acknowledgements that free the nodes' outboxes.

        Messages that are on disk are taken out of the list, so that a failure later on does not bring them back.
        """
        if messages:
            self._settle(self._log.admit([_arrival(message) for message in messages]))
            self._link.acknowledge(messages)
            messages.clear()
        submitted = self._log.take_submissions()
        self._settle(submitted)
        if any(outcome.error is None for outcome in submitted):
            self._settle(self._log.retry())
        self._seal()
        for name, payload in self._acks.due(time.monotonic_ns() // 1_000_000):
            self._link.publish(f"earmark/v1/{self._config.farm.site}/{name}/down", payload)

    def _keep_house(self) -> None:
        self._settle(self._log.retry())
        self._say()
        most = self._config.ingest.quarantine_mb << 20
        if self._store.quarantine_size() > most:
            with self._store.transaction():
                dropped = self._store.trim_quarantine(most)
            _log.warning("the quarantine was full: %s messages are gone, oldest junk first, and counted", dropped)
        if self._broker and not self._broker.is_running():
            _log.error("the embedded broker ended by itself: starting it again")
            self._broker.launch()

    def _seal(self) -> None:
        newest = self._log.newest
        unsealed = self._log.size - (newest.size if newest else 0)
        if not unsealed:
            return
        now_ms = clock_ms()
        self._unsealed_since_ms = self._unsealed_since_ms or now_ms
        waited_s = (now_ms - self._unsealed_since_ms) / 1000
        if unsealed >= self._config.log.seal_after or not 0 <= waited_s < self._config.log.seal_every_s:
            block = self._log.seal(self._public.nonce)
            self._unsealed_since_ms = None
            if block:
                _log.info("sealed block %s: %s statements in the log", block.height, f"{block.size:,}")

    def _settle(self, outcomes: list[Outcome]) -> None:
        """Take note of what is on disk: whom to answer, and what to say of the quarantine."""
        self._acks.note(outcomes)
        for outcome in outcomes:
            if outcome.error is not None:
                count, _ = self._quarantined.get(type(outcome.error).__name__, (0, outcome))
                self._quarantined[type(outcome.error).__name__] = count + 1, outcome

    def _say(self) -> None:
        """Say what went into the quarantine since the last time, a line for each reason."""
        for reason, (count, last) in self._quarantined.items():
            more = f"{count} messages, the last one: " if count > 1 else ""
            _log.warning("quarantined, %s: %s%.300s, on %.100s", reason, more, last.error, last.arrival.topic)
        self._quarantined.clear()


class Public:
    """What goes on with public chains, in a thread of its own: anchors, beacons, the development chain's blocks.

    `nonce` is the newest beacon's; `failure` is set where the store contradicts itself, and the gateway has to stop.
    """

    def __init__(self, farm: Farm, publish: Callable[[bytes], None]) -> None:
        self.nonce = NO_BEACON
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
            _log.error("no anchors until this is mended and the gateway started again: %s", error)
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
        self._block_every_s = settings.block_every_s
        self._next_block = 0.0
        self.target = open_target(farm, settings, self._chain)
        self._anchoring = Anchoring(
            store, self.target, Plan(round(settings.every_s), round(settings.overdue_s)), clock_ms
        )

    def step(self) -> None:
        """Make a development block when it is time, and bring the anchors on."""
        if self._chain and time.monotonic() >= self._next_block:
            self._next_block = time.monotonic() + self._block_every_s
            self._chain.mine()
        self._anchoring.step()

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
    rpc = HttpRpc(read_text(farm.folder / settings.rpc_file, "the endpoint's URL").strip())
    try:
        key = bytes.fromhex(read_text(farm.folder / settings.key_file, "the anchor key").strip().removeprefix("0x"))
    except ValueError as error:
        raise ConfigError(f"{settings.key_file} does not hold a key in hexadecimal digits") from error
    cap, depth = settings.fee_cap_gwei, settings.confirmations
    return EvmTarget(rpc, settings.chain, key, fee_cap_gwei=cap, confirmations=depth)


def _broker(farm: Farm) -> Broker:
    settings = farm.config.broker
    return Broker(farm.folder / "broker", farm.config.farm.site, settings.listen, settings.port, farm.passwords())


def broker_address(farm: Farm) -> tuple[str, int, Path | None]:
    """Return where this machine reaches the farm's broker: host, port, and the authority that TLS trusts, if any."""
    settings = farm.config.broker
    if settings.embedded:
        host = "127.0.0.1" if settings.listen == "0.0.0.0" else settings.listen  # noqa: S104
        return host, settings.port, None
    host, port, is_tls = parse_url(settings.url)
    return host, port, farm.folder / settings.authority if is_tls else None


def _endpoint(farm: Farm) -> Endpoint:
    host, port, authority = broker_address(farm)
    user = GATEWAY_USER if farm.config.broker.embedded else farm.config.broker.user
    return Endpoint(host, port, user, farm.passwords()[GATEWAY_USER], authority)


def _session(farm: Farm) -> str:
    """Return the name of the gateway's session at the broker: the same at every start, and not to be guessed."""
    return hashlib.sha256(b"session " + farm.passwords()[GATEWAY_USER].encode()).hexdigest()[:32]


def _arrival(message: Message) -> Arrival:
    return receive(message.payload, message.topic, clock_ms())
