"""What the firmware's tests put in a gateway's place: a real Mosquitto, and an acknowledger that keeps what nodes send.

The acknowledger decodes and verifies with cbor2 and libsodium, knows nothing of the firmware, and says what it has.
"""

import hashlib
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import cbor2
import paho.mqtt.client as mqtt
import pytest
from nacl.signing import SigningKey, VerifyKey

_SBIN = "/usr/sbin"


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Mosquitto:
    """A broker process on a port of its own that keeps nothing across a restart."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path=_SBIN)
        if program is None:
            pytest.fail("there is no mosquitto on this machine: install it (on Debian the package mosquitto)")
        self._program = program
        self._settings = folder / "mosquitto.conf"
        self.port = free_port()
        lines = [f"listener {self.port} 127.0.0.1", "allow_anonymous true", "persistence false", "log_type error"]
        self._settings.write_text("\n".join([*lines, "max_queued_messages 0"]) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        self._process = subprocess.Popen([self._program, "-c", str(self._settings)])
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        pytest.fail("mosquitto did not open its port in 20 s")

    def stop(self) -> None:
        """End it, and with it what it held."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None


class Statement:
    """A statement decoded and verified on its own."""

    def __init__(self, raw: bytes) -> None:
        tag = cbor2.loads(raw)
        assert tag.tag == 18
        protected, unprotected, payload, signature = tag.value
        assert unprotected == {}
        header = cbor2.loads(protected)
        claims = header[15]
        self.raw = raw
        self.entry = hashlib.sha256(raw).digest()
        self.key = _key(claims[1])
        VerifyKey(self.key).verify(cbor2.dumps(["Signature1", protected, b"", payload]), signature)
        self.kid: bytes = header[4]
        self.sub: str = claims[2]
        self.seq, self.prev = claims[-65537]
        self.clock: list[int] = claims[-65538]
        self.iat: int = claims[6]
        self.boot_count: int = claims[267]
        self.nonce: bytes | None = claims.get(10)
        self.software: list[str] | None = claims.get(271)
        self.method: int | None = claims.get(-65539)
        self.content_type = header[3]
        self.payload = cbor2.loads(payload)

    def readings(self) -> list[tuple[int, str, str | None, Decimal]]:
        """(time, resolved name, unit, value) of each record of the pack."""
        result = []
        base_name, base_time = self.payload[0][-2], self.payload[0][-3]
        for record in self.payload:
            result.append((base_time + record.get(6, 0), base_name + record[0], record.get(1), Decimal(record[2])))
        return result


def _key(did: str) -> bytes:
    assert did.startswith("did:key:z")
    number = 0
    for character in did[9:]:
        number = number * 58 + "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz".index(character)
    raw = number.to_bytes(34, "big")
    assert raw[:2] == b"\xed\x01"
    return raw[2:]


class Acknowledger:
    """Keeps every distinct statement of one site and acknowledges it, unless `keeps_quiet` or `refuses` say otherwise.

    `statements` maps seq to statement; `arrivals` counts repeats too.  Two statements with one seq fail the test.
    """

    def __init__(self, port: int, site: str = "farm") -> None:
        self.signing_key = SigningKey.generate()
        self.key = bytes(self.signing_key.verify_key)
        self.statements: dict[int, Statement] = {}
        self.arrivals = 0
        self.wrong: list[str] = []
        self.keeps_quiet: Callable[[Statement, int], bool] = lambda statement, arrivals: False
        self.refuses: dict[int, str] = {}
        self.time_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
        self._site = site
        self._changed = threading.Condition()
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="acknowledger")
        self._client.on_connect = self._subscribe
        self._client.on_message = self._take
        self._client.reconnect_delay_set(0.05, 0.5)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def close(self) -> None:
        """Leave the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def wait(self, until: Callable[[], bool], timeout_s: float = 60) -> None:
        """Wait for arrivals until the condition holds; fails the test when it does not in time."""
        with self._changed:
            assert self._changed.wait_for(lambda: bool(self.wrong) or until(), timeout_s), "it did not come in time"
        assert self.wrong == []

    def publish_beacon(self, message: bytes) -> None:
        """Retain a beacon."""
        self._client.publish(f"earmark/v1/{self._site}/beacon", message, qos=1, retain=True).wait_for_publish(10)

    def acknowledge(self, statement: Statement, key: SigningKey | None = None, kid: bytes | None = None) -> None:
        """Send the acknowledgement that this statement's node is due, or one by another key or for another node."""
        held = sorted(seq for seq in self.statements if seq not in self.refuses)
        refused = [[seq, reason] for seq, reason in self.refuses.items() if seq in self.statements]
        content = cbor2.dumps([2, kid or statement.kid, _runs(held)[-16:], refused[:16], b"", self.time_ms()])
        signer = key or self.signing_key
        thumbprint = hashlib.sha256(bytes.fromhex("a301012006215820") + bytes(signer.verify_key))
        header = {1: -8, 3: "application/vnd.earmark.ack+cbor", 4: thumbprint.digest()[:8]}
        protected = cbor2.dumps(header, canonical=True)
        signature = signer.sign(cbor2.dumps(["Signature1", protected, b"", content])).signature
        signed = cbor2.dumps(cbor2.CBORTag(18, [protected, {}, content, signature]))
        self._client.publish(f"earmark/v1/{self._site}/{statement.sub}/down", signed, qos=1)

    def _subscribe(self, client: mqtt.Client, *_: object) -> None:
        client.subscribe(f"earmark/v1/{self._site}/+/up", qos=1)

    def _take(self, client: mqtt.Client, userdata: object, message: mqtt.MQTTMessage) -> None:
        with self._changed:
            try:
                self._admit(Statement(message.payload))
            except Exception as failure:  # noqa: BLE001 - the waiting test reports it
                self.wrong.append(repr(failure))
            self._changed.notify_all()

    def _admit(self, statement: Statement) -> None:
        self.arrivals += 1
        known = self.statements.setdefault(statement.seq, statement)
        assert known.raw == statement.raw, f"two statements with seq {statement.seq}"
        if not self.keeps_quiet(statement, self.arrivals):
            self.acknowledge(statement)


def _runs(numbers: list[int]) -> list[list[int]]:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return runs


def check_chain(statements: dict[int, Statement], first: int = 1) -> None:
    """Every seq from `first` on is there, and each statement names the one before."""
    assert sorted(statements) == list(range(first, first + len(statements)))
    for seq, statement in statements.items():
        if seq == 1:
            assert statement.prev == bytes(32)
        elif seq - 1 in statements:
            assert statement.prev == statements[seq - 1].entry
