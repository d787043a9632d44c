"""The viper modules against Python's integers: extreme limbs, numbers from p on, one slot as operand and result."""

import random

import unittest_mini as unittest

import ed25519

P = (1 << 255) - 19
ORDER = (1 << 252) + 27742317777372353535851937790883648493
MUL, SQR, ADD, SUB, CARRY = range(1, 6)
RUNS_HERE = ed25519.choose() == ed25519.VIPER
if RUNS_HERE:
    import viper_comb as comb
    import viper_field as field
    import viper_scalar as scalar

# Limbs of what may be multiplied with what: sums of two reduced numbers, with the signs that make columns largest.
REDUCED = (-4096, 4095)
SUMS = (-8192, 8191)


def slot(limbs):
    return b"".join([(limb & 0xFFFFFFFF).to_bytes(4, "little") for limb in limbs])


def limbs_of(number):
    return [number >> 13 * k & 8191 for k in range(20)]


def signed(octets):
    found = []
    for at in range(0, len(octets), 4):
        limb = int.from_bytes(octets[at : at + 4], "little")
        found.append(limb - (limb >> 31 << 32))
    return found


def value(limbs):
    total = 0
    for limb in reversed(limbs):
        total = (total << 13) + limb
    return total


def operands():
    """Limbs at their bounds in every pattern that could matter, the numbers around p, and random ones."""
    found = [[edge] * 20 for edge in REDUCED + SUMS + (0, 1, -1)]
    found += [[SUMS[k & 1] for k in range(20)], [SUMS[k + 1 & 1] for k in range(20)]]
    found += [[SUMS[j == k] for k in range(20)] for j in range(20)]
    found += [limbs_of(P + extra) for extra in (-2, -1, 0, 1, 2, 18)] + [limbs_of((1 << 255) - 1), limbs_of(0)]
    found += [[random.getrandbits(14) - 8192 for _ in range(20)] for _ in range(30)]
    return found


def random_number():
    return int.from_bytes(bytes([random.getrandbits(8) for _ in range(32)]), "little")


class TestField(unittest.TestCase):
    def check(self, op, to, first, second, a, b, expected):
        space = bytearray(80 * 4)
        space[80:160], space[160:240] = slot(a), slot(b)
        field.run(0, 0, space, bytes((op, to, first, second, 0)))
        found = signed(space[80 * to : 80 * to + 80])
        self.assertEqual(value(found) % P, expected % P, (op, to, a, b))
        if op in (MUL, SQR, CARRY):
            within = [-4101 <= limb <= 4100 for limb in found]
            self.assertTrue(all(within), (op, found))

    def test_every_operation_into_every_place(self):
        if not RUNS_HERE:
            return
        chosen = operands()
        for number, a in enumerate(chosen):
            b = chosen[(number * 7 + 3) % len(chosen)]
            x, y = value(a), value(b)
            for to in (3, 1, 2):
                self.check(MUL, to, 1, 2, a, b, x * y)
                self.check(ADD, to, 1, 2, a, b, x + y)
                self.check(SUB, to, 1, 2, a, b, x - y)
                self.check(CARRY, to, 1, 0, a, b, x)
                self.check(SQR, to, 1, 1, a, b, x * x)
                self.check(MUL, to, 1, 1, a, b, x * x)
                self.check(SQR, to, 1, 5, a, b, pow(x, 32, P))

    def test_every_pair_of_extremes(self):
        if not RUNS_HERE:
            return
        for a in operands()[:30]:
            for b in operands()[:30]:
                self.check(MUL, 1, 1, 2, a, b, value(a) * value(b))

    def test_freeze(self):
        """The one form of a number, whatever limbs it came in."""
        if not RUNS_HERE:
            return
        cases = [limbs for limbs in operands() if all(-4101 <= limb <= 4100 for limb in limbs)]
        cases += [limbs_of(P + extra) for extra in range(-20, 20)] + [limbs_of(random_number()) for _ in range(50)]
        for limbs in cases:
            a, octets = bytearray(slot(limbs)), bytearray(32)
            scalar.freeze(a)
            scalar.join(octets, a)
            self.assertEqual(int.from_bytes(octets, "little"), value(limbs) % P, limbs)


class TestScalar(unittest.TestCase):
    def numbers(self):
        edges = [0, 1, 2, ORDER - 1, ORDER, ORDER + 1, 2 * ORDER - 1, 1 << 252, (1 << 252) - 1, (1 << 255) - 8]
        return edges + [(1 << 256) - 1] + [random_number() for _ in range(60)]

    def test_multiply_and_reduce(self):
        if not RUNS_HERE:
            return
        numbers = self.numbers()
        for at, x in enumerate(numbers):
            y, z = numbers[(at * 5 + 2) % len(numbers)], numbers[(at * 3 + 1) % len(numbers)]
            wide, octets = bytearray(160), bytearray(32)
            scalar.multiply(0, 0, wide, slot(limbs_of(x)), slot(limbs_of(y)), slot(limbs_of(z)))
            scalar.reduce(0, 0, wide, scalar.FOLD, scalar.ORDER)
            scalar.join(octets, wide)
            self.assertEqual(int.from_bytes(octets, "little"), (x * y + z) % ORDER, (x, y, z))

    def test_64_bytes(self):
        if not RUNS_HERE:
            return
        for number in [0, ORDER - 1, ORDER, (1 << 512) - 1] + [
            random_number() << 256 | random_number() for _ in range(60)
        ]:
            wide, octets = bytearray(160), bytearray(32)
            scalar.split(wide, number.to_bytes(64, "little"), 64, 40)
            scalar.reduce(0, 0, wide, scalar.FOLD, scalar.ORDER)
            scalar.join(octets, wide)
            self.assertEqual(int.from_bytes(octets, "little"), number % ORDER, number)


class TestLookup(unittest.TestCase):
    def entry(self, block, digit):
        """An entry as the table's description has it."""
        index = digit & 31 if digit & 32 else digit & 31 ^ 31
        start = 3072 * block
        words = [comb.TABLE[start + 128 * w + 4 * index : start + 128 * w + 4 * index + 4] for w in range(24)]
        numbers = [int.from_bytes(b"".join(words[8 * n : 8 * n + 8]), "little") for n in range(3)]
        return numbers if digit & 32 else [numbers[1], numbers[0], -numbers[2]]

    def test_every_entry(self):
        if not RUNS_HERE:
            return
        for block in range(4):
            for digit in range(64):
                public = digit & 1 ^ block & 1
                row = digit % 11
                number = 0
                for tooth in range(6):
                    number |= (digit >> tooth & 1) << row + 11 * (tooth + 6 * block)
                space = bytearray(80 * field.SLOTS)
                comb.lookup(0, comb.TABLE, space, number.to_bytes(33, "little"), row, block, public)
                found = [value(signed(space[at : at + 80])) for at in (320, 400, 480)]
                self.assertEqual(found, self.entry(block, digit), (block, digit))


class TestNothingElsewhere(unittest.TestCase):
    def test_only_where_viper_runs(self):
        self.assertEqual(ed25519.name() == ed25519.VIPER, RUNS_HERE)


if __name__ == "__main__":
    unittest.main()
