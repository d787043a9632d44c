"""Run printed viper code over intervals in place of numbers: what this accepts holds for every secret at once.

A value is either public, one known number, or secret, anything from `low` to `high`.  The interpreter knows the few
forms that the generators print.  It refuses whatever would let a secret show or a sum go wrong:

- a branch or a loop whose condition is secret,
- an index, a shift distance or an address that is secret,
- a signed sum, difference, product or left shift that could leave 32 bits.

`uint` arithmetic is modulo 2^32 on purpose, and stays so here.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field

LOWEST, HIGHEST = -(2**31), 2**31 - 1


class Refused(Exception):
    """The code does something that the module's text forbids; says what, and in which line."""


@dataclass(frozen=True, slots=True)
class Value:
    """Anything from `low` to `high`; `secret` even where it can only be one number."""

    low: int
    high: int
    secret: bool = True
    unsigned: bool = False

    def __post_init__(self) -> None:
        least, most = (0, 2**32 - 1) if self.unsigned else (LOWEST, HIGHEST)
        if not least <= self.low <= self.high <= most:
            raise Refused(f"from {self.low} to {self.high} does not fit 32 bits")

    @property
    def known(self) -> int:
        """The number of a public value."""
        if self.secret:
            raise Refused("a secret decides where the program goes or which memory it touches")
        return self.low


@dataclass(slots=True)
class Memory:
    """A buffer: one value a word, or a byte, as its pointers say."""

    values: list[Value]
    width: int = 4
    written: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Address:
    """A place inside a buffer, in bytes; `width` is that of the pointer, 0 for a plain number."""

    memory: Memory
    at: int
    width: int = 0


def public(number: int) -> Value:
    """A number that everybody may know."""
    return Value(number, number, secret=False)


def parse(source: str) -> dict[str, ast.FunctionDef]:
    """The functions of a module by name."""
    return {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}


class Machine:
    """Runs functions of one module."""

    def __init__(self, source: str) -> None:
        self._functions = parse(source)
        self._names: dict[str, Value | Address] = {}
        self._line = 0

    def run(self, name: str, arguments: Mapping[str, "Value | Memory"]) -> None:
        """Run one function; what it writes is in the buffers afterwards.  Raises `Refused`."""
        function = self._functions[name]
        given = {argument.arg: argument.annotation for argument in function.args.args}
        self._names = {}
        for key, annotation in given.items():
            value = arguments[key]
            kind = annotation.id if isinstance(annotation, ast.Name) else ""
            self._names[key] = value if isinstance(value, Value) else Address(value, 0, _WIDTHS[kind])
        try:
            self._block(function.body)
        except Refused as refused:
            raise Refused(f"{name}, line {self._line}: {refused}") from refused

    def _block(self, body: list[ast.stmt]) -> None:
        for statement in body:
            self._line = statement.lineno
            self._statement(statement)

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=[target], value=value):
                self._store(target, self._value(value))
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                self._names[name] = self._combine(op, self._names[name], self._value(value))
            case ast.While(test=test, body=body, orelse=[]):
                while self._holds(test):
                    self._block(body)
            case ast.If(test=test, body=body, orelse=other):
                self._block(body if self._holds(test) else other)
            case ast.Expr(value=ast.Constant()):
                pass
            case _:
                raise Refused(f"a form that is not known: {ast.unparse(node)}")

    def _holds(self, test: ast.expr) -> bool:
        match test:
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                first, second = self._number(left).known, self._number(right).known
                return _COMPARE[type(op)](first, second)
            case _:
                return self._number(test).known != 0

    def _store(self, target: ast.expr, value: "Value | Address") -> None:
        match target:
            case ast.Name(id=name):
                self._names[name] = value
            case ast.Subscript(value=base, slice=index):
                memory, place = self._place(base, index)
                if not isinstance(value, Value):
                    raise Refused("an address is stored")
                memory.values[place] = _kept(value, memory.width)
                memory.written.add(place)
            case _:
                raise Refused(f"a target that is not known: {ast.unparse(target)}")

    def _place(self, base: ast.expr, index: ast.expr) -> tuple[Memory, int]:
        address = self._value(base)
        if not isinstance(address, Address) or address.width != address.memory.width:
            raise Refused(f"{ast.unparse(base)} is no pointer to this buffer's elements")
        at = address.at + address.width * self._number(index).known
        place, odd = divmod(at, address.width)
        if odd or not 0 <= place < len(address.memory.values):
            raise Refused(f"index {place} is outside of a buffer of {len(address.memory.values)}")
        return address.memory, place

    def _number(self, node: ast.expr) -> Value:
        value = self._value(node)
        if isinstance(value, Address):
            raise Refused("an address where a number is needed")
        return value

    def _value(self, node: ast.expr) -> "Value | Address":
        match node:
            case ast.Constant(value=int(number)):
                return public(number)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(number))):
                return public(-number)
            case ast.Name(id=name):
                return self._names[name]
            case ast.Subscript(value=base, slice=index):
                memory, place = self._place(base, index)
                return memory.values[place]
            case ast.BinOp(left=left, op=op, right=right):
                return self._combine(op, self._value(left), self._value(right))
            case ast.Call(func=ast.Name(id="int" | "uint" | "ptr8" | "ptr16" | "ptr32" as kind), args=[argument]):
                return self._cast(kind, self._value(argument))
            case _:
                raise Refused(f"an expression that is not known: {ast.unparse(node)}")

    def _cast(self, kind: str, value: "Value | Address") -> "Value | Address":
        if isinstance(value, Address):
            return Address(value.memory, value.at, _WIDTHS.get(kind, 0))
        if kind == "uint" and not value.unsigned:
            return _wrapped(value.low, value.high, value.secret)
        if kind == "int" and value.unsigned:
            fits = value.high <= HIGHEST
            return Value(value.low if fits else LOWEST, value.high if fits else HIGHEST, value.secret)
        return value

    def _combine(self, op: ast.operator, a: "Value | Address", b: "Value | Address") -> "Value | Address":
        if isinstance(a, Address) and isinstance(b, Value) and isinstance(op, ast.Add):
            return Address(a.memory, a.at + b.known)
        if isinstance(a, Address) or isinstance(b, Address):
            raise Refused("arithmetic with an address")
        low, high = _RANGES[type(op)](a, b)
        secret = a.secret or b.secret
        if a.unsigned:
            return _wrapped(low, high, secret)
        return Value(low, high, secret)


