"""What lies above statements: headers, checkpoints, receipts, chain evidence, proof files, and the configuration."""

import base64
import hashlib

from judge import MARK, joined, outcome, pieces, rows, target, vectors

from earmark import block, cbor, consistency, cose, cosignature, mpt, note, unpack
from earmark.errors import BadSignature, ConfigError, EarmarkError, EncodingError, ProofError
from earmark.evidence import evm
from earmark.proof import MAGIC, check, decode_proof
from earmark.settings import parse_config
from earmark.witness.folder import parse_settings

CHECKPOINTS = [row["text"].encode() for kind in ("valid", "must_reject") for row in vectors("checkpoint")[kind]]
CHECKPOINT = block.decode_checkpoint(CHECKPOINTS[0])
RECEIPT = vectors("receipt")
GATEWAY = bytes.fromhex(RECEIPT["key"])
EVIDENCE = [row for row in vectors("evidence")["valid"] if row["chain"].startswith("eip155:")]
CHAIN, DIGEST = EVIDENCE[0]["chain"], bytes.fromhex(EVIDENCE[0]["digest"])
PROOFS = vectors("proof")
OPERATOR = cose.key_of(PROOFS["valid"][0]["operator"])
BLOCKS = [(chain, bytes.fromhex(octets)) for chain, octets in PROOFS["valid"][0]["blocks"]]


@target(rows("header"), 200)
def header(encoded: bytes) -> None:
    """A header is its 176 bytes and nothing else."""
    found = outcome(EncodingError, block.decode_header, encoded)
    if not isinstance(found, EncodingError):
        assert found.encode() == encoded
        outcome(ProofError, block.check_block, found, CHECKPOINT)


@target(CHECKPOINTS, 600)
def checkpoint(encoded: bytes) -> None:
    """A checkpoint's fields make up its text, byte for byte."""
    found = outcome(EncodingError, block.decode_checkpoint, encoded)
    if isinstance(found, EncodingError):
        return
    extension = f"earmark-block {found.height} {base64.b64encode(found.block_hash).decode()}"
    text = f"{found.origin}\n{found.size}\n{base64.b64encode(found.root).decode()}\n{extension}\n".encode()
    assert found.signed == text
    line = base64.b64encode(found.key_id + found.signature).decode()
    assert encoded == text + f"\n\u2014 {found.origin} {line}\n".encode()
    outcome(BadSignature, found.verify, RECEIPT["origin"], GATEWAY)


COSIGNED = [row["text"].encode() for kind in ("valid", "must_reject") for row in vectors("cosignature")[kind]]
WITNESS = note.decode_verifier_key(vectors("cosignature")["vkey"], note.COSIGNATURE)
CONSISTENT = [row["text"].encode() for kind in ("valid", "must_reject") for row in vectors("consistency")[kind]]
LOG = note.decode_verifier_key(vectors("consistency")["log"], note.ED25519)


@target([text for text in COSIGNED if len(text) < 2048], 2048)
def cosigned_checkpoint(encoded: bytes) -> None:
    """A checkpoint with cosignatures is refused, or is the one text of its parts."""
    found = outcome(EncodingError, cosignature.split, encoded)
    if isinstance(found, EncodingError):
        return
    signed, lines = found
    assert len(lines) <= cosignature.MOST
    assert signed + "".join(each.encode() for each in lines).encode() == encoded
    for each in lines:
        outcome(BadSignature, each.verify, WITNESS, signed)


@target([text for text in COSIGNED if len(text) < 2048], 2048)
def signed_note(encoded: bytes) -> None:
    """Any note is refused, or is the one text of its parts; its text is a tree head or is not."""
    found = outcome(EncodingError, note.decode_note, encoded)
    if isinstance(found, EncodingError):
        return
    assert 1 <= len(found.signatures) <= note.MOST_SIGNATURES
    lines = "".join(note.encode_line(name, blob) for name, blob in found.signatures)
    assert found.text + b"\n" + lines.encode() == encoded
    head = outcome(EncodingError, cosignature.decode_tree_head, found.text)
    if not isinstance(head, EncodingError):
        text = f"{head.origin}\n{head.size}\n{note.b64(head.root)}\n".encode()
        assert found.text.startswith(text)
    outcome(EncodingError, cosignature.find, lines, WITNESS)


