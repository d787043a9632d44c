"""Mutation of text by its words, for targets whose input is JSON or TOML: bytes alone rarely stay well-formed."""

import random
import re

WORD = re.compile(rb'"(?:[^"\\]|\\.)*"|\'[^\']*\'|[\w.+-]+|\[\[|\]\]|[\[\]{},:=\n]')
ODD = (
    *(
        b'""',
        b'"0x"',
        b'"0xg"',
        b'"0x' + b"f" * 64 + b'"',
        b'"0x' + b"1" * 65 + b'"',
        b'"0X1"',
        b'"-0x1"',
        b'"\\u0000"',
    ),
    *(b"0", b"-1", b"1e400", b"-0.0", b"nan", b"inf", b"9" * 20, b"9" * 400, b"9" * 5000, b"0x" + b"f" * 4000, b"1.5"),
    *(
        b"null",
        b"true",
        b"false",
        b"[]",
        b"{}",
        b"[[[]]]",
        b"[" * 2000,
        b'{"a":' * 1500,
        b"1979-05-27",
        b"'x'",
        b"\xff",
    ),
)


def words(octets: bytes, chance: random.Random) -> bytes:
    """Replace, repeat, swap or drop a word of a text, the new one odd or taken from the text itself."""
    found = list(WORD.finditer(octets))
    if not found:
        return octets + chance.choice(ODD)
    start, end = chance.choice(found).span()
    new = chance.choice(ODD) if chance.random() < 0.4 else chance.choice(found).group()
    kind = chance.randrange(4)
    if kind == 0:
        new = octets[start:end] + new
    elif kind == 1:
        new = b""
    return octets[:start] + new + octets[end:]
