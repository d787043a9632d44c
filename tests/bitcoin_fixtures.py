"""Fixtures of the Bitcoin anchors' tests: a node in memory on whose chain the key holds one coin, and a target."""

import pytest

from bitcoin_fakes import FakeCore
from bitcoin_targets import FUNDS, open_target, script_of
from earmark.anchor.bitcoin import BitcoinTarget


@pytest.fixture
def node() -> FakeCore:
    node = FakeCore()
    node.fund(script_of(open_target(node)), FUNDS)
    return node


@pytest.fixture
def payer(node: FakeCore) -> BitcoinTarget:
    return open_target(node)
