"""What is wrong with a build, by name: every conflict of pins, voltages, currents and buses that would not work."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from earmark.hardware.board import Pin
from earmark.hardware.build import Build
from earmark.hardware.kit import DEEP_SLEEP, Use
from earmark.hardware.part import SUPPLIES, Part, Terminal

CONFLICTS = {
    "pin-used-twice": "two lines on one pin",
    "reserved-pin": "a pin that the board needs for itself, such as for its flash",
    "shared-pin": "a pin that something else on the board uses, such as USB",
    "input-only-pin": "a line that the board must drive or pull up, on a pin that can only listen",
    "no-analog-input": "an analogue signal on a pin that cannot measure one",
    "adc-out-of-range": "a part that gives a higher voltage than the converter measures",
    "adc2-with-wifi": "an analogue signal on the converter that Wi-Fi takes",
    "strapping-pin": "a part that pulls a pin away from the level that the chip needs to start",
    "wrong-function": "a line of a bus on a pin where the chip cannot put it",
    "voltage-too-high": "a part that puts a higher voltage on a pin than the pin bears",
    "supply-out-of-range": "a part on a supply that it does not work on, or does not survive",
    "supply-missing": "a part, or the board, that nothing feeds",
    "two-supplies": "two supplies that feed the same: one drives current into the other, such as USB into a battery",
    "address-used-twice": "two parts with one address on one bus",
    "address-impossible": "an address that the part cannot have",
    "pull-up-missing": "a bus without pull-up resistors",
    "pull-up-too-strong": "so many pull-up resistors on a bus that its parts cannot pull it low",
    "rail-over-budget": "more current from the board's 3.3 V than its regulator gives",
    "supply-over-budget": "more current from a supply than it gives",
    "direction-missing": "an RS-485 transceiver whose direction nothing switches",
    "termination-missing": "an RS-485 line without its resistor at the end",
    "not-connected": "a terminal that no wire reaches",
    "asleep": "a part that has to be heard all the time, in a kit that sleeps in between",
}
"""The closed list of names, and what each means."""

_VOLTS = {"3v3": 3.3, "5v": 5.0, "usb": 5.0, "12v": 12.0}
_PULL_UP_MIN_OHM = 1000.0
"""I2C: 3.3 V - 0.4 V over 3 mA that a part must be able to sink (UM10204 §7.1) is 967 ohm."""
_ONEWIRE_PULL_UP_OHM = (1000.0, 5000.0)
_DRIVEN_BY_BOARD = ("scl", "sda", "data", "tx", "direction")


@dataclass(frozen=True, slots=True)
class Conflict:
    """What is wrong (`name` is one of `CONFLICTS`), where, and what to do."""

    name: str
    where: str
    message: str
    cure: str


def check(build: Build) -> list[Conflict]:
    """Return every conflict of a build, none where it works."""
    rules = (
        _pins,
        _lines,
        _functions,
        _straps,
        _supplies,
        _feeds,
        _addresses,
        _pull_ups,
        _currents,
        _serial_lines,
        _loose,
        _asleep,
    )
    return [conflict for rule in rules for conflict in rule(build)]


def _own_pins(build: Build) -> Iterator[tuple[str, Pin]]:
    return ((net, pin) for net, pin in build.pins.items() if net not in SUPPLIES)


def _pins(build: Build) -> Iterator[Conflict]:
    nets = defaultdict(list)
    for net, pin in _own_pins(build):
        nets[pin.label].append(net)
        if pin.reserved:
            yield Conflict("reserved-pin", pin.label, f"{net} is on {pin.label}: {pin.reserved}", "take another pin")
        if pin.shared:
            yield Conflict("shared-pin", pin.label, f"{net} is on {pin.label}: {pin.shared}", "take another pin")
        if pin.net:
            yield Conflict("reserved-pin", pin.label, f"{net} is on {pin.label}, a supply", "take another pin")
    led = build.board.facts.status_led
    for label, lines in nets.items():
        pin_led = build.board.pin(label)
        if led and pin_led and str(pin_led.gpio) == led:
            lines.append("the status lamp")
        if len(lines) > 1:
            yield Conflict("pin-used-twice", label, f"{' and '.join(lines)} are both on {label}", "move one of them")


def _lines(build: Build) -> Iterator[Conflict]:
    """What each line wants of its pin, and what the parts put on it."""
    for net, pin in _own_pins(build):
        line = net.rpartition(".")[2]
        kinds = {build.part(use).signal for use, terminal in build.on_net(net) if terminal.net == "signal"}
        if pin.input_only and (line in _DRIVEN_BY_BOARD or "digital" in kinds):
            yield Conflict("input-only-pin", pin.label, f"{net} must be driven, {pin.label} can only listen", _MOVE)
        if pin.input_only and "pulse" in kinds:
            yield Conflict(
                "input-only-pin", pin.label, f"{net} needs a pull-up, {pin.label} has none of its own", _MOVE
            )
        if "analog" in kinds and not pin.adc:
            yield Conflict("no-analog-input", pin.label, f"{pin.label} has no analogue input for {net}", _MOVE)
        if "analog" in kinds and pin.adc > 1 and not build.board.is_linux:
            yield Conflict(
                "adc2-with-wifi", pin.label, f"{net} is on converter {pin.adc} of the chip, which Wi-Fi takes", _MOVE
            )
        for use, terminal in build.on_net(net):
            volts, most = _level(build, use, terminal), build.board.facts.adc_max_v
            if "analog" in kinds and pin.adc and volts > most:
                said = f"{use.name} gives up to {volts:g} V, {pin.label} measures up to {most:g} V"
                yield Conflict("adc-out-of-range", pin.label, said, "divide it by resistors, or take another board")
            if terminal.drives and volts > build.board.facts.io_max_v:
                yield Conflict(
                    "voltage-too-high",
                    pin.label,
                    f"{use.name} puts {volts:g} V on {pin.label}, which bears {build.board.facts.io_max_v:g} V",
                    "feed the part with 3.3 V if it may be, or put a level shifter between",
                )


_MOVE = "take another pin: name it in the kit's [pins.BOARD]"


def _level(build: Build, use: Use, terminal: Terminal) -> float:
    return terminal.level_v or max(_fed_with(build, use), default=0.0)


def _fed_with(build: Build, use: Use) -> list[float]:
    """The voltages at a part's own supply terminals; those of a battery at their highest."""
    nets = [net for net, _ in build.lines(use) if net in SUPPLIES and net != "gnd"]
    return [volts for net in nets for volts in _voltages(build, net)]


