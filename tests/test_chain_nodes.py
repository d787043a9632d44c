"""The chain nodes of the tests and what stands in front of them do what other tests rely on."""

import secrets
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest
from eth_account import Account

from chain_nodes import SEGWIT, AnvilNode, BcoinNode, anvil, installed, own_address
from chain_proxy import Failure, Refusal, Unreliable
from core_like import CoreLike
from earmark.anchor.rpc import HttpRpc, RpcError
from earmark.errors import AnchorError
from earmark.mpt import keccak256
from evm_fakes import environment
from purse import Purse
from services import wait_for

pytest_plugins = ["chain_fixtures"]

CUT = "unavailable .RemoteDisconnected"


@pytest.fixture
def purse(bcoin_node: BcoinNode) -> Purse:
    """A key of this test's own that holds one block's reward."""
    purse = Purse(secrets.token_bytes(32))
    bcoin_node.fund(purse.address)
    return purse


def test_a_bitcoin_node_mines_with_segwit(bcoin_node: BcoinNode) -> None:
    before = bcoin_node.rpc("getblockcount")
    assert before >= SEGWIT
    hashes = bcoin_node.mine(2)
    assert bcoin_node.rpc("getbestblockhash") == hashes[-1]
    assert bcoin_node.rpc("getblockcount") == before + 2
    chain = bcoin_node.rpc("getblockchaininfo")
    assert (chain["chain"], chain["bip9_softforks"]["segwit"]["status"]) == ("regtest", "active")


def test_a_bitcoin_node_reorganises(fresh_bcoin_node: BcoinNode) -> None:
    node = fresh_bcoin_node
    purse = Purse(secrets.token_bytes(32))
    node.fund(purse.address)
    name, raw = purse.spend(node.coins(purse.address)[0])
    node.offer(raw)
    assert name in node.rpc("getrawmempool")
    old = node.mine(2)
    height = node.rpc("getblockcount")
    assert name in node.rpc("getblock", old[0])["tx"]
    node.reorg(2)
    assert node.rpc("getblockcount") == height
    new = [node.rpc("getblockhash", height - back) for back in (1, 0)]
    assert not set(old) & set(new)
    with pytest.raises(RpcError):
        node.rpc("getrawtransaction", name)
    node.offer(raw)
    assert name in node.rpc("getblock", node.mine()[0])["tx"]


def test_bcoin_answers_as_core_what_an_address_holds(bcoin_node: BcoinNode, purse: Purse) -> None:
    coin = bcoin_node.coins(purse.address)[0]
    assert coin["address"] == own_address(purse.address)
    with CoreLike(bcoin_node) as core:
        endpoint = HttpRpc(core.url)
        forms = [f"addr({purse.address})", f"wpkh({purse.public.hex()})", f"raw({purse.script.hex()})"]
        for form in forms:
            found = endpoint.call("scantxoutset", ["start", [form]])
            assert found["success"] is True
            assert found["bestblock"] == endpoint.call("getbestblockhash", [])
            (unspent,) = found["unspents"]
            assert (unspent["txid"], unspent["vout"], unspent["height"]) == (coin["hash"], 0, coin["height"])
            assert unspent["scriptPubKey"] == purse.script.hex()
            assert round(unspent["amount"] * 10**8) == coin["value"] > 0
        nobody = f"addr({Purse(secrets.token_bytes(32)).address})"
        assert endpoint.call("scantxoutset", ["start", [{"desc": nobody}]])["unspents"] == []
        with pytest.raises(RpcError, match="no such descriptor"):
            endpoint.call("scantxoutset", ["start", ["tr(x)"]])


def test_what_the_pool_spends_is_still_of_the_chain(bcoin_node: BcoinNode, purse: Purse) -> None:
    coin = bcoin_node.coins(purse.address)[0]
    name, raw = purse.spend(coin)
    with CoreLike(bcoin_node) as core:
        endpoint = HttpRpc(core.url)
        asked: list[Any] = ["start", [f"addr({purse.address})"]]
        endpoint.call("sendrawtransaction", [raw])
        assert [unspent["txid"] for unspent in endpoint.call("scantxoutset", asked)["unspents"]] == [coin["hash"]]
        bcoin_node.mine()
        assert [unspent["txid"] for unspent in endpoint.call("scantxoutset", asked)["unspents"]] == [name]


