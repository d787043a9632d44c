"""Parts: sensors, transceivers, resistors, supplies, cables, boxes; with terminals where wires go."""

from dataclasses import dataclass
from typing import Any

from earmark.errors import ConfigError
from earmark.tables import parse_table, setting

SUPPLIES = ("gnd", "3v3", "5v", "12v", "bat", "usb")
"""The nets that carry power; those of a battery are `bat`, of a USB plug `usb`."""


@dataclass(frozen=True, slots=True)
class Terminal:
    """A place for a wire: in TOML `{label = "SDA", net = "sda"}`.

    `net` is a supply; or a line of the part's bus, named from the board's side: scl, sda, data (1-Wire), tx, rx,
    direction (serial), a, b (RS-485); or `signal`, a line of the part's own.
    """

    label: str = setting("", "what is printed beside it, or the colour of the lead")
    net: str = setting("", "what it is connected to")
    drives: bool = setting(False, "it puts a voltage on the board's pin")
    level_v: float = setting(0.0, "that voltage, where it is not the part's own supply", "V")
    pull: str = setting("", "where it pulls the line while nothing drives it: up or down")
    colour: str = setting("", "colour of the lead, as WireViz spells it")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of one kind, `[name]` in hardware/parts/*.toml."""

    name: str = setting("", "set by where it stands")
    title: str = setting("", "what a shop calls it")
    kind: str = setting("", "sensor, transceiver, resistor, supply, battery, converter, cable, joint, lamp or box")
    maker: str = setting("", "who makes it; empty for what many make alike")
    number: str = setting("", "the maker's part number")
    price: str = setting("", "price class, a letter of prices.toml")
    driver: str = setting("", "the firmware's driver for it")
    address: str = setting("", "its I2C address, such as 0x44")
    addresses: tuple[str, ...] = setting((), "all that it can be set to")
    signal: str = setting("", "what its own line is: analog, pulse or digital")
    supply_min_v: float = setting(0.0, "lowest supply", "V")
    supply_max_v: float = setting(0.0, "highest supply", "V")
    active_ma: float = setting(0.0, "average while it measures", "mA")
    peak_ma: float = setting(0.0, "highest peak", "mA")
    sleep_ma: float = setting(0.0, "between measurements, in mode deep-sleep", "mA")
    measure_s: float = setting(0.0, "time that a measurement takes", "s")
    gives_v: float = setting(0.0, "voltage that it supplies", "V")
    gives_ma: float = setting(0.0, "current that it supplies at most", "mA")
    efficiency: float = setting(1.0, "of a converter")
    capacity_mah: float = setting(0.0, "charge of a battery at 20 °C and a few mA", "mAh")
    share_at_0c: float = setting(1.0, "share of it at 0 °C")
    share_at_minus_20c: float = setting(1.0, "share of it at -20 °C")
    fade_a_year: float = setting(0.0, "share that self-discharge takes each year")
    cells: int = setting(1, "cells in a battery, counted in a bill of material")
    ohm: float = setting(0.0, "of a resistor", "ohm")
    pull_up_ohm: float = setting(0.0, "pull-ups that a sensor has on its bus; 0 for none", "ohm")
    shares: bool = setting(False, "it passes its bus on at a second socket")
    leads_m: float = setting(0.0, "length of the leads that it comes with; 0 for none", "m")
    ways: int = setting(0, "wires that a joint takes")
    length_m: float = setting(0.0, "length of a cable", "m")
    measures: str = setting("", "what a sensor measures, in words")
    note: str = setting("", "what to mind")
    sources: tuple[str, ...] = setting((), "documents that the facts come from")
    unverified: tuple[str, ...] = setting((), "what could not be checked against such a document")
    terminals: tuple[Terminal, ...] = ()

    def terminal(self, net: str) -> Terminal | None:
        """Return the terminal of a net."""
        return next((terminal for terminal in self.terminals if terminal.net == net), None)


def parse_part(name: str, table: Any, where: str) -> Part:
    """Return a part of its TOML table; `ConfigError` names what is wrong."""
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: {name} is a table: [{name}]")
    rest = {key: value for key, value in table.items() if key != "terminals"}
    flat = parse_table(Part, name, rest | {"name": name}, where)
    rows = [parse_table(Terminal, f"{name}.terminals", row, where) for row in table.get("terminals", [])]
    return Part(**{field: getattr(flat, field) for field in Part.__dataclass_fields__} | {"terminals": tuple(rows)})
