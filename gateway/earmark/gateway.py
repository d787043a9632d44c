"""The running gateway, wired from a farm's configuration.

One thread takes statements in, has them verified by processes of their own, and writes the log; `Public` has another.
"""

import asyncio
import gc
import hashlib
import logging
import threading
import time
from collections import Counter
from contextlib import AbstractContextManager, suppress

from earmark.access import Users, broker_address
from earmark.acknowledge import Acknowledger
from earmark.broker import Broker
from earmark.certificates import broker_certificate
from earmark.config import Farm
from earmark.cosigning import Cosigning
from earmark.errors import ConfigError, StoreError
from earmark.highwater import BrokerMemory, HighWater
from earmark.intake import Intake, Verified, Verifiers, verifiers_for_this_machine
from earmark.log import Log, Outcome
from earmark.metrics import Metrics
from earmark.mqtt import Endpoint, Link, Message
from earmark.process import Watchdog, clock_ms, machine_memory
from earmark.public import Public
from earmark.published import PublishedLog
from earmark.releases import Releases
from earmark.rights import GATEWAY_USER
from earmark.serving import listening, serving
from earmark.statement import decode, origin
from earmark.status import Doctor, routes
from earmark.store.sqlite import SqliteStore
from earmark.verifier import Arrival

TICK_S = 0.05
RETRY_S = 2.0
HOUSEKEEPING_S = 5.0
LOCK_S = 3.0
ASK_S = 10.0
CERTIFICATE_S = 60.0
OUTBOX = b"\x00\x66outbox"
"""The name of a node's reading of its own outbox, as a SenML record has it (docs/firmware.md)."""
FAILED = b"/error\x03"
"""How the name of a reading that failed ends in a SenML record, and the label of its text (docs/firmware.md)."""

GARBAGE = 50_000  # objects made before the collector looks at those of the batches under way

