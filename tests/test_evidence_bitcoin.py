"""Bitcoin's headers and OpenTimestamps evidence, beside what the vectors pin."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent / "vectors"))

import satoshi

from earmark import evidence
from earmark.errors import ProofError
from earmark.evidence import OTS, ChainBlock
from earmark.evidence.bitcoin import EASIEST, MAINNET, REGTEST, check_bitcoin_header, check_ots
from earmark.findings import say_not_after, where

DIGEST = bytes(range(32))
GENESIS = bytes.fromhex(
    "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e67768f617fc81bc3"
    "888a51323a9fb8aa4b1e5e4a29ab5f49ffff001d1dac2b7c"
)
TESTNET = "bip122:000000000933ea01ad0ee984209779ba"


def test_every_flipped_bit_is_refused_or_leads_to_another_block() -> None:
    block = satoshi.anchor(DIGEST)
    right = block.evidence(2, DIGEST)
    assert check_ots(REGTEST, right, DIGEST) == block.block
    for bit in range(8 * len(right)):
        octets = bytearray(right)
        octets[bit // 8] ^= 1 << bit % 8
        try:
            found = check_ots(REGTEST, bytes(octets), DIGEST)
        except ProofError:
            continue
        same_but_number = ChainBlock(REGTEST, found.number, block.block.hash, block.block.time_s)
        assert found.hash != block.block.hash or found == same_but_number  # the number is nobody's promise


@pytest.mark.parametrize("count", range(1, 10))
def test_every_place_in_blocks_of_every_size(count: int) -> None:
    for index in range(count):
        others = [bytes([number]) * 80 for number in range(count)]
        others[index] = satoshi.transaction(DIGEST)
        block = satoshi.Block(7, 1_800_000_000, others)
        assert evidence.check(OTS, REGTEST, block.evidence(index, DIGEST), DIGEST) == block.block


def test_the_first_header_of_all_has_too_little_work_for_today() -> None:
    with pytest.raises(ProofError, match="too little work"):
        check_bitcoin_header(MAINNET, GENESIS, 0)
    found = check_bitcoin_header(TESTNET, GENESIS, 0)  # the easiest rule of testnet is what the main chain began with
    assert found.hash.hex() == "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"
    assert found.time_s == 1_231_006_505


def test_the_chains_are_named_by_their_first_blocks() -> None:
    assert "bip122:" + satoshi.twice(GENESIS)[::-1].hex()[:32] == MAINNET
    assert all(chain.startswith("bip122:") and len(chain) == 39 for chain in EASIEST)


def test_bitcoins_clock_is_good_to_two_hours() -> None:
    assert satoshi.BEACON.block.clock_error_s == 7200
    assert ChainBlock("eip155:1", 1, bytes(32), 0).clock_error_s == 60


def test_the_number_of_a_bitcoin_block_is_named_as_what_the_file_says() -> None:
    """A header does not cover it, and an EVM header does."""
    block = ChainBlock(MAINNET, 7, b"\xab" * 32, 1_790_000_000)
    assert where(block) == f"block 0x{'ab' * 32} of {MAINNET} (number 7, as the file says)"
    assert where(replace(block, chain="eip155:1")) == f"block 7 of eip155:1, 0x{'ab' * 32}"
    assert [step.finding.count("as the file says") for step in say_not_after([(block, True), (block, False)])] == [1, 1]
