"""What anchors on Bitcoin cost, what pays for them, and how they are replaced."""

import itertools
from decimal import Decimal

import pytest

from bitcoin_fakes import FakeCore, read_tx
from bitcoin_targets import DIGEST, FUNDS, MUCH, OTHER_KEY, open_target, script_of, sent
from earmark.anchor.bitcoin import BitcoinTarget
from earmark.anchor.btctx import decode_payload
from earmark.anchor.target import Deferred, Progress
from earmark.errors import AnchorError
from earmark.evidence.bitcoin import REGTEST

pytest_plugins = ["bitcoin_fixtures"]


def test_a_replacement_competes_for_the_same_coins(node: FakeCore, payer: BitcoinTarget) -> None:
    payload = sent(payer)
    first = decode_payload(payload)
    signed = payer.replace(payload, MUCH)
    both = decode_payload(signed.payload)
    assert both.raws[0] == first.raws[0]
    assert (both.coins, both.newest.digest, both.newest.lock_time) == (first.coins, DIGEST, first.newest.lock_time)
    assert signed.cost == 153 + 153 == both.fee(both.newest)
    payer.send(signed.payload)
    assert list(node.pool) == [both.newest.txid]
    again = payer.replace(signed.payload, MUCH)
    assert again.cost == 306 + 153
    waiting = Progress("pending", decode_payload(again.payload).newest.txid)
    assert payer.poll(again.payload) == waiting  # the one before it is in the pool
    node.mine()
    for payload in (signed.payload, again.payload):
        progress = payer.poll(payload)
        assert (progress.state, progress.reference, progress.cost) == ("mined", both.newest.txid, 306)
    node.reorg(1, keep=False, txs=[read_tx(both.raws[0])])
    progress = open_target(node).poll(signed.payload)
    assert (progress.state, progress.reference, progress.cost) == ("mined", both.anchors[0].txid, 153)


def test_replacements_are_at_least_an_eighth_higher_and_stop_at_the_cap(node: FakeCore, payer: BitcoinTarget) -> None:
    payload, costs = sent(payer), [153]
    while costs[-1] < 46 * 153:
        signed = payer.replace(payload, MUCH)
        payload = payer.send(signed.payload)
        costs.append(signed.cost)
    assert all(new >= old + 153 and 8 * new >= 9 * old for old, new in itertools.pairwise(costs))
    with pytest.raises(Deferred, match=r"asks 5\d\.\d+ sat/vB, the cap is 50 sat/vB"):
        payer.replace(payload, MUCH)
    assert costs[-1] <= 50 * 153
    node.mine(7)
    assert payer.poll(payload).cost == costs[-1]


def test_a_replacement_eats_its_change_and_then_there_is_no_more(node: FakeCore) -> None:
    node = FakeCore()
    payer = open_target(node)
    node.fund(script_of(payer), 700)
    first = payer.sign(DIGEST, MUCH)
    second = payer.replace(first.payload, MUCH)
    third = payer.replace(second.payload, MUCH)
    assert [first.cost, second.cost, third.cost] == [153, 306, 700]
    with pytest.raises(AnchorError, match="the coins of the anchor hold 700 satoshi, a replacement needs 853"):
        payer.replace(third.payload, MUCH)
    for signed in (first, second, third):
        payer.send(signed.payload)
    node.mine(6)
    assert (payer.poll(third.payload).state, payer.poll(third.payload).cost) == ("final", 700)


def test_only_its_own_key_replaces_a_payload(node: FakeCore, payer: BitcoinTarget) -> None:
    with pytest.raises(AnchorError, match="signed with another key"):
        BitcoinTarget(node, REGTEST, OTHER_KEY).replace(payer.sign(DIGEST, MUCH).payload, MUCH)


@pytest.mark.parametrize(
    ("estimate", "minimum", "cost"),
    [
        ("0.00001", "0.00001", 153),
        ("0.000001", "0.000001", 153),  # one satoshi for each vbyte at least
        ("0.00012345", "0.00001", 1889),
        ("0.00002", "0.00003", 459),
        (None, "0.00001", 153),
        (None, "0.0001", 1530),
    ],
)
def test_the_fee_is_the_estimate_and_at_least_what_the_pool_asks(
    node: FakeCore, payer: BitcoinTarget, estimate: str | None, minimum: str, cost: int
) -> None:
    node.estimate, node.pool_minimum = estimate and Decimal(estimate), Decimal(minimum)
    signed = payer.sign(DIGEST, MUCH)
    assert signed.cost == cost
    payer.send(signed.payload)


def test_fees_above_the_cap_and_the_months_budget_defer(node: FakeCore, payer: BitcoinTarget) -> None:
    payload = sent(payer)
    node.mine(7)
    payer.poll(payload)
    with pytest.raises(Deferred, match=r"costs 153 satoshi, 152 are left of the month's budget.*raise month_budget"):
        payer.sign(DIGEST, 152)
    with pytest.raises(Deferred, match=r"costs 153 satoshi, 0 are left"):
        payer.sign(DIGEST, -1)
    node.estimate = Decimal("0.00050001")
    for use in (lambda: payer.sign(DIGEST, MUCH), lambda: payer.replace(payer.sign(DIGEST, MUCH).payload, MUCH)):
        with pytest.raises(Deferred, match=r"deferred: bip122:\w+ asks 50.001 sat/vB, the cap is 50 sat/vB"):
            use()
    assert open_target(node, fee_cap_sat_vb=50.001).sign(DIGEST, MUCH).cost == 7651


def test_an_empty_address_is_noticed_and_new_coins_are_found_with_the_next_block() -> None:
    node = FakeCore()
    payer = open_target(node)
    for _ in range(3):
        with pytest.raises(AnchorError, match=rf"{payer.address} holds 0 satoshi .* needs 153: send funds there"):
            payer.sign(DIGEST, MUCH)
    assert node.calls.count("scantxoutset") == 1
    node.fund(script_of(payer), 100)
    with pytest.raises(AnchorError, match="holds 100 satoshi"):
        payer.sign(DIGEST, MUCH)
    node.fund(script_of(payer), 1000)
    assert payer.sign(DIGEST, MUCH).cost == 153
    assert node.calls.count("scantxoutset") == 3


def test_how_many_anchors_are_left(node: FakeCore, payer: BitcoinTarget) -> None:
    assert payer.anchors_left() == FUNDS // 153
    node.estimate = Decimal("0.00010")
    assert payer.anchors_left() == FUNDS // 1530
    node.estimate = Decimal("0.00050")
    assert payer.anchors_left() == FUNDS // 7650 == 13
    node.fund(script_of(payer), FUNDS, depth=1)
    assert payer.anchors_left() == 13
    node.mine(6)
    assert payer.anchors_left() == 26


def test_dust_of_others_makes_no_work() -> None:
    node = FakeCore()
    payer = open_target(node)
    node.fund(script_of(payer), *[330] * 240, FUNDS)
    payer.sign(DIGEST, MUCH)
    assert node.calls.count("gettxout") <= 100
    assert payer.sign(DIGEST, MUCH).cost == 153
