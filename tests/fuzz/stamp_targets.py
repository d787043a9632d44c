"""What a time-stamping authority answers, and tokens in proof files."""

from cryptography import x509
from judge import outcome, rows, target, vectors

from earmark import der
from earmark.anchor.tsa import read_response
from earmark.errors import EarmarkError, ProofError
from earmark.evidence.rfc3161 import Authority, check_stamp

STAMPS = vectors("stamp")["valid"]
AUTHORITY = Authority(x509.load_der_x509_certificate(bytes.fromhex(STAMPS[0]["certificate"])))
STAMPED = bytes.fromhex(STAMPS[0]["digest"])
SAID = {(row["stamp"]["number"], row["stamp"]["time_s"]) for row in STAMPS}


@target(rows("stamp"), 4096)
def time_stamp(encoded: bytes) -> None:
    """Any bytes are a `ProofError`, or say what the authority signed."""
    found = outcome(ProofError, check_stamp, AUTHORITY, encoded, STAMPED)
    assert isinstance(found, ProofError) or (found.number, found.time_s) in SAID


def granted(token: bytes) -> bytes:
    """A response with a token."""
    return der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, der.integer(0)), token)


@target([granted(token) for token in rows("stamp")[:3]], 4096)
def time_stamp_answer(encoded: bytes) -> None:
    """Any answer of an authority holds a token, which is DER, or is an error of ours."""
    found = outcome(EarmarkError, read_response, encoded)
    assert isinstance(found, EarmarkError) or der.value(found, der.SEQUENCE).raw == found
