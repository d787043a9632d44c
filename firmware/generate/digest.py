"""Prints SHA-512 (FIPS 180-4) on halves of 32 bits.

A sum of 64-bit words is taken in three columns: the low 16 bits, the next 16, the high 32.  So a carry is a shift of
a column, where comparing a sum with its parts would be a branch on several of the architectures.  The running value
and the half that is rotated are the two variables that viper keeps in registers (field.py).
"""

from collections.abc import Iterator
from math import isqrt

_HEAD = '''\
"""SHA-512 (FIPS 180-4) in viper for 32-bit interpreters.

Printed by firmware/generate; change the generator, not this.  The same generator proves that no secret decides a
branch and that none is an index.
"""

import micropython

INITIAL = {initial}
ROUND = {rounds}


@micropython.viper
def compress(acc: uint, x: uint, state: ptr32, block: ptr8, w: ptr32, k: ptr32):
    """Take a block of 128 bytes into the state.

    `state` has 16 words, `w` 160 and `k` is `ROUND`; of each 64-bit number the high half comes first.  `acc` and `x`
    are given as 0.
    """
    p = w
    i = 0
    while i < 32:
        x = uint(block[4 * i]) << 24 | uint(block[4 * i + 1]) << 16
        p[i] = x | uint(block[4 * i + 2]) << 8 | uint(block[4 * i + 3])
        i += 1
'''


def _primes(count: int) -> list[int]:
    found: list[int] = []
    number = 2
    while len(found) < count:
        if all(number % prime for prime in found):
            found.append(number)
        number += 1
    return found


def _cube_root(number: int) -> int:
    low, high = 0, 1 << number.bit_length() // 3 + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**3 <= number else (low, middle)
    return low


def _halves(words: list[int]) -> bytes:
    """Numbers of 64 bits as little-endian words, the high one first."""
    return b"".join((w >> 32).to_bytes(4, "little") + (w & 0xFFFFFFFF).to_bytes(4, "little") for w in words)


INITIAL = [isqrt(prime << 128) & 2**64 - 1 for prime in _primes(8)]
ROUND = [_cube_root(prime << 192) & 2**64 - 1 for prime in _primes(80)]


def _sigma(high: str, low: str, rotations: tuple[int, ...], shift: int = 0) -> Iterator[tuple[bool, list[str]]]:
    """(whether it is the low half, code that leaves this half of a sigma in `acc`), low first."""
    for is_low in (True, False):
        near, far = (low, high) if is_low else (high, low)
        terms = []
        for n in rotations:
            here, there = (near, far) if n < 32 else (far, near)
            terms += [(here, ">>", n % 32), (there, "<<", 32 - n % 32)]
        if shift:
            terms.append((near, ">>", shift))
            terms += [(far, "<<", 32 - shift)] if is_low else []
        yield is_low, list(_gathered(terms))


def _gathered(terms: list[tuple[str, str, int]]) -> Iterator[str]:
    """The terms of one half after the other, so that it is brought into its register once."""
    first = True
    for half in dict.fromkeys(name for name, _, _ in terms):
        yield f"x = {half}"
        for name, op, shift in terms:
            if name == half:
                yield f"acc = x {op} {shift}" if first else f"acc = (x {op} {shift}) ^ acc"
                first = False


def _begin(high: str, low: str) -> Iterator[str]:
    """Begin a sum with a word."""
    yield f"x = {low}"
    yield "small = x & 65535"
    yield "middle = x >> 16"
    yield f"large = {high}"


def _add(high: str, low: str) -> Iterator[str]:
    """Add a word to the sum."""
    yield f"x = {low}"
    yield from _add_low("x")
    yield f"large = {high} + large"


def _add_low(name: str) -> Iterator[str]:
    yield f"small = ({name} & 65535) + small"
    yield f"middle = ({name} >> 16) + middle"


def _add_sigma(high: str, low: str, rotations: tuple[int, ...], shift: int = 0) -> Iterator[str]:
    for is_low, code in _sigma(high, low, rotations, shift):
        yield from code
        yield from _add_low("acc") if is_low else ["large = acc + large"]


def _end(high: str, low: str) -> Iterator[str]:
    """Put the sum where it belongs, and leave it to be added to."""
    yield "x = (small >> 16) + middle"
    yield f"{low} = x << 16 | small & 65535"
    yield f"{high} = (x >> 16) + large"


def _schedule() -> Iterator[str]:
    yield from _begin("uint(p[0])", "uint(p[1])")
    yield from _add("uint(p[18])", "uint(p[19])")
    yield from ("xh = uint(p[2])", "xl = uint(p[3])")
    yield from _add_sigma("xh", "xl", (1, 8), 7)
    yield from ("xh = uint(p[28])", "xl = uint(p[29])")
    yield from _add_sigma("xh", "xl", (19, 61), 6)
    yield from _end("p[32]", "p[33]")


def _round() -> Iterator[str]:
    yield from _begin("hh", "hl")
    yield from _add("uint(p[0])", "uint(p[1])")
    yield from _add("uint(k[0])", "uint(k[1])")
    for half in "lh":
        yield f"acc = (f{half} ^ g{half}) & e{half} ^ g{half}"
        yield from _add_low("acc") if half == "l" else ["large = acc + large"]
    yield from _add_sigma("eh", "el", (14, 18, 41))
    for new, old in zip("hgf", "gfe"):
        yield from (f"{new}{half} = {old}{half}" for half in "hl")
    # The sum so far goes into both of the new words.
    yield from ("s = small", "m = middle", "l = large")
    yield from _add("dh", "dl")
    yield from _end("eh", "el")
    yield from ("small = s", "middle = m", "large = l")
    for half in "lh":
        yield f"acc = (a{half} ^ b{half}) & (b{half} ^ c{half}) ^ b{half}"
        yield from _add_low("acc") if half == "l" else ["large = acc + large"]
    yield from _add_sigma("ah", "al", (28, 34, 39))
    for new, old in zip("dcb", "cba"):
        yield from (f"{new}{half} = {old}{half}" for half in "hl")
    yield from _end("ah", "al")


def _body() -> Iterator[str]:
    yield "i = 0"
    yield "while i < 64:"
    yield from (f"    {line}" for line in _schedule())
    yield "    p = ptr32(int(p) + 8)"
    yield "    i += 1"
    names = [f"{word}{half}" for word in "abcdefgh" for half in "hl"]
    yield from (f"{name} = uint(state[{place}])" for place, name in enumerate(names))
    yield "p = w"
    yield "i = 0"
    yield "while i < 80:"
    yield from (f"    {line}" for line in _round())
    yield "    p = ptr32(int(p) + 8)"
    yield "    k = ptr32(int(k) + 8)"
    yield "    i += 1"
    for place, word in enumerate("abcdefgh"):
        yield from _begin(f"uint(state[{2 * place}])", f"uint(state[{2 * place + 1}])")
        yield from _add(f"{word}h", f"{word}l")
        yield from _end(f"state[{2 * place}]", f"state[{2 * place + 1}]")


def module() -> str:
    """The text of viper_sha512.py."""
    head = _HEAD.format(initial=_halves(INITIAL), rounds=_halves(ROUND))
    return head + "\n".join(f"    {line}" for line in _body()) + "\n"
