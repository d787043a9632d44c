"""The life of an anchor on an EVM chain, on the development chain and on a real node."""

import contextlib
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rlp

from chain_nodes import AnvilNode, anvil, installed
from earmark.anchor import evm, rpc
from earmark.anchor.devchain import DEVELOPMENT_CHAIN, DEVELOPMENT_KEY, DevChain
from earmark.anchor.ethblock import transaction_json
from earmark.anchor.evm import EvmTarget
from earmark.anchor.rpc import HttpRpc
from earmark.anchor.target import Deferred, Progress, Target
from earmark.errors import AnchorError, EncodingError
from earmark.evidence.evm import check_evm, check_evm_header
from earmark.mpt import keccak256
from evm_fakes import COIN, DIGEST, OTHER_KEY, Liar, push, raw_of, refusing, replace, sign, spend

pytest_plugins = ["evm_fixtures"]


def test_an_anchor_from_signed_to_final(chain: DevChain, target: EvmTarget) -> None:
    as_target: Target = target
    payload = sign(as_target, DIGEST)
    reference = "0x" + keccak256(raw_of(payload)).hex()
    assert as_target.poll(payload) == Progress("unknown", reference)
    assert as_target.send(payload) == payload
    assert as_target.poll(payload) == Progress("pending", reference)
    block_hash = chain.mine()
    for confirmations, state in ((1, "mined"), (2, "mined"), (3, "final"), (4, "final")):
        progress = as_target.poll(payload)
        assert (progress.state, progress.confirmations, progress.reference) == (state, confirmations, reference)
        assert progress.evidence is not None
        assert check_evm(DEVELOPMENT_CHAIN, progress.evidence, DIGEST) == progress.block
        assert progress.block is not None
        assert (progress.block.hash, progress.block.number) == (block_hash, 1)
        chain.mine()


def test_an_anchor_costs_the_floor_price_of_its_calldata(chain: DevChain, target: EvmTarget) -> None:
    payload = sign(target, b"\xff" * 32)
    target.send(payload)
    chain.mine()
    assert int(chain.call("eth_getBlockByNumber", ["latest", False])["gasUsed"], 16) == 22_280
    assert transaction_json(raw_of(payload))["gas"] == hex(22_280)
    assert transaction_json(raw_of(payload))["to"] == target.address.lower()


def test_sending_again_is_a_success_at_every_stage(chain: DevChain, target: EvmTarget) -> None:
    payload = sign(target, DIGEST)
    for _ in range(2):
        assert target.send(payload) == payload
    chain.mine()
    assert target.send(payload) == payload  # the pool says "nonce too low", but of this very transaction
    chain.mine()
    chain.mine()
    assert target.send(payload) == payload
    assert int(chain.call("eth_getTransactionCount", [target.address, "latest"]), 16) == 1


def test_known_is_a_success_even_where_it_cannot_be_looked_up(chain: DevChain, liar: Liar) -> None:
    target = EvmTarget(liar, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY)
    payload = sign(target, DIGEST)
    liar.changes["eth_sendRawTransaction"] = refusing(-32000, "Already Known")
    liar.changes["eth_getTransactionByHash"] = lambda _: None
    assert target.send(payload) == payload
    for _ in range(3):
        chain.mine()
    liar.changes["eth_sendRawTransaction"] = refusing(-32000, "nonce too low")
    with pytest.raises(AnchorError, match="sign anew"):
        target.send(sign(target, DIGEST))


