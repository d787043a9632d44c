"""The statement's layers: CBOR, COSE, SenML, the statement itself, acknowledgements, beacons, keys and signatures.

Where the firmware or the second reader of the tests decodes the same form, both must agree.
"""

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import cbor2
from judge import firmware, joined, outcome, pieces, rows, target, vectors

from earmark import ack, beacon, cbor, cose, senml, statement, verifier
from earmark.errors import BadSignature, EncodingError
from earmark.recognise import recognise

import second_statement  # isort: skip - beside this folder: judge puts it on the path
from crafted import CHOICES, chosen  # isort: skip - as the line before

fw_ack, fw_beacon, fw_cbor, fw_cose, fw_settings = map(firmware, ("ack", "beacon", "cbor", "cose", "settings"))
fw_ed25519 = firmware("ed25519")
# Its own verification takes milliseconds; `signature` compares the two.
fw_ack.ed25519 = SimpleNamespace(verify=cose.verify)  # type: ignore[attr-defined]

GATEWAY = cose.Signer(bytes.fromhex(vectors("acknowledgement")["seed"]))
STATEMENTS = rows("statement")
VALID = [bytes.fromhex(row["bytes"]) for row in vectors("statement")["valid"]]
ACKNOWLEDGEMENTS = rows("acknowledgement")


def inner(encoded: bytes, place: int) -> list[bytes]:
    """Return one byte string of a COSE_Sign1, where it is one."""
    found = outcome(EncodingError, cbor.decode, encoded)
    parts = found.value if isinstance(found, cbor2.CBORTag) else None
    return [parts[place]] if isinstance(parts, list) and len(parts) == 4 and type(parts[place]) is bytes else []


def payloads(encoded: list[bytes]) -> list[bytes]:
    return [part for each in encoded for part in inner(each, 2)]


@target([*STATEMENTS, *payloads(STATEMENTS), *rows("beacon")], 8192)
def cbor_item(encoded: bytes) -> None:
    """Gateway and firmware read the same value or both refuse; what is read has these bytes and no other."""
    ours = outcome(EncodingError, cbor.decode, encoded)
    theirs = outcome(ValueError, fw_cbor.decode, encoded)
    assert isinstance(ours, EncodingError) == isinstance(theirs, ValueError), (ours, theirs)
    if not isinstance(ours, EncodingError):
        assert fw_cbor.encode(as_firmware(ours)) == encoded
        assert fw_cbor.encode(theirs) == encoded


def as_firmware(value: Any) -> Any:
    """Return a value of the gateway's as the firmware has it."""
    if isinstance(value, Decimal):
        sign, digits, exponent = value.as_tuple()
        mantissa = int("".join(map(str, digits)))
        return fw_cbor.Fraction(exponent, -mantissa if sign else mantissa)
    if isinstance(value, cbor2.CBORTag):
        return fw_cbor.Tagged(value.tag, as_firmware(value.value))
    if isinstance(value, list):
        return [as_firmware(item) for item in value]
    return {key: as_firmware(item) for key, item in value.items()} if isinstance(value, dict) else value


@target([*STATEMENTS, *ACKNOWLEDGEMENTS, *rows("receipt")], 8192)
def sign1(encoded: bytes) -> None:
    """A COSE_Sign1 is what the firmware takes it for, where nothing is unprotected and the payload is inside."""
    ours = outcome(EncodingError, cose.decode_sign1, encoded)
    if isinstance(ours, EncodingError):
        return
    parts = [ours.protected, as_firmware(ours.unprotected), ours.payload, ours.signature]
    assert fw_cbor.encode(fw_cbor.Tagged(18, parts)) == encoded
    theirs = outcome(ValueError, fw_cose.decode_sign1, encoded)
    if ours.unprotected or ours.payload is None:
        assert isinstance(theirs, ValueError)
    else:
        assert theirs == (ours.protected, ours.payload, ours.signature)
        outcome(BadSignature, ours.verify, GATEWAY.key)


@target(STATEMENTS, statement.MAX_SIZE + 8)
def statement_raw(encoded: bytes) -> None:
    """A statement reads the same to the gateway and to the tests' second reader."""
    judge_statement(encoded)


