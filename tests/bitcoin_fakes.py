"""A Bitcoin Core node in memory, on regtest: what it takes into its pool and its blocks it checks as Core does.

Transactions are read and signatures checked with embit, not with the code under test.  No index of transactions unless
`has_index`.  It fails when told to: `fuse` is called before and after each call.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from embit import ec, script
from embit.transaction import Transaction, TransactionInput, TransactionOutput

from earmark.anchor.rpc import RpcError

BITS = bytes.fromhex("ffff7f20")
GENESIS = bytes.fromhex(
    "01000000"
    + "00" * 32
    + "3ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a"
    + "dae5494dffff7f2002000000"
)
COIN = 10**8
DUST = 294
OutPoint = tuple[str, int]


def sha256d(octets: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(octets).digest()).digest()


@dataclass(frozen=True)
class Tx:
    """A transaction as bytes and as embit reads it."""

    raw: bytes
    read: Transaction = field(compare=False)

    @property
    def txid(self) -> str:
        return str(self.read.txid().hex())

    @property
    def spends(self) -> list[OutPoint]:
        return [(entry.txid.hex(), entry.vout) for entry in self.read.vin]

    @property
    def is_replaceable(self) -> bool:
        return any(entry.sequence < 0xFFFFFFFE for entry in self.read.vin)

    @property
    def vsize(self) -> int:
        bare = Transaction(self.read.version, self.read.vin, self.read.vout, self.read.locktime)
        saved = [entry.witness for entry in bare.vin]
        for entry in bare.vin:
            entry.witness = script.Witness([])
        size = len(bare.serialize())
        for entry, witness in zip(bare.vin, saved, strict=True):
            entry.witness = witness
        return -(-(3 * size + len(self.raw)) // 4)


def read_tx(raw: bytes) -> Tx:
    return Tx(raw, Transaction.parse(raw))


def payment(paid: bytes, amount: int, number: int) -> Tx:
    """A transaction out of nowhere that pays a script; the node takes it into a block unchecked."""
    spent = TransactionInput(hashlib.sha256(number.to_bytes(8, "big")).digest(), 0)
    made = Transaction(2, [spent], [TransactionOutput(amount, script.Script(paid))], 0)
    return read_tx(made.serialize())


@dataclass(frozen=True)
class Block:
    header: bytes
    txs: tuple[Tx, ...]
    height: int
    previous: str

    @property
    def hash(self) -> str:
        return sha256d(self.header)[::-1].hex()


@dataclass(frozen=True)
class Unspent:
    amount: int
    script: bytes
    height: int
    is_coinbase: bool


def root_of(hashes: list[bytes]) -> bytes:
    """Bitcoin's Merkle root, by the recursive definition."""
    if len(hashes) == 1:
        return hashes[0]
    if len(hashes) % 2:
        return root_of([*hashes, hashes[-1]])
    return root_of([sha256d(left + right) for left, right in zip(hashes[::2], hashes[1::2], strict=True)])


