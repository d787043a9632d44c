"""Transparent statements and tlog-proofs: pinned, and checked by other people's tools and the second implementation."""

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cbor2
import pytest
import scitt_cose
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cwt import COSE, COSEKey
from pycose.keys import OKPKey
from pycose.keys.curves import Ed25519
from pycose.messages import Sign1Message

sys.path.append(str(Path(__file__).resolve().parent / "vectors"))

from cosigners import NEIGHBOURS, OTHER, VKEY, cosigned

from earmark import cose, statement, unpack
from earmark.block import encode_transparent
from earmark.errors import EncodingError, ProofError
from earmark.proof import Proof, decode_proof
from earmark.prover import prove
from earmark.store.sqlite import SqliteStore
from pinned import named, vectors
from sample_farm import SampleFarm
from second_note import check_witness
from second_standard import check_tlog_proof, check_transparent
from second_statement import Refused, Said, sha256
from second_statement import unpack as plain

TRANSPARENT, INCLUSION = vectors("transparent"), vectors("inclusion")
GATEWAY = bytes.fromhex(TRANSPARENT["key"])
ORIGIN = INCLUSION["log"].split("+")[0]
DOCUMENT = (Path(__file__).resolve().parent.parent / "docs" / "protocol.md").read_text()
ROWS = [row | {"name": f"leaf {row['index']}"} for row in TRANSPARENT["valid"]]


def octets(row: dict[str, Any], name: str) -> bytes:
    return bytes.fromhex(row[name])


def flips(whole: bytes) -> Iterator[bytes]:
    """The bytes with one bit turned, at every place."""
    for place in range(len(whole)):
        yield whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :]


# transparent statements


@pytest.mark.parametrize("row", **named(ROWS))
def test_a_transparent_statement_is_the_statement_with_its_receipt(row: dict[str, Any]) -> None:
    whole = octets(row, "bytes")
    assert whole == encode_transparent(octets(row, "statement"), octets(row, "receipt"))
    said, index, size, root = check_transparent(whole, GATEWAY, ORIGIN)
    assert (index, size, root.hex()) == (row["index"], TRANSPARENT["size"], TRANSPARENT["root"])
    assert said.entry == sha256(octets(row, "statement"))


def test_no_bit_of_a_transparent_statement_can_be_turned() -> None:
    for bent in flips(octets(ROWS[1], "bytes")):
        with pytest.raises((Refused, AttributeError, KeyError, TypeError, ValueError)):
            check_transparent(bent, GATEWAY, ORIGIN)


@pytest.mark.parametrize("row", **named(ROWS))
def test_pycose_verifies_statement_and_receipt(row: dict[str, Any]) -> None:
    message = Sign1Message.decode(octets(row, "bytes"))
    signer = Said(octets(row, "statement")).key
    for key, verifies in ((signer, True), (GATEWAY, signer == GATEWAY)):
        message.key = OKPKey(crv=Ed25519, x=key)
        assert message.verify_signature() is verifies
    [receipt] = message.uhdr[394]
    found = Sign1Message.decode(receipt)
    found.key = OKPKey(crv=Ed25519, x=GATEWAY)
    assert found.payload is None
    assert found.verify_signature(bytes.fromhex(TRANSPARENT["root"])) is True
    assert found.verify_signature(bytes(32)) is False


def pem(key: bytes) -> bytes:
    return Ed25519PublicKey.from_public_bytes(key).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("row", **named(ROWS))
def test_scitt_cose_verifies_statement_and_receipt(row: dict[str, Any]) -> None:
    whole, said = octets(row, "bytes"), Said(octets(row, "statement"))
    parsed = scitt_cose.parse_signed_statement(whole, public_key_pem=pem(said.key))
    assert parsed["signature_verified"] is True
    assert parsed["issuer"] == cose.did(said.key)
    assert parsed["subject"] == said.sub
    [receipt] = scitt_cose.extract_receipts(whole)
    assert receipt == octets(row, "receipt")
    found = scitt_cose.verify_receipt(receipt, leaf_entry_hex=said.entry.hex(), log_public_key_pem=pem(GATEWAY))
    assert found.errors == []
    assert found.ok
    assert (found.root, found.tree_size, found.leaf_index) == (TRANSPARENT["root"], TRANSPARENT["size"], row["index"])
    assert (found.issuer, found.subject) == (cose.did(GATEWAY), ORIGIN)
    for entry, key in ((bytes(32), GATEWAY), (said.entry, VKEY.key)):
        assert not scitt_cose.verify_receipt(receipt, leaf_entry_hex=entry.hex(), log_public_key_pem=pem(key)).ok


def test_scitt_cose_refuses_a_statement_whose_bits_were_turned() -> None:
    whole, key = octets(ROWS[1], "bytes"), pem(Said(octets(ROWS[1], "statement")).key)
    receipt_at = whole.index(octets(ROWS[1], "receipt"))
    receipt_end = receipt_at + len(octets(ROWS[1], "receipt"))
    for place in [*range(10, receipt_at - 10, 7), *range(receipt_end, len(whole), 5)]:
        bent = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        assert scitt_cose.parse_signed_statement(bent, public_key_pem=key)["signature_verified"] is not True


