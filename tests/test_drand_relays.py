"""Relays of drand on loopback, doubles that lie, lag, hang and fail; and the gateway's beacon over them."""

import hashlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parent / "vectors"))

import actors
import rounds
import satoshi
import small_log

import calendar_fakes as fakes
from calendar_fakes import Clock, Reply, Server
from earmark import beacon, cbor, evidence, operator, proof, public
from earmark.anchor.drand import LATE_S, Relays
from earmark.config import create_farm
from earmark.errors import AnchorError, ConfigError
from earmark.evidence.chain import ChainBlock
from earmark.evidence.drand import QUICKNET, verify_known
from earmark.metrics import Metrics
from earmark.public import Public
from earmark.settings import parse_config
from earmark.status import AWAY_S, Doctor
from earmark.store.sqlite import SqliteStore

NETWORK = rounds.OWN.network
NOW = 1_000_000
"""The round that the network is at."""


def answer(number: int, signed: bytes = b"", **changes: Any) -> Reply:
    octets = signed or rounds.OWN.sign(number)
    told = {"round": number, "randomness": hashlib.sha256(octets).hexdigest(), "signature": octets.hex()}
    return Reply(200, json.dumps(told | changes).encode())


def relay(reply: Reply) -> Server:
    return Server(lambda *_: reply)


def follow(*servers: Server, **given: Any) -> Relays:
    clock = Clock()
    now_s = NETWORK.time_of(NOW) + 1.0
    return Relays([server.url for server in servers], NETWORK, clock, lambda: now_s, **given)


def test_the_newest_round_is_asked_for_by_the_chain_hash_and_verified() -> None:
    server = relay(answer(NOW))
    with fakes.serving(server):
        block, signature = follow(server).head()
    assert [path for _, path, _ in server.requests] == [f"/{NETWORK.hash.hex()}/public/latest"]
    assert (block.number, block.time_s) == (NOW, NETWORK.time_of(NOW))
    evidence.check_source(block, signature, {NETWORK.id: NETWORK})
    assert verify_known([(block, signature)], {NETWORK.id: NETWORK}) == {block}


