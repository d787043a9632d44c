"""Proofs over what the generators print: no sum leaves 32 bits, nothing secret branches or is an index.

Every program of the field machine, the lookup, the scalars and SHA-512 run over intervals (interval.py), all of their
input secret.  What holds between two programs is stated here: a product's limbs lie in `REDUCED`, whatever was
multiplied, and each program leaves in the slots of the point, and finds there, such numbers.
"""

from collections.abc import Sequence

import comb
import digest
import field
import programs
import scalar
from interval import HIGHEST, LOWEST, Machine, Memory, Refused, Value, public

LIMBS = field.LIMBS
_HALF = field.HALF
# Of a product or a carry: 13 bits around 0, and what the fold's last carry leaves in limb 2.
REDUCED = [Value(-_HALF, _HALF - 1)] * 2 + [Value(-_HALF - 5, _HALF + 4)] + [Value(-_HALF, _HALF - 1)] * (LIMBS - 3)
DIGITS = [Value(0, field.BASE - 1)] * LIMBS  # as `split` and constants have them
SIGNED = [Value(1 - field.BASE, field.BASE - 1)] * LIMBS  # as `lookup` leaves K
DIFFERENCE = [Value(-_HALF * 2 - 10, _HALF * 2 + 10)] * LIMBS  # of two reduced numbers
_ANY = Value(LOWEST, HIGHEST)
_BYTE = Value(0, 255)
_ZERO = public(0)
ONE = [public(1)] + [_ZERO] * (LIMBS - 1)


def _within(found: Sequence[Value], allowed: Sequence[Value], what: str) -> None:
    for k, (value, bound) in enumerate(zip(found, allowed, strict=True)):
        if value.low < bound.low or value.high > bound.high:
            raise Refused(f"{what}, limb {k}: {value} is not within {bound}")


def _slots(memory: Memory, names: str) -> dict[str, list[Value]]:
    starts = {name: programs.SLOTS[name] * LIMBS for name in names}
    return {name: memory.values[at : at + LIMBS] for name, at in starts.items()}


def run_program(name: str, slots: dict[str, list[Value]]) -> Memory:
    """Run a program on these slots; the others hold anything.

    Of squarings in a row two are run: the first takes what it finds, the second a product, as all after it.
    """
    code = bytearray(programs.assemble(programs.PROGRAMS[name]))
    for at in range(0, len(code) - 1, 4):
        if code[at] == field.SQR:
            code[at + 3] = min(code[at + 3], 2)
    memory = Memory([_ANY] * (len(programs.SLOTS) * LIMBS))
    for slot, limbs in slots.items():
        at = programs.SLOTS[slot] * LIMBS
        memory.values[at : at + LIMBS] = limbs
    machine = Machine(field.module())
    machine.run("run", {"acc": _ZERO, "x": _ZERO, "space": memory, "program": Memory([*map(public, code)], 1)})
    return memory


# E and H, the factors of T, as a doubling, an addition, `REST` or the neutral element leave them.
POINT = dict.fromkeys("XYZ", REDUCED) | {"E": [Value(-3 * _HALF - 15, 3 * _HALF + 15)] * LIMBS, "H": DIFFERENCE}
AFFINE_ENTRY = {"N": DIGITS, "M": DIGITS, "K": SIGNED}
ENTRY = {"N": DIFFERENCE, "M": DIFFERENCE, "K": DIFFERENCE, "J": DIFFERENCE}
# What each program finds, and which slots hold reduced numbers after it.
STEPS = {
    "DOUBLE": (dict.fromkeys("XYZ", REDUCED), "XYZ"),
    "ADD_ENTRY": (POINT | AFFINE_ENTRY, "XYZ"),
    "ADD": (POINT | ENTRY, "XYZ"),
    "SUBTRACT": (POINT | ENTRY, "XYZ"),
    "PREPARE": (POINT | {"R": DIGITS}, ""),
    "AFFINE": (dict.fromkeys("XYZ", REDUCED), "XY"),
    "ROOT": ({"Y": DIGITS, "Z": ONE, "R": DIGITS, "S": DIGITS}, "XIAB"),
    "NEGATE": ({"X": REDUCED}, "X"),
    "REST": ({"X": REDUCED, "Y": DIGITS}, "YEH"),
    "DIFFERENCE": (dict.fromkeys("XYZ", REDUCED), "XA"),
}

MAKERS = ("DOUBLE", "ADD_ENTRY", "ADD", "SUBTRACT")


def prove_program(name: str) -> None:
    """Prove one program.  Raises `Refused`."""
    found, reduced = STEPS[name]
    memory = run_program(name, found)
    for slot, limbs in _slots(memory, reduced).items():
        _within(limbs, REDUCED, f"{name}: {slot}")
    left = {"PREPARE": ENTRY}.get(name, POINT if name in MAKERS else {})
    for slot, limbs in _slots(memory, "".join(left)).items():
        _within(limbs, left[slot], f"{name}: {slot}")


def prove_lookup() -> None:
    """Prove the comb's lookup for every block and row."""
    machine = Machine(comb.lookup())
    table = Memory([_ANY] * (comb.BLOCKS * comb.WORDS * comb.ENTRIES))
    for block, row in [(0, 0), (comb.BLOCKS - 1, comb.ROWS - 1)]:
        space = Memory([_ANY] * (len(programs.SLOTS) * LIMBS))
        bits = Memory([_BYTE] * 33, 1)
        given = {"acc": _ZERO, "t": table, "space": space, "bits": bits, "row": public(row), "block": public(block)}
        given["public"] = _ZERO
        machine.run("lookup", given)
        for slot, limbs in _slots(space, "NMK").items():
            _within(limbs, [Value(-field.BASE, field.BASE)] * LIMBS if slot == "K" else DIGITS, f"lookup: {slot}")


def prove_scalars() -> None:
    """Prove `split`, `join`, `freeze`, `multiply` and `reduce`."""
    machine = Machine(scalar.module())
    wide = Memory([_ANY] * 2 * LIMBS)
    for size, count in ((32, LIMBS), (64, 2 * LIMBS)):
        octets = Memory([_BYTE] * size, 1)
        machine.run("split", {"o": wide, "octets": octets, "size": public(size), "count": public(count)})
        _within(wide.values[:count], (DIGITS * 2)[:count], "split")
    product = Memory([_ANY] * 2 * LIMBS)
    given = {name: Memory(list(DIGITS)) for name in "abc"}
    machine.run("multiply", {"acc": _ZERO, "x": _ZERO, "o": product, **given})
    _within(product.values, DIGITS * 2, "multiply")
    constants = {"fold": _limbs(scalar.FOLD), "order": _limbs(scalar.ORDER)}
    machine.run("reduce", {"acc": _ZERO, "x": _ZERO, "a": product, **constants})
    limbs = Memory(list(REDUCED))
    machine.run("freeze", {"a": limbs})
    _within(limbs.values, [*DIGITS[:-1], _BYTE], "freeze")
    machine.run("join", {"octets": Memory([_BYTE] * 32, 1), "a": Memory(list(DIGITS))})


def _limbs(number: int) -> Memory:
    return Memory([public(number >> field.BITS * k & field.BASE - 1) for k in range(LIMBS)])


def prove_digest() -> None:
    """Prove that SHA-512's steps do not depend on what is hashed."""
    buffers = {"state": Memory([_ANY] * 16), "block": Memory([_BYTE] * 128, 1), "w": Memory([_ANY] * 160)}
    zero = Value(0, 0, secret=False, unsigned=True)
    Machine(digest.module()).run("compress", {"acc": zero, "x": zero, "k": Memory([_ANY] * 160), **buffers})