def test_bcoin_says_as_core_what_became_of_a_transaction(bcoin_node: BcoinNode, purse: Purse) -> None:
    coin = bcoin_node.coins(purse.address)[0]
    name, raw = purse.spend(coin)
    double, orphan = purse.spend(coin, 2_000)[1], purse.spend(coin | {"index": 7})[1]
    unsigned = raw[:-20] + f"{int(raw[-20], 16) ^ 1:x}" + raw[-19:]  # a bit of the key
    with CoreLike(bcoin_node) as core:
        endpoint = HttpRpc(core.url)
        for refused in (unsigned, orphan):
            with pytest.raises(RpcError, match=r"rejected \(code -26\)"):
                endpoint.call("sendrawtransaction", [refused])
        for _ in range(2):
            assert endpoint.call("sendrawtransaction", [raw]) == name
        with pytest.raises(RpcError, match=r"rejected \(code -26\)"):
            endpoint.call("sendrawtransaction", [double])
        bcoin_node.mine()
        with pytest.raises(RpcError, match=r"code -27"):
            endpoint.call("sendrawtransaction", [raw])
        assert endpoint.call("getrawtransaction", [name, True])["confirmations"] == 1


def test_bcoin_shows_as_core_blocks_and_transactions(bcoin_node: BcoinNode, purse: Purse) -> None:
    name, raw = purse.spend(bcoin_node.coins(purse.address)[0])
    with CoreLike(bcoin_node) as core:
        endpoint = HttpRpc(core.url)
        bcoin_node.offer(raw)
        (block,) = bcoin_node.mine()
        assert raw in endpoint.call("getblock", [block, 0])
        assert endpoint.call("getblock", [block, 1])["tx"][1] == name
        assert endpoint.call("getblock", [block, 2])["tx"][1]["txid"] == name
        for verbose in (True, 1, 2):
            assert endpoint.call("getrawtransaction", [name, verbose, block])["blockhash"] == block
        assert endpoint.call("getrawtransaction", [name]) == raw
        missing = ["00" * 32]
        for method in ("getrawtransaction", "getmempoolentry", "getblock", "getblockheader"):
            with pytest.raises(RpcError, match="code -5"):
                endpoint.call(method, missing)


def test_the_fee_is_what_the_test_says(bcoin_node: BcoinNode) -> None:
    with CoreLike(bcoin_node) as core:
        endpoint = HttpRpc(core.url)
        core.fee_rate = 0.00025
        assert endpoint.call("estimatesmartfee", [6]) == {"feerate": Decimal("0.00025"), "blocks": 6}
        core.fee_rate = None
        assert "feerate" not in endpoint.call("estimatesmartfee", [6])


def test_a_wrong_password_is_refused_by_what_is_passed_on_and_what_is_not(bcoin_node: BcoinNode) -> None:
    with CoreLike(bcoin_node) as core:
        stranger = HttpRpc(core.url.replace("x:k@", "x:other@"))
        for method in ("getblockcount", "estimatesmartfee"):
            with pytest.raises(AnchorError, match="HTTP 401"):
                stranger.call(method, [6])


def test_a_bitcoin_endpoint_fails_in_both_ways(bcoin_node: BcoinNode, purse: Purse) -> None:
    name, raw = purse.spend(bcoin_node.coins(purse.address)[0])
    with CoreLike(bcoin_node) as core:
        endpoint = HttpRpc(core.url)
        core.fail_next("sendrawtransaction", Failure.LOST)
        core.fail_next("sendrawtransaction", Failure.UNANSWERED)
        for persists in (False, True):
            with pytest.raises(AnchorError, match=CUT):
                endpoint.call("sendrawtransaction", [raw])
            assert (name in bcoin_node.rpc("getrawmempool")) is persists
        assert endpoint.call("sendrawtransaction", [raw]) == name
        assert core.calls == ["sendrawtransaction"] * 3
        bcoin_node.mine()


