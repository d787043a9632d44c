"""Ed25519 signatures crafted at the edges of the curve, with the verdict that each must get.

The arithmetic is affine, from RFC 8032 §5.1, and takes milliseconds a point: for tests only.  T being a point of
order 8, whoever makes the key as a·B + i·T and R as r·B + j·T knows without a verifier whether S·B = R + h·A holds.
"""

from dataclasses import dataclass
from functools import cache
from hashlib import sha512

Point = tuple[int, int]

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
MOST_WRAPS = 14
"""So often the order can be added to any S and it still fits into 32 bytes."""

_D = -121665 * pow(121666, -1, P) % P
_ROOT = pow(2, (P - 1) // 4, P)  # of -1


def add(p: Point, q: Point) -> Point:
    x, y = p[0] * q[1] + q[0] * p[1], p[1] * q[1] + p[0] * q[0]
    k = _D * p[0] * q[0] * p[1] * q[1]
    return x * pow(1 + k, -1, P) % P, y * pow(1 - k, -1, P) % P


@cache
def multiply(scalar: int, point: Point) -> Point:
    total = 0, 1
    while scalar:
        if scalar & 1:
            total = add(total, point)
        point = add(point, point)
        scalar >>= 1
    return total


def lift(y: int, sign: int) -> Point | None:
    """Return the point with this y whose x has this lowest bit, unless the curve has none."""
    square = (y * y - 1) * pow(_D * y * y + 1, -1, P) % P
    for x in (root := pow(square, (P + 3) // 8, P), root * _ROOT % P):
        if x * x % P == square:
            return (x if x & 1 == sign else -x % P), y
    return None


def octets(y: int, sign: int) -> bytes:
    return (y | sign << 255).to_bytes(32, "little")


def encodings(point: Point) -> list[bytes]:
    """Return all that a careless decoder takes for the point: its encoding, then those that are not canonical."""
    x, y = point
    signs = (x & 1,) if x else (0, 1)
    return [octets(form, sign) for form in (y, y + P) if form < 1 << 255 for sign in signs]


BASE = lift(4 * pow(5, -1, P) % P, 0) or (0, 1)
_T = lift(2707385501144840649318225287225658788936804267575313519463743609750303402022, 0) or (0, 1)
TORSION = [multiply(count, _T) for count in range(8)]
"""The points whose order divides the cofactor."""


@cache
def point(scalar: int, torsion: int) -> Point:
    """Return scalar·B + torsion·T."""
    return add(multiply(scalar, BASE), TORSION[torsion])


def challenge(r: bytes, key: bytes, message: bytes) -> int:
    """Return h, which is reduced: where the key has a part of small order, h·A without that is another point."""
    return int.from_bytes(sha512(r + key + message).digest(), "little") % ORDER


@dataclass(frozen=True, slots=True)
class Crafted:
    """A signature for the key's over a message, and whether a verifier must accept it."""

    key: bytes
    message: bytes
    signature: bytes
    is_good: bool


def craft(
    message: bytes,
    key: tuple[int, int] = (3, 0),
    r: tuple[int, int] = (5, 0),
    *,
    key_form: int = 0,
    r_form: int = 0,
    wraps: int = 0,
) -> Crafted:
    """Sign with the key a·B + i·T and with R = r·B + j·T, each given as its two factors.

    The forms choose among the encodings of the two points, which the signature is made with; S is r + h·a and `wraps`
    times the order.
    """
    key_forms, r_forms = encodings(point(*key)), encodings(point(*r))
    octets_a, octets_r = key_forms[key_form % len(key_forms)], r_forms[r_form % len(r_forms)]
    h = challenge(octets_r, octets_a, message)
    s = (r[0] + h * key[0]) % ORDER + wraps * ORDER
    is_canonical = (octets_a, octets_r, wraps) == (key_forms[0], r_forms[0], 0)
    is_good = is_canonical and key[0] > 0 and r[0] > 0 and (r[1] + h * key[1]) % 8 == 0
    return Crafted(octets_a, message, octets_r + s.to_bytes(32, "little"), is_good)


def flipped(crafted: Crafted, at: int) -> Crafted:
    """Return the same with one bit of key, signature and message changed, which no verifier may accept."""
    whole = bytearray(crafted.key + crafted.signature + crafted.message)
    whole[at // 8 % len(whole)] ^= 1 << at % 8
    return Crafted(bytes(whole[:32]), bytes(whole[96:]), bytes(whole[32:96]), is_good=False)


SCALARS = (0, 1, 2, 8, ORDER - 1, ORDER // 2, 2**251 + 9, 0x5A17C0DE << 200 | 0xED25519)
CHOICES = 9


def chosen(choices: bytes) -> Crafted:
    """Craft what nine bytes choose (those missing count as 0) over the message that is the rest."""
    a, i, r, j, key_form, r_form, wraps, flip, place = choices[:CHOICES].ljust(CHOICES, b"\0")
    crafted = craft(
        choices[CHOICES:],
        (SCALARS[a % len(SCALARS)], i % 8),
        (SCALARS[r % len(SCALARS)], j % 8),
        key_form=key_form,
        r_form=r_form,
        wraps=max(0, wraps - 255 + MOST_WRAPS),
    )
    return flipped(crafted, flip << 8 | place) if flip >= 192 else crafted
