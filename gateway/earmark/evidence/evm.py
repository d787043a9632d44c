"""Evidence from an EVM chain: a transaction whose calldata is the digest.  docs/protocol.md §7.1."""

import re
from collections.abc import Sequence

from earmark import cbor
from earmark.errors import EncodingError, ProofError
from earmark.evidence.chain import DIGEST_SIZE, MAX_EVIDENCE, ChainBlock
from earmark.mpt import (
    Item,
    bytes_of,
    check_trie,
    decode_rlp_list,
    encode_rlp,
    keccak256,
    minimal_bytes,
    uint_of,
)

EVM = "evm"
"""The kind of the evidence that `check_evm` checks."""

MAX_NODES = 16
MAX_HEADER = 4_096

_EIP155 = re.compile(r"eip155:([1-9][0-9]{0,18})", re.ASCII)
# The fields of a header of fixed size, by position; all later forks append.
_HEADER_SIZES = {0: 32, 1: 32, 2: 20, 3: 32, 4: 32, 5: 32, 6: 256}
_TRANSACTIONS_ROOT, _NUMBER, _TIMESTAMP = 4, 8, 11
# Transaction type -> (number of fields, position of the calldata).
_TYPED = {1: (11, 6), 2: (12, 7)}
_LEGACY_FIELDS, _LEGACY_CALLDATA, _LEGACY_V = 9, 5, 6


def eip155_id(chain: str) -> int:
    """Return the EVM chain id in a CAIP-2 id such as "eip155:1"; `ProofError` for any other chain."""
    match = _EIP155.fullmatch(chain)
    if match is None:
        raise ProofError(f"chain {chain[:40]!r} is not an EVM chain (eip155:<number>)")
    return int(match[1])


def encode_evm(header: bytes, index: int, nodes: Sequence[bytes]) -> bytes:
    """Encode evidence from a block's header RLP, the transaction's index and its trie nodes, root first."""
    return cbor.encode([header, index, list(nodes)])


def check_evm(chain: str, evidence: bytes, digest: bytes) -> ChainBlock:
    """Check that a transaction with calldata `digest` (32 bytes) is in a block, and return that block.

    It establishes: whoever knows that the returned hash is a block of `chain` knows that `digest`
    existed before that block.  It does not establish that the block is on the chain, nor who sent
    the transaction.  Raises `ProofError` naming what failed.  docs/protocol.md §7.1.
    """
    if len(digest) != DIGEST_SIZE:
        raise ProofError(f"the anchored digest has {len(digest)} bytes, not {DIGEST_SIZE}")
    header, index, nodes = _decode_evm(evidence)
    block = check_evm_header(chain, header)
    root = bytes_of(decode_rlp_list(header, "header")[_TRANSACTIONS_ROOT], "transactions root")
    transaction = check_trie(root, encode_rlp(minimal_bytes(index)), nodes)
    chain_id, calldata = _decode_transaction(transaction)
    if chain_id != eip155_id(chain):
        raise ProofError(f"the transaction is for chain id {chain_id}, not for {chain}")
    if calldata != digest:
        raise ProofError(f"the transaction carries {_shorten(calldata)}, not {digest.hex()}")
    return block


def check_evm_header(chain: str, header: bytes) -> ChainBlock:
    """Check the shape of an EVM block header (RLP) and return the block that it is the preimage of.

    Reads what every fork so far has in common and admits fields that later forks append.
    Raises `ProofError`.  docs/protocol.md §6, §7.1.
    """
    eip155_id(chain)
    if len(header) > MAX_HEADER:
        raise ProofError(f"header: {len(header)} bytes, at most {MAX_HEADER} are read")
    fields = [bytes_of(field, "header field") for field in decode_rlp_list(header, "header")]
    if len(fields) < 15:
        raise ProofError(f"header: {len(fields)} fields, a block has at least 15")
    for position, size in _HEADER_SIZES.items():
        if len(fields[position]) != size:
            raise ProofError(f"header: field {position} has {len(fields[position])} bytes, not {size}")
    number = uint_of(fields[_NUMBER], "block number")
    return ChainBlock(chain, number, keccak256(header), uint_of(fields[_TIMESTAMP], "block time"))


def _decode_evm(evidence: bytes) -> tuple[bytes, int, list[bytes]]:
    if len(evidence) > MAX_EVIDENCE:
        raise ProofError(f"evidence: {len(evidence)} bytes, at most {MAX_EVIDENCE} are read")
    try:
        parts = cbor.decode(evidence)
    except EncodingError as error:
        raise ProofError(f"evidence: {error}") from error
    match parts:
        case [bytes(header), int(index), [*nodes]] if type(index) is int and index >= 0:
            pass
        case _:
            raise ProofError("evidence: not [header, index, [node, …]]")
    if len(nodes) > MAX_NODES or not all(isinstance(node, bytes) for node in nodes):
        raise ProofError(f"evidence: the trie nodes are not at most {MAX_NODES} byte strings")
    return header, index, nodes


def _decode_transaction(transaction: bytes) -> tuple[int, bytes]:
    """Return chain id and calldata of a raw transaction of type 0 (EIP-155), 1 or 2."""
    if transaction[0] >= 0xC0:
        return _decode_legacy(decode_rlp_list(transaction, "transaction"))
    if transaction[0] not in _TYPED:
        raise ProofError(f"the transaction has type {transaction[0]}; 0, 1 and 2 are read")
    size, calldata = _TYPED[transaction[0]]
    fields = decode_rlp_list(transaction[1:], "transaction")
    if len(fields) != size:
        raise ProofError(f"the transaction has {len(fields)} fields, its type has {size}")
    return uint_of(fields[0], "chain id"), bytes_of(fields[calldata], "calldata")


def _decode_legacy(fields: list[Item]) -> tuple[int, bytes]:
    if len(fields) != _LEGACY_FIELDS:
        raise ProofError(f"the transaction has {len(fields)} fields, type 0 has {_LEGACY_FIELDS}")
    v = uint_of(fields[_LEGACY_V], "signature v")
    if v < 37:
        raise ProofError("the transaction names no chain (signed without EIP-155)")
    return (v - 35) // 2, bytes_of(fields[_LEGACY_CALLDATA], "calldata")


def _shorten(calldata: bytes) -> str:
    return calldata.hex() if len(calldata) == DIGEST_SIZE else f"{len(calldata)} bytes of calldata"
