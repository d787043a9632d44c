"""The EVM target against endpoints that lie, or are of two minds."""

from collections.abc import Callable
from typing import Any

import pytest
import rlp

from earmark.anchor.devchain import DEVELOPMENT_CHAIN, DEVELOPMENT_KEY, DevChain
from earmark.anchor.ethblock import build_transaction, header_json
from earmark.anchor.evm import EvmTarget
from earmark.errors import AnchorError
from earmark.evidence.evm import check_evm
from earmark.mpt import keccak256
from evm_fakes import DIGEST, Liar, refusing, sign

pytest_plugins = ["evm_fixtures"]


def edit(*path: Any, value: Any) -> Callable[[Any], Any]:
    def change(answer: Any) -> Any:
        place = answer
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value(place[path[-1]]) if callable(value) else value
        return answer

    return change


@pytest.mark.parametrize(
    ("method", "change", "complaint"),
    [
        ("eth_getBlockByHash", lambda _: None, "lost block"),
        ("eth_getBlockByHash", lambda _: "0x", "not an object"),
        ("eth_getBlockByHash", edit("hash", value="0x" + "11" * 32), "does not hash to its own hash"),
        ("eth_getBlockByHash", edit("timestamp", value="0x1"), "does not hash to its own hash"),
        ("eth_getBlockByHash", edit("timestamp", value="soon"), "timestamp is not a quantity: soon"),
        ("eth_getBlockByHash", edit("miner", value="0xzz"), "miner is not hexadecimal"),
        ("eth_getBlockByHash", edit("requestsHash", value=None), "does not hash to its own hash"),
        ("eth_getBlockByHash", edit("transactions", value=lambda listed: listed[:2]), "not made of its trans"),
        ("eth_getBlockByHash", edit("transactions", value=lambda listed: listed[::-1]), "not made of its trans"),
        ("eth_getBlockByHash", edit("transactions", value=[]), "lists no transaction 1"),
        ("eth_getBlockByHash", edit("transactions", value=None), "lists no transaction 1"),
        ("eth_getBlockByHash", edit("transactions", 0, value=None), "a hole among its transactions"),
        ("eth_getBlockByHash", edit("transactions", 0, value="0x11"), "not an object"),
        ("eth_getBlockByHash", edit("transactions", 0, "value", value="0x5"), "does not hash to its own hash"),
        ("eth_getBlockByHash", edit("transactions", 1, "accessList", value={}), "accessList is not a list"),
        ("eth_getBlockByHash", edit("transactions", 1, "accessList", value=[1]), "not a list of objects"),
        ("eth_getTransactionByHash", edit("transactionIndex", value="0x0"), "does not prove the anchor"),
        ("eth_getTransactionByHash", edit("transactionIndex", value="0x2"), "does not prove the anchor"),
        ("eth_getTransactionByHash", edit("blockNumber", value=1), "block number is not a quantity"),
        ("eth_getTransactionByHash", lambda _: [], "transaction is not an object"),
        ("eth_blockNumber", lambda _: None, "block number is not a quantity"),
        ("eth_blockNumber", lambda _: "0x1" + "0" * 64, "block number is not a quantity"),
        ("eth_chainId", lambda _: "0x" + "f" * 5000, "chain id is not a quantity"),
    ],
)
def test_a_lying_endpoint_is_caught(liar: Liar, mined: bytes, method: str, change: Any, complaint: str) -> None:
    target = EvmTarget(liar, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY)
    liar.changes[method] = change
    with pytest.raises(AnchorError, match=complaint):
        target.poll(mined)


def test_another_whole_block_than_the_one_asked_for_is_caught(chain: DevChain, liar: Liar, mined: bytes) -> None:
    target = EvmTarget(liar, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY)
    forged = chain.call("eth_getBlockByNumber", ["latest", True])
    forged["timestamp"] = hex(int(forged["timestamp"], 16) + 1)
    forged["hash"] = "0x" + keccak256(_rebuilt(forged)).hex()
    liar.changes["eth_getBlockByHash"] = lambda _: forged
    with pytest.raises(AnchorError, match="another block than the one asked for"):
        target.poll(mined)


