"""A farm on which things are made to fail: real gateway, real broker, and nodes that send until they are answered."""

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from earmark import operator
from farm import Signing
from fault_report import Counts
from faults import chance, promises_of, reopen
from services import GatewayProcess, Mosquitto, TestNode, free_port, make_farm

BETWEEN_S = 0.02


class Scene:
    """The farm, its processes and nodes; a context that ends them.  `port` is where the nodes reach the broker.

    `kind` is "embedded" or "mosquitto"; `gateway_port` leads the gateway to its broker another way, such as a proxy;
    `environment` is added to that of the gateway.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        counts: Counts,
        kind: str = "mosquitto",
        *,
        nodes: int = 3,
        gateway_port: int = 0,
        port: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.chance = chance(name)
        self.counts = counts
        self.port = port or free_port()
        self.mosquitto = Mosquitto(folder / "mosquitto", self.port) if kind == "mosquitto" else None
        self.farm = make_farm(folder / "farm", gateway_port or self.port, embedded=kind == "embedded")
        self.promises = promises_of(self.farm)
        self.gateway = GatewayProcess(self.farm, environment=environment)
        self.nodes: list[TestNode] = []
        self._seeds = range(3, 3 + nodes)

    def __enter__(self) -> "Scene":
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        if self.mosquitto:
            self.mosquitto.start()
        for seed in self._seeds:
            operator.enrol(self.farm, Signing(seed, f"n{seed}").key, f"n{seed}")
        self.gateway.start()
        self.nodes += [TestNode(self.farm, self.port, seed, f"n{seed}") for seed in self._seeds]
        for node in self.nodes:
            node.say(node.signing.read())
            node.send_until_acknowledged()

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.close()
        if self.gateway.is_running:
            self.gateway.stop()
        if self.mosquitto:
            self.mosquitto.kill()

    def rounds(self, runs: int, most_s: float = 0.6) -> Iterator[None]:
        """Each round: the nodes talk for a random while, the caller breaks something, and all is settled."""
        for _ in range(runs):
            self.talk(self.chance.uniform(0.02, most_s))
            yield
            self.settle()

    def talk(self, seconds: float) -> None:
        """Let every node sign and send, again and again, for a while."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for node in self.nodes:
                raw = node.signing.read(self.chance.randrange(4000))
                node.say(raw)
                node.publish(raw)
            time.sleep(BETWEEN_S)

    def settle(self) -> None:
        """Wait until every node has its answer, then open the store anew and check it all."""
        for node in self.nodes:
            node.send_until(lambda node=node: self._is_answered(node), f"{node.signing.sub} is answered in full")
        self.check()

    def _is_answered(self, node: TestNode) -> bool:
        assert self.gateway.is_running, f"the gateway ended: {self.gateway.said[-2000:]}"
        return not node.waiting

    def check(self) -> None:
        """Check what was promised until now against a new look at the store."""
        for node in self.nodes:
            self.promises.acknowledged |= {node.said[seq] for seq in node.acknowledged}
            self.promises.checkpoints |= node.checkpoints
        self.counts.acknowledged = len(self.promises.acknowledged)
        reopen(self.farm, self.promises, self.counts)
        self.promises.observe_in(self.farm.database)

    def broke(self, count: int = 1) -> None:
        """Count what was broken."""
        self.counts.faults += count

    def broker_process(self) -> psutil.Process | None:
        """The embedded broker, where it runs now."""
        return next((child for child in self._children() if _says(child, "nats-server")), None)

    def workers(self) -> list[psutil.Process]:
        """The gateway's own child processes that verify; skips where it has none."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            children = [child for child in self._children() if _says(child, "earmark.verifier")]
            if children:
                return children
            time.sleep(0.05)
        pytest.skip("this gateway verifies in its own process: there are no verifiers to break")

    def kill_all(self) -> None:
        """End the gateway, its children and its broker at one moment, as a power cut does."""
        doomed = self._children()
        if self.mosquitto:
            self.mosquitto.kill()
        self.gateway.kill()
        for process in doomed:
            _kill(process)

    def _children(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.gateway.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []


def searching(folder: Path) -> dict[str, str]:
    """Return the environment in which Python looks into a folder first."""
    return {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])}


def _says(process: psutil.Process, word: str) -> bool:
    try:
        return any(word in part for part in process.cmdline())
    except psutil.Error:
        return False


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
        process.wait(10)
    except psutil.Error:
        pass
