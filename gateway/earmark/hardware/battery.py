"""Battery life by duty cycle, as a range, with every assumption said.

A cycle has three stretches: awake (processor and sensors), Wi-Fi (radio and processor), and sleep; in mode always-on
the board idles, connected, all along.  Each current is a range; what is drawn at 3.3 V comes through the regulator.
"""

from dataclasses import dataclass
from itertools import pairwise

from earmark.errors import ConfigError
from earmark.hardware.board import Board
from earmark.hardware.build import Build
from earmark.hardware.kit import ALWAYS_ON, DEEP_SLEEP, MODES
from earmark.hardware.part import Part

_HOURS_A_DAY, _DAYS_A_YEAR = 24.0, 365.0
_RAIL_V = 3.3
_CELL_V = 1.5
"""Voltage of a primary cell over most of its life."""
_PANEL = 0.6
"""Share of a solar panel's rated power that reaches the battery: charger, angle, dirt, warm cells."""


@dataclass(frozen=True, slots=True)
class Duty:
    """How the node works: seconds between measurements, awake for one, on Wi-Fi at every `send_every`-th; °C."""

    mode: str
    interval_s: float
    wake_s: float
    wifi_s: float
    send_every: int = 1
    at_c: float = 20.0


@dataclass(frozen=True, slots=True)
class Life:
    """Days that the battery lasts and the average current at it, each lowest and highest; what was assumed."""

    days: tuple[float, float]
    average_ma: tuple[float, float]
    usable_mah: float
    assumptions: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Solar:
    """What a panel of `watts` gives at `sun_hours` a day, and what the node takes a day at most, both in Wh."""

    gives_wh: float
    takes_wh: float

    @property
    def is_enough(self) -> bool:
        """Whether it gives twice what is taken, for dull weeks."""
        return self.gives_wh >= 2 * self.takes_wh


def duty_of(build: Build, mode: str = "", interval_s: float = 0.0, at_c: float = 20.0, send_every: int = 0) -> Duty:
    """Return the kit's duty, with another mode, interval, temperature or pace of sending where given.

    Raises `ConfigError` for a mode that is none, or a cycle that is longer than the interval.
    """
    plan = build.kit.plan
    pace = interval_s or float(plan.interval_s)
    duty = Duty(mode or plan.mode, pace, plan.wake_s, plan.wifi_s, send_every or plan.send_every, at_c)
    if duty.mode not in MODES:
        raise ConfigError(f"{duty.mode!r} is no mode: it is one of {', '.join(MODES)}")
    if duty.mode == DEEP_SLEEP and duty.interval_s <= duty.wake_s + duty.wifi_s:
        raise ConfigError(f"an interval of {duty.interval_s:g} s leaves no time to sleep: make it longer")
    return duty


def cells_of(build: Build) -> Part:
    """Return the kit's battery; `ConfigError` where it has none."""
    found = next((build.part(use) for use in build.uses if build.part(use).kind == "battery"), None)
    if found is None:
        raise ConfigError(
            f"{build.kit.name} has no battery: it is fed from the mains; `cold-chain` is a kit that has one"
        )
    return found


def estimate(build: Build, cells: Part, duty: Duty) -> Life:
    """Return how long the battery lasts."""
    volts = _CELL_V * cells.cells
    low, high = (_average_ma(build, duty, volts, place) for place in ("low", "high"))
    share = _share(cells, duty.at_c)
    usable = cells.capacity_mah * share
    fade_ma = usable * cells.fade_a_year / (_DAYS_A_YEAR * _HOURS_A_DAY)
    days = tuple(usable / ((ma + fade_ma) * _HOURS_A_DAY) for ma in (high, low))
    return Life((days[0], days[1]), (low, high), usable, tuple(_assumed(build, cells, duty, volts, share)))


