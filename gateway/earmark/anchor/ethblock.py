"""Ethereum blocks between JSON-RPC's form and the bytes that are hashed.

Rebuilding headers and transactions here means that nothing an endpoint says is taken on faith: the
rebuilt bytes hash to the block's own hash, or `AnchorError` says that they do not.
"""

import re
from collections.abc import Sequence
from typing import Any

from earmark.anchor.extras import import_extra
from earmark.errors import AnchorError
from earmark.mpt import Item, decode_rlp_list, encode_rlp, keccak256, minimal_bytes

# (JSON name, form), in RLP order.  A fork appends to the header and never removes.
_HEADER = (
    ("parentHash", "bytes"),
    ("sha3Uncles", "bytes"),
    ("miner", "bytes"),
    ("stateRoot", "bytes"),
    ("transactionsRoot", "bytes"),
    ("receiptsRoot", "bytes"),
    ("logsBloom", "bytes"),
    ("difficulty", "uint"),
    ("number", "uint"),
    ("gasLimit", "uint"),
    ("gasUsed", "uint"),
    ("timestamp", "uint"),
    ("extraData", "bytes"),
    ("mixHash", "bytes"),
    ("nonce", "bytes"),
    ("baseFeePerGas", "uint"),  # London
    ("withdrawalsRoot", "bytes"),  # Shanghai
    ("blobGasUsed", "uint"),  # Cancun
    ("excessBlobGas", "uint"),
    ("parentBeaconBlockRoot", "bytes"),
    ("requestsHash", "bytes"),  # Prague
)
_OPTIONAL = 15

_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")

_TAIL = (("to", "to"), ("value", "uint"), ("input", "bytes"))
_SIGNATURE = (("r", "uint"), ("s", "uint"))
_PARITY = (("yParity", "uint"), *_SIGNATURE)
_ACCESS = (("accessList", "access"),)
_ONE_PRICE = (("nonce", "uint"), ("gasPrice", "uint"), ("gas", "uint"))
_TWO_PRICES = (
    ("chainId", "uint"),
    ("nonce", "uint"),
    ("maxPriorityFeePerGas", "uint"),
    ("maxFeePerGas", "uint"),
    ("gas", "uint"),
)
_BLOBS = (("maxFeePerBlobGas", "uint"), ("blobVersionedHashes", "hashes"))
_TRANSACTION = {
    0: (*_ONE_PRICE, *_TAIL, ("v", "uint"), *_SIGNATURE),
    1: (("chainId", "uint"), *_ONE_PRICE, *_TAIL, *_ACCESS, *_PARITY),
    2: (*_TWO_PRICES, *_TAIL, *_ACCESS, *_PARITY),
    3: (*_TWO_PRICES, *_TAIL, *_ACCESS, *_BLOBS, *_PARITY),
    4: (*_TWO_PRICES, *_TAIL, *_ACCESS, ("authorizationList", "authorizations"), *_PARITY),
}
_AUTHORIZATION = (("chainId", "uint"), ("address", "bytes"), ("nonce", "uint"), *_PARITY)


def quantity(value: Any, what: str) -> int:
    """Return the integer below 2^256 in a JSON-RPC quantity such as "0x1a"; `AnchorError` names `what` otherwise."""
    if isinstance(value, str) and _QUANTITY.fullmatch(value):
        return int(value, 16)
    raise AnchorError(f"the endpoint's {what} is not a quantity: {str(value)[:40]}")


def octets(value: Any, what: str) -> bytes:
    """Return the bytes in JSON-RPC's form such as "0x00ff"; `AnchorError` names `what` otherwise."""
    try:
        if value[:2] == "0x":
            return bytes.fromhex(value[2:])
    except (TypeError, ValueError, KeyError):
        pass
    raise AnchorError(f"the endpoint's {what} is not hexadecimal bytes: {str(value)[:40]}")


def build_header(block: dict[str, Any]) -> bytes:
    """Return the RLP of a block's header from `eth_getBlockBy…`'s answer.

    Knows all forks up to Prague.  Raises `AnchorError` unless it hashes to the block's `hash`.
    """
    names = [field for at, field in enumerate(_HEADER) if at < _OPTIONAL or block.get(field[0]) is not None]
    header = encode_rlp(_collect(block, names))
    if keccak256(header) != octets(block.get("hash"), "block hash"):
        raise AnchorError(
            f"block {block.get('number')} does not hash to its own hash: the chain has a fork that this "
            "version of Earmark does not know, or the endpoint is wrong"
        )
    return header


