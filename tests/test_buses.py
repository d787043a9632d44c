"""The buses of a Linux node: smbus2's own messages on a double of the adapter, pyserial on a real pseudo-terminal with
a double of a Modbus unit behind it, the kernel's 1-Wire as a folder; and what is said where they cannot be had."""

import asyncio
import json
import os
import pty
import subprocess
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import serial
import smbus2

from interpreters import MissingInterpreter, command

FIRMWARE = Path(__file__).resolve().parent.parent / "firmware"
WORDS = bytes.fromhex("666693" + "8000a2")  # 25 Cel, 50 %RH as an SHT3x sends them
NODE = {"site": "s", "name": "n", "gateway_key": "ab" * 32, "broker": {"host": "h"}}


@pytest.fixture
def firmware(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Modules of the real firmware, which leave again: tests have some of their names."""
    monkeypatch.setattr(sys, "path", [str(FIRMWARE), *sys.path])
    before = set(sys.modules)
    import bus
    import settings
    from bus import crc, linux
    from clock import HOST, Clock

    yield SimpleNamespace(settings=settings, bus=bus, linux=linux, crc=crc, clock=Clock(HOST, 1))
    for name in set(sys.modules) - before:
        if str(FIRMWARE) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def sensor(firmware: Any, bus: dict[str, Any], entry: dict[str, Any]) -> Any:
    given = NODE | {"buses": {"b": bus}, "sensors": [{"bus": "b"} | entry]}
    chosen = firmware.settings.check(given)
    return firmware.settings.make_sensors(chosen, firmware.clock, firmware.linux)[0]


def values(sensor: Any) -> list[str]:
    return [f"{name} {unit} {value}" for name, unit, value in asyncio.run(sensor.read())]


class Adapter:
    """smbus2.SMBus with an SHT3x at 0x44; `there` says whether the kernel has the adapter."""

    there = True
    newest: Any = None

    def __init__(self, number: int) -> None:
        if not self.there:
            raise FileNotFoundError(2, "No such file or directory", f"/dev/i2c-{number}")
        assert number == 1
        self.written: list[bytes] = []
        self.is_gone = False
        Adapter.newest = self

    def close(self) -> None:
        self.is_gone = True

    def i2c_rdwr(self, *messages: Any) -> None:
        if self.is_gone:
            raise OSError(19, "No such device")
        for message in messages:
            assert isinstance(message, smbus2.i2c_msg)
            if message.addr != 0x44:
                raise OSError(121, "Remote I/O error")
            if message.flags & 1:
                assert self.written == [b"\x24\x00"]
                for at, octet in enumerate(WORDS):
                    message.buf[at] = octet
            else:
                self.written.append(bytes(list(message)))


def test_i2c_by_smbus2(firmware: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smbus2, "SMBus", Adapter)
    air = sensor(firmware, {"kind": "i2c", "number": 1}, {"driver": "sht3x"})
    assert values(air) == ["temperature Cel Fraction(-2, 2500)", "humidity %RH Fraction(-2, 5000)"]
    other = sensor(firmware, {"kind": "i2c", "number": 1}, {"driver": "sht3x", "address": 0x45})
    with pytest.raises(firmware.bus.SensorError, match=r"no-answer: .* 0x45"):
        values(other)


def test_an_i2c_adapter_may_be_unplugged_and_come_back(firmware: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smbus2, "SMBus", Adapter)
    made = sensor(firmware, {"kind": "i2c", "number": 1}, {"driver": "sht3x"})
    values(made)
    Adapter.newest.is_gone = True
    with pytest.raises(firmware.bus.SensorError, match="no-answer"):
        values(made)
    assert len(values(made)) == 2


def test_an_i2c_adapter_may_come_later(firmware: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smbus2, "SMBus", Adapter)
    monkeypatch.setattr(Adapter, "there", False)
    air = sensor(firmware, {"kind": "i2c", "number": 1}, {"driver": "sht3x"})
    with pytest.raises(firmware.bus.SensorError, match="no-answer"):
        values(air)
    monkeypatch.setattr(Adapter, "there", True)
    assert len(values(air)) == 2


class Unit(threading.Thread):
    """A Modbus unit behind a pseudo-terminal: it answers each question of eight bytes with the next of its answers."""

    def __init__(self, answers: list[bytes]) -> None:
        super().__init__(daemon=True)
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        self.path = os.ttyname(self.slave)
        self.answers = answers
        self.asked: list[bytes] = []
        self.start()

    def run(self) -> None:
        for answer in self.answers:
            question = b""
            while len(question) < 8:
                question += os.read(self.master, 8 - len(question))
            self.asked.append(question)
            for part in (answer[:3], answer[3:]):
                os.write(self.master, part)

    def close(self) -> None:
        self.join(10)
        assert not self.is_alive()
        os.close(self.master)
        os.close(self.slave)


def test_modbus_by_pyserial_on_a_terminal(firmware: Any) -> None:
    question, answer = bytes.fromhex("010300000007 0408"), bytes.fromhex("01030e0292ff9b03e80038002000250030")
    answer += firmware.crc.modbus(answer).to_bytes(2, "little")
    torn = answer[:-1] + bytes([answer[-1] ^ 1])
    unit = Unit([torn, answer])
    soil = sensor(firmware, {"kind": "uart", "path": unit.path, "baud": 9600}, {"driver": "soil_7in1"})
    read = values(soil)
    unit.close()
    assert unit.asked == [question, question]
    assert read[:4] == [
        "moisture % Fraction(-1, 658)",
        "temperature Cel Fraction(-1, -101)",
        "conductivity S/m Fraction(-4, 1000)",
        "ph pH Fraction(-1, 56)",
    ]


def test_a_serial_adapter_may_be_unplugged_and_come_back(firmware: Any, tmp_path: Path) -> None:
    answer = bytes.fromhex("ff86026047000000d1")
    link = tmp_path / "adapter"
    co2 = sensor(firmware, {"kind": "uart", "path": str(link)}, {"driver": "mhz19", "warm_up_s": 0})
    with pytest.raises(firmware.bus.SensorError, match="no-answer: the serial line is not there"):
        values(co2)
    unit = Unit([])
    link.symlink_to(unit.path)

    def answered() -> None:
        for size in (9, 9):
            question = b""
            while len(question) < size:
                question += os.read(unit.master, size - len(question))
            if question[2] == 0x86:
                os.write(unit.master, answer)

    serve = threading.Thread(target=answered, daemon=True)
    serve.start()
    assert values(co2) == ["co2 ppm 608"]
    serve.join(10)
    unit.close()
    with pytest.raises(firmware.bus.SensorError, match="no-answer"):
        values(co2)


def test_an_adapter_that_goes_while_it_sends(firmware: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: serial.Serial) -> None:
        raise termios.error(5, "Input/output error")

    unit = Unit([])
    monkeypatch.setattr(serial.Serial, "flush", gone)
    co2 = sensor(firmware, {"kind": "uart", "path": unit.path}, {"driver": "mhz19", "warm_up_s": 0})
    with pytest.raises(firmware.bus.SensorError, match="no-answer: the serial line is not there"):
        values(co2)
    unit.close()


def scratchpad(text: str) -> str:
    return f"{text} : crc={text[-2:]} YES\n{text} t=0\n"


def test_one_wire_by_sysfs(firmware: Any, tmp_path: Path) -> None:
    for name, octets in (("28-0316a2797e4b", "91 01 4b 46 7f ff 0c 10 70"), ("28-000000000001", "ff " * 8 + "ff")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "w1_slave").write_text(scratchpad(octets))
    (tmp_path / "w1_bus_master1").mkdir()
    wire = {"kind": "onewire", "path": str(tmp_path)}
    both = sensor(firmware, wire, {"driver": "ds18b20"})
    with pytest.raises(firmware.bus.SensorError, match="wrong-device: 2 probes"):
        values(both)
    named = sensor(
        firmware, wire, {"driver": "ds18b20", "probes": {"28-0316a2797e4b": "root", "28-000000000001": "air"}}
    )
    assert values(named) == ["air/error None no-answer", "root Cel Fraction(-2, 2506)"]
    for text, error in (("91 02" + "91 01 4b 46 7f ff 0c 10 70"[5:], "crc"), ("N/A", "bad-frame")):
        (tmp_path / "28-0316a2797e4b" / "w1_slave").write_text(scratchpad(text))
        one = sensor(firmware, wire, {"driver": "ds18b20", "probes": {"28-0316a2797e4b": "root"}})
        with pytest.raises(firmware.bus.SensorError, match=error):
            values(one)
    gone = sensor(firmware, {"kind": "onewire", "path": str(tmp_path / "none")}, {"driver": "ds18b20"})
    with pytest.raises(firmware.bus.SensorError, match="no-answer: the kernel shows no 1-Wire bus"):
        values(gone)


def test_the_resolution_goes_to_the_kernel(firmware: Any, tmp_path: Path) -> None:
    probe = tmp_path / "28-0316a2797e4b"
    probe.mkdir()
    (probe / "w1_slave").write_text(scratchpad("91 01 4b 46 7f ff 0c 10 70"))
    root = sensor(firmware, {"kind": "onewire", "path": str(tmp_path)}, {"driver": "ds18b20", "resolution": 10})
    values(root)
    assert (probe / "resolution").read_text() == "10"


@pytest.mark.parametrize(
    ("bus", "entry", "said"),
    [
        ({"kind": "i2c", "scl": 22, "sda": 21}, {"driver": "sht3x"}, "scl is for microcontrollers"),
        ({"kind": "i2c"}, {"driver": "sht3x"}, "number is missing"),
        ({"kind": "uart", "tx": 1, "rx": 2}, {"driver": "mhz19"}, "tx is for microcontrollers"),
        ({"kind": "uart", "path": "/dev/ttyUSB0", "direction": 4}, {"driver": "mhz19"}, "direction"),
        ({"kind": "uart"}, {"driver": "mhz19"}, "path is missing"),
        ({"kind": "onewire", "pin": 4}, {"driver": "ds18b20"}, "pin is for microcontrollers"),
    ],
)
def test_what_a_linux_node_cannot_have_is_named(firmware: Any, bus: Any, entry: Any, said: str) -> None:
    with pytest.raises(firmware.settings.SettingsError, match=r"sensors\[0\]: buses\.b: .*" + said):
        sensor(firmware, bus, entry)


def test_pins_of_a_board_are_refused_by_name(firmware: Any) -> None:
    for entry in (
        {"driver": "soil_adc", "pin": 34, "points": [[2800, 0], [1200, 100]]},
        {"driver": "flow", "pin": 4, "pulses_per_litre": 450},
    ):
        chosen = firmware.settings.check(NODE | {"sensors": [entry]})
        with pytest.raises(firmware.settings.SettingsError, match=r"sensors\[0\]: pin: "):
            firmware.settings.make_sensors(chosen, firmware.clock, firmware.linux)


@pytest.mark.parametrize(("package", "kind"), [("smbus2", "i2c"), ("serial", "uart")])
def test_a_missing_package_is_named_with_what_installs_it(
    firmware: Any, monkeypatch: pytest.MonkeyPatch, package: str, kind: str
) -> None:
    missing: dict[str, ModuleType | None] = {package: None}
    monkeypatch.setitem(sys.modules, package, missing[package])  # type: ignore[arg-type]
    bus = {"kind": kind, "number": 1} if kind == "i2c" else {"kind": kind, "path": "/dev/ttyUSB0"}
    driver = "sht3x" if kind == "i2c" else "mhz19"
    with pytest.raises(firmware.settings.SettingsError, match=rf"{package}: pip install 'earmark\[sensors\]'"):
        sensor(firmware, bus, {"driver": driver})


def test_under_micropython_a_linux_bus_is_refused_by_name(tmp_path: Path) -> None:
    try:
        micropython = command("micropython-64")
    except MissingInterpreter as missing:
        pytest.skip(str(missing))
    node = NODE | {"buses": {"b": {"kind": "i2c", "number": 1}}, "sensors": [{"driver": "sht3x", "bus": "b"}]}
    (tmp_path / "node.json").write_text(json.dumps(node))
    run = subprocess.run(
        [*micropython, str(FIRMWARE / "main.py"), "--dir", str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 2
    assert "i2c is not available under MicroPython on Linux: start the node with python3" in run.stdout
