"""Who may say and hear what at a farm's broker, docs/protocol.md §10: one user a node, by its name, and the gateway's.

Whatever broker it is takes its access list from here.
"""

from dataclasses import dataclass

GATEWAY_USER = "gateway"
"""The gateway's user at the embedded broker; no node may have this name."""

MAX_MESSAGE = 65_536
"""Bytes of a message that a broker takes; a statement has at most 8,192 (docs/protocol.md §3)."""

MAX_IN_FLIGHT = 20_000
"""Messages that the gateway may leave without a PUBACK: far more than one batch."""


@dataclass(frozen=True, slots=True)
class Rights:
    """MQTT topic filters: what a user may publish to, and what it may subscribe to."""

    write: tuple[str, ...]
    read: tuple[str, ...]


def rights(site: str, user: str, gateway: str = GATEWAY_USER) -> Rights:
    """Return a node's rights, or those of the user `gateway`."""
    topics = f"earmark/v1/{site}"
    if user == gateway:
        checkpoint = f"{topics}/checkpoint"
        write = f"{topics}/+/down", f"{topics}/+/answer", f"{topics}/beacon", checkpoint
        return Rights(write, (f"{topics}/+/up", f"{topics}/+/status", f"{topics}/+/ask", checkpoint))
    own = f"{topics}/{user}"
    return Rights((f"{own}/up", f"{own}/status", f"{own}/ask"), (f"{own}/down", f"{own}/answer", f"{topics}/beacon"))
