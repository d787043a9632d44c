"""Evidence in the form of a time stamp by an authority, RFC 3161, checked offline.  docs/protocol.md §7.3.

A token counts under a certificate that the verifier brings, and under no other.  Revocation is not looked at: that
takes a network, and a date that nobody signed.
"""

import hashlib
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose

from earmark import der
from earmark.errors import EncodingError, ProofError
from earmark.evidence.chain import MAX_EVIDENCE, ChainBlock
from earmark.evidence.token import MOST_CERTIFICATES, Token, read_token

RFC3161 = "rfc3161"
"""The kind of the evidence that `check_stamp` checks."""

MOST_BETWEEN = 4
"""Certificates between the one that signs and the verifier's."""

_CHAIN = re.compile(r"tsa:[0-9a-f]{32}")
_RSA, _EC = "RSA", "ECDSA"
_RSA_BY_DIGEST = der.oid("1.2.840.113549.1.1.1")
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
_ALGORITHMS = {
    "1.2.840.113549.1.1.11": (_RSA, "sha256"),
    "1.2.840.113549.1.1.12": (_RSA, "sha384"),
    "1.2.840.113549.1.1.13": (_RSA, "sha512"),
    "1.2.840.10045.4.3.2": (_EC, "sha256"),
    "1.2.840.10045.4.3.3": (_EC, "sha384"),
    "1.2.840.10045.4.3.4": (_EC, "sha512"),
}
_BY_OID = {der.oid(dotted): found for dotted, found in _ALGORITHMS.items()}
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_KNOWN = (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage)
_X509_ERRORS = (
    EncodingError,
    ValueError,
    TypeError,
    InvalidSignature,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    CryptographyDeprecationWarning,
)
"""What `cryptography` raises for certificates that are damaged, or of a form that it does not know."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A time-stamping authority that a verifier trusts, by the certificate (X.509) that he has of it.

    Its root, one between, or the one that signs: whichever `id` in a proof file names.
    """

    certificate: x509.Certificate

    @property
    def id(self) -> str:
        """What stands for it in a proof file: `tsa:` and half the SHA-256 of its public key."""
        key = self.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return f"tsa:{hashlib.sha256(key).hexdigest()[:32]}"

    @property
    def name(self) -> str:
        """Its subject in words."""
        return self.certificate.subject.rfc4514_string()[:200]


def read_authorities(pem: bytes) -> list[Authority]:
    """Return the authorities whose certificates a PEM file holds; `EncodingError` where it holds none, or others."""
    try:
        found = [Authority(certificate) for certificate in x509.load_pem_x509_certificates(pem)]
        _ = [authority.id for authority in found]
    except _X509_ERRORS as error:
        raise EncodingError(
            "no certificates in PEM (-----BEGIN CERTIFICATE-----), or of a form that is not known"
        ) from error
    return found


def is_authority(chain: str) -> bool:
    """Say whether this is the id of a time-stamping authority."""
    return _CHAIN.fullmatch(chain) is not None


def check_form(chain: str, octets: bytes) -> None:
    """Raise `ProofError` for what no checker takes, whatever certificates it has: an id or a size of another form."""
    if not is_authority(chain):
        raise ProofError(f"a time stamp under {chain[:50]!r}, which is no authority's id")
    if not 0 < len(octets) <= MAX_EVIDENCE:
        raise ProofError(f"a time stamp of {len(octets)} bytes; it has 1 to {MAX_EVIDENCE}")


def read_stamp(chain: str, octets: bytes, digest: bytes) -> ChainBlock:
    """Return what a token for this digest says, in the form of a chain's block: its serial number, hash and time.

    For a token that was checked before it was stored: nothing is compared with a certificate that anybody trusts.
    `ProofError` where it is of another form or digest, or not signed by the certificate in it.
    """
    check_form(chain, octets)
    token, _ = _signed_by_its_own(octets, digest)
    return _block(chain, octets, token)


