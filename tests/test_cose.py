"""Keys, dids and signatures against public vectors and two other implementations."""

import json
from pathlib import Path
from typing import Any

import pytest
from cwt import COSE, COSEKey
from pycose.exceptions import CoseException
from pycose.keys import OKPKey
from pycose.keys.curves import Ed25519
from pycose.messages import Sign1Message

from earmark import cose, statement
from earmark.errors import BadSignature, EncodingError
from pinned import named, vectors

KEYS = vectors("key")
STATEMENTS = vectors("statement")["valid"]


def public(folder: Path, name: str) -> tuple[dict[str, Any], bytes]:
    case = json.loads((folder / "vectors" / "cose" / name).read_text())
    return case, bytes.fromhex(case["output"]["cbor"])


@pytest.mark.parametrize("row", KEYS["valid"], ids=lambda row: row["kid"])
def test_key_did_and_kid(row: dict[str, str]) -> None:
    signer = cose.Signer(bytes.fromhex(row["seed"]))
    assert (signer.key.hex(), signer.did, signer.kid.hex()) == (row["key"], row["did"], row["kid"])
    assert cose.key_of(row["did"]) == signer.key
    assert row["thumbprint"].startswith(row["kid"])
    assert row["origin"] == statement.origin("hillside", signer.key)
    assert row["seed"] not in repr(signer)


@pytest.mark.parametrize("row", KEYS["must_reject"], ids=lambda row: row["did"])
def test_dids_that_are_not_canonical_are_refused(row: dict[str, str]) -> None:
    with pytest.raises(EncodingError):
        cose.key_of(row["did"])


def test_public_eddsa_example(shared: Path) -> None:
    case, encoded = public(shared, "eddsa-examples/eddsa-sig-01.json")
    sign1 = cose.decode_sign1(encoded)
    assert (
        cose.signed_bytes(sign1.protected, sign1.payload or b"").hex() == case["intermediates"]["ToBeSign_hex"].lower()
    )
    key = bytes.fromhex(case["input"]["sign0"]["key"]["x_hex"])
    sign1.verify(key)
    signer = cose.Signer(bytes.fromhex(case["input"]["sign0"]["key"]["d_hex"]))
    assert (signer.key, signer.sign(cose.signed_bytes(sign1.protected, sign1.payload or b""))) == (key, sign1.signature)
    with pytest.raises(EncodingError, match="unprotected"):
        statement.decode(encoded)


def test_public_sign1_tests(shared: Path) -> None:
    """They are signed with P-256; what applies is the structure, and the bytes that are signed."""
    case, encoded = public(shared, "sign1-tests/sign-pass-01.json")
    sign1 = cose.decode_sign1(encoded)
    assert sign1.protected == b"\xa0"  # which counts as empty where it is signed
    assert cose.signed_bytes(b"", sign1.payload or b"").hex() == case["intermediates"]["ToBeSign_hex"].lower()
    with pytest.raises(EncodingError):
        cose.decode_sign1(public(shared, "sign1-tests/sign-fail-01.json")[1])
    for number in (2, 3, 4, 6, 7):
        case, encoded = public(shared, f"sign1-tests/sign-fail-0{number}.json")
        sign1 = cose.decode_sign1(encoded)
        signed = cose.signed_bytes(sign1.protected, sign1.payload or b"").hex()
        assert signed != case["intermediates"]["ToBeSign_hex"].lower()
        with pytest.raises(EncodingError):
            statement.decode(encoded)


def test_public_ed25519_signatures(shared: Path) -> None:
    groups = json.loads((shared / "vectors/wycheproof/ed25519_test.json").read_text())["testGroups"]
    counts = {"valid": 0, "invalid": 0}
    for group in groups:
        key = bytes.fromhex(group["publicKey"]["pk"])
        for case in group["tests"]:
            message, signature = bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"])
            counts[case["result"]] += 1
            if case["result"] == "valid":
                cose.verify(key, message, signature)
            else:
                with pytest.raises(BadSignature):
                    cose.verify(key, message, signature)
    assert counts == {"valid": 88, "invalid": 63}


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), bytes(32), b"\1" + bytes(31), b"\xff" * 32])
def test_keys_that_are_none_verify_nothing(key: bytes) -> None:
    with pytest.raises(BadSignature):
        cose.verify(key, b"", bytes(64))
    assert not cose.is_point(key)


def test_a_detached_payload_must_be_given() -> None:
    signer = cose.Signer(bytes(32))
    sign1 = cose.decode_sign1(cose.sign1(signer, {1: -8}, b"payload", detached=True))
    sign1.verify(signer.key, b"payload")
    for wrong in (None, b"another"):
        with pytest.raises(BadSignature):
            sign1.verify(signer.key, wrong)


@pytest.mark.parametrize("row", **named(STATEMENTS))
def test_pycose_verifies_our_statements(row: dict[str, Any]) -> None:
    raw = bytes.fromhex(row["bytes"])
    if row["alg"] == cose.ED25519:
        with pytest.raises(CoseException, match="-19"):  # pycose 1.1 does not know RFC 9864 yet
            Sign1Message.decode(raw)
        return
    message = Sign1Message.decode(raw)
    for seed, verifies in ((row["seed"], True), ("00" * 32, False)):
        message.key = OKPKey(crv=Ed25519, x=cose.Signer(bytes.fromhex(seed)).key)
        assert message.verify_signature() is verifies


@pytest.mark.parametrize("row", **named(STATEMENTS))
def test_cwt_verifies_our_statements(row: dict[str, Any]) -> None:
    signer = cose.Signer(bytes.fromhex(row["seed"]))
    raw = bytes.fromhex(row["bytes"])
    # cwt looks keys up by kid, and wants key_ops to say what the key is for.
    key = COSEKey.new({1: 1, 2: signer.kid, 3: -8, 4: [2], -1: 6, -2: signer.key})
    assert COSE.new().decode(raw, key) == cose.decode_sign1(raw).payload
    with pytest.raises(Exception, match=r"verify|verification"):
        COSE.new().decode(raw[:-1] + bytes([raw[-1] ^ 1]), key)
