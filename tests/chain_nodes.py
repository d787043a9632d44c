"""Real chain nodes in processes of their own, on loopback: bcoin for Bitcoin (regtest), anvil for Ethereum.

tools/chains.sh installs both.  bcoin is a full node, but no Bitcoin Core: `core_like.CoreLike` in front of it answers
what targets ask and it lacks.  Each ends with its block, and with the process that started it, even if that is killed.
"""

import base64
import contextlib
import http.client
import json
import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from embit import bech32

import interpreters
from bench.processes import running
from earmark.anchor.rpc import HttpRpc
from earmark.errors import AnchorError
from earmark.process import bound_to_us
from services import free_port

START_S = 60.0
CALL_S = 60.0
SEGWIT = 432
"""Blocks after which regtest has segwit: three windows of 144."""

API_KEY = "k"
_PREFIX, _CORES_PREFIX = "rb", "bcrt"
NOBODY = cast(str, bech32.encode(_PREFIX, 0, bytes(20)))
"""An address that nobody has a key for."""

_INSTALLED = Path(__file__).resolve().parent.parent / ".cache" / "chains" / "node_modules"
_AT_ONCE = 48  # blocks a call, so that each is answered long before CALL_S


class MissingChainNode(Exception):
    """A chain node is not installed; the message says which, and what to do."""


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """Have a chain node that is missing fail the test where it is required, else skip it."""
    try:
        yield
    except MissingChainNode as missing:
        if interpreters.required():
            pytest.fail(str(missing))
        pytest.skip(str(missing))


class BcoinNode:
    """A Bitcoin node on regtest, at a port; it indexes transactions and addresses and has no wallet.

    Addresses of its own begin with `rb1`; where this class takes one, Bitcoin Core's `bcrt1` will do as well.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://x:{API_KEY}@127.0.0.1:{port}"
        self._rpc = HttpRpc(self.url, CALL_S)

    def rpc(self, method: str, *params: Any) -> Any:
        """Return the result of a call; `RpcError` for an error answer, `AnchorError` for none."""
        return self._rpc.call(method, list(params))

    def mine(self, count: int = 1, address: str = NOBODY) -> list[str]:
        """Mine so many blocks, whose rewards go to an address, and return their hashes."""
        hashes: list[str] = []
        while len(hashes) < count:
            hashes += self.rpc("generatetoaddress", min(_AT_ONCE, count - len(hashes)), own_address(address))
        return hashes

    def fund(self, address: str) -> None:
        """Have an address hold a block's reward that may be spent, which takes 100 blocks more."""
        self.mine(1, address)
        self.mine(100)

    def reorg(self, depth: int) -> None:
        """Replace so many of the newest blocks by empty ones; their transactions are gone, also from the pool."""
        first = self.rpc("getblockcount") - depth + 1
        self.rpc("invalidateblock", self.rpc("getblockhash", first))
        self.mine(depth, witness_address(secrets.token_bytes(20)))

    def coins(self, address: str) -> list[dict[str, Any]]:
        """Return the unspent outputs of an address, those in the pool (at height −1) too and those spent there not."""
        return cast(list[dict[str, Any]], self.get(f"/coin/address/{own_address(address)}"))

    def offer(self, raw: str) -> None:
        """Offer a transaction; when this returns it is in the pool, or was rejected: bcoin does not say which."""
        with contextlib.suppress(RuntimeError):
            self._ask("POST", "/broadcast", json.dumps({"tx": raw}))

    def get(self, path: str) -> Any:
        """Return what its REST interface has at a path; RuntimeError where it has nothing."""
        return self._ask("GET", path)

    def _ask(self, method: str, path: str, body: str | None = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=CALL_S)
        try:
            pair = base64.b64encode(f"x:{API_KEY}".encode()).decode()
            headers = {"Authorization": f"Basic {pair}", "Content-Type": "application/json"}
            connection.request(method, path, body, headers)
            with connection.getresponse() as response:
                answer = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise RuntimeError(f"bcoin answered {path} with HTTP {response.status}: {answer[:200]!r}")
        return json.loads(answer)


