"""What a time-stamp token says: CMS and TSTInfo as RFC 3161, RFC 5652 and RFC 5816 have them.  docs/protocol.md §7.3.

Reading believes nothing: `earmark.evidence.rfc3161` checks the signature and whose it is.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from earmark import der
from earmark.der import Fields, Value
from earmark.errors import EncodingError

SHA256 = "2.16.840.1.101.3.4.2.1"
HASHES = {
    der.oid(dotted): name
    for dotted, name in (
        (SHA256, "sha256"),
        ("2.16.840.1.101.3.4.2.2", "sha384"),
        ("2.16.840.1.101.3.4.2.3", "sha512"),
    )
}
"""The hashes that count, by the bytes of their identifiers."""

SIGNED_DATA = der.oid("1.2.840.113549.1.7.2")
TST_INFO = der.oid("1.2.840.113549.1.9.16.1.4")
CONTENT_TYPE = der.oid("1.2.840.113549.1.9.3")
MESSAGE_DIGEST = der.oid("1.2.840.113549.1.9.4")
SIGNING_CERTIFICATE = der.oid("1.2.840.113549.1.9.16.2.12")
SIGNING_CERTIFICATE_2 = der.oid("1.2.840.113549.1.9.16.2.47")

MOST_CERTIFICATES = 16
DAY_US = 86_400_000_000
_TIME = re.compile(rb"([0-9]{14})(?:\.([0-9]{0,8}[1-9]))?Z")


@dataclass(frozen=True, slots=True)
class Token:
    """A token's parts, unchecked but for their form.

    `imprint` is the SHA-256 that was stamped; `at` the moment in whole seconds, fractions left out, `latest_s` that
    moment with its fraction and accuracy, rounded up, in Unix seconds.  `signer_hash` (its hash, and its
    value) names the signing certificate; `sid` is the DER of its issuer and serial number.
    """

    serial: int
    imprint: bytes
    nonce: int | None
    at: datetime
    latest_s: int
    certificates: tuple[bytes, ...]
    sid: bytes
    signer_hash: tuple[str, bytes]
    digest: str
    algorithm: bytes
    signed: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class _Signer:
    sid: bytes
    digest: str
    attributes: dict[bytes, Value]
    signed: bytes
    algorithm: bytes
    signature: bytes


def read_token(octets: bytes) -> Token:
    """Read the DER of a TimeStampToken; `EncodingError` where it is not of the form of §7.3."""
    outer = Fields(der.value(octets, der.SEQUENCE).content)
    _expect(outer.take(der.OID).raw, SIGNED_DATA, "what is not CMS SignedData")
    wrapped = outer.take(0xA0)
    outer.end()
    data = Fields(der.value(wrapped.content, der.SEQUENCE).content)
    if der.number(data.take(der.INTEGER)) != 3:
        raise EncodingError("time stamp: SignedData of a version other than 3")
    data.take(der.SET)
    content = _content(data.take(der.SEQUENCE))
    given = data.maybe(0xA0)
    certificates = tuple(found.raw for found in der.values(given.content)) if given else ()
    if len(certificates) > MOST_CERTIFICATES or any(raw[0] != der.SEQUENCE for raw in certificates):
        raise EncodingError(f"time stamp: more than {MOST_CERTIFICATES} certificates, or of another form than X.509's")
    data.maybe(0xA1)
    signers = der.values(data.take(der.SET).content)
    data.end()
    if len(signers) != 1 or signers[0].tag != der.SEQUENCE:
        raise EncodingError(f"time stamp: {len(signers)} signers; it has one")
    signer = _signer(signers[0])
    _expect(_attribute(signer, CONTENT_TYPE).raw, TST_INFO, "signed attributes for another type of content")
    said = _attribute(signer, MESSAGE_DIGEST)
    if said.tag != der.OCTETS or said.content != hashlib.new(signer.digest, content).digest():
        raise EncodingError("time stamp: the signed digest is not that of the content")
    return _token(content, certificates, signer)


def _token(content: bytes, certificates: tuple[bytes, ...], signer: _Signer) -> Token:
    info = Fields(der.value(content, der.SEQUENCE).content)
    if der.number(info.take(der.INTEGER)) != 1:
        raise EncodingError("time stamp: TSTInfo of a version other than 1")
    info.take(der.OID)
    imprint = _imprint(info.take(der.SEQUENCE))
    serial = der.number(info.take(der.INTEGER))
    at, fraction_us = _moment(info.take(der.TIME).content)
    accuracy = info.maybe(der.SEQUENCE)
    accuracy_us = _accuracy(accuracy) if accuracy else 0
    info.maybe(der.BOOLEAN)
    nonce = info.maybe(der.INTEGER)
    info.maybe(0xA0)
    _no_critical(info.maybe(0xA1))
    info.end()
    return Token(
        serial=serial,
        imprint=imprint,
        nonce=der.number(nonce) if nonce else None,
        at=at,
        latest_s=int(at.timestamp()) - -(fraction_us + accuracy_us) // 1_000_000,
        certificates=certificates,
        sid=signer.sid,
        signer_hash=_signer_hash(signer),
        digest=signer.digest,
        algorithm=signer.algorithm,
        signed=signer.signed,
        signature=signer.signature,
    )


def _content(found: Value) -> bytes:
    fields = Fields(found.content)
    _expect(fields.take(der.OID).raw, TST_INFO, "signed content that is no TSTInfo")
    wrapped = fields.take(0xA0)
    fields.end()
    return der.value(wrapped.content, der.OCTETS).content


def _signer(found: Value) -> _Signer:
    fields = Fields(found.content)
    if der.number(fields.take(der.INTEGER)) != 1:
        raise EncodingError("time stamp: a signer that is not named by issuer and serial number")
    sid = fields.take(der.SEQUENCE).raw
    digest = _hash(fields.take(der.SEQUENCE).content)
    attributes = fields.take(0xA0)
    algorithm = _algorithm(fields.take(der.SEQUENCE).content)
    signature = fields.take(der.OCTETS).content
    fields.maybe(0xA1)
    fields.end()
    signed = der.encode(der.SET, attributes.content)
    return _Signer(sid, digest, _attributes(attributes.content), signed, algorithm, signature)


def _attributes(octets: bytes) -> dict[bytes, Value]:
    found: dict[bytes, Value] = {}
    for attribute in der.values(octets):
        fields = Fields(attribute.content)
        name, held = fields.take(der.OID).raw, fields.take(der.SET)
        fields.end()
        if attribute.tag != der.SEQUENCE or name in found:
            raise EncodingError("time stamp: a signed attribute that is there twice, or is none")
        found[name] = held
    return found


def _attribute(signer: _Signer, name: bytes) -> Value:
    """Return the one value of a signed attribute."""
    found = der.values(signer.attributes[name].content) if name in signer.attributes else []
    if len(found) != 1:
        raise EncodingError(f"time stamp: {len(found)} values of the signed attribute {name.hex()}; it has one")
    return found[0]


def _signer_hash(signer: _Signer) -> tuple[str, bytes]:
    """Return hash and value that name the signing certificate: RFC 5816's attribute, else RFC 2634's with SHA-1."""
    is_newer = SIGNING_CERTIFICATE_2 in signer.attributes
    attribute = _attribute(signer, SIGNING_CERTIFICATE_2 if is_newer else SIGNING_CERTIFICATE)
    if attribute.tag != der.SEQUENCE:
        raise EncodingError("time stamp: the signing certificate's attribute is not of its form")
    named = Fields(Fields(attribute.content).take(der.SEQUENCE).content).take(der.SEQUENCE)
    fields = Fields(named.content)
    other = fields.maybe(der.SEQUENCE) if is_newer else None
    name = _hash(other.content) if other else "sha256" if is_newer else "sha1"
    return name, fields.take(der.OCTETS).content


def _imprint(found: Value) -> bytes:
    fields = Fields(found.content)
    name = _hash(fields.take(der.SEQUENCE).content)
    imprint = fields.take(der.OCTETS).content
    fields.end()
    if name != "sha256" or len(imprint) != 32:
        raise EncodingError("time stamp: of what is not a SHA-256")
    return imprint


def _hash(content: bytes) -> str:
    name = HASHES.get(_algorithm(content))
    if name is None:
        raise EncodingError("time stamp: a hash other than SHA-256, SHA-384 and SHA-512")
    return name


def _algorithm(content: bytes) -> bytes:
    """Return an algorithm's identifier; its parameters are absent or NULL."""
    fields = Fields(content)
    name = fields.take(der.OID).raw
    parameters = fields.maybe(der.NULL)
    fields.end()
    if parameters and parameters.content:
        raise EncodingError("time stamp: an algorithm with parameters")
    return name


