"""`earmark kit …`: boards, kits, their wiring, bills of material and battery life."""

import argparse
from collections.abc import Callable
from pathlib import Path

from earmark.cli.arguments import a_count
from earmark.cli.files import write_whole
from earmark.cli.parser import UsageError
from earmark.cli.screen import Screen
from earmark.export import to_json
from earmark.hardware import battery, bom, checks, library, wiring
from earmark.hardware.board import Board
from earmark.hardware.build import Build, fit
from earmark.hardware.firmware import node_settings
from earmark.hardware.kit import MODES


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the arguments of one of the commands."""
    if command == "kit list":
        return
    parser.add_argument("kit", metavar="KIT", help="a kit by its name, or the .toml file of one of your own")
    parser.add_argument(
        "--board", metavar="BOARD", help="the board it is built on (default: the first that the kit names)"
    )
    if command == "kit wire":
        parser.add_argument("-o", dest="output", metavar="FILE", type=Path, help="write the WireViz file here")
    if command == "kit bom":
        parser.add_argument("-o", dest="output", metavar="FILE", type=Path, help="write it here as CSV")
    if command == "kit battery":
        parser.add_argument("--mode", choices=MODES, default="", help="instead of the kit's own")
        parser.add_argument("--interval", metavar="S", type=_positive, default=0.0, help="seconds between measurements")
        parser.add_argument(
            "--send-every", metavar="N", type=a_count, default=0, help="measurements from one sending to the next"
        )
        parser.add_argument("--temperature", metavar="C", type=float, default=20.0, help="of the battery (default: 20)")
        parser.add_argument(
            "--solar", metavar="W", type=_positive, help="what a solar panel of so many watts would give"
        )
        parser.add_argument(
            "--sun", metavar="H", type=_positive, default=2.0, help="hours of full sun a day (default: 2)"
        )


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Run one of them."""
    if args.command == "kit list":
        return _list(screen)
    build = _build(args)
    commands: dict[str, Callable[[argparse.Namespace, Build, Screen], int]] = {
        "kit show": _show, "kit check": _check, "kit wire": _wire, "kit bom": _bom, "kit battery": _battery,
    }  # fmt: skip
    return commands[args.command](args, build, screen)


def _build(args: argparse.Namespace) -> Build:
    kit = library.kit(args.kit)
    name = args.board or next(iter(kit.plan.boards), "")
    if not name:
        raise UsageError(f"earmark {args.command}", f"{args.kit} names no board: give --board")
    return fit(kit, library.board(name))


def _list(screen: Screen) -> int:
    prices = library.prices()
    rows, kits = [], []
    for kit in library.kits().values():
        builds = [fit(kit, library.board(name)) for name in kit.plan.boards]
        bills = [bom.bill(build, prices) for build in builds]
        low, high = min(made.low for made in bills), max(made.high for made in bills)
        rows.append([kit.name, kit.plan.title, bom.span(low, high), ", ".join(kit.plan.boards)])
        kits.append({"name": kit.name, "title": kit.plan.title, "low": low, "high": high, "boards": kit.plan.boards})
    screen.table(["kit", "what", prices.currency, "boards"], rows)
    screen.say()
    boards = [_board(board) for board in library.boards().values()]
    screen.table(["board", "what", "MicroPython image"], [[b["name"], b["title"], b["image"]] for b in boards])
    screen.document({"kits": kits, "boards": boards, "currency": prices.currency, "prices_of": prices.date})
    return 0


def _board(board: Board) -> dict[str, str]:
    return {"name": board.name, "title": board.facts.title, "image": board.facts.image}