class AnvilNode:
    """An Ethereum node of development, at a URL; a block is final once two more stand on it."""

    chain = "eip155:31337"

    def __init__(self, url: str) -> None:
        self.url = url
        self._rpc = HttpRpc(url, CALL_S)

    def rpc(self, method: str, *params: Any) -> Any:
        """Return the result of a call; `RpcError` for an error answer, `AnchorError` for none."""
        return self._rpc.call(method, list(params))

    def mine(self, count: int = 1) -> None:
        """Mine so many blocks, the first with what waits."""
        self.rpc("anvil_mine", hex(count))

    def reorg(self, depth: int) -> None:
        """Replace so many of the newest blocks by empty ones; their transactions are gone, also from the pool."""
        self.rpc("anvil_reorg", depth, [])

    def set_automine(self, on: bool) -> None:
        """Mine a block for each transaction, soon after its call is answered, or leave all waiting until `mine`."""
        self.rpc("evm_setAutomine", on)

    def fund(self, address: str, wei: int = 10**18) -> None:
        """Have an account hold so much."""
        self.rpc("anvil_setBalance", address, hex(wei))


@contextlib.contextmanager
def bcoin(folder: Path) -> Iterator[BcoinNode]:
    """Run a Bitcoin node, its chain empty and in memory, for the length of the block; `folder` takes its log."""
    command = [*_bcoin_command(), "--network=regtest", "--memory=true", f"--prefix={folder}", f"--api-key={API_KEY}"]
    port = free_port()
    command += ["--http-host=127.0.0.1", f"--http-port={port}", "--index-tx=true", "--index-address=true"]
    # One process; and its only peer is where nobody listens, so that it looks for no other.
    command += ["--no-wallet=true", "--workers=false", "--listen=false", "--only=127.0.0.1:1"]
    with _running(command, folder, NODE_BACKEND="js") as (process, log):
        node = BcoinNode(port)

        def answers() -> bool:
            with contextlib.suppress(AnchorError):
                return cast(int, node.rpc("getblockcount")) == 0
            return False

        _wait_for(answers, process, log)
        yield node


@contextlib.contextmanager
def anvil(folder: Path, *, hardfork: str = "", automine: bool = True) -> Iterator[AnvilNode]:
    """Run an Ethereum node, at a fork where one is named, for the length of the block; `folder` takes its log."""
    command = [_anvil_program(), "--host", "127.0.0.1", "--port", "0", "--slots-in-an-epoch", "1"]
    command += ["--hardfork", hardfork] if hardfork else []
    command += [] if automine else ["--no-mining"]
    with _running(command, folder) as (process, log):
        said = re.compile(r"Listening on (\S+)")
        _wait_for(lambda: bool(said.search(log.read_text())), process, log)
        found = said.search(log.read_text())
        assert found is not None
        yield AnvilNode(f"http://{found[1]}")


def own_address(address: str) -> str:
    """Return an address as bcoin writes it: where it is Bitcoin Core's `bcrt1…`, with the other prefix."""
    if not address.startswith(f"{_CORES_PREFIX}1"):
        return address
    version, program = bech32.decode(_CORES_PREFIX, address)
    if version is None:
        raise ValueError(f"{address} is no address")
    return cast(str, bech32.encode(_PREFIX, version, program))


def witness_address(program: bytes) -> str:
    """Return the address of a witness program of version 0 as bcoin writes it."""
    return cast(str, bech32.encode(_PREFIX, 0, program))


def _bcoin_command() -> list[str]:
    program, interpreter = _INSTALLED / "bcoin" / "bin" / "node", shutil.which("node")
    if interpreter is None or not program.exists():
        raise MissingChainNode(f"no bcoin at {program} or no node to run it: run tools/chains.sh")
    return [interpreter, str(program)]


def _anvil_program() -> str:
    program = next(_INSTALLED.glob("@foundry-rs/anvil-*/bin/anvil"), None)
    if program is None:
        raise MissingChainNode(f"no anvil in {_INSTALLED}: run tools/chains.sh")
    return str(program)


@contextlib.contextmanager
def _running(
    command: Sequence[str], folder: Path, **environment: str
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Run a node that knows nothing of this machine's settings: no variable, no file of the home folder."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "node.log"
    log.unlink(missing_ok=True)
    known = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder), **environment}
    alone = ["env", "-i", *(f"{name}={value}" for name, value in known.items())]
    with running(bound_to_us([*alone, *command]), log, folder) as process:
        yield process, log


def _wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Return as soon as the condition holds; RuntimeError where the process ends or does not get there."""
    deadline = time.monotonic() + START_S
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"a chain node does not answer: {log.read_text()[-1000:]}")
        time.sleep(0.02)
