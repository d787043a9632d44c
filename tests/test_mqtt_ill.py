"""The gateway's MQTT client where something is wrong: silent and babbling brokers, floods, faults of ours, the end."""

import asyncio
import signal
from contextlib import suppress
from itertools import pairwise

import pytest

from earmark import intake, mqtt
from earmark.intake import HIGH, OVERHEAD, Intake, Verified, Verifiers
from earmark.mqtt import CHUNK, Endpoint, Link, Message
from mqtt_scene import (
    CONNACK,
    TOPICS,
    WAIT_S,
    Broker,
    Held,
    pretending,
    publish,
    running,
    until,
    welcoming,
)

pytest_plugins = ["mqtt_fixtures"]
pytestmark = pytest.mark.usefixtures("impatient")

# brokers that are ill


async def test_a_broker_that_never_answers_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mqtt, "CONNECT_S", 0.2)
    asked: list[bytes] = []

    async def chatter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(100))
        while True:  # it is alive, and says anything but what we wait for
            writer.write(b"\xd0\x00")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with pretending(chatter) as port, running(Held(port).link, is_connected=False):
        await until(lambda: caplog.text.count("did not answer within") >= 2)
    assert len(asked) >= 2 and all(packet.startswith(b"\x10") for packet in asked)


async def test_a_broker_that_falls_silent_is_given_up_after_the_keepalive(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mqtt, "KEEPALIVE_S", 1)
    pings: list[bytes] = []
    async with pretending(welcoming(pings)) as port:
        held = Held(port)
        async with running(held.link):
            await until(lambda: "it said nothing for 2 s" in caplog.text)
            await until(lambda: held.link._connection == 2)
    assert sum(octets.count(b"\xc0\x00") for octets in pings) >= 3


async def test_a_stopped_mosquitto_is_given_up_and_found_again(
    mosquitto: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mqtt, "KEEPALIVE_S", 1)
    monkeypatch.setattr(mqtt, "CONNECT_S", 0.5)
    held = Held(mosquitto.port)
    async with running(held.link):
        assert mosquitto._process is not None
        mosquitto._process.send_signal(signal.SIGSTOP)
        await until(lambda: "it said nothing" in caplog.text and "did not answer" in caplog.text)
        assert not held.link.is_connected
        mosquitto._process.send_signal(signal.SIGCONT)
        await until(lambda: held.link.is_connected)
        await asyncio.sleep(0.1)
        await publish(mosquitto.port, [b"x"])
        await until(lambda: held.payloads == [b"x"])


async def test_what_is_not_mqtt_ends_the_connection_and_is_named(caplog: pytest.LogCaptureFixture) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(CONNACK + b"\x30\x00" + b"\x36\x00" * 100)
        await reader.read()

    async with pretending(babble) as port:
        held = Held(port)
        async with running(held.link, is_connected=False):
            await until(lambda: caplog.text.count("it sent what is not MQTT") >= 2)
    assert "Fatal error" not in caplog.text and held.received == []


