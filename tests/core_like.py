"""bcoin as Bitcoin Core would answer, in what a Bitcoin target asks."""

import json
import re
from collections.abc import Callable
from typing import Any

from embit.hashes import hash160

from chain_nodes import BcoinNode, own_address, witness_address
from chain_proxy import Answer, Call, Refusal, Unreliable
from earmark.anchor.rpc import RpcError

COIN = 100_000_000
MISC_ERROR, NOT_FOUND, INVALID_PARAMETER, VERIFY_REJECTED, VERIFY_ALREADY_IN_CHAIN = -1, -5, -8, -26, -27


class CoreLike(Unreliable):
    """A bcoin in front of which stands what it lacks of Bitcoin Core; all other calls are passed on to it.

    Adapters for tests, no Bitcoin Core:

    - `scantxoutset` "start" and "abort", for `addr(…)`, `raw(…)` of a witness program and `wpkh(key)`: bcoin has none.
      Answered from its index of addresses: confirmed outputs, those spent only in the pool included.
    - `estimatesmartfee`: bcoin's estimator has no data here.  Answers `fee_rate`, in bitcoin for 1,000 vbytes; None
      is what Core answers without data.
    - `sendrawtransaction`: bcoin answers a transaction id at once and rejects later.  Here the answer waits for what
      becomes of it: an error −26 where it is rejected, and −27 where it was mined before.
    - `getblock` and `getrawtransaction` with a verbosity (bcoin knows only whether), and with a block to look into.
    - Error −5 for what is not found, where bcoin says −1.
    - Addresses in descriptors may begin with `bcrt1` (Core) or `rb1` (bcoin).

    What stays bcoin's: no replacement in the pool, no return of a transaction to the pool after a reorganisation, no
    `testmempoolaccept`, no wallet, other fields in `getnetworkinfo` (its version is a text).
    """

    error_status = 500

    def __init__(self, node: BcoinNode) -> None:
        super().__init__(node.url)
        self.fee_rate: float | None = 0.00001
        self._node = node
        self._own: dict[str, Callable[..., Any]] = {
            "scantxoutset": self._scan,
            "estimatesmartfee": self._estimate,
            "sendrawtransaction": self._send,
        }

    def pass_on(self, call: Call) -> Answer:
        """Answer what is answered here; pass on the rest."""
        adapter = self._own.get(call.method)
        if adapter is None:
            status, body = super().pass_on(_as_bcoin_reads(call))
            return status, _as_core_says(body)
        if call.authorization != self.authorization:
            return 401, b""
        try:
            result = adapter(*call.params)
        except RpcError as refused:
            return self.refuse(call, Refusal(refused.code, refused.message))
        return 200, json.dumps({"result": result, "error": None, "id": call.request.get("id")}).encode()

    def _estimate(self, blocks: int, *_: Any) -> dict[str, Any]:
        if self.fee_rate is None:
            return {"errors": ["Insufficient data or no feerate found"], "blocks": blocks}
        return {"feerate": self.fee_rate, "blocks": blocks}

    def _send(self, raw: str, *_: Any) -> str:
        transaction = self._node.rpc("decoderawtransaction", raw)
        name = str(transaction["txid"])
        if self._is_mined(name):
            raise RpcError("sendrawtransaction", VERIFY_ALREADY_IN_CHAIN, "Transaction outputs already in utxo set")
        self._node.offer(raw)
        if not self._is_known(name):
            raise RpcError("sendrawtransaction", VERIFY_REJECTED, "rejected")
        return name

    def _is_known(self, name: str) -> bool:
        try:
            self._node.rpc("getrawtransaction", name)
        except RpcError:
            return False
        return True

    def _is_mined(self, name: str) -> bool:
        return self._is_known(name) and name not in self._node.rpc("getrawmempool")

    def _scan(self, action: str, descriptors: list[Any] | None = None) -> Any:
        if action == "abort":
            return False
        if action != "start" or not descriptors:
            raise RpcError("scantxoutset", INVALID_PARAMETER, f"nothing to do for {action}")
        unspent = [coin for descriptor in descriptors for coin in self._unspent(descriptor)]
        return {
            "success": True,
            "txouts": len(unspent),
            "height": self._node.rpc("getblockcount"),
            "bestblock": self._node.rpc("getbestblockhash"),
            "unspents": unspent,
            "total_amount": sum(round(coin["amount"] * COIN) for coin in unspent) / COIN,
        }

    def _unspent(self, descriptor: Any) -> list[dict[str, Any]]:
        words = str(descriptor["desc"] if isinstance(descriptor, dict) else descriptor).partition("#")[0]
        address = _address(words)
        coins = {
            (coin["hash"], coin["index"]): coin for coin in self._node.coins(address) + self._spent_in_pool(address)
        }
        return [
            {
                "txid": coin["hash"],
                "vout": coin["index"],
                "scriptPubKey": coin["script"],
                "desc": words,
                "amount": coin["value"] / COIN,
                "coinbase": coin["coinbase"],
                "height": coin["height"],
            }
            for coin in coins.values()
            if coin["height"] >= 0
        ]

    def _spent_in_pool(self, address: str) -> list[dict[str, Any]]:
        """Return the address's outputs that transactions in the pool spend, as `coins` has them."""
        found = []
        for name in self._node.rpc("getrawmempool"):
            for spent in self._node.get(f"/tx/{name}")["inputs"]:
                coin = spent.get("coin") or {}
                if coin.get("address") == address:
                    found.append({**spent["prevout"], **coin})
        return found


def _as_bcoin_reads(call: Call) -> Call:
    params = call.params
    if call.method == "getblock" and len(params) == 2:
        params = [params[0], bool(params[1]), not isinstance(params[1], bool) and params[1] > 1]
    if call.method == "getrawtransaction" and len(params) > 1:
        params = [params[0], bool(params[1])]
    return Call({**call.request, "params": params}, call.authorization)


def _as_core_says(body: bytes) -> bytes:
    answer = json.loads(body or b"{}")
    error = answer.get("error") or {}
    if error.get("code") == MISC_ERROR and re.search("not (found|in mempool)", error["message"], re.IGNORECASE):
        return json.dumps({**answer, "error": {**error, "code": NOT_FOUND}}).encode()
    return body


def _address(descriptor: str) -> str:
    """Return a descriptor's address, as bcoin writes it."""
    kind, _, argument = descriptor.rstrip(")").partition("(")
    if kind == "addr":
        return own_address(argument)
    if kind == "wpkh" and re.fullmatch("0[23][0-9a-f]{64}", argument):
        return witness_address(hash160(bytes.fromhex(argument)))
    if kind == "raw" and re.fullmatch("0014[0-9a-f]{40}|0020[0-9a-f]{64}", argument):
        return witness_address(bytes.fromhex(argument)[2:])
    raise RpcError("scantxoutset", INVALID_PARAMETER, f"no such descriptor here: {descriptor}")
