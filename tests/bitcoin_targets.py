"""Bitcoin targets of the tests: their key, what it holds, what they anchor."""

from typing import Any

from bitcoin_fakes import FakeCore
from earmark.anchor.bitcoin import BitcoinTarget
from earmark.anchor.target import Target
from earmark.evidence.bitcoin import REGTEST

KEY, OTHER_KEY = b"\x01" * 32, b"\x02" * 32
DIGEST = bytes(range(1, 33))
MUCH = 10**12
FUNDS = 100_000


def open_target(node: FakeCore, **terms: Any) -> BitcoinTarget:
    """A target on regtest with the tests' key."""
    return BitcoinTarget(node, REGTEST, KEY, **terms)


def script_of(target: BitcoinTarget) -> bytes:
    """What pays to a target's key."""
    return target._key.script


def sent(target: Target, digest: bytes = DIGEST) -> bytes:
    """A payload that is in the pool."""
    payload = target.sign(digest, MUCH).payload
    assert target.send(payload) == payload
    return payload
