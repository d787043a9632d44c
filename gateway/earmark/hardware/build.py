"""A kit fitted to a board: which pin each line takes, and every wire."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from earmark.errors import ConfigError
from earmark.hardware.board import Board, Pin
from earmark.hardware.kit import Kit, Use
from earmark.hardware.part import SUPPLIES, Part, Terminal

BOARD, JOINTS = "board", "joints"

_BUS_ROLES = {
    "scl": ("i2c", 0),
    "sda": ("i2c", 1),
    "data": ("onewire", 0),
    "tx": ("uart", 0),
    "rx": ("uart", 1),
    "direction": ("uart", 2),
}
"""The role of a board's pin for each line of a bus, and its place there.  RS-485's a and b never reach a pin."""

COLOURS = {"gnd": "BK", "3v3": "RD", "5v": "OG", "12v": "BN", "bat": "RD", "scl": "YE", "sda": "BU", "data": "YE"} | {
    "tx": "GN", "rx": "BU", "direction": "VT", "a": "YE", "b": "BU", "signal": "GN", "usb": "GY",
}  # fmt: skip
"""The colour of a wire that we choose, by its net, as WireViz spells it."""


@dataclass(frozen=True, slots=True)
class End:
    """An end of a wire: a node of the picture (`board`, `joints` or a use), and a terminal of it."""

    node: str
    label: str


@dataclass(frozen=True, slots=True)
class Wire:
    """A wire of a cable from one end to another; `cable` is the use whose cable it is in, `board` for single wires."""

    net: str
    colour: str
    cable: str
    start: End
    stop: End


@dataclass(frozen=True, slots=True)
class Build:
    """A kit on a board.  `pins` maps each net that reaches a pin to that pin; `joints` each joined net to its wires."""

    kit: Kit
    board: Board
    uses: tuple[Use, ...]
    pins: dict[str, Pin]
    wires: tuple[Wire, ...]
    joints: dict[str, int]

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"{self.kit.name}-{self.board.name}"

    def part(self, use: Use) -> Part:
        """Return the part of a use."""
        return self.kit.part(use)

    def lines(self, use: Use) -> Iterator[tuple[str, Terminal]]:
        """Give (net, terminal) of every terminal of a use."""
        for terminal in self.part(use).terminals:
            yield net_of(use, terminal), terminal

    def on_net(self, net: str) -> Iterator[tuple[Use, Terminal]]:
        """Give every (use, terminal) of a net."""
        for use in self.uses:
            for other, terminal in self.lines(use):
                if other == net:
                    yield use, terminal


def net_of(use: Use, terminal: Terminal) -> str:
    """Return the net of a terminal: a supply, `bus.line` or `name.signal`."""
    if terminal.net in SUPPLIES:
        return terminal.net
    return f"{use.name if terminal.net == 'signal' else use.bus}.{terminal.net}"


def fit(kit: Kit, board: Board) -> Build:
    """Return the kit on the board.

    Raises `ConfigError` where a line finds no pin at all; whether pins and parts bear what they get is for `checks`.
    """
    uses = kit.fitting(board.name)
    pins = _assign(kit, board, uses)
    plain = list(_wires(kit, board, uses, pins))
    wires, joints = _join(plain, uses, kit)
    return Build(kit, board, uses, pins, tuple(wires), joints)


def _assign(kit: Kit, board: Board, uses: tuple[Use, ...]) -> dict[str, Pin]:
    """Give every line its pin: the kit's choice, else the board's usual one, in the order of the kit.

    A supply stays on pins that carry it, whatever the kit says: 5 V in place of 3.3 V ends a part.  RS-485's lines end
    at none.
    """
    chosen = kit.pins.get(board.name, {})
    taken: Counter[str] = Counter()
    pins: dict[str, Pin] = {}
    for use in uses:
        for terminal in kit.part(use).terminals:
            net = net_of(use, terminal)
            if net in pins or terminal.net in ("a", "b"):
                continue
            label = chosen.get(net) or _usual(kit, board, use, terminal, taken)
            if label is None:
                continue
            pin = board.pin(label)
            if pin is None:
                raise ConfigError(f"{kit.name} on {board.name}: {net} is to be on {label}, which is none of its pins")
            if net in SUPPLIES and pin.net != net:
                said = f"which carries {pin.net}" if pin.net else "which is no supply"
                raise ConfigError(f"{kit.name} on {board.name}: {net} is to come from {label}, {said}")
            pins[net] = pin
    for net in sorted(chosen.keys() - pins.keys()):
        raise ConfigError(
            f"{kit.name} on {board.name}: [pins.{board.name}] moves {net}, which is no line to a pin here"
        )
    return pins


def _usual(kit: Kit, board: Board, use: Use, terminal: Terminal, taken: Counter[str]) -> str | None:
    """Return the label of the board's usual pin for a line; None for a supply that it does not have."""
    if terminal.net in SUPPLIES:
        pin = board.supply(terminal.net)
        return pin.label if pin else None
    if terminal.net == "signal":
        role, place = kit.part(use).signal, taken[kit.part(use).signal]
        taken[role] += 1
    else:
        role, place = _BUS_ROLES[terminal.net]
    labels = board.roles.get(role, ())
    if place >= len(labels):
        raise ConfigError(
            f"{kit.name} on {board.name}: no pin for {use.name}, {terminal.label} ({role}): the board has "
            f"{len(labels)}; take another board, or name the pin in [pins.{board.name}]"
        )
    return labels[place]


