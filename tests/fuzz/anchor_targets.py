"""What an endpoint of a public chain answers."""

import copy
import functools
import json
from typing import Any

from judge import joined, lines, outcome, pieces, target, vectors

from earmark.anchor import ethblock, evm, rpc
from earmark.errors import AnchorError
from earmark.mpt import keccak256

CHAIN = "eip155:1337"
KEY = keccak256(b"the key of a fuzzed anchor")
DIGEST = bytes(range(32))


class Canned(rpc.HttpRpc):
    """An endpoint whose one answer is given beforehand."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__("http://user:password@127.0.0.1:1/secret")
        self._answer = status, body

    def _post(self, body: bytes) -> tuple[int, bytes]:
        return self._answer


ANSWERS = [
    {"jsonrpc": "2.0", "id": 1, "result": {"hash": "0x00", "list": [1, 2.5, None, True]}},
    {"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "no such method at /secret"}},
    {"jsonrpc": "2.0", "id": 2, "result": "0x1"},
    [{"id": 1}],
]


@target([b"\0" + answer for answer in lines(ANSWERS)] + [b"\1" + lines(ANSWERS)[1]], 4096, is_text=True)
def rpc_answer(encoded: bytes) -> None:
    """Any body of an answer gives a result or an `AnchorError`, which does not show the URL's secrets."""
    status = 500 if encoded[:1] == b"\1" else 200
    found = outcome(AnchorError, Canned(status, encoded[1:]).call, "eth_chainId", [])
    if isinstance(found, AnchorError):
        assert "/secret" not in str(found) and "password" not in str(found)


def parsed(text: bytes) -> Any:
    """Return JSON as the endpoint's client gives it, None where it would refuse it."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def blocks() -> list[dict[str, Any]]:
    found = [bytes.fromhex(octets) for row in vectors("beacon")["valid"] for octets in row["evidence"] or ()]
    return [ethblock.header_json(header) for header in found]


def transactions() -> list[dict[str, Any]]:
    fields: dict[str, Any] = {"nonce": "0x1", "gas": "0x5208", "to": "0x" + "11" * 20, "value": "0x0", "input": "0x"}
    fields |= {"v": "0x25", "yParity": "0x0", "r": "0x1", "s": "0x2", "gasPrice": "0x1", "chainId": "0x1"}
    fields |= {"maxFeePerGas": "0x2", "maxPriorityFeePerGas": "0x1", "maxFeePerBlobGas": "0x1"}
    fields |= {"accessList": [{"address": "0x" + "22" * 20, "storageKeys": ["0x" + "33" * 32]}]}
    fields["authorizationList"] = [{**fields, "address": "0x" + "55" * 20}]
    fields["blobVersionedHashes"] = ["0x01" + "44" * 31]
    return [{**fields, "type": hex(number), "hash": "0x" + "66" * 32} for number in range(6)]


@target(lines([*blocks(), *transactions()]), 4096, is_text=True)
def chain_json(encoded: bytes) -> None:
    """A block or transaction in JSON is rebuilt to the bytes of its own hash, or refused."""
    value = parsed(encoded)
    if not isinstance(value, dict):
        return
    header = outcome(AnchorError, ethblock.build_header, value)
    if isinstance(header, bytes):
        assert "0x" + keccak256(header).hex() == value["hash"].lower()
    raw = outcome(AnchorError, ethblock.build_transaction, value)
    if isinstance(raw, bytes):
        assert "0x" + keccak256(raw).hex() == value["hash"].lower()


class Scripted:
    """An endpoint that gives the answers of a list, one a call, and is gone after the last one."""

    def __init__(self, answers: list[Any]) -> None:
        self._answers = iter(answers)

    def call(self, method: str, params: list[Any]) -> Any:
        for answer in self._answers:
            if isinstance(answer, dict) and set(answer) == {"error"}:
                raise rpc.RpcError(method, -32601, str(answer["error"]))
            return answer
        raise AnchorError("no more answers")


# Recovering the signer of the one payload costs more than all else that a poll does.
evm._decode = functools.cache(evm._decode)
SIGNED = ["0x539", {"baseFeePerGas": "0x1"}, "0x1", "0x5208", "0xffffffffff", "0x0", "0x0"]
ANCHOR = evm.EvmTarget(Scripted(SIGNED), CHAIN, KEY)
PAYLOAD = ANCHOR.sign(DIGEST)


def conversations() -> list[bytes]:
    block = blocks()[0]
    place = {"blockHash": block["hash"], "blockNumber": block["number"], "transactionIndex": "0x0"}
    mined = {**ethblock.transaction_json(PAYLOAD), **place}
    full = {**block, "transactions": [mined]}
    sign = ["0x539", block, "0x1", "0x5208", "0xffffffffffffff", "0x0", "0x0"]
    poll = ["0x539", mined, block, full, block["number"], block]
    return [
        b"\0" + joined(lines(sign)),
        b"\1" + joined(lines(poll)),
        b"\2" + joined(lines(["0x539", block])),
        b"\1" + joined(lines(["0x539", None, "0x1", block, "0x1"])),
        b"\3" + joined(lines(["0x539", {"error": "nonce too low"}, None])),
    ]


@target(conversations(), 8192, is_text=True)
def chain_conversation(encoded: bytes) -> None:
    """Whatever an endpoint answers in turn, an anchor is signed, sent, looked up, or refused with `AnchorError`."""
    anchor = copy.copy(ANCHOR)
    anchor._rpc, anchor._is_checked = Scripted(list(map(parsed, pieces(encoded[1:])))), False
    anchor._sign = lambda *terms: repr(terms).encode()  # type: ignore[method-assign]
    steps = (lambda: anchor.sign(DIGEST), lambda: anchor.poll(PAYLOAD), anchor.head, lambda: anchor.send(PAYLOAD))
    outcome(AnchorError, steps[encoded[0] % 4 if encoded else 0])
