"""The part of node.json that follows from the wiring: mode, buses, sensors, lamp."""

from typing import Any

from earmark.hardware.build import Build
from earmark.hardware.kit import DEEP_SLEEP, Use

_KINDS = {"scl": "i2c", "sda": "i2c", "tx": "uart", "rx": "uart", "direction": "uart", "data": "onewire"}
_SETTING = {"data": "pin"}


def node_settings(build: Build) -> dict[str, Any]:
    """Return what the kit says of node.json; the farm adds site, name, keys and broker (`earmark.access`)."""
    settings: dict[str, Any] = {"mode": build.kit.plan.mode, "interval_s": build.kit.plan.interval_s}
    if build.kit.plan.mode == DEEP_SLEEP:
        settings["send_every"] = build.kit.plan.send_every
    buses = _buses(build)
    if buses:
        settings["buses"] = buses
    settings["sensors"] = [_sensor(build, use) for use in build.uses if build.part(use).driver]
    led = _lamp(build)
    if led is not None:
        settings["status_led"] = led
    return settings


def _lamp(build: Build) -> int | str | None:
    """The lamp that the kit has, else the board's own."""
    wired = [build.pins[f"{use.name}.signal"].gpio for use in build.uses if build.part(use).kind == "lamp"]
    own = build.board.facts.status_led
    return wired[0] if wired else (int(own) if own.isdecimal() else own or None)


def _buses(build: Build) -> dict[str, dict[str, Any]]:
    buses: dict[str, dict[str, Any]] = {}
    for net, pin in build.pins.items():
        name, dot, line = net.partition(".")
        if not dot or line not in _KINDS:
            continue
        kind = _KINDS[line]
        bus = buses.setdefault(name, {"kind": kind} | build.kit.buses.get(name, {}))
        if build.board.is_linux:
            bus.update(build.board.buses.get(kind, {}))
        else:
            bus[_SETTING.get(line, line)] = pin.gpio
    return buses


def _sensor(build: Build, use: Use) -> dict[str, Any]:
    part = build.part(use)
    entry: dict[str, Any] = {"driver": part.driver, "name": use.name}
    if use.bus:
        entry["bus"] = use.bus
    signal = build.pins.get(f"{use.name}.signal")
    if signal:
        entry["pin"] = signal.gpio
    return entry | build.kit.settings.get(use.name, {})
