"""The EVM target on the development chain, through HTTP on loopback, and against endpoints that lie."""

import contextlib
import copy
import http.server
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rlp
from eth_account import Account

import earmark.anchor
from earmark.anchor import devchain, evm, rpc
from earmark.anchor.devchain import DEVELOPMENT_CHAIN, DEVELOPMENT_KEY, DevChain
from earmark.anchor.ethblock import build_header, build_transaction, header_json, prove_transaction, transaction_json
from earmark.anchor.evm import EvmTarget
from earmark.anchor.rpc import HttpRpc, RpcError
from earmark.anchor.target import Progress, Target
from earmark.errors import AnchorError, CorruptLog, EncodingError
from earmark.evidence import check_evm, check_evm_header
from earmark.mpt import keccak256

DIGEST = bytes(range(1, 33))
OTHER_KEY = keccak256(b"another test key")
GENESIS_S = 1_800_000_000
COIN = 10**18


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now_s = float(GENESIS_S)

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[DevChain]:
    with contextlib.closing(DevChain(tmp_path / "chain", Clock())) as opened:
        yield opened


@pytest.fixture
def target(chain: DevChain) -> EvmTarget:
    return EvmTarget(chain, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY)


class Liar:
    """An endpoint in front of another one whose answers to some methods are changed on the way."""

    def __init__(self, inner: rpc.Rpc) -> None:
        self.inner = inner
        self.changes: dict[str, Callable[[Any], Any]] = {}
        self.calls: list[str] = []

    def call(self, method: str, params: list[Any]) -> Any:
        self.calls.append(method)
        answer = copy.deepcopy(self.inner.call(method, params))
        return self.changes.get(method, lambda same: same)(answer)


@pytest.fixture
def liar(chain: DevChain) -> Liar:
    return Liar(chain)


def refusing(code: int, message: str) -> Callable[[Any], Any]:
    def refuse(_: Any) -> Any:
        raise RpcError("a method", code, message)

    return refuse


def spend(chain: DevChain, **terms: Any) -> bytes:
    """A transaction of the development account other than an anchor."""
    account = Account.from_key(DEVELOPMENT_KEY)
    fields = {"chainId": 131277322940537, "to": account.address, "value": 0, "gas": 21_000, "nonce": 0}
    fields |= {"maxFeePerGas": 3 * 10**9, "maxPriorityFeePerGas": 10**9} if "gasPrice" not in terms else {}
    return bytes(account.sign_transaction(fields | terms).raw_transaction)


def push(chain: DevChain, raw: bytes) -> str:
    return str(chain.call("eth_sendRawTransaction", ["0x" + raw.hex()]))


def hashes(chain: DevChain) -> list[str]:
    newest = int(chain.call("eth_blockNumber", []), 16)
    return [chain.call("eth_getBlockByNumber", [hex(n), False])["hash"] for n in range(newest + 1)]


# The life of an anchor


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
        target.send(payload)


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
    with pytest.raises(AnchorError, match="nonce too low.*sign anew"):
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
    with pytest.raises(AnchorError, match="deferred: .* the cap is 30 gwei"):
        for _ in range(50):
            payload = target.replace(payload)
    assert int(transaction_json(payload)["maxFeePerGas"], 16) <= 30 * 10**9


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


# Fees, funds, configuration


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
    with pytest.raises(AnchorError, match=f"{target.address} holds 0.000000000 .*: send funds there"):
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
    with pytest.raises(AnchorError, match="not a secp256k1 private key of 32 bytes$"):
        EvmTarget(chain, DEVELOPMENT_CHAIN, key)


def test_a_chain_that_is_none_is_refused(chain: DevChain) -> None:
    with pytest.raises(AnchorError, match="not an EVM chain"):
        EvmTarget(chain, "bip122:1", OTHER_KEY)


def test_the_key_is_not_in_the_representation(target: EvmTarget) -> None:
    assert repr(target) == f"EvmTarget('{DEVELOPMENT_CHAIN}', {target.address})"


# Endpoints that lie, or are of two minds


