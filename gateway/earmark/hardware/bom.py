"""Bills of material: what to buy for a build, how many of each, and what it costs, as a range."""

import csv
import io
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from earmark.hardware.board import Facts
from earmark.hardware.build import BOARD, Build
from earmark.hardware.library import Prices
from earmark.hardware.part import Part


@dataclass(frozen=True, slots=True)
class Line:
    """So many of one thing.  `low` and `high` are the price of all of them; `uses` says what for."""

    count: int
    title: str
    order: str
    price_class: str
    low: float
    high: float
    uses: str


@dataclass(frozen=True, slots=True)
class Bill:
    """What a build is made of."""

    lines: tuple[Line, ...]
    currency: str
    date: str

    @property
    def low(self) -> float:
        """The least that all of it costs."""
        return sum(line.low for line in self.lines)

    @property
    def high(self) -> float:
        """The most."""
        return sum(line.high for line in self.lines)


def bill(build: Build, prices: Prices) -> Bill:
    """Return the bill: the board, then parts, cables, joints and what is not wired; nothing that is owned."""
    counts: Counter[str] = Counter()
    why: dict[str, list[str]] = {}
    for name, count, use in _needed(build):
        counts[name] += count
        why.setdefault(name, [])
        if use and use not in why[name]:
            why[name].append(use)
    lines = [_line(build.board.facts, 1, [], prices)]
    lines += [_line(build.kit.parts[name], count, why[name], prices) for name, count in counts.items()]
    return Bill(tuple(lines), prices.currency, prices.date)


def joints(build: Build) -> int:
    """Return how many joints it takes: one more than `ways` - 2 wires for each beyond the first of a net."""
    ways = build.kit.parts[build.kit.plan.joint].ways if build.joints else 0
    return sum(max(1, -(-(wires - 2) // (ways - 2))) for wires in build.joints.values())


def _needed(build: Build) -> Iterator[tuple[str, int, str]]:
    """Give (part, how many, what for)."""
    single = build.kit.plan.wire
    wires = Counter(wire.cable for wire in build.wires)
    for use in build.uses:
        if not use.owned:
            yield use.part, 1, use.name
    for use in build.uses:
        cable = use.cable or ("" if build.part(use).leads_m else single)
        if cable:
            yield cable, wires[use.name] if cable == single else 1, ""
    if wires[BOARD]:
        yield single, wires[BOARD], ""
    for use in build.uses:  # a signal's lead reaches the joints, not the board's pin: a jumper takes it there
        straight = [w for w in build.wires if w.cable == use.name and w.start.node == BOARD and w.net != "usb"]
        if build.part(use).leads_m and straight:
            yield single, len(straight), ""
            yield build.kit.plan.joint, len(straight), ""
    if build.joints:
        yield build.kit.plan.joint, joints(build), ""
    for extra in build.kit.extras:
        if not extra.boards or build.board.name in extra.boards:
            yield extra.part, extra.count, extra.note


def _line(thing: Part | Facts, count: int, uses: list[str], prices: Prices) -> Line:
    low, high = prices.classes[thing.price]
    order = f"{thing.maker} {thing.number}".strip() or "any maker"
    return Line(count, thing.title, order, thing.price, count * low, count * high, ", ".join(uses))


def as_csv(made: Bill) -> str:
    """Return the bill as CSV, with a line of the sum."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["count", "title", "order", "price_class", f"low_{made.currency}", f"high_{made.currency}", "for"])
    for line in made.lines:
        price = f"{line.low:.2f}", f"{line.high:.2f}"
        rows.writerow([line.count, line.title, line.order, line.price_class, *price, line.uses])
    rows.writerow(["", "sum", "", "", f"{made.low:.2f}", f"{made.high:.2f}", f"prices of {made.date}"])
    return text.getvalue()


def as_markdown(made: Bill) -> str:
    """Return the bill as a Markdown table."""
    rows = ["| | what | order | price, " + made.currency + " | for |", "|--:|---|---|--:|---|"]
    for line in made.lines:
        rows.append(f"| {line.count} | {line.title} | {line.order} | {span(line.low, line.high)} | {line.uses} |")
    rows.append(f"| | **in all** | | **{span(made.low, made.high)}** | |")
    return "\n".join(rows) + "\n"


def span(low: float, high: float) -> str:
    """Return a range of prices: `3–6`."""
    return f"{math.floor(low)}\N{EN DASH}{math.ceil(high)}"
