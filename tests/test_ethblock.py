"""Blocks and transactions between JSON and the bytes that are hashed."""

import json
from pathlib import Path
from typing import Any

import pytest
import rlp

from earmark.anchor.ethblock import build_header, build_transaction, header_json, prove_transaction, transaction_json
from earmark.mpt import keccak256


def _typed(kind: int, tail: list[Any]) -> bytes:
    fields = [
        1,
        2,
        3,
        4,
        5,
        b"\x11" * 20,
        6,
        b"input",
        [[b"\x22" * 20, [b"\x33" * 32, b"\x44" * 32]]],
        *tail,
        1,
        2**255,
        7,
    ]
    return bytes([kind]) + rlp.encode(fields)


@pytest.mark.parametrize(
    "raw",
    [
        rlp.encode([0, 1, 2, b"", 3, b"", 27, 4, 5]),
        rlp.encode([9, 1, 2, b"\x11" * 20, 3, b"\x00", 38, 4, 5]),
        b"\x01" + rlp.encode([1, 2, 3, 4, b"", 5, b"x", [], 0, 6, 7]),
        _typed(2, []),
        _typed(3, [8, [b"\x01" + bytes(31), b"\x01" * 32]]),
        _typed(4, [[[1, b"\x55" * 20, 3, 0, 8, 9], [0, b"\x66" * 20, 0, 1, 2**200, 9]]]),
    ],
)
def test_transactions_of_every_type_survive_json(raw: bytes) -> None:
    form = json.loads(json.dumps(transaction_json(raw)))
    assert build_transaction(form) == raw
    if "yParity" in form:
        form["v"] = form.pop("yParity")  # as older endpoints have it
        assert build_transaction(form) == raw


@pytest.mark.parametrize("count", [15, 16, 17, 20, 21])
def test_headers_of_every_fork_survive_json(count: int) -> None:
    sizes = [32, 32, 20, 32, 32, 32, 256]
    fields = [bytes(size) for size in sizes] + [
        0,
        1,
        2,
        3,
        4,
        b"",
        bytes(32),
        bytes(8),
        0,
        bytes(32),
        0,
        0,
        bytes(32),
        bytes(32),
    ]
    header = rlp.encode(fields[:count])
    assert build_header(json.loads(json.dumps(header_json(header)))) == header


@pytest.mark.parametrize("name", ["eip2930", "log1_correct"])
def test_public_blocks_are_rebuilt_from_json(shared: Path, name: str) -> None:
    suite = json.loads((shared / f"vectors/ethereum/{name}.json").read_text())
    block = next(iter(suite.values()))["blocks"][0]
    fields = rlp.decode(bytes.fromhex(block["rlp"][2:]))
    renamed = {
        "bloom": "logsBloom",
        "coinbase": "miner",
        "receiptTrie": "receiptsRoot",
        "transactionsTrie": "transactionsRoot",
    }
    renamed["uncleHash"] = "sha3Uncles"
    header = {renamed.get(key, key): value for key, value in block["blockHeader"].items()}
    assert build_header(header) == rlp.encode(fields[0])
    raws = [entry if isinstance(entry, bytes) else rlp.encode(entry) for entry in fields[1]]
    for stated, raw in zip(block["transactions"], raws, strict=True):
        form = {**stated, "input": stated["data"], "gas": stated["gasLimit"], "hash": "0x" + keccak256(raw).hex()}
        assert build_transaction(form) == raw
    assert prove_transaction(raws, 0)[0].hex() == block["blockHeader"]["transactionsTrie"][2:]
