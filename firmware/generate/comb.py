"""Prints the base point's table and its lookup: a signed comb of 4 blocks, 6 teeth and 11 rows.

Bit i + 11 * (t + 6 * j) of a 264-bit scalar is tooth t of block j in row i, and stands for -1 or 1.  An entry is the
highest tooth plus or minus each other tooth by the bits of its number; where the highest tooth is negative, the entry
is negated.  Entries are halves of y - x, y + x and 2dxy, 32 bytes each, little-endian (programs.py).

A block's 32 entries lie by words: word 0 of every entry, then word 1.  A lookup reads all of a block and keeps one.
"""

from collections.abc import Iterator

from curve import BASE_POINT, ORDER, D, P
from field import BASE, BITS, LIMBS, words
from programs import SLOTS

BLOCKS, TEETH, ROWS = 4, 6, 11
ENTRIES = 1 << TEETH - 1
WORDS = 3 * 8
_LOOKUP = '''\
@micropython.viper
def lookup(acc: int, t: ptr32, space: ptr32, bits: ptr8, row: int, block: int, public: int):
    """Put the entry of a row and block of the comb into the slots N, M and K.

    `t` is the table and `bits` the comb's scalar, 33 bytes; `acc` is given as 0.  All of the block is
    read, unless `public` is 1: verification needs no more than the entry itself.
    """
    at = row + {per_block} * block
    digit = 0
    tooth = 0
    while tooth < {teeth}:
        digit = digit | (bits[at >> 3] >> (at & 7) & 1) << tooth
        at += {rows}
        tooth += 1
    negative = (digit >> {high}) - 1
    digit = (digit ^ negative) & {last}
{masks}
    t = ptr32(int(t) + {block_bytes} * block)
    chosen = ptr32(int(space) + {scratch})
    w = 0
    while w < {words}:
        if public:
            acc = t[digit]
        else:
{scan}
        chosen[w] = acc
        t = ptr32(int(t) + {row_bytes})
        w += 1
    w = 0
    while w < 8:
        acc = (chosen[w] ^ chosen[w + 8]) & negative
        chosen[w] = chosen[w] ^ acc
        chosen[w + 8] = chosen[w + 8] ^ acc
        w += 1
    o = ptr32(int(space) + {entry})
    w = 0
    while w < 3:
{unpack}
        chosen = ptr32(int(chosen) + 32)
        o = ptr32(int(o) + {slot})
        w += 1
    o = ptr32(int(space) + {entry_k})
    w = 0
    while w < {limbs}:
        o[w] = (o[w] ^ negative) - negative
        w += 1
'''


def _unpack() -> Iterator[str]:
    """A number of 8 words into 20 limbs."""
    for k in range(LIMBS):
        word, shift = divmod(BITS * k, 32)
        left = 32 - shift
        if left >= BITS:
            yield f"o[{k}] = (chosen[{word}] >> {shift}) & {BASE - 1}"
        elif word == 7:
            yield f"o[{k}] = (chosen[7] >> {shift}) & {(1 << left) - 1}"
        else:
            high = f"(chosen[{word + 1}] & {(1 << BITS - left) - 1}) << {left}"
            yield f"o[{k}] = (chosen[{word}] >> {shift}) & {(1 << left) - 1} | {high}"


def _indent(lines: Iterator[str], depth: int) -> str:
    return "\n".join(" " * depth + line for line in lines)


_HEAD = '''\
"""The base point's comb and its lookup, in viper for 32-bit interpreters.

Printed by firmware/generate; change the generator, not this.  The same generator proves that no secret decides a
branch and that none is an index: a lookup reads all 32 entries of its block.
"""

import micropython

# 1/2 and (2^264 - 1) / 2 modulo the group's order, in limbs.
HALF = {half}
OFFSET = {offset}
TABLE = {table}


'''


def module() -> str:
    """The text of viper_comb.py."""
    half = pow(2, -1, ORDER)
    offset = (2 ** (BLOCKS * TEETH * ROWS) - 1) * half % ORDER
    return _HEAD.format(half=words(half), offset=words(offset), table=_literal(table())) + lookup()


def _literal(octets: bytes) -> str:
    rows = "".join(f"    {octets[at : at + 32]!r}\n" for at in range(0, len(octets), 32))
    return f"(\n{rows})"


def lookup() -> str:
    """The text of `lookup`."""
    scan = (f"acc = t[{e}] & m{e}" + (" | acc" if e else "") for e in range(ENTRIES))
    masks = (f"m{e} = (({e} ^ digit) - 1) >> 31" for e in range(ENTRIES))
    return _LOOKUP.format(
        per_block=TEETH * ROWS, teeth=TEETH, rows=ROWS, high=TEETH - 1, last=ENTRIES - 1, words=WORDS, limbs=LIMBS,
        masks=_indent(masks, 4), scan=_indent(scan, 12), unpack=_indent(_unpack(), 8), slot=4 * LIMBS,
        block_bytes=4 * WORDS * ENTRIES, row_bytes=4 * ENTRIES, scratch=4 * LIMBS * SLOTS["A"],
        entry=4 * LIMBS * SLOTS["N"], entry_k=4 * LIMBS * SLOTS["K"],
    )  # fmt: skip


def _add(p: tuple[int, int], q: tuple[int, int]) -> tuple[int, int]:
    """The affine sum by the curve's own law: slow, and nothing like the formulas that use its result."""
    (x1, y1), (x2, y2) = p, q
    product = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + y1 * x2) * pow(1 + product, -1, P) % P
    return x, (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P


def table() -> bytes:
    """The table: 4 blocks of 24 words of 32 entries."""
    power, found = BASE_POINT, b""
    for _ in range(BLOCKS):
        teeth = []
        for _ in range(TEETH):
            teeth.append(power)
            for _ in range(ROWS):
                power = _add(power, power)
        rows = [_entry(teeth, number) for number in range(ENTRIES)]
        found += b"".join(row[4 * w : 4 * w + 4] for w in range(WORDS) for row in rows)
    return found


def _entry(teeth: list[tuple[int, int]], number: int) -> bytes:
    x, y = teeth[-1]
    for t, tooth in enumerate(teeth[:-1]):
        sign = 1 if number >> t & 1 else -1
        x, y = _add((x, y), (sign * tooth[0] % P, tooth[1]))
    half = pow(2, -1, P)
    return b"".join((number * half % P).to_bytes(32, "little") for number in (y - x, y + x, 2 * D * x * y))