def _show(args: argparse.Namespace, build: Build, screen: Screen) -> int:
    screen.say(f"{build.kit.plan.title} on {build.board.facts.title}", style="bold")
    screen.say(build.kit.plan.summary)
    wires = wiring.connections(build)
    screen.heading("Wire these, without power:")
    screen.table(["from", "to", "wire", "carries"], wires)
    screen.heading("What node.json says of it; `earmark node enroll --kit` writes it:")
    settings = node_settings(build)
    screen.copyable(to_json(settings))
    screen.say(f"The key in this board is {build.board.facts.key}.")
    if build.board.facts.memory:
        screen.say(f"Its memory: {build.board.facts.memory}.")
    keys = ("from", "to", "colour", "net")
    document = {"kit": build.kit.name, "board": build.board.name, "settings": settings}
    screen.document(document | {"wires": [dict(zip(keys, row, strict=True)) for row in wires]})
    return 0


def _check(args: argparse.Namespace, build: Build, screen: Screen) -> int:
    found = checks.check(build)
    for conflict in found:
        screen.say(f"- {conflict.name}: {conflict.message}. Cure: {conflict.cure}.")
    if not found:
        screen.say(f"{build.kit.plan.title} works on {build.board.facts.title}: no conflict found.")
    rows = [{"name": c.name, "where": c.where, "message": c.message, "cure": c.cure} for c in found]
    screen.document({"kit": build.kit.name, "board": build.board.name, "conflicts": rows})
    return 1 if found else 0


def _wire(args: argparse.Namespace, build: Build, screen: Screen) -> int:
    path = args.output or Path(f"{build.name}.yml")
    write_whole(path, [wiring.harness(build).encode()])
    screen.say(f"{path} has the wiring. The program WireViz, with Graphviz, draws it:")
    screen.copyable(f"wireviz -f sp {path}")
    screen.document({"file": str(path), "wires": len(build.wires)})
    return 0


def _bom(args: argparse.Namespace, build: Build, screen: Screen) -> int:
    made = bom.bill(build, library.prices())
    rows = [[str(x.count), x.title, x.order, bom.span(x.low, x.high)] for x in made.lines]
    rows.append(["", "in all", "", bom.span(made.low, made.high)])
    screen.table(["", "what", "order", made.currency], rows, right=(0, 3))
    screen.say(f"Ranges by class, reckoned in {made.date}; no shop was asked.")
    if args.output:
        write_whole(args.output, [bom.as_csv(made).encode()])
        screen.say(f"{args.output} has it as CSV.")
    names = ("count", "title", "order", "price_class", "low", "high", "uses")
    lines = [{name: getattr(line, name) for name in names} for line in made.lines]
    document = {"lines": lines, "low": made.low, "high": made.high, "currency": made.currency, "prices_of": made.date}
    screen.document(document)
    return 0


def _battery(args: argparse.Namespace, build: Build, screen: Screen) -> int:
    cells = battery.cells_of(build)
    duty = battery.duty_of(build, args.mode, args.interval, args.temperature, args.send_every)
    life = battery.estimate(build, cells, duty)
    low, high = life.days
    screen.say(f"{cells.title} last {low:.1f} to {high:.1f} days, reckoned, not measured.", style="bold")
    screen.say(f"On average {life.average_ma[0]:.2f} to {life.average_ma[1]:.2f} mA. Assumed:")
    screen.table(["what", "assumed"], life.assumptions)
    document = {"days": life.days, "average_ma": life.average_ma, "usable_mah": life.usable_mah}
    document |= {"assumptions": [{"what": what, "assumed": said} for what, said in life.assumptions]}
    if args.solar:
        sun = battery.solar(life, cells, args.solar, args.sun)
        enough = "enough, with twice what is taken" if sun.is_enough else "not enough: take a panel twice as large"
        screen.say(
            f"A panel of {args.solar:g} W with {args.sun:g} h of full sun gives {sun.gives_wh:.2f} Wh a day, the node "
            f"takes up to {sun.takes_wh:.2f}: {enough}. Only with cells that may be charged; lithium AA may not."
        )
        document["solar"] = {"gives_wh": sun.gives_wh, "takes_wh": sun.takes_wh, "is_enough": sun.is_enough}
    screen.document(document)
    return 0
