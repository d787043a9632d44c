"""What a Bitcoin Core node is asked, and its answers checked for their form."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any

from earmark.anchor.rpc import Rpc, RpcError
from earmark.errors import AnchorError
from earmark.evidence.bitcoin import HEADER_SIZE, double_sha256

SATOSHI = 10**8
"""Satoshi in a bitcoin."""

MOST_SATOSHI = 21_000_000 * SATOSHI

_NOT_FOUND = -5
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class BlockEntry:
    """A block as the node places it: `confirmations` 1 for the tip, below 1 where it is not on the active chain."""

    hash: str
    height: int
    confirmations: int
    previous: str


@dataclass(frozen=True, slots=True)
class Output:
    """An unspent output: `confirmations` 0 where its transaction waits in the pool; `tip` is the active chain's."""

    amount: int
    script: bytes
    confirmations: int
    is_coinbase: bool
    tip: str


class Core:
    """The calls, one method each.  All raise `AnchorError` where the node is out of reach or answers something else."""

    def __init__(self, rpc: Rpc, patient: Rpc) -> None:
        """`patient` is the same node with minutes to answer: for the search through all coins."""
        self._rpc = rpc
        self._patient = patient

    def block_hash(self, height: int) -> str:
        """Return the hash of the active chain's block at a height."""
        return _hash(self._rpc.call("getblockhash", [height]), "block hash")

    def height(self) -> int:
        """Return the height of the active chain's tip."""
        return _whole(self._rpc.call("getblockcount", []), "height")

    def entry(self, block_hash: str) -> BlockEntry | None:
        """Return where a block stands, on the active chain or beside it; None where the node does not have it."""
        try:
            found = _object(self._rpc.call("getblockheader", [block_hash, True]), "header")
        except RpcError as error:
            if _is_not_found(error):
                return None
            raise
        previous = found.get("previousblockhash") or "0" * 64
        confirmations = found.get("confirmations")
        if type(confirmations) is not int:
            raise AnchorError("the node's header says nothing of confirmations: is this Bitcoin Core?")
        height = _whole(found.get("height"), "height")
        return BlockEntry(block_hash, height, confirmations, _hash(previous, "block hash"))

    def header(self, block_hash: str) -> bytes:
        """Return the header (80 bytes) of the block with this hash."""
        return _header(_octets(self._rpc.call("getblockheader", [block_hash, False]), "header"), block_hash)

    def txids(self, block_hash: str) -> list[str]:
        """Return the ids of a block's transactions, in order."""
        listed = _object(self._rpc.call("getblock", [block_hash, 1]), "block").get("tx")
        if not isinstance(listed, list) or not listed:
            raise AnchorError(f"the node's block {block_hash} lists no transactions: use another node")
        return [_hash(txid, "transaction id") for txid in listed]

    def block(self, block_hash: str) -> bytes:
        """Return the bytes of the block with this hash."""
        octets = _octets(self._rpc.call("getblock", [block_hash, 0]), "block")
        _header(octets[:HEADER_SIZE], block_hash)
        return octets

    def output(self, txid: str, vout: int, *, with_pool: bool) -> Output | None:
        """Return an output that is unspent on the active chain, or, `with_pool`, there and in the pool; else None."""
        answer = self._rpc.call("gettxout", [txid, vout, with_pool])
        if answer is None:
            return None
        found = _object(answer, "output")
        script = _octets(_object(found.get("scriptPubKey"), "script").get("hex"), "script")
        depth = _whole(found.get("confirmations"), "number of confirmations")
        amount = satoshi(found.get("value"), "amount")
        return Output(amount, script, depth, bool(found.get("coinbase")), _hash(found.get("bestblock"), "block hash"))

    def coins(self, script: bytes) -> list[tuple[str, int]]:
        """Return the outputs of the active chain that a script holds, the largest first.  Takes minutes."""
        scan = _object(self._patient.call("scantxoutset", ["start", [f"raw({script.hex()})"]]), "answer")
        listed = scan.get("unspents")
        if scan.get("success") is not True or not isinstance(listed, list):
            raise AnchorError("the node's search for coins ended early: it is started again")
        found = [_object(coin, "coin") for coin in listed]
        largest = sorted(found, key=lambda coin: -satoshi(coin.get("amount"), "amount"))
        return [(_hash(coin.get("txid"), "transaction id"), _whole(coin.get("vout"), "number")) for coin in largest]

    def whereabouts(self, txid: str) -> str | None:
        """Return "" for a transaction in the pool, the hash of its block where the node says so, else None.

        Without an index of transactions the node knows only those in the pool; one in a block is then None.
        """
        try:
            found = _object(self._rpc.call("getrawtransaction", [txid, True]), "transaction")
        except RpcError as error:
            if _is_not_found(error):
                return None
            raise
        block_hash = found.get("blockhash")
        return _hash(block_hash, "block hash") if block_hash else ""

    def send(self, raw: bytes) -> None:
        """Give a transaction to the node; its answer is no promise that it took it."""
        self._rpc.call("sendrawtransaction", [raw.hex()])

    def fee_rate(self, within_blocks: int) -> int | None:
        """Return what it takes to be mined so soon, in satoshi per 1,000 vbytes; None where the node cannot tell."""
        estimate = _object(self._rpc.call("estimatesmartfee", [within_blocks]), "estimate")
        rate = estimate.get("feerate")
        return None if rate is None or rate == -1 else satoshi(rate, "fee rate")

    def pool_rates(self) -> tuple[int, int]:
        """Return what the pool asks of a transaction, and of a replacement beyond what it replaces; rates as above."""
        pool = _object(self._rpc.call("getmempoolinfo", []), "pool")
        names = ("mempoolminfee", "minrelaytxfee", "incrementalrelayfee")
        least, relay, step = (satoshi(pool[name], name) if name in pool else 0 for name in names)
        return max(least, relay), step


