"""Anchors on Bitcoin through a real node, and what the stock OpenTimestamps client says of them."""

import hashlib
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from chain_nodes import BcoinNode
from chain_proxy import Failure
from core_like import CoreLike
from earmark import ots as timestamps
from earmark.anchor.bitcoin import BitcoinTarget
from earmark.anchor.btctx import decode_payload
from earmark.anchor.rpc import HttpRpc
from earmark.errors import AnchorError
from earmark.evidence.bitcoin import REGTEST, check_bitcoin_header, check_ots, decode_ots
from purse import Purse

pytest_plugins = ["chain_fixtures"]

MUCH = 10**12


@pytest.fixture
def core(fresh_bcoin_node: BcoinNode) -> Iterator[CoreLike]:
    with CoreLike(fresh_bcoin_node) as core:
        yield core


@pytest.fixture
def target(core: CoreLike, fresh_bcoin_node: BcoinNode) -> BitcoinTarget:
    """A target of a key of its own that holds one block's reward."""
    target = BitcoinTarget(HttpRpc(core.url), REGTEST, secrets.token_bytes(32))
    fresh_bcoin_node.fund(target.address)
    return target


def test_a_file_anchored_on_a_real_node_verifies_with_the_stock_client(
    core: CoreLike, target: BitcoinTarget, fresh_bcoin_node: BcoinNode, ots: str, tmp_path: Path
) -> None:
    purse = Purse(secrets.token_bytes(32))
    fresh_bcoin_node.fund(purse.address)
    file = tmp_path / "readings.bin"
    file.write_bytes(secrets.token_bytes(1000))
    digest = hashlib.sha256(file.read_bytes()).digest()
    signed = target.sign(digest, MUCH)
    assert signed.cost == 153
    core.fail_next("sendrawtransaction", Failure.UNANSWERED)
    with pytest.raises(AnchorError, match="unavailable"):
        target.send(signed.payload)
    assert target.poll(signed.payload).state == "pending"
    assert target.send(signed.payload) == signed.payload
    fresh_bcoin_node.offer(purse.spend(fresh_bcoin_node.coins(purse.address)[0])[1])
    fresh_bcoin_node.mine(6)  # the first with three transactions
    progress = target.poll(signed.payload)
    assert (progress.state, progress.confirmations, progress.cost) == ("final", 6, 153)
    assert progress.evidence is not None
    assert check_ots(REGTEST, progress.evidence, digest) == progress.block
    stamp = tmp_path / "readings.bin.ots"
    stamp.write_bytes(timestamps.encode_file(digest, [decode_ots(progress.evidence)[0]]))
    assert stamp.stat().st_size < 400
    assert _verify(ots, fresh_bcoin_node, stamp) == 0
    file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:])
    assert _verify(ots, fresh_bcoin_node, stamp) != 0


def _verify(ots: str, node: BcoinNode, stamp: Path) -> int:
    command = [ots, "--btc-regtest", "--bitcoin-node", node.url, "--no-cache", "verify", str(stamp)]
    return subprocess.run(command, capture_output=True, timeout=60).returncode


def test_anchors_follow_one_another_through_reorganisations_of_a_real_node(
    target: BitcoinTarget, fresh_bcoin_node: BcoinNode
) -> None:
    node, coins = fresh_bcoin_node, []
    for number in range(3):
        payload = target.send(target.sign(bytes([number]) * 32, MUCH).payload)
        coins.append(decode_payload(payload).coins[0].txid)
        node.mine(2)
        first = target.poll(payload)
        node.reorg(2)  # this node drops what was in the blocks
        assert (first.state, target.poll(payload).state) == ("mined", "unknown")
        target.send(payload)
        node.mine(7)
        progress = target.poll(payload)
        assert (progress.state, progress.confirmations) == ("final", 7)
        assert progress.block != first.block
    assert coins[1:] != coins[:-1]
    block, header = target.head()
    assert block == check_bitcoin_header(REGTEST, header, node.rpc("getblockcount") - 2)


def test_a_coin_spent_by_another_makes_an_anchor_void(core: CoreLike, fresh_bcoin_node: BcoinNode) -> None:
    key = secrets.token_bytes(32)
    target, other = (BitcoinTarget(HttpRpc(core.url), REGTEST, key) for _ in range(2))
    fresh_bcoin_node.fund(target.address)
    ours, theirs = target.sign(b"\1" * 32, MUCH).payload, other.sign(b"\2" * 32, MUCH).payload
    other.send(theirs)
    with pytest.raises(AnchorError):
        target.send(ours)
    fresh_bcoin_node.mine(5)
    assert target.poll(ours).state == "pending"
    fresh_bcoin_node.mine()
    assert (target.poll(ours).state, other.poll(theirs).state) == ("void", "final")
