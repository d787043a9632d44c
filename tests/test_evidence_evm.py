"""EVM evidence: blocks like mainnet's, public blocks, and everything that must be refused."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cbor2
import pytest
import rlp

from earmark.errors import ProofError
from earmark.evidence.chain import MAX_EVIDENCE, ChainBlock
from earmark.evidence.evm import (
    MAX_HEADER,
    check_evm,
    check_evm_header,
    eip155_id,
    encode_evm,
)
from earmark.mpt import Item, check_trie, keccak256
from evm_fakes import Account, octets, proof_of, trie_of

CHAIN = "eip155:1"
DIGEST = bytes(range(32))
KEY = keccak256(b"a test key")
ACCOUNT = Account.from_key(KEY).address
TIME_S = 1_700_000_000
EMPTY = b"\x80"


# A block like mainnet's


def sign(kind: int, nonce: int, *, calldata: bytes = DIGEST, chain_id: int | None = 1) -> bytes:
    """A signed transaction of type 0, 1 or 2; type 0 without a chain id is of the time before EIP-155."""
    fields: dict[str, Any] = {"nonce": nonce, "to": ACCOUNT, "value": 7, "gas": 30_000, "data": calldata}
    if chain_id is not None:
        fields["chainId"] = chain_id
    if kind == 2:
        fields |= {"type": 2, "maxFeePerGas": 3 * 10**9, "maxPriorityFeePerGas": 10**9}
    else:
        fields |= {"gasPrice": 3 * 10**9}
    if kind == 1:
        fields |= {"type": 1, "accessList": [{"address": ACCOUNT, "storageKeys": ["0x" + "00" * 32]}]}
    return bytes(Account.sign_transaction(fields, KEY).raw_transaction)


def header_of(root: bytes, *, number: int = 19_000_000, extra: Sequence[bytes] = ()) -> list[Any]:
    """The fields of a Prague header with this transactions root."""
    start = [b"\x01" * 32, b"\x02" * 32, b"\x03" * 20, b"\x04" * 32, root, b"\x05" * 32, bytes(256)]
    sizes = [0, number, 30_000_000, 22_280, TIME_S, b"extra", b"\x06" * 32, bytes(8), 10**9]
    return [*start, *sizes, b"\x07" * 32, 0, 0, b"\x08" * 32, b"\x09" * 32, *extra]


def evidence_of(transactions: Sequence[bytes], index: int) -> tuple[bytes, bytes]:
    """Evidence for a transaction of a made-up block, and the block's hash."""
    tree = trie_of({rlp.encode(at): raw for at, raw in enumerate(transactions)})
    header = rlp.encode(header_of(tree.root_hash))
    return encode_evm(header, index, proof_of(tree, rlp.encode(index))), keccak256(header)


ONE, ONE_HASH = evidence_of([sign(2, 0)], 0)
HEADER, _, NODES = cbor2.loads(ONE)


# Evidence