def solar(life: Life, cells: Part, watts: float, sun_hours: float) -> Solar:
    """Return what a panel would give, and what is taken; the battery of a kit with a panel must be one to charge."""
    takes = life.average_ma[1] * _HOURS_A_DAY * _CELL_V * cells.cells / 1000
    return Solar(watts * sun_hours * _PANEL, takes)


def _average_ma(build: Build, duty: Duty, volts: float, place: str) -> float:
    """The average current at the battery, of the lowest or highest draw."""
    draw = build.board.draw
    wifi, cpu, idle, sleep, rest = (
        getattr(draw, f"{name}_{place}_ma") for name in ("wifi", "cpu", "idle", "sleep", "rest")
    )
    parts = [build.part(use) for use in build.uses]
    rest += sum(part.sleep_ma for part in parts if part.terminal("bat"))
    asleep = sum(part.sleep_ma for part in parts if not part.terminal("bat"))
    active = sum(part.active_ma for part in parts if not part.terminal("bat"))
    if duty.mode == ALWAYS_ON:
        return _at_battery(build.board, idle + active, volts) + float(rest)
    wifi_s = duty.wifi_s / duty.send_every
    off_s = duty.interval_s - duty.wake_s - wifi_s
    charge = (cpu + active) * duty.wake_s + (wifi + asleep) * wifi_s + (sleep + asleep) * off_s
    return _at_battery(build.board, charge / duty.interval_s, volts) + float(rest)


def _at_battery(board: Board, rail_ma: float, volts: float) -> float:
    """A linear regulator passes the current on; a switching one the power, less its loss."""
    if board.facts.regulator == "linear":
        return rail_ma
    return rail_ma * _RAIL_V / (volts * board.facts.efficiency)


def _share(cells: Part, at_c: float) -> float:
    """The share of the charge that a temperature leaves: straight lines between -20, 0 and 20 °C, flat beyond."""
    points = ((-20.0, cells.share_at_minus_20c), (0.0, cells.share_at_0c), (20.0, 1.0))
    if at_c <= points[0][0]:
        return points[0][1]
    for (colder, less), (warmer, more) in pairwise(points):
        if at_c <= warmer:
            return less + (more - less) * (at_c - colder) / (warmer - colder)
    return 1.0


def _assumed(build: Build, cells: Part, duty: Duty, volts: float, share: float) -> list[tuple[str, str]]:
    """Every number that went in, in words."""
    draw, facts = build.board.draw, build.board.facts
    rows = [("mode", f"{duty.mode}, a measurement every {duty.interval_s:g} s")]
    every = f"at every {duty.send_every}th" if duty.send_every > 1 else "for each"
    if duty.mode == DEEP_SLEEP:
        rows += [
            ("awake", f"{duty.wake_s:g} s for each, {draw.cpu_low_ma:g} to {draw.cpu_high_ma:g} mA"),
            ("Wi-Fi", f"{duty.wifi_s:g} s {every}, {draw.wifi_low_ma:g} to {draw.wifi_high_ma:g} mA"),
            ("asleep", f"{draw.sleep_low_ma:g} to {draw.sleep_high_ma:g} mA"),
        ]
    else:
        rows.append(("connected, waiting", f"{draw.idle_low_ma:g} to {draw.idle_high_ma:g} mA"))
    rows.append(("regulator, bridge, lamps", f"{draw.rest_low_ma:g} to {draw.rest_high_ma:g} mA, always"))
    for use in build.uses:
        part = build.part(use)
        if part.active_ma:
            rows.append((use.name, f"{part.active_ma:g} mA measuring, {part.sleep_ma:g} mA asleep"))
    how = "passes the current on" if facts.regulator == "linear" else f"efficiency {facts.efficiency:.0%}"
    rows += [
        ("regulator", f"{facts.regulator}, {how}; battery at {volts:g} V"),
        ("battery", f"{cells.capacity_mah:,.0f} mAh, {share:.0%} of it at {duty.at_c:g} °C"),
        ("self-discharge", f"{cells.fade_a_year:.0%} a year"),
    ]
    return rows