@pytest.fixture
def mined(chain: DevChain, target: EvmTarget) -> bytes:
    """A payload in a block of three transactions, its own in the middle."""
    push(chain, spend(chain, gasPrice=3 * 10**9))
    payload = target.sign(DIGEST)
    target.send(payload)
    push(chain, spend(chain, nonce=2))
    chain.mine()
    return payload


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
        ("eth_getTransactionByHash", edit("transactionIndex", value="0x0"), "does not prove the anchor: .*chain"),
        ("eth_getTransactionByHash", edit("transactionIndex", value="0x2"), "does not prove the anchor: .*calldata"),
        ("eth_getTransactionByHash", edit("blockNumber", value=1), "block number is not a quantity"),
        ("eth_getTransactionByHash", lambda _: [], "transaction is not an object"),
        ("eth_blockNumber", lambda _: None, "block number is not a quantity"),
    ],
)
def test_a_lying_endpoint_is_caught(liar: Liar, mined: bytes, method: str, change: Any, complaint: str) -> None:
    target = EvmTarget(liar, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY)
    liar.changes[method] = change
    if method == "eth_getTransactionByHash" and complaint.endswith("chain"):
        liar.changes["eth_getBlockByHash"] = lambda block: block
    if complaint.endswith("chain"):
        complaint = "does not prove the anchor"
    with pytest.raises(AnchorError, match=complaint):
        target.poll(mined)


def test_another_whole_block_than_the_one_asked_for_is_caught(chain: DevChain, liar: Liar, mined: bytes) -> None:
    target = EvmTarget(liar, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY)
    forged = chain.call("eth_getBlockByNumber", ["latest", True])
    forged["timestamp"] = hex(int(forged["timestamp"], 16) + 1)
    fields = [forged[name] for name in header_json(_header_of(chain)) if name != "hash"]
    assert len(fields) == 21
    forged["hash"] = "0x" + keccak256(_rebuilt(forged)).hex()
    liar.changes["eth_getBlockByHash"] = lambda _: forged
    with pytest.raises(AnchorError, match="another block than the one asked for"):
        target.poll(mined)


def _header_of(chain: DevChain) -> bytes:
    return build_header(chain.call("eth_getBlockByNumber", ["latest", False]))


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
        target.send(target.sign(DIGEST))


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
    first = bytes.fromhex(rlp.encode(b"").hex())
    raws = {
        entry["hash"]: build_transaction(entry)
        for entry in chain.call("eth_getBlockByNumber", ["latest", True])["transactions"]
    }
    assert first

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


# Blocks as JSON


def _typed(kind: int, tail: list[Any]) -> bytes:
    fields = [
        1,
        2,
        3,
        4,
        5,
        b"\x11" * 20,
        6,
        b"input",
        [[b"\x22" * 20, [b"\x33" * 32, b"\x44" * 32]]],
        *tail,
        1,
        2**255,
        7,
    ]
    return bytes([kind]) + rlp.encode(fields)


@pytest.mark.parametrize(
    "raw",
    [
        rlp.encode([0, 1, 2, b"", 3, b"", 27, 4, 5]),
        rlp.encode([9, 1, 2, b"\x11" * 20, 3, b"\x00", 38, 4, 5]),
        b"\x01" + rlp.encode([1, 2, 3, 4, b"", 5, b"x", [], 0, 6, 7]),
        _typed(2, []),
        _typed(3, [8, [b"\x01" + bytes(31), b"\x01" * 32]]),
        _typed(4, [[[1, b"\x55" * 20, 3, 0, 8, 9], [0, b"\x66" * 20, 0, 1, 2**200, 9]]]),
    ],
)
def test_transactions_of_every_type_survive_json(raw: bytes) -> None:
    form = json.loads(json.dumps(transaction_json(raw)))
    assert build_transaction(form) == raw
    if "yParity" in form:
        form["v"] = form.pop("yParity")  # as older endpoints have it
        assert build_transaction(form) == raw