def judge_statement(encoded: bytes) -> None:
    judge_recognised(encoded)
    ours = outcome(EncodingError, statement.decode, encoded)
    if isinstance(ours, EncodingError):
        # Its CBOR is another library's, which minds every tag: it gets only what holds none but ours.
        if is_plain(encoded):
            assert isinstance(outcome(second_statement.Refused, second_statement.Said, encoded), Exception), ours
        return
    said = second_statement.Said(encoded)
    ours_said = ours.key, ours.sub, ours.seq, ours.prev, ours.beacon, ours.clock.source, ours.entry, ours.body
    assert ours_said == (said.key, said.sub, said.seq, said.prev, said.nonce, said.source, said.entry, body_of(said))
    assert len(ours.readings) == (0 if said.kind else len(said.body))
    assert fw_cbor.encode(header_of(ours)) == ours.sign1.protected
    refusal = outcome(BadSignature, ours.verify)
    assert verifier.examine(encoded)[0] == ours.claims
    assert isinstance(refusal, BadSignature) == isinstance(verifier.examine(encoded)[1], BadSignature)


def judge_recognised(encoded: bytes) -> None:
    """What the fast way recognises, the format's own reader accepts with the same claims, and the same is verified; a
    worker's verdict comes back from it as it was.
    """
    verdict = verifier.examine(encoded)
    [(handed, error)] = verifier.unpack(verifier.pack([verdict]))
    assert (handed, type(error), str(error)) == (verdict[0], type(verdict[1]), str(verdict[1]))
    recognised = recognise(encoded)
    if recognised:
        found = statement.decode(encoded)
        signed = cose.signed_bytes(found.sign1.protected, found.sign1.payload or b"")
        claims, message = recognised
        assert claims == found.claims
        assert message.removeprefix(found.sign1.signature) == signed


def is_plain(encoded: bytes) -> bool:
    parts = [encoded, *inner(encoded, 0), *inner(encoded, 2)]
    return not any(isinstance(outcome(ValueError, fw_cbor.decode, part), ValueError) for part in parts)


def body_of(said: second_statement.Said) -> Any:
    return said.body if said.kind else None


def header_of(found: statement.Statement) -> dict[int, Any]:
    """Return the protected header that these fields are written as."""
    claims = {
        statement.ISS: cose.did(found.key),
        statement.SUB: found.sub,
        statement.IAT: found.issued_at_s,
        statement.NONCE: found.beacon,
        statement.BOOT_COUNT: found.boot_count,
        statement.SOFTWARE: None if found.software is None else [found.software],
        statement.CHAIN: [found.seq, found.prev],
        statement.CLOCK: [found.clock.source, found.clock.error_s, found.clock.uptime_s],
        statement.METHOD: found.method,
    }
    content = statement.SENML if found.body is None else statement.BODY
    present = {label: value for label, value in claims.items() if value is not None}
    header = {cose.ALG: found.sign1.header[cose.ALG], cose.CONTENT_TYPE: content, cose.KID: cose.kid(found.key)}
    return {**header, cose.CLAIMS: present}


def parts_of(encoded: bytes) -> bytes:
    found = statement.decode(encoded)
    header = found.sign1.header
    content = cbor.encode(header[cose.CONTENT_TYPE])
    return joined([content, cbor.encode(header[cose.CLAIMS]), found.sign1.payload or b""])


@target(map(parts_of, VALID), 2048)
def statement_parts(encoded: bytes) -> None:
    """As `statement_raw`, with content type, claims and payload wrapped so that every outer length and kid fits."""
    content, claims, payload = (*pieces(encoded), b"", b"", b"")[:3]
    at = claims.find(b"did:key:z")
    key = outcome(EncodingError, cose.key_of, claims[at : at + 56].decode("latin-1"))
    kid = bytes(8) if isinstance(key, EncodingError) else cose.kid(key)
    protected = b"\xa4\x01\x27\x03" + content + b"\x04\x48" + kid + b"\x0f" + claims
    judge_statement(cose.encode_sign1(protected, {}, payload, bytes(64)))


@target(payloads(STATEMENTS), 8192)
def senml_pack(encoded: bytes) -> None:
    """A pack is refused, or resolves to a reading for each record, each name beginning with the base."""
    records = outcome(EncodingError, cbor.decode, encoded)
    first = records[0] if isinstance(records, list) and records else None
    base = first.get(senml.BASE_NAME) if isinstance(first, dict) else ""
    if isinstance(outcome(EncodingError, senml.check_profile, records, base), EncodingError):
        return
    readings = outcome(EncodingError, senml.resolve, records)
    if not isinstance(readings, EncodingError):
        assert len(readings) == len(records)
        assert all(reading.name.startswith(base) for reading in readings)


@target(ACKNOWLEDGEMENTS, ack.MAX_SIZE + 8)
def acknowledgement(encoded: bytes) -> None:
    """An acknowledgement frees the same statements for the gateway's reader and for the node's."""
    judge_acknowledgement(encoded)


