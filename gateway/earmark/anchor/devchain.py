"""A development chain inside the process: real blocks and a real EVM, worth nothing.

It stands in for a chain where there is no network: in the demo, in tests, on a bench.  Anybody who
holds its file can rewrite it, so an anchor on it proves the software, not the time.
"""

import fcntl
import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earmark.anchor.ethblock import calldata_gas, header_json, transaction_json
from earmark.anchor.extras import import_extra
from earmark.anchor.rpc import METHOD_NOT_FOUND, RpcError
from earmark.errors import AnchorError, CorruptLog, EncodingError, ProofError
from earmark.mpt import keccak256

if TYPE_CHECKING:
    from earmark.anchor.devevm import Machine, Sealed, Waiting

DEVELOPMENT_CHAIN = "eip155:131277322940537"
"""The CAIP-2 id that eth-tester's chains go by."""

DEVELOPMENT_KEY = hashlib.sha256(b"earmark development key, public and worthless").digest()
"""The key of the one funded account of every development chain.  Public: refused on any other chain."""

FINAL_DEPTH = 2
"""Blocks on top of a block that make it final."""

_INVALID_PARAMS = -32602
_REJECTED = -32000
_TIP = 10**9
_NOT_MINED = {"blockHash": None, "blockNumber": None, "transactionIndex": None}


