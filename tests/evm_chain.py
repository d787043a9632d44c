"""An EVM chain in memory: real headers, tries and signatures, no machine; a pool that keeps and refuses as geth's does.

It fails when told to: `fuse` is called before and after each call, `bend` changes an answer.
"""

import functools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from earmark.anchor.ethblock import calldata_gas, header_json, octets, transaction_json
from earmark.anchor.extras import import_extra
from earmark.anchor.rpc import METHOD_NOT_FOUND, RpcError
from earmark.mpt import decode_rlp_list, encode_rlp, keccak256, minimal_bytes
from evm_fakes import trie_of

Account = import_extra("eth_account", "evm").Account

CHAIN = "eip155:1337"
CHAIN_ID = 1337
GWEI = 10**9
GENESIS_S = 1_790_000_000
EMPTY_ROOT = keccak256(encode_rlp(b""))
NOT_MINED = {"blockHash": None, "blockNumber": None, "transactionIndex": None}


@dataclass(frozen=True)
class Tx:
    raw: bytes
    sender: str
    nonce: int
    tip: int
    max_fee: int
    gas: int
    data: bytes

    @property
    def name(self) -> str:
        return "0x" + keccak256(self.raw).hex()


@functools.lru_cache(4096)
def read_tx(raw: bytes) -> Tx:
    """A transaction of type 2, its sender by its signature."""
    fields = decode_rlp_list(raw[1:], "transaction")
    nonce, tip, max_fee, gas = (int.from_bytes(bytes(fields[at]), "big") for at in (1, 2, 3, 4))  # type: ignore[arg-type]
    sender = str(Account.recover_transaction(raw)).lower()
    return Tx(raw, sender, nonce, tip, max_fee, gas, bytes(fields[7]))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Block:
    header: bytes
    txs: tuple[Tx, ...]
    number: int
    base: int
    nonces: dict[str, int] = field(compare=False)
    spent: int
    """What all transactions up to this block have cost."""

    @functools.cached_property
    def name(self) -> str:
        return "0x" + keccak256(self.header).hex()

    def price(self, tx: Tx) -> int:
        return min(tx.max_fee, self.base + tx.tip)


