"""A simulated month of anchors: `python tests/anchor_month.py [--blocks 1000] [--seed N] [--report FILE]` (make soak).

Real: the state machine, the store, the log, the three targets, every signature and all evidence.  Simulated: time, a
Bitcoin node, an EVM chain, and calendars (over HTTP on loopback) with sources of Bitcoin's headers.  Faults come at
random all along.  Each target is asked for an anchor of each block, or of the newest where one has to wait for another.
"""

import argparse
import logging
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import calendar_fakes as fakes
import fault_report
from bitcoin_fakes import COIN, FakeCore, digest_of
from calendar_fakes import Calendar, Chain, ChainSource, Clock, Reply
from earmark import evidence
from earmark.anchor.bitcoin import BitcoinTarget
from earmark.anchor.calendars import CalendarsTarget
from earmark.anchor.ethblock import calldata_gas
from earmark.anchor.evm import EvmTarget
from earmark.anchor.headers import Headers
from earmark.anchoring import MONTH_MS, Anchoring, Plan
from earmark.errors import AnchorError
from earmark.evidence.bitcoin import REGTEST, decode_ots
from earmark.store import AnchorRow
from earmark.store.sqlite import SqliteStore
from evm_chain import CHAIN, GWEI, FakeEvm
from farm import Bench, new_store

EVERY_S = 2592
"""A block every 43 minutes: 1,000 in thirty days."""

TICKS = 8
TICK_S = EVERY_S // TICKS
HOUR = 3600 // TICK_S
LONGEST_END = 2_000
ASSUMED = "20 nodes with 10 readings a minute each"
READINGS_A_BLOCK = 20 * 10 * EVERY_S // 60

BITCOIN, EVM, CALENDARS = NAMES = "own bitcoin", "evm", "calendars"
UNITS = {BITCOIN: "sat", EVM: "gwei", CALENDARS: ""}
SAT_CAP, GWEI_CAP, GAS = 20, 20, 22_280
BUDGETS = {BITCOIN: 1_200_000, EVM: 400_000_000 * GWEI, CALENDARS: 1 << 62}
KEYS = {BITCOIN: b"\x01" * 32, EVM: b"\x05" * 32}


class Crash(BaseException):
    """The process ends."""


