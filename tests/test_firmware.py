"""The firmware's cases, each file under each interpreter, with the answers of other implementations to compare with."""

import contextlib
import hashlib
import json
import os
import random
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import cbor2
import pytest
from nacl.bindings import crypto_core_ed25519_add, crypto_scalarmult_ed25519_base_noclamp
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from earmark import beacon, cose, statement
from earmark.evidence import ChainBlock

HERE = Path(__file__).resolve().parent
CASES = HERE / "firmware"
FIRMWARE = HERE.parent / "firmware"
TIMEOUT_S = 300  # the longest takes 12 s alone: this ends what hangs, and judges nobody's speed

# What a file reads besides the generated cases: the variable that names it, and where it is in shared/.
VECTORS = {
    "test_wycheproof.py": ("EARMARK_WYCHEPROOF", "vectors/wycheproof/ed25519_test.json"),
    "test_cbor_appendix.py": ("EARMARK_CBOR", "vectors/cbor/appendix_a.json"),
}

ORDER = 2**252 + 27742317777372353535851937790883648493
PRIME = 2**255 - 19
# Encodings of points of order 1, 2, 4, 4 and 8, and of y that is not reduced.
TORSION = [
    (1).to_bytes(32, "little"),
    (PRIME - 1).to_bytes(32, "little"),
    bytes(32),
    bytes(31) + b"\x80",
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
]
UNREDUCED = [(PRIME + extra).to_bytes(32, "little") for extra in range(19)]


def row(kind: str, *fields: object) -> list[object]:
    return [kind, *(field.hex() if isinstance(field, bytes) else field for field in fields)]


def accepted(key: bytes, message: bytes, signature: bytes) -> bool:
    with contextlib.suppress(BadSignatureError):
        VerifyKey(key).verify(message, signature)
        return True
    return False


def judged(key: bytes, message: bytes, signature: bytes) -> list[object]:
    return row("verify", accepted(key, message, signature), key, message, signature)


SIGNATURES = 300


def signatures(dice: random.Random, count: int = SIGNATURES) -> Iterator[list[object]]:
    for number in range(count):
        seed, message = dice.randbytes(32), dice.randbytes(number % 2 * dice.randrange(300))
        signing = SigningKey(seed)
        key, signature = bytes(signing.verify_key), signing.sign(message).signature
        yield row("sign", seed, key, message, signature)
        if number % 10 == 0:
            yield judged(key, message, signature)
            yield judged(key, message, flipped(signature, dice))
            yield judged(key, message + b"x", signature)
            s = int.from_bytes(signature[32:], "little") + ORDER
            yield judged(key, message, signature[:32] + s.to_bytes(32, "little"))


def flipped(octets: bytes, dice: random.Random) -> bytes:
    bit = dice.randrange(8 * len(octets))
    return (int.from_bytes(octets, "little") ^ 1 << bit).to_bytes(len(octets), "little")


def strange_points(dice: random.Random) -> Iterator[list[object]]:
    """Keys and R with a part of small order, or of nothing else, signed by one who knows the rest."""
    secret, nonce = dice.randrange(ORDER), dice.randrange(ORDER)
    key, r = (crypto_scalarmult_ed25519_base_noclamp(n.to_bytes(32, "little")) for n in (secret, nonce))
    for of_key in TORSION:
        for of_r in TORSION:
            mixed_key, mixed_r = crypto_core_ed25519_add(key, of_key), crypto_core_ed25519_add(r, of_r)
            for number in range(2):
                message = b"%d" % number
                yield judged(mixed_key, message, mixed_r + scalar(secret, nonce, mixed_r, mixed_key, message))
    for strange in TORSION + UNREDUCED:
        yield judged(strange, b"m", r + scalar(0, nonce, r, strange, b"m"))
        yield judged(strange, b"m", strange + bytes(32))
        yield judged(key, b"m", strange + scalar(secret, 0, strange, key, b"m"))


def scalar(secret: int, nonce: int, r: bytes, key: bytes, message: bytes) -> bytes:
    h = int.from_bytes(hashlib.sha512(r + key + message).digest(), "little")
    return ((nonce + h * secret) % ORDER).to_bytes(32, "little")


def statements(dice: random.Random) -> Iterator[list[object]]:
    for number in range(1, 25):
        seed, sub = dice.randbytes(32), f"house-{number}"
        arguments = {
            "sub": sub,
            "seq": number**9,
            "prev": bytes(32) if number == 1 else dice.randbytes(32),
            "iat": 1_767_225_600 + number,
            "clock": (number % 4 + 1, number, number * 1000),
            "boot_count": number**6,
            "beacon": dice.randbytes(16) if number % 3 else None,
            "software": None,
            "method": None,
        }
        if number % 4:
            arguments["method"] = number % 3
            readings = [(f"s{n}", "Cel" if n % 2 else None, value(n, dice), n % 3) for n in range(number)]
            pack, body, payload = [f"{sub}/", 1_767_225_600, readings], None, records(sub, readings)
        else:
            arguments["software"] = "0.1.0"
            payload = {0: "boot", 1: "power", 2: "linux", 3: [["s1", "model", 1, "a house that nobody built"]]}
            pack, body = None, cbor2.dumps(payload, canonical=True)
        signed = gateway_sign(seed, arguments, payload)
        shown = {name: field.hex() if isinstance(field, bytes) else field for name, field in arguments.items()}
        yield row("statement", seed, shown, pack, body, signed)


