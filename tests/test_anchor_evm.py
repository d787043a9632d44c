"""The life of an anchor on an EVM chain, on the development chain and on a real node."""

import contextlib
import os
import re
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rlp

from earmark.anchor import evm, rpc
from earmark.anchor.devchain import DEVELOPMENT_CHAIN, DEVELOPMENT_KEY, DevChain
from earmark.anchor.ethblock import transaction_json
from earmark.anchor.evm import EvmTarget
from earmark.anchor.rpc import HttpRpc
from earmark.anchor.target import Progress, Target
from earmark.errors import AnchorError, EncodingError
from earmark.evidence import check_evm, check_evm_header
from earmark.mpt import keccak256
from evm_fakes import COIN, DIGEST, OTHER_KEY, Liar, push, refusing, spend

pytest_plugins = ["evm_fixtures"]


def test_an_anchor_from_signed_to_final(chain: DevChain, target: EvmTarget) -> None:
    as_target: Target = target
    payload = as_target.sign(DIGEST)
    reference = "0x" + keccak256(payload).hex()
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
    payload = target.sign(b"\xff" * 32)
    target.send(payload)
    chain.mine()
    assert int(chain.call("eth_getBlockByNumber", ["latest", False])["gasUsed"], 16) == 22_280
    assert transaction_json(payload)["gas"] == hex(22_280)
    assert transaction_json(payload)["to"] == target.address.lower()


def test_sending_again_is_a_success_at_every_stage(chain: DevChain, target: EvmTarget) -> None:
    payload = target.sign(DIGEST)
    for _ in range(2):
        assert target.send(payload) == payload
    chain.mine()
    assert target.send(payload) == payload  # the pool says "nonce too low", but of this very transaction
    chain.mine()
    chain.mine()
    assert target.send(payload) == payload
    assert int(chain.call("eth_getTransactionCount", [target.address, "latest"]), 16) == 1


def test_known_is_a_success_even_where_it_cannot_be_looked_up(liar: Liar) -> None:
    target = EvmTarget(liar, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY)
    payload = target.sign(DIGEST)
    liar.changes["eth_sendRawTransaction"] = refusing(-32000, "Already Known")
    liar.changes["eth_getTransactionByHash"] = lambda _: None
    assert target.send(payload) == payload
    liar.changes["eth_sendRawTransaction"] = refusing(-32000, "nonce too low")
    with pytest.raises(AnchorError, match="sign anew"):
        target.send(target.sign(DIGEST))


