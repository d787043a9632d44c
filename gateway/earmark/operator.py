"""What the operator says: enrolments, rotations and revocations, signed in the order of the registry chain.

A statement is left in the store for the gateway, or admitted at once where no gateway runs.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence

from earmark import cose
from earmark.certificates import found_authority
from earmark.config import Farm
from earmark.errors import ConfigError, EarmarkError, FutureTime, MissingPredecessor
from earmark.highwater import HighWater
from earmark.log import Log, load_registry
from earmark.process import clock_ms
from earmark.registry import Enrolment
from earmark.release import decode as decode_manifest
from earmark.release import sha256
from earmark.rights import GATEWAY_USER
from earmark.statement import NO_ENTRY, REGISTRY, Clock, decode, origin, sign
from earmark.store import Store
from earmark.store.sqlite import SqliteStore

HOST_CLOCK = 4
WAIT_S = 30.0
LOOK_S = 0.05
NEVER_MS = (1 << 63) - 1
MOST_HELD = 1000


def enrol(farm: Farm, key: bytes, name: str) -> int:
    """Enrol a node's key under a name and return the leaf of the statement; raises what the registry refuses.

    From there on the broker knows the node: its user is the name.
    """
    if name == (farm.config.broker.user or GATEWAY_USER):
        raise ConfigError(f"{name!r} is the gateway's own user at the broker: give the node another name")
    return _say(farm, {0: "enrolment", 1: key, 2: "node", 3: name})


def rotate(farm: Farm, key: bytes, successor: bytes, reason: str) -> int:
    """End a node's key and bind another to its name in one statement; return its leaf."""
    return _say(farm, {0: "rotation", 1: key, 2: successor, 3: reason})


def revoke(farm: Farm, key: bytes, reason: str, since: int | None = None) -> int:
    """Revoke a node's key and return the leaf of the statement; from leaf `since` on nothing of the key counts."""
    return _say(farm, {0: "revocation", 1: key, 2: reason} | ({} if since is None else {3: since}))


def update(farm: Farm, manifest: bytes, nodes: Sequence[str]) -> int:
    """Release firmware by its manifest for nodes of its target, all of them where none is named; return the leaf."""
    found = decode_manifest(manifest)
    about = {1: found.number, 2: found.version, 3: found.target, 4: sha256(manifest), 5: len(manifest)}
    name = origin(farm.config.farm.site, farm.signer("gateway").key)
    return _say(farm, {0: "update"} | about | {6: name, 7: sorted(set(nodes))})


def find_key(farm: Farm, who: str) -> Enrolment:
    """Return the newest enrolment under a name, or that of the key with this did; `ConfigError` where there is none."""
    store = SqliteStore(farm.database)
    try:
        registry = load_registry(store, farm.operator_key())
    finally:
        store.close()
    node = registry.node(cose.key_of(who)) if who.startswith("did:") else registry.named(who)
    if node is None:
        raise ConfigError(f"no node {who!r} is enrolled here; `earmark node list` shows all")
    return node


def found(farm: Farm) -> int:
    """Begin a new farm, or one whose beginning was cut off: its authority for TLS; leaf 0 enrols the gateway."""
    found_authority(farm)
    gateway = farm.signer("gateway")
    if not farm.database.exists():
        SqliteStore(farm.database, create=True).close()
    name = origin(farm.config.farm.site, gateway.key)
    return _say(farm, {0: "enrolment", 1: gateway.key, 2: "gateway", 3: name})


def is_founded(farm: Farm) -> bool:
    """Say whether the farm's log has its leaf 0."""
    if not farm.database.exists():
        return False
    store = SqliteStore(farm.database)
    try:
        return store.size() > 0
    finally:
        store.close()


def _say(farm: Farm, body: dict[int, object]) -> int:
    """Sign a statement and leave it in the store; admit it here, unless a gateway or another command does before."""
    operator = farm.signer("operator")
    store = SqliteStore(farm.database)
    try:
        with store.transaction():
            raw = _sign_next(store, operator, body)
            store.submit(raw)
        deadline = time.monotonic() + WAIT_S
        while raw in [waiting for _, waiting in store.submitted()]:
            with farm.lock() as is_ours:
                if is_ours:
                    _admit(farm, store, operator.key)
            if time.monotonic() > deadline:
                raise EarmarkError("the statement waits in the store: the gateway that runs has not taken it yet")
            time.sleep(LOOK_S)
        return _leaf(store, operator.key, raw)
    finally:
        store.close()


def _admit(farm: Farm, store: Store, operator: bytes) -> None:
    ahead_s, gateway = farm.config.ingest.max_ahead_s, farm.signer("gateway")
    log = Log(store, operator, gateway, clock_ms, ahead_s)
    HighWater(store, farm.high_water, origin(farm.config.farm.site, gateway.key), gateway.key).check()
    log.take_submissions()
    log.retry()


def _sign_next(store: Store, operator: cose.Signer, body: dict[int, object]) -> bytes:
    """Sign the next statement of the chain, after what is logged and what waits; refuses what the registry would
    refuse.
    """
    registry = load_registry(store, operator.key)
    seq, prev = 0, NO_ENTRY
    for raw in _chain(store, operator.key):
        statement = decode(raw)
        seq, prev = statement.seq, statement.entry
    for raw in _waiting(store, operator.key):
        statement = decode(raw)
        registry.apply(store.size(), statement)
        seq, prev = statement.seq, statement.entry
    now_s = time.time_ns() // 1_000_000_000
    clock = Clock(HOST_CLOCK, 1, time.monotonic_ns() // 1_000_000_000)
    raw = sign(operator, REGISTRY, seq + 1, prev, body, issued_at_s=now_s, clock=clock)
    registry.check(store.size(), decode(raw))
    return raw


def _waiting(store: Store, operator: bytes) -> list[bytes]:
    """Return what was signed and is not logged yet, in order: held for its time or predecessor, or just submitted."""
    reasons = FutureTime.__name__, MissingPredecessor.__name__
    held = [row for reason in reasons for row in store.due(reason, operator, NEVER_MS, MOST_HELD)]
    return [row.raw for row in sorted(held, key=lambda row: row.seq)] + [raw for _, raw in store.submitted()]


def _chain(store: Store, operator: bytes) -> Iterator[bytes]:
    chain = store.chain(operator, REGISTRY)
    rows = store.chain_statements(chain.id, store.size()) if chain else iter(())
    return (raw for _, raw in rows)


def _leaf(store: Store, operator: bytes, raw: bytes) -> int:
    chain = store.chain(operator, REGISTRY)
    logged = store.find(chain.id, decode(raw).seq) if chain else None
    if logged and logged[1] == raw:
        return logged[0]
    row = store.quarantined(hashlib.sha256(raw).digest())
    raise EarmarkError(
        f"the statement was not admitted: {row.reason}: {row.message}" if row else "the statement is gone"
    )
