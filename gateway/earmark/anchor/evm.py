"""Anchoring on an EVM chain: a transaction to oneself whose calldata is the digest."""

from dataclasses import dataclass
from typing import Any

from earmark.anchor.devchain import DEVELOPMENT_CHAIN, DEVELOPMENT_KEY
from earmark.anchor.ethblock import (
    build_header,
    build_transaction,
    calldata_gas,
    octets,
    prove_transaction,
    quantity,
)
from earmark.anchor.extras import import_extra
from earmark.anchor.rpc import METHOD_NOT_FOUND, Rpc, RpcError
from earmark.anchor.target import Progress, State
from earmark.errors import AnchorError, EncodingError, ProofError
from earmark.evidence import EVM, ChainBlock, check_evm, check_evm_header, eip155_id, encode_evm
from earmark.mpt import bytes_of, decode_rlp_list, keccak256, uint_of

GWEI = 10**9

DEFAULT_TIP = GWEI
"""Wei per gas for the block's proposer where the endpoint has no opinion."""

_DYNAMIC_FEE = 2
_KNOWN = ("already known", "known transaction", "already imported", "already exists", "alreadyknown")
_ADVICE = (
    ("nonce too low", "another transaction took its place; once that one is final, sign anew"),
    ("insufficient funds", "send funds to {sender}"),
    ("underpriced", "a transaction with the same nonce waits; replace it with higher fees"),
)


@dataclass(frozen=True, slots=True)
class _Transaction:
    """What a payload says, apart from its signature."""

    hash: bytes
    nonce: int
    tip: int
    max_fee: int
    gas: int
    digest: bytes
    sender: str