@pytest.mark.parametrize("row", **named(ROWS))
def test_cwt_verifies_statement_and_receipt(row: dict[str, Any]) -> None:
    def known(key: bytes) -> COSEKey:
        return COSEKey.new({1: 1, 2: cose.kid(key), 3: -8, 4: [2], -1: 6, -2: key})

    whole, raw = octets(row, "bytes"), octets(row, "statement")
    assert COSE.new().decode(whole, known(Said(raw).key)) == cose.decode_sign1(raw).payload
    [receipt] = cbor2.loads(whole).value[1][394]
    root = bytes.fromhex(TRANSPARENT["root"])
    assert COSE.new().decode(receipt, known(GATEWAY), detached_payload=root) == root
    with pytest.raises(Exception, match=r"verify|verification"):
        COSE.new().decode(receipt, known(GATEWAY), detached_payload=bytes(32))


def test_a_transparent_statement_is_no_statement() -> None:
    whole = octets(ROWS[0], "bytes")
    with pytest.raises(EncodingError):
        statement.decode(whole)
    with pytest.raises(EncodingError, match="unprotected"):
        encode_transparent(whole, b"receipt")
    with pytest.raises(Refused):
        Said(whole)


# tlog-proofs


@pytest.mark.parametrize("row", **named(INCLUSION["valid"]))
def test_a_tlog_proof_holds_for_the_hash_of_the_statement(row: dict[str, Any]) -> None:
    entry = sha256(octets(row, "statement"))
    assert entry == octets(row, "entry")
    index, _ = check_tlog_proof(row["text"].encode(), entry, ORIGIN, GATEWAY)
    assert index == row["index"]
    for wrong in (bytes(32), octets(row, "statement"), sha256(b"\0", entry)):
        with pytest.raises(Refused):
            check_tlog_proof(row["text"].encode(), wrong, ORIGIN, GATEWAY)


def test_the_document_s_example_names_its_entry_and_leaf() -> None:
    entry = octets(INCLUSION["valid"][1], "entry")
    assert INCLUSION["valid"][1]["text"] in DOCUMENT
    assert f"| entry | `{entry.hex()}` |\n| leaf hash | `{sha256(bytes(1), entry).hex()}` |" in DOCUMENT


def test_a_tlog_proof_carries_the_witnesses_lines() -> None:
    row = next(row for row in INCLUSION["valid"] if row["name"] == "with two witnesses")
    _, note = check_tlog_proof(row["text"].encode(), octets(row, "entry"), ORIGIN, GATEWAY)
    assert check_witness(note, VKEY.encode()) is not None
    assert check_witness(note, NEIGHBOURS.encode()) is not None


def test_no_character_of_a_tlog_proof_can_be_changed() -> None:
    row = INCLUSION["valid"][1]
    for bent in flips(row["text"].encode()):
        with pytest.raises((Refused, ValueError)):
            check_tlog_proof(bent, octets(row, "entry"), ORIGIN, GATEWAY)


# out of a proof file


@pytest.fixture(scope="module")
def proof(tmp_path_factory: pytest.TempPathFactory) -> tuple[Proof, SampleFarm]:
    sample = SampleFarm(tmp_path_factory.mktemp("standard") / "farm").fill()

    def cosign(store: SqliteStore) -> None:
        for block in list(store.blocks()):
            store.add_cosignature(block.height, cosigned(block.checkpoint))

    sample.put(cosign)
    with closing(SqliteStore(sample.farm.database)) as store:
        return prove(store, sample.farm.operator_key(), [3, 10]), sample


def test_every_statement_of_a_proof_file_comes_in_both_forms(proof: tuple[Proof, SampleFarm]) -> None:
    lot, sample = proof
    parts = {part.name: part.octets for part in unpack.unpack(decode_proof(lot.encode()))}
    key = sample.farm.signer("gateway").key
    origin = plain(Said(parts["statement-0.cose"]).payload)[3]
    for number in (0, 1, 2, 3, 10):
        said, index, size, _ = check_transparent(parts[f"statement-{number}.transparent.cose"], key, origin)
        assert (index, said.entry) == (number, sha256(parts[f"statement-{number}.cose"]))
        index, note = check_tlog_proof(parts[f"statement-{number}.tlog-proof"], said.entry, origin, key)
        assert (index, note) == (number, parts["checkpoint"])
        assert note.split(b"\n")[1] == str(size).encode()
        assert check_witness(note, VKEY.encode()) is not None
        assert OTHER not in note.decode()


def test_a_proof_file_with_a_statement_that_is_none_cannot_be_taken_apart(proof: tuple[Proof, SampleFarm]) -> None:
    lot, _ = proof
    statements = (*lot.statements[:-1], (lot.statements[-1][0], b"\xf6"))
    fields = {name: getattr(lot, name) for name in lot.__slots__} | {"statements": statements}
    with pytest.raises(ProofError, match="cannot be taken apart"):
        list(unpack.unpack(Proof(**fields)))
