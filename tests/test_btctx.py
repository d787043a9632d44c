"""The bytes of anchors on Bitcoin: sizes, change, the way to the Merkle root, and payloads that are none."""

from decimal import Decimal
from typing import Any

import pytest

from bitcoin_fakes import COIN, FakeCore, digest_of, read_tx, root_of
from bitcoin_targets import DIGEST, FUNDS, MUCH, open_target, script_of
from earmark import cbor, ots
from earmark.anchor import btctx
from earmark.anchor.bitcoin import BitcoinTarget
from earmark.anchor.btctx import Coin, decode_payload, merkle_ops
from earmark.anchor.core import satoshi
from earmark.errors import AnchorError, EncodingError
from earmark.evidence.bitcoin import double_sha256

pytest_plugins = ["bitcoin_fixtures"]


def test_an_anchor_of_one_coin_has_153_virtual_bytes(node: FakeCore, payer: BitcoinTarget) -> None:
    signed = payer.sign(DIGEST, MUCH)
    raw = decode_payload(signed.payload).raws[-1]
    tx = read_tx(raw)
    assert (tx.vsize, len(raw), signed.cost) == (153, 234, 153)
    assert digest_of(tx) == DIGEST
    assert [out.value for out in tx.read.vout] == [0, FUNDS - 153]
    assert {entry.sequence for entry in tx.read.vin} == {0xFFFFFFFD}
    assert payer.sign(DIGEST, MUCH) == signed  # the same bytes each time


@pytest.mark.parametrize("count", [1, 2, 3, 20])
def test_sizes_are_as_foretold_and_the_reader_agrees_with_embit(count: int) -> None:
    node = FakeCore()
    payer = open_target(node)
    node.fund(script_of(payer), *[200] * count)
    coins = payer._purse.search(node.height) and payer._purse.coins()
    assert coins
    for change in (0, 500):
        raw = payer._key.sign(DIGEST, btctx.Spend(tuple(coins), 1, change), 7)
        anchor, tx = btctx.decode(raw), read_tx(raw)
        assert anchor.vsize == tx.vsize <= btctx.vsize(count, has_change=change > 0) <= tx.vsize + count
        assert (anchor.txid, anchor.digest, anchor.lock_time) == (tx.txid, DIGEST, 7)
        assert [(wire[:32][::-1].hex(), wire[32]) for wire in anchor.inputs] == tx.spends
        assert (anchor.change, anchor.script) == ((change, script_of(payer)) if change else (0, b""))


def test_any_bit_of_a_transaction_counts(payer: BitcoinTarget) -> None:
    raw = decode_payload(payer.sign(DIGEST, MUCH).payload).raws[0]
    whole = btctx.decode(raw)
    for bit in range(len(raw) * 8):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            assert btctx.decode(bytes(flipped)) != whole or raw[bit // 8] != flipped[bit // 8]
        except EncodingError:
            continue
    for size in range(len(raw)):
        with pytest.raises(EncodingError):
            btctx.decode(raw[:size])


@pytest.mark.parametrize("count", [*range(1, 18), 33])
def test_the_merkle_path_leads_to_the_root(count: int) -> None:
    hashes = [double_sha256(bytes([number])) for number in range(count)]
    for index, leaf in enumerate(hashes):
        assert ots.commit(leaf, merkle_ops(hashes, index)) == root_of(hashes)


@pytest.mark.parametrize(
    ("coins", "rate", "fee", "change", "used"),
    [
        ([1000], 1000, 153, 847, 1),
        ([446], 1000, 446, 0, 1),  # 293 of change nobody relays
        ([447], 1000, 153, 294, 1),
        ([122], 1000, 122, 0, 1),
        ([121], 1000, None, None, None),
        ([100, 100, 5000], 1000, 153, 4847, 1),
        ([100, 120], 1000, 220, 0, 2),
        ([3000, 2000], 20_000, 3000, 0, 1),  # cheaper than another coin
        ([2400, 2000, 900], 20_000, 4400, 0, 2),
        ([2400, 2300, 900], 20_000, 4400, 300, 2),
        ([10_000], 1001, 154, 9846, 1),
    ],
)
def test_as_few_coins_as_needed_pay_and_dust_goes_to_the_fee(
    coins: list[int], rate: int, fee: int | None, change: int | None, used: int | None
) -> None:
    found = btctx.choose([Coin("ab" * 32, at, amount) for at, amount in enumerate(coins)], rate, 50_000)
    assert (found and (found.fee, found.change, len(found.coins))) == (None if fee is None else (fee, change, used))


def test_what_is_left_to_the_fee_stays_below_the_cap_too() -> None:
    coins = [Coin("ab" * 32, 0, 414)]
    assert btctx.choose(coins, 1000, 3385) is None
    assert btctx.choose(coins, 1000, 3386) is not None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Decimal("0.00001"), 1000),
        (Decimal("1e-5"), 1000),
        (Decimal("0.000010001"), 1001),
        (1, COIN),
        (0, 0),
        (21_000_000, 21_000_000 * COIN),
        (Decimal("1e-999999"), 1),
    ],
)
def test_amounts_are_exact_and_rounded_up(answer: Any, expected: int) -> None:
    assert satoshi(answer, "fee") == expected


@pytest.mark.parametrize(
    "answer", [0.1, True, None, "1", -1, Decimal("-0.1"), Decimal("NaN"), Decimal("Infinity"), Decimal("1e99"), 10**9]
)
def test_what_is_no_amount_is_refused(answer: Any) -> None:
    with pytest.raises(AnchorError, match="fee is not an amount of bitcoin"):
        satoshi(answer, "fee")


def test_payloads_that_are_none_are_refused(node: FakeCore, payer: BitcoinTarget) -> None:
    one, other = payer.sign(DIGEST, MUCH).payload, payer.sign(bytes(32), MUCH).payload
    [raw], amounts = cbor.decode(one)
    [strange], _ = cbor.decode(other)
    wrong = [b"", b"\x80", [], [[], []], [[raw], []], [[raw], [1, 2]], [[raw], [-1]], [[raw], [True]], [[raw, 1], [1]]]
    wrong += [[[raw, strange], amounts], [[raw[:-1]], amounts], [[raw + b"\0"], amounts], [[b"\1" + raw[1:]], amounts]]
    for payload in wrong:
        encoded = payload if isinstance(payload, bytes) else cbor.encode(payload)
        for use in (payer.send, payer.poll, lambda bad: payer.replace(bad, MUCH)):
            with pytest.raises(EncodingError, match=r"payload|CBOR"):
                use(encoded)
    with pytest.raises(EncodingError, match="31 bytes"):
        payer.sign(bytes(31), MUCH)
