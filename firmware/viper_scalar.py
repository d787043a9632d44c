"""Scalars modulo the order of edwards25519, and numbers as bytes, in viper for 32-bit interpreters.

Printed by firmware/generate; change the generator, not this.  The same generator proves that no sum here leaves 32
bits, that no secret decides a branch, and that none is an index.
"""

import micropython

ORDER = b'\xed\x13\x00\x00\xae\x07\x00\x00\x97\x06\x00\x00\xc6\x04\x00\x00\x81\x05\x00\x00k\x0e\x00\x00\xde\x0b\x00\x00\xd4\x1b\x00\x00\xf9\x1e\x00\x00\xa6\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00 \x00\x00\x00'
FOLD = b'\x00\r\x00\x00\x9f\x0e\x00\x00=\x17\x00\x004\x06\x00\x00&\x01\x00\x00,\x0b\x00\x00s\x1e\x00\x00^\x14\x00\x00\xde\x19\x00\x00\xf7\x06\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00'


@micropython.viper
def split(o: ptr32, octets: ptr8, size: int, count: int):
    """Split `size` little-endian bytes into `count` limbs, at least as many as they fill."""
    acc = 0
    bits = 0
    at = 0
    k = 0
    while k < count:
        while bits < 13:
            if at < size:
                acc = acc | octets[at] << bits
                at += 1
            bits += 8
        o[k] = acc & 8191
        acc = acc >> 13
        bits -= 13
        k += 1


@micropython.viper
def join(octets: ptr8, a: ptr32):
    """Write 32 little-endian bytes of 20 limbs below 2^13."""
    acc = 0
    bits = 0
    at = 0
    k = 0
    while k < 20:
        acc = acc | a[k] << bits
        bits += 13
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
    acc = 7584
    k = 0
    while k < 20:
        acc = acc + a[k]
        a[k] = acc & 8191
        acc = (acc >> 13) + 8191
        k += 1
    acc = 19 * ((acc - 8191 << 5) + (a[19] >> 8))
    a[19] = a[19] & 255
    k = 0
    while k < 20:
        acc = acc + a[k]
        a[k] = acc & 8191
        acc = acc >> 13
        k += 1
    acc = 19
    k = 0
    while k < 19:
        acc = acc + a[k] >> 13
        k += 1
    acc = 19 * (acc + a[19] >> 8)
    k = 0
    while k < 20:
        acc = acc + a[k]
        a[k] = acc & 8191
        acc = acc >> 13
        k += 1
    a[19] = a[19] & 255


@micropython.viper
def multiply(acc: int, x: int, o: ptr32, a: ptr32, b: ptr32, c: ptr32):
    """Put a * b + c into 40 limbs; a, b and c have 20, all below 2^13.  `acc` and `x` are given as 0."""
    k = 0
    while k < 40:
        i = 0
        if k < 20:
            acc = acc + c[k]
        else:
            i = k - 19
        while i < 20:
            if i > k:
                i = 20
            else:
                x = a[i]
                acc = b[k - i] * x + acc
                i += 1
        o[k] = acc & 8191
        acc = acc >> 13
        k += 1


@micropython.viper
def reduce(acc: int, x: int, a: ptr32, fold: ptr32, order: ptr32):
    """Reduce 40 limbs below 2^13 to 20 of the number modulo L, in place, 0 … L - 1.

    From the top down a limb gives way to its multiple of 2^260 modulo L.  What is then left above 2^252 goes by a
    multiple of L, and the last two rounds bring the result between 0 and L.  `acc` and `x` are given as 0.
    """
    i = 40
    while i > 20:
        i -= 1
        x = a[i]
        acc = 0
        k = 0
        while k < 19:
            if k < 11:
                acc = acc - fold[k] * x
            acc = acc + a[i - 20 + k]
            a[i - 20 + k] = acc & 8191
            acc = acc >> 13
            k += 1
        a[i - 1] = a[i - 1] + acc
    x = 0 - (a[19] >> 5)
    i = 0
    while i < 4:
        acc = 0
        k = 0
        while k < 19:
            acc = acc + order[k] * x + a[k]
            a[k] = acc & 8191
            acc = acc >> 13
            k += 1
        a[19] = acc + (x << 5) + a[19]
        x = (a[19] >> 31) & 1
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