@pytest.mark.parametrize("count", [15, 16, 17, 20, 21])
def test_headers_of_every_fork_survive_json(count: int) -> None:
    sizes = [32, 32, 20, 32, 32, 32, 256]
    fields = [bytes(size) for size in sizes] + [
        0,
        1,
        2,
        3,
        4,
        b"",
        bytes(32),
        bytes(8),
        0,
        bytes(32),
        0,
        0,
        bytes(32),
        bytes(32),
    ]
    header = rlp.encode(fields[:count])
    assert build_header(json.loads(json.dumps(header_json(header)))) == header


@pytest.mark.parametrize("name", ["eip2930", "log1_correct"])
def test_public_blocks_are_rebuilt_from_json(shared: Path, name: str) -> None:
    suite = json.loads((shared / f"vectors/ethereum/{name}.json").read_text())
    block = next(iter(suite.values()))["blocks"][0]
    fields = rlp.decode(bytes.fromhex(block["rlp"][2:]))
    renamed = {
        "bloom": "logsBloom",
        "coinbase": "miner",
        "receiptTrie": "receiptsRoot",
        "transactionsTrie": "transactionsRoot",
    }
    renamed["uncleHash"] = "sha3Uncles"
    header = {renamed.get(key, key): value for key, value in block["blockHeader"].items()}
    assert build_header(header) == rlp.encode(fields[0])
    raws = [entry if isinstance(entry, bytes) else rlp.encode(entry) for entry in fields[1]]
    for stated, raw in zip(block["transactions"], raws, strict=True):
        form = {**stated, "input": stated["data"], "gas": stated["gasLimit"], "hash": "0x" + keccak256(raw).hex()}
        assert build_transaction(form) == raw
    assert prove_transaction(raws, 0)[0].hex() == block["blockHeader"]["transactionsTrie"][2:]


# The development chain


def test_a_restarted_chain_has_the_same_blocks(tmp_path: Path) -> None:
    path, clock = tmp_path / "chain", Clock()
    with contextlib.closing(DevChain(path, clock)) as chain:
        target = EvmTarget(chain, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY)
        payloads = []
        for number in range(4):
            payloads.append(target.sign(bytes([number]) * 32))
            target.send(payloads[-1])
            clock.now_s += 12
            chain.mine()
            chain.mine()
        before, polled = hashes(chain), [target.poll(payload) for payload in payloads]
        balance = chain.call("eth_getBalance", [target.address, "latest"])
    clock.now_s += 3600
    with contextlib.closing(DevChain(path, clock)) as chain:
        target = EvmTarget(chain, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY)
        assert hashes(chain) == before
        assert [target.poll(payload) for payload in payloads] == polled
        assert chain.call("eth_getBalance", [target.address, "latest"]) == balance
        chain.mine()
        newest = chain.call("eth_getBlockByNumber", ["latest", False])
        assert newest["parentHash"] == before[-1]
        assert int(newest["timestamp"], 16) == int(clock.now_s)


def test_two_chains_have_different_blocks_though_nothing_else_differs(tmp_path: Path) -> None:
    seen = set()
    for name in ("one", "two"):
        with contextlib.closing(DevChain(tmp_path / name, Clock())) as chain:
            seen.add(chain.mine())
    assert len(seen) == 2


def test_times_never_stand_still(chain: DevChain) -> None:
    for _ in range(3):
        chain.mine()
    blocks = [chain.call("eth_getBlockByNumber", [hex(n), False]) for n in range(4)]
    assert [int(block["timestamp"], 16) - GENESIS_S for block in blocks] == [0, 1, 2, 3]


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    with contextlib.closing(DevChain(path)) as chain:
        chain.mine()
        before = hashes(chain)
        whole = path.stat().st_size
        chain.mine()
    content = path.read_bytes()
    for end in (whole, whole + 1, whole + 100, len(content) - 2, len(content) - 1):
        path.write_bytes(content[:end])
        with contextlib.closing(DevChain(path)) as chain:
            assert hashes(chain) == before
            chain.mine()
        with contextlib.closing(DevChain(path)) as chain:
            assert len(hashes(chain)) == 3
    path.write_bytes(content[:1])  # not even the genesis block was whole
    with contextlib.closing(DevChain(path)) as chain:
        assert len(hashes(chain)) == 1