LIES = {
    "a wrong round": answer(NOW, rounds.OWN.sign(NOW - 1)),
    "a wrong signature": answer(NOW, bytes([0x80]) + bytes(47)),
    "another network": answer(NOW, rounds.OTHERS.sign(NOW)),
    "no JSON": Reply(200, b"<html>"),
    "JSON that goes deep": Reply(200, b"[" * 1900),
    "a list": Reply(200, b"[]"),
    "a text in the round's place": answer(NOW, round=str(NOW)),
    "true in the round's place": answer(1, round=True),
    "round 0": answer(NOW, round=0),
    "a round beyond 64 bits": answer(NOW, round=1 << 64),
    "half a signature": answer(NOW, signature=rounds.OWN.sign(NOW).hex()[:48]),
    "a signature of no digits": answer(NOW, signature="zz" * 48),
    "no signature": Reply(200, json.dumps({"round": NOW}).encode()),
    "much": Reply(200, b" " * 5_000),
    "an error": Reply(503, b""),
    "a redirect": Reply(302, b"", {"Location": "http://127.0.0.1:1/"}),
    "half an answer": Reply(200, b"{", length=500),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_relay_that_lies_is_left_and_rests(lie: Reply) -> None:
    liar, honest = relay(lie), relay(answer(NOW))
    with fakes.serving(liar, honest):
        relays = follow(liar, honest, timeout_s=2.0)
        assert relays.head()[0].number == NOW
        relays.head()
        assert (len(liar.requests), len(honest.requests)) == (1, 2)
        with pytest.raises(AnchorError):
            follow(liar, timeout_s=2.0).head()


def test_a_relay_that_trickles_is_cut_off() -> None:
    slow, honest = relay(Reply(200, answer(NOW).body, drip_s=0.05)), relay(answer(NOW))
    with fakes.serving(slow, honest):
        began = time.monotonic()
        assert follow(slow, honest, timeout_s=0.3).head()[0].number == NOW
        assert time.monotonic() - began < 5


def test_a_late_relay_is_passed_over_and_the_newest_of_late_ones_will_do() -> None:
    late, later = NOW - LATE_S // 3 - 100, NOW - 5_000
    one, other, honest = relay(answer(later)), relay(answer(late)), relay(answer(NOW))
    with fakes.serving(one, other, honest):
        assert follow(one, other, honest).head()[0].number == NOW
        assert follow(one, other).head()[0].number == late  # it may be our clock that is wrong
        assert len(one.requests) == 2


def test_no_round_is_older_than_the_one_before() -> None:
    given = [answer(NOW), answer(NOW - 5_000), answer(NOW + 1)]
    server = Server(lambda *_: given.pop(0))
    with fakes.serving(server):
        relays = follow(server)
        assert relays.head()[0].number == NOW
        with pytest.raises(AnchorError, match=r"is 15001 s old, by this machine's clock"):
            relays.head()
        assert relays.head()[0].number == NOW + 1


def test_relays_need_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py_arkworks_bls12381", None)
    with pytest.raises(ConfigError, match="lacks py_arkworks_bls12381"):
        Relays(["http://127.0.0.1:1"])


def test_addresses_of_relays_are_looked_at() -> None:
    with pytest.raises(ConfigError, match=r"beacon\.drand has 'api\.drand\.sh'"):
        parse_config('[farm]\nsite = "hill"\n[beacon]\ndrand = ["api.drand.sh"]\n', "earmark.toml")


FARM = '[farm]\nsite = "hill"\n[beacon]\nevery_s = {}\ndrand = ["{}"]\n'


@contextmanager
def running(folder: Path, url: str, every_s: float = 0.05) -> Iterator[tuple[Public, list[bytes], threading.Event]]:
    made = create_farm(folder, FARM.format(every_s, url))
    operator.found(made)
    published: list[bytes] = []
    several = threading.Event()

    def publish(message: bytes) -> None:
        published.append(message)
        if len(set(published)) > 1:
            several.set()

    gateway = Public(made, publish, Metrics())
    gateway.start()
    try:
        yield gateway, published, several
    finally:
        gateway.stop()


def test_a_farm_s_beacon_follows_quicknet_and_its_proof_needs_nothing_else(tmp_path: Path) -> None:
    real = [(number, bytes.fromhex(signature)) for number, signature in rounds.REAL.items()]
    given = [answer(*real[0]), answer(*real[1])]
    server = Server(lambda *_: given.pop(0) if len(given) > 1 else given[0])
    with fakes.serving(server), running(tmp_path / "farm", server.url) as (gateway, published, several):
        assert several.wait(20)
        first, second = list(dict.fromkeys(published))[:2]
        metrics = gateway._metrics
        assert metrics.registry.get_sample_value("earmark_drand_time_seconds") is not None
    store = SqliteStore(gateway._farm.database)
    kept = store.beacon(beacon.nonce(second))
    store.close()
    assert [source.number for source in beacon.decode(first) + beacon.decode(second)] == [1000, 657413]
    assert kept is not None
    log = small_log.single_log(second)
    made = log.proof([2], beacons=((kept[0], tuple(cbor.decode(kept[1]))),))
    report = proof.check(made.encode(), actors.OPERATOR.key)
    assert report.not_before is not None
    assert (report.not_before.chain, report.not_before.time_s) == (QUICKNET.id, QUICKNET.time_of(657413))


def test_an_unreachable_relay_is_no_alarm_but_is_seen(tmp_path: Path) -> None:
    failed = threading.Event()
    server = Server(lambda *_: failed.set() or Reply(503, b""))  # type: ignore[func-returns-value]
    with fakes.serving(server), running(tmp_path / "farm", server.url) as (gateway, published, _):
        assert failed.wait(20)
        metrics = gateway._metrics
        deadline = time.monotonic() + 20
        while metrics.drand_trouble is None and time.monotonic() < deadline:
            gateway._stop.wait(0.02)
        assert metrics.drand_trouble is not None
        doctor = Doctor(metrics, tmp_path, 10.0, lambda: True)
        assert not any(warning.reason == "drand-away" for warning in doctor.examine().warnings)
        metrics.drand_trouble = metrics.drand_trouble[0] - AWAY_S - 1, metrics.drand_trouble[1]
        health = doctor.examine()
        assert [warning.reason for warning in health.warnings] == ["drand-away"]
        assert "HTTP 503" in health.warnings[0].message
        assert not any("drand" in reason.reason for reason in health.reasons)
    assert published == []


def test_a_block_from_the_future_keeps_no_other_out_of_the_beacon(tmp_path: Path) -> None:
    made = create_farm(tmp_path / "farm", FARM.format(600, "http://127.0.0.1:1"))
    operator.found(made)
    published: list[bytes] = []
    gateway = Public(made, published.append, Metrics())
    store = SqliteStore(made.database)
    now_s = round(time.time())
    for time_s in (now_s, now_s + 10**9, now_s + 12, now_s):
        gateway._next_beacon = 0.0
        gateway._take((ChainBlock("eip155:1", 1, bytes(32), time_s), b""), store, 600.0)
    store.close()
    assert [beacon.decode(message)[0].time_s - now_s for message in published] == [0, 10**9, 12, 12]


def test_a_store_that_cannot_be_opened_ends_no_thread_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ConfigError("of another version")

    made = create_farm(tmp_path / "farm", FARM.format(600, "http://127.0.0.1:1"))
    gateway = Public(made, lambda _: None, Metrics())
    monkeypatch.setattr(public, "SqliteStore", fail)
    gateway._follow_drand()
    assert gateway._metrics.drand_trouble is not None
    assert gateway._metrics.drand_trouble[1] == "of another version"


def test_several_sources_go_out_together_the_newest_first_and_none_goes_back(tmp_path: Path) -> None:
    made = create_farm(tmp_path / "farm", FARM.format(600, "http://127.0.0.1:1"))
    operator.found(made)
    published: list[bytes] = []
    gateway = Public(made, published.append, Metrics())
    store = SqliteStore(made.database)
    block = satoshi.BEACON.block, satoshi.BEACON.header
    old, new = rounds.OWN.round(NOW + 400), rounds.OWN.round(NOW + 500)
    for head in (block, new, old):
        gateway._next_beacon = 0.0
        gateway._take(head, store, 600.0)
    store.close()
    sources = [[source.chain.partition(":")[0] for source in beacon.decode(message)] for message in published]
    assert sources[0] == ["bip122"]
    assert sorted(sources[1]) == ["bip122", "drand"]
    assert published[1] == published[2]
    assert gateway.nonce == public.beacon.nonce(published[1])
    times = [source.time_s for source in beacon.decode(published[1])]
    assert times == sorted(times, reverse=True)
