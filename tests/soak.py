"""A farm's day under random faults: `python tests/soak.py [--minutes 1440] [--nodes 200] [--report FILE]` (make soak).

Real: the gateway process with its verifiers, store and log; Mosquitto; the nodes' outbox (firmware/outbox.py, on
files); every signature.  Simulated: the time of day, stepped minute by minute, for the gateway by libfaketime; the
nodes, which are objects of this process and share one connection; their sensors.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent / "firmware"))

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

import fault_report
from earmark import ack, cose, operator
from earmark.statement import decode
from farm import Signing
from fault_report import SEED, Counts
from faults import chance, promises_of, reopen
from files import Folder
from outbox import Outbox
from services import GatewayProcess, Mosquitto, free_port, logged, make_farm, wait_for

MINUTE_S = 60
WINDOW = 64
RESEND_MINUTES = 10
BEHIND = 3
PATIENCE_S = 6.0
LINES = "seal_every_s = 60\nseal_after = 5000\n[ingest]\nmost_a_minute = 1000000\n"


class PowerCut(Exception):
    """The node's power went away in the middle of a write."""


class Medium(Folder):
    """A node's files: at a power cut, a prefix of what is being written stays."""

    kept: float | None = None

    def _write(self, path: str, mode: str, pieces: Iterable[bytes]) -> None:
        if self.kept is None:
            super()._write(path, mode, pieces)
            return
        content = b"".join(pieces)
        with open(path, mode) as stream:
            stream.write(content[: int(len(content) * self.kept)])
        self.kept = None
        raise PowerCut


class NoSync:
    """What is written counts as on the medium: only power cuts of the simulation happen to it."""

    def file(self, stream: Any) -> None:
        stream.flush()

    def folder(self, path: str) -> None:
        """Nothing to do."""


class Node:
    """One node: signs, stores, sends, and frees what is acknowledged."""

    def __init__(self, folder: Path, seed: int, *, small: bool) -> None:
        self.signing = Signing(seed, f"n{seed}")
        self._path = str(folder / self.signing.sub)
        self._limits = (24 << 10, 8 << 10) if small else (1 << 20, 16 << 10)
        self.off_until = 0
        self.cuts = 0
        self.clock_step_s = 0
        self._start()

    def _start(self) -> None:
        self.medium = Medium(self._path, NoSync())
        self.outbox = Outbox(self.medium, *self._limits)
        self._sent: dict[int, int] = {}

    def sign(self, minute: int, now_s: int) -> None:
        """Sign one reading, and what had to be given up; a power cut may come in between."""
        try:
            self._store(self.signing.read(minute, **self._claims(now_s)))
            while due := self.outbox.due():
                body = {0: "gap", 1: due[0], 2: due[1], 3: "the outbox was full"}
                self._store(self.signing.say(body, **self._claims(now_s)), due[:2])
        except PowerCut:
            self.cuts += 1
            self._start()

    def _claims(self, now_s: int) -> dict[str, Any]:
        """The claims of the next statement, which follows what the outbox holds."""
        self.signing.seq, self.signing.prev = self.outbox.head
        return {"boot_count": self.cuts + 1, "issued_at_s": now_s + self.clock_step_s}

    def _store(self, raw: bytes, gap: tuple[int, int] | None = None) -> None:
        self.outbox.append(self.signing.seq, raw, None, gap)

    def due(self, minute: int) -> list[bytes]:
        """Return what to send now: the next ones of the window, or all again where one has had no answer for long."""
        self._sent = {seq: at for seq, at in self._sent.items() if self.outbox.waits(seq)}
        if any(minute - at > RESEND_MINUTES for at in self._sent.values()):
            self.again()
        raws = []
        for seq, raw in self.outbox.pending(max(self._sent, default=0)):
            if len(self._sent) >= WINDOW:
                break
            raws.append(raw)
            self._sent[seq] = minute
        return raws

    def again(self) -> None:
        """Begin anew: the connection was lost."""
        self._sent = {}