def test_a_changed_file_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    with contextlib.closing(DevChain(path)) as chain:
        target = EvmTarget(chain, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY)
        target.send(target.sign(DIGEST))
        chain.mine()
        chain.mine()
    lines = path.read_text().splitlines(keepends=True)
    cases = {
        "does not replay at block 1": [lines[0], lines[2]],
        "does not replay at block 2": [lines[0], lines[1], lines[1]],
        "not hexadecimal": [lines[0], "zz\n"],
        "does not begin with a block": ["00\n"],
        "another version": [lines[0].replace("84", "85", 0)[:-1] + "00\n", lines[1]],
    }
    cases["another version"] = [lines[1]]
    for at in range(300, len(lines[1]) - 1, 331):
        digit = "0" if lines[1][at] != "0" else "1"
        path.write_text(lines[0] + lines[1][:at] + digit + lines[1][at + 1 :])
        with pytest.raises(CorruptLog, match="does not replay at block 1: move it away"):
            DevChain(path)
    for complaint, kept in cases.items():
        path.write_text("".join(kept))
        with pytest.raises(CorruptLog, match=complaint):
            DevChain(path)


@pytest.mark.parametrize("is_written", [False, True])
def test_a_block_that_cannot_be_written_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_written: bool
) -> None:
    path = tmp_path / "chain"
    with contextlib.closing(DevChain(path)) as chain:
        target = EvmTarget(chain, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY)
        chain.mine()
        payload = target.sign(DIGEST)
        target.send(payload)
        before = hashes(chain)

        def fail(descriptor: int) -> None:
            if not is_written:
                os.ftruncate(descriptor, path.stat().st_size - 9)
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(devchain.os, "fsync", fail)
            with pytest.raises(AnchorError, match="cannot write .*: No space left"):
                chain.mine()
        assert hashes(chain) == before
        assert target.poll(payload).state == "pending"
        chain.mine()
        assert target.poll(payload).state == "mined"
        after = hashes(chain)
    with contextlib.closing(DevChain(path)) as chain:
        assert hashes(chain) == after


MINER = """
import sys
from pathlib import Path
from earmark.anchor.devchain import DEVELOPMENT_CHAIN, DEVELOPMENT_KEY, DevChain
from earmark.anchor.evm import EvmTarget
chain = DevChain(Path(sys.argv[1]))
target = EvmTarget(chain, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY)
for number in range(100_000):
    target.send(target.sign(number.to_bytes(32, "big")))
    print(chain.mine().hex(), flush=True)
"""


@pytest.mark.faults
@pytest.mark.parametrize("count", [1, 7, 20])
def test_a_killed_chain_keeps_every_block_that_it_showed(tmp_path: Path, count: int) -> None:
    path = tmp_path / "chain"
    gateway = str(Path(earmark.anchor.__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", MINER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": gateway},
    ) as miner:
        assert miner.stdout is not None
        shown = [miner.stdout.readline().strip() for _ in range(count)]
        with pytest.raises(AnchorError, match="in use by another process"):
            DevChain(path)
        miner.send_signal(signal.SIGKILL)
        shown += [line.strip() for line in miner.stdout if line.endswith("\n")]
    with contextlib.closing(DevChain(path)) as chain:
        kept = [digest[2:] for digest in hashes(chain)[1:]]
        assert kept[: len(shown)] == shown
        assert len(kept) - len(shown) <= 1  # on disk, but killed before it said so


def test_a_chain_is_open_once(tmp_path: Path, chain: DevChain) -> None:
    with pytest.raises(AnchorError, match="in use by another process"):
        DevChain(tmp_path / "chain")
    with pytest.raises(AnchorError, match="cannot open .*No such file"):
        DevChain(tmp_path / "absent" / "chain")


def test_without_eth_tester_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(earmark.anchor, "devevm", raising=False)
    monkeypatch.setitem(sys.modules, "earmark.anchor.devevm", None)
    with pytest.raises(AnchorError, match=r"pip install 'earmark\[demo\]'"):
        DevChain(tmp_path / "chain")