@target([vectors("cosignature")[name].encode() for name in ("vkey", "neighbour", "log")], 200)
def verifier_key(encoded: bytes) -> None:
    """A verifier key has one text."""
    text = encoded.decode(errors="replace")
    for kind in (note.ED25519, note.COSIGNATURE):
        found = outcome(EncodingError, note.decode_verifier_key, text, kind)
        if not isinstance(found, EncodingError):
            assert (found.kind, found.encode()) == (kind, text)


@target(CONSISTENT, 2048)
def consistency_file(encoded: bytes) -> None:
    """A file holds only where it is the one text of two checkpoints that the log signed."""
    found = outcome(EarmarkError, consistency.check_file, encoded, LOG.name, LOG.key)
    if not isinstance(found, EarmarkError):
        old, new = found
        assert (old.height, old.size) <= (new.height, new.size)
        assert encoded in CONSISTENT


@target([text[text.index(b"\n\nold") + 2 :] for text in CONSISTENT if b"\n\nold" in text], 2048)
def witness_request(encoded: bytes) -> None:
    """The body of a request is refused, or is the one text of its parts."""
    found = outcome(EncodingError, consistency.decode_continuation, encoded)
    if not isinstance(found, EncodingError):
        assert found.encode() == encoded
        assert len(found.proof) <= consistency.MOST_HASHES


@target([joined([bytes.fromhex(RECEIPT[part]) for part in ("root", "signature")])], 200)
def receipt(encoded: bytes) -> None:
    """Only the one signature over the one root verifies."""
    root, signed = (*pieces(encoded), b"", b"")[:2]
    verified = outcome(BadSignature, block.verify_receipt, GATEWAY, RECEIPT["origin"], root, signed) is None
    assert verified == (root.hex() == RECEIPT["root"] and signed.hex() == RECEIPT["signature"])


def rlp_seeds() -> list[bytes]:
    found = []
    for row in EVIDENCE:
        if row["kind"] != "evm":
            continue
        chain_header, _, nodes = cbor.decode(bytes.fromhex(row["bytes"]))
        found += [chain_header, *nodes]
    return found


@target(rlp_seeds(), 4096)
def rlp(encoded: bytes) -> None:
    """RLP has one encoding for each value."""
    found = outcome(ProofError, mpt.decode_rlp, encoded)
    if not isinstance(found, ProofError):
        assert mpt.encode_rlp(found) == encoded


def linked(parts: list[bytes]) -> list[bytes]:
    """Put the hash of each piece where the one before it has `MARK`."""
    made: list[bytes] = []
    for part in reversed(parts):
        made.append(part.replace(MARK, mpt.keccak256(made[-1]), 1) if made else part)
    return made[::-1]


def marked(parts: list[bytes]) -> list[bytes]:
    """Put `MARK` where each piece has the hash of the next one."""
    following = [*map(mpt.keccak256, parts[1:]), b"\0" * 33]
    return [part.replace(digest, MARK) for part, digest in zip(parts, following, strict=True)]


def evidence_parts(encoded: str) -> bytes:
    chain_header, index, nodes = cbor.decode(bytes.fromhex(encoded))
    return joined([mpt.minimal_bytes(index), *marked([chain_header, *nodes])])


@target([evidence_parts(row["bytes"]) for row in EVIDENCE], 4096)
def evidence_linked(encoded: bytes) -> None:
    """Evidence whose header and nodes name each other by the right hashes, whatever else stands in them."""
    index, *rest = (*pieces(encoded), b"", b"")
    chain_header, *nodes = linked([part for part in rest if part] or [b""])
    number = int.from_bytes(index[:8], "big")
    outcome(ProofError, evm.check_evm, CHAIN, evm.encode_evm(chain_header, number, nodes), DIGEST)
    if nodes:
        key = mpt.encode_rlp(mpt.minimal_bytes(number))
        found = outcome(ProofError, mpt.check_trie, mpt.keccak256(nodes[0]), key, nodes)
        assert isinstance(found, ProofError) or found


