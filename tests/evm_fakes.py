"""What the tests of EVM anchors share: a chain, a target on it, a lying endpoint, the trie library as prover."""

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rlp
from trie.hexary import HexaryTrie

import earmark.anchor
from earmark import cbor
from earmark.anchor import rpc
from earmark.anchor.devchain import DEVELOPMENT_KEY, DevChain
from earmark.anchor.evm import EvmTarget
from earmark.anchor.extras import import_extra
from earmark.anchor.rpc import RpcError
from earmark.mpt import keccak256

Account = import_extra("eth_account", "evm").Account

DIGEST = bytes(range(1, 33))
OTHER_KEY = keccak256(b"another test key")
GENESIS_S = 1_800_000_000
COIN = 10**18


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now_s = float(GENESIS_S)

    def __call__(self) -> float:
        return self.now_s


class Liar:
    """An endpoint in front of another one whose answers to some methods are changed on the way."""

    def __init__(self, inner: rpc.Rpc) -> None:
        self.inner = inner
        self.changes: dict[str, Callable[[Any], Any]] = {}
        self.calls: list[str] = []

    def call(self, method: str, params: list[Any]) -> Any:
        self.calls.append(method)
        answer = copy.deepcopy(self.inner.call(method, params))
        return self.changes.get(method, lambda same: same)(answer)


def refusing(code: int, message: str) -> Callable[[Any], Any]:
    def refuse(_: Any) -> Any:
        raise RpcError("a method", code, message)

    return refuse


def spend(chain: DevChain, **terms: Any) -> bytes:
    """A transaction of the development account other than an anchor."""
    account = Account.from_key(DEVELOPMENT_KEY)
    fields = {"chainId": 131277322940537, "to": account.address, "value": 0, "gas": 21_000, "nonce": 0}
    fields |= {"maxFeePerGas": 3 * 10**9, "maxPriorityFeePerGas": 10**9} if "gasPrice" not in terms else {}
    return bytes(account.sign_transaction(fields | terms).raw_transaction)


def sign(target: EvmTarget, digest: bytes, most: int = COIN) -> bytes:
    """The payload of a digest's anchor."""
    return target.sign(digest, most).payload


def replace(target: EvmTarget, payload: bytes, most: int = COIN) -> bytes:
    """A payload with one transaction more."""
    return target.replace(payload, most).payload


def raw_of(payload: bytes) -> bytes:
    """The newest transaction of a payload."""
    return bytes(cbor.decode(payload)[-1])


def push(chain: DevChain, raw: bytes) -> str:
    return str(chain.call("eth_sendRawTransaction", ["0x" + raw.hex()]))


def hashes(chain: DevChain) -> list[str]:
    newest = int(chain.call("eth_blockNumber", []), 16)
    return [chain.call("eth_getBlockByNumber", [hex(n), False])["hash"] for n in range(newest + 1)]


def environment() -> dict[str, str]:
    """The environment in which a child process finds the package under test."""
    return {**os.environ, "PYTHONPATH": str(Path(earmark.anchor.__file__).parents[2])}


def octets(text: str) -> bytes:
    """The bytes that a public vector writes as 0x… or as plain text."""
    return bytes.fromhex(text[2:]) if text.startswith("0x") else text.encode()


def proof_of(tree: HexaryTrie, key: bytes) -> list[bytes]:
    """The trie library's proof as the listed nodes of evidence."""
    encoded = [rlp.encode(node) for node in tree.get_proof(key)]
    return [node for at, node in enumerate(encoded) if at == 0 or len(node) >= 32]


def trie_of(pairs: dict[bytes, bytes]) -> HexaryTrie:
    """A trie of the trie library."""
    tree = HexaryTrie({})
    for key, value in pairs.items():
        tree[key] = value
    return tree