class FakeCore:
    """The node; `call` is its JSON-RPC."""

    def __init__(self) -> None:
        self.chain = [Block(GENESIS, (), 0, "00" * 32)]
        self.blocks = {self.chain[0].hash: self.chain[0]}
        self.pool: dict[str, Tx] = {}
        self.sent: list[str] = []
        self.estimate: Decimal | None = Decimal("0.00001")
        self.pool_minimum = Decimal("0.00001")
        self.has_index = False
        self.rejects_silently = False
        self.calls: list[str] = []
        self.changes: dict[str, Callable[[Any], Any]] = {}
        self.fuse: Callable[[str], None] = lambda _: None
        self._paid = 0
        self._nonce = 0
        self._unspent: dict[OutPoint, Unspent] = {}
        self.mine(2)

    # what a test does to it

    def fund(self, paid: bytes, *amounts: int, depth: int = 10) -> list[OutPoint]:
        """Pay amounts to a script, so many blocks deep."""
        txs = [payment(paid, amount, self._next_number()) for amount in amounts]
        self._add_block(txs)
        self.mine(depth - 1, with_pool=False)
        return [(tx.txid, 0) for tx in txs]

    def mine(self, count: int = 1, *, with_pool: bool = True, txs: Iterable[Tx] = ()) -> None:
        """Mine blocks, the first with what waits and pays the minimum; `txs` go into it unchecked."""
        for at in range(count):
            waiting = [tx for tx in self.pool.values() if self._pays_enough(tx)] if with_pool and not at else []
            self._add_block([*(txs if not at else ()), *waiting])

    def reorg(self, depth: int, *, keep: bool = True, txs: Iterable[Tx] = (), blocks: int | None = None) -> None:
        """Replace the newest blocks by one block more; `keep` what they had in the pool, as Core does where it can."""
        taken = [tx for block in self.chain[len(self.chain) - depth :] for tx in block.txs[1:]]
        del self.chain[len(self.chain) - depth :]
        self._rebuild()
        self.mine(depth + 1 if blocks is None else blocks, with_pool=False, txs=txs)
        waiting, self.pool = [*taken, *self.pool.values()], {}
        for tx in waiting if keep else [*self.pool.values()]:
            if tx.raw and self._refusal(tx) is None:
                self.pool[tx.txid] = tx

    def restart(self) -> None:
        """Lose the pool."""
        self.pool.clear()

    def spend_elsewhere(self, outpoint: OutPoint) -> Tx:
        """A transaction that spends an output as whoever else has its key would: out of place, so only for `mine`."""
        spent = TransactionInput(bytes.fromhex(outpoint[0]), outpoint[1])
        made = Transaction(2, [spent], [TransactionOutput(1000, script.Script(b"\x51"))], self._next_number())
        return read_tx(made.serialize())

    def mined(self) -> list[str]:
        """Return the ids of all transactions of the active chain that carry a digest."""
        return [tx.txid for block in self.chain for tx in block.txs if digest_of(tx) is not None]

    @property
    def height(self) -> int:
        return len(self.chain) - 1

    # its rules

    def _next_number(self) -> int:
        self._paid += 1
        return self._paid

    def _add_block(self, txs: list[Tx]) -> None:
        height = len(self.chain)
        self._nonce += 1
        reward = payment(b"\x51", 50 * COIN, (1 << 40) + self._nonce)
        listed = (reward, *txs)
        root = root_of([bytes.fromhex(tx.txid)[::-1] for tx in listed])
        previous = self.chain[-1].hash
        start = (2).to_bytes(4, "little") + bytes.fromhex(previous)[::-1] + root
        start += (1_790_000_000 + 600 * height).to_bytes(4, "little") + BITS
        nonce = 0
        while sha256d(start + nonce.to_bytes(4, "little"))[31] >= 0x7F:
            nonce += 1
        block = Block(start + nonce.to_bytes(4, "little"), listed, height, previous)
        self.chain.append(block)
        self.blocks[block.hash] = block
        self._apply(block)
        spent = {outpoint for tx in listed for outpoint in tx.spends}
        for txid, tx in list(self.pool.items()):
            if txid in {mined.txid for mined in listed} or spent & set(tx.spends):
                self._drop(txid)

    def _apply(self, block: Block) -> None:
        for at, tx in enumerate(block.txs):
            for outpoint in tx.spends:
                self._unspent.pop(outpoint, None)
            for number, out in enumerate(tx.read.vout):
                if out.script_pubkey.data[:1] != b"\x6a":
                    self._unspent[tx.txid, number] = Unspent(out.value, out.script_pubkey.data, block.height, at == 0)

    def _rebuild(self) -> None:
        self._unspent = {}
        for block in self.chain:
            self._apply(block)

    def _drop(self, txid: str) -> None:
        """Take a transaction and what descends from it out of the pool."""
        if self.pool.pop(txid, None) is None:
            return
        for other, tx in list(self.pool.items()):
            if any(spent == txid for spent, _ in tx.spends):
                self._drop(other)

    def _output(self, outpoint: OutPoint) -> Unspent | None:
        """An output of the chain or of the pool, spent in the pool or not."""
        if outpoint in self._unspent:
            return self._unspent[outpoint]
        tx = self.pool.get(outpoint[0])
        if tx is None or outpoint[1] >= len(tx.read.vout):
            return None
        out = tx.read.vout[outpoint[1]]
        return Unspent(out.value, out.script_pubkey.data, self.height + 1, is_coinbase=False)

    def _fee(self, tx: Tx) -> int:
        spent = [self._output(outpoint) for outpoint in tx.spends]
        return sum(coin.amount for coin in spent if coin) - sum(out.value for out in tx.read.vout)

    def _pays_enough(self, tx: Tx) -> bool:
        """Say whether miners take it: at the estimate, where there is one."""
        rate = self.estimate if self.estimate is not None else self.pool_minimum
        return self._fee(tx) * 1000 >= int(rate * COIN) * tx.vsize

    def _refusal(self, tx: Tx) -> tuple[int, str] | None:
        """Return why the pool does not take a transaction, in Core's words."""
        coins = [self._output(outpoint) for outpoint in tx.spends]
        if any(coin is None for coin in coins):
            return -25, "bad-txns-inputs-missingorspent"
        if tx.read.locktime > self.height:
            return -26, "non-final"
        if not _is_signed(tx, [coin for coin in coins if coin]):
            return (
                -26,
                "mandatory-script-verify-flag-failed (Signature must be zero for failed CHECK(MULTI)SIG operation)",
            )
        fee = self._fee(tx)
        if fee < 0:
            return -26, "bad-txns-in-belowout"
        if any(out.value < DUST and out.script_pubkey.data[:1] != b"\x6a" for out in tx.read.vout):
            return -26, "dust"
        least = max(1000, int(self.pool_minimum * COIN))
        if fee * 1000 < least * tx.vsize:
            return -26, "mempool min fee not met"
        if fee * 1000 > COIN // 10 * tx.vsize:
            return -25, "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)"
        return self._conflict(tx, fee)

    def _conflict(self, tx: Tx, fee: int) -> tuple[int, str] | None:
        """BIP 125: what is replaced says so, and the newcomer pays more in all, at a higher rate, and for itself."""
        rivals = [other for other in self.pool.values() if set(other.spends) & set(tx.spends) and other.txid != tx.txid]
        if not rivals:
            return None
        if not all(rival.is_replaceable for rival in rivals):
            return -26, "txn-mempool-conflict"
        paid = sum(self._fee(rival) for rival in rivals)
        if any(fee * rival.vsize <= self._fee(rival) * tx.vsize for rival in rivals) or fee < paid:
            return -26, "insufficient fee, rejecting replacement"
        if fee - paid < tx.vsize:
            return -26, "insufficient fee, rejecting replacement: not enough additional fees to relay"
        return None

    # its interface

    def call(self, method: str, params: list[Any]) -> Any:
        self.calls.append(method)
        self.fuse(method)
        answer = getattr(self, f"_{method}", None)
        if answer is None:
            raise RpcError(method, -32601, "Method not found")
        result = self.changes.get(method, lambda same: same)(answer(*params))
        self.fuse(method)
        return result

    def _getblockcount(self) -> int:
        return self.height

    def _getblockhash(self, height: int) -> str:
        if not 0 <= height < len(self.chain):
            raise RpcError("getblockhash", -8, "Block height out of range")
        return self.chain[height].hash

    def _block(self, block_hash: str) -> Block:
        if block_hash not in self.blocks:
            raise RpcError("getblock", -5, "Block not found")
        return self.blocks[block_hash]

    def _is_active(self, block: Block) -> bool:
        return block.height < len(self.chain) and self.chain[block.height].hash == block.hash

    def _getblockheader(self, block_hash: str, verbose: bool = True) -> Any:
        block = self._block(block_hash)
        if not verbose:
            return block.header.hex()
        confirmations = self.height - block.height + 1 if self._is_active(block) else -1
        said = {"hash": block.hash, "confirmations": confirmations, "height": block.height}
        return said | ({"previousblockhash": block.previous} if block.height else {})

    def _getblock(self, block_hash: str, verbosity: int = 1) -> Any:
        block = self._block(block_hash)
        if verbosity == 0:
            return (block.header + bytes([len(block.txs)]) + b"".join(tx.raw for tx in block.txs)).hex()
        return {"hash": block.hash, "tx": [tx.txid for tx in block.txs]}

    def _gettxout(self, txid: str, vout: int, include_mempool: bool = True) -> Any:
        outpoint = (txid, vout)
        found = self._output(outpoint) if include_mempool else self._unspent.get(outpoint)
        if found is None or (include_mempool and any(outpoint in tx.spends for tx in self.pool.values())):
            return None
        return {
            "bestblock": self.chain[-1].hash,
            "confirmations": self.height - found.height + 1,
            "value": Decimal(found.amount) / COIN,
            "scriptPubKey": {"hex": found.script.hex()},
            "coinbase": found.is_coinbase,
        }

    def _scantxoutset(self, action: str, objects: list[str]) -> Any:
        assert action == "start" and len(objects) == 1
        wanted = bytes.fromhex(objects[0].removeprefix("raw(").removesuffix(")"))
        coins = [
            {"txid": txid, "vout": vout, "amount": Decimal(coin.amount) / COIN, "height": coin.height}
            for (txid, vout), coin in self._unspent.items()
            if coin.script == wanted
        ]
        return {"success": True, "unspents": coins, "height": self.height, "bestblock": self.chain[-1].hash}

    def _getrawtransaction(self, txid: str, verbose: bool = False) -> Any:
        assert verbose
        if txid in self.pool:
            return {"txid": txid, "hex": self.pool[txid].raw.hex()}
        for block in self.blocks.values() if self.has_index else ():
            if txid in [tx.txid for tx in block.txs]:
                confirmations = self.height - block.height + 1 if self._is_active(block) else 0
                return {"txid": txid, "blockhash": block.hash, "confirmations": confirmations}
        raise RpcError("getrawtransaction", -5, "No such mempool transaction. Use -txindex or provide a block hash")

    def _sendrawtransaction(self, raw: str) -> str:
        tx = read_tx(bytes.fromhex(raw))
        self.sent.append(tx.txid)
        if tx.txid in self.pool:
            return tx.txid
        if any((tx.txid, number) in self._unspent for number in range(len(tx.read.vout))):
            raise RpcError("sendrawtransaction", -27, "Transaction outputs already in utxo set")
        refusal = self._refusal(tx)
        if refusal is not None:
            if self.rejects_silently:
                return tx.txid
            raise RpcError("sendrawtransaction", *refusal)
        for other in [other for other in self.pool.values() if set(other.spends) & set(tx.spends)]:
            self._drop(other.txid)
        self.pool[tx.txid] = tx
        return tx.txid

    def _estimatesmartfee(self, blocks: int) -> Any:
        if self.estimate is None:
            return {"errors": ["Insufficient data or no feerate found"], "blocks": blocks}
        return {"feerate": self.estimate, "blocks": blocks}

    def _getmempoolinfo(self) -> Any:
        return {"mempoolminfee": self.pool_minimum, "incrementalrelayfee": Decimal("0.00001")}


def digest_of(tx: Tx) -> bytes | None:
    """Return the digest that a transaction carries, if it does."""
    first = tx.read.vout[0].script_pubkey.data
    return bytes(first[2:]) if first[:2] == b"\x6a\x20" and len(first) == 34 else None


def _is_signed(tx: Tx, coins: list[Unspent]) -> bool:
    """Check every input's signature, as P2WPKH."""
    for at, (entry, coin) in enumerate(zip(tx.read.vin, coins, strict=True)):
        if len(entry.witness.items) != 2:
            return False
        signature, public = entry.witness.items
        ours = script.p2wpkh(ec.PublicKey.parse(public))
        message = tx.read.sighash_segwit(at, script.p2pkh_from_p2wpkh(ours), coin.amount)
        if ours.data != coin.script or not ec.PublicKey.parse(public).verify(
            ec.Signature.parse(signature[:-1]), message
        ):
            return False
    return True
