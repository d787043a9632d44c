"""Anchoring on an EVM chain: a transaction to oneself whose calldata is the digest."""

from typing import Any

from earmark import cbor
from earmark.anchor.devchain import DEVELOPMENT_CHAIN, DEVELOPMENT_KEY
from earmark.anchor.ethblock import (
    build_header,
    build_transaction,
    calldata_gas,
    octets,
    prove_transaction,
    quantity,
)
from earmark.anchor.evmtx import DYNAMIC_FEE, EvmAnchor, accounts, raised, read_anchor, read_payload
from earmark.anchor.rpc import METHOD_NOT_FOUND, Rpc, RpcError
from earmark.anchor.target import Deferred, Place, Progress, Signed, State
from earmark.errors import AnchorError, EncodingError, ProofError
from earmark.evidence.chain import ChainBlock
from earmark.evidence.evm import EVM, check_evm, check_evm_header, eip155_id, encode_evm
from earmark.settings import GAS_CAP

GWEI = 10**9

DEFAULT_TIP = GWEI
"""Wei per gas for the block's proposer where the endpoint has no opinion."""

_KNOWN = ("already known", "known transaction", "already imported", "already exists", "alreadyknown")
_ADVICE = (
    ("nonce too low", "another transaction took its place; once that one is final, sign anew"),
    ("insufficient funds", "send funds to {sender}"),
    ("underpriced", "a transaction with the same nonce waits; replace it with higher fees"),
)


