"""The Bitcoin target against nodes that lie, answer nonsense, or are of two minds."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from bitcoin_fakes import FakeCore
from bitcoin_targets import DIGEST, KEY, MUCH
from earmark.anchor.bitcoin import BitcoinTarget
from earmark.anchor.rpc import RpcError
from earmark.errors import AnchorError
from earmark.evidence.bitcoin import REGTEST, check_ots

pytest_plugins = ["bitcoin_fixtures"]


@pytest.fixture
def mined(node: FakeCore) -> bytes:
    """A payload in a block of four transactions."""
    payer = BitcoinTarget(node, REGTEST, KEY)
    payload = payer.send(payer.sign(DIGEST, MUCH).payload)
    node.mine(2, txs=[node.spend_elsewhere(("ab" * 32, number)) for number in range(2)])
    return payload


def refusing(code: int, message: str) -> Callable[[Any], Any]:
    def refuse(_: Any) -> Any:
        raise RpcError("a method", code, message)

    return refuse


def flip(text: str) -> str:
    return text[:20] + f"{int(text[20], 16) ^ 1:x}" + text[21:]


def raw_header(change: Callable[[str], Any]) -> Callable[[Any], Any]:
    return lambda answer: change(answer) if isinstance(answer, str) else answer


def field(name: str, value: Any) -> Callable[[Any], Any]:
    def change(answer: Any) -> Any:
        return answer | {name: value} if isinstance(answer, dict) else answer

    return change


@pytest.mark.parametrize(
    ("method", "change", "complaint"),
    [
        ("getblockheader", raw_header(flip), "does not hash to it: use another node"),
        ("getblockheader", raw_header(lambda header: header[:-2]), "does not hash to it"),
        ("getblockheader", raw_header(lambda _: "zz"), "header is not in hexadecimal digits"),
        ("getblockheader", raw_header(lambda _: None), "header is not in hexadecimal digits"),
        ("getblockheader", field("confirmations", "1"), "says nothing of confirmations"),
        ("getblockheader", field("height", -1), "height is not a number"),
        ("getblockheader", lambda _: [], "header is not an object"),
        ("getblock", lambda block: block | {"tx": block["tx"][:1]}, "which does not list it"),
        ("getblock", lambda block: block | {"tx": block["tx"][::-1]}, "does not prove the anchor: the timestamp leads"),
        ("getblock", lambda block: block | {"tx": block["tx"][1:]}, "does not prove the anchor: the timestamp leads"),
        ("getblock", lambda block: block | {"tx": [*block["tx"], "ab" * 32]}, "does not prove the anchor"),
        ("getblock", field("tx", []), "lists no transactions"),
        ("getblock", field("tx", "ab"), "lists no transactions"),
        ("getblock", field("tx", [7]), "transaction id is not 32 bytes"),
        ("getblock", lambda _: None, "block is not an object"),
        ("gettxout", field("confirmations", 9), "which does not list it"),
        ("gettxout", field("confirmations", 10**6), "in no block of its chain"),
        ("gettxout", field("confirmations", 0), "in no block of its chain"),
        ("gettxout", field("bestblock", "00"), "block hash is not 32 bytes"),
        ("gettxout", field("value", 0.5), "amount is not an amount of bitcoin: 0.5"),
        ("gettxout", field("scriptPubKey", None), "script is not an object"),
        ("gettxout", lambda _: "", "output is not an object"),
        ("getrawtransaction", lambda _: [], "transaction is not an object"),
        ("getblockhash", lambda _: "00" * 31, "block hash is not 32 bytes"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    node: FakeCore, mined: bytes, method: str, change: Callable[[Any], Any], complaint: str
) -> None:
    payer = BitcoinTarget(node, REGTEST, KEY)
    node.changes[method] = change
    if method == "getrawtransaction":
        node.reorg(2)
    with pytest.raises(AnchorError, match=complaint):
        payer.poll(mined)
    node.changes.clear()
    assert payer.poll(mined).state in ("mined", "pending")


def test_a_coin_of_another_amount_or_script_is_not_signed_for(node: FakeCore) -> None:
    payer = BitcoinTarget(node, REGTEST, KEY)
    node.changes["gettxout"] = field("scriptPubKey", {"hex": "51"})
    with pytest.raises(AnchorError, match="holds 0 satoshi"):
        payer.sign(DIGEST, MUCH)
    node.changes["gettxout"] = field("value", Decimal(5))
    payload = BitcoinTarget(node, REGTEST, KEY).sign(DIGEST, MUCH).payload
    with pytest.raises(AnchorError, match="script-verify-flag-failed"):  # a signature covers the amount
        payer.send(payload)


@pytest.mark.parametrize(
    ("method", "change", "complaint"),
    [
        ("estimatesmartfee", lambda _: None, "estimate is not an object"),
        ("estimatesmartfee", field("feerate", "much"), "fee rate is not an amount"),
        ("estimatesmartfee", field("feerate", Decimal(1)), "deferred: .* asks 100000 sat/vB"),
        ("getmempoolinfo", lambda _: 1, "pool is not an object"),
        ("getmempoolinfo", field("mempoolminfee", Decimal(-1)), "mempoolminfee is not an amount"),
        ("scantxoutset", lambda _: False, "answer is not an object"),
        ("scantxoutset", field("success", False), "ended early"),
        ("scantxoutset", field("unspents", None), "ended early"),
        ("scantxoutset", field("unspents", [{"txid": "xx", "vout": 0, "amount": 1}]), "transaction id is not"),
        ("scantxoutset", refusing(-8, "Scan already in progress"), "Scan already in progress"),
        ("getblockcount", lambda _: True, "height is not a number"),
        ("getblockcount", refusing(-28, "Loading block index…"), r"Loading block index… \(code -28\)"),
    ],
)
def test_nonsense_before_signing_is_refused_by_name(
    node: FakeCore, method: str, change: Callable[[Any], Any], complaint: str
) -> None:
    node.changes[method] = change
    with pytest.raises(AnchorError, match=complaint):
        BitcoinTarget(node, REGTEST, KEY).sign(DIGEST, MUCH)


def test_a_pool_that_says_less_than_core_is_enough(node: FakeCore) -> None:
    node.changes["getmempoolinfo"] = lambda _: {}
    node.changes["estimatesmartfee"] = lambda _: {"feerate": -1, "blocks": 6}
    payer = BitcoinTarget(node, REGTEST, KEY)
    payload = payer.send(payer.sign(DIGEST, MUCH).payload)
    assert payer.replace(payload, MUCH).cost == 306


def test_a_block_without_work_or_another_block_is_no_beacon(node: FakeCore) -> None:
    payer = BitcoinTarget(node, REGTEST, KEY)
    node.changes["getblockheader"] = raw_header(flip)
    with pytest.raises(AnchorError, match="does not hash to it"):
        payer.head()
    node.changes.clear()
    other = node.chain[3].header.hex()
    node.changes["getblockheader"] = raw_header(lambda _: other)
    with pytest.raises(AnchorError, match="does not hash to it"):
        payer.head()


def test_a_block_without_work_is_no_evidence_whoever_hashes_it(node: FakeCore, mined: bytes) -> None:
    header = node.chain[-2].header
    easy = header[:72] + bytes.fromhex("ffff7f21") + header[76:]  # a target beyond the chain's easiest
    forged = type(node.chain[-2])(easy, node.chain[-2].txs, node.chain[-2].height, node.chain[-2].previous)
    node.chain[-2] = forged
    node.blocks[forged.hash] = forged
    with pytest.raises(AnchorError, match=r"is none of bip122:.*(target|work)"):
        BitcoinTarget(node, REGTEST, KEY).poll(mined)


def test_an_index_that_names_a_stale_block_is_not_believed(node: FakeCore, mined: bytes) -> None:
    node.has_index = True
    payer = BitcoinTarget(node, REGTEST, KEY)
    assert payer.poll(mined).state == "mined"
    node.reorg(2, keep=False)
    assert payer.poll(mined).state == "unknown"
    payer.send(mined)
    assert payer.poll(mined).state == "pending"
    node.mine()
    assert payer.poll(mined).confirmations == 1


def test_a_reorganisation_between_two_questions_is_asked_again(node: FakeCore, mined: bytes) -> None:
    for at in range(12):
        payer = BitcoinTarget(node, REGTEST, KEY)
        left = at

        def fuse(_: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                node.reorg(2)
                node.mine(2)

        node.fuse = fuse
        try:
            progress = payer.poll(mined)
        except AnchorError:
            progress = payer.poll(mined)
        node.fuse = lambda _: None
        if progress.state == "mined":
            assert progress.evidence is not None
            assert check_ots(REGTEST, progress.evidence, DIGEST) == progress.block
        progress = payer.poll(mined)
        assert progress.state == "mined"
        assert progress.block is not None
        assert progress.block.hash.hex() in [block.hash for block in node.chain]


def test_the_block_is_fetched_once(node: FakeCore, mined: bytes) -> None:
    payer = BitcoinTarget(node, REGTEST, KEY)
    assert payer.poll(mined).evidence == payer.poll(mined).evidence
    assert node.calls.count("getblock") == 1
