"""The part of node.json that follows from the wiring: mode, interval_s, buses, sensors, status_led."""

from typing import Any

from earmark.hardware.build import Build
from earmark.hardware.kit import Use

_KINDS = {"scl": "i2c", "sda": "i2c", "tx": "uart", "rx": "uart", "direction": "uart", "data": "onewire"}
_SETTING = {"data": "pin"}


def node_settings(build: Build) -> dict[str, Any]:
    """Return what the kit says of node.json; the farm adds site, name, keys and broker (`earmark.access`)."""
    settings: dict[str, Any] = {"mode": build.kit.plan.mode, "interval_s": build.kit.plan.interval_s}
    buses = _buses(build)
    if buses:
        settings["buses"] = buses
    settings["sensors"] = [_sensor(build, use) for use in build.uses if build.part(use).driver]
    led = build.board.facts.status_led
    if led:
        settings["status_led"] = int(led) if led.isdecimal() else led
    return settings


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