def value(number: int, dice: random.Random) -> object:
    """A text, a bool, or a number as a list that holds its digits."""
    digits = str(dice.randrange(-(10**15), 10**15))
    decimal = f"{dice.randrange(-999, 999)}.{dice.randrange(100):02}"
    return [["12.90"], [digits], [decimal], "wet", number % 2 == 0, ["0.000"]][number % 6]


def records(sub: str, readings: list[tuple[str, str | None, object, int]]) -> list[dict[int, object]]:
    found: list[dict[int, object]] = []
    for name, unit, shown, time in readings:
        record: dict[int, object] = {0: name}
        if isinstance(shown, list):
            record[2] = Decimal(shown[0]) if "." in shown[0] else int(shown[0])
        else:
            record[4 if isinstance(shown, bool) else 3] = shown
        record |= {1: unit} if unit else {}
        record |= {6: time} if time else {}
        found.append(record)
    found[0] |= {-2: f"{sub}/", -3: 1_767_225_600}
    return found


def gateway_sign(seed: bytes, arguments: dict[str, object], payload: object) -> bytes:
    rest = {name: field for name, field in arguments.items() if name not in ("sub", "seq", "prev", "iat", "clock")}
    signer, clock = cose.Signer(seed), statement.Clock(*arguments["clock"])
    place = (signer, arguments["sub"], arguments["seq"], arguments["prev"], payload)
    signed = statement.sign(*place, issued_at_s=arguments["iat"], clock=clock, **rest)
    statement.decode(signed).verify()
    return signed


def acknowledgement() -> list[object]:
    signing, kid = SigningKey(b"g" * 32), b"node-kid"
    key = bytes(signing.verify_key)
    runs, refused, checkpoint = [[1, 4], [8, 2**40]], [[5, "Equivocation"], [7, "BrokenChain"]], b"checkpoint"
    header = {1: -8, 3: "application/vnd.earmark.ack+cbor", 4: cose.kid(key)}
    protected = cbor2.dumps(header, canonical=True)
    payload = cbor2.dumps([2, kid, runs, refused, checkpoint, 1_790_000_006_250])
    signature = signing.sign(cbor2.dumps(["Signature1", protected, b"", payload])).signature
    answer = cbor2.dumps(cbor2.CBORTag(18, [protected, {}, payload, signature]))
    return row("ack", answer, key, kid, runs, refused, checkpoint)


def beacons() -> Iterator[list[object]]:
    for count in range(1, 5):
        blocks = [ChainBlock(f"eip155:{n + 1}", n**20, bytes([n]) * 32, 1_767_225_600 + n) for n in range(count)]
        message = beacon.encode(blocks)
        yield row("beacon", message, beacon.nonce(message))


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated cases: one JSON array a line, the kind first, octets in hexadecimal."""
    dice = random.Random(20261123)
    rows = [*signatures(dice), *strange_points(dice), *statements(dice), acknowledgement(), *beacons()]
    rows += [row("sha512", message, hashlib.sha512(message).digest()) for message in map(dice.randbytes, range(301))]
    path = tmp_path_factory.mktemp("firmware") / "cases.jsonl"
    path.write_text("".join(json.dumps(fields) + "\n" for fields in rows))
    return path


@pytest.mark.timeout(TIMEOUT_S + 60)
@pytest.mark.parametrize("file", sorted(path.name for path in CASES.glob("test_*.py")))
def test_cases(file: str, interpreter: list[str], cases: Path, request: pytest.FixtureRequest) -> None:
    variables = {"EARMARK_CASES": str(cases), "EARMARK_SIGNATURES": str(SIGNATURES)}
    if file in VECTORS:
        variable, place = VECTORS[file]
        path = request.getfixturevalue("shared") / place
        if not path.exists():
            pytest.skip(f"no {path}: vectors are kept apart")
        variables[variable] = str(path)
    run_cases(file, interpreter, variables, TIMEOUT_S)


def run_cases(file: str, interpreter: list[str], variables: dict[str, str], timeout_s: float) -> None:
    """Run a file of cases under an interpreter; every case must pass, and there must be some."""
    environment = os.environ | {
        "PYTHONPATH": str(FIRMWARE),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MICROPYPATH": f".frozen:{FIRMWARE}",
    }
    run = subprocess.run(
        [*interpreter, str(CASES / file)],
        env=environment | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    last = run.stdout.strip().rpartition("\n")[2]
    assert run.returncode == 0, run.stdout
    assert last.endswith(" passed, 0 failed"), run.stdout
    assert not last.startswith("0 "), run.stdout


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_ten_thousand_signatures(interpreter: list[str], tmp_path: Path) -> None:
    """Random keys and messages against libsodium; `test_cases` has the first few hundred."""
    dice = random.Random(20261124)
    rows = [*signatures(dice, 10_000), *strange_points(dice)]
    path = tmp_path / "cases.jsonl"
    path.write_text("".join(json.dumps(fields) + "\n" for fields in rows))
    run_cases("test_ed25519.py", interpreter, {"EARMARK_CASES": str(path), "EARMARK_SIGNATURES": "10000"}, 1700)
