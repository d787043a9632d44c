"""Proof files: the pinned ones, and every bit of one."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).resolve().parent / "vectors"))

import actors
import proofs
import small_log
from evidences import MESSAGE

import chain
from earmark import beacon, cbor, cose, proof
from earmark.errors import ProofError
from earmark.evidence import ChainBlock
from earmark.evidence.drand import NETWORKS
from earmark.note import COSIGNATURE, VerifierKey, decode_verifier_key
from pinned import named, network, vectors

NONCE = beacon.nonce(MESSAGE)

PROOFS = vectors("proof")
CHUNKS = 24


def arguments(row: dict[str, Any]) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
    blocks = [(chain, bytes.fromhex(octets)) for chain, octets in row["blocks"]]
    return bytes.fromhex(row["bytes"]), cose.key_of(row["operator"]), blocks


def inputs(row: dict[str, Any]) -> dict[str, Any]:
    """What a verifier brings besides block hashes."""
    return {
        "witnesses": witnesses(row),
        "networks": NETWORKS | {each.id: each for each in map(network, row["networks"])},
    }


def witnesses(row: dict[str, Any]) -> list[VerifierKey]:
    return [decode_verifier_key(text, COSIGNATURE) for text in row["witnesses"]]


SMALL, OPERATOR, BLOCKS = arguments(PROOFS["valid"][0])
BODY: bytes = cbor.decode(SMALL)[2]


def wrapped(body: bytes) -> bytes:
    return cbor.encode([proof.MAGIC, hashlib.sha256(body).digest(), body])


@pytest.mark.parametrize("row", **named(PROOFS["valid"]))
def test_valid_proofs(row: dict[str, Any]) -> None:
    report = proof.check(*arguments(row), **inputs(row))
    assert [[each.name, each.time_s] for each in report.witnessed] == row["witnessed"]
    assert [step.proven for step in report.steps if step.number == 10].count(True) == len(row["witnessed"])
    assert [subject.index for subject in report.subjects] == row["subjects"]
    for subject in report.subjects:
        before = subject.not_before
        assert (before.time_s if before else None) == row["not_before_s"]
    assert (report.not_after.time_s if report.not_after else None) == row["not_after_s"]
    proven = {step.number for step in report.steps if step.proven}
    assert proven >= {1, 2, 3, 4, 5, 6}
    assert (7 in proven, 8 in proven) == (row["not_before_s"] is not None, row["not_after_s"] is not None)
    assert all(step.title for step in report.steps)


@pytest.mark.parametrize("row", **named(PROOFS["must_reject"]))
def test_proofs_that_must_be_refused(row: dict[str, Any]) -> None:
    with pytest.raises(ProofError) as refusal:
        proof.check(*arguments(row), **inputs(row))
    assert refusal.value.step == row["step"]
    assert f"step {row['step']} " in str(refusal.value)


@pytest.mark.parametrize("row", **named(PROOFS["valid"]))
def test_a_decoded_proof_encodes_to_the_same_bytes(row: dict[str, Any]) -> None:
    encoded = bytes.fromhex(row["bytes"])
    assert proof.decode_proof(encoded).encode() == encoded


def test_what_was_not_measured_is_said() -> None:
    report = proof.check(*arguments(PROOFS["valid"][1]))
    assert [(subject.method, subject.signer and subject.signer.name) for subject in report.subjects] == [
        ("measured", "tomato-1"),
        ("modelled", "cellar-2"),
    ]
    assert any("modelled" in text for text in report.not_established)
    assert not any("modelled" in text for text in proof.check(SMALL, OPERATOR).not_established)


def test_the_registry_is_whole_as_of_the_block_and_later_revocations_are_not_excluded() -> None:
    report = proof.check(*arguments(PROOFS["valid"][0]))
    assert report.header.registry == report.registry.head
    assert any("revoked no key after this block was sealed" in said for said in report.not_established)


def test_the_latest_vouched_source_and_the_earliest_vouched_anchor_count() -> None:
    report = proof.check(SMALL, OPERATOR, BLOCKS)
    assert [(block.chain, block.hash) for block in report.blocks] == BLOCKS
    assert [judged for _, judged in report.anchors] == [True]
    assert isinstance(report.not_after, ChainBlock)
    assert report.subjects[0].not_before is not None
    assert report.subjects[0].not_before.time_s < report.subjects[0].statement.issued_at_s < report.not_after.time_s


@pytest.mark.parametrize(
    ("issued", "taken", "is_wrong"), [(0, 0, 0), (-90, 0, 1), (100, 0, 1), (0, 100, 1), (0, -900, 0)]
)
def test_times_that_the_chain_contradicts_are_named(issued: int, taken: int, is_wrong: int) -> None:
    log = small_log.Log()
    log.enrol(actors.GATEWAY.key, "gateway", actors.ORIGIN)
    log.enrol(actors.TOMATO.key, "node", "tomato-1")
    [record] = small_log.pack("tomato-1", 215)
    said = [record | {-3: actors.T0 + taken}]
    log.node(actors.TOMATO, "tomato-1", said, method=0, beacon=NONCE, issued_at_s=actors.T0 + issued)
    made, after = proofs.anchored(log, [2])
    blocks = [(block.chain, block.hash) for block in (chain.BEACON.block, after.block)]
    report = proof.check(made.encode(), actors.OPERATOR.key, blocks)
    assert len(report.misdated()) == is_wrong
    assert proof.check(made.encode(), actors.OPERATOR.key).misdated() == []


def test_every_truncation_is_refused_in_step_1() -> None:
    for length in range(len(SMALL)):
        with pytest.raises(ProofError) as refusal:
            proof.check(SMALL[:length], OPERATOR, BLOCKS)
        assert refusal.value.step == 1


def test_a_file_of_too_many_statements_is_refused_in_step_1(monkeypatch: pytest.MonkeyPatch) -> None:
    count = len(proof.decode_proof(SMALL).statements)
    monkeypatch.setattr(proof, "MAX_STATEMENTS", count)
    proof.decode_proof(SMALL)
    monkeypatch.setattr(proof, "MAX_STATEMENTS", count - 1)
    with pytest.raises(ProofError, match="too many statements"):
        proof.decode_proof(SMALL)


@pytest.mark.parametrize("padding", [b"\0", b"\n", SMALL, b"\xf6" * 100])
def test_padding_is_refused_in_step_1(padding: bytes) -> None:
    for padded in (SMALL + padding, padding + SMALL, wrapped(BODY + padding)):
        with pytest.raises(ProofError) as refusal:
            proof.check(padded, OPERATOR, BLOCKS)
        assert refusal.value.step == 1


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_any_flipped_bit_of_the_file_is_refused(chunk: int) -> None:
    for bit in range(chunk, 8 * len(SMALL), CHUNKS):
        altered = bytearray(SMALL)
        altered[bit >> 3] ^= 1 << (bit & 7)
        with pytest.raises(ProofError):
            proof.check(bytes(altered), OPERATOR, BLOCKS)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_any_flipped_bit_of_the_body_is_refused_although_the_digest_fits(chunk: int) -> None:
    for bit in range(chunk, 8 * len(BODY), CHUNKS):
        altered = bytearray(BODY)
        altered[bit >> 3] ^= 1 << (bit & 7)
        with pytest.raises(ProofError):
            proof.check(wrapped(bytes(altered)), OPERATOR, BLOCKS)


@settings(deadline=None)
@given(st.sampled_from(PROOFS["valid"]), st.data())
def test_altered_bodies_raise_nothing_but_proof_errors(row: dict[str, Any], data: st.DataObject) -> None:
    encoded, operator, blocks = arguments(row)
    right: bytes = cbor.decode(encoded)[2]
    altered = bytearray(right)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(altered)))
        altered[at : at + data.draw(st.integers(0, 6))] = data.draw(st.binary(max_size=6))
    try:
        proof.check(wrapped(bytes(altered)), operator, blocks)
    except ProofError:
        return
    # Without the verifier's hashes, a beacon's or anchor's block may be any: it is reported as not proven.
    assert altered == right or len(blocks) < 2


items = st.recursive(
    st.integers(-5, 1 << 64) | st.binary(max_size=40) | st.text(max_size=8) | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(0, 9), inner, max_size=4),
    max_leaves=8,
)


@given(st.integers(1, 8), items)
def test_a_label_with_any_other_value_raises_nothing_but_a_proof_error(label: int, value: Any) -> None:
    body = cbor.decode(BODY)
    changed = {**body, label: value}
    if changed != body:
        with pytest.raises(ProofError):
            proof.check(wrapped(cbor.encode(changed)), OPERATOR, BLOCKS)
