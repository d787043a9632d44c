"""The transactions of an anchor on an EVM chain, as they are stored."""

import functools
from dataclasses import dataclass
from typing import Any

from earmark import cbor
from earmark.anchor.extras import import_extra
from earmark.errors import EncodingError, ProofError
from earmark.mpt import bytes_of, decode_rlp_list, keccak256, uint_of

DYNAMIC_FEE = 2
"""The type of an anchor's transaction: EIP-1559."""


@dataclass(frozen=True, slots=True)
class EvmAnchor:
    """What a transaction says, apart from its signature."""

    hash: bytes
    nonce: int
    tip: int
    max_fee: int
    gas: int
    digest: bytes
    sender: str


def read_payload(payload: bytes) -> list[bytes]:
    """Return the transactions of a payload, the newest last; `EncodingError` for anything else."""
    try:
        raws = [payload] if payload[:1] == b"\x02" else cbor.decode(payload)  # a bare one, as once they were stored
    except EncodingError as error:
        raise EncodingError(f"the payload is not a list of transactions: {error}") from error
    if type(raws) is not list or not raws or not all(type(raw) is bytes for raw in raws):
        raise EncodingError("the payload is not a list of transactions")
    return raws


@functools.lru_cache(256)
def read_anchor(raw: bytes) -> EvmAnchor:
    """Read back a transaction; `EncodingError` for anything else.

    Kept in mind, for the sender follows from the signature, which takes long, and an anchor is polled often.
    """
    try:
        fields = decode_rlp_list(raw[1:], "payload")
        if raw[0] != DYNAMIC_FEE or len(fields) != 12:
            raise EncodingError("the payload is not a transaction of type 2")
        nonce, tip, max_fee, gas = (uint_of(fields[at], "payload") for at in (1, 2, 3, 4))
        digest = bytes_of(fields[7], "payload")
        sender = str(accounts().recover_transaction(raw))
    except (ProofError, ValueError, TypeError) as error:
        raise EncodingError(f"the payload is not a signed transaction: {error}") from error
    return EvmAnchor(keccak256(raw), nonce, tip, max_fee, gas, digest, sender)


def raised(fee: int) -> int:
    """Return a fee an eighth higher, rounded up: what pools ask of a replacement."""
    return fee + -(-fee // 8)


def accounts() -> Any:
    """Return what signs and recovers; raises where the extra is not installed."""
    return import_extra("eth_account", "evm").Account
