"""Anchors on an EVM chain through everything that goes wrong: crashes, reorganisations, fees, an endpoint that is gone.

The real state machine over a real store, on a chain in memory, and in part on anvil.  Whatever happens and whenever,
each block that is planned gets one anchor on the chain, final, whose evidence leads to a block of it, within the cap
and the budget.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chain_nodes import AnvilNode
from chain_proxy import Failure, Unreliable
from earmark.anchor.evm import EvmTarget
from earmark.anchor.rpc import HttpRpc
from earmark.anchoring import Anchoring, Plan
from earmark.errors import AnchorError
from earmark.evidence.evm import check_evm
from earmark.store import AnchorRow
from evm_chain import CHAIN, CHAIN_ID, GWEI, Account, FakeEvm, read_tx
from farm import Bench, new_store

pytest_plugins = ["chain_fixtures"]

KEY = b"\x05" * 32
GAS = 22_280
CAP = 20
BUDGET = 8 * CAP * GAS * GWEI
BLOCKS = 3
TICK_S = 300
MOST_TICKS = 250
STRIDE = 29
CALM, HIGH, BEYOND = GWEI, 7 * GWEI, 30 * GWEI


class Crash(BaseException):
    """The process ends."""


def foreign(nonce: int) -> bytes:
    """A transaction of the key's account that is no anchor."""
    account = Account.from_key(KEY)
    fields = {"chainId": CHAIN_ID, "to": account.address, "value": 0, "gas": 21_000, "nonce": nonce, "type": 2}
    fees = {"maxFeePerGas": 90 * GWEI, "maxPriorityFeePerGas": GWEI}
    return bytes(account.sign_transaction(fields | fees).raw_transaction)


class Scene:
    """A gateway's anchoring, a chain, and time, which passes in ticks of five minutes; each brings two blocks.

    At the event `at` (each call to the endpoint counts twice, before and after its effect, each row written once)
    `happen` is called, once.
    """

    def __init__(self, folder: Path, at: int, happen: Callable[["Scene"], None], **terms: Any) -> None:
        self.node = FakeEvm(**terms)
        self.bench = Bench(new_store(folder)).found()
        self.bench.log.seal()
        self.at, self.happen = at, happen
        self.events = self.ticks = self.down_until = self.spike_until = 0
        self.told: list[str] = []
        self.names: list[str] = []
        self.after: list[Callable[[Scene], None]] = []
        self.node.fuse = self.count
        put = self.bench.store.put_anchor

        def counted(row: AnchorRow) -> None:
            self.count("put")
            put(row)

        self.bench.store.put_anchor = counted  # type: ignore[method-assign]
        self.open()

    def open(self) -> None:
        """Begin anew with what is on disk."""
        self.target = EvmTarget(self.node, CHAIN, KEY, fee_cap_gwei=CAP, confirmations=9)
        plan = Plan(3600, replace_after_s=1800, month_budget=BUDGET)

        def tell(event: str, row: AnchorRow) -> None:
            self.told.append(event)

        self.anchoring = Anchoring(self.bench.store, self.target, plan, lambda: self.bench.now_ms, tell)

    def count(self, what: str) -> None:
        if what != "put" and self.ticks < self.down_until:
            raise AnchorError("the endpoint is down")
        self.events += 1
        self.names.append(what)
        if self.events == self.at:
            self.happen(self)

    def tick(self) -> None:
        """Let five minutes pass."""
        self.ticks += 1
        self.bench.now_ms += TICK_S * 1000
        if self.ticks == self.spike_until:
            self.node.base, self.node.least_tip, self.node.is_drained = CALM, 0, False
        if self.ticks % 12 == 0 and self.ticks // 12 < BLOCKS:
            self.bench.enrol(10 + self.ticks, f"n{self.ticks}")
            self.bench.log.seal()
        for _ in range(3):
            try:
                self.anchoring.step()
            except Crash:
                self.open()
        self.node.mine(2)
        for then in self.after[:1]:
            self.after.remove(then)
            then(self)

    def rows(self) -> list[AnchorRow]:
        return self.bench.store.anchor_rows()

    def is_over(self) -> bool:
        rows = self.rows()
        return bool(rows) and rows[-1].height == BLOCKS - 1 and all(row.state == "final" for row in rows)

    @staticmethod
    def block_of(row: AnchorRow) -> str:
        return "0x" + check_evm(CHAIN, row.evidence, row.block_hash).hash.hex()

    def run(self) -> None:
        """Let time pass until all is well, or so long that it is not."""
        while not (self.is_over() and self.events >= self.at):
            assert self.ticks < MOST_TICKS, [(row.state, row.reason) for row in self.rows()]
            self.tick()