def _wires(kit: Kit, board: Board, uses: tuple[Use, ...], pins: dict[str, Pin]) -> Iterator[Wire]:
    """Give the wires of each use from the first of its sources that has the net."""
    ends: dict[str, dict[str, str]] = {BOARD: {net: pin.label for net, pin in pins.items()}}
    for use in uses:
        part = kit.part(use)
        ends[use.name] = {net_of(use, terminal): terminal.label for terminal in part.terminals}
        for terminal in part.terminals:
            net = net_of(use, terminal)
            source = next((name for name in use.after or (BOARD,) if net in ends.get(name, {})), None)
            if source:
                colour = terminal.colour or COLOURS[terminal.net]
                yield Wire(net, colour, use.name, End(source, ends[source][net]), End(use.name, terminal.label))


def _join(plain: list[Wire], uses: tuple[Use, ...], kit: Kit) -> tuple[list[Wire], dict[str, int]]:
    """Put a joint into every net of which one terminal would hold more than one wire."""
    passing = {use.name for use in uses if kit.part(use).shares}
    crowd = Counter((wire.net, end) for wire in plain for end in (wire.start, wire.stop) if end.node not in passing)
    joined = {net for (net, _), count in crowd.items() if count > 1}
    wires: list[Wire] = []
    fed: set[tuple[str, End]] = set()
    for wire in plain:
        if wire.net not in joined or wire.start.node in passing:
            wires.append(wire)
            continue
        joint = End(JOINTS, wire.net)
        if (wire.net, wire.start) not in fed:
            wires.append(_to_joint(wire, joint, uses, kit))
        if (wire.net, wire.stop) not in fed:
            wires.append(Wire(wire.net, wire.colour, wire.cable, joint, wire.stop))
        fed |= {(wire.net, wire.start), (wire.net, wire.stop)}
    counts = Counter(wire.net for wire in wires if JOINTS in (wire.start.node, wire.stop.node))
    return wires, dict(counts)


def _to_joint(wire: Wire, joint: End, uses: tuple[Use, ...], kit: Kit) -> Wire:
    """Return what brings a net to its joint: from the board to it, from it to a part."""
    colour = COLOURS[wire.net.rpartition(".")[2]]
    if wire.start.node == BOARD:
        return Wire(wire.net, colour, BOARD, wire.start, joint)
    part = next(kit.part(use) for use in uses if use.name == wire.start.node)
    own = next((terminal.colour for terminal in part.terminals if terminal.label == wire.start.label), "")
    return Wire(wire.net, own or colour, wire.start.node, joint, wire.start)