def _wrapped(low: int, high: int, secret: bool) -> Value:
    if low == high:
        return Value(low % 2**32, low % 2**32, secret, unsigned=True)
    fits = low >= 0 and high < 2**32
    return Value(low if fits else 0, high if fits else 2**32 - 1, secret, unsigned=True)


def _kept(value: Value, width: int) -> Value:
    """What a load gives of a value that was stored: the low byte, or the word as a signed one."""
    if width == 1:
        fits = value.low >= 0 and value.high < 256
        return value if fits else Value(0, 255, value.secret)
    if value.unsigned and value.high > HIGHEST:
        return Value(LOWEST, HIGHEST, value.secret)
    return Value(value.low, value.high, value.secret)


def _product(a: Value, b: Value) -> tuple[int, int]:
    corners = [x * y for x in (a.low, a.high) for y in (b.low, b.high)]
    return min(corners), max(corners)


def _left(a: Value, b: Value) -> tuple[int, int]:
    return a.low << b.known, a.high << b.known


def _right(a: Value, b: Value) -> tuple[int, int]:
    if not 0 <= b.known < 32:
        raise Refused(f"a shift by {b.known}")
    return a.low >> b.known, a.high >> b.known


def _bits(value: Value) -> int:
    """The bits that a value needs in two's complement, its sign left aside."""
    return max(value.low.bit_length() if value.low >= 0 else (~value.low).bit_length(),
               value.high.bit_length() if value.high >= 0 else (~value.high).bit_length())  # fmt: skip


def _and(a: Value, b: Value) -> tuple[int, int]:
    if not a.secret and not b.secret:
        return a.low & b.low, a.low & b.low
    if a.low >= 0 or b.low >= 0:
        return 0, min(value.high for value in (a, b) if value.low >= 0)
    return -1 << max(_bits(a), _bits(b)), max(a.high, b.high)


def _or(a: Value, b: Value) -> tuple[int, int]:
    if not a.secret and not b.secret:
        return a.low | b.low, a.low | b.low
    most = 1 << max(_bits(a), _bits(b))
    return (0 if a.low >= 0 and b.low >= 0 else -most), most - 1


def _xor(a: Value, b: Value) -> tuple[int, int]:
    if not a.secret and not b.secret:
        return a.low ^ b.low, a.low ^ b.low
    return _or(a, b)


_RANGES = {
    ast.Add: lambda a, b: (a.low + b.low, a.high + b.high),
    ast.Sub: lambda a, b: (a.low - b.high, a.high - b.low),
    ast.Mult: _product,
    ast.LShift: _left,
    ast.RShift: _right,
    ast.BitAnd: _and,
    ast.BitOr: _or,
    ast.BitXor: _xor,
}
_COMPARE = {
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
}
_WIDTHS = {"ptr8": 1, "ptr16": 2, "ptr32": 4}