def _voltages(build: Build, net: str) -> list[float]:
    if net != "bat":
        return [_VOLTS[net]]
    return [build.part(use).gives_v for use in build.uses if build.part(use).kind == "battery"]


def _functions(build: Build) -> Iterator[Conflict]:
    """Whether the chip can put each bus where it is; a serial or I2C bus has one block of the chip to itself."""
    blocks: dict[str, set[str]] = {}
    for net, pin in _own_pins(build):
        bus, _, line = net.partition(".")
        if line not in ("scl", "sda", "tx", "rx"):
            continue
        able = _able(build, bus, line, pin)
        both = blocks.get(bus, able) & able
        if not both:
            why = f"{pin.label} can be {', '.join(pin.does) or 'none'}"
            yield Conflict("wrong-function", pin.label, f"{net} is on {pin.label}: {why}", _MOVE)
        blocks[bus] = both
    cure = _MOVE if _is_fixed(build) else "give one another `number` in the kit's [buses]"
    owner: dict[str, str] = {}
    for bus, block in ((bus, block) for bus, able in blocks.items() for block in able):
        if (other := owner.setdefault(block, bus)) != bus:
            yield Conflict(
                "wrong-function", bus, f"{other} and {bus} are both on {block}, which the chip has once", cure
            )


def _able(build: Build, bus: str, line: str, pin: Pin) -> set[str]:
    """The blocks of the chip that a line can be on; on an ESP32 the one that the settings number, at any pin."""
    if _is_fixed(build):
        return {function.partition(".")[0] for function in pin.does if function.endswith(f".{line}")}
    kind, usual = ("i2c", 0) if line in ("scl", "sda") else ("uart", 1)
    return {f"{kind}{build.kit.buses.get(bus, {}).get('number', usual)}"}


def _is_fixed(build: Build) -> bool:
    """Whether the chip leads its blocks to certain pins only."""
    return any(pin.does for pin in build.board.pins)


def _straps(build: Build) -> Iterator[Conflict]:
    wrong = {"high": "down", "low": "up"}
    for net, pin in _own_pins(build):
        if not pin.strap:
            continue
        for use, terminal in build.on_net(net):
            if terminal.pull == wrong[pin.strap] or (terminal.drives and not terminal.pull):
                yield Conflict(
                    "strapping-pin",
                    pin.label,
                    f"{use.name} may hold {pin.label} {'low' if pin.strap == 'high' else 'high'} while the board "
                    f"starts, which needs it {pin.strap}",
                    _MOVE,
                )