def test_a_restart_before_the_block_sends_identical_bytes(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    with contextlib.closing(DevChain(path)) as chain:
        payload = sign(EvmTarget(chain, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY), DIGEST)
        EvmTarget(chain, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY).send(payload)
    with contextlib.closing(DevChain(path)) as chain:
        target = EvmTarget(chain, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY)
        assert target.poll(payload).state == "unknown"
        assert target.send(payload) == payload
        chain.mine()
        assert target.poll(payload).state == "mined"


def test_a_payload_whose_nonce_went_to_another_transaction_ends_void(chain: DevChain, target: EvmTarget) -> None:
    payload = sign(target, DIGEST)
    push(chain, spend(chain))
    assert target.poll(payload).state == "unknown"
    with pytest.raises(AnchorError, match="replace it with higher fees"):
        target.send(payload)
    chain.mine()
    assert target.poll(payload).state == "pending"  # the other one may still be reorganised away
    with pytest.raises(AnchorError, match=r"nonce too low.*sign anew"):
        target.send(payload)
    chain.mine()
    chain.mine()
    assert target.poll(payload).state == "void"
    again = sign(target, DIGEST)
    target.send(again)
    chain.mine()
    assert target.poll(again).state == "mined"


def test_a_replacement_competes_for_the_same_nonce(chain: DevChain, target: EvmTarget) -> None:
    stuck = sign(target, DIGEST)
    target.send(stuck)
    better = replace(target, stuck)
    old, new = transaction_json(raw_of(stuck)), transaction_json(raw_of(better))
    assert (new["nonce"], new["input"], new["gas"]) == (old["nonce"], old["input"], old["gas"])
    for fee in ("maxFeePerGas", "maxPriorityFeePerGas"):
        assert int(new[fee], 16) * 8 >= int(old[fee], 16) * 9
    target.send(better)
    assert (target.poll(stuck).state, target.poll(better).state) == ("unknown", "pending")
    for _ in range(3):
        chain.mine()
    assert (target.poll(stuck).state, target.poll(better).state) == ("void", "final")


def test_the_first_of_a_payload_may_be_mined_as_well(chain: DevChain, target: EvmTarget) -> None:
    stuck, most = sign(target, DIGEST), target.sign(DIGEST, COIN).cost
    better = replace(target, stuck)
    target.send(stuck)  # the newer one never got out
    chain.mine()
    found = target.poll(better)
    assert (found.state, found.reference) == ("mined", "0x" + keccak256(raw_of(stuck)).hex())
    assert 0 < found.cost <= most


def test_replacements_stop_at_the_cap(target: EvmTarget) -> None:
    payload = sign(target, DIGEST)
    for _ in range(19):  # 3 gwei, an eighth more each time
        payload = replace(target, payload)
    assert 27 * 10**9 < int(transaction_json(raw_of(payload))["maxFeePerGas"], 16) <= 30 * 10**9
    with pytest.raises(AnchorError, match=r"deferred: .* the cap is 30 gwei"):
        replace(target, payload)


def test_only_its_own_key_replaces_a_payload(chain: DevChain, target: EvmTarget) -> None:
    with pytest.raises(AnchorError, match=f"signed for {target.address}"):
        replace(EvmTarget(chain, DEVELOPMENT_CHAIN, OTHER_KEY), sign(target, DIGEST))


def test_no_nonce_is_left_out(chain: DevChain, target: EvmTarget) -> None:
    """A number beyond one that only the pool knows would wait for good where the pool forgets that one."""
    target.send(sign(target, DIGEST))
    assert transaction_json(raw_of(sign(target, b"\x02" * 32)))["nonce"] == "0x0"
    chain.mine()
    with pytest.raises(Deferred, match="not final yet"):  # a reorganisation may take it back
        sign(target, b"\x02" * 32)
    chain.mine()
    chain.mine()
    assert transaction_json(raw_of(sign(target, b"\x02" * 32)))["nonce"] == "0x1"


def test_more_than_the_budget_defers(target: EvmTarget) -> None:
    most = target.sign(DIGEST, COIN).cost
    assert target.sign(DIGEST, most).cost == most
    with pytest.raises(Deferred, match="of the month's budget"):
        target.sign(DIGEST, most - 1)
    with pytest.raises(Deferred, match="of the month's budget"):
        target.replace(sign(target, DIGEST), most)


def test_it_says_how_many_anchors_the_account_is_good_for(chain: DevChain, target: EvmTarget) -> None:
    left = target.anchors_left()
    assert left is not None
    assert left > 1000
    assert EvmTarget(chain, DEVELOPMENT_CHAIN, OTHER_KEY).anchors_left() == 0


def test_the_head_is_the_newest_block(chain: DevChain, target: EvmTarget) -> None:
    for number in range(3):
        block, header = target.head()
        assert block == check_evm_header(DEVELOPMENT_CHAIN, header)
        assert block.number == number
        chain.mine()


@pytest.mark.parametrize("payload", [b"", b"\x02", b"\x02\xc0", b"\x01" + bytes(40), rlp.encode([b""] * 9)])
def test_a_payload_that_is_none_is_refused(target: EvmTarget, payload: bytes) -> None:
    for use in (target.send, target.poll, lambda payload: replace(target, payload)):
        with pytest.raises(EncodingError, match="payload"):
            use(payload)


def test_a_digest_of_another_size_is_refused(target: EvmTarget) -> None:
    with pytest.raises(EncodingError, match="31 bytes"):
        sign(target, bytes(31))


def test_fees_above_the_cap_defer(chain: DevChain) -> None:
    target = EvmTarget(chain, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY, fee_cap_gwei=1.5)
    with pytest.raises(AnchorError, match=r"deferred: .* asks 2 gwei, the cap is 1.5 gwei"):
        sign(target, DIGEST)
    for _ in range(20):  # the base fee of empty blocks falls by an eighth each
        chain.mine()
    assert int(transaction_json(raw_of(sign(target, DIGEST)))["maxFeePerGas"], 16) <= 1.5 * 10**9


def test_the_fee_leaves_room_for_the_base_fee_to_double_within_the_cap(chain: DevChain) -> None:
    for cap, expected in ((30, 3.0), (2.5, 2.5)):
        target = EvmTarget(chain, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY, fee_cap_gwei=cap)
        assert int(transaction_json(raw_of(sign(target, DIGEST)))["maxFeePerGas"], 16) == round(expected * 10**9)


def test_an_endpoint_cannot_ask_more_gas_than_the_cap(liar: Liar) -> None:
    liar.changes["eth_estimateGas"] = lambda _: hex(10**7)
    with pytest.raises(AnchorError, match="asks 10000000 gas, the cap is 100000"):
        sign(EvmTarget(liar, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY), DIGEST)
    liar.changes["eth_estimateGas"] = lambda _: hex(60_000)
    payload = sign(EvmTarget(liar, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY), DIGEST)
    assert transaction_json(raw_of(payload))["gas"] == hex(60_000)


def test_an_empty_account_is_noticed_before_signing(chain: DevChain) -> None:
    target = EvmTarget(chain, DEVELOPMENT_CHAIN, OTHER_KEY)
    with pytest.raises(AnchorError, match=rf"{target.address} holds 0.000000000 .*: send funds there"):
        sign(target, DIGEST)


def test_an_endpoint_without_a_tip_gets_a_default(liar: Liar) -> None:
    liar.changes["eth_maxPriorityFeePerGas"] = refusing(rpc.METHOD_NOT_FOUND, "no such method")
    payload = sign(EvmTarget(liar, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY), DIGEST)
    assert transaction_json(raw_of(payload))["maxPriorityFeePerGas"] == hex(evm.DEFAULT_TIP)
    liar.changes["eth_maxPriorityFeePerGas"] = refusing(-32005, "limit exceeded")
    with pytest.raises(AnchorError, match="limit exceeded"):
        sign(EvmTarget(liar, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY), DIGEST)


def test_a_chain_without_base_fee_is_refused(liar: Liar) -> None:
    liar.changes["eth_getBlockByNumber"] = lambda block: {k: v for k, v in block.items() if k != "baseFeePerGas"}
    with pytest.raises(AnchorError, match="no base fee"):
        sign(EvmTarget(liar, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY), DIGEST)


def test_an_endpoint_of_another_chain_is_refused_by_every_method(chain: DevChain, target: EvmTarget) -> None:
    payload = sign(target, DIGEST)
    wrong = EvmTarget(chain, "eip155:1", OTHER_KEY)
    uses: list[Callable[[], Any]] = [
        wrong.check_chain,
        wrong.head,
        lambda: sign(wrong, DIGEST),
        lambda: wrong.send(payload),
        lambda: wrong.poll(payload),
        lambda: replace(wrong, payload),
    ]
    for use in uses:
        with pytest.raises(AnchorError, match="serves eip155:131277322940537, not eip155:1"):
            use()
    assert chain.call("eth_getTransactionCount", [target.address, "pending"]) == "0x0"


def test_the_chain_is_asked_for_its_id_once(liar: Liar) -> None:
    target = EvmTarget(liar, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY)
    target.head()
    target.head()
    assert liar.calls.count("eth_chainId") == 1


def test_the_development_key_is_refused_on_any_other_chain(chain: DevChain) -> None:
    with pytest.raises(AnchorError, match="development key is public"):
        EvmTarget(chain, "eip155:1", DEVELOPMENT_KEY)


@pytest.mark.parametrize("key", [b"", bytes(32), b"\x01" * 31, b"\xff" * 32])
def test_a_key_that_is_none_is_refused_without_showing_it(chain: DevChain, key: bytes) -> None:
    with pytest.raises(AnchorError, match=r"not a secp256k1 private key of 32 bytes$"):
        EvmTarget(chain, DEVELOPMENT_CHAIN, key)


def test_a_chain_that_is_none_is_refused(chain: DevChain) -> None:
    with pytest.raises(AnchorError, match="not an EVM chain"):
        EvmTarget(chain, "bip122:1", OTHER_KEY)


def test_the_key_is_not_in_the_representation(target: EvmTarget) -> None:
    assert repr(target) == f"EvmTarget('{DEVELOPMENT_CHAIN}', {target.address})"


# A real node


@pytest.fixture(params=["london", "shanghai", "cancun", "prague", "osaka"])
def anvil_at_fork(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnvilNode]:
    """A real Ethereum node, at each fork, that mines only when told to."""
    with installed(), anvil(tmp_path / "anvil", hardfork=request.param, automine=False) as node:
        yield node


@pytest.fixture
def real_target(anvil_at_fork: AnvilNode) -> EvmTarget:
    """A target on it whose account holds something."""
    target = EvmTarget(HttpRpc(anvil_at_fork.url), anvil_at_fork.chain, OTHER_KEY)
    anvil_at_fork.fund(target.address)
    return target


def test_an_anchor_on_a_real_node(anvil_at_fork: AnvilNode, real_target: EvmTarget) -> None:
    node, target = anvil_at_fork, real_target
    digest = secrets.token_bytes(32)
    stuck = sign(target, digest)
    for _ in range(2):
        target.send(stuck)
    payload = replace(target, stuck)
    target.send(payload)
    assert (target.poll(stuck).state, target.poll(payload).state) == ("unknown", "pending")
    node.mine()
    progress = target.poll(payload)
    assert progress.state == "mined"
    assert progress.evidence is not None
    assert check_evm(node.chain, progress.evidence, digest) == target.head()[0] == progress.block
    node.mine(2)
    assert (target.poll(stuck).state, target.poll(payload).state) == ("void", "final")
    target.send(payload)


def test_a_reorganisation_on_a_real_node(anvil_at_fork: AnvilNode, real_target: EvmTarget) -> None:
    node, target = anvil_at_fork, real_target
    payload = sign(target, DIGEST)
    target.send(payload)
    node.mine()
    first = target.poll(payload)
    node.reorg(1)
    assert target.poll(payload).state == "unknown"
    target.send(payload)
    node.mine()
    second = target.poll(payload)
    assert (first.state, second.state) == ("mined", "mined")
    assert first.block != second.block
