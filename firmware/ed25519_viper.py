"""Ed25519 (RFC 8032) and SHA-512 by the viper modules that firmware/generate prints; 32-bit MicroPython only.

Whatever a seed or nonce goes through is the same sequence of machine instructions and addresses for every seed of
one length of message: programs of the field machine, the comb's lookup and the scalars' loops decide nothing by a
secret, and this module only hands buffers from one to the next.  Verification takes no secret, and its time depends
on what it is given.
"""

import uctypes

import viper_comb as comb
import viper_field as field
import viper_scalar as scalar
import viper_sha512 as sha

_ORDER = (1 << 252) + 27742317777372353535851937790883648493
_P = (1 << 255) - 19
_SIZE = 32
_SLOT = 80
_X, _Y, _Z, _N = 0, 80, 160, 320
_A, _B, _I, _R, _S = 640, 720, 1200, 1440, 1520
_ONE = b"\x01" + bytes(79)
_HALF_SIZE = 1 << 128
_DIGITS_SIZE = 33  # bytes: numbers below 2^257
# 0 to 4 doublings.  Made beforehand: where memory is in pieces an allocation costs as much as an addition.
_DOUBLINGS = tuple([field.DOUBLE[:-1] * times + b"\x00" for times in range(5)])
# y of the points of order 1, 2, 4 and 8: none else has one of these.
_SMALL_ORDER = (
    b"\x01" + bytes(31),
    (_P - 1).to_bytes(32, "little"),
    bytes(32),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
)


def _aligned(words):
    """The bytes at an address that words can be read from, where flash memory or a file image holds them elsewhere."""
    return words if uctypes.addressof(words) % 4 == 0 else bytearray(words)


_TABLE = _aligned(comb.TABLE)
_HALF, _OFFSET = _aligned(comb.HALF), _aligned(comb.OFFSET)
_FOLD, _L = _aligned(scalar.FOLD), _aligned(scalar.ORDER)
_ROUND = _aligned(sha.ROUND)
_ZERO = bytes(_SLOT)
_SPACE = bytearray(field.SLOTS * _SLOT)  # made once: where memory is in pieces there may be no room for it later
_known = b"", []


def sha512(*parts):
    """Return the 64-byte digest of the parts one after the other."""
    state, words = bytearray(sha.INITIAL), bytearray(640)
    left, size = b"", 0
    for part in parts:
        size += len(part)
        left = _absorb(state, words, left, part)
    _absorb(state, words, left, b"\x80" + bytes(-(size + 17) % 128) + (8 * size).to_bytes(16, "big"))
    digest = bytearray(64)
    for at in range(64):
        digest[at] = state[at ^ 3]
    return bytes(digest)


def _absorb(state, words, left, part):
    """Take all whole blocks of `left` and `part`; returns what remains."""
    at = 0
    if left:
        at = min(128 - len(left), len(part))
        left = left + part[:at]
        if len(left) < 128:
            return left
        sha.compress(0, 0, state, left, words, _ROUND)
    view = memoryview(part)
    while at + 128 <= len(part):
        sha.compress(0, 0, state, view[at : at + 128], words, _ROUND)
        at += 128
    return bytes(view[at:])


def public_key(seed):
    """Return the 32-byte public key of a 32-byte seed."""
    return _base_multiple(_secret(seed)[0])


def sign(seed, key, message):
    """Return the 64-byte signature of a message; `key` must be the public key of `seed`."""
    secret, prefix = _secret(seed)
    nonce = _hash(prefix, message)
    point = _base_multiple(nonce)
    return point + _octets(_multiply(_hash(point, key, message), secret, nonce))


def _secret(seed):
    """(clamped scalar as limbs, prefix of the nonce) of a seed (RFC 8032 §5.1.5)."""
    if len(seed) != _SIZE:
        raise ValueError("Ed25519: a seed has 32 bytes")
    digest = bytearray(sha512(seed))
    digest[0] &= 248
    digest[31] = digest[31] & 63 | 64
    limbs = bytearray(_SLOT)
    scalar.split(limbs, digest, _SIZE, 20)
    return limbs, bytes(digest[_SIZE:])


