"""The gateway's MQTT client against a real Mosquitto: what the broker keeps, what we send, who is let in."""

import asyncio
import logging
import signal
import subprocess
from pathlib import Path

import pytest

from earmark import mqtt
from earmark.certificates import authority_file, broker_certificate, found_authority
from earmark.errors import ConfigError
from mqtt_scene import (
    CONNACK,
    SUBACK,
    TOPIC,
    Broker,
    Held,
    Peer,
    pretending,
    publish,
    running,
    until,
)
from services import free_port, make_farm

pytest_plugins = ["mqtt_fixtures"]
pytestmark = pytest.mark.usefixtures("impatient")

RIGHT, WRONG = {"user": "gateway", "password": "right"}, {"user": "gateway", "password": "wrong"}


# what a broker keeps


async def test_what_came_while_we_were_away_waits_in_the_session(mosquitto: Broker) -> None:
    async with running(Held(mosquitto.port).link):
        await asyncio.sleep(0.1)  # the subscription is in
    sent = [b"%d" % number for number in range(50)]
    await publish(mosquitto.port, sent)
    later = Held(mosquitto.port)
    async with running(later.link):
        await until(lambda: len(later.received) == 50)
    assert later.payloads == sent
    assert {(message.topic, message.qos, message.connection) for message in later.received} == {(TOPIC, 1, 1)}


@pytest.mark.parametrize("way", ["the connection is cut", "the broker restarts", "we restart"])
async def test_what_has_no_puback_comes_again_and_nothing_else(mosquitto: Broker, way: str) -> None:
    held = Held(mosquitto.port)
    async with running(held.link):
        await publish(mosquitto.port, [b"%d" % number for number in range(10)])
        await until(lambda: len(held.received) == 10)
        held.link.acknowledge(held.received[:4])
        await asyncio.sleep(0.2)
        if way == "the connection is cut":
            await held.cut()
        elif way == "the broker restarts":
            mosquitto.restart()
        if way != "we restart":
            await until(lambda: len(held.received) >= 16)
    if way == "we restart":
        again = Held(mosquitto.port)
        async with running(again.link):
            await until(lambda: len(again.received) >= 6)
        held.received += again.received
    assert held.payloads[10:] == [b"%d" % number for number in range(4, 10)]


async def test_acknowledgements_of_an_earlier_connection_are_left_out(mosquitto: Broker) -> None:
    held = Held(mosquitto.port)
    async with running(held.link):
        await publish(mosquitto.port, [b"a", b"b", b"c"])
        await until(lambda: len(held.received) == 3)
        await held.cut()
        await until(lambda: len(held.received) == 6)
        held.link.acknowledge(held.received[:3])
        await held.cut()
        await until(lambda: len(held.received) == 9)  # so the broker heard nothing
        held.link.acknowledge(held.received[6:])
        await asyncio.sleep(0.2)
        await held.cut()
        await publish(mosquitto.port, [b"d"])
        await until(lambda: held.payloads[-1] == b"d")
    assert held.payloads == [b"a", b"b", b"c"] * 3 + [b"d"]


async def test_a_broker_that_forgot_everything_is_subscribed_to_anew(mosquitto: Broker) -> None:
    held = Held(mosquitto.port)
    held.link.publish("before", b"1", retain=True)
    async with running(held.link):
        held.link.publish("after", b"2", retain=True)
        held.link.publish_from_thread("thread", b"3")
        held.link.publish("after", b"4", retain=True)
        await publish(mosquitto.port, [b"lost"])
        await until(lambda: held.payloads == [b"lost"])
        before = held.link._connection
        mosquitto.restart(signal.SIGKILL)
        await until(lambda: held.link._connection > before)
        await asyncio.sleep(0.1)
        await publish(mosquitto.port, [b"kept"])
        await until(lambda: held.payloads[-1] == b"kept")
        peer = await asyncio.to_thread(Peer, mosquitto.port, "#")
        await until(lambda: len(peer.received) >= 3)
        await asyncio.to_thread(peer.close)
    found = {(message.topic, bytes(message.payload), message.retain) for message in peer.received}
    assert found == {("before", b"1", True), ("after", b"4", True), ("thread", b"3", True)}


