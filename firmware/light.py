"""The status light: how often it flashes says what is wrong first (docs/firmware.md, "The light").

`CODES` is the table: (what, flashes in a row, what it means), the most urgent first.  One short flash every few seconds
is a node that is well; a light that stays on, an update; a light that stays off, a node without power or asleep.
"""

import asyncio

CODES = (
    ("update", 0, "an update is being installed: the light stays on; leave the power on"),
    ("stopped", 7, "the node cannot run: no settings, no key, or damaged storage; its log says which"),
    ("network", 2, "no Wi-Fi: its name and password in node.json, and the distance to the access point"),
    ("broker", 3, "no connection to the broker: its address, the network between, a captive portal, password or TLS"),
    ("gateway", 4, "the broker is there and the gateway does not answer: see whether `earmark run` runs"),
    ("outbox", 5, "the outbox is more than half full: what waits is sent as soon as the gateway answers"),
    ("clock", 6, "the clock is unset: no time from NTP, and none from the gateway yet"),
    ("sensor", 8, "a sensor gave no reading the last time: its wiring; the log says which"),
    ("well", 1, "all is well"),
)
_FLASHES = {code: flashes for code, flashes, _ in CODES}
_ON_MS, _OFF_MS, _PAUSE_MS = 150, 250, 1500
_WELL_ON_MS, _WELL_PAUSE_MS = 30, 5000


def pattern(code):
    """[(on, milliseconds), …] of one round of a code."""
    flashes = _FLASHES[code]
    if not flashes:
        return [(True, 1000)]
    if code == "well":
        return [(True, _WELL_ON_MS), (False, _WELL_PAUSE_MS)]
    return [(True, _ON_MS), (False, _OFF_MS)] * (flashes - 1) + [(True, _ON_MS), (False, _PAUSE_MS)]


def first(conditions):
    """The most urgent code of those that hold; `conditions` maps codes to booleans."""
    for code, _, _ in CODES:
        if conditions.get(code):
            return code
    return "well"


async def show(led, code):
    """Show what `code()` says, round after round, for ever; `led(on)` switches the light."""
    try:
        while True:
            for on, wait_ms in pattern(code()):
                led(on)
                await asyncio.sleep(wait_ms / 1000)
    finally:
        led(False)