def test_without_eth_account_or_trie_the_extra_is_named(
    chain: DevChain, target: EvmTarget, monkeypatch: pytest.MonkeyPatch, mined: bytes
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "eth_account", None)
        with pytest.raises(AnchorError, match=r"pip install 'earmark\[evm\]'"):
            EvmTarget(chain, DEVELOPMENT_CHAIN, OTHER_KEY)
    monkeypatch.setitem(sys.modules, "trie.hexary", None)
    with pytest.raises(AnchorError, match=r"pip install 'earmark\[evm\]'"):
        target.poll(mined)


@pytest.mark.parametrize(
    ("terms", "complaint"),
    [
        ({"nonce": 1}, "nonce too high"),
        ({"chainId": 1}, "invalid chain id"),
        ({"gas": 20_000}, "invalid transaction"),
        ({"value": 2_000_000 * COIN}, "insufficient funds"),
    ],
)
def test_the_pool_refuses_as_nodes_do(chain: DevChain, terms: dict[str, Any], complaint: str) -> None:
    with pytest.raises(RpcError, match=complaint):
        push(chain, spend(chain, **terms))


@pytest.mark.parametrize("raw", [b"", b"\x02", b"\x7f\xc0", b"\xc0", bytes(200)])
def test_the_pool_refuses_what_is_no_transaction(chain: DevChain, raw: bytes) -> None:
    with pytest.raises(RpcError, match="invalid transaction"):
        push(chain, raw)


def test_a_transaction_below_the_base_fee_waits_and_can_be_replaced(chain: DevChain) -> None:
    cheap = {"maxFeePerGas": 10**6, "maxPriorityFeePerGas": 1}
    waiting = push(chain, spend(chain, **cheap))
    chain.mine()
    assert chain.call("eth_getTransactionByHash", [waiting])["blockHash"] is None
    with pytest.raises(RpcError, match="underpriced"):
        push(chain, spend(chain, maxFeePerGas=10**6 + 1, maxPriorityFeePerGas=2))
    better = push(chain, spend(chain))
    block = chain.mine()
    assert chain.call("eth_getTransactionByHash", [better])["blockHash"] == "0x" + block.hex()
    assert chain.call("eth_getTransactionByHash", [waiting]) is None


def test_calls_that_make_no_sense_are_refused_as_endpoints_do(chain: DevChain) -> None:
    with pytest.raises(RpcError) as refusal:
        chain.call("eth_mystery", [])
    assert refusal.value.code == rpc.METHOD_NOT_FOUND
    bad: list[tuple[str, list[Any]]] = [
        ("eth_getBlockByNumber", []),
        ("eth_getBlockByNumber", ["newest", False]),
        ("eth_getBlockByNumber", [7, False]),
        ("eth_getTransactionByHash", ["0xzz"]),
        ("eth_getTransactionByHash", [None]),
    ]
    for method, params in bad:
        with pytest.raises(RpcError, match="invalid parameters"):
            chain.call(method, params)
    assert chain.call("eth_getBlockByHash", ["0x" + "00" * 32, False]) is None
    assert chain.call("eth_getBlockByNumber", ["0x99", False]) is None


# HTTP