def judge_acknowledgement(encoded: bytes) -> None:
    ours = outcome(EncodingError, verified, encoded)
    kid = bytes(8) if isinstance(ours, EncodingError) else ours.kid
    theirs = outcome(ValueError, node_verified, encoded, kid)
    assert isinstance(ours, EncodingError) == isinstance(theirs, ValueError), (ours, theirs)
    if not isinstance(ours, EncodingError):
        assert (list(ours.runs), list(ours.refused)) == (theirs.runs, theirs.refused)
        assert ours.checkpoint == theirs.checkpoint
        assert ack.sign(GATEWAY, ours) == encoded


def verified(encoded: bytes) -> ack.Acknowledgement:
    try:
        return ack.decode(encoded, GATEWAY.key)
    except BadSignature as error:
        raise EncodingError(str(error)) from error


def node_verified(encoded: bytes, kid: bytes) -> Any:
    try:
        return fw_ack.verify(encoded, GATEWAY.key, kid)
    except BadSignature as error:
        raise ValueError(str(error)) from error


@target(payloads(ACKNOWLEDGEMENTS), ack.MAX_SIZE - 150)
def acknowledgement_payload(encoded: bytes) -> None:
    """As `acknowledgement`, with the payload signed by the gateway: what a gateway gone mad could send."""
    header = {cose.ALG: cose.EDDSA, cose.CONTENT_TYPE: ack.CONTENT, cose.KID: GATEWAY.kid}
    judge_acknowledgement(cose.sign1(GATEWAY, header, encoded))


@target(rows("beacon"), beacon.MAX_SIZE + 8)
def beacon_message(encoded: bytes) -> None:
    """A beacon is one for the gateway and for the node, with one nonce."""
    ours = outcome(EncodingError, beacon.decode, encoded)
    theirs = outcome(ValueError, fw_beacon.nonce, encoded)
    assert isinstance(ours, EncodingError) == isinstance(theirs, ValueError), (ours, theirs)
    if not isinstance(ours, EncodingError):
        assert theirs == beacon.nonce(encoded)
        assert beacon.encode(ours) == encoded


@target([row["did"].encode() for kind in ("valid", "must_reject") for row in vectors("key")[kind]], 100)
def did(encoded: bytes) -> None:
    """A did names one key, the same for gateway, node and second reader."""
    text = encoded.decode(errors="replace")
    ours = outcome(EncodingError, cose.key_of, text)
    second = outcome(second_statement.Refused, second_statement.key_of, text)
    node = outcome(fw_settings.SettingsError, fw_settings.public_key, text)
    if isinstance(ours, EncodingError):
        assert isinstance(second, Exception)
        assert isinstance(node, Exception) or len(text) == 64
    else:
        assert ours == second == node
        assert cose.did(ours) == text


MESSAGE = b"a message of the test"
SIGNATURES = [joined([GATEWAY.key, MESSAGE, GATEWAY.sign(MESSAGE)]), joined([bytes(32), b"", bytes(64)])]


@target(SIGNATURES, 300)
def signature(encoded: bytes) -> None:
    """Whatever stands for key, message and signature is verified or refused, by the node and dryoc as by libsodium."""
    key, message, signed = (*pieces(encoded), b"", b"", b"")[:3]
    refusal = outcome(BadSignature, cose.verify, key, message, signed)
    assert is_accepted(key, message, signed) is (refusal is None)
    assert cose.is_point(key) or refusal is not None
    theirs = outcome(ValueError, fw_ed25519.verify, key, message, signed)
    assert (refusal is None) == (theirs is None), (refusal, theirs)


def is_accepted(key: bytes, message: bytes, signed: bytes) -> bool:
    """Return libsodium's verdict on a signature, which must be dryoc's too where that is installed."""
    verdict = cose.accepts_libsodium(key, message, signed)
    assert not cose.has_dryoc or cose.accepts_dryoc(key, message, signed) is verdict, (verdict, key, message, signed)
    return verdict


# Good, of a part of small order each, of small order, in other encodings, S beyond the order, a bit flipped.
CHOSEN = (
    [bytes([7, i, 6, j]) for i in (0, 1, 2, 4) for j in (0, 1, 2, 4)]
    + [bytes([a, i, r, 4, form, form]) for a, r in ((0, 6), (7, 0), (0, 0)) for i in (0, 4) for form in (0, 1, 3)]
    + [bytes([7, 0, 6, 0, 0, 0, wraps, flip]) for wraps in (0, 242, 255) for flip in (0, 192, 193, 194)]
)


@target([octets.ljust(CHOICES, b"\0") + MESSAGE for octets in CHOSEN], CHOICES + 64)
def verifiers(encoded: bytes) -> None:
    """A signature crafted at the curve's edges, each byte choosing a part of it, gets its verdict from both."""
    made = chosen(encoded)
    assert is_accepted(made.key, made.message, made.signature) is made.is_good, made
