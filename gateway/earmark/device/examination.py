"""What is wrong with a board, and what helps."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from earmark.device.board import Board, OnBoard
from earmark.device.enrolment import About, look
from earmark.device.install import whole_slot
from earmark.errors import DeviceError

JOIN_S = 20

CURES = {
    "firmware": "put it there: `earmark node flash`",
    "settings": "set it up: `earmark node enroll NAME`, with the name that it has, if it has one",
    "key": "the board must not sign: `earmark node flash` writes the firmware anew; a damaged key is rotated",
    "outbox": "let it deliver (`earmark node monitor`); a board with little room needs a smaller outbox_bytes",
    "bus": "look at its wires: power and ground on the right pins, the two lines not swapped, plugs pushed home",
    "sensor": "look at its wires and its address, then at the driver's settings in docs/firmware.md",
    "radio": "2.4 GHz, name and password as the router has them (`earmark node enroll NAME --wifi SSID`), closer to it",
    "clock": "the network must let UDP port 123 out; or set ntp_host to a time server of your own",
    "broker": "does the gateway run, is this its address? See its firewall; `earmark node enroll NAME --host ADDRESS`",
}
"""What to do about each kind of check."""

WELL, ILL, NONE = "well", "ill", "none"


@dataclass(frozen=True, slots=True)
class Check:
    """One look: at what, how it is (well, ill, none where there is nothing to judge), what was seen, what helps."""

    what: str
    state: str
    seen: str
    cure: str | None


def examine(board: Board) -> Iterator[Check]:
    """Give one check after the other, from the firmware outwards, up to one that the next ones need."""
    about = look(board)
    yield Check("board", WELL, _board(about), None)
    try:
        slot = whole_slot(board)
    except DeviceError:
        yield _ill("firmware", "Earmark is not on this board")
        return
    try:
        sensors = board.call("doctor", "use", slot)
    except OnBoard as error:
        yield _ill("settings", error.raised)
        return
    yield Check("settings", WELL, f"{(about.node or {}).get('name')} of {(about.node or {}).get('site')}", None)
    yield _ask(board, "key", "key")
    yield _ask(board, "outbox", "outbox")
    for name, kind, state, seen in board.call("doctor", "buses"):
        yield _check("bus", f"bus {name} ({kind})", state, seen)
    for place, (name, driver, _) in enumerate(sensors):
        yield _ask(board, "sensor", "sensor", place, title=f"sensor {name} ({driver})")
    radio = _ask(board, "radio", "radio", JOIN_S)
    yield radio
    if radio.state == WELL:
        yield _ask(board, "clock", "clock")
        yield _ask(board, "broker", "broker")


def _board(about: About) -> str:
    return f"{about.machine}, MicroPython {about.runs}, {about.memory // 1024:,} KiB of memory"


def _ask(board: Board, kind: str, function: str, *arguments: Any, title: str = "") -> Check:
    try:
        state, seen = board.call("doctor", function, *arguments, timeout_s=60)
    except OnBoard as error:
        return _check(kind, title or kind, ILL, error.raised)
    return _check(kind, title or kind, state, seen)


def _check(kind: str, what: str, state: str, seen: str) -> Check:
    return Check(what, state, seen, CURES[kind] if state == ILL else None)


def _ill(kind: str, seen: str) -> Check:
    return _check(kind, kind, ILL, seen)
