"""The development chain: replay, crashes, its pool."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import earmark.anchor
from earmark.anchor import devchain, rpc
from earmark.anchor.devchain import DEVELOPMENT_CHAIN, DEVELOPMENT_KEY, DevChain
from earmark.anchor.evm import EvmTarget
from earmark.anchor.rpc import RpcError
from earmark.errors import AnchorError, CorruptLog
from evm_fakes import COIN, DIGEST, GENESIS_S, OTHER_KEY, Clock, environment, hashes, push, sign, spend

pytest_plugins = ["evm_fixtures"]


def test_a_restarted_chain_has_the_same_blocks(tmp_path: Path) -> None:
    path, clock = tmp_path / "chain", Clock()
    with contextlib.closing(DevChain(path, clock)) as chain:
        target = EvmTarget(chain, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY)
        payloads = []
        for number in range(4):
            payloads.append(sign(target, bytes([number]) * 32))
            target.send(payloads[-1])
            clock.now_s += 12
            for _ in range(3):
                chain.mine()
        before, polled = hashes(chain), [target.poll(payload) for payload in payloads]
        balance = chain.call("eth_getBalance", [target.address, "latest"])
    clock.now_s += 3600
    with contextlib.closing(DevChain(path, clock)) as chain:
        target = EvmTarget(chain, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY)
        assert hashes(chain) == before
        assert [target.poll(payload) for payload in payloads] == polled
        assert chain.call("eth_getBalance", [target.address, "latest"]) == balance
        chain.mine()
        newest = chain.call("eth_getBlockByNumber", ["latest", False])
        assert newest["parentHash"] == before[-1]
        assert int(newest["timestamp"], 16) == int(clock.now_s)


def test_two_chains_have_different_blocks_though_nothing_else_differs(tmp_path: Path) -> None:
    seen = set()
    for name in ("one", "two"):
        with contextlib.closing(DevChain(tmp_path / name, Clock())) as chain:
            seen.add(chain.mine())
    assert len(seen) == 2


def test_times_never_stand_still(chain: DevChain) -> None:
    for _ in range(3):
        chain.mine()
    blocks = [chain.call("eth_getBlockByNumber", [hex(n), False]) for n in range(4)]
    assert [int(block["timestamp"], 16) - GENESIS_S for block in blocks] == [0, 1, 2, 3]


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    with contextlib.closing(DevChain(path)) as chain:
        chain.mine()
        before = hashes(chain)
        whole = path.stat().st_size
        chain.mine()
    content = path.read_bytes()
    for end in (whole, whole + 1, whole + 100, len(content) - 2, len(content) - 1):
        path.write_bytes(content[:end])
        with contextlib.closing(DevChain(path)) as chain:
            assert hashes(chain) == before
            chain.mine()
        with contextlib.closing(DevChain(path)) as chain:
            assert len(hashes(chain)) == 3
    path.write_bytes(content[:1])  # not even the genesis block was whole
    with contextlib.closing(DevChain(path)) as chain:
        assert len(hashes(chain)) == 1


def test_a_changed_file_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    with contextlib.closing(DevChain(path)) as chain:
        target = EvmTarget(chain, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY)
        target.send(sign(target, DIGEST))
        chain.mine()
        chain.mine()
    genesis, first, second = path.read_text().splitlines(keepends=True)
    for at in range(0, len(first) - 1, 97):
        changed = first[:at] + ("0" if first[at] != "0" else "1") + first[at + 1 :]
        path.write_text(genesis + changed + second)
        with pytest.raises(CorruptLog, match="in line 2: move it away"):
            DevChain(path)
    cases = {
        "does not replay at block 1": genesis + second,
        "does not replay at block 2": genesis + first + first,
        "not hexadecimal in line 2": genesis + "zz\n",
        "another version of py-evm": first + second,
    }
    no_blocks = [f"{raw.hex()} {hashlib.sha256(raw).hexdigest()[:16]}\n" for raw in (b"\x00", b"\xc0", b"\xc1\xc0")]
    for complaint, content in [*cases.items(), *(("does not begin with a block", line) for line in no_blocks)]:
        path.write_text(content)
        with pytest.raises(CorruptLog, match=complaint):
            DevChain(path)


def test_the_recursion_limit_stays_as_it_was() -> None:
    """A deeply nested JSON text must raise, whichever packages an anchor brought in."""
    code = (
        "import sys; from earmark.anchor.extras import import_extra; limit = sys.getrecursionlimit();"
        "import_extra('earmark.anchor.devevm', 'demo'); import_extra('eth_account', 'evm');"
        "import py_ecc; sys.exit(sys.getrecursionlimit() != limit)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment())


@pytest.mark.parametrize("is_written", [False, True])
def test_a_block_that_cannot_be_written_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_written: bool
) -> None:
    path = tmp_path / "chain"
    with contextlib.closing(DevChain(path)) as chain:
        target = EvmTarget(chain, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY)
        chain.mine()
        payload = sign(target, DIGEST)
        target.send(payload)
        before = hashes(chain)

        def fail(descriptor: int) -> None:
            if not is_written:
                os.ftruncate(descriptor, path.stat().st_size - 9)
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(devchain.os, "fsync", fail)
            with pytest.raises(AnchorError, match=r"cannot write .*: No space left"):
                chain.mine()
        assert hashes(chain) == before
        assert target.poll(payload).state == "pending"
        chain.mine()
        assert target.poll(payload).state == "mined"
        after = hashes(chain)
    with contextlib.closing(DevChain(path)) as chain:
        assert hashes(chain) == after


MINER = """
import sys
from pathlib import Path
from earmark.anchor.devchain import DEVELOPMENT_CHAIN, DEVELOPMENT_KEY, DevChain
from earmark.anchor.evm import EvmTarget
from earmark.anchor.extras import import_extra
chain = DevChain(Path(sys.argv[1]))
target = EvmTarget(chain, DEVELOPMENT_CHAIN, DEVELOPMENT_KEY)
for number in range(100_000):
    if number % 3 == 0:  # the one before is final
        target.send(target.sign(number.to_bytes(32, "big"), 10**18).payload)
    print(chain.mine().hex(), flush=True)
