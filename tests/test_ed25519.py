"""Two verifiers, one verdict: what dryoc accepts and refuses is what libsodium does, input by input."""

import itertools
import json
import math
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import crafted
from crafted import CHOICES, MOST_WRAPS, ORDER, SCALARS, TORSION, Crafted, P, chosen, craft, encodings, flipped, octets
from earmark import cose
from earmark.errors import BadSignature

SEED = 20261124
INPUTS = 6000
MESSAGES = [count.to_bytes(2, "big") for count in range(64)]
LENGTHS = (0, 1, 31, 32, 33, 63, 64, 65, 96, 128)

needs_dryoc = pytest.mark.skipif(not cose.has_dryoc, reason="dryoc has no wheel for this machine")


def verdict(key: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether both accept a signature; fails where only one of them does."""
    is_good = cose.accepts_libsodium(key, message, signature)
    assert cose.accepts_dryoc(key, message, signature) is is_good, (
        f"libsodium says {is_good}, dryoc does not: {key.hex()} {message.hex()} {signature.hex()}"
    )
    return is_good


def agree(made: Crafted) -> bool:
    """Return the verdict of both on what was crafted; fails where it is not the one that it must get."""
    is_good = verdict(made.key, made.message, made.signature)
    assert is_good is made.is_good, made
    return is_good


def test_the_crafted_equation_holds_where_it_is_said_to() -> None:
    """Eight times it, it always holds: what is crafted shows a verifier that multiplies the cofactor away."""
    assert len(set(TORSION)) == 8
    assert crafted.multiply(8, TORSION[1]) == crafted.multiply(ORDER, crafted.BASE) == (0, 1)
    verdicts = []
    for i, j in ((0, 0), (0, 4), (1, 0), (7, 1), (2, 6)):
        made = craft(b"\2", (3, i), (5, j))
        h = crafted.challenge(made.signature[:32], made.key, made.message)
        left = crafted.multiply(int.from_bytes(made.signature[32:], "little"), crafted.BASE)
        right = crafted.add(crafted.point(5, j), crafted.multiply(h, crafted.point(3, i)))
        assert (left == right) is made.is_good
        assert crafted.multiply(8, left) == crafted.multiply(8, right)
        verdicts.append(made.is_good)
    assert verdicts == [True, False, False, True, True]


@needs_dryoc
def test_public_signatures(shared: Path) -> None:
    groups = json.loads((shared / "vectors/wycheproof/ed25519_test.json").read_text())["testGroups"]
    counts = Counter[str]()
    for group in groups:
        key = bytes.fromhex(group["publicKey"]["pk"])
        for case in group["tests"]:
            counts[case["result"]] += 1
            is_good = verdict(key, bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]))
            assert is_good is (case["result"] == "valid"), case["tcId"]
    assert counts == {"valid": 88, "invalid": 63}


@needs_dryoc
@pytest.mark.parametrize("size", [0, 1, 63, 64, 111, 112, 127, 128, 430, 1 << 20])
def test_honest_signatures(size: int) -> None:
    chance = random.Random(size)
    for _ in range(4):
        signer, message = cose.Signer(chance.randbytes(32)), chance.randbytes(size)
        assert verdict(signer.key, message, signer.sign(message))
        assert not verdict(signer.key, message + b"\0", signer.sign(message))


@needs_dryoc
@pytest.mark.parametrize("key", [(3, 0), (3, 8 - 2)], ids=["main", "mixed"])
def test_every_bit(key: tuple[int, int]) -> None:
    made = next(made for message in MESSAGES if (made := craft(message, key)).is_good)
    assert agree(made)
    for bit in range(8 * (32 + 64 + len(made.message))):
        assert not agree(flipped(made, bit))


@needs_dryoc
@pytest.mark.parametrize("i", range(8))
def test_torsion_in_key_and_r(i: int) -> None:
    """A key and an R with parts of small order are accepted where these cancel, by chance of h, and only there."""
    for j in range(8):
        verdicts = {agree(craft(message, (a, i), (5, j))) for message in MESSAGES for a in (3, ORDER - 2)}
        assert (True in verdicts) is (j % math.gcd(i, 8) == 0)
        assert (False in verdicts) is (i > 0 or j > 0)


@needs_dryoc
@pytest.mark.parametrize("wraps", range(1, MOST_WRAPS + 1))
def test_s_that_is_not_reduced(wraps: int) -> None:
    for a, r in itertools.product(SCALARS[1:], repeat=2):
        assert agree(craft(b"", (a, 0), (r, 0)))
        assert not agree(craft(b"", (a, 0), (r, 0), wraps=wraps))


def small() -> list[tuple[tuple[int, int], int]]:
    """Every encoding of a point of small order, as a point's factors and the number of the form."""
    return [((0, i), form) for i in range(8) for form in range(len(encodings(TORSION[i])))]


@needs_dryoc
def test_keys_of_small_order_in_every_encoding() -> None:
    assert len(small()) == 14
    for (key, form), j in itertools.product(small(), range(8)):
        for message in MESSAGES[:16]:
            assert not agree(craft(message, key, (5, j), key_form=form))


@needs_dryoc
def test_r_of_small_order_in_every_encoding() -> None:
    for (r, form), i in itertools.product(small(), range(8)):
        for message in MESSAGES[:16]:
            assert not agree(craft(message, (3, i), r, r_form=form))


@needs_dryoc
def test_key_and_r_of_small_order_in_every_encoding() -> None:
    for (key, key_form), (r, r_form) in itertools.product(small(), repeat=2):
        for message in MESSAGES[:8]:
            assert not agree(craft(message, key, r, key_form=key_form, r_form=r_form))


@needs_dryoc
@pytest.mark.parametrize("y", range(19))
def test_y_below_19_and_its_other_encoding(y: int) -> None:
    made = craft(b"")
    for form, sign in itertools.product((y, y + P), (0, 1)):
        odd = octets(form, sign)
        assert not verdict(odd, b"", made.signature)
        assert not verdict(made.key, b"", odd + made.signature[32:])
        assert not verdict(odd, b"", odd + bytes(32))


@needs_dryoc
def test_parts_that_are_all_zeros_or_ones_or_the_order() -> None:
    made = craft(b"")
    odd = [bytes(32), b"\xff" * 32, b"\1" + bytes(31), octets(P, 0), octets(ORDER, 0), octets(ORDER - 1, 0)]
    honest = made.key, made.signature[:32], made.signature[32:]
    for key, r, s in itertools.product(*([part, *odd] for part in honest)):
        assert verdict(key, b"", r + s) is ((key, r, s) == honest)


@needs_dryoc
def test_other_lengths() -> None:
    made = craft(bytes(range(64)))
    for size, signature_size in itertools.product(LENGTHS, repeat=2):
        for filler in (bytes(128), made.message * 2):
            key, signature = (made.key + filler)[:size], (made.signature + filler)[:signature_size]
            assert verdict(key, made.message, signature) is (size == 32 and signature_size == 64)


@needs_dryoc
@pytest.mark.parametrize("seed", [SEED])
def test_what_chance_chooses(seed: int) -> None:
    chance = random.Random(seed)
    verdicts = Counter(agree(chosen(chance.randbytes(CHOICES + chance.randrange(12)))) for _ in range(INPUTS))
    assert min(verdicts.values()) > INPUTS // 20


@needs_dryoc
@pytest.mark.parametrize("seed", [SEED])
def test_parts_of_different_signatures(seed: int) -> None:
    chance = random.Random(seed)
    made = [craft(message, (a, i)) for message in MESSAGES[:2] for a in SCALARS[1:] for i in range(0, 8, 2)]
    for _ in range(INPUTS // 2):
        a, b, c, d = (chance.choice(made) for _ in range(4))
        verdict(a.key, b.message, c.signature[:32] + d.signature[32:])
        verdict(chance.randbytes(32), b.message, chance.choice((c.signature, chance.randbytes(64))))


CASES = [
    *(craft(message, (3, i), (5, j)) for message in MESSAGES[:4] for i in (0, 2) for j in (0, 2)),
    *(craft(b"", (0, 0)), craft(b"", r=(0, 0)), craft(b"", wraps=1), craft(b"", (0, 0), key_form=1)),
    *(flipped(craft(b"message"), 8 * at) for at in (0, 32, 64, 96)),
]


def judged(made: Crafted) -> bool:
    try:
        cose.verify(made.key, made.message, made.signature)
    except BadSignature:
        return False
    return True


def refuse(key: bytes, message: bytes, signature: bytes) -> bool:
    return False


def fail(key: bytes, message: bytes, signature: bytes) -> bool:
    pytest.fail("was asked")


@pytest.mark.parametrize(
    ("has_dryoc", "accepts"),
    [(cose.has_dryoc, cose.accepts_dryoc), (False, fail), (True, refuse)],
    ids=["as it is", "without dryoc", "dryoc refuses"],
)
def test_verify_judges_as_libsodium(
    monkeypatch: pytest.MonkeyPatch, has_dryoc: bool, accepts: Callable[[bytes, bytes, bytes], bool]
) -> None:
    monkeypatch.setattr(cose, "has_dryoc", has_dryoc)
    monkeypatch.setattr(cose, "accepts_dryoc", accepts)
    assert {made.is_good for made in CASES} == {True, False}
    assert [judged(made) for made in CASES] == [made.is_good for made in CASES]


@needs_dryoc
def test_what_dryoc_accepts_libsodium_is_not_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cose, "accepts_libsodium", fail)
    assert judged(craft(b"message"))
