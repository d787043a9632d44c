"""Simulated nodes in one process, as cheap as they can be: a connection each, packets made beforehand, one epoll.

A program: its first line on stdin is the plan in JSON; then each line is a rate in messages a second, or `stop`.  It
says `ready` when all nodes are connected and subscribed, and after `stop`, once the broker acknowledged all it was
sent, {"sent": …, "acknowledged": …, "answers": …}; `answers` counts the gateway's acknowledgements that came.
"""

import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import Self

from bench.farms import SITE, names, read

HERE = Path(__file__).resolve().parents[1]
TICK_S = 0.002
LOOK_S = 0.02
MOST_TICKS = 10  # what a tick that came late may catch up
IN_FLIGHT = 64
END_S = 30.0
PUBACK, PUBLISH = 0x40, 0x30


@dataclass(frozen=True, slots=True)
class Plan:
    """Who connects where and says what: users are (user, password) by node."""

    port: int
    nodes: list[str]
    users: list[tuple[str, str]]
    statements: str


class Publisher:
    """The process, and what is said to it."""

    def __init__(self, port: int, users: list[tuple[str, str]], statements: Path) -> None:
        """Start it and wait until all nodes are connected; `users` are theirs, in the order of `farms.names`."""
        plan = Plan(port, names(len(users)), users, str(statements))
        command = [sys.executable, "-m", "bench.publisher"]
        self.process = subprocess.Popen(command, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._say(json.dumps(asdict(plan)))
        assert self.process.stdout
        said = self.process.stdout.readline().strip()
        if said != "ready":
            self.process.communicate()
            raise RuntimeError(f"the nodes could not connect: {said}")

    def set_rate(self, per_s: float) -> None:
        """Pace it from now on."""
        self._say(str(per_s))

    def stop(self) -> dict[str, int]:
        """End it and return its counts."""
        said, _ = self.process.communicate("stop\n", timeout=2 * END_S)
        counts: dict[str, int] = json.loads(said)
        return counts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def _say(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()


def text(value: str) -> bytes:
    """Return an MQTT string."""
    return len(value.encode()).to_bytes(2, "big") + value.encode()


def packet(first: int, body: bytes) -> bytes:
    """Return an MQTT packet."""
    size, head = len(body), bytearray([first])
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head) + body


class Node:
    """One connection."""

    def __init__(self, port: int, name: str, user: tuple[str, str]) -> None:
        """Connect, and subscribe to the node's acknowledgements, as the firmware does."""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._name = name
        self.sent = self.acknowledged = self.answers = 0
        self.answer = b""
        self._rest = b""
        hello = text("MQTT") + b"\x04\xc2\x00\x00" + text(f"earmark-{SITE}-{name}") + text(user[0]) + text(user[1])
        self._ask(packet(0x10, hello), b"\x20\x02\x00\x00")
        topic = f"earmark/v1/{SITE}/{name}/down"
        self._ask(packet(0x82, b"\x00\x01" + text(topic) + b"\x00"), b"\x90\x03\x00\x01\x00")

    def _ask(self, question: bytes, answer: bytes) -> None:
        self.socket.sendall(question)
        came = self.socket.recv(len(answer), socket.MSG_WAITALL)
        if came != answer:
            raise RuntimeError(f"{self._name}: the broker answered {came.hex() or 'nothing'}, not {answer.hex()}")

    def receive(self) -> None:
        """Take in what came: PUBACKs are counted, the gateway's acknowledgements counted."""
        came = self._rest + self.socket.recv(65_536, socket.MSG_DONTWAIT)
        count = len(came) // 4
        if count * 4 == len(came) and came[::4] == b"@" * count:
            self.acknowledged += count
            self._rest = b""
            return
        at = 0
        while (whole := next_packet(came, at)) is not None:
            body, end = whole
            if came[at] == PUBACK:
                self.acknowledged += 1
            elif came[at] & 0xF0 == PUBLISH:
                self._answer(came, body, end)
            else:
                raise RuntimeError(f"the broker sent packet type {came[at] >> 4}")
            at = end
        self._rest = came[at:]

    def _answer(self, came: bytes, body: int, end: int) -> None:
        """Keep the newest message of the gateway; it comes at QoS 0."""
        place = body + 2 + int.from_bytes(came[body : body + 2], "big")
        self.answers += 1
        self.answer = came[place:end]


def next_packet(came: bytes, at: int) -> tuple[int, int] | None:
    """Return where the body of the packet at `at` begins and ends, None where it is not all there."""
    size = shift = 0
    place = at + 1
    while place < len(came):
        octet = came[place]
        size |= (octet & 0x7F) << shift
        shift += 7
        place += 1
        if octet < 0x80:
            return (place, place + size) if place + size <= len(came) else None
    return None


def packets(plan: Plan) -> list[bytes]:
    """Return the PUBLISH packets at QoS 1 of all statements, in the file's order: each node's turn comes round."""
    topics = [text(f"earmark/v1/{SITE}/{name}/up") for name in plan.nodes]
    return [publish(topics, number, raw) for number, raw in enumerate(read(Path(plan.statements)))]


def publish(topics: Sequence[bytes], number: int, raw: bytes) -> bytes:
    """Return the PUBLISH at QoS 1 of the statement at this place of the file."""
    turn, node = divmod(number, len(topics))
    return packet(0x32, topics[node] + (turn % 0xFFFF + 1).to_bytes(2, "big") + raw)


class Commands:
    """Lines on an unbuffered stdin, read without waiting: a rate, or the end."""

    def __init__(self, stdin: FileIO) -> None:
        self._stdin = stdin
        self.rate = 0.0
        self.is_over = False

    def take(self) -> None:
        """Take in what was said."""
        while not self.is_over and select.select([self._stdin], [], [], 0)[0]:
            line = self._stdin.readline().strip()
            if line in (b"", b"stop"):
                self.is_over = True
            else:
                self.rate = float(line)


def pace(nodes: Sequence[Node], made: Sequence[bytes], poll: select.epoll, commands: Commands) -> int:
    """Send at the rate that was last said, a few messages a tick, each by the next node; return how many were sent.

    A node with `IN_FLIGHT` messages that the broker has not acknowledged holds all back.
    """
    by_file = {node.socket.fileno(): node for node in nodes}
    sent, due, last, look_at, count = 0, 0.0, time.monotonic(), 0.0, len(nodes)
    while not commands.is_over:
        now = time.monotonic()
        due = min(due + (now - last) * commands.rate, MOST_TICKS * TICK_S * commands.rate + 1)
        last = now
        while due >= 1:
            if sent == len(made):
                raise RuntimeError(f"all {sent} statements are sent: make more of them")
            node = nodes[sent % count]
            if node.sent - node.acknowledged >= IN_FLIGHT:
                break
            node.socket.sendall(made[sent])
            node.sent += 1
            sent += 1
            due -= 1
        if now >= look_at:
            look_at = now + LOOK_S
            for number, _ in poll.poll(0, count):
                by_file[number].receive()
            commands.take()
        time.sleep(max(0.0, TICK_S - (time.monotonic() - now)))
    return sent


def run(plan: Plan, stdin: FileIO) -> dict[str, int]:
    """Connect all, send until told to stop, and wait for the broker's last acknowledgement."""
    made = packets(plan)
    try:
        nodes = [Node(plan.port, name, user) for name, user in zip(plan.nodes, plan.users, strict=True)]
    except (RuntimeError, OSError) as error:
        print(error, flush=True)
        sys.exit(1)
    poll = select.epoll()
    for node in nodes:
        poll.register(node.socket, select.EPOLLIN)
    print("ready", flush=True)
    sent = pace(nodes, made, poll, Commands(stdin))
    by_file = {node.socket.fileno(): node for node in nodes}
    deadline = time.monotonic() + END_S
    while sum(node.acknowledged for node in nodes) < sent and time.monotonic() < deadline:
        for number, _ in poll.poll(0.1, len(nodes)):
            by_file[number].receive()
    counts = {"sent": sent, "acknowledged": sum(node.acknowledged for node in nodes)}
    return counts | {"answers": sum(node.answers for node in nodes)}


def main() -> None:
    """Be the publisher's process."""
    with FileIO(0, closefd=False) as stdin:
        plan = Plan(**json.loads(stdin.readline()))
        print(json.dumps(run(plan, stdin)), flush=True)


if __name__ == "__main__":
    main()
