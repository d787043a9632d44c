"""The life of an anchor on Bitcoin, on a node in memory, and where its settings lead."""

import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from embit import script
from embit.transaction import Transaction, TransactionInput, TransactionOutput

from bitcoin_fakes import BITS, FakeCore, read_tx
from bitcoin_targets import DIGEST, FUNDS, KEY, MUCH, open_target, script_of, sent
from earmark import public
from earmark.anchor import bitcoin
from earmark.anchor.bitcoin import BitcoinTarget
from earmark.anchor.btctx import decode_payload
from earmark.anchor.target import Deferred, Progress, Target
from earmark.errors import AnchorError, ConfigError
from earmark.evidence.bitcoin import EASIEST, MAINNET, REGTEST, check_bitcoin_header, check_ots
from earmark.settings import AnchorSettings

pytest_plugins = ["bitcoin_fixtures"]


@pytest.mark.parametrize("has_index", [False, True])
@pytest.mark.parametrize("has_change", [False, True])
@pytest.mark.parametrize("others", [0, 1, 2, 5])
def test_an_anchor_from_signed_to_final(has_index: bool, has_change: bool, others: int) -> None:
    node = FakeCore()
    node.has_index = has_index
    payer: Target = open_target(node)
    assert isinstance(payer, BitcoinTarget)
    node.fund(script_of(payer), FUNDS if has_change else 300)
    payload = payer.sign(DIGEST, MUCH).payload
    reference = decode_payload(payload).newest.txid
    assert bool(decode_payload(payload).newest.change) is has_change
    assert payer.poll(payload) == Progress("unknown", reference)
    assert payer.send(payload) == payload
    assert payer.poll(payload) == Progress("pending", reference)
    node.mine(txs=[node.spend_elsewhere(("ab" * 32, number)) for number in range(others)])
    mined = node.chain[-1]
    for confirmations in range(1, 9):
        for asked in (payer, open_target(node)):  # with and without what it learnt before
            progress = asked.poll(payload)
            state = "final" if confirmations >= 6 else "mined"
            assert (progress.state, progress.confirmations, progress.reference) == (state, confirmations, reference)
            assert progress.cost == (153 if has_change else 300)
            assert progress.evidence is not None
            assert check_ots(REGTEST, progress.evidence, DIGEST) == progress.block
            assert progress.block is not None
            assert (progress.block.hash.hex(), progress.block.number) == (mined.hash, mined.height)
        node.mine()


def test_it_is_found_without_index_once_the_next_anchor_has_spent_its_change(node: FakeCore) -> None:
    payer = open_target(node)
    first = sent(payer)
    node.mine(8)
    second = sent(payer, bytes(32))
    assert decode_payload(second).coins[0].txid == decode_payload(first).newest.txid
    node.mine(4)
    for asked in (payer, open_target(node)):
        assert (asked.poll(first).state, asked.poll(first).confirmations) == ("final", 12)
        assert asked.poll(second).state == "mined"


def test_the_change_is_the_next_coin_and_nothing_is_searched_for_again(node: FakeCore, payer: BitcoinTarget) -> None:
    for number in range(4):
        payload = sent(payer, bytes([number]) * 32)
        node.mine(7)
        assert payer.poll(payload).state == "final"
    assert node.calls.count("scantxoutset") == 1
    assert len(node.mined()) == 4


def test_a_coin_may_be_spent_once_it_is_one_deeper_than_final(node: FakeCore, payer: BitcoinTarget) -> None:
    payload = sent(payer)
    for _ in range(6):
        node.mine()
        payer.poll(payload)
        with pytest.raises(Deferred, match=r"99847 satoshi at bcrt1\w+ are not 7 blocks deep yet"):
            payer.sign(DIGEST, MUCH)
    node.mine()
    assert payer.sign(DIGEST, MUCH).cost == 153


def test_a_miners_reward_waits_for_a_hundred_blocks() -> None:
    node = FakeCore()
    payer = open_target(node)
    found = node.fund(script_of(payer), FUNDS)
    node.changes["gettxout"] = lambda out: out and out | {"coinbase": True}
    node.mine(88)
    with pytest.raises(Deferred, match="blocks deep yet"):
        payer.sign(DIGEST, MUCH)
    node.mine(2)
    assert [(coin.txid, coin.vout) for coin in decode_payload(payer.sign(DIGEST, MUCH).payload).coins] == found


def test_sending_again_is_a_success_at_every_stage(node: FakeCore, payer: BitcoinTarget) -> None:
    payload = sent(payer)
    for _ in range(9):
        assert payer.send(payload) == payload
        node.mine()
    sent(payer, bytes(32))
    node.mine()
    assert payer.send(payload) == payload  # nothing of it is in the set of unspent outputs any more
    assert len(set(node.mined())) == 2