# what we send


async def test_messages_of_every_size_arrive_as_they_were(mosquitto: Broker) -> None:
    sizes = [0, 1, 113, 114, 115, 127, 128, 16_368, 16_369, 16_384, 200_000, 2_097_120, 2_097_152]
    peer = await asyncio.to_thread(Peer, mosquitto.port, "out")
    held = Held(mosquitto.port)
    async with running(held.link):
        for size in sizes:
            held.link.publish("out", bytes([size % 251]) * size)
        await until(lambda: len(peer.received) == len(sizes))
    await asyncio.to_thread(peer.close)
    assert [bytes(message.payload) for message in peer.received] == [bytes([size % 251]) * size for size in sizes]


async def test_what_waits_for_a_connection_is_bounded_and_the_newest_is_kept(
    mosquitto: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "MOST_UNSENT", 10)
    peer = await asyncio.to_thread(Peer, mosquitto.port, "out")
    held = Held(mosquitto.port)
    for number in range(25):
        held.link.publish("out", b"%d" % number)
    async with running(held.link):
        held.link.publish("out", b"now")
        await until(lambda: len(peer.received) == 11)
    await asyncio.to_thread(peer.close)
    assert [bytes(message.payload) for message in peer.received] == [b"%d" % number for number in range(15, 25)] + [
        b"now"
    ]


async def test_answers_arrive_in_order_and_those_from_before_the_connection_too(mosquitto: Broker) -> None:
    peer = await asyncio.to_thread(Peer, mosquitto.port, "out/+")
    held = Held(mosquitto.port)
    held.link.answer([("out/a", b"before"), ("out/b", b"too")])
    async with running(held.link):
        held.link.answer([("out/a", b"1"), ("out/b", b"2"), ("out/a", b"3")])
        held.link.answer([])
        await until(lambda: len(peer.received) == 5)
    await asyncio.to_thread(peer.close)
    found = [(message.topic, bytes(message.payload), message.qos) for message in peer.received]
    said = [("out/a", b"before"), ("out/b", b"too"), ("out/a", b"1"), ("out/b", b"2"), ("out/a", b"3")]
    assert found == [(topic, payload, 0) for topic, payload in said]


async def test_at_qos_0_everything_comes_once_and_nothing_waits_for_us(mosquitto: Broker) -> None:
    held = Held(mosquitto.port, qos=0)
    async with running(held.link):
        await publish(mosquitto.port, [b"a", b"b"])
        await until(lambda: held.payloads == [b"a", b"b"])
        held.link.acknowledge(held.received)  # there is nothing to acknowledge
        await held.cut()
        await asyncio.sleep(0.1)
        await publish(mosquitto.port, [b"c"])
        await until(lambda: len(held.payloads) == 3)
    assert held.payloads == [b"a", b"b", b"c"]
    assert {message.qos for message in held.received} == {0}


async def test_packet_numbers_go_round_and_are_never_nought() -> None:
    link = Held(1).link
    numbers = [link._next_mid() for _ in range(70_000)]
    assert min(numbers) == 1 and max(numbers) == 65_535 and numbers[65_535] == 1


# brokers that do not want us


async def test_a_wrong_password_is_named_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-c", "-b", passwords, "gateway", "right"], check=True, capture_output=True)
    broker = Broker(tmp_path / "mosquitto", free_port(), f"password_file {passwords}")
    settings = tmp_path / "mosquitto" / "mosquitto.conf"
    settings.write_text(settings.read_text().replace("allow_anonymous true", "allow_anonymous false"))
    broker.start()
    try:
        async with running(Held(broker.port, **WRONG).link, is_connected=False):
            await until(lambda: caplog.text.count("it refuses us") >= 2)
        async with running(Held(broker.port, **RIGHT).link):
            pass
    finally:
        broker.kill()
    assert "wrong" not in caplog.text.replace("wrong user or password", "")


