"""The stock OpenTimestamps client against a calendar of our own; and the way from there into a real Bitcoin node."""

import hashlib
import os
import secrets
import subprocess
from pathlib import Path

import pytest

from calendar_scene import Running, serve
from chain_nodes import BcoinNode
from core_like import CoreLike
from earmark import ots as timestamps
from earmark.anchor.bitcoin import BitcoinTarget
from earmark.anchor.rpc import HttpRpc
from earmark.evidence.bitcoin import REGTEST
from services import wait_for

pytest_plugins = ["chain_fixtures"]


class Client:
    """The stock client, with a home folder of its own and no cache."""

    def __init__(self, program: str, home: Path) -> None:
        self.program = program
        self.home = home

    def __call__(self, *words: str) -> str:
        """Return what it says."""
        alone = {"PATH": os.environ["PATH"], "HOME": str(self.home)}
        command = [self.program, "--no-cache", *words]
        done = subprocess.run(command, env=alone, capture_output=True, text=True, timeout=60)
        return done.stdout + done.stderr


@pytest.fixture
def client(ots: str, tmp_path: Path) -> Client:
    return Client(ots, tmp_path)


@pytest.fixture
def stamped(tmp_path: Path) -> Path:
    """Where the client puts the timestamp of a file that is there."""
    (tmp_path / "report.txt").write_text("from the farm")
    return tmp_path / "report.txt.ots"


def test_the_stock_client_stamps_upgrades_and_reads(
    client: Client, stamped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = Running(tmp_path / "calendar")
    with serve(running, monkeypatch):
        running.target.is_down = True
        client("stamp", "-c", running.url, "-m", "1", str(stamped.with_suffix("")))
        digest, [branch] = timestamps.decode_file(stamped.read_bytes())
        assert digest == hashlib.sha256(b"from the farm").digest()
        assert branch.attestation.uri == running.url
        assert f"PendingAttestation('{running.url}')" in client("info", str(stamped))
        assert "Pending confirmation in Bitcoin blockchain" in client("-l", running.url, "upgrade", str(stamped))
        running.target.is_down = False
        commitment = timestamps.commit(digest, branch.ops)
        wait_for(lambda: running.is_complete(commitment), "the way to a block is there")
        assert "Success! Timestamp complete" in client("-l", running.url, "upgrade", str(stamped))
    said = client("info", str(stamped))
    _, branches = timestamps.decode_file(stamped.read_bytes())
    [whole] = [one for one in branches if one.attestation.height]
    height = whole.attestation.height
    assert f"BitcoinBlockHeaderAttestation({height})" in said
    assert timestamps.commit(digest, whole.ops) == running.chain.headers[height or 0][36:68]


def test_many_farms_share_a_transaction_on_a_real_node_and_the_stock_client_verifies(
    client: Client, stamped: Path, fresh_bcoin_node: BcoinNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = fresh_bcoin_node
    running = Running(tmp_path / "calendar")
    with CoreLike(node) as core:
        target = BitcoinTarget(HttpRpc(core.url), REGTEST, secrets.token_bytes(32))
        node.fund(target.address)
        with serve(running, monkeypatch, target):
            client("stamp", "-c", running.url, "-m", "1", str(stamped.with_suffix("")))
            digest, [branch] = timestamps.decode_file(stamped.read_bytes())
            farms = [running.submit(secrets.token_bytes(32)) for _ in range(3)]
            commitments = [timestamps.commit(digest, branch.ops), *farms]

            def is_complete() -> bool:
                node.mine(2)
                return all(running.rest(one)[0] == 200 for one in commitments)

            wait_for(is_complete, "all have their way to a block")
            assert "Success! Timestamp complete" in client("-l", running.url, "upgrade", str(stamped))
        bitcoin = ("--btc-regtest", "--bitcoin-node", node.url)
        assert "Success! Bitcoin block" in client(*bitcoin, "verify", str(stamped))
        stamped.with_suffix("").write_text("from elsewhere")
        assert "Success" not in client(*bitcoin, "verify", str(stamped))