class EvmTarget:
    """A `Target` on the EVM chain `chain` (CAIP-2, such as "eip155:1") through a JSON-RPC endpoint.

    A payload is a raw, signed EIP-1559 transaction.  `key` is the 32-byte secp256k1 key of an account
    that is used for nothing else and holds little.  An anchor costs at most `fee_cap_gwei` × `gas_cap`
    gwei, whatever the endpoint says.  Final is what the endpoint calls `finalized`; where it has no
    such tag, `confirmations` blocks (this block counts as 1).
    """

    kind = EVM

    def __init__(
        self,
        rpc: Rpc,
        chain: str,
        key: bytes,
        *,
        fee_cap_gwei: float = 30.0,
        gas_cap: int = 100_000,
        confirmations: int = 12,
    ) -> None:
        self._chain_id = _chain_id(chain)
        if key == DEVELOPMENT_KEY and chain != DEVELOPMENT_CHAIN:
            raise AnchorError(f"the development key is public: make a key of your own for {chain}")
        try:
            self._account = _accounts().from_key(key)
        except ValueError:
            raise AnchorError("the anchor key is not a secp256k1 private key of 32 bytes") from None
        self.name = chain
        self._rpc = rpc
        self._fee_cap = round(fee_cap_gwei * GWEI)
        self._gas_cap = gas_cap
        self._confirmations = confirmations
        self._is_checked = False
        self._last: tuple[bytes, ChainBlock, bytes] | None = None

    def __repr__(self) -> str:
        return f"EvmTarget({self.name!r}, {self.address})"

    @property
    def address(self) -> str:
        """The account that pays, as 0x… with checksum."""
        return str(self._account.address)

    def check_chain(self) -> None:
        """Raise `AnchorError` unless the endpoint serves the configured chain.

        Every other method does this once by itself; call it at start to hear of a mistake early.
        """
        if self._is_checked:
            return
        served = quantity(self._rpc.call("eth_chainId", []), "chain id")
        if served != self._chain_id:
            raise AnchorError(f"the endpoint serves eip155:{served}, not {self.name}: correct the configuration")
        self._is_checked = True

    def sign(self, digest: bytes) -> bytes:
        """Build and sign a transaction that carries `digest`; see `Target.sign`."""
        if len(digest) != 32:
            raise EncodingError(f"a digest of {len(digest)} bytes cannot be anchored: 32 are")
        self.check_chain()
        tip, max_fee = self._fees()
        gas = self._gas(digest)
        self._check_balance(gas * max_fee)
        counts = [self._nonce(self.address, tag) for tag in ("latest", "pending")]
        return self._sign(max(counts), tip, max_fee, gas, digest)

    def replace(self, payload: bytes) -> bytes:
        """Sign the same digest and nonce with fees at least an eighth higher; see `Target.replace`."""
        self.check_chain()
        old = _decode(payload)
        if old.sender != self.address:
            raise AnchorError(f"the payload was signed for {old.sender}: only its key can replace it")
        tip, max_fee = self._fees()
        tip, max_fee = max(tip, _raised(old.tip)), max(max_fee, _raised(old.max_fee))
        if max_fee > self._fee_cap:
            raise self._deferred(max_fee)
        self._check_balance(old.gas * max_fee)
        return self._sign(old.nonce, tip, max_fee, old.gas, old.digest)

    def send(self, payload: bytes) -> bytes:
        """Broadcast a stored payload; see `Target.send`."""
        self.check_chain()
        transaction = _decode(payload)
        try:
            answer = self._rpc.call("eth_sendRawTransaction", ["0x" + payload.hex()])
        except RpcError as error:
            if not (_says_known(error) or self._look_up(transaction)):
                raise AnchorError(_advise(error, transaction)) from error
            return payload
        if octets(answer, "transaction hash") != transaction.hash:
            raise AnchorError(f"the endpoint names 0x{transaction.hash.hex()} by another hash: use another endpoint")
        return payload

    def poll(self, payload: bytes) -> Progress:
        """Look up a stored payload; see `Target.poll`.  Mined: `evidence` was checked with `check_evm`."""
        self.check_chain()
        transaction = _decode(payload)
        reference = "0x" + transaction.hash.hex()
        found = self._look_up(transaction)
        if found is None:
            return Progress(self._state_of_missing(transaction), reference)
        if found.get("blockHash") is None:
            return Progress("pending", reference)
        number = quantity(found.get("blockNumber"), "block number")
        canonical = self._block(hex(number))
        if canonical is None or canonical.get("hash") != found["blockHash"]:  # a reorganisation is under way
            return Progress("pending", reference)
        block, evidence = self._evidence(transaction, found)
        confirmations = max(1, self._head_number() - number + 1)
        state: State = "final" if number <= self._final_number() else "mined"
        return Progress(state, reference, block, confirmations, evidence)

    def head(self) -> tuple[ChainBlock, bytes]:
        """Return the newest block and its header RLP; see `Target.head`."""
        self.check_chain()
        header = build_header(self._latest())
        return check_evm_header(self.name, header), header

    def _sign(self, nonce: int, tip: int, max_fee: int, gas: int, digest: bytes) -> bytes:
        fields = {
            "type": _DYNAMIC_FEE,
            "chainId": self._chain_id,
            "nonce": nonce,
            "maxPriorityFeePerGas": tip,
            "maxFeePerGas": max_fee,
            "gas": gas,
            "to": self.address,
            "value": 0,
            "data": digest,
        }
        return bytes(self._account.sign_transaction(fields).raw_transaction)

    def _fees(self) -> tuple[int, int]:
        """Return tip and fee limit in wei per gas: room for the base fee to double, within the cap."""
        latest = self._latest()
        if latest.get("baseFeePerGas") is None:
            raise AnchorError(f"{self.name} has no base fee (EIP-1559): Earmark cannot anchor on it")
        base = quantity(latest["baseFeePerGas"], "base fee")
        tip = self._tip()
        if base + tip > self._fee_cap:
            raise self._deferred(base + tip)
        return tip, min(self._fee_cap, 2 * base + tip)

    def _tip(self) -> int:
        try:
            return quantity(self._rpc.call("eth_maxPriorityFeePerGas", []), "priority fee")
        except RpcError as error:
            if error.code != METHOD_NOT_FOUND:
                raise
            return DEFAULT_TIP

    def _deferred(self, fee: int) -> AnchorError:
        return AnchorError(
            f"deferred: {self.name} asks {fee / GWEI:.9g} gwei, the cap is {self._fee_cap / GWEI:.9g} gwei; "
            "it is tried again, raise the cap if this lasts"
        )

    def _gas(self, digest: bytes) -> int:
        """Return the gas limit: the endpoint's estimate, at least the floor price of calldata (EIP-7623)."""
        call = {"from": self.address, "to": self.address, "data": "0x" + digest.hex()}
        estimate = quantity(self._rpc.call("eth_estimateGas", [call]), "gas estimate")
        gas = max(estimate, calldata_gas(digest))
        if gas > self._gas_cap:
            raise AnchorError(f"{self.name} asks {gas} gas, the cap is {self._gas_cap}: check chain and account")
        return gas

    def _check_balance(self, needed: int) -> None:
        balance = quantity(self._rpc.call("eth_getBalance", [self.address, "latest"]), "balance")
        if balance < needed:
            raise AnchorError(
                f"{self.address} holds {balance / 10**18:.9f} of the coin of {self.name}, an anchor may need "
                f"{needed / 10**18:.9f}: send funds there"
            )

    def _nonce(self, account: str, tag: str) -> int:
        return quantity(self._rpc.call("eth_getTransactionCount", [account, tag]), "transaction count")

    def _look_up(self, transaction: _Transaction) -> dict[str, Any] | None:
        found = self._rpc.call("eth_getTransactionByHash", ["0x" + transaction.hash.hex()])
        return _object(found, "transaction")

    def _block(self, tag: str) -> dict[str, Any] | None:
        return _object(self._rpc.call("eth_getBlockByNumber", [tag, False]), "block")

    def _latest(self) -> dict[str, Any]:
        block = self._block("latest")
        if block is None:
            raise AnchorError("the endpoint has no blocks yet: it is still synchronising")
        return block

    def _head_number(self) -> int:
        return quantity(self._rpc.call("eth_blockNumber", []), "block number")

    def _final_number(self) -> int:
        """Return the number of the newest final block, −1 if there is none."""
        try:
            block = self._block("finalized")
        except RpcError:  # an endpoint without the tag words its refusal as it likes
            block = None
        if block is None:
            return self._head_number() - self._confirmations + 1
        return quantity(block.get("number"), "block number")

    def _state_of_missing(self, transaction: _Transaction) -> State:
        """Tell a payload to send again from one whose nonce another transaction has used."""
        if self._nonce(transaction.sender, "latest") <= transaction.nonce:
            return "unknown"
        final = max(0, self._final_number())
        return "void" if self._nonce(transaction.sender, hex(final)) > transaction.nonce else "pending"

    def _evidence(self, transaction: _Transaction, found: dict[str, Any]) -> tuple[ChainBlock, bytes]:
        """Build the evidence for a mined transaction and check it as a stranger would."""
        block_hash = octets(found["blockHash"], "block hash")
        if self._last is not None and self._last[0] == transaction.hash and self._last[1].hash == block_hash:
            return self._last[1:]
        block = _object(self._rpc.call("eth_getBlockByHash", [found["blockHash"], True]), "block")
        if block is None:
            raise AnchorError(f"the endpoint lost block {found['blockHash']}: it is asked again")
        evidence = self._build_evidence(block, quantity(found.get("transactionIndex"), "transaction index"))
        try:
            reached = check_evm(self.name, evidence, transaction.digest)
        except ProofError as error:
            raise AnchorError(f"the endpoint's block does not prove the anchor: {error}") from error
        if reached.hash != block_hash:
            raise AnchorError("the endpoint gave another block than the one asked for: use another endpoint")
        self._last = (transaction.hash, reached, evidence)
        return reached, evidence

    def _build_evidence(self, block: dict[str, Any], index: int) -> bytes:
        header = build_header(block)
        transactions = block.get("transactions")
        if not isinstance(transactions, list) or index >= len(transactions):
            raise AnchorError(f"the endpoint's block {block.get('hash')} lists no transaction {index}")
        root, nodes = prove_transaction([self._raw(entry) for entry in transactions], index)
        if root != octets(block.get("transactionsRoot"), "transactions root"):
            raise AnchorError(f"block {block.get('hash')} is not made of its transactions: use another endpoint")
        return encode_evm(header, index, nodes)

    def _raw(self, entry: Any) -> bytes:
        """Return a transaction as it stands in the block; the endpoint's word for types we cannot rebuild."""
        transaction = _object(entry, "transaction")
        if transaction is None:
            raise AnchorError("the endpoint's block has a hole among its transactions")
        raw = build_transaction(transaction)
        if raw is None:
            answer = self._rpc.call("eth_getRawTransactionByHash", [transaction.get("hash")])
            raw = octets(answer, "raw transaction")
        return raw