_log = logging.getLogger(__name__)


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
        self._verifiers = Verifiers(verifiers_for_this_machine(machine_memory()))
        self._intake = Intake(self._verifiers, config.ingest.most_a_minute, self._hold, self._drop)
        topics, endpoint = f"earmark/v1/{config.farm.site}", _endpoint(farm)
        self._mark = HighWater(self._store, farm.high_water, origin(config.farm.site, signer.key), signer.key)
        self._mark_topic = f"{topics}/checkpoint"
        self._memory = BrokerMemory(endpoint, _session(farm, "checkpoint"), self._mark_topic, self._mark)
        qos = 0 if config.broker.embedded else 1
        self._link = Link(endpoint, _session(farm), [f"{topics}/+/up", f"{topics}/+/status"], self._take, qos)
        self._releases = Releases(farm, lambda: self._log.registry, self._store.statement, self._answer)
        asks = [f"{topics}/+/ask"]
        self._asked = Link(endpoint, _session(farm, "releases"), asks, self._releases.take, 0)
        self._broker = _broker(farm) if config.broker.embedded else None
        self._metrics = Metrics()
        self._watchdog = Watchdog()
        self._public = Public(farm, self._publish_beacon, self._metrics)
        self._cosigning = Cosigning(farm, self._metrics)
        self._published = PublishedLog(farm.database)
        self._unsealed_since_ms: int | None = None
        self._quarantined: dict[str, tuple[int, Outcome]] = {}
        self._dropped: Counter[str] = Counter()
        self._next_outbox_s: dict[str, float] = {}
        self._next_certificate = 0.0

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set."""
        with self._farm.lock(LOCK_S) as is_ours:
            if not is_ours:
                raise ConfigError(f"a gateway already runs on {self._farm.folder}")
            self._log.reload()
            self._mark.check()
            try:
                if self._broker:
                    self._broker.start()
                    _log.info("broker listens on %s:%s", self._broker.host, self._broker.port)
                gc.set_threshold(GARBAGE)
                with self._publishing(), self._status():
                    asyncio.run(self._serve(stop))
            finally:
                self._public.stop()
                self._cosigning.stop()
                if self._broker:
                    self._broker.stop()
                self._store.close()

    def _status(self) -> AbstractContextManager[None]:
        """Answer for our health while we serve."""
        metrics, settings = self._metrics, self._config.status
        metrics.watch_disk(self._farm.database)
        metrics.read_gauge("earmark_broker_connected", "1 while it is", lambda: self._link.is_connected)
        metrics.read_counter("earmark_verifier_restarts", "Dead or hung ones", lambda: self._verifiers.restarts)
        doctor = Doctor(metrics, self._farm.folder, self._config.log.seal_every_s, lambda: self._link.is_connected)
        return serving(settings.listen, settings.port, routes(metrics, doctor), "health and metrics")

    def _publishing(self) -> AbstractContextManager[None]:
        """Show the log's hashes and checkpoints to whoever asks, where that is set."""
        settings = self._config.log_http
        return listening(settings.listen, settings.port, self._published.served(), "the log (C2SP tlog-tiles)")

    def _publish_beacon(self, message: bytes) -> None:
        self._link.publish_from_thread(f"earmark/v1/{self._config.farm.site}/beacon", message)

    async def _serve(self, stop: threading.Event) -> None:
        waiting: list[Verified] = []
        next_housekeeping = 0.0
        links = [asyncio.create_task(self._memory.link.run())]
        try:
            await self._verifiers.start()
            await self._ask_the_broker(stop)
            self._public.start()
            self._cosigning.start()
            while not stop.is_set() and self._public.failure is None and not any(link.done() for link in links):
                waiting = waiting or await self._intake.collect(TICK_S)
                try:
                    self._listen(links)
                    self._turn(waiting)
                    if time.monotonic() >= next_housekeeping:
                        self._keep_house()
                        next_housekeeping = time.monotonic() + HOUSEKEEPING_S
                except StoreError as error:
                    self._metrics.store_failed(error)
                    self._watchdog.beat()
                    _log.error("nothing is acknowledged until the store takes writes again: %s", error)
                    await _unless(stop, RETRY_S)
        finally:
            for link in links:
                link.cancel()
            await asyncio.wait(links)  # until then they bring messages, and those would start verifiers anew
            self._intake.forget()
            self._verifiers.stop()
        for link in links:
            with suppress(asyncio.CancelledError):
                await link
        if self._public.failure:
            raise self._public.failure

    async def _ask_the_broker(self, stop: threading.Event) -> None:
        """Wait a little for what the broker remembers of the log; one that is out of reach answers when it is there."""
        end_s = time.monotonic() + ASK_S
        while not (self._memory.has_answered or stop.is_set()):
            self._memory.listen()
            await asyncio.sleep(TICK_S)
            if time.monotonic() > end_s:
                _log.warning("the broker has not said yet which checkpoint it knows: nodes wait until it does")
                return

    def _listen(self, links: list[asyncio.Task[None]]) -> None:
        """Hold what the broker remembers against the store; messages are taken only once it has answered."""
        self._memory.listen()
        if self._memory.has_answered and len(links) == 1:
            links += [asyncio.create_task(link.run()) for link in (self._link, self._asked)]

    def _remember(self) -> None:
        """Keep the newest checkpoint where an old database cannot hide it, before anything that carries it goes out."""
        newest = self._log.newest
        checkpoint = self._mark.keep(newest)
        if checkpoint:
            self._link.publish(self._mark_topic, checkpoint, retain=True)
        self._cosigning.height = self._published.height = newest.height if newest else -1

    def _take(self, messages: list[Message]) -> None:
        """Statements to the intake; the words on presence, which nobody signed, to whoever watches the farm."""
        words = [message for message in messages if message.topic.endswith("/status")]
        if words:
            messages = [message for message in messages if not message.topic.endswith("/status")]
            self._note_presence(words)
        if messages:
            self._intake.take(messages)

    def _note_presence(self, words: list[Message]) -> None:
        try:
            enrolled = {node.name for node in self._log.registry.nodes()}
        except StoreError:  # after a write that failed, as the next turn says; words must not end the connection
            return
        for message in words:
            name = message.topic.split("/")[-2]
            word = message.payload.decode(errors="replace")
            if name in enrolled and word in ("online", "offline", "asleep"):
                self._metrics.presence(name, word)
        self._link.acknowledge(words)

    def _hold(self, held: bool) -> None:
        self._link.hold(held)

    def _drop(self, messages: list[Message]) -> None:
        """Say of messages beyond a node's limit that they came; the node, which gets no acknowledgement, repeats them
        later.
        """
        self._link.acknowledge(messages)
        self._metrics.refused("statements a minute", len(messages))
        self._dropped.update(message.topic for message in messages)

    def _turn(self, verified: list[Verified]) -> None:
        """Take one batch in: on disk first, then the PUBACKs, then the acknowledgements that free the nodes' outboxes.

        Messages that are on disk are taken out of the list, so that a failure later on does not bring them back.
        """
        if verified:
            now_ms = clock_ms()
            statements = [each for each in verified if not self._mark.hears(each[0].payload, each[0].topic)]
            arrivals = [Arrival(message.payload, message.topic, now_ms, *verdict) for message, verdict in statements]
            self._settle(self._log.admit(arrivals))
            self._link.acknowledge([message for message, _ in verified])
            verified.clear()
        submitted = self._log.take_submissions()
        self._settle(submitted)
        self._releases.announce(outcome.index for outcome in submitted if outcome.index is not None)
        if any(outcome.error is None for outcome in submitted):
            self._settle(self._log.retry())
        self._seal()
        self._remember()
        self._metrics.turned()
        self._watchdog.beat()
        answers = self._acks.due(time.monotonic_ns() // 1_000_000)
        if answers:
            site = self._config.farm.site
            self._link.answer([(f"earmark/v1/{site}/{name}/down", payload) for name, payload in answers])

    def _answer(self, messages: list[tuple[str, bytes]]) -> None:
        self._asked.answer(messages)

    def _keep_house(self) -> None:
        self._settle(self._log.retry())
        self._say()
        self._metrics.chains(self._log.runs(node.key, node.name) for node in self._log.registry.nodes())
        most = self._config.ingest.quarantine_mb << 20
        if self._store.quarantine_size() > most:
            with self._store.transaction():
                dropped = self._store.trim_quarantine(most)
            self._metrics.trimmed(dropped)
            _log.warning("the quarantine was full: %s messages are gone, oldest junk first, and counted", dropped)
        if self._broker and time.monotonic() >= self._next_certificate:
            self._next_certificate = time.monotonic() + CERTIFICATE_S
            _renew_certificate(self._farm, self._broker)
        if self._broker and not self._broker.is_running():
            _log.error("the embedded broker ended by itself: starting it again")
            self._broker.launch()

    def _seal(self) -> None:
        """Seal when it is time, once the broker has answered: what an older copy signs would be a second history."""
        if not self._memory.has_answered:
            return
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
                self._metrics.sealed(block)
                fields = {"height": block.height, "size": block.size}
                _log.info("sealed block %s: %s statements in the log", block.height, f"{block.size:,}", extra=fields)

    def _settle(self, outcomes: list[Outcome]) -> None:
        """Take note of what is on disk: whom to answer, and what to say of the quarantine."""
        self._acks.note(outcomes)
        self._metrics.settled(outcomes, clock_ms())
        for outcome in outcomes:
            if outcome.error is None:
                if OUTBOX in outcome.arrival.raw:
                    self._note_outbox(outcome)
                if FAILED in outcome.arrival.raw:
                    self._note_failed(outcome)
            else:
                count, _ = self._quarantined.get(type(outcome.error).__name__, (0, outcome))
                self._quarantined[type(outcome.error).__name__] = count + 1, outcome

    def _note_outbox(self, outcome: Outcome) -> None:
        """Take note of how much waits at a node that says so, once in a while: to decode everything costs too much."""
        claims, now_s = outcome.arrival.claims, time.monotonic()
        if claims is None or outcome.repeat or now_s < self._next_outbox_s.get(claims.sub, 0.0):
            return
        self._next_outbox_s[claims.sub] = now_s + HOUSEKEEPING_S
        for reading in decode(outcome.arrival.raw).readings:
            if reading.name == f"{claims.sub}/outbox" and type(reading.value) is int:
                self._metrics.outbox(claims.sub, reading.value)

    def _note_failed(self, outcome: Outcome) -> None:
        """Count the readings that failed at a node, by their bytes: to decode everything costs too much."""
        claims = outcome.arrival.claims
        if claims is not None and not outcome.repeat:
            self._metrics.failed(claims.sub, outcome.arrival.raw.count(FAILED))

    def _say(self) -> None:
        """Say what went into the quarantine since the last time, a line for each reason."""
        for reason, (count, last) in self._quarantined.items():
            more = f"{count} messages, the last one: " if count > 1 else ""
            fields = {"reason": reason, "count": count, "topic": last.arrival.topic[:100]}
            said = "quarantined, %s: %s%.300s, on %.100s"
            _log.warning(said, reason, more, last.error, last.arrival.topic, extra=fields)
        self._quarantined.clear()
        for topic, count in self._dropped.most_common(3):
            most = self._config.ingest.most_a_minute
            _log.warning("%s messages on %.100s were dropped: more than %s in a minute", count, topic, most)
        self._dropped.clear()


def _broker(farm: Farm) -> Broker:
    settings = farm.config.broker
    tls = None
    if settings.tls and settings.certificate:
        tls = farm.folder / settings.certificate, farm.folder / settings.key
    elif settings.tls:
        tls = (broker_certificate(farm),) * 2
    return Broker(
        farm.folder / "broker",
        farm.config.farm.site,
        settings.listen,
        settings.port,
        Users(farm),
        tls=tls,
        max_connections=settings.max_connections,
    )


def _renew_certificate(farm: Farm, broker: Broker) -> None:
    """Renew the broker's certificate long before it ends, or when the clock was set; the old one serves meanwhile."""
    settings = farm.config.broker
    if not settings.tls or settings.certificate or not farm.key_file("authority").exists():
        return
    try:
        before = (farm.folder / "broker" / "tls.pem").read_bytes()
        if broker_certificate(farm).read_bytes() != before:
            broker.reload()
            _log.info("the broker's certificate was renewed")
    except (ConfigError, OSError) as error:
        _log.warning("the broker's certificate could not be renewed: %s", error)


def _endpoint(farm: Farm) -> Endpoint:
    host, port, authority = broker_address(farm)
    user = GATEWAY_USER if farm.config.broker.embedded else farm.config.broker.user
    return Endpoint(host, port, user, farm.passwords()[GATEWAY_USER], authority)


def _session(farm: Farm, purpose: str = "") -> str:
    """Return the name of a session of the gateway at the broker: the same at every start, and not to be guessed."""
    return hashlib.sha256(f"session {purpose}{farm.passwords()[GATEWAY_USER]}".encode()).hexdigest()[:32]


async def _unless(stop: threading.Event, wait_s: float) -> None:
    """Wait, but no longer than until `stop` is set."""
    end_s = time.monotonic() + wait_s
    while not stop.is_set() and time.monotonic() < end_s:
        await asyncio.sleep(TICK_S)
