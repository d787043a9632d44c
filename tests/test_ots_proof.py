"""From a statement in a farm's log to the stock OpenTimestamps client, through a real Bitcoin node.

`earmark prove` and `unpack` write the `.ots` of a statement file; `ots verify` knows nothing of Earmark.
"""

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from calendar_scene import Running, serve
from chain_nodes import BcoinNode
from commands import Earmark, in_farm
from core_like import CoreLike
from earmark.anchor.bitcoin import BitcoinTarget
from earmark.anchor.calendars import CalendarsTarget
from earmark.anchor.headers import CoreHeaders, Headers
from earmark.anchor.rpc import HttpRpc
from earmark.anchor.target import Target
from earmark.anchoring import Anchoring, Plan
from earmark.evidence.bitcoin import REGTEST, decode_ots
from earmark.process import clock_ms
from earmark.store.sqlite import SqliteStore
from sample_farm import SampleFarm
from services import wait_for

pytest_plugins = ["chain_fixtures", "command_fixtures"]

LEAF = "12"  # the one statement of the newest block


@pytest.fixture
def core(fresh_bcoin_node: BcoinNode) -> Iterator[CoreLike]:
    with CoreLike(fresh_bcoin_node) as core:
        yield core


def own_target(core: CoreLike, node: BcoinNode) -> BitcoinTarget:
    target = BitcoinTarget(HttpRpc(core.url), REGTEST, secrets.token_bytes(32))
    node.fund(target.address)
    return target


@contextmanager
def by_own_transaction(core: CoreLike, node: BcoinNode, *_: object) -> Iterator[Target]:
    yield own_target(core, node)


@contextmanager
def by_calendar(core: CoreLike, node: BcoinNode, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    """Our own calendar, which anchors on the same node."""
    running = Running(folder / "calendar")
    headers = Headers(REGTEST, [CoreHeaders(HttpRpc(core.url), core.url)])
    with serve(running, monkeypatch, own_target(core, node)):
        yield CalendarsTarget((running.url,), headers, chain=REGTEST, ask_every_s=0.0)


@pytest.mark.parametrize("way", [by_own_transaction, by_calendar])
def test_the_stock_client_verifies_a_statement_of_a_proof(
    way: Callable[..., AbstractContextManager[Target]],
    earmark: Earmark,
    sample: SampleFarm,
    core: CoreLike,
    fresh_bcoin_node: BcoinNode,
    ots: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = fresh_bcoin_node
    with way(core, node, tmp_path, monkeypatch) as target, closing(SqliteStore(sample.farm.database)) as store:
        monkeypatch.setattr("earmark.anchor.headers.KEPT_S", 0.0)
        anchoring = Anchoring(store, target, Plan(every_s=10**6), clock_ms)

        def is_final() -> bool:
            anchoring.step()
            node.mine()
            row = store.newest_anchor(target.place.name)
            return row is not None and row.state == "final"

        wait_for(is_final, "the block is anchored for good")
        row = store.newest_anchor(target.place.name)
    assert row is not None
    assert (row.kind, row.chain, row.height) == ("ots", REGTEST, 1)
    assert in_farm(earmark)("prove", LEAF, "-o", "one.earmark").status == 0
    block = f"{REGTEST}=0x{node.rpc('getblockhash', _height(row.evidence))}"
    said = earmark("check", "one.earmark", "--operator", sample.did, "--block", block)
    assert (said.status, "existed before" in said.out) == (0, True), said.out
    assert "Bitcoin's own clock is good to about two hours" in " ".join(said.out.split())
    assert earmark("unpack", "one.earmark", "parts").status == 0
    stamp = tmp_path / "parts" / f"statement-{LEAF}.cose.ots"
    assert verify(ots, node, stamp) == 0
    assert verify(ots, node, tmp_path / "parts" / "header.bin.ots") == 0
    right = stamp.read_bytes()
    for place in (-1, len(right) // 2, 70):  # the height; an operation; the first one
        stamp.write_bytes(right[:place] + bytes([right[place] ^ 1]) + right[place:][1:])
        assert verify(ots, node, stamp) != 0
    stamp.write_bytes(right)
    statement = stamp.with_suffix("")
    statement.write_bytes(statement.read_bytes()[:-1] + b"\0")
    assert verify(ots, node, stamp) != 0


def _height(evidence: bytes) -> int:
    height = decode_ots(evidence)[0].attestation.height
    assert height is not None
    return height


def verify(program: str, node: BcoinNode, stamp: Path) -> int:
    """Return the stock client's exit status."""
    command = [program, "--btc-regtest", "--bitcoin-node", node.url, "--no-cache", "verify", str(stamp)]
    alone = {"PATH": os.environ["PATH"], "HOME": str(stamp.parent)}
    return subprocess.run(command, env=alone, capture_output=True, timeout=60).returncode