def _chain_id(chain: str) -> int:
    try:
        return eip155_id(chain)
    except ProofError as error:
        raise AnchorError(f"{error}: correct the configuration") from None


def _decode(payload: bytes) -> _Transaction:
    """Read back a payload of `sign`; `EncodingError` for anything else."""
    try:
        fields = decode_rlp_list(payload[1:], "payload")
        if payload[0] != _DYNAMIC_FEE or len(fields) != 12:
            raise EncodingError("the payload is not a transaction of type 2")
        nonce, tip, max_fee, gas = (uint_of(fields[at], "payload") for at in (1, 2, 3, 4))
        digest = bytes_of(fields[7], "payload")
        sender = str(_accounts().recover_transaction(payload))
    except (ProofError, ValueError, TypeError) as error:
        raise EncodingError(f"the payload is not a signed transaction: {error}") from error
    return _Transaction(keccak256(payload), nonce, tip, max_fee, gas, digest, sender)


def _accounts() -> Any:
    return import_extra("eth_account", "evm").Account


def _object(answer: Any, what: str) -> dict[str, Any] | None:
    if answer is None or isinstance(answer, dict):
        return answer
    raise AnchorError(f"the endpoint's {what} is not an object")


def _raised(fee: int) -> int:
    """Return a fee an eighth higher, rounded up: what pools ask of a replacement."""
    return fee + -(-fee // 8)


def _says_known(error: RpcError) -> bool:
    message = error.message.lower()
    return any(words in message for words in _KNOWN)


def _advise(error: RpcError, transaction: _Transaction) -> str:
    for words, advice in _ADVICE:
        if words in error.message.lower():
            return f"{error}: {advice.format(sender=transaction.sender)}"
    return str(error)
