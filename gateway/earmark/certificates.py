"""The farm's own authority, and the certificate that it gives the farm's broker: ECDSA P-256, which every board can
check.

FARM/authority.pem       the authority's certificate: what nodes and other clients of the broker are set up with
FARM/keys/authority.key  its private key; kept away from here, nothing is renewed, and what was made goes on
FARM/broker/tls.pem      the broker's certificate with its private key
"""

import ipaddress
import logging
import socket
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import ifaddr
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from earmark.config import Farm, write_private
from earmark.errors import ConfigError
from earmark.keys import read_private, replace_private

LIFETIME = timedelta(days=825)
RENEW_BEFORE = LIFETIME / 2
FOR_EVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""RFC 5280 §4.1.2.5: no end.  The authority lies on nodes that nobody reaches for years; it ends when they get
another one.
"""
ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
"""A board's clock starts anywhere from 1970 on, and must get through to a network before it is set."""

_log = logging.getLogger(__name__)


def authority_file(farm: Farm) -> Path:
    """Return where the authority's certificate is, for everybody to trust."""
    return farm.folder / "authority.pem"


def found_authority(farm: Farm) -> None:
    """Make the farm's authority, unless it is there: for good, since the nodes are set up with it."""
    certificate, key_file = authority_file(farm), farm.key_file("authority")
    if certificate.exists():
        return
    key = _stored_key(key_file) if key_file.exists() else ec.generate_private_key(ec.SECP256R1())
    write_private(key_file, _key_text(key))
    name = _name(f"Earmark authority of {farm.config.farm.site}")
    draft = _draft(name, name, key.public_key(), FOR_EVER)
    draft = draft.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    draft = draft.add_extension(_usage(signs_certificates=True), critical=True)
    write_private(certificate, _text(draft.sign(key, hashes.SHA256())))


def server_name(site: str) -> str:
    """Return the name that every certificate of the farm's broker has, wherever the broker's address goes."""
    return f"earmark-{site}"


def machine_names() -> list[str]:
    """Return this machine's names and addresses, the loopback's among them."""
    host = socket.gethostname()
    names = ["localhost", host, f"{host.partition('.')[0]}.local"]
    addresses = [ip.ip if isinstance(ip.ip, str) else ip.ip[0] for card in ifaddr.get_adapters() for ip in card.ips]
    return [name for name in dict.fromkeys([*names, *addresses, "127.0.0.1", "::1"]) if name.isascii()]


def broker_certificate(farm: Farm) -> Path:
    """Return the file of the embedded broker's certificate and key, made anew where it runs out or lacks a name.

    Where the authority's key is kept elsewhere, the old one stays while it is valid; `ConfigError` after that.
    """
    found_authority(farm)
    path = farm.folder / "broker" / "tls.pem"
    names = [server_name(farm.config.farm.site), *machine_names()]
    if farm.config.broker.listen not in ("0.0.0.0", "::"):  # noqa: S104
        names.append(farm.config.broker.listen)
    old = _stored(path)
    if old and _left(old) > RENEW_BEFORE and _alternatives(names) <= _alternatives_of(old) and _is_ours(farm, old):
        return path
    if not farm.key_file("authority").exists():
        if old is None or _left(old) <= timedelta():
            raise ConfigError(
                f"the broker's certificate needs to be made anew: put the authority's key back, into "
                f"{farm.key_file('authority')}"
            )
        _log.warning(
            "the broker's certificate ends on %s or lacks an address of this machine; with keys/authority.key in its "
            "place the next start makes a new one",
            old.not_valid_after_utc.date(),
        )
        return path
    path.parent.mkdir(mode=0o700, exist_ok=True)
    replace_private(path, issue(farm, names))
    return path


def issue(farm: Farm, names: Iterable[str]) -> str:
    """Return a new private key and its certificate by the farm's authority for these host names and addresses, PEM."""
    authority = x509.load_pem_x509_certificate(authority_file(farm).read_bytes())
    signer = _stored_key(farm.key_file("authority"))
    if signer.public_key() != authority.public_key():
        raise ConfigError(
            f"{farm.key_file('authority')} is not the key of {authority_file(farm)}: put back the one made with it"
        )
    key = ec.generate_private_key(ec.SECP256R1())
    draft = _draft(_name("Earmark broker"), authority.subject, key.public_key(), datetime.now(UTC) + LIFETIME)
    draft = draft.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    draft = draft.add_extension(_usage(signs_certificates=False), critical=True)
    draft = draft.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    alternatives = sorted(_alternatives(names), key=repr)
    draft = draft.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    draft = draft.add_extension(issuer, critical=False)
    return _key_text(key) + _text(draft.sign(signer, hashes.SHA256()))


def _draft(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, end: datetime
) -> x509.CertificateBuilder:
    draft = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    draft = draft.serial_number(x509.random_serial_number()).not_valid_before(ALWAYS).not_valid_after(end)
    return draft.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _alternatives(names: Iterable[str]) -> set[x509.GeneralName]:
    found: set[x509.GeneralName] = set()
    for name in names:
        try:
            found.add(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.add(x509.DNSName(name))
    return found


def _alternatives_of(certificate: x509.Certificate) -> set[x509.GeneralName]:
    return set(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


def _left(certificate: x509.Certificate) -> timedelta:
    return certificate.not_valid_after_utc - datetime.now(UTC)


def _is_ours(farm: Farm, certificate: x509.Certificate) -> bool:
    """Say whether the authority that the nodes trust now signed it."""
    authority = x509.load_pem_x509_certificate(authority_file(farm).read_bytes())
    key = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    return certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == key


def _stored(path: Path) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()) if path.exists() else None
    except ValueError:
        return None  # damaged: it is made anew


def _stored_key(path: Path) -> ec.EllipticCurvePrivateKey:
    text = read_private(path, "the authority's key")
    try:
        key = serialization.load_pem_private_key(text.encode(), password=None)
    except ValueError as error:
        raise ConfigError(f"{path} does not hold a private key in PEM") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{path} holds a key of another kind; the authority's is ECDSA P-256")
    return key


def _key_text(key: ec.EllipticCurvePrivateKey) -> str:
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, plain).decode()


def _text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