def _supplies(build: Build) -> Iterator[Conflict]:
    for use in build.uses:
        part = build.part(use)
        if not part.supply_max_v:
            continue
        volts = _fed_with(build, use) if part.kind != "converter" else [_VOLTS["12v"]]
        for given in volts:
            if not part.supply_min_v <= given <= part.supply_max_v:
                yield Conflict(
                    "supply-out-of-range",
                    use.name,
                    f"{part.title} takes {part.supply_min_v:g} to {part.supply_max_v:g} V and is fed with {given:g} V",
                    "feed it from another supply",
                )
    yield from _battery(build)


def _battery(build: Build) -> Iterator[Conflict]:
    facts = build.board.facts
    for use in build.uses:
        part = build.part(use)
        if part.kind == "battery" and part.gives_v > facts.bat_max_v:
            yield Conflict(
                "supply-out-of-range",
                use.name,
                f"fresh, {part.title} gives {part.gives_v:g} V; {facts.title} bears {facts.bat_max_v:g} V at its "
                "battery pin"
                if facts.bat_max_v
                else f"{facts.title} has no pin for a battery",
                "take fewer cells, or another board",
            )


def _feeds(build: Build) -> Iterator[Conflict]:
    """That something feeds each net and the board, and no two things do."""
    givers = {net: [use.name for use in build.uses if _gives(build, use) == net] for net in ("usb", "bat", "12v")}
    for net, source in (("usb", "usb"), ("5v", "usb"), ("bat", "bat"), ("12v", "12v")):
        if not givers[source] and any(net in _nets(build, use) for use in build.uses):
            yield Conflict("supply-missing", net, f"nothing feeds {net}", f"add a supply of {source} to the kit")
    board = givers["usb"] + givers["bat"]
    if not board:
        yield Conflict("supply-missing", "board", "nothing feeds the board", "add a supply or a battery to the kit")
    for names in (board, givers["12v"]):
        if len(names) > 1:
            said = f"{' and '.join(names)} would feed one another"
            yield Conflict("two-supplies", names[1], said, "take one of them out")


def _gives(build: Build, use: Use) -> str:
    """The net that a supply feeds, of a converter the one that it makes; empty for any other part."""
    nets = [net for net in _nets(build, use) if net != "gnd"]
    return nets[-1] if build.part(use).gives_v and nets else ""


def _addresses(build: Build) -> Iterator[Conflict]:
    owner: dict[tuple[str, str], str] = {}
    for use in build.uses:
        part = build.part(use)
        address = _address(build, use, part)
        if not address:
            continue
        able = ", ".join(part.addresses).lower()
        if able and address not in able.split(", "):
            said = f"{use.name} is to have {address}, and {part.title} has {able}"
            yield Conflict("address-impossible", use.name, said, "set one of these, or leave it out")
        other = owner.setdefault((use.bus, address), use.name)
        if other != use.name:
            left = ", ".join(a for a in part.addresses if a != address) or "none"
            yield Conflict(
                "address-used-twice",
                use.bus,
                f"{other} and {use.name} both have {address} on {use.bus}",
                f"set {use.name} to another address (it has: {left}), or use a second bus",
            )


def _address(build: Build, use: Use, part: Part) -> str:
    settings = build.kit.settings.get(use.name, {})
    given = settings.get("address", settings.get("unit"))
    return f"0x{given:02x}" if isinstance(given, int) else part.address.lower()


def _pull_ups(build: Build) -> Iterator[Conflict]:
    for bus in {net.partition(".")[0] for net in build.pins if net.endswith((".scl", ".data"))}:
        is_i2c = f"{bus}.scl" in build.pins
        line = f"{bus}.sda" if is_i2c else f"{bus}.data"
        ohms = [ohm for use, _ in build.on_net(line) if (ohm := _pull_up(build.part(use)))]
        if is_i2c and build.board.facts.i2c_pull_up_ohm:
            ohms.append(build.board.facts.i2c_pull_up_ohm)
        least, most = (_PULL_UP_MIN_OHM, 10_000.0) if is_i2c else _ONEWIRE_PULL_UP_OHM
        together = 1 / sum(1 / ohm for ohm in ohms) if ohms else 0.0
        if not ohms or together > most:
            said = f"{bus} has no pull-up" if not ohms else f"the pull-ups of {bus} come to {together:,.0f} ohm"
            yield Conflict("pull-up-missing", bus, said, f"add one of at most {most:,.0f} ohm from {line} to 3.3 V")
        elif together < least:
            said = f"the {len(ohms)} pull-ups of {bus} come to {together:,.0f} ohm, below {least:,.0f}"
            yield Conflict("pull-up-too-strong", bus, said, "take parts with fewer pull-ups, or cut some")


