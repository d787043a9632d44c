"""The point formulas of edwards25519 as programs for the field machine, written as sums and products.

`A = X * Y`, `A = X + Y`, `A = X - Y`, `A = ~X` (carry), `A = X ^ 5` (five squarings in a row).  Names are slots.

Points are extended (X : Y : Z : T) as in RFC 8032 §5.1.4.  An entry is what is added: N = y - x, M = y + x, K = 2dxy.
Those of the comb's table have z = 1 and are halved, which halves all four of E … H and saves the doubling of Z; those
made of points carry J = 2z.  The formula has no exceptions on this curve, so it needs no case for equal points.

Only additions need T.  Whatever makes a point leaves the factors E and H of its T, and an addition begins by
multiplying them.
"""

from curve import ROOT_OF_MINUS_1, D
from field import ADD, CARRY, END, MUL, SQR, SUB, words

_NAMES = ("X", "Y", "Z", "T", "N", "M", "K", "J", "A", "B", "C", "E", "F", "G", "H", "I", "U", "V", "R", "S")
SLOTS = {name: slot for slot, name in enumerate(_NAMES)}
_OPS = {"*": MUL, "+": ADD, "-": SUB, "^": SQR}

_PRODUCTS = "X = E * F; Y = G * H; Z = F * G"

DOUBLE = f"""
    A = X ^ 1; B = Y ^ 1; C = Z ^ 1; E = X + Y; E = E ^ 1
    H = A + B; E = H - E; G = A - B; C = C + C; F = C + G; F = ~F; {_PRODUCTS}
"""
# The sum of the point and an entry.  Signs: E, F, G, H are b - a, d - c, d + c, b + a.
_ADD = "T = E * H; A = Y - X; B = Y + X; A = A * {n}; B = B * {m}; C = T * K{d}; E = B - A; H = A + B"
_PLUS, _MINUS = "F = {z} - C; G = {z} + C", "F = {z} + C; G = {z} - C"


def _add(minus: bool, affine: bool) -> str:
    n, m = ("M", "N") if minus else ("N", "M")
    z, d = ("Z", "") if affine else ("U", "; U = Z * J")
    return "; ".join((_ADD.format(n=n, m=m, d=d), (_MINUS if minus else _PLUS).format(z=z), _PRODUCTS))


PROGRAMS = {
    "DOUBLE": DOUBLE,
    "ADD_ENTRY": _add(False, True),
    "ADD": _add(False, False),
    "SUBTRACT": _add(True, False),
    # What is added when the point itself is: d stands in R.
    "PREPARE": "T = E * H; N = Y - X; M = Y + X; K = T * R; K = K + K; J = Z + Z",
    "DIFFERENCE": "A = Y - Z; A = ~A",
    "NEGATE": "A = X - X; X = A - X; X = ~X",
    "REST": "Y = ~Y; E = ~X; H = ~Y",
}


def _power(of: str, end: str) -> str:
    """`of`^(2^250 - 1) goes on as Q; B is `of`^11 (the exponents' chain of RFC 7748's authors)."""
    return f"""
        A = {of} ^ 1; B = A ^ 2; B = B * {of}; C = A * B; A = C ^ 1; A = A * B
        B = A ^ 5; A = A * B; B = A ^ 10; B = B * A; E = B ^ 20; B = B * E; B = B ^ 10; A = A * B
        B = A ^ 50; B = B * A; E = B ^ 100; B = B * E; B = B ^ 50; A = A * B; {end}
    """


# X and Y of the point with z = 1.
PROGRAMS["AFFINE"] = _power("Z", "A = A ^ 5; A = A * C; X = X * A; Y = Y * A")
# RFC 8032 §5.1.3, with y in Y, 1 in Z, d in R and the root of -1 in S: X is the candidate root, A is v x^2 - u and
# B is v x^2 + u; the other root is left in I.
PROGRAMS["ROOT"] = (
    "A = Y ^ 1; U = A - Z; V = A * R; V = V + Z; G = V ^ 1; G = G * V; H = G ^ 1; H = H * V; H = H * U;"
    + _power("H", "A = A ^ 2; A = A * H")
    + "; X = A * G; X = X * U; A = X ^ 1; A = A * V; B = A + U; A = A - U; A = ~A; B = ~B; I = X * S"
)


def assemble(text: str) -> bytes:
    """The bytes of a program."""
    code = bytearray()
    for line in text.replace("\n", ";").split(";"):
        words = line.split()
        match words:
            case []:
                pass
            case [to, "=", single]:
                code += bytes((CARRY, SLOTS[to], SLOTS[single.removeprefix("~")], 0))
            case [to, "=", first, "^", count]:
                code += bytes((SQR, SLOTS[to], SLOTS[first], int(count)))
            case [to, "=", first, op, second]:
                code += bytes((_OPS[op], SLOTS[to], SLOTS[first], SLOTS[second]))
            case _:
                raise ValueError(f"no operation: {line}")
    return bytes((*code, END))


def module() -> str:
    """The end of viper_field.py: slots and programs as constants."""
    lines = ["", "", "# Slots of `space` by what stands in them, and the programs (generate/programs.py)."]
    lines += [f"SLOTS = {len(SLOTS)}", f"D = {words(D)!r}", f"ROOT_OF_MINUS_1 = {words(ROOT_OF_MINUS_1)!r}"]
    lines += [f"{name} = {assemble(text)!r}" for name, text in PROGRAMS.items()]
    return "\n".join(lines) + "\n"