def check_stamp(authority: Authority, octets: bytes, digest: bytes) -> ChainBlock:
    """Check a token for a digest (32 bytes) under an authority's certificate, and return what it says.

    It establishes: by that authority's word, `digest` existed before the returned time, which is the token's with its
    accuracy added.  The rest of the block is the token's serial number and its SHA-256.  Raises `ProofError` naming
    what failed.  docs/protocol.md §7.3.
    """
    check_form(authority.id, octets)
    token, signer = _signed_by_its_own(octets, digest)
    try:
        _check_signer(signer, token.at)
        if signer != authority.certificate:
            _check_path(signer, [_load(raw) for raw in token.certificates], authority, token)
    except _X509_ERRORS as error:
        raise ProofError(f"time stamp: a certificate of another form: {error}") from error
    return _block(authority.id, octets, token)


def check_under(authorities: Iterable[Authority], chain: str, octets: bytes, digest: bytes) -> ChainBlock | None:
    """Check a token under the authority that `chain` names; None where that is none of these.

    Of several certificates of one key, one under which it holds is enough; else the last one's `ProofError` is raised.
    """
    check_form(chain, octets)
    failed: ProofError | None = None
    for authority in authorities:
        if authority.id == chain:
            try:
                return check_stamp(authority, octets, digest)
            except ProofError as error:
                failed = error
    if failed:
        raise failed
    return None


def read_nonce(octets: bytes) -> int | None:
    """Return the nonce of a token's request; `EncodingError` for another form."""
    return read_token(octets).nonce


def _block(chain: str, octets: bytes, token: Token) -> ChainBlock:
    return ChainBlock(chain, token.serial, hashlib.sha256(octets).digest(), token.latest_s)


def _signed_by_its_own(octets: bytes, digest: bytes) -> tuple[Token, x509.Certificate]:
    """Return a token for this digest, and the certificate in it that it names and that signed it."""
    try:
        token = read_token(octets)
    except EncodingError as error:
        raise ProofError(str(error)) from error
    if token.imprint != digest:
        raise ProofError(f"the time stamp is of {token.imprint.hex()}, not of the block's hash")
    name, value = token.signer_hash
    raw = next((raw for raw in token.certificates if hashlib.new(name, raw).digest() == value), None)
    if raw is None:
        raise ProofError("the time stamp does not hold the certificate that signed it")
    try:
        signer = _load(raw)
        if _sid(signer) != token.sid:
            raise ProofError("the time stamp names two different certificates as the one that signed it")
        _verify(signer, token)
    except InvalidSignature as error:
        raise ProofError("the time stamp's signature does not verify") from error
    except _X509_ERRORS as error:
        raise ProofError(f"time stamp: a certificate of another form: {error}") from error
    return token, signer


