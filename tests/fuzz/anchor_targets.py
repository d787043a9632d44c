"""What an endpoint of a public chain answers."""

import copy
import json
from typing import Any

from judge import joined, lines, outcome, pieces, target, vectors

from earmark import beacon, cbor, ots
from earmark.anchor import ethblock, evm, rpc, stamp
from earmark.anchor.drand import Relays
from earmark.anchor.headers import EsploraHeaders
from earmark.anchor.http import Http
from earmark.errors import AnchorError, EncodingError
from earmark.evidence.bitcoin import HEADER_SIZE
from earmark.evidence.drand import NETWORKS, check_round
from earmark.mpt import keccak256

CHAIN = "eip155:1337"
KEY = keccak256(b"the key of a fuzzed anchor")
DIGEST = bytes(range(32))


class CannedHttp(Http):
    """A server whose one answer is given beforehand."""

    def __init__(self, url: str, status: int, body: bytes) -> None:
        super().__init__(url)
        self._answer = status, body

    def _exchange(self, *_: object) -> tuple[int, bytes]:
        return self._answer


class Canned(rpc.HttpRpc):
    """An endpoint over such a server."""

    def __init__(self, status: int, body: bytes) -> None:
        url = "http://user:password@127.0.0.1:1/secret"
        super().__init__(url)
        self._http = CannedHttp(url, status, body)


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
    return [ethblock.header_json(header) for header in found if len(header) != HEADER_SIZE]  # but Bitcoin's


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


SIGNED = ["0x539", {"baseFeePerGas": "0x1"}, "0x1", "0x5208", "0xffffffffff", "0x0", {"number": "0x1"}, "0x0"]
ANCHOR = evm.EvmTarget(Scripted(SIGNED), CHAIN, KEY)
PAYLOAD = ANCHOR.sign(DIGEST, 10**18).payload


def conversations() -> list[bytes]:
    block = blocks()[0]
    place = {"blockHash": block["hash"], "blockNumber": block["number"], "transactionIndex": "0x0"}
    mined = {**ethblock.transaction_json(cbor.decode(PAYLOAD)[0]), **place}
    full = {**block, "transactions": [mined]}
    sign = ["0x539", block, "0x1", "0x5208", "0xffffffffffffff", "0x0", block, "0x0"]
    receipt = {"effectiveGasPrice": "0x2", "gasUsed": "0x5208"}
    poll = ["0x539", mined, block, full, block["number"], block, receipt]
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
    steps = (
        lambda: anchor.sign(DIGEST, 10**18),
        lambda: anchor.poll(PAYLOAD),
        anchor.head,
        lambda: anchor.send(PAYLOAD),
    )
    outcome(AnchorError, steps[encoded[0] % 4 if encoded else 0])


STEPS = (ots.append(b"nonce"), ots.HASH, ots.prepend(b"time"))
WAYS = [
    ots.Branch(STEPS, ots.pending("https://calendar.example")),
    ots.Branch((*STEPS, ots.append(b"more"), ots.HASH), ots.bitcoin(800_000)),
    ots.Branch((ots.HASH,), ots.Attestation(b"litecoin", b"\7")),
]


@target([ots.encode(WAYS[:1]), ots.encode(WAYS[1:2]), ots.encode(WAYS)], 2048)
def calendar_answer(encoded: bytes) -> None:
    """What is read of a calendar's answer leads on, and is kept as it is."""
    found = outcome(EncodingError, stamp.read_answer, encoded, DIGEST)
    if isinstance(found, EncodingError):
        return
    assert all(way.attestation.uri or way.attestation.height is not None for way in found)
    assert all(len(ots.commit(DIGEST, way.ops)) <= ots.MAX_MESSAGE for way in found)
    kept = stamp.Stamp(DIGEST, {"https://calendar.example": found})
    again = stamp.decode(kept.encode())
    assert set(again.answers["https://calendar.example"]) == set(found)
    assert stamp.decode(again.encode()) == again


@target([stamp.Stamp(DIGEST).encode(), stamp.Stamp(DIGEST, {"https://a": tuple(WAYS[:2])}).encode()], 2048)
def calendar_payload(encoded: bytes) -> None:
    """Any bytes are a payload with a digest of 32 bytes, or an `EncodingError`."""
    found = outcome(EncodingError, stamp.decode, encoded)
    if not isinstance(found, EncodingError):
        assert len(found.digest) == 32
        assert len(found.pending()) + len(found.complete()) <= sum(map(len, found.answers.values()))


@target([b"800000", b"0" * 64, b"<html>", b"ab" * 80], 1024, is_text=True)
def explorer_answer(encoded: bytes) -> None:
    """Any body of an explorer's answer is a height, a hash or a header, or an `AnchorError`."""
    source = EsploraHeaders("http://127.0.0.1:1")
    source._http = CannedHttp("http://127.0.0.1:1", 200, encoded)
    for ask, size in ((lambda: source.hash(1), 32), (lambda: source.header(bytes(32)), 80)):
        found = outcome(AnchorError, ask)
        assert isinstance(found, AnchorError) or len(found) == size
    height = outcome(AnchorError, source.tip)
    assert isinstance(height, AnchorError) or 0 <= height < 1 << 31


ROUNDS = [cbor.decode(bytes.fromhex(row["bytes"])) for row in vectors("drand")["valid"][:2]]
RELAYED = [{"round": beacon.decode(message)[0].number, "signature": each.hex()} for message, [each] in ROUNDS]


@target([*lines(RELAYED), b'{"round": true}', b"<html>"], 2048, is_text=True)
def relay_answer(encoded: bytes) -> None:
    """Any body of a drand relay's answer is a round of quicknet, or an `AnchorError`."""
    relays = Relays(["http://127.0.0.1:1"])
    relays._relays = [(CannedHttp("http://127.0.0.1:1", 200, encoded), pace) for _, pace in relays._relays]
    found = outcome(AnchorError, relays.head)
    if not isinstance(found, AnchorError):
        check_round(*found, NETWORKS)
        assert found[0].number in [answer["round"] for answer in RELAYED]  # nobody can sign another