class DevChain:
    """A chain of one process, kept in the file `path`, that answers the JSON-RPC calls `EvmTarget` makes.

    Blocks are on disk (fsync) before anybody sees them; at the next start they are executed again
    and have the same hashes.  Transactions that wait for a block are lost with the process, as from
    any pool.  Block hashes cannot be predicted.  The owner calls `mine`, on a timer or at will; an
    empty block takes 1.2 kB of the file and about 1 ms of the next start.  Thread-safe.

    Raises `AnchorError` where eth-tester is not installed or another process has the file, and
    `CorruptLog` for a file that does not replay.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._journal = _Journal(path)
        self._pool: dict[tuple[bytes, int], Waiting] = {}
        try:
            self._replay()
        except BaseException:
            self._journal.close()
            raise

    def close(self) -> None:
        """Let go of the file; the chain is not used after this."""
        self._journal.close()

    def call(self, method: str, params: list[Any]) -> Any:
        """Answer one JSON-RPC call; `RpcError` in the words of an endpoint."""
        answer = _METHODS.get(method)
        if answer is None:
            raise RpcError(method, METHOD_NOT_FOUND, "the method does not exist")
        with self._lock:
            try:
                return answer(self, *params)
            except (TypeError, ValueError, LookupError, AttributeError) as error:
                raise RpcError(method, _INVALID_PARAMS, f"invalid parameters: {error}") from error

    def mine(self) -> bytes:
        """Make a block of what waits, empty if nothing does, and return its hash.

        The block is on disk when this returns.  Raises `AnchorError` when it cannot be written: the
        chain is then as it was before, and what waited still waits.
        """
        with self._lock:
            waiting = sorted(self._pool.values(), key=lambda transaction: transaction.nonce)
            # Unpredictable like a real block's; else the chain's hashes would be no beacon.
            block = self._machine.execute(waiting, int(self._clock()), secrets.token_bytes(32))
            try:
                self._journal.append(block.encoded)
            except AnchorError:
                self._replay()
                raise
            self._publish(block)
            return block.hash

    def _replay(self) -> None:
        """Build the chain from its file, or begin one."""
        devevm = import_extra("earmark.anchor.devevm", "demo")
        lines = self._journal.read()
        try:
            time_s = devevm.genesis_time(lines[0]) if lines else int(self._clock())
        except (ProofError, IndexError) as error:
            raise CorruptLog(self._journal.advice("does not begin with a block")) from error
        self._machine: Machine = devevm.Machine(devevm.account_of(DEVELOPMENT_KEY), time_s)
        self._blocks: list[Sealed] = []
        self._places: dict[bytes, tuple[int, int]] = {}
        genesis = self._machine.genesis
        if not lines:
            self._journal.append(genesis.encoded)
        elif lines[0] != genesis.encoded:
            raise CorruptLog(self._journal.advice("is of another version of py-evm"))
        self._publish(genesis)
        for encoded in lines[1:]:
            try:
                self._publish(self._machine.replay(encoded))
            except EncodingError as error:
                complaint = f"does not replay at block {len(self._blocks)}"
                raise CorruptLog(self._journal.advice(complaint)) from error

    def _publish(self, block: "Sealed") -> None:
        """Show a block that is on disk, and forget what waited for it."""
        for index, raw in enumerate(block.transactions):
            self._places[keccak256(raw)] = (len(self._blocks), index)
        self._blocks.append(block)
        for sender, nonce in list(self._pool):
            if nonce < self._machine.nonce(sender, self._newest):
                del self._pool[sender, nonce]

    @property
    def _newest(self) -> int:
        return len(self._blocks) - 1

    def _number(self, tag: str) -> int:
        """Return the block number that a tag or a quantity names; it may be beyond the newest."""
        if tag[:2] == "0x":
            return int(tag, 16)
        final = max(0, self._newest - FINAL_DEPTH)
        depths = {
            "latest": self._newest,
            "pending": self._newest,
            "safe": final,
            "finalized": final,
            "earliest": 0,
        }
        return depths[tag]

    def _next_nonce(self, sender: bytes) -> int:
        nonce = self._machine.nonce(sender, self._newest)
        while (sender, nonce) in self._pool:
            nonce += 1
        return nonce

    def _chain_id(self) -> str:
        return hex(self._machine.chain_id)

    def _block_number(self) -> str:
        return hex(self._newest)

    def _block_by_number(self, tag: str, is_full: bool) -> dict[str, Any] | None:
        number = self._number(tag)
        return self._block_json(number, is_full) if number <= self._newest else None

    def _block_by_hash(self, digest: str, is_full: bool) -> dict[str, Any] | None:
        wanted = _octets(digest)
        for number, block in enumerate(self._blocks):
            if block.hash == wanted:
                return self._block_json(number, is_full)
        return None

    def _block_json(self, number: int, is_full: bool) -> dict[str, Any]:
        mined = [self._mined_json(number, at) for at in range(len(self._blocks[number].transactions))]
        listed = mined if is_full else [transaction["hash"] for transaction in mined]
        return {
            **header_json(self._blocks[number].header),
            "transactions": listed,
            "uncles": [],
            "withdrawals": [],
        }

    def _mined_json(self, number: int, index: int) -> dict[str, Any]:
        block = self._blocks[number]
        place = {"blockHash": _hex(block.hash), "blockNumber": hex(number), "transactionIndex": hex(index)}
        return {**transaction_json(block.transactions[index]), **place}

    def _transaction(self, digest: str) -> dict[str, Any] | None:
        wanted = _octets(digest)
        if wanted in self._places:
            return self._mined_json(*self._places[wanted])
        for waiting in self._pool.values():
            if waiting.hash == wanted:
                return {**transaction_json(waiting.raw), **_NOT_MINED}
        return None

    def _transaction_count(self, account: str, tag: str) -> str:
        if tag == "pending":
            return hex(self._next_nonce(_octets(account)))
        return hex(self._machine.nonce(_octets(account), self._number(tag)))

    def _balance(self, account: str, tag: str) -> str:
        return hex(self._machine.balance(_octets(account), self._number(tag)))

    def _estimate_gas(self, transaction: dict[str, Any]) -> str:
        return hex(calldata_gas(_octets(transaction.get("data", "0x"))))

    def _tip(self) -> str:
        return hex(_TIP)

    def _send(self, raw: str) -> str:
        try:
            transaction = self._machine.decode(_octets(raw))
        except EncodingError as error:
            raise _refused(str(error)) from error
        complaint = self._complaint(transaction)
        if complaint:
            raise _refused(complaint)
        self._pool[transaction.sender, transaction.nonce] = transaction
        return _hex(transaction.hash)

    def _complaint(self, transaction: "Waiting") -> str:
        """Return what the pool has against a transaction, in the words of common nodes; empty if nothing."""
        waiting = self._pool.get((transaction.sender, transaction.nonce))
        if waiting is not None and waiting.hash == transaction.hash:
            return "already known"
        if transaction.chain_id != self._machine.chain_id:
            return "invalid chain id for signer"
        if transaction.nonce < self._machine.nonce(transaction.sender, self._newest):
            return "nonce too low"
        if waiting is None and transaction.nonce > self._next_nonce(transaction.sender):
            return "nonce too high: this pool keeps no gaps"
        if self._machine.balance(transaction.sender, self._newest) < transaction.cost:
            return "insufficient funds for gas * price + value"
        if waiting is not None and not _outbids(transaction, waiting):
            return "replacement transaction underpriced"
        return ""


_METHODS: dict[str, Callable[..., Any]] = {
    "eth_chainId": DevChain._chain_id,
    "eth_blockNumber": DevChain._block_number,
    "eth_getBlockByNumber": DevChain._block_by_number,
    "eth_getBlockByHash": DevChain._block_by_hash,
    "eth_getTransactionByHash": DevChain._transaction,
    "eth_getTransactionCount": DevChain._transaction_count,
    "eth_getBalance": DevChain._balance,
    "eth_estimateGas": DevChain._estimate_gas,
    "eth_maxPriorityFeePerGas": DevChain._tip,
    "eth_sendRawTransaction": DevChain._send,
}


class _Journal:
    """A file of one line for each block, the genesis block first; locked while open.

    A line is the block's RLP and the first 8 bytes of its SHA-256, both hexadecimal.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("a+b", buffering=0)
        except OSError as error:
            raise AnchorError(f"cannot open the development chain's file {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise AnchorError(f"{path} is in use by another process: stop that one first") from None
        _sync_folder(path.parent)

    def close(self) -> None:
        self._file.close()

    def read(self) -> list[bytes]:
        """Return the blocks; cut off a last line that a crash or a full disk left unfinished."""
        self._file.seek(0)
        content = self._file.readall()
        self._size = content.rfind(b"\n") + 1
        self._file.truncate(self._size)
        return [self._decode(line, number) for number, line in enumerate(content[: self._size].splitlines(), 1)]

    def append(self, encoded: bytes) -> None:
        """Write a line and wait for the disk; `AnchorError` leaves the file as it was."""
        unwritten = memoryview(_line(encoded) + b"\n")
        try:
            while unwritten:
                unwritten = unwritten[self._file.write(unwritten) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(self._size)
            raise AnchorError(f"cannot write {self.path}: {error.strerror}") from error
        self._size = self._file.tell()

    def _decode(self, line: bytes, number: int) -> bytes:
        try:
            encoded = bytes.fromhex(line.partition(b" ")[0].decode("ascii"))
        except ValueError as error:
            raise CorruptLog(self.advice(f"is not hexadecimal in line {number}")) from error
        if line != _line(encoded):
            raise CorruptLog(self.advice(f"was changed in line {number}"))
        return encoded

    def advice(self, complaint: str) -> str:
        """Return the message for a file that does not replay."""
        return f"the development chain's file {self.path} {complaint}: move it away, a new chain begins"


def _line(encoded: bytes) -> bytes:
    return f"{encoded.hex()} {hashlib.sha256(encoded).hexdigest()[:16]}".encode()


def _outbids(transaction: "Waiting", waiting: "Waiting") -> bool:
    """Tell whether both fees are a tenth higher, which is what common pools ask of a replacement."""
    return transaction.max_fee * 10 >= waiting.max_fee * 11 and transaction.tip * 10 >= waiting.tip * 11


def _refused(message: str) -> RpcError:
    return RpcError("eth_sendRawTransaction", _REJECTED, message)


def _octets(value: str) -> bytes:
    return bytes.fromhex(value.removeprefix("0x"))


def _hex(value: bytes) -> str:
    return "0x" + value.hex()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