async def test_a_receiver_that_fails_costs_the_connection_and_no_message(
    mosquitto: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    received: list[Message] = []

    def receive(messages: list[Message]) -> None:
        if not received:
            received.append(messages[0])
            raise KeyError("a fault of ours")
        received.extend(messages)

    link = Link(Endpoint("127.0.0.1", mosquitto.port), "session", TOPICS, receive)
    async with running(link):
        await publish(mosquitto.port, [b"x"])
        await until(lambda: len(received) == 2)
        assert link._connection == 2
    assert [message.payload for message in received] == [b"x", b"x"]
    assert "a fault of ours" in caplog.text


async def test_a_host_that_is_none_is_named_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    for host in ("a" * 70 + ".example", "no-such-host.invalid", ""):
        link = Link(Endpoint(host, 1), "session", TOPICS, lambda _: None)
        caplog.clear()
        async with running(link, is_connected=False) as task:
            await until(lambda: caplog.text.count("no broker at") >= 2)
            assert not task.done()


# holding


async def test_holding_reads_nothing_and_keeps_the_connection(
    mosquitto: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """For longer than after which a broker may end a silent connection, one and a half keep-alives."""
    monkeypatch.setattr(mqtt, "KEEPALIVE_S", 1)
    held = Held(mosquitto.port)
    sent = [b"%d" % number for number in range(100)]
    async with running(held.link):
        await asyncio.sleep(0.1)
        held.link.hold(True)
        await publish(mosquitto.port, sent)
        await asyncio.sleep(2)
        assert held.received == []
        assert held.link.is_connected
        held.link.hold(False)
        await until(lambda: len(held.received) == 100)
        await asyncio.sleep(1)
        assert held.link._connection == 1
    assert held.payloads == sent
    assert "no broker" not in caplog.text


async def test_pings_go_on_while_we_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen from the broker, and whatever it says or does not."""
    monkeypatch.setattr(mqtt, "KEEPALIVE_S", 1)
    heard_at_s: list[float] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(CONNACK)
        while b"\xc0\x00" in await reader.read(100) or not heard_at_s:
            heard_at_s.append(asyncio.get_running_loop().time())

    async with pretending(listen) as port:
        held = Held(port)
        async with running(held.link):
            held.link.hold(True)
            await until(lambda: len(heard_at_s) >= 8)
            assert held.link.is_connected and held.link._connection == 1
    assert max(later - sooner for sooner, later in pairwise(heard_at_s)) < 1.5


async def test_answers_to_a_broker_that_does_not_read_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "MOST_UNREAD", 100_000)

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(CONNACK)
        await asyncio.Event().wait()

    async with pretending(deaf) as port:
        held = Held(port, qos=0)
        async with running(held.link):
            wire = held.link._wire
            assert wire is not None
            for _ in range(5000):
                held.link.answer([("out", bytes(4096))])
            assert wire.transport.get_write_buffer_size() < 100_000 + 5000


async def test_release_does_not_mistake_our_own_silence_for_the_brokers(
    mosquitto: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "KEEPALIVE_S", 3)
    held = Held(mosquitto.port)
    async with running(held.link):
        wire = held.link._wire
        assert wire is not None
        held.link.hold(True)
        wire.heard_at_s -= 1000
        held.link.hold(False)
        monkeypatch.setattr(mqtt, "KEEPALIVE_S", 0.3)
        task = asyncio.create_task(held.link._keep_alive(wire))  # what a timer that is due now would find
        await asyncio.sleep(0.2)
        assert not task.done()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_broker_that_dies_while_we_hold_is_noticed_and_the_hold_goes_on(
    mosquitto: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "KEEPALIVE_S", 1)
    held = Held(mosquitto.port)
    async with running(held.link):
        held.link.hold(True)
        mosquitto.end(signal.SIGKILL)
        await until(lambda: not held.link.is_connected, 10)
        mosquitto.start()
        await until(lambda: held.link.is_connected)
        await asyncio.sleep(0.2)
        await publish(mosquitto.port, [b"x"])
        await asyncio.sleep(0.5)
        assert held.received == []
        held.link.hold(False)
        await until(lambda: held.payloads == [b"x"])


async def test_a_flood_waits_in_the_broker_and_not_in_our_memory(
    mosquitto: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The intake's bound, the connection's hold, and messages that outlive their connection, together."""
    monkeypatch.setattr(intake, "HIGH", HIGH // 4)
    monkeypatch.setattr(intake, "LOW", HIGH // 8)
    verifiers = Verifiers(2)
    await verifiers.start()
    link = Link(Endpoint("127.0.0.1", mosquitto.port), "session", TOPICS, lambda messages: way.take(messages))  # noqa: PLW0108 - each needs the other
    way = Intake(verifiers, 1_000_000, link.hold, lambda _: None)
    sent = [b"%04d" % number * 1000 for number in range(900)]  # 3.6 MB
    collected: list[Verified] = []
    async with running(link):
        await publish(mosquitto.port, sent)
        await asyncio.sleep(0.5)
        assert HIGH // 4 < way._bytes <= HIGH // 4 + CHUNK + OVERHEAD * CHUNK // 4000
        assert link._wire is not None
        link._wire.transport.abort()  # while more than a megabyte of it waits with us
        await until(lambda: link._connection == 2)
        async with asyncio.timeout(WAIT_S):
            while len({message.payload for message, _ in collected if message.connection == 2}) < len(sent):
                verified = await way.collect(0.5)
                link.acknowledge([message for message, _ in verified])
                collected += verified
        await asyncio.sleep(0.2)
        assert [message.payload for message, _ in collected if message.connection == 2] == sent
        await publish(mosquitto.port, [b"last"])
        assert [message.payload for message, _ in await way.collect(WAIT_S)] == [b"last"]
    way.forget()
    verifiers.stop()
    await asyncio.sleep(0)


# the end


async def test_we_take_leave_so_that_the_broker_does_not_wait_for_us() -> None:
    heard: list[bytes] = []
    async with pretending(welcoming(heard)) as port:
        async with running(Held(port).link):
            pass
        await until(lambda: b"".join(heard).endswith(b"\xe0\x00"))


@pytest.mark.parametrize("delay_s", [0, 0.001, 0.005, 0.02])
async def test_it_can_be_ended_at_any_moment(mosquitto: Broker, delay_s: float) -> None:
    for _ in range(10):
        held = Held(mosquitto.port)
        async with running(held.link, is_connected=False) as task:
            await asyncio.sleep(delay_s)
        assert task.done() and not held.link.is_connected


async def test_a_thread_may_publish_when_all_is_over() -> None:
    link = Held(1).link
    loop = asyncio.new_event_loop()
    loop.close()
    link._loop = loop
    link.publish_from_thread("beacon", b"late")
