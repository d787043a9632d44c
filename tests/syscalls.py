"""What a process did to its files and connections, in order, as strace saw it; and its disk after a power cut."""

import random
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mqtt_proxy import split

SECTOR = 512
WRITES, SYNCS, SENDS = ("pwrite64",), ("fdatasync", "fsync"), ("sendto", "write", "writev", "sendmsg")
_CALL = re.compile(r"^(\d+) +(\w+)\((\d+)<(TCP[^\]]*\]|[^>]*)>(.*)$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>.*= (-?\d+)")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True, slots=True)
class Event:
    """`write`: octets at an offset of a file; `sync` of one; `cut` of one to a size; `send`: octets to a socket."""

    kind: str
    target: str
    octets: bytes = b""
    offset: int = 0


def recording(path: Path) -> list[str]:
    """Return the strace in front of a program that is to be recorded; skips where there is none."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("no strace here: apt-get install strace (`make test` does)")
    calls = ",".join((*WRITES, *SYNCS, *SENDS, "ftruncate"))
    return [strace, "-D", "-f", "-qq", "-xx", "-yy", "-s", "1000000", "-o", str(path), "-e", f"trace={calls}"]


def read_events(path: Path) -> list[Event]:
    """Return what succeeded, in order.  A send counts from its start, a sync from its end, as the worst case is."""
    events: list[Event] = []
    open_syncs: dict[str, str] = {}
    for line in path.read_text().splitlines():
        if (resumed := _RESUMED.match(line)) and resumed[1] in open_syncs:
            target = open_syncs.pop(resumed[1])
            if resumed[3] == "0":
                events.append(Event("sync", target))
        elif call := _CALL.match(line):
            process, name, _, target, rest = call.groups()
            target = _text(target)
            if name in SYNCS and "<unfinished" in rest:
                open_syncs[process] = target
            else:
                events += _event(name, target, rest)
    return events


def _event(name: str, target: str, rest: str) -> Iterator[Event]:
    octets = b"".join(bytes.fromhex(found[1].replace("\\x", "")) for found in _STRING.finditer(rest))
    if name in SYNCS and rest.rstrip().endswith("= 0"):
        yield Event("sync", target)
    elif name in WRITES:
        yield Event("write", target, octets, int(re.findall(r", (\d+)(?:\)| <unf)", rest)[-1]))
    elif name == "ftruncate":
        yield Event("cut", target, offset=int(re.findall(r", (\d+)(?:\)| <unf)", rest)[-1]))
    elif name in SENDS and target.startswith("TCP"):
        yield Event("send", target, octets)


def _text(target: str) -> str:
    return bytes.fromhex(target.replace("\\x", "")).decode() if target.startswith("\\x") else target


def packets_sent(events: list[Event]) -> Iterator[tuple[int, bytes]]:
    """Give (place, MQTT packet) of all that was sent, each at the send that began it."""
    unsent: dict[str, tuple[int, bytes]] = {}
    for place, event in enumerate(events):
        if event.kind == "send":
            begun, octets = unsent.get(event.target, (place, b""))
            packets, left = split(octets + event.octets)
            yield from ((begun, packet) for packet in packets)
            unsent[event.target] = (place if packets else begun, left)


def after_power_cut(start: bytes, events: list[Event], target: str, draw: random.Random) -> bytes:
    """Return a file as a power cut after these events may leave it.

    What was synced is there.  Of every later write the medium has all, nothing, or its first sectors, in any order.
    """
    mine = [event for event in events if event.target == target and event.kind in ("write", "sync", "cut")]
    synced = max((place for place, event in enumerate(mine) if event.kind == "sync"), default=-1)
    disk = bytearray(start)
    for place, event in enumerate(mine):
        kept = len(event.octets)
        if place > synced:
            if draw.random() < 0.5:
                kept = draw.randint(0, kept // SECTOR) * SECTOR
            if not kept:
                continue
        if event.kind == "cut":
            del disk[event.offset :]
        elif event.kind == "write":
            disk.extend(bytes(max(0, event.offset - len(disk))))
            disk[event.offset : event.offset + kept] = event.octets[:kept]
    return bytes(disk)
