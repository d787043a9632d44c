"""The viper code that is checked in is what its generator prints, and the generator's proofs of it hold."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "firmware" / "generate"))

import digest
import field
import interpreters
import interval
import programs
import proof
import scalar
from bench import node
from interval import HIGHEST, Machine, Memory, Refused, Value, public

GENERATE = Path(proof.__file__).parent


def test_checked_in_as_printed(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-B", str(GENERATE), str(tmp_path)], check=True, timeout=60)
    printed = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert set(printed) == {path.name for path in GENERATE.parent.glob("viper_*.py")}
    for name, text in printed.items():
        assert (GENERATE.parent / name).read_text() == text, f"{name}: run python3 firmware/generate"


@pytest.mark.parametrize("program", list(programs.PROGRAMS))
def test_programs(program: str) -> None:
    proof.prove_program(program)


@pytest.mark.parametrize("prove", [proof.prove_lookup, proof.prove_scalars, proof.prove_digest])
def test_functions(prove) -> None:  # type: ignore[no-untyped-def]
    prove()


def test_every_program_is_proved() -> None:
    assert set(proof.STEPS) == set(programs.PROGRAMS)


def _run(source: str, **buffers: "Value | Memory") -> None:
    Machine(source).run("f", buffers)


ANY = Value(-(2**31), HIGHEST)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("x = a[0] + a[0]", "does not fit"),
        ("x = a[0] * 2", "does not fit"),
        ("x = 0 - a[0]", "does not fit"),
        ("x = a[0] << 1", "does not fit"),
        ("if a[0] > 0:\n        x = 1", "a secret decides"),
        ("while a[0]:\n        x = 1", "a secret decides"),
        ("x = a[a[1] & 1]", "a secret decides"),
        ("a[a[1] & 1] = 0", "a secret decides"),
        ("x = 1 << (a[1] & 1)", "a secret decides"),
        ("p = ptr32(int(a) + (a[1] & 4))", "a secret decides"),
        ("x = a[2]", "outside of a buffer"),
        ("x = a[0] // 2", "KeyError"),
        ("x = f(a)", "not known"),
        ("x = 1 if a[0] else 2", "not known"),
    ],
)
def test_the_interpreter_refuses(body: str, why: str) -> None:
    source = f"def f(a: ptr32):\n    {body}\n"
    expected = KeyError if why == "KeyError" else Refused
    with pytest.raises(expected) as caught:
        _run(source, a=Memory([ANY, ANY]))
    assert expected is KeyError or why in str(caught.value)


def test_intervals_hold_what_numbers_do() -> None:
    """Each operation over intervals contains the operation on every pair of their numbers."""
    ranges = [(-5, 3), (-8, -2), (0, 6), (2, 7), (-1, 0), (4, 4)]
    source = "def f(a: ptr32, b: ptr32, o: ptr32):\n    o[0] = a[0] {} b[0]\n"
    for op in ("+", "-", "*", "&", "|", "^"):
        for low, high in ranges:
            for least, most in ranges:
                found = Memory([public(0)])
                _run(source.format(op), a=Memory([Value(low, high)]), b=Memory([Value(least, most)]), o=found)
                for x in range(low, high + 1):
                    for y in range(least, most + 1):
                        exact = eval(f"{x} {op} {y}")  # noqa: S307 - a sum of two numbers from above
                        assert found.values[0].low <= exact <= found.values[0].high, (x, op, y)


@pytest.mark.parametrize(
    ("change", "program"),
    [
        ((f"* {field.FOLD}", f"* {16 * field.FOLD * field.FOLD}"), "DOUBLE"),
        (("F = ~F; ", ""), "DOUBLE"),
        (("acc >> 13", "acc >> 3"), "DOUBLE"),
    ],
)
def test_a_worse_generator_is_refused(change: tuple[str, str], program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, shown = field.module(), programs.PROGRAMS[program]
    assert change[0] in text + shown
    monkeypatch.setattr(field, "module", lambda: text.replace(*change))
    monkeypatch.setitem(programs.PROGRAMS, program, shown.replace(*change))
    with pytest.raises(Refused):
        proof.prove_program(program)


def test_the_machine_computes() -> None:
    """The interpreter itself, on public numbers: a product, modulo p."""
    a, b = 3**150, 7**80
    memory = proof.run_program("PREPARE", {"E": _limbs(a), "H": _limbs(b)} | dict.fromkeys("XYZR", _limbs(0)))
    at = programs.SLOTS["T"] * field.LIMBS
    product = sum(value.known << field.BITS * k for k, value in enumerate(memory.values[at : at + field.LIMBS]))
    assert product % (2**255 - 19) == a * b % (2**255 - 19)


def _limbs(number: int) -> list[Value]:
    return [public(number >> field.BITS * k & field.BASE - 1) for k in range(field.LIMBS)]


def test_no_forms_beyond_those_that_are_proved() -> None:
    """What is printed has no decorators, imports or names beyond the interpreter's own forms."""
    for text in (field.module(), scalar.module(), digest.module()):
        assert set(re.findall(r"^@.*$|^import .*$|^from .*$", text, re.MULTILINE)) == {
            "import micropython",
            "@micropython.viper",
        }
        assert set(interval.parse(text)) == set(re.findall(r"^def (\w+)", text, re.MULTILINE))


def test_it_compiles_for_every_board_and_fits() -> None:
    """The code and its table, 48 KB at most: ARMv6-M has the fewest instructions, Xtensa the longest code."""
    found = node.sizes()
    assert set(found) == {f"{name}_bytes" for name in node.ARCHITECTURES}
    assert max(found.values()) <= 48 * 1024, found


def test_a_signature_takes_little_memory_and_a_fifth_of_the_time() -> None:
    """Of 300 bytes, in one run of the 32-bit interpreter; the report of `make bench` has the figures."""
    try:
        interpreters.command("micropython-32")
    except interpreters.MissingInterpreter as missing:
        if interpreters.required():
            raise
        pytest.skip(str(missing))
    fast, slow = (node.run(*node.MEASURED[name], 5) for name in ("viper", "portable"))
    assert fast["sign_heap_bytes"] <= 10 * 1024
    assert fast["sign_ms"] * 5 <= slow["sign_ms"]
