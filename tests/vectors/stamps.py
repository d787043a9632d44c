"""A time-stamping authority of our own, whose tokens are built by hand and have the same bytes at every run.

Keys come from names, and ECDSA is deterministic (RFC 6979).  `Stamp` holds all that a token says, so that any of it can
be made wrong and signed all the same.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from actors import T0, seed
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from earmark import der
from earmark.evidence import token
from earmark.evidence.rfc3161 import Authority

DIGEST = hashlib.sha256(b"earmark vectors: a block").digest()
POLICY = "1.3.6.1.4.1.99999.1"
ECDSA_SHA256 = der.oid("1.2.840.10045.4.3.2")
TIME_STAMPING = ExtendedKeyUsageOID.TIME_STAMPING
NONCE = 0x1234567890ABCDEF


def key(name: str, curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    """The key that a name stands for."""
    return ec.derive_private_key(int.from_bytes(seed(name), "big") >> 1, curve or ec.SECP256R1())


def name_of(text: str) -> x509.Name:
    """A subject."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@dataclass(frozen=True)
class Made:
    """A certificate and its key."""

    key: Any
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def authority(self) -> Authority:
        return Authority(self.certificate)


def make(
    name: str,
    issuer: Made | None = None,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    years: tuple[int, int] = (2020, 2046),
    own: Any = None,
    serial: int = 0,
    algorithm: Any = None,
) -> Made:
    """A certificate by `issuer`, or by itself."""
    own = own or key(name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name_of(name))
        .issuer_name(issuer.certificate.subject if issuer else name_of(name))
        .public_key(own.public_key())
        .serial_number(serial or int.from_bytes(seed(name)[:8], "big") >> 1)
        .not_valid_before(datetime(years[0], 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(years[1], 1, 1, tzinfo=UTC))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    signing = issuer.key if issuer else own
    how = {"ecdsa_deterministic": True} if isinstance(signing, ec.EllipticCurvePrivateKey) else {}
    return Made(own, builder.sign(signing, algorithm or hashes.SHA256(), **how))


def ca(length: int | None = None) -> tuple[x509.ExtensionType, bool]:
    """What makes a certificate an authority's."""
    return x509.BasicConstraints(ca=True, path_length=length), True


def purposes(*oids: x509.ObjectIdentifier, critical: bool = True) -> tuple[x509.ExtensionType, bool]:
    """What a key is for."""
    return x509.ExtendedKeyUsage(oids or (TIME_STAMPING,)), critical


ROOT = make("tsa root", None, [ca()])
BETWEEN = make("tsa between", ROOT, [ca(0)])
SIGNER = make("tsa signer", ROOT, [purposes()])
BELOW = make("tsa below", BETWEEN, [purposes()])
OTHER_ROOT = make("another tsa root", None, [ca()])
RENEWED = make("tsa root", None, [ca()], (2010, 2020), ROOT.key, 7)
"""The root's key in a certificate that is over."""


@dataclass
class Stamp:
    """All that a token says; each part can be replaced before `encode`."""

    signer: Made = SIGNER
    digest: bytes = DIGEST
    certificates: Sequence[bytes] = ()
    imprint_hash: bytes = der.oid(token.SHA256)
    time: bytes = b"20260921141320Z"
    serial: int = 0x42
    nonce: int | None = NONCE
    accuracy: bytes = der.encode(der.SEQUENCE, der.integer(1))
    extensions: bytes = b""
    version: int = 1
    content_type: bytes = token.TST_INFO
    inner_type: bytes = token.TST_INFO
    named: bytes | None = None
    older: bool = False
    named_hash: bytes = b""
    sid: Made | None = None
    message_digest: bytes | None = None
    signer_digest: bytes = der.oid(token.SHA256)
    algorithm: bytes = ECDSA_SHA256
    signature: bytes | None = None
    extra: Sequence[bytes] = field(default_factory=list)
    signers: int = 1
    leave_out: Sequence[bytes] = ()

    def content(self) -> bytes:
        """The TSTInfo."""
        algorithm = der.encode(der.SEQUENCE, self.imprint_hash, der.encode(der.NULL))
        imprint = der.encode(der.SEQUENCE, algorithm, der.encode(der.OCTETS, self.digest))
        nonce = b"" if self.nonce is None else der.integer(self.nonce)
        parts = der.integer(self.version), der.oid(POLICY), imprint, der.integer(self.serial)
        time = der.encode(der.TIME, self.time)
        return der.encode(der.SEQUENCE, *parts, time, self.accuracy, nonce, self.extensions)

    def _attributes(self, content: bytes) -> bytes:
        digest = hashlib.sha256(content).digest() if self.message_digest is None else self.message_digest
        hashed = (hashlib.sha1 if self.older else hashlib.sha256)(self.signer.der).digest()
        named = der.encode(der.SEQUENCE, self.named_hash, der.encode(der.OCTETS, self.named or hashed))
        signing = token.SIGNING_CERTIFICATE if self.older else token.SIGNING_CERTIFICATE_2
        rows = [
            (token.CONTENT_TYPE, self.inner_type),
            (token.MESSAGE_DIGEST, der.encode(der.OCTETS, digest)),
            (signing, der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, named))),
        ]
        encoded = [
            der.encode(der.SEQUENCE, oid, der.encode(der.SET, value))
            for oid, value in rows
            if oid not in self.leave_out
        ]
        return b"".join(sorted([*encoded, *self.extra]))

    def encode(self) -> bytes:
        """The token."""
        content = self.content()
        attributes = self._attributes(content)
        signed = der.encode(der.SET, attributes)
        signature = self.signature
        if signature is None:
            signature = self.signer.key.sign(signed, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        named = (self.sid or self.signer).certificate
        sid = der.encode(der.SEQUENCE, named.issuer.public_bytes(), der.integer(named.serial_number))
        hashed = der.encode(der.SEQUENCE, self.signer_digest)
        info = der.encode(
            der.SEQUENCE,
            der.integer(1),
            sid,
            hashed,
            der.encode(0xA0, attributes),
            der.encode(der.SEQUENCE, self.algorithm),
            der.encode(der.OCTETS, signature),
        )
        wrapped = der.encode(0xA0, der.encode(der.OCTETS, content))
        certificates = der.encode(0xA0, *sorted(self.certificates or [self.signer.der]))
        data = der.encode(
            der.SEQUENCE,
            der.integer(3),
            der.encode(der.SET, hashed),
            der.encode(der.SEQUENCE, self.content_type, wrapped),
            certificates,
            der.encode(der.SET, *[info] * self.signers),
        )
        return der.encode(der.SEQUENCE, token.SIGNED_DATA, der.encode(0xA0, data))


RIGHT = Stamp().encode()
THROUGH = Stamp(BELOW, certificates=[BELOW.der, BETWEEN.der], serial=0x43).encode()
"""A token whose signer the root vouches for through one between."""
STAMPED_S = int(datetime(2026, 9, 21, 14, 13, 20, tzinfo=UTC).timestamp()) + 1
assert T0 == STAMPED_S - 1


def _row(name: str, octets: bytes, by: Made = ROOT, chain: str = "", digest: bytes = DIGEST) -> dict[str, Any]:
    certificate = by.der.hex()
    chain = chain or by.authority.id
    return {"name": name, "chain": chain, "digest": digest.hex(), "certificate": certificate, "bytes": octets.hex()}


def _valid(name: str, octets: bytes, by: Made = ROOT, serial: int = 0x42, time_s: int = STAMPED_S) -> dict[str, Any]:
    stamp = {"number": serial, "hash": hashlib.sha256(octets).hexdigest(), "time_s": time_s}
    return _row(name, octets, by) | {"stamp": stamp}


def _signed_by(name: str, *extensions: tuple[x509.ExtensionType, bool], **how: Any) -> bytes:
    """A token by a signer that the root vouches for, with these extensions."""
    return Stamp(make(name, ROOT, extensions, **how)).encode()


def _below(*extensions: tuple[x509.ExtensionType, bool], **how: Any) -> bytes:
    """A token whose signer is below one between with these extensions."""
    between = make("tsa wrong between", ROOT, extensions, **how)
    signer = make("tsa wrong below", between, [purposes()])
    return Stamp(signer, certificates=[between.der, signer.der]).encode()


def _long(count: int) -> bytes:
    """A token with so many certificates between the signer and the root."""
    path = [ROOT]
    for number in range(count):
        path.append(make(f"tsa between {number}", path[-1], [ca()]))
    path.append(make(f"tsa below {count}", path[-1], [purposes()]))
    return Stamp(path[-1], certificates=[each.der for each in path[1:]]).encode()


def _no_signatures() -> tuple[x509.ExtensionType, bool]:
    names = "digital_signature content_commitment data_encipherment key_agreement key_cert_sign crl_sign encipher_only"
    rest = dict.fromkeys([*names.split(), "decipher_only"], False)
    return x509.KeyUsage(**rest, key_encipherment=True), True


def vectors() -> dict[str, Any]:
    """The content of stamp.json: tokens under a certificate that the verifier brings."""
    bare = Stamp(accuracy=b"", nonce=None, time=b"20260921141319.25Z").encode()
    valid = [
        _valid("by the root's own signer", RIGHT),
        _valid("through one between", THROUGH, serial=0x43),
        _valid("through four between", _long(4)),
        _valid("the certificate between brought", THROUGH, BETWEEN, 0x43),
        _valid("the signer's own certificate brought", RIGHT, SIGNER),
        _valid("a fraction of a second, no accuracy, no nonce", bare, time_s=STAMPED_S - 1),
        _valid("the signer named by SHA-1", Stamp(older=True).encode()),
        _valid("a certificate that is not needed", Stamp(certificates=[SIGNER.der, OTHER_ROOT.der]).encode()),
    ]
    return {"valid": valid, "must_reject": [*_wrong_contents(), *_wrong_signers()]}


def _wrong_contents() -> list[dict[str, Any]]:
    critical = der.encode(der.SEQUENCE, der.oid("1.2.3"), der.encode(der.BOOLEAN, b"\xff"), der.encode(der.OCTETS, b""))
    twice = der.encode(der.SEQUENCE, token.CONTENT_TYPE, der.encode(der.SET, token.TST_INFO))
    by_another = OTHER_ROOT.key.sign(b"x", ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    stamps = {
        "another digest": Stamp(digest=bytes(32)),
        "a digest of 31 bytes": Stamp(digest=DIGEST[:31]),
        "a hash that is not SHA-256": Stamp(imprint_hash=der.oid("2.16.840.1.101.3.4.2.3")),
        "a time without seconds": Stamp(time=b"202609211413Z"),
        "a time in another zone": Stamp(time=b"20260921141320+0200"),
        "a time that ends in 0": Stamp(time=b"20260921141320.50Z"),
        "a 13th month": Stamp(time=b"20261321141320Z"),
        "an accuracy of two days": Stamp(accuracy=der.encode(der.SEQUENCE, der.integer(172_800))),
        "a field too many": Stamp(extensions=der.encode(0xA2, b"")),
        "a critical extension": Stamp(extensions=der.encode(0xA1, critical)),
        "version 2": Stamp(version=2),
        "content that is no TSTInfo": Stamp(content_type=der.oid("1.2.840.113549.1.7.1")),
        "attributes for other content": Stamp(inner_type=der.oid("1.2.840.113549.1.7.1")),
        "a signed digest of other content": Stamp(message_digest=bytes(32)),
        "no content type": Stamp(leave_out=[token.CONTENT_TYPE]),
        "no signed digest": Stamp(leave_out=[token.MESSAGE_DIGEST]),
        "no name of the signing certificate": Stamp(leave_out=[token.SIGNING_CERTIFICATE_2]),
        "a signed attribute twice": Stamp(extra=[twice]),
        "two signers": Stamp(signers=2),
        "no signer": Stamp(signers=0),
        "a signature of another": Stamp(signature=by_another),
        "a signature without its hash": Stamp(algorithm=der.oid("1.2.840.10045.2.1")),
        "a signature said to be RSA": Stamp(algorithm=der.oid("1.2.840.113549.1.1.11")),
        "hashed with SHA-1": Stamp(signer_digest=der.oid("1.3.14.3.2.26")),
        "another certificate named": Stamp(named=hashlib.sha256(OTHER_ROOT.der).digest()),
        "a certificate named that is not in it": Stamp(certificates=[OTHER_ROOT.der]),
        "issuer and serial number of another": Stamp(sid=OTHER_ROOT),
        "17 certificates": Stamp(certificates=[SIGNER.der] * 17),
    }
    octets = {
        "nothing": b"",
        "cut short": RIGHT[:-1],
        "a byte left over": RIGHT + b"\0",
        "a length in a longer form": bytes([RIGHT[0], 0x83, 0]) + RIGHT[2:],
        "an indefinite length": bytes([RIGHT[0], 0x80]) + RIGHT[4:] + bytes(2),
        "text": b"a time stamp",
    }
    return [
        *(_row(name, stamp.encode()) for name, stamp in stamps.items()),
        *(_row(name, each) for name, each in octets.items()),
        _row("an authority's id of 31 digits", RIGHT, chain=ROOT.authority.id[:-1]),
        _row("an authority's id in capitals", RIGHT, chain=ROOT.authority.id.upper().replace("TSA", "tsa")),
        _row("a chain's id", RIGHT, chain="eip155:1"),
    ]


def _wrong_signers() -> list[dict[str, Any]]:
    stolen = make("tsa signer", OTHER_ROOT, [purposes()], own=key("tsa signer"))
    strange = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\5\0"), True
    deep = make("tsa deep", BETWEEN, [ca()])
    deepest = make("tsa deepest", deep, [purposes()])
    cases = {
        "under another authority": Stamp(stolen, certificates=[stolen.der, OTHER_ROOT.der]).encode(),
        "a signer without a purpose": _signed_by("tsa purposeless"),
        "a signer for websites": _signed_by("tsa web", purposes(ExtendedKeyUsageOID.SERVER_AUTH)),
        "a signer for websites too": _signed_by("tsa both", purposes(TIME_STAMPING, ExtendedKeyUsageOID.SERVER_AUTH)),
        "a signer whose purpose is not critical": _signed_by("tsa soft", purposes(critical=False)),
        "a signer that was over": _signed_by("tsa over", purposes(), years=(2020, 2026)),
        "a signer that had not begun": _signed_by("tsa early", purposes(), years=(2027, 2046)),
        "a signer whose key is not for signatures": _signed_by("tsa idle", purposes(), _no_signatures()),
        "a signer with a critical extension that is not known": _signed_by("tsa strange", purposes(), strange),
        "a signer with a key on another curve": _signed_by(
            "tsa curve", purposes(), own=key("tsa curve", ec.SECP256K1())
        ),
        "one between that is no authority": _below(purposes()),
        "one between without constraints": _below(),
        "one between that was over": _below(ca(), years=(2020, 2026)),
        "one between for websites": _below(ca(), purposes(ExtendedKeyUsageOID.SERVER_AUTH, critical=False)),
        "one between whose key is not for issuing": _below(ca(), _no_signatures()),
        "one between left out": Stamp(BELOW, certificates=[BELOW.der]).encode(),
        "five between": _long(5),
        "two between where the upper allows none below": Stamp(
            deepest, certificates=[BETWEEN.der, deep.der, deepest.der]
        ).encode(),
    }
    return [
        *(_row(name, octets) for name, octets in cases.items()),
        _row("the verifier's certificate was over", RIGHT, RENEWED),
    ]