class FakeEvm:
    """The endpoint; `call` is its JSON-RPC.  All accounts draw on one purse, `funds`."""

    def __init__(self, funds: int = 10**18, final_depth: int = 8, *, knows_finalized: bool = True) -> None:
        self.funds = funds
        self.is_drained = False
        self.base = GWEI
        self.tip = GWEI
        self.least_tip = 0
        self.refuses_below_base = False
        self.final_depth = final_depth
        self.knows_finalized = knows_finalized
        self.pool: dict[tuple[str, int], Tx] = {}
        self.chain: list[Block] = []
        self.blocks: dict[str, Block] = {}
        self.places: dict[str, Block] = {}
        self.sent: list[str] = []
        self.calls: list[str] = []
        self.fuse: Callable[[str], None] = lambda _: None
        self.bend: Callable[[str, Any], Any] = lambda _, answer: answer
        self._salt = 0
        self.mine(self.final_depth + 2)

    # what a test does to it

    def mine(self, count: int = 1, *, with_pool: bool = True, raws: Iterable[bytes] = ()) -> None:
        """Mine blocks, the first with `raws`, each with what waits and pays its base fee."""
        for at in range(count):
            self._add([] if at else [read_tx(raw) for raw in raws], with_pool=with_pool)

    def reorg(self, depth: int, *, keep: bool = True, raws: Iterable[bytes] = ()) -> None:
        """Replace the newest blocks by one block more; `keep` what they had in the pool."""
        taken = [tx for block in self.chain[len(self.chain) - depth :] for tx in block.txs]
        for tx in taken:
            self.places.pop(tx.name, None)
        del self.chain[len(self.chain) - depth :]
        self.mine(1, with_pool=False, raws=raws)
        if keep:
            for tx in taken:
                if tx.nonce >= self._nonce(tx.sender):
                    self.pool.setdefault((tx.sender, tx.nonce), tx)
        self.mine(depth, with_pool=False)

    def restart(self) -> None:
        """Lose the pool."""
        self.pool.clear()

    def anchors(self) -> list[tuple[bytes, Block, Tx]]:
        """Every transaction of the active chain that carries a digest."""
        return [(tx.data, block, tx) for block in self.chain for tx in block.txs if len(tx.data) == 32]

    # its rules

    def _nonce(self, sender: str) -> int:
        return self.chain[-1].nonces.get(sender, 0) if self.chain else 0

    def _balance(self) -> int:
        return 0 if self.is_drained else self.funds - (self.chain[-1].spent if self.chain else 0)

    def _add(self, forced: list[Tx], *, with_pool: bool) -> None:
        nonces = dict(self.chain[-1].nonces) if self.chain else {}
        left, txs = self._balance(), []
        waiting = sorted(self.pool.values(), key=lambda tx: tx.nonce) if with_pool else []
        for tx in [*forced, *waiting]:
            is_next = tx.nonce == nonces.get(tx.sender, 0)
            if is_next and (tx in forced or (tx.max_fee >= self.base and left >= tx.gas * tx.max_fee)):
                txs.append(tx)
                nonces[tx.sender] = tx.nonce + 1
                left -= calldata_gas(tx.data) * min(tx.max_fee, self.base + tx.tip)
        spent = (self.chain[-1].spent if self.chain else 0) + self._balance() - left
        block = Block(self._header(txs), tuple(txs), len(self.chain), self.base, nonces, spent)
        self.chain.append(block)
        self.blocks[block.name] = block
        for tx in txs:
            self.places[tx.name] = block
        for key in [key for key in self.pool if key[1] < nonces.get(key[0], 0)]:
            del self.pool[key]

    def _header(self, txs: list[Tx]) -> bytes:
        self._salt += 1
        keys = [encode_rlp(minimal_bytes(at)) for at in range(len(txs))]
        root = trie_of({key: tx.raw for key, tx in zip(keys, txs, strict=True)}).root_hash if txs else EMPTY_ROOT
        number = len(self.chain)
        parent = keccak256(self.chain[-1].header) if self.chain else bytes(32)
        uints = [0, number, 30_000_000, sum(calldata_gas(tx.data) for tx in txs), GENESIS_S + 108 * number]
        fields = [parent, bytes(32), bytes(20), bytes(32), root, bytes(32), bytes(256), *map(minimal_bytes, uints)]
        return encode_rlp([*fields, self._salt.to_bytes(8, "big"), bytes(32), bytes(8), minimal_bytes(self.base)])

    def _refusal(self, tx: Tx) -> str:
        """Return why the pool does not take a transaction, in geth's words; a gap before it is no reason."""
        rival = self.pool.get((tx.sender, tx.nonce))
        if rival == tx:
            return "already known"
        if tx.nonce < self._nonce(tx.sender):
            return "nonce too low"
        if tx.tip < self.least_tip:
            return f"transaction underpriced: gas tip cap {tx.tip}, minimum needed {self.least_tip}"
        if self.refuses_below_base and tx.max_fee < self.base:
            return "max fee per gas less than block base fee"
        if self._balance() < tx.gas * tx.max_fee:
            return "insufficient funds for gas * price + value"
        if rival and (tx.max_fee * 10 < rival.max_fee * 11 or tx.tip * 10 < rival.tip * 11):
            return "replacement transaction underpriced"
        return ""

    # its interface

    def call(self, method: str, params: list[Any]) -> Any:
        self.calls.append(method)
        self.fuse(method)
        answer = getattr(self, _handler(method), None)
        if answer is None:
            raise RpcError(method, METHOD_NOT_FOUND, "the method does not exist")
        result = self.bend(method, answer(*params))
        self.fuse(method)
        return result

    def _number(self, tag: str) -> int:
        if tag == "finalized":
            if not self.knows_finalized:
                raise RpcError("eth_getBlockByNumber", -39001, "Unknown block")
            return max(0, len(self.chain) - 1 - self.final_depth)
        return len(self.chain) - 1 if tag == "latest" else int(tag, 16)

    def _chain_id(self) -> str:
        return hex(CHAIN_ID)

    def _block_number(self) -> str:
        return hex(len(self.chain) - 1)

    def _get_block_by_number(self, tag: str, is_full: bool) -> Any:
        number = self._number(tag)
        return self._block_json(self.chain[number], is_full) if number < len(self.chain) else None

    def _get_block_by_hash(self, name: str, is_full: bool) -> Any:
        return self._block_json(self.blocks[name], is_full) if name in self.blocks else None

    def _block_json(self, block: Block, is_full: bool) -> Any:
        listed = [self._mined_json(block, tx) if is_full else tx.name for tx in block.txs]
        return {**header_json(block.header), "transactions": listed}

    def _mined_json(self, block: Block, tx: Tx) -> Any:
        place = {"blockHash": block.name, "blockNumber": hex(block.number), "from": tx.sender}
        return {**transaction_json(tx.raw), **place, "transactionIndex": hex(block.txs.index(tx))}

    def _find(self, name: str) -> tuple[Block, Tx] | None:
        block = self.places.get(name)
        return (block, next(tx for tx in block.txs if tx.name == name)) if block else None

    def _get_transaction_by_hash(self, name: str) -> Any:
        found = self._find(name)
        if found:
            return self._mined_json(*found)
        waiting = next((tx for tx in self.pool.values() if tx.name == name), None)
        return {**transaction_json(waiting.raw), **NOT_MINED} if waiting else None

    def _get_transaction_receipt(self, name: str) -> Any:
        found = self._find(name)
        if found is None:
            return None
        block, tx = found
        return {"effectiveGasPrice": hex(block.price(tx)), "gasUsed": hex(calldata_gas(tx.data))}

    def _get_transaction_count(self, account: str, tag: str) -> str:
        return hex(self.chain[self._number(tag)].nonces.get(account.lower(), 0))

    def _get_balance(self, account: str, tag: str) -> str:
        return hex(self._balance())

    def _estimate_gas(self, transaction: dict[str, Any]) -> str:
        return hex(calldata_gas(octets(transaction["data"], "calldata")))

    def _max_priority_fee_per_gas(self) -> str:
        return hex(self.tip)

    def _send_raw_transaction(self, raw: str) -> str:
        tx = read_tx(octets(raw, "transaction"))
        self.sent.append(tx.name)
        refusal = self._refusal(tx)
        if refusal:
            raise RpcError("eth_sendRawTransaction", -32000, refusal)
        self.pool[tx.sender, tx.nonce] = tx
        return tx.name


def _handler(method: str) -> str:
    """Return what answers a call: `_block_number` for eth_blockNumber."""
    return "_" + re.sub("[A-Z]", lambda found: "_" + found[0].lower(), method.removeprefix("eth_"))
