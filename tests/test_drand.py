"""Rounds of drand, checked offline: the pinned ones, many at once, and a verifier without the curve's arithmetic."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parent / "vectors"))

import actors
import proofs
import rounds
import satoshi
import small_log

from earmark import beacon, cbor, evidence, proof
from earmark.errors import ProofError
from earmark.evidence import drand
from earmark.evidence.drand import NETWORKS, QUICKNET, Network
from pinned import named, network, vectors

DRAND = vectors("drand")
OWN = {rounds.OWN.network.id: rounds.OWN.network}


def judge(row: dict[str, Any], networks: dict[str, Network]) -> list[evidence.ChainBlock]:
    message, octets = cbor.decode(bytes.fromhex(row["bytes"]))
    pairs = list(zip(beacon.decode(message), octets, strict=True))
    for pair in pairs:
        evidence.check_source(*pair, networks)
    return list(drand.verify_known(pairs, networks))


@pytest.mark.parametrize("row", **named(DRAND["valid"]))
def test_rounds(row: dict[str, Any]) -> None:
    told = network(row["network"])
    [found] = judge(row, {told.id: told})
    assert {"chain": found.chain, "round": found.number, "time_s": found.time_s} == row["source"]


@pytest.mark.parametrize("row", **named(DRAND["must_reject"]))
def test_rounds_that_must_be_refused(row: dict[str, Any]) -> None:
    told = network(row["network"])
    with pytest.raises(ProofError):
        judge(row, {told.id: told})
    if row["why"] == "signature":
        assert judge(row, {}) == []


@pytest.mark.parametrize("row", DRAND["valid"][:3:2])
def test_a_network_is_named_by_the_hash_of_its_parameters(row: dict[str, Any]) -> None:
    told = network(row["network"])
    group = bytes.fromhex(DRAND["group_hashes"][told.name])
    assert rounds.chain_hash(told.key, told.genesis_s, told.period_s, group, told.name) == told.hash


def test_quicknet_is_what_everybody_has_by_default() -> None:
    assert dict(NETWORKS) == {"drand:52db9ba70e0cc0f6eaf7803dd07447a1": QUICKNET}
    assert network(DRAND["valid"][0]["network"]) == QUICKNET


@pytest.mark.parametrize("wrong", [0, 1, 17, 18])
def test_of_many_rounds_the_false_one_is_named(wrong: int) -> None:
    many = [(number, rounds.OWN.sign(number)) for number in range(1, 20)]
    drand.verify(rounds.OWN.network, many)
    many[wrong] = many[wrong][0], rounds.OTHERS.sign(wrong + 1)
    with pytest.raises(ProofError, match=rf"round {wrong + 1} is not that of drand's earmark-test"):
        drand.verify(rounds.OWN.network, many)


def test_false_rounds_do_not_cancel_out() -> None:
    one, other = rounds.OWN.sign(1), rounds.OWN.sign(2)
    with pytest.raises(ProofError, match="round 1 is not"):
        drand.verify(rounds.OWN.network, [(1, other), (2, one)])  # their sum is right


def test_one_round_of_many_beacons_is_verified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(drand, "verify", lambda _, pairs: seen.append(len(pairs)))
    drand.verify_known([rounds.OWN.round(number) for number in (1, 2, 1, 1, 2)], OWN)
    assert seen == [2]


def test_a_proof_over_several_rounds_dates_each_statement_by_its_own() -> None:
    log = small_log.Log()
    log.enrol(actors.GATEWAY.key, "gateway", actors.ORIGIN)
    log.enrol(actors.TOMATO.key, "node", "tomato-1")
    rows = sorted(rounds.row([rounds.OWN.round(number)]) for number in (700, 800, 900))
    for message, _ in rows:
        log.node(actors.TOMATO, "tomato-1", small_log.pack("tomato-1", 215), method=0, beacon=beacon.nonce(message))
    report = proof.check(log.proof([2, 3, 4], beacons=tuple(rows)).encode(), actors.OPERATOR.key, networks=OWN)
    times = [subject.not_before.time_s for subject in report.subjects if subject.not_before]
    assert sorted(times) == [rounds.OWN.network.time_of(number) for number in (700, 800, 900)]
    assert report.not_before is not None
    assert report.not_before.number == 700
    assert report.to_compare() == []


def row_of(name: str) -> bytes:
    return next(bytes.fromhex(row["bytes"]) for row in vectors("proof")["valid"] if row["name"] == name)


def test_a_round_makes_the_lower_bound_without_anything_of_the_verifiers() -> None:
    report = proof.check(row_of("a round of quicknet and a Bitcoin block"), actors.OPERATOR.key)
    [step] = [step for step in report.steps if step.number == 7]
    assert step.proven
    assert "1 statement(s) signed after round 657413 of drand's quicknet, 2023-09-15" in step.finding


def test_a_block_is_offered_for_comparison_where_it_is_newer_than_the_round() -> None:
    block = satoshi.BEACON.block, satoshi.BEACON.header
    for made, offered in ((rounds.OWN.round(rounds.NEWEST), []), (rounds.OWN.round(5), [block[0]])):
        assert (made[0].time_s < block[0].time_s) == bool(offered)
        encoded = proofs._with_rounds(made, block).encode()
        report = proof.check(encoded, actors.OPERATOR.key, networks=OWN)
        assert (report.not_before, report.to_compare()) == (made[0], offered)
        given = proof.check(encoded, actors.OPERATOR.key, [(block[0].place, block[0].hash)], networks=OWN)
        assert (given.not_before, given.to_compare()) == (offered[0] if offered else made[0], [])


def test_without_the_library_nothing_fails_and_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py_arkworks_bls12381", None)
    assert not drand.can_verify()
    block, _ = rounds.real(657413)
    mixed = row_of("a round of quicknet and a Bitcoin block")
    report = proof.check(mixed, actors.OPERATOR.key)
    assert report.not_before is None
    said = [step.finding for step in report.steps if step.number == 7 and not step.proven]
    assert any("lacks py_arkworks_bls12381" in finding and "compare" in finding for finding in said)
    assert block in report.to_compare()
    given = proof.check(mixed, actors.OPERATOR.key, [(block.place, block.hash)])  # looked up at one of drand's relays
    assert given.not_before == block


def test_a_round_s_randomness_shows_nothing_under_another_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py_arkworks_bls12381", None)
    block, signature = rounds.real(1000)
    later = proofs._with_rounds((drand.make_round(QUICKNET, 657413, signature), signature)).encode()
    with pytest.raises(ProofError, match="is not one that this file leads to"):
        proof.check(later, actors.OPERATOR.key, [(block.place, block.hash)])


def test_a_false_round_in_the_store_would_be_found_by_the_audit() -> None:
    from earmark.audit.blocks import _evidence_fits

    block, signature = rounds.real(1000)
    message, octets = rounds.row([(block, signature)])
    assert _evidence_fits(message, cbor.encode(list(octets)))
    later = rounds.real(657413)[1]
    message, octets = rounds.row([(drand.make_round(QUICKNET, 1000, later), later)])
    with pytest.raises(ProofError, match="round 1000 is not that of drand's quicknet"):
        _evidence_fits(message, cbor.encode(list(octets)))


def test_an_unknown_network_is_said_to_be_unknown() -> None:
    report = proof.check(proofs._with_rounds(rounds.OWN.round(5)).encode(), actors.OPERATOR.key)
    [said] = [step.finding for step in report.steps if step.number == 7 and "carries" in step.finding]
    assert said.endswith("that network of drand is not known here")
    assert report.to_compare() == []  # of such a round the time is the file's word, whatever is compared