def test_an_endpoint_is_down_and_comes_back(bcoin_node: BcoinNode) -> None:
    with CoreLike(bcoin_node) as core:
        endpoint = HttpRpc(core.url)
        core.fail_next("getblockcount", Refusal(-28, "Loading block index"), times=2)
        for _ in range(2):
            with pytest.raises(RpcError, match=r"Loading block index \(code -28\)"):
                endpoint.call("getblockcount", [])
        with core.down(), pytest.raises(AnchorError, match="refused"):
            endpoint.call("getblockcount", [])
        assert endpoint.call("getblockcount", []) == bcoin_node.rpc("getblockcount")


def transfer(node: AnvilNode) -> str:
    """A signed transaction of a new account that holds something."""
    account = Account.create()
    node.fund(account.address)
    fields = {"chainId": 31337, "to": account.address, "value": 0, "gas": 21_000, "nonce": 0}
    fields |= {"maxFeePerGas": 3 * 10**9, "maxPriorityFeePerGas": 10**9}
    return "0x" + bytes(account.sign_transaction(fields).raw_transaction).hex()


def test_an_ethereum_node_mines_when_told_to_and_reorganises(anvil_node: AnvilNode) -> None:
    node = anvil_node
    assert node.rpc("eth_chainId") == hex(31337)
    first = node.rpc("eth_sendRawTransaction", transfer(node))
    wait_for(lambda: node.rpc("eth_getTransactionByHash", first)["blockNumber"] == "0x1", "the first is mined")
    node.set_automine(False)
    second = node.rpc("eth_sendRawTransaction", transfer(node))
    assert node.rpc("eth_getTransactionByHash", second)["blockNumber"] is None
    node.mine()
    assert node.rpc("eth_getTransactionByHash", second)["blockNumber"] == "0x2"
    before = node.rpc("eth_getBlockByNumber", "0x2", False)["hash"]
    node.reorg(1)
    assert node.rpc("eth_getTransactionByHash", second) is None
    assert node.rpc("eth_getBlockByNumber", "0x2", False)["hash"] != before
    node.mine(2)
    assert [node.rpc("eth_getBlockByNumber", tag, False)["number"] for tag in ("latest", "finalized")] == ["0x4", "0x2"]


def test_an_ethereum_endpoint_fails_in_both_ways(anvil_node: AnvilNode) -> None:
    raw = transfer(anvil_node)
    name = "0x" + keccak256(bytes.fromhex(raw[2:])).hex()
    with Unreliable(anvil_node.url) as proxy:
        endpoint = HttpRpc(proxy.url)
        proxy.fail_next("eth_sendRawTransaction", Failure.LOST)
        proxy.fail_next("eth_sendRawTransaction", Failure.UNANSWERED)
        proxy.fail_next("eth_chainId", Refusal(-32005, "limit exceeded"))
        for persists in (False, True):
            with pytest.raises(AnchorError, match=CUT):
                endpoint.call("eth_sendRawTransaction", [raw])
            assert (anvil_node.rpc("eth_getTransactionByHash", name) is not None) is persists
        with pytest.raises(RpcError, match="limit exceeded"):
            endpoint.call("eth_chainId", [])
        assert endpoint.call("eth_chainId", []) == hex(31337)


def test_a_folder_takes_one_node_after_another(tmp_path: Path) -> None:
    urls = set()
    for _ in range(2):
        with installed(), anvil(tmp_path) as node:
            assert node.rpc("eth_blockNumber") == "0x0"
            urls.add(node.url)
    assert len(urls) == 2


def test_a_chain_node_ends_with_the_process_that_started_it(anvil_node: AnvilNode, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from chain_nodes import anvil\n"
        "with anvil(Path(sys.argv[1])) as node: print(node.url, flush=True); sys.stdin.read()"
    )
    here = str(Path(__file__).parent)
    known = environment()
    known["PYTHONPATH"] += f":{here}"
    command = [sys.executable, "-c", script, str(tmp_path / "other")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=known, text=True) as parent:
        assert parent.stdout is not None
        url = parent.stdout.readline().strip()
        (node,) = psutil.Process(parent.pid).children()
        assert url.startswith("http://127.0.0.1:")
        parent.send_signal(signal.SIGKILL)
    wait_for(lambda: not node.is_running() or node.status() == psutil.STATUS_ZOMBIE, "the node ends", 10)


def test_the_stock_opentimestamps_client_runs(ots: str) -> None:
    run = subprocess.run([ots, "--version"], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.startswith("v0.7")