def test_a_restart_before_the_block_sends_identical_bytes(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    with contextlib.closing(DevChain(path)) as chain:
        payload = EvmTarget(chain, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY).sign(DIGEST)
        EvmTarget(chain, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY).send(payload)
    with contextlib.closing(DevChain(path)) as chain:
        target = EvmTarget(chain, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY)
        assert target.poll(payload).state == "unknown"
        assert target.send(payload) == payload
        chain.mine()
        assert target.poll(payload).state == "mined"


def test_a_payload_whose_nonce_went_to_another_transaction_ends_void(chain: DevChain, target: EvmTarget) -> None:
    payload = target.sign(DIGEST)
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
    again = target.sign(DIGEST)
    target.send(again)
    chain.mine()
    assert target.poll(again).state == "mined"


def test_a_replacement_competes_for_the_same_nonce(chain: DevChain, target: EvmTarget) -> None:
    stuck = target.sign(DIGEST)
    target.send(stuck)
    better = target.replace(stuck)
    old, new = transaction_json(stuck), transaction_json(better)
    assert (new["nonce"], new["input"], new["gas"]) == (old["nonce"], old["input"], old["gas"])
    for fee in ("maxFeePerGas", "maxPriorityFeePerGas"):
        assert int(new[fee], 16) * 8 >= int(old[fee], 16) * 9
    target.send(better)
    assert (target.poll(stuck).state, target.poll(better).state) == ("unknown", "pending")
    for _ in range(3):
        chain.mine()
    assert (target.poll(stuck).state, target.poll(better).state) == ("void", "final")


def test_replacements_stop_at_the_cap(target: EvmTarget) -> None:
    payload = target.sign(DIGEST)
    for _ in range(19):  # 3 gwei, an eighth more each time
        payload = target.replace(payload)
    assert 27 * 10**9 < int(transaction_json(payload)["maxFeePerGas"], 16) <= 30 * 10**9
    with pytest.raises(AnchorError, match=r"deferred: .* the cap is 30 gwei"):
        target.replace(payload)


def test_only_its_own_key_replaces_a_payload(chain: DevChain, target: EvmTarget) -> None:
    with pytest.raises(AnchorError, match=f"signed for {target.address}"):
        EvmTarget(chain, DEVELOPMENT_CHAIN, OTHER_KEY).replace(target.sign(DIGEST))


def test_the_nonce_follows_what_waits(chain: DevChain, target: EvmTarget) -> None:
    first = target.sign(DIGEST)
    target.send(first)
    second = target.sign(b"\x02" * 32)
    assert (transaction_json(first)["nonce"], transaction_json(second)["nonce"]) == ("0x0", "0x1")
    target.send(second)
    chain.mine()
    blocks = [target.poll(payload).block for payload in (first, second)]
    assert blocks[0] == blocks[1]
    assert blocks[0] is not None


def test_the_head_is_the_newest_block(chain: DevChain, target: EvmTarget) -> None:
    for number in range(3):
        block, header = target.head()
        assert block == check_evm_header(DEVELOPMENT_CHAIN, header)
        assert block.number == number
        chain.mine()


@pytest.mark.parametrize("payload", [b"", b"\x02", b"\x02\xc0", b"\x01" + bytes(40), rlp.encode([b""] * 9)])
def test_a_payload_that_is_none_is_refused(target: EvmTarget, payload: bytes) -> None:
    for use in (target.send, target.poll, target.replace):
        with pytest.raises(EncodingError, match="payload"):
            use(payload)


def test_a_digest_of_another_size_is_refused(target: EvmTarget) -> None:
    with pytest.raises(EncodingError, match="31 bytes"):
        target.sign(bytes(31))


def test_fees_above_the_cap_defer(chain: DevChain) -> None:
    target = EvmTarget(chain, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY, fee_cap_gwei=1.5)
    with pytest.raises(AnchorError, match=r"deferred: .* asks 2 gwei, the cap is 1.5 gwei"):
        target.sign(DIGEST)
    for _ in range(20):  # the base fee of empty blocks falls by an eighth each
        chain.mine()
    assert int(transaction_json(target.sign(DIGEST))["maxFeePerGas"], 16) <= 1.5 * 10**9


def test_the_fee_leaves_room_for_the_base_fee_to_double_within_the_cap(chain: DevChain) -> None:
    for cap, expected in ((30, 3.0), (2.5, 2.5)):
        target = EvmTarget(chain, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY, fee_cap_gwei=cap)
        assert int(transaction_json(target.sign(DIGEST))["maxFeePerGas"], 16) == round(expected * 10**9)


def test_an_endpoint_cannot_ask_more_gas_than_the_cap(liar: Liar) -> None:
    liar.changes["eth_estimateGas"] = lambda _: hex(10**7)
    with pytest.raises(AnchorError, match="asks 10000000 gas, the cap is 100000"):
        EvmTarget(liar, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY).sign(DIGEST)
    liar.changes["eth_estimateGas"] = lambda _: hex(60_000)
    payload = EvmTarget(liar, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY).sign(DIGEST)
    assert transaction_json(payload)["gas"] == hex(60_000)


def test_an_empty_account_is_noticed_before_signing(chain: DevChain) -> None:
    target = EvmTarget(chain, DEVELOPMENT_CHAIN, OTHER_KEY)
    with pytest.raises(AnchorError, match=rf"{target.address} holds 0.000000000 .*: send funds there"):
        target.sign(DIGEST)


def test_an_endpoint_without_a_tip_gets_a_default(liar: Liar) -> None:
    liar.changes["eth_maxPriorityFeePerGas"] = refusing(rpc.METHOD_NOT_FOUND, "no such method")
    payload = EvmTarget(liar, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY).sign(DIGEST)
    assert transaction_json(payload)["maxPriorityFeePerGas"] == hex(evm.DEFAULT_TIP)
    liar.changes["eth_maxPriorityFeePerGas"] = refusing(-32005, "limit exceeded")
    with pytest.raises(AnchorError, match="limit exceeded"):
        EvmTarget(liar, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY).sign(DIGEST)


def test_a_chain_without_base_fee_is_refused(liar: Liar) -> None:
    liar.changes["eth_getBlockByNumber"] = lambda block: {k: v for k, v in block.items() if k != "baseFeePerGas"}
    with pytest.raises(AnchorError, match="no base fee"):
        EvmTarget(liar, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY).sign(DIGEST)


def test_an_endpoint_of_another_chain_is_refused_by_every_method(chain: DevChain, target: EvmTarget) -> None:
    payload = target.sign(DIGEST)
    wrong = EvmTarget(chain, "eip155:1", OTHER_KEY)
    uses: list[Callable[[], Any]] = [
        wrong.check_chain,
        wrong.head,
        lambda: wrong.sign(DIGEST),
        lambda: wrong.send(payload),
        lambda: wrong.poll(payload),
        lambda: wrong.replace(payload),
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
def anvil(request: pytest.FixtureRequest) -> Iterator[HttpRpc]:
    """A real Ethereum node of development, at each fork; EARMARK_ANVIL names its executable."""
    executable = os.environ.get("EARMARK_ANVIL")
    if not executable:
        pytest.skip("EARMARK_ANVIL does not name an anvil executable")
    command = [executable, "--port", "0", "--no-mining", "--slots-in-an-epoch", "1", "--hardfork", request.param]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as node:
        try:
            assert node.stdout is not None
            lines = (re.search(r"Listening on (\S+)", line) for line in node.stdout)
            yield HttpRpc("http://" + next(match[1] for match in lines if match))
        finally:
            node.kill()


def test_an_anchor_on_a_real_node(anvil: HttpRpc) -> None:
    target = EvmTarget(anvil, "eip155:31337", OTHER_KEY)
    anvil.call("anvil_setBalance", [target.address, hex(COIN)])
    digest = secrets.token_bytes(32)
    stuck = target.sign(digest)
    for _ in range(2):
        target.send(stuck)
    payload = target.replace(stuck)
    target.send(payload)
    assert (target.poll(stuck).state, target.poll(payload).state) == ("unknown", "pending")
    anvil.call("evm_mine", [])
    progress = target.poll(payload)
    assert progress.state == "mined"
    assert progress.evidence is not None
    assert check_evm("eip155:31337", progress.evidence, digest) == target.head()[0] == progress.block
    anvil.call("anvil_mine", ["0x2"])
    assert (target.poll(stuck).state, target.poll(payload).state) == ("void", "final")
    target.send(payload)


def test_a_reorganisation_on_a_real_node(anvil: HttpRpc) -> None:
    target = EvmTarget(anvil, "eip155:31337", OTHER_KEY)
    anvil.call("anvil_setBalance", [target.address, hex(COIN)])
    payload = target.sign(DIGEST)
    target.send(payload)
    anvil.call("evm_mine", [])
    first = target.poll(payload)
    anvil.call("anvil_reorg", [1, []])
    assert target.poll(payload).state == "unknown"
    target.send(payload)
    anvil.call("evm_mine", [])
    second = target.poll(payload)
    assert (first.state, second.state) == ("mined", "mined")
    assert first.block != second.block