def _pull_up(part: Part) -> float:
    return part.ohm if part.kind == "resistor" else part.pull_up_ohm


def _currents(build: Build) -> Iterator[Conflict]:
    board = build.board
    rail = board.draw.peak_ma + sum(_peak(build, use) for use in build.uses if "3v3" in _nets(build, use))
    if rail > board.facts.rail_ma:
        yield Conflict(
            "rail-over-budget",
            "3v3",
            f"board and parts draw up to {rail:,.0f} mA at 3.3 V; {board.facts.title} gives {board.facts.rail_ma:,.0f}",
            "feed a part from another supply, or take another board",
        )
    for use in build.uses:
        part = build.part(use)
        if part.gives_ma and part.gives_ma < _asked_of(build, use, rail):
            yield Conflict(
                "supply-over-budget",
                use.name,
                f"{_asked_of(build, use, rail):,.0f} mA are asked of {part.title}, which gives {part.gives_ma:,.0f}",
                "take a stronger one",
            )


def _asked_of(build: Build, use: Use, rail_ma: float) -> float:
    """The peak current that a supply has to give: what hangs on its net, and the board where that is fed by it."""
    net = _gives(build, use)
    parts = sum(_peak(build, other) for other in build.uses if other is not use and net in _nets(build, other))
    through = [build.part(other) for other in build.uses if build.part(other).kind == "converter"]
    if net in ("usb", "bat"):
        fives = sum(_peak(build, other) for other in build.uses if "5v" in _nets(build, other))
        return parts + fives + rail_ma + build.board.draw.rest_high_ma
    if net == "12v" and through:
        board_ma = (rail_ma + build.board.draw.rest_high_ma) * through[0].gives_v / _VOLTS["12v"]
        return parts + board_ma / through[0].efficiency
    return parts


def _nets(build: Build, use: Use) -> list[str]:
    return [net for net, _ in build.lines(use) if net in SUPPLIES]


def _peak(build: Build, use: Use) -> float:
    part = build.part(use)
    return 0.0 if part.kind in ("supply", "battery", "converter") else part.peak_ma or part.active_ma


def _serial_lines(build: Build) -> Iterator[Conflict]:
    """RS-485: who switches the direction, and that the line ends in 120 ohm."""
    for use in build.uses:
        part = build.part(use)
        if part.kind != "transceiver":
            continue
        if part.terminal("direction") and f"{use.bus}.direction" not in build.pins:
            yield Conflict(
                "direction-missing", use.name, f"nothing switches {use.name} between sending and listening", _MOVE
            )
        line = f"{use.bus}.a"
        ends = [other for other, _ in build.on_net(line) if build.part(other).kind == "resistor"]
        if not ends and not part.ohm:
            yield Conflict(
                "termination-missing",
                use.bus,
                f"the line {use.bus} has no resistor of 120 ohm at its end",
                "add one between A and B at the far end, and one at the board where the transceiver has none",
            )


def _loose(build: Build) -> Iterator[Conflict]:
    """Terminals that no wire reaches."""
    reached = Counter(end for wire in build.wires for end in (wire.start, wire.stop))
    touched = {(end.node, end.label) for end in reached}
    for use in build.uses:
        for net, terminal in build.lines(use):
            if (use.name, terminal.label) in touched:
                continue
            name = "supply-missing" if net in SUPPLIES else "not-connected"
            yield Conflict(
                name, use.name, f"no wire reaches {terminal.label} of {use.name} ({net})", "name its source in `after`"
            )


def _asleep(build: Build) -> Iterator[Conflict]:
    """Pulses come at any time, and a board that sleeps counts none: what it signs would be too little."""
    for use in build.uses if build.kit.plan.mode == DEEP_SLEEP else ():
        if build.part(use).signal == "pulse":
            said = f"{use.name} gives pulses, and a board that sleeps counts none"
            yield Conflict("asleep", use.name, said, "set the kit's mode to always-on")
