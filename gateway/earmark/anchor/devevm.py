"""The EVM under the development chain: eth-tester's chain of py-evm, wrapped in plain values.

Only `devchain` imports this, and only when a chain is opened: eth-tester is an extra.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import rlp  # type: ignore[import-untyped]
from eth.abc import MiningChainAPI, SignedTransactionAPI, StateAPI
from eth.exceptions import PyEVMError
from eth_keys.datatypes import PrivateKey
from eth_tester.backends.pyevm.main import (  # type: ignore[import-untyped]
    get_default_account_state,
    get_default_genesis_params,
    setup_tester_chain,
)
from eth_typing import Address, BlockNumber, Hash32
from eth_utils.exceptions import ValidationError

from earmark.errors import EncodingError
from earmark.mpt import decode_rlp_list, encode_rlp, keccak256, uint_of


@dataclass(frozen=True, slots=True)
class Sealed:
    """A block: its header's RLP and hash, its raw transactions, and the RLP of the whole block."""

    header: bytes
    hash: bytes
    transactions: tuple[bytes, ...]
    encoded: bytes


@dataclass(frozen=True, slots=True)
class Waiting:
    """A valid transaction: raw bytes, hash, sender, and the terms it is offered at (wei and gas).

    `cost` is the most that the sender may have to pay, its value included.
    """

    raw: bytes
    hash: bytes
    sender: bytes
    nonce: int
    chain_id: int | None
    tip: int
    max_fee: int
    gas: int
    cost: int


class Machine:
    """A chain in memory that begins with `account` (20 bytes) holding a million coins at `time_s`."""

    def __init__(self, account: bytes, time_s: int) -> None:
        parameters = get_default_genesis_params({"timestamp": time_s})
        _, chain = setup_tester_chain(parameters, {account: get_default_account_state()}, 1)
        self._chain: Any = chain
        self.chain_id: int = chain.chain_id
        self.genesis = _seal(chain.get_canonical_block_by_number(BlockNumber(0)))

    def replay(self, encoded: bytes) -> Sealed:
        """Execute the next block again; `EncodingError` unless it is exactly what execution gives."""
        try:
            block = rlp.decode(encoded, sedes=type(self._chain.get_block()))
            if block.header.parent_hash != self._chain.get_canonical_head().hash:
                raise EncodingError("the block does not follow the one before it")
            return _seal(self._chain.import_block(block).imported_block)
        except (PyEVMError, ValidationError, rlp.exceptions.RLPException) as error:
            raise EncodingError(f"the block does not execute: {error}") from error

    def execute(self, transactions: Iterable[Waiting], time_s: int, randomness: bytes) -> Sealed:
        """Make the next block of those transactions that can be executed in this order.

        `randomness` (32 bytes) becomes PREVRANDAO; the block's time is at least its parent's plus 1.
        """
        parent = self._chain.get_canonical_head()
        time_s = max(parent.timestamp + 1, time_s)
        header = self._chain.create_header_from_parent(parent, timestamp=time_s, mix_hash=Hash32(randomness))
        self._chain.header = header
        for transaction in transactions:
            self._apply(transaction)
        return _seal(self._chain.mine_block())

    def nonce(self, account: bytes, number: int) -> int:
        """Return an account's next nonce after block `number`."""
        return self._state(number).get_nonce(Address(account))

    def balance(self, account: bytes, number: int) -> int:
        """Return an account's wei after block `number`."""
        return self._state(number).get_balance(Address(account))

    def decode(self, raw: bytes) -> Waiting:
        """Decode a raw transaction and check what needs no state: form, gas for its size, signature."""
        try:
            signed: SignedTransactionAPI = self._chain.get_vm().get_transaction_builder().decode(raw)
            signed.validate()
            signed.check_signature_validity()
            if signed.gas < signed.intrinsic_gas:
                raise EncodingError("invalid transaction: intrinsic gas too low")
            return _waiting(raw, signed)
        except (PyEVMError, ValidationError, rlp.exceptions.RLPException) as error:
            raise EncodingError(f"invalid transaction: {str(error)[:80]}") from error

    def _apply(self, transaction: Waiting) -> None:
        header = self._chain.header
        if header.gas_used + transaction.gas > header.gas_limit:
            return
        signed = self._chain.get_vm().get_transaction_builder().decode(transaction.raw)
        try:
            self._chain.apply_transaction(signed)
        except ValidationError:  # its turn has not come, or never will
            return

    def _state(self, number: int) -> StateAPI:
        chain: MiningChainAPI = self._chain
        return chain.get_vm(chain.get_canonical_block_header_by_number(BlockNumber(number))).state


def account_of(key: bytes) -> bytes:
    """Return the 20-byte account of a secp256k1 private key."""
    return PrivateKey(key).public_key.to_canonical_address()


def genesis_time(encoded: bytes) -> int:
    """Return the time in an encoded block's header, in Unix seconds; `ProofError` if it is no block."""
    header = decode_rlp_list(encoded, "block")[0]
    return uint_of(decode_rlp_list(encode_rlp(header), "header")[11], "block time")


def _seal(block: Any) -> Sealed:
    raws = tuple(bytes(transaction.encode()) for transaction in block.transactions)
    return Sealed(bytes(rlp.encode(block.header)), bytes(block.hash), raws, bytes(rlp.encode(block)))


def _waiting(raw: bytes, signed: SignedTransactionAPI) -> Waiting:
    return Waiting(
        raw=raw,
        hash=keccak256(raw),
        sender=bytes(signed.sender),
        nonce=signed.nonce,
        chain_id=signed.chain_id,
        tip=signed.max_priority_fee_per_gas,
        max_fee=signed.max_fee_per_gas,
        gas=signed.gas,
        cost=signed.gas * signed.max_fee_per_gas + signed.value,
    )