def _load(raw: bytes) -> x509.Certificate:
    """Read a certificate, whole; what `cryptography` takes under protest is refused, as its next version may."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", CryptographyDeprecationWarning)
        found = x509.load_der_x509_certificate(raw)
        found.public_key()
        list(found.extensions)
    return found


def _sid(certificate: x509.Certificate) -> bytes:
    """Return issuer and serial number as CMS names a certificate by them."""
    fields = der.Fields(der.value(certificate.tbs_certificate_bytes, der.SEQUENCE).content)
    fields.maybe(0xA0)
    serial, _, issuer = fields.take(der.INTEGER), fields.take(der.SEQUENCE), fields.take(der.SEQUENCE)
    return der.encode(der.SEQUENCE, issuer.raw, serial.raw)


def _verify(signer: x509.Certificate, token: Token) -> None:
    if token.algorithm == _RSA_BY_DIGEST:
        family, name = _RSA, token.digest
    else:
        family, name = _BY_OID.get(token.algorithm, ("", ""))
    key = signer.public_key()
    _check_key(signer)
    if isinstance(key, rsa.RSAPublicKey) and family == _RSA:
        key.verify(token.signature, token.signed, padding.PKCS1v15(), _HASHES[name])
    elif isinstance(key, ec.EllipticCurvePublicKey) and family == _EC:
        key.verify(token.signature, token.signed, ec.ECDSA(_HASHES[name]))
    else:
        raise ProofError("the time stamp's signature is neither RSA (PKCS #1 v1.5) nor ECDSA, or not of its key")


def _check_key(certificate: x509.Certificate) -> None:
    key = certificate.public_key()
    is_rsa = isinstance(key, rsa.RSAPublicKey) and 2048 <= key.key_size <= 8192
    if not is_rsa and not (isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES):
        raise ProofError("a certificate whose key is neither RSA of 2,048 to 8,192 bits nor on P-256, P-384 or P-521")


def _check_signer(signer: x509.Certificate, at: datetime) -> None:
    """Raise unless a certificate may sign time stamps, and them only, at that moment."""
    _check_common(signer, at)
    usage = _extension(signer, x509.ExtendedKeyUsage)
    if usage is None or not usage.critical or list(usage.value) != [Purpose.TIME_STAMPING]:
        raise ProofError("the signing certificate is not for time stamps alone (extended key usage, critical)")
    keys = _extension(signer, x509.KeyUsage)
    if keys and not (keys.value.digital_signature or keys.value.content_commitment):
        raise ProofError("the signing certificate is not for signatures")


def _check_issuer(issuer: x509.Certificate, below: int, at: datetime) -> None:
    """Raise unless a certificate may issue others, with so many between it and the one that signs."""
    _check_common(issuer, at)
    basic = _extension(issuer, x509.BasicConstraints)
    if basic is None or not basic.value.ca:
        raise ProofError("a certificate on the way to yours is no authority's")
    if basic.value.path_length is not None and basic.value.path_length < below:
        raise ProofError("the way to your certificate is longer than one on it allows")
    keys = _extension(issuer, x509.KeyUsage)
    if keys and not keys.value.key_cert_sign:
        raise ProofError("a certificate on the way to yours is not for issuing others")
    usage = _extension(issuer, x509.ExtendedKeyUsage)
    if usage and not {Purpose.TIME_STAMPING, Purpose.ANY_EXTENDED_KEY_USAGE} & set(usage.value):
        raise ProofError("a certificate on the way to yours is not for time stamps")


def _check_common(certificate: x509.Certificate, at: datetime) -> None:
    _check_key(certificate)
    if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
        ends = f"{certificate.not_valid_before_utc:%Y-%m-%d} to {certificate.not_valid_after_utc:%Y-%m-%d}"
        raise ProofError(f"a certificate that is valid from {ends} only, the time stamp is of {at:%Y-%m-%d}")
    strange = [each for each in certificate.extensions if each.critical and not isinstance(each.value, _KNOWN)]
    if strange:
        raise ProofError(f"a certificate with a critical extension that is not known, {strange[0].oid.dotted_string}")


def _extension(certificate: x509.Certificate, kind: type) -> x509.Extension | None:  # type: ignore[type-arg]
    return next((each for each in certificate.extensions if isinstance(each.value, kind)), None)


def _check_path(signer: x509.Certificate, given: Sequence[x509.Certificate], authority: Authority, of: Token) -> None:
    """Raise unless certificates of the token lead from the one that signed to the verifier's.

    Level by level, all that may have issued one of the level before: whether there is a way does not depend on which
    is looked at first.
    """
    level, why = [signer], "none of its certificates was issued by yours"
    anchor = authority.certificate
    for below in range(MOST_BETWEEN + 1):
        for each in level:
            if _is_issued(each, anchor):
                try:
                    return _check_issuer(anchor, below, of.at)
                except ProofError as error:
                    why = str(error)
        level = [
            each
            for each in given[:MOST_CERTIFICATES]
            if any(_is_issued(one, each) for one in level) and _may_issue(each, below, of.at)
        ]
    raise ProofError(f"the time stamp does not lead to your certificate of {authority.name}: {why}")


def _may_issue(certificate: x509.Certificate, below: int, at: datetime) -> bool:
    try:
        _check_issuer(certificate, below, at)
    except (ProofError, *_X509_ERRORS):
        return False
    return True


def _is_issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    if certificate.signature_algorithm_oid.dotted_string not in _ALGORITHMS:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except _X509_ERRORS:
        return False
    return True
