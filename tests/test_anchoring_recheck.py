"""A final anchor that is looked at again: what an endpoint forgets for once throws no evidence away."""

from pathlib import Path

import pytest

from earmark.anchor.devchain import DEVELOPMENT_CHAIN, DEVELOPMENT_KEY, DevChain
from earmark.anchor.evm import EvmTarget
from earmark.anchoring import Anchoring, Plan
from evm_fakes import Liar
from farm import Bench, new_store

pytest_plugins = ["evm_fixtures"]


@pytest.mark.parametrize("times", [1, 2, 5])
def test_a_final_anchor_that_the_endpoint_does_not_find_for_once_keeps_its_evidence(
    tmp_path: Path, chain: DevChain, liar: Liar, times: int
) -> None:
    bench = Bench(new_store(tmp_path)).found()
    bench.log.seal()
    target = EvmTarget(liar, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY)
    anchoring = Anchoring(bench.store, target, Plan(1 << 40), lambda: bench.now_ms)
    for _ in range(20):
        anchoring.step()
        chain.mine()
    [before] = bench.store.anchor_rows()
    assert before.state == "final"
    liar.changes["eth_getTransactionByHash"] = lambda _: None
    for _ in range(times):
        bench.now_ms += 600_000
        anchoring.step()
    del liar.changes["eth_getTransactionByHash"]
    for _ in range(3):
        bench.now_ms += 600_000
        anchoring.step()
        chain.mine()
    assert bench.store.anchor_rows() == [before]
    assert int(chain.call("eth_getTransactionCount", [target.address, "latest"]), 16) == 1


def test_an_endpoint_that_is_behind_the_block_of_a_final_anchor_takes_nothing_back(
    tmp_path: Path, chain: DevChain, liar: Liar
) -> None:
    bench = Bench(new_store(tmp_path)).found()
    first = chain.call("eth_getBlockByNumber", ["latest", False])
    bench.log.seal()
    target = EvmTarget(liar, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY)
    anchoring = Anchoring(bench.store, target, Plan(1 << 40), lambda: bench.now_ms)
    for _ in range(20):
        anchoring.step()
        chain.mine()
    [before] = bench.store.anchor_rows()
    assert before.state == "final"
    liar.changes = {"eth_getTransactionByHash": lambda _: None, "eth_getBlockByNumber": lambda _: first}
    looked = len(liar.calls)
    for _ in range(3):
        bench.now_ms += 600_000
        anchoring.step()
        assert bench.store.anchor_rows() == [before]
    assert "eth_getTransactionByHash" in liar.calls[looked:]
    # At the tip, and yet it knows of no transaction of the account: that is another thing.
    liar.changes = {"eth_getTransactionByHash": lambda _: None, "eth_getTransactionCount": lambda _: "0x0"}
    bench.now_ms += 600_000
    anchoring._recheck()
    [after] = bench.store.anchor_rows()
    assert after.state == "broadcast"
