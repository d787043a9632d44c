"""Points of edwards25519 (RFC 8032 §5.1) in Python integers.

`multiply_base` runs a fixed sequence of point operations and branches on no secret. The integers themselves
take time that depends on their values, and a table entry is read at an address that depends on the scalar: this
hides nothing from someone who measures time or power at the board itself.
"""

ORDER = (1 << 252) + 27742317777372353535851937790883648493
SIZE = 32

_P = (1 << 255) - 19
_D = -121665 * pow(121666, _P - 2, _P) % _P
_D2 = 2 * _D % _P
_ROOT = pow(2, (_P - 1) // 4, _P)  # of -1
_BASE_Y = 4 * pow(5, _P - 2, _P) % _P
_NEUTRAL = (0, 1, 1, 0)

# The comb: bit i + 13 * (t + 5 * j) of a 260-bit scalar is tooth t of block j in row i. Digits are -1 and 1.
_BLOCKS = 4
_TEETH = 5
_ROWS = 13
_HALF = 1 << _TEETH - 1
_ALL_ONES = (1 << _BLOCKS * _TEETH * _ROWS) - 1
_table = bytearray()

TYPE_CHECKING = False
if TYPE_CHECKING:
    # (X, Y, Z, T) with x = X/Z, y = Y/Z, xy = T/Z: the extended coordinates of RFC 8032 §5.1.4.
    Point = tuple[int, int, int, int]


def double(p: "Point") -> "Point":
    """Return p + p (RFC 8032 §5.1.4)."""
    x, y, z, _ = p
    a = x * x
    b = y * y
    h = a + b
    e = (h - (x + y) ** 2) % _P
    g = (a - b) % _P
    h %= _P
    f = (2 * z * z + g) % _P
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def add(p: "Point", q: "Point") -> "Point":
    """Add any two points: the formula has no exceptions on this curve."""
    x, y, z, t = q
    return _add_prepared(p, y - x, y + x, t * _D2 % _P, 2 * z)


def _add_prepared(p: "Point", minus: int, plus: int, t_d2: int, z_2: int = 2) -> "Point":
    """Add the point given as y - x, y + x, 2dt and 2z to `p`."""
    x, y, z, t = p
    a = (y - x) * minus % _P
    b = (y + x) * plus % _P
    c = t * t_d2 % _P
    d = z * z_2
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def negate(p: "Point") -> "Point":
    """Return -p."""
    x, y, z, t = p
    return -x, y, z, -t


def multiply(p: "Point", scalar: int) -> "Point":
    """Return scalar * p for 0 <= scalar < 2^256, four bits at a time, in variable time."""
    multiples = [_NEUTRAL, p]
    for _ in range(14):
        multiples.append(add(multiples[-1], p))
    total = _NEUTRAL
    for octet in reversed(scalar.to_bytes(SIZE, "little")):
        for nibble in (octet >> 4, octet & 15):
            total = double(double(double(double(total))))
            if nibble:
                total = add(total, multiples[nibble])
    return total


def multiply_base(scalar: int) -> "Point":
    """Return scalar * B in 52 additions and 13 doublings, whatever the scalar.

    With c = (scalar + 2^260 - 1) / 2 mod L the scalar is the sum of (2 * bit i of c - 1) * 2^i, so that no digit
    is 0 and a digit's sign only swaps the two halves of its table entry.
    """
    table = _table or _make_table()
    bits = ((scalar + _ALL_ONES) * (ORDER + 1 >> 1) % ORDER).to_bytes(SIZE + 1, "little")
    total = _NEUTRAL
    for row in range(_ROWS - 1, -1, -1):
        total = double(total)
        at = row
        for block in range(_BLOCKS):
            digit = 0
            for tooth in range(_TEETH):
                digit |= (bits[at >> 3] >> (at & 7) & 1) << tooth
                at += _ROWS
            sign = digit >> _TEETH - 1
            entry = 3 * (_HALF * block + ((digit ^ sign - 1) & _HALF - 1))
            t_d2 = _number(table, entry + 2) * (2 * sign - 1)
            total = _add_prepared(total, _number(table, entry + 1 - sign), _number(table, entry + sign), t_d2)
    return total


def _number(table: bytearray, place: int) -> int:
    return int.from_bytes(table[SIZE * place : SIZE * place + SIZE], "little")


def _make_table() -> bytearray:
    """Compute the comb's 64 points and keep them, as 6 KB: y - x, y + x, 2dxy of each, 32 bytes little-endian.

    Entry v of a block is its highest tooth plus or minus each other tooth, by the bits of v. One block at a time:
    as integers all of them at once would take several times the memory of the finished table.
    """
    global _table
    table = bytearray(3 * SIZE * _HALF * _BLOCKS)
    at = 0
    power = decode(_BASE_Y.to_bytes(SIZE, "little"))
    for _ in range(_BLOCKS):
        teeth = []
        for _ in range(_TEETH):
            teeth.append(power)
            for _ in range(_ROWS):
                power = double(power)
        for x, y in _affine(_combinations(teeth)):
            for number in (y - x, y + x, x * y * _D2):
                table[at : at + SIZE] = (number % _P).to_bytes(SIZE, "little")
                at += SIZE
    _table = table
    return table


def _combinations(teeth: list["Point"]) -> list["Point"]:
    top = teeth.pop()
    for tooth in teeth:
        top = add(top, negate(tooth))
    points = [top]
    for tooth in teeth:
        twice = double(tooth)
        points += [add(point, twice) for point in points]
    return points


def _affine(points: list["Point"]) -> list[tuple[int, int]]:
    """Return (x, y) of every point with a single inversion, which costs as much as 250 multiplications."""
    products = [1]
    for point in points:
        products.append(products[-1] * point[2] % _P)
    inverse = pow(products.pop(), _P - 2, _P)
    found = []
    for x, y, z, _ in reversed(points):
        z_inverse = inverse * products.pop() % _P
        inverse = inverse * z % _P
        found.append((x * z_inverse % _P, y * z_inverse % _P))
    found.reverse()
    return found


def encode(p: "Point") -> bytes:
    """Return the 32 bytes of a point (RFC 8032 §5.1.2)."""
    x, y = _affine([p])[0]
    return (y | (x & 1) << 255).to_bytes(SIZE, "little")


def decode(encoded: bytes) -> "Point":
    """Return the point of 32 bytes (RFC 8032 §5.1.3); ValueError if y is not reduced or no point has it."""
    number = int.from_bytes(encoded, "little")
    y = number & (1 << 255) - 1
    if y >= _P:
        raise ValueError("Ed25519: a point whose y is not reduced")
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    x = u * v**3 * pow(u * v**7 % _P, (_P - 5) // 8, _P) % _P
    if (v * x * x - u) % _P:
        x = x * _ROOT % _P
    if (v * x * x - u) % _P or (x == 0 and number >> 255):
        raise ValueError("Ed25519: bytes that are no point of the curve")
    if x & 1 != number >> 255:
        x = _P - x
    return x, y, 1, x * y % _P


def is_small_order(p: "Point") -> bool:
    """Whether 8 * p is the neutral element."""
    x, y, z, _ = double(double(double(p)))
    return x == 0 and y == z