@pytest.mark.parametrize("size", [1, 2, 3, 16, 17, 128, 129, 257, 300])
def test_a_transaction_of_each_type_proves_at_every_kind_of_place(size: int) -> None:
    for index in sorted({0, 1, size // 2, 127, 128, size - 1} & set(range(size))):
        transactions = [b"\x02" + rlp.encode([1, at, b"filler" * 20]) for at in range(size)]
        transactions[index] = sign(index % 3, index)
        evidence, block_hash = evidence_of(transactions, index)
        assert check_evm(CHAIN, evidence, DIGEST) == ChainBlock(CHAIN, 19_000_000, block_hash, TIME_S)
        header, _, nodes = cbor2.loads(evidence)
        for other in {index + 1, max(0, index - 1), 2**63} - {index}:
            with pytest.raises(ProofError, match=r"^trie"):
                check_evm(CHAIN, encode_evm(header, other, nodes), DIGEST)


@pytest.mark.parametrize("size", [1, 2, 20])
def test_flipping_any_bit_leads_to_no_block_or_to_another(size: int) -> None:
    """A verifier holds the true block hash, so the evidence is refused either way."""
    evidence, block_hash = evidence_of([sign(2, at) for at in range(size)], 0)
    elsewhere = 0
    for bit in range(8 * len(evidence)):
        flipped = bytearray(evidence)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            block = check_evm(CHAIN, bytes(flipped), DIGEST)
        except ProofError:
            continue
        assert block.hash != block_hash
        elsewhere += 1
    # Header bits that neither the transactions root nor a length depends on: the check itself admits them.
    assert 0 < elsewhere < 8 * len(HEADER)


def test_every_prefix_is_refused() -> None:
    for end in range(len(ONE)):
        with pytest.raises(ProofError, match=r"^evidence"):
            check_evm(CHAIN, ONE[:end], DIGEST)


@pytest.mark.parametrize(
    ("transaction", "complaint"),
    [
        (sign(0, 0, chain_id=None), "names no chain"),
        (sign(2, 0, chain_id=5), "for chain id 5, not for eip155:1"),
        (sign(0, 0, chain_id=5), "for chain id 5, not for eip155:1"),
        (sign(2, 0, calldata=b"\x01" * 32), "carries 0101"),
        (sign(2, 0, calldata=DIGEST + b"\x00"), "33 bytes of calldata"),
        (sign(2, 0, calldata=b""), "0 bytes of calldata"),
        (b"\x03" + sign(2, 0)[1:], "type 3"),
        (b"\x04" + sign(2, 0)[1:], "type 4"),
        (b"\x00" + sign(0, 0), "type 0; 0, 1 and 2"),
        (b"\x01" + sign(2, 0)[1:], "12 fields"),
        (b"\x02" + sign(0, 0), "9 fields"),
        (rlp.encode([b""] * 10), "10 fields, type 0 has 9"),
        (sign(2, 0) + b"\x00", "left over"),
        (b"\x02" + rlp.encode([b"\x00\x01", *rlp.decode(sign(2, 0)[1:])[1:]]), "chain id: 0001"),
        (b"\x02" + rlp.encode([1] + [b""] * 6 + [[DIGEST]] + [b""] * 4), "calldata: an RLP list"),
        (b"\x02" + EMPTY, "transaction: an RLP string"),
        (b"\x02", "RLP: ends"),
    ],
)
def test_other_transactions_are_refused(transaction: bytes, complaint: str) -> None:
    with pytest.raises(ProofError, match=complaint):
        check_evm(CHAIN, evidence_of([transaction], 0)[0], DIGEST)


@pytest.mark.parametrize(
    ("evidence", "complaint"),
    [
        (b"", "evidence"),
        (ONE + b"\x00", "^evidence"),
        (b"\x9f" + ONE[1:] + b"\xff", "^evidence"),
        (b"\x83" + b"\x81" * 60_000 + b"\x00", "^evidence"),
        (cbor2.dumps([HEADER, 0]), "not \\[header"),
        (cbor2.dumps([HEADER, 0, NODES, 0]), "not \\[header"),
        (cbor2.dumps([HEADER, False, NODES]), "not \\[header"),
        (cbor2.dumps([HEADER, -1, NODES]), "not \\[header"),
        (cbor2.dumps([HEADER, 0, NODES[0]]), "not \\[header"),
        (cbor2.dumps([HEADER.hex(), 0, NODES]), "not \\[header"),
        (cbor2.dumps([HEADER, 0, ["node"]]), "byte strings"),
        (cbor2.dumps([HEADER, 0, [[b"node"]]]), "byte strings"),
        (cbor2.dumps({0: HEADER, 1: 0, 2: NODES}), "not \\[header"),
        (cbor2.dumps([HEADER, 0, []]), "is missing"),
        (cbor2.dumps([HEADER, 0, NODES * 2]), "not on the way"),
        (cbor2.dumps([HEADER, 0, NODES * 17]), "at most 16"),
        (cbor2.dumps([HEADER, 0, [*NODES, bytes(MAX_EVIDENCE)]]), "at most 65536"),
        (cbor2.dumps([HEADER + b"\x00", 0, NODES]), "left over"),
        (cbor2.dumps([EMPTY, 0, NODES]), "header: an RLP string"),
    ],
)
def test_other_forms_of_evidence_are_refused(evidence: bytes, complaint: str) -> None:
    with pytest.raises(ProofError, match=complaint):
        check_evm(CHAIN, evidence, DIGEST)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_only_digests_of_32_bytes_are_checked(size: int) -> None:
    evidence, _ = evidence_of([sign(2, 0, calldata=bytes(size))], 0)
    with pytest.raises(ProofError, match=f"{size} bytes, not 32"):
        check_evm(CHAIN, evidence, bytes(size))


@pytest.mark.parametrize(
    "chain",
    [
        "",
        "eip155",
        "eip155:",
        "eip155:0",
        "eip155:01",
        "eip155:1\n",
        "eip155:\u0661",
        "EIP155:1",
        "bip122:1",
        "eip155:" + "9" * 20,
    ],
)
def test_only_evm_chains_have_evm_evidence(chain: str) -> None:
    for check in (lambda: check_evm(chain, ONE, DIGEST), lambda: check_evm_header(chain, HEADER)):
        with pytest.raises(ProofError, match="is not an EVM chain"):
            check()


def test_chain_ids_are_read() -> None:
    assert eip155_id("eip155:131277322940537") == 131277322940537


# Headers


@pytest.mark.parametrize("count", [15, 16, 17, 20, 21, 23])
def test_headers_of_every_fork_are_read(count: int) -> None:
    header = rlp.encode(header_of(bytes(32), number=5, extra=[b"later", b"forks"])[:count])
    assert check_evm_header(CHAIN, header) == ChainBlock(CHAIN, 5, keccak256(header), TIME_S)


@pytest.mark.parametrize(
    ("position", "value", "complaint"),
    [
        (4, bytes(31), "field 4 has 31 bytes"),
        (2, bytes(32), "field 2 has 32 bytes"),
        (6, bytes(255), "field 6 has 255 bytes"),
        (8, b"\x00\x05", "block number: 0005"),
        (8, b"\x01" * 9, "block number"),
        (11, b"\x00", "block time: 00"),
        (15, [b""], "header field: an RLP list"),
        (12, bytes(MAX_HEADER), "at most 4096"),
    ],
)
def test_malformed_headers_are_refused(position: int, value: Item, complaint: str) -> None:
    fields = header_of(bytes(32))
    fields[position] = value
    with pytest.raises(ProofError, match=complaint):
        check_evm_header(CHAIN, rlp.encode(fields))


def test_a_header_with_too_few_fields_is_refused() -> None:
    with pytest.raises(ProofError, match="14 fields"):
        check_evm_header(CHAIN, rlp.encode(header_of(bytes(32))[:14]))


# Public blocks


@pytest.fixture(params=["eip2930", "log1_correct"])
def public_block(request: pytest.FixtureRequest, shared: Path) -> tuple[dict[str, str], list[Any], list[bytes]]:
    """A block of the public vectors: its header as JSON, as RLP fields, and its raw transactions."""
    suite = json.loads((shared / f"vectors/ethereum/{request.param}.json").read_text())
    block = next(iter(suite.values()))["blocks"][0]
    fields = rlp.decode(bytes.fromhex(block["rlp"][2:]))
    raws = [entry if isinstance(entry, bytes) else rlp.encode(entry) for entry in fields[1]]
    return block["blockHeader"], fields[0], raws


def test_public_headers_are_read(public_block: tuple[dict[str, str], list[Any], list[bytes]]) -> None:
    stated, fields, _ = public_block
    block = check_evm_header(CHAIN, rlp.encode(fields))
    assert block.hash == octets(stated["hash"])
    assert (block.number, block.time_s) == (int(stated["number"], 16), int(stated["timestamp"], 16))


def test_public_transactions_prove_up_to_their_calldata(
    public_block: tuple[dict[str, str], list[Any], list[bytes]],
) -> None:
    stated, fields, raws = public_block
    tree = trie_of({rlp.encode(at): raw for at, raw in enumerate(raws)})
    root = octets(stated["transactionsTrie"])
    for index, raw in enumerate(raws):
        key = rlp.encode(index)
        assert check_trie(root, key, proof_of(tree, key)) == raw
        evidence = encode_evm(rlp.encode(fields), index, proof_of(tree, key))
        complaint = "68 bytes of calldata" if raw[0] == 1 else "names no chain"
        with pytest.raises(ProofError, match=complaint):
            check_evm(CHAIN, evidence, DIGEST)
        if raw[0] == 1:
            with pytest.raises(ProofError, match="for chain id 1, not for eip155:5"):
                check_evm("eip155:5", evidence, DIGEST)