class Month:
    """The world.  `step` lets one tick go by; `settle` ends the faults and returns what came of it all."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.draw = random.Random(seed)
        self.folder = folder
        self.faults: Counter[str] = Counter()
        self.heal_at: dict[tuple[str, str], int] = {}
        self.ticks = 0
        self.is_calm = False
        self.clock = Clock()
        self.core, self.evm, self.chain = FakeCore(), FakeEvm(), Chain(8)
        self.calendars = [Calendar(self.chain) for _ in range(3)]
        self.sources = [ChainSource(self.chain, f"http://headers{at}.example") for at in range(2)]
        self.bench = Bench(new_store(folder)).found()
        self.node = self.bench.enrol(3, "n1")
        self.rates = {BITCOIN: 4.0, EVM: 2.0}
        self.final_ms: dict[tuple[str, int], int] = {}
        self.core.fuse = lambda method: self._fuse(BITCOIN, method)
        self.evm.fuse = lambda method: self._fuse(EVM, method)
        self.evm.bend = self._bend
        self._open()
        self.core.fund(self.script, *[50_000] * 8)

    # the gateway

    @property
    def script(self) -> bytes:
        return self.bitcoin._key.script

    def _open(self) -> None:
        """Begin from what is on disk."""
        self.bench.store.close()
        self.bench.store = SqliteStore(self.folder / "earmark.db")
        self.bench.open()
        put = self.bench.store.put_anchor

        def unsafe_put(row: AnchorRow) -> None:
            self._maybe_crash("crash at a write")
            put(row)

        self.bench.store.put_anchor = unsafe_put  # type: ignore[method-assign]
        self.bitcoin = BitcoinTarget(self.core, REGTEST, KEYS[BITCOIN], name=BITCOIN, fee_cap_sat_vb=SAT_CAP)
        evm = EvmTarget(self.evm, CHAIN, KEYS[EVM], name=EVM, fee_cap_gwei=GWEI_CAP)
        urls = [calendar.url for calendar in self.calendars]
        headers = Headers(REGTEST, self.sources, self.clock)
        calendars = CalendarsTarget(
            urls, headers, chain=REGTEST, name=CALENDARS, ask_every_s=3600, timeout_s=2, clock=self.clock
        )
        self.anchorings = [self._anchoring(target) for target in (self.bitcoin, evm, calendars)]

    def _anchoring(self, target: Any) -> Anchoring:
        plan = Plan(EVERY_S, month_budget=BUDGETS[target.place.name])
        return Anchoring(self.bench.store, target, plan, lambda: self.bench.now_ms, self._hear)

    def _hear(self, event: str, row: AnchorRow) -> None:
        self.faults[f"heard: {event}"] += 1

    # faults in calls

    def _fuse(self, name: str, method: str) -> None:
        """Before and after the effect of a call."""
        if self.is_calm:
            return
        if (name, "down") in self.heal_at:
            raise AnchorError("the endpoint is down")
        self._maybe_crash("crash in a call")
        if self.draw.random() < 0.004:
            self.faults["call failed"] += 1
            raise AnchorError("the connection broke off")

    def _maybe_crash(self, kind: str) -> None:
        if not self.is_calm and self.draw.random() < 0.002:
            self.faults[kind] += 1
            raise Crash

    def _bend(self, method: str, answer: Any) -> Any:
        if self.is_calm or self.draw.random() > 0.003:
            return answer
        self.faults["lying answer"] += 1
        wrong: list[Any] = [None, "0x", {}, [], 7, "0x" + "11" * 32]
        if method == "eth_getTransactionCount":
            wrong = [hex(int(answer, 16) + 1), hex(max(0, int(answer, 16) - 1))]
        return self.draw.choice(wrong)

    # the world

    def seal(self) -> None:
        self.bench.admit(self.node.read())
        self.bench.log.seal()

    def step(self) -> None:
        """Let one tick go by."""
        self.ticks += 1
        self.clock.now_s += TICK_S
        self.bench.now_ms += TICK_S * 1000
        if not self.is_calm:
            self._heal()
            self._break()
        self._set_fees()
        self._mine()
        for at in range(len(NAMES)):
            try:
                self.anchorings[at].step()
            except Crash:
                self._open()
        self._watch()

    def _mine(self) -> None:
        self.evm.mine(3)
        if self.draw.random() < TICK_S / 600:
            self.core.mine()
            self.chain.mine()
        for calendar in self.calendars:
            if calendar.waiting and self.draw.random() < TICK_S / 7200:
                calendar.complete()

    def _set_fees(self) -> None:
        for name, (least, most) in {BITCOIN: (1.0, 12.0), EVM: (0.5, 12.0)}.items():
            self.rates[name] = min(most, max(least, self.rates[name] * self.draw.uniform(0.94, 1.0638)))
        spikes = {name: 4 if (name, "fees") in self.heal_at else 1 for name in self.rates}
        rate = round(max(self.rates[BITCOIN], 6.0 * (spikes[BITCOIN] > 1)) * spikes[BITCOIN] * 1000)
        self.core.estimate = Decimal(rate) / COIN
        self.evm.base = round(max(self.rates[EVM], 6.0 * (spikes[EVM] > 1)) * spikes[EVM] * GWEI)

    def _break(self) -> None:
        for name in NAMES:
            self._begin(name, "down", 0.004, 6 * HOUR)
        for name in (BITCOIN, EVM):
            self._begin(name, "fees", 0.004, 8 * HOUR)
            self._begin(name, "wallet", 0.001, 6 * HOUR)
        self._reorganise()
        for calendar in self.calendars:
            for faults, wrong in ((calendar.posts, _WRONG), (calendar.gets, _WRONG)):
                if self.draw.random() < 0.03:
                    self.faults["calendar answers wrongly"] += 1
                    faults.append(self.draw.choice(wrong))
            calendar.forgets = self.draw.random() < 0.02
        if self.draw.random() < 0.01:
            self.faults["pool lost"] += 1
            self.draw.choice([self.core, self.evm]).restart()

    def _begin(self, name: str, what: str, chance: float, longest: int) -> None:
        if (name, what) in self.heal_at or self.draw.random() > chance:
            return
        self.heal_at[name, what] = self.ticks + self.draw.randint(2, longest)
        self.faults[{"down": "endpoint down", "fees": "fees above the cap", "wallet": "wallet emptied"}[what]] += 1
        if (name, what) == (EVM, "wallet"):
            self.evm.is_drained = True
        if (name, what) == (BITCOIN, "wallet"):
            coins = [out for out, coin in self.core._unspent.items() if coin.script == self.script]
            self.core.mine(txs=[self.core.spend_elsewhere(coin) for coin in coins], with_pool=False)
        if (name, what) == (CALENDARS, "down"):
            for source in self.sources:
                source.down = True
            for calendar in self.calendars:
                calendar.posts, calendar.gets = [_refuse] * 9, [_refuse] * 99

    def _heal(self) -> None:
        for name, what in [key for key, at in self.heal_at.items() if self.is_calm or self.ticks >= at]:
            del self.heal_at[name, what]
            if (name, what) == (EVM, "wallet"):
                self.evm.is_drained = False
            if (name, what) == (BITCOIN, "wallet"):
                self.core.fund(self.script, *[50_000] * 8, depth=8)
            if (name, what) == (CALENDARS, "down"):
                for source in self.sources:
                    source.down = False
                for calendar in self.calendars:
                    calendar.posts, calendar.gets = [], []

    def _reorganise(self) -> None:
        depth = self.draw.randint(1, 6)
        if self.draw.random() < 0.008:
            self.faults["bitcoin reorganised"] += 1
            self.core.reorg(depth, keep=self.draw.random() < 0.5)
        if self.draw.random() < 0.008:
            self.faults["evm reorganised"] += 1
            self.evm.reorg(depth, keep=self.draw.random() < 0.5)
        if self.draw.random() < 0.008:
            self.faults["calendars' bitcoin reorganised"] += 1
            self.chain.drop(depth)
            self.chain.mine(count=depth + 1)
            for calendar in self.calendars:
                calendar.undo()

    # what has to hold

    def _watch(self) -> None:
        """Check the bounds of money, and note when anchors became final."""
        for name in (BITCOIN, EVM):
            spent = self.bench.store.anchor_cost(name, self.bench.now_ms - MONTH_MS, besides=-1)
            assert spent <= BUDGETS[name], (name, spent)
            for row in self.bench.store.final_anchors_of(name, 3):
                self.final_ms.setdefault((name, row.height), row.state_at_ms - row.planned_at_ms)
        for row in self.bench.store.final_anchors_of(CALENDARS, 48):
            self.final_ms.setdefault((CALENDARS, row.height), row.state_at_ms - row.planned_at_ms)

    def settle(self) -> dict[str, Any]:
        """End all faults, wait until nothing is under way, and return what each target has."""
        self.is_calm = True
        self._heal()
        for calendar in self.calendars:
            calendar.posts, calendar.gets, calendar.forgets = [], [], False
        newest = self.bench.store.newest_digest(EVM)
        assert newest
        end = self.ticks + LONGEST_END
        while self.ticks < end and not all(self._is_settled(name, newest[0]) for name in NAMES):
            self.step()
        for _ in range(6 * HOUR):
            self.step()
        return {name: self._settled(name, newest[0]) for name in NAMES}

    def _is_settled(self, name: str, height: int) -> bool:
        rows = self.bench.store.anchor_rows(name)
        return bool(rows) and rows[-1].height == height and not self.bench.store.anchor_rows(name, open_only=True)

    def _settled(self, name: str, height: int) -> dict[str, Any]:
        rows = self.bench.store.anchor_rows(name)
        on_chain = self._on_chain(name)
        final = [row for row in rows if row.state == "final" and self._holds(row)]
        hours = [self.final_ms[name, row.height] / 3_600_000 for row in final]
        covered = max((row.height for row in final), default=-1)
        copies = Counter(digest for digest, _ in on_chain) if name != CALENDARS else Counter(r.block_hash for r in rows)
        unit = GWEI if name == EVM else 1
        cost = sum(paid for _, paid in on_chain) // unit
        written = sum(row.cost for row in rows)  # where an endpoint kept its receipt back, the most it can have cost
        assert written >= sum(paid for _, paid in on_chain) or copies.total() > len(rows), name
        return {
            "planned": len(rows),
            "final": len(final),
            "lost": len(rows) - len(final) + (height - covered),
            "double": copies.total() - len(copies),
            "unit": UNITS[name],
            "cost": cost,
            "cost per block": round(cost / (height + 1), 1),
            "cost per 1000 readings": round(1000 * cost / ((height + 1) * READINGS_A_BLOCK), 2),
            "median hours until final": round(statistics.median(hours), 2),
            "longest hours until final": round(max(hours), 1),
        }

    def _holds(self, row: AnchorRow) -> bool:
        """Check the evidence of a row, and say whether its block is on the chain."""
        block = evidence.check(row.kind, row.chain, row.evidence, row.block_hash)
        if row.target == EVM:
            return self.evm.chain[block.number].name == "0x" + block.hash.hex()
        if row.target == BITCOIN:
            return self.core.chain[block.number].hash == block.hash.hex()
        return decode_ots(row.evidence)[1] == self.chain.headers[block.number]

    def _on_chain(self, name: str) -> list[tuple[bytes, int]]:
        """Return digest and fee of each anchor that the chain has; the fee is within the cap."""
        if name == EVM:
            found = [(digest, calldata_gas(tx.data) * block.price(tx)) for digest, block, tx in self.evm.anchors()]
            assert all(paid <= GWEI_CAP * GWEI * 100_000 for _, paid in found)
            return found
        if name == CALENDARS:
            return []
        outs = {(tx.txid, at): out.value for block in self.core.chain for tx in block.txs for at, out in _outs(tx)}
        paid = []
        for tx in [tx for block in self.core.chain for tx in block.txs if digest_of(tx)]:
            fee = sum(outs[spent] for spent in tx.spends) - sum(out.value for _, out in _outs(tx))
            assert fee <= SAT_CAP * tx.vsize + 1
            paid.append((digest_of(tx) or b"", fee))
        return paid


def _outs(tx: Any) -> Any:
    return enumerate(tx.read.vout)


def _refuse(_: Reply) -> Reply:
    return Reply(503, b"busy")


_WRONG: list[Callable[[Reply], Reply]] = [
    _refuse,
    lambda _: Reply(200),
    lambda _: Reply(200, bytes(20_000)),
    lambda reply: Reply(200, reply.body, length=500),
    lambda _: Reply(200, b"\x77" * 50),
]


def simulate(folder: Path, blocks: int, seed: int) -> dict[str, Any]:
    """Run a month of so many blocks and return what came of it."""
    month = Month(folder, seed)
    with fakes.serving(*month.calendars):
        for _ in range(blocks):
            month.seal()
            for _ in range(TICKS):
                month.step()
        targets = month.settle()
    month.bench.store.close()
    heard = {kind.removeprefix("heard: "): n for kind, n in sorted(month.faults.items()) if kind.startswith("heard")}
    faults = {kind: n for kind, n in sorted(month.faults.items()) if not kind.startswith("heard")}
    return {
        "seed": seed,
        "blocks": blocks,
        "days": round(month.ticks * TICK_S / 86400, 1),
        "assumed": f"{ASSUMED}: {READINGS_A_BLOCK:,} a block",
        "faults": faults,
        "anchors": heard,
        "targets": targets,
    }


def table(result: dict[str, Any]) -> str:
    """Return a result as text."""
    lines = [f"{result['blocks']} blocks in {result['days']} simulated days; {result['assumed']}", ""]
    lines += [f"{kind:>32} {count:>8,}" for kind, count in result["faults"].items()] + [""]
    lines += [f"{kind:>32} {count:>8,}" for kind, count in result["anchors"].items()] + [""]
    lines += [f"{'':>32}" + "".join(f"{name:>14}" for name in NAMES)]
    for key in result["targets"][EVM]:
        lines.append(f"{key:>32}" + "".join(f"{result['targets'][name][key]!s:>14}" for name in NAMES))
    return "\n".join(lines)


def is_whole(result: dict[str, Any]) -> bool:
    """Say whether nothing is lost or double."""
    return not any(found["lost"] or found["double"] for found in result["targets"].values())


def main() -> int:
    """Run the month and print what came of it; status 1 where an anchor is lost or double."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=fault_report.SEED)
    parser.add_argument("--report", type=Path, help="write the counts into this JSON file, as `month`")
    given = parser.parse_args()
    print(f"--seed {given.seed}\n{__doc__}", flush=True)
    logging.disable()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="earmark-month-") as folder:
        result = simulate(Path(folder), given.blocks, given.seed)
    result["seconds"] = round(time.monotonic() - began)
    print(table(result))
    if given.report:
        fault_report.write(given.report, "month", result)
    return 0 if is_whole(result) else 1


if __name__ == "__main__":
    sys.exit(main())