def _hash(*parts):
    """SHA-512 of the parts, modulo L, as limbs."""
    wide = bytearray(2 * _SLOT)
    scalar.split(wide, sha512(*parts), 64, 40)
    scalar.reduce(0, 0, wide, _FOLD, _L)
    return wide


def _multiply(a, b, c):
    """a * b + c modulo L, as limbs."""
    wide = bytearray(2 * _SLOT)
    scalar.multiply(0, 0, wide, a, b, c)
    scalar.reduce(0, 0, wide, _FOLD, _L)
    return wide


def _octets(limbs):
    octets = bytearray(_SIZE)
    scalar.join(octets, limbs)
    return bytes(octets)


def _comb_bits(limbs):
    """The comb's form of a scalar, 33 bytes: with c = (scalar + 2^264 - 1) / 2 it is the sum of (2 * bit of c - 1)."""
    return _octets(_multiply(limbs, _HALF, _OFFSET)) + b"\x00"


def _space():
    """The field machine's memory, which there is once, with the neutral element in it."""
    for slot in range(0, len(_SPACE), _SLOT):
        _set(_SPACE, slot, _ZERO)
    _SPACE[_Y] = _SPACE[_Z] = 1
    return _SPACE


def _add_row(space, bits, row, public):
    for block in range(4):
        comb.lookup(0, _TABLE, space, bits, row, block, public)
        field.run(0, 0, space, field.ADD_ENTRY)


def _base_multiple(limbs):
    """The encoding of a multiple of the base point."""
    space, bits = _space(), _comb_bits(limbs)
    _add_row(space, bits, 10, 0)
    for row in range(9, -1, -1):
        field.run(0, 0, space, field.DOUBLE)
        _add_row(space, bits, row, 0)
    field.run(0, 0, space, field.AFFINE)
    encoded, x = bytearray(_frozen(space, _Y)), _frozen(space, _X)
    encoded[31] |= (x[0] & 1) << 7
    return bytes(encoded)


def _frozen(space, slot):
    """The number in a slot, 32 bytes, 0 … p - 1."""
    limbs = space[slot : slot + _SLOT]
    scalar.freeze(limbs)
    return _octets(limbs)


def verify(key, message, signature):
    """Raise ValueError unless this is the key's signature of the message, as libsodium judges it.

    Refused are S >= L, encodings of key or R that are not canonical or no point, a key or R of small order, and all
    else where S*B - h*A is not R.  That is asked in half the doublings: with u = v*h modulo 8L, both of half its size,
    v*S*B - u*A - v*R is the neutral element.  The group has 8L elements, so u*A is v*h*A whatever the order of A; and
    v is odd and no multiple of L, so that only the neutral element times v is neutral.  No cofactor is lost.
    """
    if len(key) != _SIZE or len(signature) != 2 * _SIZE:
        raise ValueError("Ed25519: a key has 32 bytes, a signature 64")
    r, s = signature[:_SIZE], signature[_SIZE:]
    if int.from_bytes(s, "little") >= _ORDER:
        raise ValueError("Ed25519: the signature's S is not reduced")
    space = _space()
    of_key = _multiples_of_key(space, key)
    of_r = _multiples(space, r)
    u, v = _halves(int.from_bytes(_octets(_hash(r, key, message)), "little"))
    limbs = [bytearray(_SLOT), bytearray(_SLOT)]
    for each, number in zip(limbs, (s, (v % _ORDER).to_bytes(_SIZE, "little"))):
        scalar.split(each, number, _SIZE, 20)
    bits = _comb_bits(_multiply(limbs[0], limbs[1], bytes(_SLOT)))
    _sum(space, bits, ((u, of_key), (v, of_r)))
    field.run(0, 0, space, field.DIFFERENCE)
    if any(_frozen(space, _X)) or any(_frozen(space, _A)):
        raise ValueError("Ed25519: the signature does not verify")