class EvmTarget:
    """A `Target` on the EVM chain `chain` (CAIP-2, such as "eip155:1") through a JSON-RPC endpoint.

    A payload is the CBOR list of raw, signed EIP-1559 transactions of one nonce and digest, each paying more than the
    one before; one where none was replaced.  `key` is the 32-byte secp256k1 key of an account
    that is used for nothing else and holds little.  An anchor costs at most `fee_cap_gwei` × `gas_cap`
    gwei, whatever the endpoint says.  Final is what the endpoint calls `finalized`; where it has no
    such tag, `confirmations` blocks (this block counts as 1).
    """

    def __init__(
        self,
        rpc: Rpc,
        chain: str,
        key: bytes,
        *,
        name: str = "",
        fee_cap_gwei: float = 30.0,
        gas_cap: int = GAS_CAP,
        confirmations: int = 12,
    ) -> None:
        self._chain_id = _chain_id(chain)
        if key == DEVELOPMENT_KEY and chain != DEVELOPMENT_CHAIN:
            raise AnchorError(f"the development key is public: make a key of your own for {chain}")
        try:
            self._account = accounts().from_key(key)
        except ValueError:
            raise AnchorError("the anchor key is not a secp256k1 private key of 32 bytes") from None
        self.place = Place(name or chain, EVM, chain)
        self._rpc = rpc
        self._fee_cap = round(fee_cap_gwei * GWEI)
        self._gas_cap = gas_cap
        self._confirmations = confirmations
        self._is_checked = False
        self._last: tuple[bytes, ChainBlock, bytes] | None = None

    def __repr__(self) -> str:
        return f"EvmTarget({self.place.name!r}, {self.address})"

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
            raise AnchorError(f"the endpoint serves eip155:{served}, not {self.place.chain}: correct the configuration")
        self._is_checked = True

    def sign(self, digest: bytes, most: int) -> Signed:
        """Build and sign a transaction that carries `digest`; see `Target.sign`."""
        if len(digest) != 32:
            raise EncodingError(f"a digest of {len(digest)} bytes cannot be anchored: 32 are")
        self.check_chain()
        tip, max_fee = self._fees()
        gas = self._gas(digest)
        self._check_cost(gas * max_fee, most)
        nonce = self._next_nonce()
        return Signed(cbor.encode([self._sign(nonce, tip, max_fee, gas, digest)]), gas * max_fee)

    def replace(self, payload: bytes, most: int) -> Signed:
        """Sign the same digest and nonce with fees at least an eighth higher; see `Target.replace`."""
        self.check_chain()
        raws = read_payload(payload)
        old = read_anchor(raws[-1])
        if old.sender != self.address:
            raise AnchorError(f"the payload was signed for {old.sender}: only its key can replace it")
        tip, max_fee = self._fees()
        tip, max_fee = max(tip, raised(old.tip)), max(max_fee, raised(old.max_fee))
        if max_fee > self._fee_cap:
            raise self._deferred(max_fee)
        self._check_cost(old.gas * max_fee, most)
        raw = self._sign(old.nonce, tip, max_fee, old.gas, old.digest)
        return Signed(cbor.encode([*raws, raw]), old.gas * max_fee)

    def send(self, payload: bytes) -> bytes:
        """Broadcast the newest transaction of a stored payload; see `Target.send`."""
        self.check_chain()
        raw = read_payload(payload)[-1]
        transaction = read_anchor(raw)
        try:
            answer = self._rpc.call("eth_sendRawTransaction", ["0x" + raw.hex()])
        except RpcError as error:
            if not (_says_known(error) or self._look_up(transaction)):
                raise AnchorError(_advise(error, transaction)) from error
            return payload
        if octets(answer, "transaction hash") != transaction.hash:
            raise AnchorError(f"the endpoint names 0x{transaction.hash.hex()} by another hash: use another endpoint")
        return payload

    def poll(self, payload: bytes) -> Progress:
        """Look up every transaction of a payload; see `Target.poll`.  `evidence` was checked with `check_evm`."""
        self.check_chain()
        transactions = [read_anchor(raw) for raw in reversed(read_payload(payload))]
        known = False
        for transaction in transactions:
            found = self._look_up(transaction)
            if found is not None and self._is_mined(found):
                return self._mined(transaction, found)
            known |= found is not None
        return Progress("pending", "0x" + transactions[0].hash.hex()) if known else self._missing(transactions)

    def _is_mined(self, found: dict[str, Any]) -> bool:
        """Say whether a transaction is in a block of the chain as it stands, not in one that it just took back."""
        if found.get("blockHash") is None:
            return False
        canonical = self._block(hex(quantity(found.get("blockNumber"), "block number")))
        return canonical is not None and canonical.get("hash") == found["blockHash"]

    def _mined(self, transaction: EvmAnchor, found: dict[str, Any]) -> Progress:
        number = quantity(found.get("blockNumber"), "block number")
        block, evidence = self._evidence(transaction, found)
        confirmations = max(1, self._head_number() - number + 1)
        state: State = "final" if number <= self._final_number() else "mined"
        reference, cost = "0x" + transaction.hash.hex(), self._cost(transaction)
        return Progress(state, reference, block, confirmations, evidence, cost)

    def _cost(self, transaction: EvmAnchor) -> int:
        """Return what a mined transaction cost in wei, by the receipt, but no more than it can have."""
        most = transaction.gas * transaction.max_fee
        try:
            answer = self._rpc.call("eth_getTransactionReceipt", ["0x" + transaction.hash.hex()])
        except RpcError:  # an endpoint that keeps no receipts: the anchor holds without
            return most
        receipt = _object(answer, "receipt")
        if not receipt or "effectiveGasPrice" not in receipt:
            return most
        price = quantity(receipt["effectiveGasPrice"], "price of gas")
        return min(most, price * quantity(receipt.get("gasUsed"), "gas used"))

    def anchors_left(self) -> int | None:
        """Return how many anchors the balance pays for at today's fees; see `Target.anchors_left`."""
        self.check_chain()
        base = quantity(self._latest().get("baseFeePerGas"), "base fee")
        price = (base + self._tip()) * calldata_gas(bytes([0xFF]) * 32)
        return self._balance() // max(1, price)

    def head(self) -> tuple[ChainBlock, bytes]:
        """Return the newest block and its header RLP; see `Target.head`."""
        self.check_chain()
        header = build_header(self._latest())
        return check_evm_header(self.place.chain, header), header

    def _sign(self, nonce: int, tip: int, max_fee: int, gas: int, digest: bytes) -> bytes:
        fields = {
            "type": DYNAMIC_FEE,
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
            raise AnchorError(f"{self.place.chain} has no base fee (EIP-1559): Earmark cannot anchor on it")
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

    def _deferred(self, fee: int) -> Deferred:
        return Deferred(
            f"deferred: {self.place.chain} asks {fee / GWEI:.9g} gwei, the cap is {self._fee_cap / GWEI:.9g} gwei; "
            "it is tried again, raise the cap if this lasts"
        )

    def _gas(self, digest: bytes) -> int:
        """Return the gas limit: the endpoint's estimate, at least the floor price of calldata (EIP-7623)."""
        call = {"from": self.address, "to": self.address, "data": "0x" + digest.hex()}
        estimate = quantity(self._rpc.call("eth_estimateGas", [call]), "gas estimate")
        gas = max(estimate, calldata_gas(digest))
        if gas > self._gas_cap:
            raise AnchorError(f"{self.place.chain} asks {gas} gas, the cap is {self._gas_cap}: check chain and account")
        return gas

    def _check_cost(self, cost: int, most: int) -> None:
        """Raise unless an anchor's highest cost is within the month's budget and the account."""
        if cost > most:
            raise Deferred(
                f"deferred: an anchor on {self.place.chain} may cost {_coins(cost)}, {_coins(max(0, most))} are left "
                "of the month's budget; it is tried again, raise month_budget if this lasts"
            )
        balance = self._balance()
        if balance < cost:
            raise AnchorError(
                f"{self.address} holds {_coins(balance)} of the coin of {self.place.chain}, an anchor may need "
                f"{_coins(cost)}: send funds there"
            )

    def _balance(self) -> int:
        return quantity(self._rpc.call("eth_getBalance", [self.address, "latest"]), "balance")

    def _next_nonce(self) -> int:
        """Return the number of the next transaction: never above what is final.

        A number beyond one that the pool forgot, or that a reorganisation takes back, would wait for good.
        """
        nonce, final = self._nonce(self.address, "latest"), hex(max(0, self._final_number()))
        if self._nonce(self.address, final) < nonce:
            raise Deferred(
                f"deferred: a transaction of {self.address} that is no anchor under way is not final yet; it is tried "
                "again, use the key for nothing else"
            )
        return nonce

    def _nonce(self, account: str, tag: str) -> int:
        return quantity(self._rpc.call("eth_getTransactionCount", [account, tag]), "transaction count")

    def _look_up(self, transaction: EvmAnchor) -> dict[str, Any] | None:
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

    def _missing(self, transactions: list[EvmAnchor]) -> Progress:
        """Tell a payload to send again from one whose nonce another transaction has used.

        That the endpoint does not know a transaction is no proof that it is in no block: what used its nonce is.
        """
        newest = transactions[0]
        reference = "0x" + newest.hash.hex()
        if self._nonce(newest.sender, "latest") <= newest.nonce:
            return Progress("unknown", reference)
        final = self._final_number()
        if final < 0 or self._nonce(newest.sender, hex(final)) <= newest.nonce:
            reason = "another transaction has its number; waiting until that is final"
            return Progress("pending", reference, reason=reason)
        listed = {str(found.get("hash")): found for found in self._around_nonce(newest, final)}
        for transaction in transactions:
            if "0x" + transaction.hash.hex() in listed:
                return self._mined(transaction, listed["0x" + transaction.hash.hex()])
        return Progress("void", reference)

    def _around_nonce(self, transaction: EvmAnchor, final: int) -> list[dict[str, Any]]:
        """Return the transactions of the final block in which the account used a transaction's nonce.

        Looked for backwards in steps that double, then by halves: an endpoint may know the accounts of its newest
        blocks only.
        """
        low, high, step = final - 1, final, 1
        while low >= 0 and self._nonce(transaction.sender, hex(low)) > transaction.nonce:
            low, high, step = low - step, low, 2 * step
        low = max(-1, low)
        while high - low > 1:
            middle = (low + high) // 2
            if self._nonce(transaction.sender, hex(middle)) > transaction.nonce:
                high = middle
            else:
                low = middle
        block = _object(self._rpc.call("eth_getBlockByNumber", [hex(high), True]), "block") or {}
        listed = [_object(entry, "transaction") or {} for entry in block.get("transactions") or []]
        if not listed:
            raise AnchorError(f"the endpoint's block {high} should hold what displaced an anchor: it is asked again")
        return listed

    def _evidence(self, transaction: EvmAnchor, found: dict[str, Any]) -> tuple[ChainBlock, bytes]:
        """Build the evidence for a mined transaction and check it as a stranger would."""
        block_hash = octets(found["blockHash"], "block hash")
        if self._last is not None and self._last[0] == transaction.hash and self._last[1].hash == block_hash:
            return self._last[1:]
        block = _object(self._rpc.call("eth_getBlockByHash", [found["blockHash"], True]), "block")
        if block is None:
            raise AnchorError(f"the endpoint lost block {found['blockHash']}: it is asked again")
        evidence = self._build_evidence(block, quantity(found.get("transactionIndex"), "transaction index"))
        try:
            reached = check_evm(self.place.chain, evidence, transaction.digest)
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


def _coins(wei: int) -> str:
    return f"{wei / 10**18:.9f}"


def _object(answer: Any, what: str) -> dict[str, Any] | None:
    if answer is None or isinstance(answer, dict):
        return answer
    raise AnchorError(f"the endpoint's {what} is not an object")


def _says_known(error: RpcError) -> bool:
    message = error.message.lower()
    return any(words in message for words in _KNOWN)


def _advise(error: RpcError, transaction: EvmAnchor) -> str:
    for words, advice in _ADVICE:
        if words in error.message.lower():
            return f"{error}: {advice.format(sender=transaction.sender)}"
    return str(error)
