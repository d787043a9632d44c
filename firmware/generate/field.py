"""Prints the field machine: arithmetic modulo p = 2^255 - 19 on 20 signed limbs of 13 bits.

A limb is a signed word.  Products leave limbs of -4096 … 4095, with a few more in the lowest, so two such numbers can
be added or subtracted without a carry and still be multiplied: 20 products of 2^13 * 2^13 stay below 2^31.  Which
sums of sums still fit is not decided here: `proof.py` runs what is printed over intervals.

How it is printed is how viper is fast.  Only the first two variables of a function live in registers, so those are the
running sum and the factor at hand; `b * x + acc` needs no detour over the stack, `acc + x * b` does.
"""

from collections.abc import Iterator

LIMBS = 20
BITS = 13
BASE = 1 << BITS
HALF = BASE >> 1
FOLD = 19 << LIMBS * BITS - 255  # 2^260 modulo p
SLOT = 4 * LIMBS

END, MUL, SQR, ADD, SUB, CARRY = range(6)

_HEAD = '''\
"""The field machine: programs of additions and products modulo 2^255 - 19, in viper for 32-bit interpreters.

Printed by firmware/generate; change the generator, not this.  The same generator proves that no sum here leaves 32
bits, that no secret decides a branch, and that none is an index.
"""

import micropython


@micropython.viper
def run(acc: int, x: int, space: ptr32, program: ptr8):
    """Run a program of 4 bytes an operation, (operation, to, from, from or count), up to operation 0.

    `space` holds numbers in slots of 80 bytes, 20 words each.  Any slots may be the same.  `acc` and `x` are given as
    0: they are parameters only because viper keeps the first two variables in registers.
    """
    at = 0
    op = program[0]
    while op > 0:
        here = int(space)
        o = ptr32(here + 80 * program[at + 1])
        a = ptr32(here + 80 * program[at + 2])
'''


def words(number: int) -> bytes:
    """A number as a slot."""
    return b"".join((number >> BITS * k & BASE - 1).to_bytes(4, "little") for k in range(LIMBS))


def module() -> str:
    """The text of viper_field.py."""
    branches = [(MUL, _with_b(_multiply())), (SQR, _squares()), (ADD, _with_b(_each("+")))]
    branches += [(SUB, _with_b(_each("-"))), (CARRY, _carry())]
    lines = []
    for op, body in branches:
        lines.append(f"        {'if' if op == MUL else 'elif'} op == {op}:")
        lines += [f"            {line}" for line in body]
    lines += ["        at += 4", "        op = program[at]"]
    return _HEAD + "\n".join(lines) + "\n"


def _with_b(body: Iterator[str]) -> list[str]:
    return ["b = ptr32(here + 80 * program[at + 3])", *body]


def _multiply() -> Iterator[str]:
    yield from (f"{name}{i} = {name}[{i}]" for i in range(LIMBS) for name in "ab")

    def column(k: int) -> list[tuple[str, str]]:
        return [(f"a{i}", f"b{k - i}") for i in range(max(0, k - LIMBS + 1), min(k, LIMBS - 1) + 1)]

    yield from _product(column)


def _squares() -> Iterator[str]:
    yield "left = program[at + 3]"
    yield "while left > 0:"
    yield from (f"    {line}" for line in _square())
    yield "    a = o"
    yield "    left -= 1"


def _square() -> Iterator[str]:
    for i in range(LIMBS):
        yield f"x = a[{i}]"
        yield f"a{i} = x"
        yield f"b{i} = x + x"

    def column(k: int) -> list[tuple[str, str]]:
        pairs = [(f"a{i}", f"b{k - i}") for i in range(max(0, k - LIMBS + 1), (k + 1) // 2)]
        return pairs if k % 2 else [*pairs, (f"a{k // 2}", "x")]

    yield from _product(column)


def _product(column) -> Iterator[str]:  # type: ignore[no-untyped-def]
    """The columns of a product, those from 2^260 on first, so that they fold into the others at once."""
    for k in range(LIMBS, 2 * LIMBS - 1):
        yield from _sum(column(k), "acc + " if k > LIMBS else "")
        yield f"h{k - LIMBS} = acc & {BASE - 1}"
        yield f"acc = acc >> {BITS}"
    yield f"acc = acc * {FOLD}"
    yield f"h{LIMBS - 1} = acc"
    yield f"acc = h0 * {FOLD} + {HALF}"
    for k in range(LIMBS):
        if k:
            last = f"h{k}" if k == LIMBS - 1 else f"h{k} * {FOLD}"
            yield f"acc = (acc >> {BITS}) + {last} + {HALF}"
        yield from _sum(column(k), "acc + ")
        yield f"{_low(k)} = (acc & {BASE - 1}) - {HALF}"
    yield from _top()


def _low(k: int) -> str:
    """Where a limb of the result goes: the lowest two still change."""
    return f"h{k}" if k < 2 else f"o[{k}]"


def _sum(terms: list[tuple[str, str]], start: str) -> Iterator[str]:
    for first, second in terms:
        yield f"x = {first}"
        yield f"acc = {second} * x + acc" if start else f"acc = {second} * x"
        start = "acc"


def _top() -> Iterator[str]:
    """Fold what is left above 2^260 into the lowest limbs."""
    yield f"acc = (acc >> {BITS}) * {FOLD} + h0 + {HALF}"
    yield f"o[0] = (acc & {BASE - 1}) - {HALF}"
    yield f"acc = (acc >> {BITS}) + h1 + {HALF}"
    yield f"o[1] = (acc & {BASE - 1}) - {HALF}"
    yield f"o[2] = o[2] + (acc >> {BITS})"


def _each(sign: str) -> Iterator[str]:
    yield from (f"o[{k}] = a[{k}] {sign} b[{k}]" for k in range(LIMBS))


def _carry() -> Iterator[str]:
    yield f"acc = a[0] + {HALF}"
    for k in range(LIMBS):
        if k:
            yield f"acc = (acc >> {BITS}) + a[{k}] + {HALF}"
        yield f"{_low(k)} = (acc & {BASE - 1}) - {HALF}"
    yield from _top()