"""


@pytest.mark.faults
@pytest.mark.parametrize("count", [1, 7, 20])
def test_a_killed_chain_keeps_every_block_that_it_showed(tmp_path: Path, count: int) -> None:
    path = tmp_path / "chain"
    with subprocess.Popen(
        [sys.executable, "-c", MINER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as miner:
        assert miner.stdout is not None
        shown = [miner.stdout.readline().strip() for _ in range(count)]
        with pytest.raises(AnchorError, match="in use by another process"):
            DevChain(path)
        miner.send_signal(signal.SIGKILL)
        shown += [line.strip() for line in miner.stdout if line.endswith("\n")]
    with contextlib.closing(DevChain(path)) as chain:
        kept = [digest[2:] for digest in hashes(chain)[1:]]
        assert kept[: len(shown)] == shown
        assert len(kept) - len(shown) <= 1  # on disk, but killed before it said so


def test_a_chain_is_open_once(tmp_path: Path, chain: DevChain) -> None:
    with pytest.raises(AnchorError, match="in use by another process"):
        DevChain(tmp_path / "chain")
    with pytest.raises(AnchorError, match=r"cannot open .*No such file"):
        DevChain(tmp_path / "absent" / "chain")


def test_without_eth_tester_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(earmark.anchor, "devevm", raising=False)
    monkeypatch.setitem(sys.modules, "earmark.anchor.devevm", None)
    with pytest.raises(AnchorError, match=r"pip install 'earmark\[demo\]'"):
        DevChain(tmp_path / "chain")


def test_without_eth_account_or_trie_the_extra_is_named(
    chain: DevChain, target: EvmTarget, monkeypatch: pytest.MonkeyPatch, mined: bytes
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "eth_account", None)
        with pytest.raises(AnchorError, match=r"pip install 'earmark\[evm\]'"):
            EvmTarget(chain, DEVELOPMENT_CHAIN, OTHER_KEY)
    monkeypatch.setitem(sys.modules, "trie.hexary", None)
    with pytest.raises(AnchorError, match=r"pip install 'earmark\[evm\]'"):
        target.poll(mined)


@pytest.mark.parametrize(
    ("terms", "complaint"),
    [
        ({"nonce": 1}, "nonce too high"),
        ({"chainId": 1}, "invalid chain id"),
        ({"gas": 20_000}, "invalid transaction"),
        ({"value": 2_000_000 * COIN}, "insufficient funds"),
    ],
)
def test_the_pool_refuses_as_nodes_do(chain: DevChain, terms: dict[str, Any], complaint: str) -> None:
    with pytest.raises(RpcError, match=complaint):
        push(chain, spend(chain, **terms))


@pytest.mark.parametrize("raw", [b"", b"\x02", b"\x7f\xc0", b"\xc0", bytes(200)])
def test_the_pool_refuses_what_is_no_transaction(chain: DevChain, raw: bytes) -> None:
    with pytest.raises(RpcError, match="invalid transaction"):
        push(chain, raw)


def test_a_transaction_below_the_base_fee_waits_and_can_be_replaced(chain: DevChain) -> None:
    cheap = {"maxFeePerGas": 10**6, "maxPriorityFeePerGas": 1}
    waiting = push(chain, spend(chain, **cheap))
    chain.mine()
    assert chain.call("eth_getTransactionByHash", [waiting])["blockHash"] is None
    with pytest.raises(RpcError, match="underpriced"):
        push(chain, spend(chain, maxFeePerGas=10**6 + 1, maxPriorityFeePerGas=2))
    better = push(chain, spend(chain))
    block = chain.mine()
    assert chain.call("eth_getTransactionByHash", [better])["blockHash"] == "0x" + block.hex()
    assert chain.call("eth_getTransactionByHash", [waiting]) is None


def test_calls_that_make_no_sense_are_refused_as_endpoints_do(chain: DevChain) -> None:
    with pytest.raises(RpcError) as refusal:
        chain.call("eth_mystery", [])
    assert refusal.value.code == rpc.METHOD_NOT_FOUND
    bad: list[tuple[str, list[Any]]] = [
        ("eth_getBlockByNumber", []),
        ("eth_getBlockByNumber", ["newest", False]),
        ("eth_getBlockByNumber", [7, False]),
        ("eth_getTransactionByHash", ["0xzz"]),
        ("eth_getTransactionByHash", [None]),
    ]
    for method, params in bad:
        with pytest.raises(RpcError, match="invalid parameters"):
            chain.call(method, params)
    assert chain.call("eth_getBlockByHash", ["0x" + "00" * 32, False]) is None
    assert chain.call("eth_getBlockByNumber", ["0x99", False]) is None
