"""Arithmetic of readings in whole numbers: a value is a mantissa and a count of decimals, never a float."""

from cbor import Fraction

MAX_PLACES = 9


def rounded(numerator, denominator):
    """The whole number next to a quotient, halves upwards; the denominator is positive."""
    return (2 * numerator + denominator) // (2 * denominator)


def number(mantissa, places):
    """mantissa / 10^places as statements have it."""
    return Fraction(-places, mantissa) if places else mantissa


def float32(bits, places):
    """An IEEE 754 single, times 10^places and rounded to a whole number; ValueError if it is infinite or no number."""
    exponent, mantissa = bits >> 23 & 255, bits & 0x7FFFFF
    if exponent == 255:
        raise ValueError("infinite, or not a number")
    mantissa = (mantissa | 0x800000 if exponent else mantissa << 1) * 10**places
    shift = 150 - exponent
    magnitude = rounded(mantissa, 1 << shift) if shift > 0 else mantissa << -shift
    return -magnitude if bits >> 31 else magnitude


def on_line(points, at):
    """The value at `at` on the line through two points [[x, y], [x, y]], rounded."""
    (first, low), (second, high) = sorted(points)
    return rounded(low * (second - first) + (at - first) * (high - low), second - first)


def check_points(points, least, most):
    """`points` as a setting: two pairs of whole numbers with different first ones; ValueError otherwise."""
    pairs = isinstance(points, list) and len(points) == 2 and all(isinstance(p, list) and len(p) == 2 for p in points)
    if not pairs or any(type(value) is not int for pair in points for value in pair):
        raise ValueError("points must be two pairs of whole numbers, [[millivolts, value], [millivolts, value]]")
    if points[0][0] == points[1][0] or not all(least <= pair[1] <= most for pair in points):
        raise ValueError("points must be of two voltages, with values from %d to %d" % (least, most))
    return points