def test_an_answer_to_sending_is_not_believed(node: FakeCore, payer: BitcoinTarget) -> None:
    payload = payer.sign(DIGEST, MUCH).payload
    node.pool_minimum, node.rejects_silently = Decimal("0.0001"), True
    with pytest.raises(AnchorError, match="neither in its pool nor in a block"):
        payer.send(payload)
    node.rejects_silently = False
    with pytest.raises(AnchorError, match=r"min fee not met.*replaced in its time"):
        payer.send(payload)


def test_a_lost_pool_and_a_reorganisation_lead_back(node: FakeCore, payer: BitcoinTarget) -> None:
    payload = sent(payer)
    node.restart()
    assert payer.poll(payload).state == "unknown"
    payer.send(payload)
    node.mine(3)
    first = payer.poll(payload)
    node.reorg(3)
    assert payer.poll(payload).state == "pending"
    node.restart()
    assert payer.poll(payload).state == "unknown"
    payer.send(payload)
    node.mine()
    second = payer.poll(payload)
    assert (first.state, second.state) == ("mined", "mined")
    assert first.block != second.block


@pytest.mark.parametrize("restarted", [False, True])
def test_a_payload_whose_coin_went_elsewhere_ends_void(node: FakeCore, payer: BitcoinTarget, restarted: bool) -> None:
    payload = sent(payer)
    coin = decode_payload(payload).coins[0]
    node.mine(2, with_pool=False, txs=[node.spend_elsewhere((coin.txid, coin.vout))])
    for depth in range(2, 9):
        progress = (open_target(node) if restarted else payer).poll(payload)
        assert progress.state == ("void" if depth >= 6 else "pending")
        assert "another transaction that spends its coin" in progress.reason
        node.mine()
    with pytest.raises(AnchorError, match=r"missingorspent.*signed anew"):
        payer.send(payload)
    with pytest.raises(AnchorError, match="no higher fee helps"):
        payer.replace(payload, MUCH)


def test_a_rival_in_the_pool_is_waited_for(node: FakeCore, payer: BitcoinTarget) -> None:
    payload, rival = payer.sign(DIGEST, MUCH).payload, payer.sign(bytes(32), MUCH).payload
    payer.send(rival)
    progress = payer.poll(payload)
    assert (progress.state, "waits in the pool" in progress.reason) == ("pending", True)
    node.mine()
    assert payer.poll(payload).state == "pending"
    node.reorg(1, keep=False)
    assert payer.poll(payload).state == "unknown"


def test_a_coin_that_a_deep_reorganisation_took_is_given_up_after_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bitcoin, "LOST_AFTER", 20)
    node = FakeCore()
    node.mine(200)
    payer = open_target(node)
    node.fund(script_of(payer), FUNDS)
    payload = sent(payer)
    node.reorg(12, keep=False)
    assert payer.poll(payload).state == "unknown"
    with pytest.raises(AnchorError, match="spent or gone"):
        payer.send(payload)
    node.mine(20)
    assert payer.poll(payload).state == "void"


def test_who_spent_a_coin_is_looked_for_piece_by_piece(
    node: FakeCore, payer: BitcoinTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bitcoin, "WALK", 4)
    payload = sent(payer)
    coin = decode_payload(payload).coins[0]
    node.mine(with_pool=False, txs=[node.spend_elsewhere((coin.txid, coin.vout))])
    node.mine(9)
    for found in (7, 3):
        with pytest.raises(AnchorError, match=rf"nobody in block {node.height - 10 + found} or later"):
            payer.poll(payload)
    assert payer.poll(payload).state == "void"


@pytest.mark.parametrize("is_bare", [False, True])
def test_a_strangers_bytes_that_name_a_coin_spend_nothing(node: FakeCore, is_bare: bool) -> None:
    """Neither in an output nor in a witness; ours, in a block below, is found."""
    payer = open_target(node)
    payload = sent(payer)
    coin = decode_payload(payload).coins[0]
    node.mine()
    spent = TransactionInput(bytes(range(32)), 3, script.Script(b"\x51"))
    spent.witness = script.Witness([] if is_bare else [coin.wire, b"\x51" * 300])
    paid = [TransactionOutput(0, script.Script(b"\x6a\x4c\x24" + coin.wire)) for _ in range(300)]
    change = (decode_payload(payload).newest.txid, 1)
    stranger = read_tx(Transaction(2, [spent], paid, 0).serialize())
    node.mine(with_pool=False, txs=[stranger, node.spend_elsewhere(change)])
    node.mine(8)
    assert payer.poll(payload).state == "final"


