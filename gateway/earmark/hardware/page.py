"""The build page of a kit, Markdown for docs/kits/: what it measures, what it costs, pictures, steps, placing."""

import json
from collections.abc import Iterator

from earmark.errors import ConfigError
from earmark.hardware import battery, bom
from earmark.hardware.board import Board
from earmark.hardware.build import Build, fit
from earmark.hardware.firmware import node_settings
from earmark.hardware.kit import DEEP_SLEEP, Kit
from earmark.hardware.library import Prices
from earmark.hardware.wiring import connections

MADE = "<!-- Made of hardware/ by `make kits`; do not edit. -->"
_LIFE = ((DEEP_SLEEP, 600.0, 20.0), (DEEP_SLEEP, 600.0, -20.0), (DEEP_SLEEP, 3600.0, 20.0), ("always-on", 600.0, 20.0))

_OWN_SUPPLY = "Take the computer's cable out, and give the board its own supply."
_LINUX = (
    "It runs the node as a program: [firmware.md](../firmware.md#run-a-node-on-linux) in place of `node flash`, and "
    "`earmark node enroll --dir` on it. Switch I2C on with `sudo raspi-config`; "
    "`earmark kit show {kit} --board {board}` prints what belongs into its node.json."
)


def page(kit: Kit, boards: dict[str, Board], prices: Prices) -> str:
    """Return the page of a kit on all its boards."""
    builds = [fit(kit, boards[name]) for name in kit.plan.boards]
    blocks = [f"# {kit.plan.title}", MADE, kit.plan.summary, *_overview(builds, prices), *_steps(builds[0])]
    for build in builds:
        blocks += _board(build, prices)
    blocks += ["## Where the sensors go", _list(kit.plan.placing), *_sources(builds)]
    return "\n\n".join(blocks) + "\n"