def build_transaction(transaction: dict[str, Any]) -> bytes | None:
    """Return the raw bytes of a transaction of type 0 to 4 as they stand in its block.

    None for another type.  Raises `AnchorError` unless they hash to the transaction's `hash`.
    """
    number = quantity(transaction.get("type", "0x0"), "transaction type")
    if number not in _TRANSACTION:
        return None
    body = encode_rlp(_collect(transaction, _TRANSACTION[number]))
    raw = bytes([number]) + body if number else body
    if keccak256(raw) != octets(transaction.get("hash"), "transaction hash"):
        raise AnchorError(f"transaction {transaction.get('hash')} does not hash to its own hash: wrong endpoint")
    return raw


def prove_transaction(transactions: Sequence[bytes], index: int) -> tuple[bytes, list[bytes]]:
    """Return the transactions root of a block's raw transactions, and the trie nodes from it to `index`.

    The nodes are what `mpt.check_trie` takes: root first, embedded nodes left out.
    """
    tree = import_extra("trie.hexary", "evm").HexaryTrie({})
    for position, raw in enumerate(transactions):
        tree.set(encode_rlp(minimal_bytes(position)), raw)
    encoded = [encode_rlp(_plain(node)) for node in tree.get_proof(encode_rlp(minimal_bytes(index)))]
    return bytes(tree.root_hash), [node for at, node in enumerate(encoded) if at == 0 or len(node) >= 32]


def calldata_gas(calldata: bytes) -> int:
    """Return the gas that a plain transfer with `calldata` costs since Prague (EIP-7623)."""
    tokens = sum(4 if byte else 1 for byte in calldata)
    return 21_000 + 10 * tokens


def header_json(header: bytes) -> dict[str, Any]:
    """Return the JSON-RPC form of a header's RLP with its hash: the inverse of `build_header`."""
    fields = decode_rlp_list(header, "header")
    return {"hash": _hex(keccak256(header)), **_spread(fields, _HEADER)}


def transaction_json(raw: bytes) -> dict[str, Any]:
    """Return the JSON-RPC form of a raw transaction with its hash: the inverse of `build_transaction`."""
    number = raw[0] if raw[0] < 0x80 else 0
    fields = decode_rlp_list(raw[1:] if number else raw, "transaction")
    return {"hash": _hex(keccak256(raw)), "type": hex(number), **_spread(fields, _TRANSACTION[number])}


def _collect(source: dict[str, Any], names: Sequence[tuple[str, str]]) -> list[Item]:
    return [_to_item(source, name, form) for name, form in names]


def _to_item(source: dict[str, Any], name: str, form: str) -> Item:
    value = source.get(name)
    if name == "yParity" and value is None:  # older endpoints say v for both
        value = source.get("v")
    if form == "uint":
        return minimal_bytes(quantity(value, name))
    if form == "bytes" or (form == "to" and value is not None):
        return octets(value, name)
    if form == "to":
        return b""
    return _to_items(value, name, form)


def _to_items(value: Any, name: str, form: str) -> list[Item]:
    if not isinstance(value, list):
        raise AnchorError(f"the endpoint's {name} is not a list")
    if form == "hashes":
        return [octets(entry, name) for entry in value]
    if not all(isinstance(entry, dict) for entry in value):
        raise AnchorError(f"the endpoint's {name} is not a list of objects")
    if form == "authorizations":
        return [_collect(entry, _AUTHORIZATION) for entry in value]
    return [_collect(entry, (("address", "bytes"), ("storageKeys", "hashes"))) for entry in value]


def _spread(fields: list[Item], names: Sequence[tuple[str, str]]) -> dict[str, Any]:
    return {name: _from_item(item, form) for item, (name, form) in zip(fields, names, strict=False)}


def _from_item(item: Item, form: str) -> Any:
    if isinstance(item, bytes):
        if form == "uint":
            return hex(int.from_bytes(item, "big"))
        return None if form == "to" and not item else _hex(item)
    if form == "hashes":
        return [_from_item(entry, "bytes") for entry in item]
    shape = _AUTHORIZATION if form == "authorizations" else (("address", "bytes"), ("storageKeys", "hashes"))
    return [_spread(entry, shape) for entry in item if isinstance(entry, list)]


def _plain(node: Any) -> Item:
    """Return a node of the trie library as nested lists of bytes."""
    return bytes(node) if isinstance(node, bytes) else [_plain(part) for part in node]


def _hex(value: bytes) -> str:
    return "0x" + value.hex()