def check(scene: Scene) -> None:
    """Every block has exactly one transaction, where its evidence says, and costs what its row says."""
    rows = {row.block_hash: row for row in scene.rows()}
    assert sorted(digest for digest, _, _ in scene.node.anchors()) == sorted(rows)
    for digest, block, tx in scene.node.anchors():
        row = rows[digest]
        assert (row.reference, scene.block_of(row)) == (tx.name, block.name)
        assert row.cost == tx.gas * block.price(tx) <= CAP * GWEI * tx.gas
    assert sum(row.cost for row in rows.values()) <= BUDGET
    assert not scene.node.pool


def wrong(depth: int, keep: bool, fees: int, down: int, crash: bool) -> Callable[[Scene], None]:
    """Return what happens at one moment: all of this at once."""

    def happen(scene: Scene) -> None:
        if depth:
            scene.node.reorg(depth, keep=keep)
        elif not keep:
            scene.node.restart()
        if fees != CALM:
            scene.node.base = fees
            scene.spike_until = scene.ticks + 18
        scene.down_until = scene.ticks + down
        if crash:
            raise Crash
        if down and scene.names[-1] != "put":
            raise AnchorError("the endpoint went down")

    return happen


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The events where nothing happens."""
    scene = Scene(tmp_path_factory.mktemp("calm"), 0, lambda _: None)
    scene.run()
    check(scene)
    assert scene.told == []
    return scene.names


def folders(tmp_path: Path) -> Iterator[Path]:
    number = 0
    while True:
        number += 1
        folder = tmp_path / str(number)
        folder.mkdir()
        yield folder


@pytest.mark.faults
@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize("down", [0, 7])
@pytest.mark.parametrize("fees", [CALM, HIGH, BEYOND])
@pytest.mark.parametrize("depth", range(7))
def test_each_block_gets_one_anchor_whatever_happens(
    tmp_path: Path, calm: list[str], depth: int, fees: int, down: int, crash: bool
) -> None:
    start = 1 + (depth * 4 + down + crash) % STRIDE
    for at, folder in zip(range(start, len(calm), STRIDE), folders(tmp_path), strict=False):
        scene = Scene(folder, at, wrong(depth, at % 2 == 0, fees, down, crash), knows_finalized=at % 3 > 0)
        scene.run()
        check(scene)
        scene.bench.store.close()


@pytest.mark.parametrize("stride", [17, pytest.param(1, marks=pytest.mark.faults)])
def test_a_crash_at_any_event_leaves_one_anchor_for_each_block(tmp_path: Path, calm: list[str], stride: int) -> None:
    for at, folder in zip(range(1, len(calm), stride), folders(tmp_path), strict=False):
        scene = Scene(folder, at, wrong(0, keep=True, fees=CALM, down=0, crash=True))
        scene.run()
        check(scene)
        scene.bench.store.close()


@pytest.mark.parametrize("fees", [HIGH, BEYOND])
def test_fees_that_rise_are_followed_up_to_the_cap(tmp_path: Path, calm: list[str], fees: int) -> None:
    def happen(scene: Scene) -> None:
        scene.node.base = fees
        scene.spike_until = scene.ticks + 40

    scene = Scene(tmp_path, calm.index("eth_sendRawTransaction") + 2, happen)
    scene.run()
    check(scene)
    assert ("replaced" in scene.told, "deferred" in scene.told) == (fees == HIGH, fees == BEYOND)


@pytest.mark.parametrize("depth", range(7))
@pytest.mark.parametrize("is_old", [False, True])
def test_a_replaced_transaction_is_final_in_whichever_version_is_mined(
    tmp_path: Path, is_old: bool, depth: int
) -> None:
    scene = Scene(tmp_path, 0, lambda _: None)
    scene.node.base = 5 * GWEI // 2
    scene.tick()
    first = next(iter(scene.node.pool.values())).raw if scene.node.pool else scene.node.anchors()[0][2].raw
    scene.node.reorg(3, keep=False)
    scene.node.base = 30 * GWEI
    while "deferred" not in scene.told:
        scene.tick()
    scene.node.base = 8 * GWEI
    while "replaced" not in scene.told:
        scene.tick()
    mined = first if is_old else next(tx.raw for _, _, tx in scene.node.anchors())
    scene.node.reorg(3, keep=False)
    scene.node.mine(raws=[mined])
    if depth:
        scene.node.reorg(depth, keep=depth % 2 == 0)
    scene.run()
    check(scene)
    if not depth:
        assert scene.rows()[0].reference == read_tx(mined).name


@pytest.mark.parametrize("depth", range(7))
def test_a_nonce_that_a_foreign_transaction_takes_is_given_up_when_that_is_final(tmp_path: Path, depth: int) -> None:
    def happen(scene: Scene) -> None:
        scene.node.restart()
        scene.node.mine(raws=[foreign(0)], with_pool=False)
        scene.after = [lambda _: None] * 2 + [lambda scene: scene.node.reorg(depth, keep=False)] * (depth > 0)

    scene = Scene(tmp_path, 30, happen)
    scene.run()
    check(scene)


@pytest.mark.parametrize("keep", [False, True])
def test_a_foreign_transaction_that_is_taken_back_leaves_no_gap(tmp_path: Path, keep: bool) -> None:
    scene = Scene(tmp_path, 0, lambda _: None)
    scene.node.mine(raws=[foreign(0)])
    scene.tick()
    assert scene.told == ["deferred"]
    scene.node.reorg(4, keep=keep)
    scene.run()
    check(scene)


@pytest.mark.parametrize("way", ["tip", "base"])
def test_a_transaction_that_no_node_takes_is_sent_with_a_higher_fee(tmp_path: Path, way: str) -> None:
    def happen(scene: Scene) -> None:
        if way == "tip":
            scene.node.least_tip = scene.node.tip = 2 * GWEI
        else:
            scene.node.refuses_below_base, scene.node.base = True, 6 * GWEI

    scene = Scene(tmp_path, 0, lambda _: None)
    put = scene.bench.store.put_anchor

    def before_send(row: AnchorRow) -> None:
        put(row)
        if row.state == "signed" and "replaced" not in scene.told:
            happen(scene)

    scene.bench.store.put_anchor = before_send  # type: ignore[method-assign]
    scene.run()
    check(scene)
    assert "replaced" in scene.told


@pytest.mark.parametrize("method", ["eth_getTransactionByHash", "eth_getTransactionReceipt"])
def test_an_endpoint_that_forgets_a_final_transaction_makes_no_second_one(tmp_path: Path, method: str) -> None:
    """The index of transactions may be behind, or pruned: what is in the blocks counts."""
    scene = Scene(tmp_path, 0, lambda _: None)
    scene.run()
    scene.node.bend = lambda called, answer: None if called == method else answer
    for _ in range(12):
        scene.tick()
    assert "voided" not in scene.told
    check(scene)


@pytest.mark.parametrize("depth", [0, 1, 3, 6])
@pytest.mark.parametrize("how", [Failure.LOST, Failure.UNANSWERED])
@pytest.mark.parametrize("method", ["eth_sendRawTransaction", "eth_getTransactionByHash", "eth_getTransactionCount"])
def test_on_anvil_an_anchor_becomes_final_once(
    anvil_node: AnvilNode, tmp_path: Path, method: str, how: Failure, depth: int
) -> None:
    anvil_node.set_automine(False)
    bench = Bench(new_store(tmp_path)).found()
    bench.log.seal()
    with Unreliable(anvil_node.url) as proxy:

        def anchoring() -> Anchoring:
            target = EvmTarget(HttpRpc(proxy.url), anvil_node.chain, KEY, fee_cap_gwei=CAP)
            return Anchoring(bench.store, target, Plan(1 << 40, month_budget=BUDGET), lambda: bench.now_ms)

        anvil_node.fund(EvmTarget(HttpRpc(proxy.url), anvil_node.chain, KEY).address)
        anvil_node.mine(8)
        proxy.fail_next(method, how)
        for turn in range(40):
            bench.now_ms += TICK_S * 1000
            anchoring().step()
            rows = bench.store.anchor_rows()
            if rows and rows[0].state == "final" and turn > 8:
                break
            anvil_node.mine()
            if turn == 4 and depth:
                with proxy.down():
                    anvil_node.reorg(depth)
                    anchoring().step()
    [row] = rows
    assert (row.state, bench.store.anchor_rows(open_only=True)) == ("final", [])
    block = check_evm(anvil_node.chain, row.evidence, row.block_hash)
    newest = int(anvil_node.rpc("eth_blockNumber"), 16)
    chain = [anvil_node.rpc("eth_getBlockByNumber", hex(number), True) for number in range(newest + 1)]
    carried = [(entry["input"], each["hash"]) for each in chain for entry in each["transactions"]]
    assert carried == [("0x" + row.block_hash.hex(), "0x" + block.hash.hex())]
    assert 0 < row.cost <= CAP * GAS * GWEI