def _halves(h):
    """(u, v) with u = v*h modulo 8L, v odd and each of about 128 bits, by Euclid's algorithm cut short."""
    u, v, before_u, before_v = h, 1, 8 * _ORDER, 0
    while u >= _HALF_SIZE or not v & 1:
        quotient = before_u // u
        u, before_u = before_u - quotient * u, u
        v, before_v = before_v - quotient * v, v
    return u, v


def _digits(number):
    """Signed odd digits of 4 bits with 0 between them, lowest first, each but 0 made 8 larger."""
    found = bytearray(8 * _DIGITS_SIZE)
    scalar.digits(found, number.to_bytes(_DIGITS_SIZE, "little"), _DIGITS_SIZE)
    return found


def _sum(space, bits, terms):
    """Leave in the space the comb's multiple of the base point less the two terms' (number, table) multiples."""
    _space()
    rows = [(_digits(abs(number)), number < 0, table) for number, table in terms]
    first, second = rows[0][0], rows[1][0]
    top = max(11, *[len(bytes(digits).rstrip(b"\x00")) for digits, _, _ in rows])
    doublings = 0
    for at in range(top - 1, -1, -1):
        doublings += 1
        if doublings < 4 and at > 10 and not first[at] and not second[at]:
            continue
        field.run(0, 0, space, _DOUBLINGS[doublings])
        doublings = 0
        for digits, negative, table in rows:
            digit = digits[at] - 8
            if digit != -8:
                _set(space, _N, table[abs(digit) >> 1])
                field.run(0, 0, space, field.ADD if (digit < 0) != negative else field.SUBTRACT)
        if at < 11:
            _add_row(space, bits, at, 1)


def _multiples_of_key(space, key):
    """`_multiples`, kept for the next time: a node verifies its gateway's acknowledgements and nothing else."""
    global _known
    if _known[0] != key:
        _known = bytes(key), _multiples(space, key)
    return _known[1]


def _multiples(space, encoded):
    """P, 3P, 5P and 7P as entries, of the point with this encoding.  Raises ValueError where `_decode` does."""
    _decode(space, encoded)
    field.run(0, 0, space, field.PREPARE)
    found = [space[_N:_A]]
    field.run(0, 0, space, field.DOUBLE)
    field.run(0, 0, space, field.PREPARE)
    twice = space[_N:_A]
    for added in (found[0], twice, twice):
        _set(space, _N, added)
        field.run(0, 0, space, field.ADD)
        field.run(0, 0, space, field.PREPARE)
        found.append(space[_N:_A])
    return found


def _decode(space, encoded):
    """Put the point of 32 bytes into the space (RFC 8032 §5.1.3).

    Raises ValueError if y is not reduced, no point has it, or the point is of small order.
    """
    y = bytearray(encoded)
    sign = y[31] >> 7
    y[31] &= 127
    if int.from_bytes(y, "little") >= _P:
        raise ValueError("Ed25519: a point whose y is not reduced")
    if bytes(y) in _SMALL_ORDER:
        raise ValueError("Ed25519: a point of small order")
    scalar.split(memoryview(space)[_Y:_Z], y, _SIZE, 20)
    _set(space, _Z, _ONE)
    _set(space, _R, field.D)
    _set(space, _S, field.ROOT_OF_MINUS_1)
    field.run(0, 0, space, field.ROOT)
    if any(_frozen(space, _A)):
        if any(_frozen(space, _B)):
            raise ValueError("Ed25519: bytes that are no point of the curve")
        _set(space, _X, space[_I : _I + _SLOT])
    if _frozen(space, _X)[0] & 1 != sign:
        field.run(0, 0, space, field.NEGATE)
    field.run(0, 0, space, field.REST)


def _set(space, slot, content):
    space[slot : slot + len(content)] = content
