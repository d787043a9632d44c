"""Fixtures of the tests on real chain nodes, and the stock OpenTimestamps client."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chain_nodes import SEGWIT, AnvilNode, BcoinNode, anvil, bcoin, installed


@pytest.fixture(scope="module")
def bcoin_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BcoinNode]:
    """A Bitcoin node with segwit, the same for all tests of a file.

    They spend from addresses of their own, mine what is in the pool before they end, and reorganise nothing; a test
    that does takes a `fresh_bcoin_node`.
    """
    with installed(), bcoin(tmp_path_factory.mktemp("bcoin")) as node:
        node.mine(SEGWIT)
        yield node


@pytest.fixture
def fresh_bcoin_node(tmp_path: Path) -> Iterator[BcoinNode]:
    """A Bitcoin node of the test's own, with segwit."""
    with installed(), bcoin(tmp_path / "bcoin") as node:
        node.mine(SEGWIT)
        yield node


@pytest.fixture
def anvil_node(tmp_path: Path) -> Iterator[AnvilNode]:
    """An Ethereum node of the test's own, which mines a block for each transaction until told otherwise."""
    with installed(), anvil(tmp_path / "anvil") as node:
        yield node


@pytest.fixture(scope="session")
def ots() -> str:
    """The stock OpenTimestamps client's program."""
    return str(Path(sys.executable).parent / "ots")