@target(rows("evidence"), 4096)
def evidence_raw(encoded: bytes) -> None:
    """Evidence as it stands in a proof file."""
    found = outcome(ProofError, evm.check_evm, CHAIN, encoded, DIGEST)
    if not isinstance(found, ProofError):
        chain_header, index, nodes = cbor.decode(encoded)
        assert (found.chain, found.hash) == (CHAIN, mpt.keccak256(chain_header))
        assert evm.encode_evm(chain_header, index, nodes) == encoded


@target([row for row in rows("proof") if len(row) < 8192], 8192)
def proof_file(encoded: bytes) -> None:
    """A proof file is refused, or is the one encoding of its parts; a report has an answer to every question."""
    judge_proof(encoded)


def judge_proof(encoded: bytes) -> None:
    found = outcome(ProofError, decode_proof, encoded)
    if isinstance(found, ProofError):
        return
    assert found.encode() == encoded
    outcome(ProofError, list, unpack.unpack(found))
    report = outcome(ProofError, check, encoded, OPERATOR, BLOCKS)
    if isinstance(report, ProofError):
        assert 2 <= report.step <= 10
        return
    assert len(report.subjects) == len(found.subjects)
    assert all(subject in report.subjects for subject in report.misdated())
    assert set(report.to_compare()) <= set(report.blocks)
    assert report.not_before is None or report.not_before in [subject.not_before for subject in report.subjects]


def bodies() -> list[bytes]:
    found = [outcome(EarmarkError, cbor.decode, row) for row in rows("proof") if len(row) < 8192]
    return [outer[2] for outer in found if isinstance(outer, list) and len(outer) == 3 and type(outer[2]) is bytes]


@target(bodies(), 8192)
def proof_body(encoded: bytes) -> None:
    """As `proof_file`, with the digest set right."""
    judge_proof(cbor.encode([MAGIC, hashlib.sha256(encoded).digest(), encoded]))


CONFIGS = (
    '[farm]\nsite = "home"\n[broker]\nembedded = false\nurl = "mqtt://host:1883"\nport = 1\nuser = "me"\n',
    '[farm]\nsite = "home"\n[log]\nseal_every_s = 1.5\nseal_after = 10\n[ingest]\nbatch = 5\nmax_ahead_s = 1\n',
    '[farm]\nsite = "home"\n[[anchor]]\nchain = "eip155:1"\nrpc_file = "r"\nkey_file = "k"\nfee_cap_gwei = 1e3\n',
    '[farm]\nsite = "home"\n[[witness]]\nurl = "http://w:1"\nvkey = "w+01234567+AAAA"\nevery_s = 1\n',
    '[farm]\nsite = "home"\n[[anchor]]\nchain = "development"\nevery_s = 60\n[beacon]\nevery_s = 0.5\n',
    "[farm]\nsite = 1979-05-27T07:32:00Z\n[x]\ny = [1, {a = 0xff, b = nan}, '''t''']\n",
)


@target([text.encode() for text in CONFIGS], 2048, is_text=True)
def configuration(encoded: bytes) -> None:
    """A configuration is read or refused by name."""
    outcome(ConfigError, parse_config, encoded.decode(errors="replace"), "earmark.toml")


WITNESSES = (
    f'[witness]\nlisten = "::"\nport = 1\n[[log]]\nvkey = "{LOG.encode()}"\norigin = "x"\n',
    f'[[log]]\nvkey = "{LOG.encode()}"\n[[log]]\nvkey = "w+01234567+AAAA"\n',
)


@target([text.encode() for text in WITNESSES], 2048, is_text=True)
def witness_settings(encoded: bytes) -> None:
    """A witness' settings are read or refused by name."""
    outcome(ConfigError, parse_settings, encoded.decode(errors="replace"), "witness.toml")
