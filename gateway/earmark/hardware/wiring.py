"""Wiring: a build as a WireViz harness in YAML, and as a table of connections.

WireViz (GPL-3) is a program of its own that draws the picture where it is installed; nothing here imports it.
"""

import json
import textwrap
from typing import Any

from earmark.hardware.board import Pin
from earmark.hardware.build import BOARD, JOINTS, Build, End, Wire
from earmark.hardware.kit import Use

_WIDTH = 26
_FILL = {BOARD: "#E3F1E5", JOINTS: "#FFF3D6"}
_NETS = {"gnd": "GND (minus)", "3v3": "3.3 V", "5v": "5 V", "12v": "12 V", "bat": "battery +", "usb": "USB"}
_COLOURS = {"BK": "black", "RD": "red", "YE": "yellow", "BU": "blue", "GN": "green", "OG": "orange"} | {
    "BN": "brown", "VT": "violet", "GY": "USB cable", "WH": "white",
}  # fmt: skip


def net_words(net: str) -> str:
    """Return a net as a grower reads it: `3.3 V`, `SDA`, `A`."""
    line = net.rpartition(".")[2]
    plain = {"data": "data", "signal": "signal", "direction": "direction"}
    return _NETS.get(net) or plain.get(line) or line.upper()


def colour_words(colour: str) -> str:
    """Return a wire's colour in English."""
    return _COLOURS[colour]


def harness(build: Build) -> str:
    """Return the WireViz YAML: connectors are the board, the joints and the parts; cables their wires."""
    cables = _cables(build)
    document = {
        "metadata": {"title": f"{build.kit.plan.title} on {build.board.facts.title}"},
        "options": {"fontname": "Arial", "bgcolor": "#FFFFFF", "color_mode": "full"},
        "tweak": {"append": ['ranksep="0.45" nodesep="0.3"']},
        "connectors": _connectors(build),
        "cables": {name: cable for name, (cable, _) in cables.items()},
        "connections": [row for name, (_, wires) in cables.items() for row in _connections(build, name, wires)],
    }
    return "# Made of hardware/ by `make kits`; do not edit.\n" + _yaml(document, "")


def connections(build: Build) -> list[tuple[str, str, str, str]]:
    """Return rows of (from, to, colour, what it carries), in the order to wire them."""
    rows = []
    for wire in build.wires:
        ends = _place(build, wire.start), _place(build, wire.stop)
        rows.append((*ends, colour_words(wire.colour), net_words(wire.net)))
    return rows


def _place(build: Build, end: End) -> str:
    if end.node == JOINTS:
        return f"joint {net_words(end.label)}"
    if end.node == BOARD:
        return f"board {_key(build, end)}"
    return f"{end.node} {end.label}"


def plain(label: str) -> str:
    """Return a pin's label as it is printed: GND of GND.2."""
    return label.partition(".")[0]


def _connectors(build: Build) -> dict[str, Any]:
    """The board with the pins in use, the joints, and every part with its terminals."""
    pins = [pin for pin in build.board.pins if _is_used(build, pin.label)]
    facts = build.board.facts
    found: dict[str, Any] = {
        BOARD: {
            "type": _folded(facts.title),
            "notes": _folded(f"{facts.maker} {facts.number}"),
            "pins": [_pin_words(pin) for pin in pins],
            "show_pincount": False,
            "bgcolor_title": _FILL[BOARD],
        }
    }
    if build.joints:
        part = build.kit.parts[build.kit.plan.joint]
        found[JOINTS] = {
            "type": _folded(part.title),
            "notes": _folded(f"{part.maker} {part.number}, at least one for each row"),
            "pins": [net_words(net) for net in build.joints],
            "show_pincount": False,
            "bgcolor_title": _FILL[JOINTS],
        }
    for use in build.uses:
        part = build.part(use)
        found[use.name] = {"type": _folded(part.title), "pins": [terminal.label for terminal in part.terminals]}
        if part.number:
            found[use.name]["notes"] = f"{part.maker} {part.number}"
        found[use.name]["show_pincount"] = False
    return found


def _is_used(build: Build, label: str) -> bool:
    return any(End(BOARD, label) in (wire.start, wire.stop) for wire in build.wires)


def _cables(build: Build) -> dict[str, tuple[dict[str, Any], list[Wire]]]:
    """Every cable with its wires: that of each use, and the single wires from the board to the joints."""
    found: dict[str, tuple[dict[str, Any], list[Wire]]] = {}
    uses = {use.name: use for use in build.uses}
    for wire in build.wires:
        name = "board to joints" if wire.stop.node == JOINTS else f"to {wire.cable}"
        if name not in found:
            found[name] = (_cable(build, uses.get(wire.cable)), [])
        found[name][1].append(wire)
    for cable, wires in found.values():
        cable["wirecount"] = len(wires)
        cable["colors"] = [wire.colour for wire in wires]
        cable |= {"show_wirecount": False, "show_wirenumbers": False}
    return found


def _cable(build: Build, use: Use | None) -> dict[str, Any]:
    part = build.part(use) if use else None
    if part and part.leads_m:
        return {"type": "its own leads"}
    return {"type": _folded(build.kit.parts[use.cable if use and use.cable else build.kit.plan.wire].title)}


def _folded(text: str) -> str:
    """Return a text in lines short enough for a narrow picture."""
    return "\n".join(textwrap.wrap(text, _WIDTH))


def _connections(build: Build, cable: str, wires: list[Wire]) -> list[list[dict[str, Any]]]:
    """One set of connections for each wire, by its place in the cable."""
    return [
        [{wire.start.node: _key(build, wire.start)}, {cable: place}, {wire.stop.node: _key(build, wire.stop)}]
        for place, wire in enumerate(wires, 1)
    ]


def _key(build: Build, end: End) -> str:
    if end.node == JOINTS:
        return net_words(end.label)
    pin = build.board.pin(end.label) if end.node == BOARD else None
    return _pin_words(pin) if pin else end.label


def _pin_words(pin: Pin) -> str:
    return plain(pin.label) if pin.at == pin.net.upper() else f"{plain(pin.label)} ({pin.at})"


def _yaml(value: Any, indent: str) -> str:
    """Return YAML: mappings in lines, lists of plain values in one line each; texts as JSON writes them."""
    lines = []
    for key, item in value.items():
        if isinstance(item, dict):
            lines.append(f"{indent}{json.dumps(key)}:\n{_yaml(item, indent + '  ')}")
        elif isinstance(item, list) and item and isinstance(item[0], list):
            lines.append(f"{indent}{key}:\n")
            lines += [f"{indent}  - {json.dumps(row, ensure_ascii=False)}\n" for row in item]
        else:
            lines.append(f"{indent}{json.dumps(key)}: {json.dumps(item, ensure_ascii=False)}\n")
    return "".join(lines)
