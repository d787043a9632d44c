"""Boards: their pins with every limit, what their regulators give, and what they draw."""

from dataclasses import dataclass
from typing import Any

from earmark.errors import ConfigError
from earmark.tables import parse_table, setting


@dataclass(frozen=True, slots=True)
class Pin:
    """[[pin]]"""

    label: str = setting("", "what is printed beside it, or what the maker calls it")
    at: str = setting("", "its place on the header")
    gpio: int = setting(-1, "number that the firmware knows it by; -1 for none")
    net: str = setting("", "the supply it carries: gnd, 3v3, 5v, bat (a battery goes in here) or usb")
    adc: int = setting(0, "unit of its analogue input; 0 for none")
    input_only: bool = setting(False, "it cannot drive a line")
    strap: str = setting("", "level that it must not be pulled away from while the board starts: high or low")
    reserved: str = setting("", "why nothing may be connected to it")
    shared: str = setting("", "what else on the board uses it")
    does: tuple[str, ...] = setting((), "what its peripherals can be, where the chip fixes that, such as i2c0.sda")


@dataclass(frozen=True, slots=True)
class Draw:
    """[draw]: currents without any part connected, each as the lowest and highest to reckon with."""

    wifi_low_ma: float = setting(0.0, "at 3.3 V: average while it joins, sends and waits for the answer", "mA")
    wifi_high_ma: float = setting(0.0, "the same, at most", "mA")
    cpu_low_ma: float = setting(0.0, "at 3.3 V: processor awake, radio off", "mA")
    cpu_high_ma: float = setting(0.0, "the same, at most", "mA")
    idle_low_ma: float = setting(0.0, "at 3.3 V: connected to Wi-Fi, waiting, in mode always-on", "mA")
    idle_high_ma: float = setting(0.0, "the same, at most", "mA")
    sleep_low_ma: float = setting(0.0, "at 3.3 V: chip in deep sleep as the firmware reaches it", "mA")
    sleep_high_ma: float = setting(0.0, "the same, at most", "mA")
    rest_low_ma: float = setting(0.0, "at the supply, always: regulator, USB bridge, lamps", "mA")
    rest_high_ma: float = setting(0.0, "the same, at most", "mA")
    peak_ma: float = setting(0.0, "at 3.3 V: highest peak, while the radio sends", "mA")


@dataclass(frozen=True, slots=True)
class Facts:
    """The table [board]."""

    title: str = setting("", "what a shop calls it")
    maker: str = setting("", "who makes it")
    number: str = setting("", "the maker's part number, of the version with pin headers soldered on")
    price: str = setting("", "price class, a letter of prices.toml")
    platform: str = setting("", "the firmware's board module: esp32, rp2 or linux")
    image: str = setting("", "MicroPython's name of the image for it")
    io_max_v: float = setting(0.0, "highest voltage that a pin bears", "V")
    adc_max_v: float = setting(0.0, "highest voltage that its converter tells from a higher one", "V")
    regulator: str = setting("", "how it makes 3.3 V: linear or switching")
    efficiency: float = setting(1.0, "of a switching regulator")
    rail_ma: float = setting(0.0, "what the 3.3 V rail gives in all, the board included", "mA")
    bat_min_v: float = setting(0.0, "lowest voltage of a battery that keeps it running", "V")
    bat_max_v: float = setting(0.0, "highest voltage of a battery; 0 where none may be connected", "V")
    i2c_pull_up_ohm: float = setting(0.0, "pull-ups on the board's own I2C pins; 0 for none", "ohm")
    status_led: str = setting("", "pin of its plain lamp, as the firmware names it")
    key: str = setting("", "what the key in it is worth")
    memory: str = setting("", "whether the node's firmware fits into it, where that is not sure")
    sources: tuple[str, ...] = setting((), "documents that the facts come from")
    unverified: tuple[str, ...] = setting((), "what could not be checked against such a document")


@dataclass(frozen=True, slots=True)
class Board:
    """A board: `roles` gives the labels of the pins that a bus or sensor takes unless the kit says otherwise."""

    name: str
    facts: Facts
    draw: Draw
    pins: tuple[Pin, ...]
    roles: dict[str, tuple[str, ...]]
    buses: dict[str, dict[str, Any]]

    @property
    def is_linux(self) -> bool:
        """Whether an operating system keeps its buses."""
        return self.facts.platform == "linux"

    def pin(self, label: str) -> Pin | None:
        """Return the pin of that label."""
        return next((pin for pin in self.pins if pin.label == label), None)

    def supply(self, net: str) -> Pin | None:
        """Return the first pin that carries a supply."""
        return next((pin for pin in self.pins if pin.net == net), None)


def parse_board(name: str, tables: dict[str, Any], where: str) -> Board:
    """Return a board of its TOML; `ConfigError` names what is wrong.  Every pin that `roles` names is there."""
    pins = tuple(parse_table(Pin, "pin", row, where) for row in tables.get("pin", []))
    roles = {role: tuple(labels) for role, labels in tables.get("roles", {}).items()}
    board = Board(
        name,
        parse_table(Facts, "board", tables.get("board", {}), where),
        parse_table(Draw, "draw", tables.get("draw", {}), where),
        pins,
        roles,
        tables.get("buses", {}),
    )
    labels = [pin.label for pin in pins]
    for role, wanted in roles.items():
        for label in wanted:
            if label not in labels:
                raise ConfigError(f"{where}: roles.{role} names {label}, which is none of its pins")
    return board
