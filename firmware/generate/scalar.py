"""Prints the arithmetic modulo the group's order L, and between bytes and limbs.

Limbs of 13 bits again, all of a scalar below 2^13.  Plain loops: these run four times a signature.
"""

from curve import ORDER
from field import BASE, BITS, LIMBS, words

WIDE = 2 * LIMBS
# 2^260 is -256 * (L - 2^252) modulo L.
FOLD = (ORDER - 2**252) << LIMBS * BITS - 252


_TEXT = '''\
"""Scalars modulo the order of edwards25519, and numbers as bytes, in viper for 32-bit interpreters.

Printed by firmware/generate; change the generator, not this.  The same generator proves that no sum here leaves 32
bits, that no secret decides a branch, and that none is an index.
"""

import micropython

ORDER = {order}
FOLD = {fold}


@micropython.viper
def split(o: ptr32, octets: ptr8, size: int, count: int):
    """Split `size` little-endian bytes into `count` limbs, at least as many as they fill."""
    acc = 0
    bits = 0
    at = 0
    k = 0
    while k < count:
        while bits < {bits}:
            if at < size:
                acc = acc | octets[at] << bits
                at += 1
            bits += 8
        o[k] = acc & {mask}
        acc = acc >> {bits}
        bits -= {bits}
        k += 1


@micropython.viper
def join(octets: ptr8, a: ptr32):
    """Write 32 little-endian bytes of 20 limbs below 2^13."""
    acc = 0
    bits = 0
    at = 0
    k = 0
    while k < {limbs}:
        acc = acc | a[k] << bits
        bits += {bits}
        k += 1
        while bits >= 8:
            if at < 32:
                octets[at] = acc & 255
                at += 1
            acc = acc >> 8
            bits -= 8


@micropython.viper
def freeze(a: ptr32):
    """Bring a number modulo p of the field machine's limbs to 0 … p - 1 and limbs below 2^13, in place."""
    acc = {low_zero}
    k = 0
    while k < {limbs}:
        acc = acc + a[k]
        a[k] = acc & {mask}
        acc = (acc >> {bits}) + {mask}
        k += 1
    acc = 19 * ((acc - {mask} << 5) + (a[{top}] >> 8))
    a[{top}] = a[{top}] & 255
    k = 0
    while k < {limbs}:
        acc = acc + a[k]
        a[k] = acc & {mask}
        acc = acc >> {bits}
        k += 1
    acc = 19
    k = 0
    while k < {top}:
        acc = acc + a[k] >> {bits}
        k += 1
    acc = 19 * (acc + a[{top}] >> 8)
    k = 0
    while k < {limbs}:
        acc = acc + a[k]
        a[k] = acc & {mask}
        acc = acc >> {bits}
        k += 1
    a[{top}] = a[{top}] & 255


@micropython.viper
def multiply(acc: int, x: int, o: ptr32, a: ptr32, b: ptr32, c: ptr32):
    """Put a * b + c into 40 limbs; a, b and c have 20, all below 2^13.  `acc` and `x` are given as 0."""
    k = 0
    while k < {wide}:
        i = 0
        if k < {limbs}:
            acc = acc + c[k]
        else:
            i = k - {top}
        while i < {limbs}:
            if i > k:
                i = {limbs}
            else:
                x = a[i]
                acc = b[k - i] * x + acc
                i += 1
        o[k] = acc & {mask}
        acc = acc >> {bits}
        k += 1


@micropython.viper
def reduce(acc: int, x: int, a: ptr32, fold: ptr32, order: ptr32):
    """Reduce 40 limbs below 2^13 to 20 of the number modulo L, in place, 0 … L - 1.

    From the top down a limb gives way to its multiple of 2^260 modulo L.  What is then left above 2^252 goes by a
    multiple of L, and the last two rounds bring the result between 0 and L.  `acc` and `x` are given as 0.
    """
    i = {wide}
    while i > {limbs}:
        i -= 1
        x = a[i]
        acc = 0
        k = 0
        while k < {top}:
            if k < {fold_size}:
                acc = acc - fold[k] * x
            acc = acc + a[i - {limbs} + k]
            a[i - {limbs} + k] = acc & {mask}
            acc = acc >> {bits}
            k += 1
        a[i - 1] = a[i - 1] + acc
    x = 0 - (a[{top}] >> 5)
    i = 0
    while i < 4:
        acc = 0
        k = 0
        while k < {top}:
            acc = acc + order[k] * x + a[k]
            a[k] = acc & {mask}
            acc = acc >> {bits}
            k += 1
        a[{top}] = acc + (x << 5) + a[{top}]
        x = (a[{top}] >> 31) & 1
        if i == 1:
            x = 0 - 1
        i += 1


@micropython.viper
def digits(o: ptr8, octets: ptr8, size: int):
    """Write a public number's non-adjacent form of width 4, lowest first: 0, or 8 more than a signed odd digit.

    `o` has a place for each bit of `size` little-endian bytes, the highest of which is below 128.  The time depends on
    the number: for verification only.
    """
    window = 0
    have = 0
    at = 0
    i = 0
    while i < 8 * size:
        if have < 4:
            if at < size:
                window = window + (octets[at] << have)
                at += 1
            have += 8
        digit = 0
        if window & 1:
            digit = window + 8 & 15
            window = window - digit + 8
        o[i] = digit
        window = window >> 1
        have -= 1
        i += 1
'''


def module() -> str:
    """The text of viper_scalar.py."""
    return _TEXT.format(
        order=words(ORDER), fold=words(FOLD), bits=BITS, mask=BASE - 1, limbs=LIMBS, top=LIMBS - 1, wide=WIDE,
        fold_size=(FOLD.bit_length() + BITS - 1) // BITS, low_zero=BASE - 608,
    )  # fmt: skip