def satoshi(answer: Any, what: str) -> int:
    """Return an amount in bitcoin, as JSON has it, in satoshi, rounded up; never through a float."""
    if type(answer) is int or (isinstance(answer, Decimal) and answer.is_finite()):
        amount = Decimal(answer)
        if 0 <= amount <= MOST_SATOSHI // SATOSHI:
            return int((amount * SATOSHI).to_integral_value(ROUND_CEILING))
    raise AnchorError(f"the node's {what} is not an amount of bitcoin: {str(answer)[:40]}")


def _is_not_found(error: RpcError) -> bool:
    """Say whether the node has no such block or transaction; bcoin says so in words only."""
    return error.code == _NOT_FOUND or error.message.lower() in ("transaction not found.", "block not found")


def _object(answer: Any, what: str) -> dict[str, Any]:
    if isinstance(answer, dict):
        return answer
    raise AnchorError(f"the node's {what} is not an object: is this Bitcoin Core?")


def _whole(answer: Any, what: str) -> int:
    if type(answer) is int and 0 <= answer < 1 << 31:
        return answer
    raise AnchorError(f"the node's {what} is not a number from 0 on: {str(answer)[:40]}")


def _hash(answer: Any, what: str) -> str:
    if isinstance(answer, str) and len(answer) == 64 and _HEX.issuperset(answer):
        return answer
    raise AnchorError(f"the node's {what} is not 32 bytes in hexadecimal digits: {str(answer)[:80]}")


def _octets(answer: Any, what: str) -> bytes:
    if isinstance(answer, str) and len(answer) % 2 == 0 and _HEX.issuperset(answer):
        return bytes.fromhex(answer)
    raise AnchorError(f"the node's {what} is not in hexadecimal digits: {str(answer)[:40]}")


def _header(header: bytes, block_hash: str) -> bytes:
    if len(header) != HEADER_SIZE or double_sha256(header)[::-1].hex() != block_hash:
        raise AnchorError(f"the node's header of block {block_hash} does not hash to it: use another node")
    return header