def test_a_block_that_is_none_is_not_believed(node: FakeCore, payer: BitcoinTarget) -> None:
    payload = sent(payer)
    coin = decode_payload(payload).coins[0]
    node.mine(with_pool=False, txs=[node.spend_elsewhere((coin.txid, coin.vout))])
    node.changes["getblock"] = lambda block: block[:-20] if isinstance(block, str) else block
    with pytest.raises(AnchorError, match="cannot be read"):
        payer.poll(payload)


# Configuration


def test_the_address_is_of_the_chain(node: FakeCore) -> None:
    starts = {chain: BitcoinTarget(node, chain, KEY).address.split("1")[0] for chain in EASIEST}
    assert (starts.pop(MAINNET), starts.pop(REGTEST), set(starts.values())) == ("bc", "bcrt", {"tb"})


def test_a_node_of_another_chain_is_refused_by_every_method(node: FakeCore, payer: BitcoinTarget) -> None:
    payload = payer.sign(DIGEST, MUCH).payload
    wrong = BitcoinTarget(node, MAINNET, KEY)
    uses: list[Callable[[], Any]] = [
        wrong.check_chain,
        wrong.head,
        wrong.anchors_left,
        lambda: wrong.sign(DIGEST, MUCH),
        lambda: wrong.send(payload),
        lambda: wrong.poll(payload),
        lambda: wrong.replace(payload, MUCH),
    ]
    for use in uses:
        with pytest.raises(AnchorError, match=f"serves {REGTEST}, not {MAINNET}"):
            use()
    assert not node.pool


@pytest.mark.parametrize("key", [b"", bytes(32), b"\x01" * 31, b"\x01" * 33, b"\xff" * 32])
def test_a_key_that_is_none_is_refused_without_showing_it(node: FakeCore, key: bytes) -> None:
    with pytest.raises(AnchorError, match=r"not a secp256k1 private key of 32 bytes$"):
        BitcoinTarget(node, REGTEST, key)


def test_a_chain_that_is_none_is_refused(node: FakeCore) -> None:
    with pytest.raises(AnchorError, match="none of Bitcoin's chains"):
        BitcoinTarget(node, "eip155:1", KEY)


def test_the_key_is_not_in_the_representation(payer: BitcoinTarget) -> None:
    assert repr(payer) == f"BitcoinTarget('{REGTEST}', {payer.address})"


def test_the_head_is_two_below_the_tip(node: FakeCore, payer: BitcoinTarget) -> None:
    for _ in range(3):
        block, header = payer.head()
        assert block == check_bitcoin_header(REGTEST, header, node.height - 2)
        assert block.hash.hex() == node.chain[-3].hash
        assert header[72:76] == BITS
        node.mine()


def farm_with(tmp_path: Path, key: str, url: str = "http://user:hush@127.0.0.1:1", **terms: Any) -> Target:
    """The target of an [[anchor]] table in a farm's folder."""
    for name, text in (("url", url), ("key", key)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    table = AnchorSettings(chain=REGTEST, rpc_file="url", key_file="key", **terms)
    return public.open_target(tmp_path, table, None)


def test_a_table_of_a_bitcoin_chain_leads_to_it(tmp_path: Path) -> None:
    payer = farm_with(tmp_path, KEY.hex() + "\n", name="btc", fee_cap_sat_vb=7.5, confirmations=3)
    assert isinstance(payer, BitcoinTarget)
    assert (payer.place.name, payer.place.kind, payer.place.chain) == ("btc", "ots", REGTEST)
    assert (payer._cap, payer._confirmations, payer.place.at_once) == (7500, 3, 1)
    usual = farm_with(tmp_path, "0x" + KEY.hex())
    assert isinstance(usual, BitcoinTarget)
    assert (usual._cap, usual._confirmations, usual.place.name) == (50_000, 6, REGTEST)
    with pytest.raises(AnchorError, match=r"127.0.0.1:1 is unavailable") as failure:
        usual.check_chain()
    assert "hush" not in str(failure.value)


@pytest.mark.parametrize(
    ("key", "url", "complaint"),
    [
        ("00" * 32, "http://127.0.0.1:1", "key: the anchor key is not a secp256k1 private key"),
        ("xyz", "http://127.0.0.1:1", "key does not hold a key in hexadecimal digits"),
        ("01" * 32, "127.0.0.1:8332", "url or key: the endpoint's URL is not like"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, key: str, url: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        farm_with(tmp_path, key, url)


def test_without_embit_the_extra_is_named(node: FakeCore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "embit.ec", None)
    with pytest.raises(AnchorError, match=r"embit.ec is not installed: pip install 'earmark\[bitcoin\]'"):
        open_target(node)
