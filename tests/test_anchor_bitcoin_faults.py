"""Anchors on Bitcoin through everything that goes wrong: crashes, reorganisations, fees, an endpoint that is gone.

The real state machine over a real store, on a node in memory.  Whatever happens and whenever, each block that is
planned gets one anchor on the chain, final, whose evidence leads to a block of it, within the cap and the budget.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from bitcoin_fakes import FakeCore, digest_of
from earmark.anchor.bitcoin import BitcoinTarget
from earmark.anchoring import Anchoring, Plan
from earmark.errors import AnchorError
from earmark.evidence.bitcoin import REGTEST, check_ots
from earmark.store import AnchorRow
from farm import Bench, new_store

KEY = b"\x01" * 32
FUNDS = 100_000
CAP = 20
BUDGET = 9 * CAP * 153
BLOCKS = 3
TICK_S = 300
MOST_TICKS = 250
STRIDE = 23

CALM, HIGH, BEYOND = Decimal("0.00001"), Decimal("0.0001"), Decimal("0.0003")


class Crash(BaseException):
    """The process ends."""


class Scene:
    """A gateway's anchoring, a node, and time, which passes in ticks of five minutes; every other one brings a block.

    At the event `at` (each call to the node counts twice, before and after its effect, each row written once) `happen`
    is called, once.
    """

    def __init__(self, folder: Path, at: int, happen: Callable[["Scene"], None]) -> None:
        self.node = FakeCore()
        self.bench = Bench(new_store(folder)).found()
        self.bench.log.seal()
        self.at, self.happen = at, happen
        self.events = self.ticks = self.down_until = self.spike_until = 0
        self.told: list[str] = []
        self.names: list[str] = []
        self.node.fuse = self.count
        put = self.bench.store.put_anchor

        def counted(row: AnchorRow) -> None:
            self.count("put")
            put(row)

        self.bench.store.put_anchor = counted  # type: ignore[method-assign]
        self.open()
        self.node.fund(self.target._key.script, FUNDS)

    def open(self) -> None:
        """Begin anew with what is on disk."""
        self.target = BitcoinTarget(self.node, REGTEST, KEY, fee_cap_sat_vb=CAP)
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
            self.node.estimate = CALM
        if self.ticks % 12 == 0 and self.ticks // 12 < BLOCKS:
            self.bench.enrol(10 + self.ticks, f"n{self.ticks}")
            self.bench.log.seal()
        for _ in range(3):
            try:
                self.anchoring.step()
            except Crash:
                self.open()
        if self.ticks % 2 == 0:
            self.node.mine()

    def rows(self) -> list[AnchorRow]:
        return self.bench.store.anchor_rows()

    def is_over(self) -> bool:
        rows = self.rows()
        active = {block.hash for block in self.node.chain}
        return (
            bool(rows)
            and rows[-1].height == BLOCKS - 1
            and all(row.state == "final" and self.block_of(row) in active for row in rows)
        )

    @staticmethod
    def block_of(row: AnchorRow) -> str:
        return check_ots(REGTEST, row.evidence, row.block_hash).hash.hex()

    def run(self) -> None:
        """Let time pass until all is well, or so long that it is not."""
        while not (self.is_over() and self.events >= self.at):
            assert self.ticks < MOST_TICKS, [(row.state, row.reason) for row in self.rows()]
            self.tick()


def check(scene: Scene) -> None:
    """Every block has exactly one transaction, where its evidence says, and costs what its row says."""
    rows = {row.block_hash: row for row in scene.rows()}
    carried = [(digest_of(tx), block, tx) for block in scene.node.chain for tx in block.txs if digest_of(tx)]
    assert sorted(digest or b"" for digest, _, _ in carried) == sorted(rows)
    for digest, block, tx in carried:
        row = rows[digest or b""]
        assert (row.reference, scene.block_of(row)) == (tx.txid, block.hash)
        change = [out.value for out in tx.read.vout[1:]]
        before = next(
            out.read.vout[number].value
            for other in scene.node.chain
            for out in other.txs
            for spent, number in tx.spends
            if out.txid == spent
        )
        assert row.cost == before - sum(change) <= CAP * tx.vsize
    assert sum(row.cost for row in rows.values()) <= BUDGET


def wrong(depth: int, keep: bool, fees: Decimal, down: int, crash: bool) -> Callable[[Scene], None]:
    """Return what happens at one moment: all of this at once."""

    def happen(scene: Scene) -> None:
        node = scene.node
        if depth:
            node.reorg(min(depth, node.height - 12), keep=keep)
        elif not keep:
            node.restart()
        if fees != CALM:
            node.estimate = fees
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
    assert scene.told == [] or set(scene.told) == {"deferred"}  # change has to be deep enough
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
    tmp_path: Path, calm: list[str], depth: int, fees: Decimal, down: int, crash: bool
) -> None:
    start = 1 + (depth * 4 + down + crash) % STRIDE
    for at, folder in zip(range(start, len(calm), STRIDE), folders(tmp_path), strict=False):
        scene = Scene(folder, at, wrong(depth, at % 2 == 0, fees, down, crash))
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
def test_fees_that_rise_are_followed_up_to_the_cap(tmp_path: Path, calm: list[str], fees: Decimal) -> None:
    def happen(scene: Scene) -> None:
        scene.node.estimate = fees
        scene.spike_until = scene.ticks + 40

    scene = Scene(tmp_path, calm.index("sendrawtransaction") + 2, happen)
    scene.run()
    check(scene)
    assert "replaced" in scene.told  # at once, or when the fees come down again
    assert ("deferred" in scene.told[: scene.told.index("replaced")]) is (fees == BEYOND)
