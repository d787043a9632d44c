"""Fixtures of the EVM anchors' tests: a development chain, a target on it, an endpoint that lies."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from earmark.anchor.devchain import DEVELOPMENT_CHAIN, DEVELOPMENT_KEY, DevChain
from earmark.anchor.evm import EvmTarget
from evm_fakes import DIGEST, Clock, Liar, push, sign, spend


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[DevChain]:
    with contextlib.closing(DevChain(tmp_path / "chain", Clock())) as opened:
        yield opened


@pytest.fixture
def target(chain: DevChain) -> EvmTarget:
    return EvmTarget(chain, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY)


@pytest.fixture
def liar(chain: DevChain) -> Liar:
    return Liar(chain)


@pytest.fixture
def mined(chain: DevChain, target: EvmTarget) -> bytes:
    """A payload in a block of three transactions, its own in the middle."""
    push(chain, spend(chain, gasPrice=3 * 10**9))
    ahead = Liar(chain)
    ahead.changes["eth_getTransactionCount"] = lambda _: "0x1"  # the first is as good as mined
    payload = sign(EvmTarget(ahead, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY), DIGEST)
    target.send(payload)
    push(chain, spend(chain, nonce=2))
    chain.mine()
    return payload