def _rebuilt(block: dict[str, Any]) -> bytes:
    """The RLP of a block's header whose hash is not right yet, with the rlp library alone."""
    numbers = {
        "difficulty",
        "number",
        "gasLimit",
        "gasUsed",
        "timestamp",
        "baseFeePerGas",
        "blobGasUsed",
        "excessBlobGas",
    }
    names = list(header_json(rlp.encode([b""] * 21)))[1:]
    return rlp.encode([int(block[n], 16) if n in numbers else bytes.fromhex(block[n][2:]) for n in names])


def test_a_head_that_does_not_hash_is_refused(liar: Liar) -> None:
    liar.changes["eth_getBlockByNumber"] = edit("extraData", value="0x01")
    with pytest.raises(AnchorError, match="a fork that this version of Earmark does not know"):
        EvmTarget(liar, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY).head()


def test_an_endpoint_without_blocks_is_still_synchronising(liar: Liar) -> None:
    liar.changes["eth_getBlockByNumber"] = lambda _: None
    with pytest.raises(AnchorError, match="still synchronising"):
        EvmTarget(liar, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY).head()


def test_a_wrong_hash_in_answer_to_sending_is_noticed(liar: Liar) -> None:
    target = EvmTarget(liar, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY)
    liar.changes["eth_sendRawTransaction"] = lambda _: "0x" + "00" * 32
    with pytest.raises(AnchorError, match="by another hash"):
        target.send(sign(target, DIGEST))


def test_a_transaction_in_a_block_that_is_not_canonical_is_pending(liar: Liar, mined: bytes) -> None:
    target = EvmTarget(liar, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY)
    liar.changes["eth_getTransactionByHash"] = edit("blockHash", value="0x" + "22" * 32)
    assert target.poll(mined).state == "pending"
    liar.changes["eth_getTransactionByHash"] = edit("blockNumber", value="0x99")
    assert target.poll(mined).state == "pending"


@pytest.mark.parametrize("refusal", [refusing(-32602, "invalid block tag"), lambda _: None])
def test_without_a_finalized_tag_confirmations_count(chain: DevChain, mined: bytes, refusal: Any) -> None:
    class Older:
        def call(self, method: str, params: list[Any]) -> Any:
            return refusal(None) if params[:1] == ["finalized"] else chain.call(method, params)

    target = EvmTarget(Older(), DEVELOPMENT_CHAIN, DEVELOPMENT_KEY, confirmations=5)
    for confirmations in range(1, 8):
        progress = target.poll(mined)
        assert (progress.confirmations, progress.state) == (confirmations, "final" if confirmations >= 5 else "mined")
        chain.mine()


def test_types_that_cannot_be_rebuilt_are_fetched(chain: DevChain, liar: Liar, mined: bytes) -> None:
    raws = {
        entry["hash"]: build_transaction(entry)
        for entry in chain.call("eth_getBlockByNumber", ["latest", True])["transactions"]
    }

    class Layer2:
        def call(self, method: str, params: list[Any]) -> Any:
            if method == "eth_getRawTransactionByHash":
                return "0x" + (raws[params[0]] or b"").hex()
            return liar.call(method, params)

    liar.changes["eth_getBlockByHash"] = edit("transactions", 0, "type", value="0x7e")
    progress = EvmTarget(Layer2(), DEVELOPMENT_CHAIN, DEVELOPMENT_KEY).poll(mined)
    assert progress.evidence is not None
    assert check_evm(DEVELOPMENT_CHAIN, progress.evidence, DIGEST) == progress.block


def test_the_block_is_fetched_once(liar: Liar, mined: bytes) -> None:
    target = EvmTarget(liar, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY)
    assert target.poll(mined).evidence == target.poll(mined).evidence
    assert liar.calls.count("eth_getBlockByHash") == 1