class Endpoint(http.server.ThreadingHTTPServer):
    """A loopback JSON-RPC endpoint; `respond` may be replaced to answer in other ways."""

    daemon_threads = True

    def __init__(self, inner: rpc.Rpc) -> None:
        super().__init__(("127.0.0.1", 0), _Exchange)
        self.inner = inner
        self.respond: Callable[[dict[str, Any]], tuple[int, bytes]] = self.answer
        self.headers: dict[str, str] = {}
        self.claimed_length: int | None = None
        self.requests: list[tuple[str, str | None]] = []

    def answer(self, request: dict[str, Any]) -> tuple[int, bytes]:
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"]}
        try:
            answer["result"] = self.inner.call(request["method"], request["params"])
        except RpcError as error:
            answer["error"] = {"code": error.code, "message": error.message}
        return 200, json.dumps(answer).encode()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Exchange(http.server.BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, self.headers["Authorization"]))
        status, body = self.server.respond(request)
        self.send_response(status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(self.server.claimed_length or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def endpoint(chain: DevChain) -> Iterator[Endpoint]:
    with Endpoint(chain) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_an_anchor_over_http(chain: DevChain, endpoint: Endpoint) -> None:
    target = EvmTarget(HttpRpc(endpoint.url), DEVELOPMENT_CHAIN, DEVELOPMENT_KEY)
    payload = target.sign(DIGEST)
    for _ in range(2):
        target.send(payload)
    for _ in range(3):
        chain.mine()
    target.send(payload)
    progress = target.poll(payload)
    assert progress.state == "final"
    assert progress.evidence is not None
    assert check_evm(DEVELOPMENT_CHAIN, progress.evidence, DIGEST) == progress.block


def test_an_endpoint_that_is_down_is_named_without_its_secrets() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    target = EvmTarget(
        HttpRpc(f"http://me:hush@127.0.0.1:{port}/v3/secret?k=hidden"), DEVELOPMENT_CHAIN, DEVELOPMENT_KEY
    )
    for use in (target.check_chain, target.head, lambda: target.sign(DIGEST)):
        with pytest.raises(AnchorError, match=f"http://127.0.0.1:{port} is unavailable") as failure:
            use()
        _assert_silent(failure.value)


def _assert_silent(error: BaseException | None) -> None:
    """Neither the error nor what it was raised from tells a secret."""
    while error is not None:
        assert not re.search("hush|secret|hidden", f"{error} {error!r}".replace("[hidden]", ""))
        error = error.__cause__


@pytest.mark.parametrize(
    ("status", "body", "complaint"),
    [
        (500, b"<html>/v3/secret", "HTTP 500 and no JSON"),
        (200, b"\xff\xfe", "HTTP 200 and no JSON"),
        (200, b"[" * 100_000, "HTTP 200 and no JSON"),
        (200, b"[]", "HTTP 200 and no result"),
        (200, b'{"jsonrpc":"2.0","id":77,"result":"0x1"}', "HTTP 200 and no result"),
        (200, b'{"jsonrpc":"2.0","id":1}', "HTTP 200 and no result"),
        (403, b'{"jsonrpc":"2.0","id":1,"result":"0x1"}', "HTTP 403 and no result"),
        (307, b"", "redirects elsewhere"),
        (200, b"0" * 5000, "more than 4096 bytes"),
        (401, b'{"error":{"code":-32001,"message":"bad key /v3/secret?k=hidden of hush"}}', "of \\[hidden\\]"),
        (200, b'{"error":{"code":"x","message":null}}', "None \\(code 0\\)"),
    ],
)
def test_answers_that_are_none_are_refused(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, complaint: str
) -> None:
    monkeypatch.setattr(rpc, "MAX_RESPONSE", 4096 if body.startswith(b"0") else 1 << 20)
    endpoint.respond = lambda _: (status, body)
    endpoint.headers = {"Location": "http://127.0.0.1:1/"}
    client = HttpRpc(endpoint.url.replace("//", "//me:hush@") + "/v3/secret?k=hidden")
    with pytest.raises(AnchorError, match=complaint) as failure:
        client.call("eth_chainId", [])
    _assert_silent(failure.value)
    assert endpoint.requests == [("/v3/secret?k=hidden", "Basic bWU6aHVzaA==")]
    assert "hush" not in repr(client)


def test_an_answer_that_breaks_off_is_refused(endpoint: Endpoint) -> None:
    endpoint.claimed_length = 10_000
    with pytest.raises(AnchorError, match="is unavailable \\(IncompleteRead\\)"):
        HttpRpc(endpoint.url).call("eth_chainId", [])


def test_an_endpoint_that_never_answers_times_out(endpoint: Endpoint) -> None:
    is_over = threading.Event()
    endpoint.respond = lambda _: (200, b"{}" if is_over.wait(30) else b"")
    try:
        with pytest.raises(AnchorError, match="is unavailable \\(timed out\\)"):
            HttpRpc(endpoint.url, timeout_s=0.1).call("eth_chainId", [])
    finally:
        is_over.set()


@pytest.mark.parametrize("url", ["", "127.0.0.1:8545", "ftp://host", "http://", "http://host:port", "http://[::1"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(AnchorError, match="https://host:port/path"):
        HttpRpc(url)


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