@pytest.mark.parametrize(("code", "reason"), [*mqtt._REFUSALS.items(), (77, "no reason given")])
async def test_every_refusal_is_named(code: int, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"\x20\x02\x00" + bytes([code]) + CONNACK)
        await reader.read()

    async with pretending(refuse) as port:
        held = Held(port)
        async with running(held.link, is_connected=False):
            await until(lambda: caplog.text.count(reason) >= 2)
            assert not held.link.is_connected


async def test_a_refused_subscription_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    async def deny(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(CONNACK + SUBACK[:-1] + b"\x80")
        await reader.read()

    async with pretending(deny) as port, running(Held(port).link):
        await until(lambda: "does not let us subscribe" in caplog.text)
    assert [record.levelno for record in caplog.records if "subscribe" in record.message] == [logging.ERROR]


async def test_a_certificate_of_another_authority_is_named_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    farm, other = (make_farm(tmp_path / name, port, embedded=False) for name in ("farm", "other"))
    for each in (farm, other):
        if not authority_file(each).exists():
            found_authority(each)
    shown = broker_certificate(farm)
    lines = [f"cafile {authority_file(farm)}", f"certfile {shown}", f"keyfile {shown}"]
    broker = Broker(tmp_path / "mosquitto", port, *lines)
    broker.start()
    try:
        async with running(Held(port, authority=authority_file(other)).link, is_connected=False):
            await until(lambda: caplog.text.count("CERTIFICATE_VERIFY_FAILED") >= 2)
        async with running(Held(port, authority=tmp_path / "none").link, is_connected=False):
            await until(lambda: caplog.text.count("No such file") >= 2)
        async with running(Held(port).link, is_connected=False):
            await until(lambda: caplog.text.count("the connection ended") >= 2)
    finally:
        broker.kill()


async def test_over_tls_all_of_a_flood_arrives_in_order(tmp_path: Path) -> None:
    port, plain = free_port(), free_port()
    farm = make_farm(tmp_path / "farm", port, embedded=False)
    if not authority_file(farm).exists():
        found_authority(farm)
    shown = broker_certificate(farm)
    lines = [f"cafile {authority_file(farm)}", f"certfile {shown}", f"keyfile {shown}", f"listener {plain} 127.0.0.1"]
    broker = Broker(tmp_path / "mosquitto", port, *lines)
    broker.start()
    held = Held(port, authority=authority_file(farm))
    sent = [b"%d" % number * 300 for number in range(900)]
    try:
        async with running(held.link):
            await asyncio.sleep(0.1)
            held.link.hold(True)
            await publish(plain, sent)
            had = len(held.received)
            await asyncio.sleep(0.3)
            assert len(held.received) == had < len(sent)
            held.link.hold(False)
            await until(lambda: len(held.received) == len(sent))
    finally:
        broker.kill()
    assert held.payloads == sent


# where a broker is


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("mqtt://farm.example", ("farm.example", 1883, False)),
        ("mqtts://farm.example/", ("farm.example", 8883, True)),
        ("mqtt://192.0.2.7:1884", ("192.0.2.7", 1884, False)),
        ("mqtts://[2001:db8::7]:8884", ("2001:db8::7", 8884, True)),
        ("mqtts://[::1]", ("::1", 8883, True)),
    ],
)
def test_a_broker_s_address(url: str, where: tuple[str, int, bool]) -> None:
    assert mqtt.parse_url(url) == where


@pytest.mark.parametrize(
    "url",
    ["", "farm", "http://farm", "mqtt://", "mqtt://:1883", "mqtt://farm:x", "mqtt://farm:99999", "mqtt://[::1",
     "mqtt://me:secret@farm", "mqtt://farm/topic", "mqtt://farm?qos=1", "mqtt://:secret@farm", "mqtt://gw:12#x@farm", "mqtts://farm:0"],
)  # fmt: skip
def test_what_is_no_address_of_a_broker(url: str) -> None:
    with pytest.raises(ConfigError, match="mqtt://host:port"):
        mqtt.parse_url(url)
