"""A fast day of real nodes under faults: `python tests/node_soak.py [--hours 24] [--speed 200]` (make soak).

Real: the firmware in MicroPython, 64-bit and 32-bit, always on and in deep sleep (tests/fast_node.py), a process each;
Mosquitto; the gateway.  Doubles: the chip below the firmware, its Wi-Fi, the DNS and the NTP server.  The gateway's
clock is fast by libfaketime.  At the end every statement that a node signed is in the log once, its chain is whole, no
clock went wrong by more than the statements say, and no watchdog would have reset a board.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent / "firmware"))

import fault_report
import interpreters
from earmark import operator
from earmark.cose import key_of
from earmark.statement import Statement, decode
from fault_report import SEED
from faults import chance
from files import Folder
from mqtt_proxy import Proxy
from outbox import Outbox
from services import GatewayProcess, Mosquitto, free_port, logged, make_farm, wait_for

ROOT = Path(__file__).resolve().parent.parent
SLEPT = 42
TICK_S = 0.05
STALL_S = 0.15
"""Real seconds for which this machine may stop a process anywhere; the fast clock makes minutes of them."""
LINES = "seal_every_s = 300\nseal_after = 5000\n[ingest]\nmost_a_minute = 1000000\nack_every_s = 0.1\n"
NAME = "broker.farm"
FAULTS = ("broker killed", "broker mute", "gateway killed", "connections cut", "Wi-Fi away", "DNS away", "NTP away")
OF_NODES = ("node killed", "port's clock stepped")


class NoSync:
    """Nothing is written here."""

    def file(self, stream: Any) -> None:
        """Nothing to do."""

    def folder(self, path: str) -> None:
        """Nothing to do."""


class Datagrams:
    """A UDP server on loopback that answers, or not."""

    def __init__(self, answer: Any) -> None:
        self.is_away = False
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._answer = answer
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                question, who = self._socket.recvfrom(512)
                if question and not self.is_away:
                    self._socket.sendto(self._answer(question), who)

    def close(self) -> None:
        self._socket.close()


def dns_answer(question: bytes) -> bytes:
    """Every name is at 127.0.0.1."""
    record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + bytes([127, 0, 0, 1])
    return question[:2] + b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00" + question[12:] + record


class FastNode:
    """One node's folder and its process, started anew at each wake."""

    def __init__(self, folder: Path, interpreter: list[str], name: str, mode: str) -> None:
        self.folder, self.name, self.mode = folder / name, name, mode
        self.folder.mkdir()
        self.control = folder / f"{name}.json"
        self.log = folder / f"{name}.log"
        self._command = [
            *interpreter,
            str(ROOT / "tests" / "fast_node.py"),
            str(self.control),
            "--dir",
            str(self.folder),
        ]
        self._plain = [*interpreter, str(ROOT / "firmware" / "main.py"), "--dir", str(self.folder), "--identity"]
        self.process: subprocess.Popen[bytes] | None = None
        self.wakes = 0

    def key(self) -> bytes:
        run = subprocess.run(self._plain, capture_output=True, text=True, timeout=60, check=True)
        return key_of(run.stdout.strip())

    def start(self, *more: str) -> None:
        with self.log.open("ab") as log:
            environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
            self.process = subprocess.Popen([*self._command, *more], stdout=log, stderr=log, env=environment)

    def kill(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(20)

    def live(self) -> None:
        """Wake it where it sleeps and its time has come."""
        assert self.process is not None
        status = self.process.poll()
        if status is None:
            return
        assert status == SLEPT, f"{self.name} ended with status {status}:\n{self.log.read_text()[-3000:]}"
        if time.time() * 1000 >= int((self.folder / "wakes_at").read_text()):
            self.wakes += 1
            self.start("--woken")

    @property
    def head(self) -> int:
        """The last `seq` that it signed."""
        [own] = (self.folder / "outbox").iterdir()
        seq: int = Outbox(Folder(str(own), NoSync()), 1 << 22, 1 << 14).head[0]
        assert seq, f"{self.name} signed nothing"
        return seq


class NodeSoak:
    """The farm, its nodes, its time, and what is broken now."""

    def __init__(self, folder: Path, hours: float, speed: int) -> None:
        self.speed, self._end_s = speed, hours * 3600
        self.kinds: Counter[str] = Counter()
        self._draw = chance("node soak")
        self._heal_at: dict[str, float] = {}
        self._offset = folder / "offset"
        self._unix_s = int(time.time()) - 7 * 86_400
        self._began_ms = time.time_ns() // 1_000_000
        port = free_port()
        self._broker = Mosquitto(folder / "mosquitto", port)
        self.farm = make_farm(folder / "farm", port, embedded=False)
        settings = self.farm.folder / "earmark.toml"
        text = settings.read_text()
        settings.write_text(text.replace("seal_every_s = 0.5\n[ingest]\nack_every_s = 0.1\n", LINES))
        assert LINES in settings.read_text()
        self._dns = Datagrams(dns_answer)
        self._ntp = Datagrams(self._ntp_answer)
        self.nodes = [
            FastNode(folder, command, f"{mode}-{name[-2:]}", mode)
            for name, command in interpreters.interpreters()
            if name != "cpython"
            for mode in ("always-on", "deep-sleep")
        ]
        self._proxies = {}
        for node in self.nodes:
            operator.enrol(self.farm, node.key(), node.name)
            self._proxies[node.name] = Proxy(port, self._draw)
            self._configure(node, mode=node.mode, sensors=[{"driver": "modelled"}, {"driver": "waiting"}])
            self._tell(node)
        self._gateway = GatewayProcess(self.farm, environment=self._environment())

    def _configure(self, node: FastNode, **more: Any) -> None:
        host, retry = {"host": NAME, "port": self._proxies[node.name].port}, {"retry_s": [20, 300]}
        settings = {
            "site": self.farm.config.farm.site,
            "name": node.name,
            "gateway_key": self.farm.signer("gateway").key.hex(),
            "broker": host | retry | {"keepalive_s": 900, "connect_s": 1200},
            "wifi": {"ssid": "barn", "password": "p"},
            "ntp_host": "ntp.farm",
            "interval_s": 60 if node.mode == "always-on" else 300,
            "send_every": 3,
            "awake_s": 300,
            "resend_s": 600,
            "status_s": 3600,
        }
        (node.folder / "node.json").write_text(json.dumps(settings | more))

    def _tell(self, node: FastNode, **changes: Any) -> None:
        """What the chip of a node is to find."""
        said = {"speed": self.speed, "began_ms": self._began_ms, "unix_s": self._unix_s, "port_s": 0}
        said |= {"dns": self._dns.port, "ntp": self._ntp.port, "wifi": "Wi-Fi away" not in self._heal_at} | changes
        new = node.control.with_suffix(".new")
        new.write_text(json.dumps(said))
        new.rename(node.control)

    def _environment(self) -> dict[str, str]:
        [library] = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))[:1]
        environment = {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(self._offset)}
        return environment | {"FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1"}

    @property
    def passed_s(self) -> float:
        """How much of the soak's time is over."""
        return (time.time_ns() // 1_000_000 - self._began_ms) * self.speed / 1000

    def _ntp_answer(self, question: bytes) -> bytes:
        now = self._unix_s + self.passed_s + 2_208_988_800
        stamp = struct.pack(">II", int(now) & 0xFFFFFFFF, int(now % 1 * (1 << 32)))
        return b"\x24\x02\x00\x00" + bytes(20) + question[40:48] + stamp + stamp

    def _tell_time(self) -> None:
        self._offset.write_text(f"{self._unix_s + self.passed_s - time.time():+.1f}")

    def run(self) -> None:
        """Live to the end of the day, mend everything, and let the nodes send what is left."""
        self._broker.start()
        self._tell_time()
        self._gateway.start()
        wait_for(lambda: "connected to" in self._gateway.said, "the gateway is connected")
        for node in self.nodes:
            node.start()
        hour = 0
        while self.passed_s < self._end_s:
            self._turn()
            if self.passed_s // 3600 > hour:
                hour = int(self.passed_s // 3600)
                print(f"{hour:>3} h: faults {self.kinds.total()}", flush=True)
        self._mend(everything=True)
        for node in self.nodes:
            node.kill()
            self._configure(node, mode="always-on", sensors=[], exit_when_done=True)
            self._tell(node)
            node.start()
        deadline = time.monotonic() + 60
        while any(node.process and node.process.poll() is None for node in self.nodes):
            assert time.monotonic() < deadline, self._last_words()
            self._tell_time()
            time.sleep(TICK_S)
        assert [node.process and node.process.returncode for node in self.nodes] == [0] * len(self.nodes), (
            self._last_words()
        )

    def _last_words(self) -> str:
        return "\n".join(node.log.read_text()[-1500:] for node in self.nodes) + self._gateway.said[-1500:]

    def _turn(self) -> None:
        self._tell_time()
        self._mend()
        self._break()
        for node in self.nodes:
            node.live()
        if not {"gateway killed"} & self._heal_at.keys():
            assert self._gateway.is_running, self._gateway.said[-2000:]
        time.sleep(TICK_S)

    def _break(self) -> None:
        minutes = TICK_S * self.speed / 60
        if len(self._heal_at) < 2 and self._draw.random() < minutes / 30:
            broken = {fault.split()[0] for fault in self._heal_at}  # a dead broker is not silenced as well
            self._begin(self._draw.choice([fault for fault in FAULTS if fault.split()[0] not in broken]))
        if self._draw.random() < minutes / 40:
            node, what = self._draw.choice(self.nodes), self._draw.choice(OF_NODES)
            self.kinds[what] += 1
            if what == "node killed":
                node.kill()
                node.start()
            else:
                self._tell(node, port_s=self._draw.randint(-86_400, 86_400))

    def _begin(self, what: str) -> None:
        self.kinds[what] += 1
        self._heal_at[what] = self.passed_s + self._draw.randint(120, 3600)
        if what == "broker killed":
            self._broker.kill()
        elif what == "broker mute":
            os.kill(self._broker.pid, signal.SIGSTOP)
        elif what == "gateway killed":
            self._gateway.kill()
        elif what == "connections cut":
            for proxy in self._proxies.values():
                proxy.cut_after(self._draw.randint(1, 400))
        elif what == "Wi-Fi away":
            for proxy in self._proxies.values():
                proxy.cut_after(1)
            for node in self.nodes:
                self._tell(node)
        self._dns.is_away, self._ntp.is_away = "DNS away" in self._heal_at, "NTP away" in self._heal_at

    def _mend(self, *, everything: bool = False) -> None:
        for what in [what for what, at in self._heal_at.items() if everything or self.passed_s >= at]:
            del self._heal_at[what]
            if what == "broker killed":
                self._broker.start()
            elif what == "broker mute":
                os.kill(self._broker.pid, signal.SIGCONT)
            elif what == "gateway killed":
                self._gateway.start()
            elif what == "Wi-Fi away":
                for node in self.nodes:
                    self._tell(node)
        self._dns.is_away, self._ntp.is_away = "DNS away" in self._heal_at, "NTP away" in self._heal_at

    def settle(self) -> dict[str, Any]:
        """Check every chain against what its node signed; returns the counts."""
        assert self._gateway.stop() == 0
        for node in self.nodes:
            assert "is stuck" not in node.log.read_text(), f"{node.name} would have been reset"
        found: dict[str, list[tuple[Statement, bytes]]] = {node.name: [] for node in self.nodes}
        for raw in logged(self.farm):
            statement = decode(raw)
            if statement.sub in found:
                found[statement.sub].append((statement, raw))
        signed = lost = twice = 0
        sources: Counter[int] = Counter()
        for node in self.nodes:
            said = sorted(found[node.name], key=lambda pair: pair[0].seq)
            seqs = [statement.seq for statement, _ in said]
            signed += node.head
            lost += len(set(range(1, node.head + 1)) - set(seqs))
            twice += len(seqs) - len(set(seqs))
            _check_chain(node.name, said)
            _check_clocks(node.name, [statement for statement, _ in said], round(STALL_S * self.speed))
            sources.update(statement.clock.source for statement, _ in said)
        return {
            "hours": self._end_s / 3600,
            "nodes": len(self.nodes),
            "signed": signed,
            "logged": sum(map(len, found.values())),
            "lost": lost,
            "twice": twice,
            "wakes": sum(node.wakes for node in self.nodes),
            "boots": sum(statement.kind == "boot" for said in found.values() for statement, _ in said),
            "clock": {name: sources[number] for number, name in enumerate(("unset", "kept", "NTP", "gateway"))},
            "faults by kind": dict(self.kinds),
        }

    def close(self) -> None:
        """End everything that was started."""
        for node in self.nodes:
            node.kill()
        if self._gateway.is_running:
            self._gateway.kill()
        with suppress(AssertionError):
            self._broker.kill()
        for proxy in self._proxies.values():
            proxy.close()
        self._dns.close()
        self._ntp.close()


def _check_chain(name: str, said: list[tuple[Statement, bytes]]) -> None:
    """Each statement names the one before by its entry."""
    before = bytes(32)
    for statement, _ in said:
        assert statement.prev == before, f"{name}: seq {statement.seq} does not follow"
        before = statement.entry


def _check_clocks(name: str, said: list[Statement], slack_s: int) -> None:
    """Within one start, the times of neighbours agree with their uptimes to within what both state."""
    for before, now in pairwise(said):
        if before.boot_count != now.boot_count:
            assert now.boot_count > before.boot_count, f"{name}: seq {now.seq} has an older boot count"
            continue
        passed_s = now.clock.uptime_s - before.clock.uptime_s
        assert passed_s >= 0, f"{name}: the uptime of seq {now.seq} went back"
        if before.clock.source and now.clock.source:
            off_s = abs(now.issued_at_s - before.issued_at_s - passed_s)
            bound_s = before.clock.error_s + now.clock.error_s + 2 + slack_s
            assert off_s <= bound_s, f"{name}: seq {now.seq} is off by {off_s} s, {bound_s} s are stated"


def main() -> int:
    """Run the soak and print what came of it; status 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--speed", type=int, default=200)
    parser.add_argument("--report", type=Path, help="write the counts into this JSON file, as `node_soak`")
    given = parser.parse_args()
    print(f"EARMARK_SEED={SEED}\n{__doc__}")
    folder = Path(tempfile.mkdtemp(prefix="earmark-node-soak-"))
    began = time.monotonic()
    soak = NodeSoak(folder, given.hours, given.speed)
    try:
        soak.run()
        result = soak.settle() | {"seconds": round(time.monotonic() - began)}
    finally:
        soak.close()
    if not os.environ.get("EARMARK_KEEP"):
        shutil.rmtree(folder)
    for name, value in result.items():
        print(f"{name:>16}: {value}")
    if given.report:
        fault_report.write(given.report, "node_soak", result)
    return 1 if result["lost"] or result["twice"] or result["logged"] != result["signed"] else 0


if __name__ == "__main__":
    sys.exit(main())