def _list(items: tuple[str, ...]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _overview(builds: list[Build], prices: Prices) -> Iterator[str]:
    kit = builds[0].kit
    rows = ["| name | part | measures |", "|---|---|---|"]
    parts = {use.name: (use, kit.part(use)) for use in kit.uses if kit.part(use).measures}
    rows += [f"| `{name}` | {part.title} | {part.measures} |" for name, (_, part) in parts.items()]
    yield "\n".join(rows)
    rows = ["| board | costs, " + prices.currency + " | picture and wiring |", "|---|--:|---|"]
    for build in builds:
        made, title = bom.bill(build, prices), build.board.facts.title
        rows.append(f"| {title} | {bom.span(made.low, made.high)} | [{build.board.name}](#{_anchor(title)}) |")
    yield "\n".join(rows)
    owned = " Probes that the farm owns are not counted." if any(use.owned for use in kit.uses) else ""
    yield (
        f"Prices are ranges by class, reckoned in {prices.date} and not verified in any shop.{owned} "
        f"It takes about {kit.plan.minutes} minutes, a small screwdriver, a wire stripper and side cutters, and no "
        "soldering."
    )


def _anchor(title: str) -> str:
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -")
    return kept.replace(" ", "-")


def _steps(build: Build) -> Iterator[str]:
    """The numbered steps, for somebody who never soldered."""
    kit = build.kit
    steps = [
        "Lay everything on a dry table and tick it off against your board's list below.",
        *kit.plan.before,
        "Put Earmark onto the board, with nothing else connected: `earmark node flash` "
        "([hardware.md](../hardware.md#flash)).",
        "Pull the USB cable out. Nothing is ever wired while the board has power.",
    ]
    if build.joints:
        joint = kit.parts[kit.plan.joint]
        steps.append(
            f"Make the joints: one {joint.title.lower()} for each net that your table calls a joint ({joint.note}). "
            "Where a net has more wires than levers, bridge two with a short wire. Write the net's name on each."
        )
    steps += [
        "Wire row by row of your board's table: the pin's name is printed beside it, its place on the header stands in "
        "brackets. Tick each row off.",
        "Pull at each wire, gently: none may come out, and no bare wire may touch another.",
        "Have somebody else read the table back to you, red and black first: a swap there is what kills parts.",
        f"Put the USB cable in and enrol: `earmark node enroll NAME --wifi SSID --kit {kit.name} --board BOARD`, BOARD "
        f"being {_either([f'`{name}`' for name in kit.plan.boards])}.",
        "`earmark node doctor` looks at every bus and sensor and says what helps where one is silent.",
        *([] if any(kit.part(use).kind == "battery" for use in kit.uses) else [_OWN_SUPPLY]),
        *kit.plan.afterwards,
        "`earmark log list` shows the first readings in the log.",
        "Close the box, glands downwards, and put the sensors where they belong ([below](#where-the-sensors-go)).",
    ]
    yield "## Build it"
    yield "\n".join(f"{place}. {step}" for place, step in enumerate(steps, 1))


def _either(words: list[str]) -> str:
    return ", ".join(words[:-1]) + " or " + words[-1] if len(words) > 1 else words[0]


def _board(build: Build, prices: Prices) -> Iterator[str]:
    yield f"## {build.board.facts.title}"
    if build.board.facts.memory:
        yield f"**Memory: {build.board.facts.memory}** ([firmware.md](../firmware.md#what-it-takes))."
    if build.board.is_linux:
        yield _LINUX.format(kit=build.kit.name, board=build.board.name)
    yield f"![Wiring of {build.kit.plan.title} on {build.board.facts.title}]({build.name}.svg)"
    yield "Every wire, in the order to connect them:"
    rows = ["| | from | to | wire | carries |", "|--:|---|---|---|---|"]
    for place, (start, stop, colour, net) in enumerate(connections(build), 1):
        rows.append(f"| {place} | {start} | {stop} | {colour} | {net} |")
    yield "\n".join(rows)
    yield "What to buy:"
    yield bom.as_markdown(bom.bill(build, prices)).rstrip()
    notes = {part.title: part.note for use in build.uses if (part := build.part(use)).note}
    yield "What to mind:"
    yield _list(tuple(f"{title}: {note}." for title, note in notes.items()))
    yield from _life(build)
    yield "The settings that `earmark node enroll` writes for it:"
    yield f"```json\n{json.dumps(node_settings(build), indent=1)}\n```"


def _life(build: Build) -> Iterator[str]:
    """A table of how long the battery lasts, and what was assumed."""
    try:
        cells = battery.cells_of(build)
    except ConfigError:
        return
    yield "How long the battery lasts:"
    rows = [
        "| mode | measures every | sends every | battery at | lasts, days | average, mA |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for mode, interval_s, at_c in _LIFE:
        duty = battery.duty_of(build, mode, interval_s, at_c)
        made = battery.estimate(build, cells, duty)
        sends_s = interval_s * (duty.send_every if mode == DEEP_SLEEP else 1)
        days, average = (f"{low:.1f} to {high:.1f}" for low, high in (made.days, made.average_ma))
        paces = f"{interval_s / 60:.0f} min | {sends_s / 60:.0f} min"
        rows.append(f"| {mode} | {paces} | {at_c:.0f} °C | {days} | {average} |")
    yield "\n".join(rows)
    kept = battery.estimate(build, cells, battery.duty_of(build))
    yield "Reckoned, not measured on a board. Assumed:"
    yield "\n".join(f"- {what}: {said}" for what, said in kept.assumptions)


def _sources(builds: list[Build]) -> Iterator[str]:
    yield "## Where the figures come from"
    things = {build.board.facts.title: build.board.facts for build in builds}
    parts = {part.title: part for build in builds for use in build.uses if (part := build.part(use)).sources}
    rows = [f"- {title}: {'; '.join(thing.sources)}." for title, thing in (things | parts).items()]
    yield "\n".join(rows)
    open_facts = [
        f"- {title}: {'; '.join(thing.unverified)}." for title, thing in (things | parts).items() if thing.unverified
    ]
    if open_facts:
        yield "**Unverified**, so check it on what you bought:"
        yield "\n".join(open_facts)