def _moment(text: bytes) -> tuple[datetime, int]:
    """Return a GeneralizedTime in whole seconds, and the microseconds beyond, rounded up."""
    match = _TIME.fullmatch(text)
    try:
        at = datetime.strptime((match or [b""] * 2)[1].decode(), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError as error:
        raise EncodingError("time stamp: a time that is not YYYYMMDDhhmmss[.f]Z") from error
    fraction = match[2] if match and match[2] else b""
    return at, -(-int(fraction.ljust(9, b"0")) // 1000)


def _accuracy(found: Value) -> int:
    """Return microseconds."""
    fields = Fields(found.content)
    seconds, millis, micros = (fields.maybe(tag) for tag in (der.INTEGER, 0x80, 0x81))
    fields.end()
    small = [der.number(part) if part else 0 for part in (millis, micros)]
    total = (der.number(seconds) if seconds else 0) * 1_000_000 + small[0] * 1000 + small[1]
    if total > DAY_US or max(small) > 999:
        raise EncodingError("time stamp: an accuracy of more than a day, or not of its form")
    return total


def _no_critical(extensions: Value | None) -> None:
    for extension in der.values(extensions.content) if extensions else []:
        fields = Fields(extension.content)
        fields.take(der.OID)
        if fields.maybe(der.BOOLEAN):
            raise EncodingError("time stamp: a critical extension that is not known")


def _expect(found: bytes, right: bytes, what: str) -> None:
    if found != right:
        raise EncodingError(f"time stamp: {what}")