class Soak:
    """The farm, its nodes, the minute, and what is broken now."""

    def __init__(self, folder: Path, minutes: int, nodes: int) -> None:
        self.minutes, self.minute = minutes, 0
        self.counts = Counts()
        self.kinds: dict[str, int] = {}
        self._draw = chance("soak")
        self._folder = folder
        self._start_s = int(time.time())
        self._clock = folder / "offset"
        self._step_s = 0
        self._heal_at: dict[str, int] = {}
        port = free_port()
        self._broker_folder = folder / "mosquitto"
        self._broker = Mosquitto(self._broker_folder, port)
        self._is_small_disk = self._mount(folder / "farm")
        self.farm = make_farm(folder / "farm", port, embedded=False)
        settings = self.farm.folder / "earmark.toml"
        settings.write_text(settings.read_text().replace("seal_every_s = 0.5\n[ingest]\n", LINES))
        self.promises = promises_of(self.farm)
        self.nodes = [Node(folder, seed, small=seed % 20 == 0) for seed in range(3, 3 + nodes)]
        for node in self.nodes:
            operator.enrol(self.farm, node.signing.key, node.signing.sub)
        self._by_kid = {cose.kid(node.signing.key): node for node in self.nodes}
        self._site = f"earmark/v1/{self.farm.config.farm.site}"
        self._key = self.farm.signer("gateway").key
        self._acks: list[bytes] = []
        self._tell_time()
        self._gateway = GatewayProcess(self.farm, environment=self._environment())
        self._client = self._connect(port)

    def _mount(self, folder: Path) -> bool:
        folder.mkdir()
        size = 64 + self.minutes // 2
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", str(folder)]
        return subprocess.run(command, capture_output=True).returncode == 0

    def _environment(self) -> dict[str, str]:
        [library] = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))[:1]
        environment = {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(self._clock)}
        return environment | {"FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1"}

    def _connect(self, port: int) -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id="soak")
        client.on_connect = self._on_connect
        client.on_message = lambda _, __, message: self._acks.append(bytes(message.payload))
        client.reconnect_delay_set(1, 1)
        client.max_inflight_messages_set(4000)
        client.connect_async("127.0.0.1", port, keepalive=20)
        return client

    def _on_connect(self, client: paho.Client, *_: object) -> None:
        client.subscribe(f"{self._site}/+/down", qos=1)
        for node in self.nodes:
            node.again()

    @property
    def now_s(self) -> int:
        """The simulated time."""
        return self._start_s + self.minute * MINUTE_S

    def _tell_time(self) -> None:
        self._clock.write_text(f"{self.now_s + self._step_s - time.time():+.0f}")

    @property
    def waiting(self) -> int:
        """How many statements have no answer."""
        return sum(node.outbox.count for node in self.nodes)

    def run(self) -> None:
        """Live through all minutes, then mend everything and wait until all is answered."""
        self._broker.start()
        self._gateway.start()
        self._client.loop_start()
        wait_for(lambda: self._client.is_connected() and "connected to" in self._gateway.said, "all are connected")
        while self.minute < self.minutes:
            self._live()
            if self.minute % 60 == 0:
                print(f"{self.minute // 60:>3} h: {self.waiting:,} wait; faults {self.counts.faults:,}", flush=True)
        self._mend(everything=True)
        deadline = time.monotonic() + 300
        while self.waiting:
            assert time.monotonic() < deadline, f"{self.waiting} have no answer: {self._gateway.said[-2000:]}"
            self._live(sign=False)
            time.sleep(0.05)

    def _live(self, *, sign: bool = True) -> None:
        """One minute."""
        self.minute += 1
        self._tell_time()
        if sign:
            self._mend()
            self._break()
        for node in self.nodes:
            if self.minute >= node.off_until:
                if sign:
                    node.sign(self.minute, self.now_s)
                self._send(node)
        self._free()
        deadline = time.monotonic() + PATIENCE_S
        while not self._heal_at and self._is_behind() and time.monotonic() < deadline:
            time.sleep(0.02)
            self._free()

    def _is_behind(self) -> bool:
        """Whether the gateway has more to answer than a few minutes' statements: time waits for it then."""
        present = [node for node in self.nodes if self.minute >= node.off_until and node.clock_step_s <= 0]
        return sum(node.outbox.count for node in present) > BEHIND * len(self.nodes)

    def _send(self, node: Node) -> None:
        if self._client.is_connected():
            for raw in node.due(self.minute):
                self._client.publish(
                    f"{self._site}/{node.signing.sub}/up", raw, qos=0 if self._draw.random() < 0.01 else 1
                )

    def _free(self) -> None:
        while self._acks:
            answer = ack.decode(self._acks.pop(0), self._key)
            node = self._by_kid[answer.kid]
            self._promise(node, answer)
            node.outbox.free(answer.runs, [seq for seq, _ in answer.refused])
            assert not answer.refused, answer.refused

    def _promise(self, node: Node, answer: ack.Acknowledgement) -> None:
        self.promises.checkpoints |= {answer.checkpoint} - {b""}
        for first, last in answer.runs:
            for seq, raw in node.outbox.pending(first - 1):
                if seq > last:
                    break
                self.promises.acknowledged.add(raw)

    # what breaks

    def _break(self) -> None:
        for node in self._draw.sample(self.nodes, 2):
            what = self._draw.choice(["node power cut in a write", "node away", "node clock step"])
            if what == "node power cut in a write":
                node.medium.kept = self._draw.random()
            elif what == "node away":
                node.off_until = self.minute + self._draw.randint(1, 120)
            else:
                node.clock_step_s = self._draw.choice([0, 0, -86_400, -3_600, 1_800])
            self._count(what)
        if not self._heal_at and self._draw.random() < 0.05:
            kinds = ["gateway killed", "broker and its disk lost", "gateway clock step", "power cut of all"]
            kinds += ["disk full"] if self._is_small_disk else []
            what = self._draw.choice(kinds)
            self._heal_at[what] = self.minute + self._draw.randint(1, 20)
            self._count(what)
            self._begin(what)

    def _count(self, what: str) -> None:
        self.counts.faults += 1
        self.kinds[what] = self.kinds.get(what, 0) + 1

    def _begin(self, what: str) -> None:
        if what in ("gateway killed", "power cut of all"):
            self._gateway.kill()
        if what in ("broker and its disk lost", "power cut of all"):
            self._broker.kill()
            for stored in self._broker_folder.glob("*.db"):
                stored.unlink()
        if what == "gateway clock step":
            self._step_s = self._draw.randint(-86_400, 86_400)
        if what == "disk full":
            with (self.farm.folder / "filler").open("ab", buffering=0) as filler, suppress(OSError):
                while True:
                    filler.write(bytes(1 << 14))

    def _mend(self, *, everything: bool = False) -> None:
        for what in [what for what, at in self._heal_at.items() if everything or self.minute >= at]:
            del self._heal_at[what]
            if what in ("broker and its disk lost", "power cut of all"):
                self._broker.start()
            if what in ("gateway killed", "power cut of all"):
                self._gateway.start()
            self._step_s = 0
            (self.farm.folder / "filler").unlink(missing_ok=True)
            self.promises.observe_in(self.farm.database)
        if everything:
            for node in self.nodes:
                node.off_until = 0
        assert "gateway killed" in self._heal_at or "power cut of all" in self._heal_at or self._gateway.is_running, (
            self._gateway.said[-2000:]
        )

    # the end

    def settle(self) -> dict[str, Any]:
        """Check all that was promised, and that every node's chain is whole; returns the counts."""
        assert self._gateway.stop() == 0
        self.counts.acknowledged = len(self.promises.acknowledged)
        reopen(self.farm, self.promises, self.counts)
        found: dict[str, dict[int, Any]] = {node.signing.sub: {} for node in self.nodes}
        for statement in map(decode, logged(self.farm)):
            if statement.sub in found:
                found[statement.sub][statement.seq] = statement
        told = 0
        for node in self.nodes:
            mine = found[node.signing.sub]
            gone = {
                seq for each in mine.values() if each.kind == "gap" for seq in range(each.body[1], each.body[2] + 1)
            }
            missing = set(range(1, node.outbox.head[0] + 1)) - mine.keys()
            assert missing <= gone, f"{node.signing.sub} lacks {sorted(missing - gone)[:9]}"
            told += len(missing)
        return {
            "minutes": self.minutes,
            "nodes": len(self.nodes),
            "logged": sum(map(len, found.values())),
            "given up and told": told,
            "faults by kind": self.kinds,
        } | asdict(self.counts)

    def close(self) -> None:
        """End everything that was started."""
        self._client.disconnect()
        self._client.loop_stop()
        if self._gateway.is_running:
            self._gateway.kill()
        with suppress(AssertionError):
            self._broker.kill()
        if self._is_small_disk:
            subprocess.run(["umount", "-l", str(self.farm.folder)], check=True)


def main() -> int:
    """Run the soak and print what came of it; status 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=1440)
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--report", type=Path, help="write the counts into this JSON file, as `soak`")
    given = parser.parse_args()
    print(f"EARMARK_SEED={SEED}\n{__doc__}")
    folder = Path(tempfile.mkdtemp(prefix="earmark-soak-"))
    began = time.monotonic()
    soak = Soak(folder, given.minutes, given.nodes)
    try:
        soak.run()
        result = soak.settle() | {"seconds": round(time.monotonic() - began)}
    finally:
        soak.close()
    shutil.rmtree(folder)
    for name, value in result.items():
        print(f"{name:>20}: {value}")
    if given.report:
        fault_report.write(given.report, "soak", result)
    return 1 if result["lost"] or result["duplicated"] or result["reissued"] else 0


if __name__ == "__main__":
    sys.exit(main())
