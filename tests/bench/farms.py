"""A farm to measure, and the statements of its simulated nodes: signed once, kept in .cache/bench/, the same each run.

The nodes' keys come from their numbers, so that the statements fit every farm that enrols these nodes.
"""

import hashlib
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from decimal import Decimal
from itertools import islice
from pathlib import Path

from earmark import operator
from earmark.access import node_password
from earmark.config import Farm, create_farm
from earmark.cose import Signer
from earmark.statement import NO_ENTRY, REGISTRY, Clock, decode, sign
from earmark.store.sqlite import SqliteStore

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "bench"
SITE = "bench"
BEGAN_S = 1_760_000_000  # the first reading; always in the past, so that no gateway calls it a time in the future
EVERY_S = 60
BEACON = hashlib.sha256(b"the beacon of the benchmarks").digest()[:16]
SENSORS = (
    ("Tair", "Cel", 2150),
    ("Rhair", "%RH", 7820),
    ("CO2air", "ppm", 61240),
    ("VentLee", "/100", 1250),
    ("VentWind", "/100", 430),
    ("EnScr", "/100", 9600),
    ("Tpipe", "Cel", 4410),
    ("Tleaf", "Cel", 2030),
    ("Netrad", "W/m2", 18790),
    ("PAR", "umol/m2/s", 24310),
)

CONFIGURATION = """\
[farm]
site = "{site}"
[broker]
{broker}
[ingest]
most_a_minute = 1000000000
"""


def names(nodes: int) -> list[str]:
    """Return the nodes' names."""
    return [f"node-{number:04}" for number in range(nodes)]


def signer(name: str) -> Signer:
    """Return a simulated node's key."""
    return Signer(hashlib.sha256(b"bench " + name.encode()).digest())


def make_farm(folder: Path, nodes: int, port: int, *, embedded: bool) -> Farm:
    """Make a farm as `earmark init` does, with this many nodes enrolled.

    Its broker is the embedded one on a port of the loopback, or another one there, without TLS.  The settings are the
    defaults, but that a node may say more than it ever would, and that the embedded broker takes all nodes.
    """
    own = f'listen = "127.0.0.1"\nport = {port}\ntls = false\nmax_connections = {4 * nodes + 100}'
    broker = own if embedded else f'embedded = false\nurl = "mqtt://127.0.0.1:{port}"'
    farm = create_farm(folder, CONFIGURATION.format(site=SITE, broker=broker))
    operator.found(farm)
    _enrol(farm, names(nodes))
    return farm


def _enrol(farm: Farm, nodes: list[str]) -> None:
    """Leave all enrolments but the last in the store; the operator's command for that one admits them all."""
    store, said_by = SqliteStore(farm.database), farm.signer("operator")
    try:
        seq, prev = 1, decode(store.statement(0)).entry
        clock = Clock(4, 1, 60)
        with store.transaction():
            for name in nodes[:-1]:
                body = {0: "enrolment", 1: signer(name).key, 2: "node", 3: name}
                seq += 1
                raw = sign(said_by, REGISTRY, seq, prev, body, issued_at_s=int(time.time()), clock=clock)
                prev = decode(raw).entry
                store.submit(raw)
    finally:
        store.close()
    operator.enrol(farm, signer(nodes[-1]).key, nodes[-1])


def credentials(farm: Farm, name: str) -> tuple[str, str]:
    """Return user and password with which a node connects."""
    return name, node_password(farm, signer(name).key)


def statements(nodes: int, rounds: int) -> Path:
    """Return the file that holds `rounds` statements of each node, made now if need be.

    All nodes' first statements come first, then all second ones; each is 2 bytes of length and the statement.
    """
    path = CACHE / f"statements-{nodes}.bin"
    counted = path.with_suffix(".rounds")
    if path.exists() and counted.exists() and int(counted.read_text()) >= rounds:
        return path
    CACHE.mkdir(parents=True, exist_ok=True)
    counted.unlink(missing_ok=True)
    with ProcessPoolExecutor(2) as pool:
        chains = list(pool.map(_chain, names(nodes), [rounds] * nodes, chunksize=max(1, nodes // 20)))
    with path.open("wb") as file:
        for turn in zip(*chains, strict=True):
            file.writelines(struct.pack(">H", len(raw)) + raw for raw in turn)
    counted.write_text(str(rounds))
    return path


def read(path: Path, most: int | None = None) -> Iterator[bytes]:
    """Give the statements of such a file in order, all or the first `most`."""
    return islice(_read(path), most)


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while head := file.read(2):
            yield file.read(int.from_bytes(head, "big"))


def _chain(name: str, rounds: int) -> list[bytes]:
    node, prev, made = signer(name), NO_ENTRY, []
    for seq in range(1, rounds + 1):
        now_s = BEGAN_S + seq * EVERY_S
        clock = Clock(2, 1, seq * EVERY_S)
        raw = sign(
            node, name, seq, prev, _pack(name, now_s, seq), issued_at_s=now_s, clock=clock, beacon=BEACON,
            boot_count=1, method=0,
        )  # fmt: skip
        prev = hashlib.sha256(raw).digest()
        made.append(raw)
    return made


def _pack(name: str, now_s: int, seq: int) -> list[dict[int, object]]:
    """Ten readings with two decimals that wander, as firmware/senml.py writes them."""
    records: list[dict[int, object]] = [
        {0: what, 1: unit, 2: Decimal(middle + (seq * (place + 7)) % 97 - 48).scaleb(-2)}
        for place, (what, unit, middle) in enumerate(SENSORS)
    ]
    records[0] |= {-2: f"{name}/", -3: now_s}
    return records
