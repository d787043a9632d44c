"""At low load: from a node's publish to the gateway's signed acknowledgement of that very statement."""

import select
import statistics
import time
from typing import Any

from bench import farms
from bench.ingest import serving
from bench.publisher import Node, publish, text
from earmark import ack

NODES = 20
EVERY_S = 0.2
LIMIT_S = 10.0


def measure(broker: str, count: int) -> dict[str, Any]:
    """Publish this many statements, one every `EVERY_S`, and return p50 and p95 in milliseconds with all times."""
    rounds = -(-count // NODES)
    statements = farms.read(farms.statements(NODES, rounds), count)
    topics = [text(f"earmark/v1/{farms.SITE}/{name}/up") for name in farms.names(NODES)]
    took_ms = []
    with serving(broker, NODES) as (farm, port, _, _):
        nodes = [Node(port, name, farms.credentials(farm, name)) for name in farms.names(NODES)]
        gateway = farm.signer("gateway").key
        next_at = time.monotonic() + 1.0
        for number, raw in enumerate(statements):
            time.sleep(max(0.0, next_at - time.monotonic()))
            next_at += EVERY_S
            took_ms.append(_answered(nodes[number % NODES], publish(topics, number, raw), number // NODES + 1, gateway))
        for node in nodes:
            node.socket.close()
    ordered = sorted(took_ms)
    p95 = ordered[min(len(ordered) - 1, round(len(ordered) * 0.95))]
    return {"p50_ms": statistics.median(ordered), "p95_ms": p95, "count": len(ordered), "raw_ms": took_ms}


def _answered(node: Node, packet: bytes, seq: int, gateway: bytes) -> float:
    """Publish, wait for the acknowledgement of this `seq`, and return the milliseconds; verified after the clock."""
    begun, answers = time.monotonic(), node.answers
    node.socket.sendall(packet)
    while True:
        if not select.select([node.socket], [], [], LIMIT_S)[0]:
            raise RuntimeError(f"no acknowledgement within {LIMIT_S} s")
        node.receive()
        if node.answers > answers:
            answers, took_ms = node.answers, (time.monotonic() - begun) * 1000
            if any(first <= seq <= last for first, last in ack.decode(node.answer, gateway).runs):
                return took_ms
