"""Kits: which parts a node has, how they hang together, and how to build it, for several boards."""

from dataclasses import dataclass
from typing import Any

from earmark.body import check_name
from earmark.errors import ConfigError, EncodingError
from earmark.hardware.part import SUPPLIES, Part
from earmark.tables import parse_table, setting

ALWAYS_ON, DEEP_SLEEP = "always-on", "deep-sleep"
MODES = (ALWAYS_ON, DEEP_SLEEP)

_TABLES = {
    "kit": "[kit]",
    "use": "[[use]], a table for each, its settings as {name = value}",
    "extra": "[[extra]], a table for each",
    "buses": "[buses] with i2c0 = {hz = 100000}",
    "pins": "[pins.BOARD] with a line for each net",
}


@dataclass(frozen=True, slots=True)
class Use:
    """[[use]]: a part in a kit, under a name of its own."""

    name: str = setting("", "its name; of a sensor also in node.json")
    part: str = setting("", "which part")
    bus: str = setting("", "the bus that it hangs on, such as i2c0")
    after: tuple[str, ...] = setting((), "where its wires come from, first match; the board unless others are named")
    cable: str = setting("", "the cable that they are; none for a part with leads of its own")
    boards: tuple[str, ...] = setting((), "only with these boards")
    owned: bool = setting(False, "the farm has it already: it is not bought")


@dataclass(frozen=True, slots=True)
class Extra:
    """[[extra]]: what is bought and not wired, such as a box."""

    part: str = setting("", "which part")
    count: int = setting(1, "how many")
    note: str = setting("", "what for")
    boards: tuple[str, ...] = setting((), "only with these boards")


@dataclass(frozen=True, slots=True)
class Plan:
    """The table [kit]."""

    title: str = setting("", "what it is")
    summary: str = setting("", "what it does for a grower")
    mode: str = setting(ALWAYS_ON, "always-on or deep-sleep")
    interval_s: int = setting(60, "time from one measurement to the next", "seconds")
    send_every: int = setting(1, "in mode deep-sleep: every how many measurements it connects and sends")
    wake_s: float = setting(3.0, "reckoned, in mode deep-sleep: start, measuring, signing", "seconds")
    wifi_s: float = setting(6.0, "reckoned, in mode deep-sleep: joining Wi-Fi, sending, the answer", "seconds")
    boards: tuple[str, ...] = setting((), "boards that it is tested with, the first is the one to take")
    wire: str = setting("jumper", "part that single wires are")
    joint: str = setting("lever-joint", "part that joins several wires")
    minutes: int = setting(0, "time to build it", "minutes")
    before: tuple[str, ...] = setting((), "steps before the wiring")
    afterwards: tuple[str, ...] = setting((), "steps after the wiring")
    placing: tuple[str, ...] = setting((), "where the sensors go")


@dataclass(frozen=True, slots=True)
class Kit:
    """A kit.  `pins` overrides a board's usual pins: board, net, label.  `settings` are those of the drivers."""

    name: str
    plan: Plan
    uses: tuple[Use, ...]
    extras: tuple[Extra, ...]
    parts: dict[str, Part]
    settings: dict[str, dict[str, Any]]
    buses: dict[str, dict[str, Any]]
    pins: dict[str, dict[str, str]]

    def part(self, use: Use) -> Part:
        """Return the part of a use."""
        return self.parts[use.part]

    def fitting(self, board: str) -> tuple[Use, ...]:
        """Return the uses with that board."""
        return tuple(use for use in self.uses if not use.boards or board in use.boards)


def parse_kit(name: str, tables: dict[str, Any], parts: dict[str, Part], where: str) -> Kit:
    """Return a kit of its TOML; `ConfigError` names what is wrong.  Every part it names is there."""
    _check_tables(tables, where)
    plan = parse_table(Plan, "kit", tables.get("kit", {}), where)
    rows = [dict(row) for row in tables.get("use", [])]
    settings = {str(row.get("name")): row.pop("settings", {}) for row in rows}
    uses = tuple(parse_table(Use, "use", row, where) for row in rows)
    extras = tuple(parse_table(Extra, "extra", row, where) for row in tables.get("extra", []))
    kit = Kit(name, plan, uses, extras, parts, settings, tables.get("buses", {}), tables.get("pins", {}))
    _check(kit, where)
    return kit


def _check_tables(tables: dict[str, Any], where: str) -> None:
    """Refuse tables that are not known, or not of the shape that they are to have."""
    for name, value in tables.items():
        if name not in _TABLES:
            raise ConfigError(f"{where}: unknown table [{name}]; known are {', '.join(_TABLES)}")
        rows = value if isinstance(value, list) else value.values() if isinstance(value, dict) else [value]
        is_list = name in ("use", "extra")
        fits = isinstance(value, list if is_list else dict) and (
            name == "kit" or all(isinstance(r, dict) for r in rows)
        )
        if not fits or any(not isinstance(row.get("settings", {}), dict) for row in rows if is_list):
            raise ConfigError(f"{where}: {name} is written as {_TABLES[name]}")
    for board, lines in tables.get("pins", {}).items():
        if not all(isinstance(label, str) for label in lines.values()):
            raise ConfigError(f"{where}: pins.{board} gives each net the label of a pin, a text in double quotes")


def _check(kit: Kit, where: str) -> None:
    if kit.plan.mode not in MODES:
        raise ConfigError(f"{where}: kit.mode is {kit.plan.mode!r}; it is one of {', '.join(MODES)}")
    if kit.plan.interval_s < 1:
        raise ConfigError(f"{where}: kit.interval_s is {kit.plan.interval_s}; it is at least 1")
    if kit.plan.send_every < 1:
        raise ConfigError(f"{where}: kit.send_every is {kit.plan.send_every}; it is at least 1")
    named: dict[str, set[str]] = {"board": set(kit.plan.boards)}
    for use in kit.uses:
        _check_use(kit, use, named, where)
        named.setdefault(use.name, set()).update(use.boards or kit.plan.boards)
    wanted = [kit.plan.wire, kit.plan.joint, *(extra.part for extra in kit.extras)]
    for part in wanted:
        if part not in kit.parts:
            raise ConfigError(f"{where}: there is no part {part!r}; known are {', '.join(sorted(kit.parts))}")


def _check_use(kit: Kit, use: Use, named: dict[str, set[str]], where: str) -> None:
    try:
        check_name(use.name)
    except EncodingError as error:
        raise ConfigError(f"{where}: use.name: {error}") from error
    if named.get(use.name, set()) & set(use.boards or kit.plan.boards) or use.name == "board":
        raise ConfigError(f"{where}: two uses of one board are called {use.name}: rename one")
    for part in (use.part, use.cable):
        if part not in kit.parts and (part or part is use.part):
            raise ConfigError(f"{where}: {use.name} is a part {part!r}, and there is none of that name")
    if not use.bus and any(terminal.net not in (*SUPPLIES, "signal") for terminal in kit.parts[use.part].terminals):
        raise ConfigError(f'{where}: {use.name} hangs on a bus: say which, as in bus = "i2c0"')
    for source in use.after:
        if source not in named:
            raise ConfigError(f"{where}: {use.name} comes after {source}, which stands nowhere before it")
