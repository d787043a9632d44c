"""The farm's authority and the broker's certificate: made once, renewed in time, and what happens without the key."""

import logging
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from earmark import certificates
from earmark import gateway as running
from earmark.certificates import authority_file, broker_certificate, found_authority, machine_names
from earmark.config import Farm
from earmark.errors import ConfigError
from services import free_port, make_farm, wait_for


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    return make_farm(tmp_path / "farm", 1883, tls=True)


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def names(path: Path) -> list[object]:
    held = certificate(path).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [name.value if isinstance(name.value, str) else str(name.value) for name in held]


def test_the_authority_is_p256_without_end_and_may_sign_nothing_but_servers(farm: Farm) -> None:
    made = certificate(authority_file(farm))
    key = made.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    assert made.not_valid_after_utc.year == 9999
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    certificate(broker_certificate(farm)).verify_directly_issued_by(made)


def test_private_files_are_private_and_the_authority_is_made_once(farm: Farm) -> None:
    before = authority_file(farm).read_bytes()
    found_authority(farm)
    assert authority_file(farm).read_bytes() == before
    for path in (farm.key_file("authority"), broker_certificate(farm)):
        assert path.stat().st_mode & 0o777 == 0o600


def test_the_certificate_has_every_name_and_stays_while_it_fits(farm: Farm) -> None:
    path = broker_certificate(farm)
    assert {"earmark-home", "localhost", "127.0.0.1", *machine_names()} <= set(names(path))
    before = path.read_bytes()
    assert broker_certificate(farm).read_bytes() == before


def test_a_new_address_gets_a_new_certificate(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    before = broker_certificate(farm).read_bytes()
    monkeypatch.setattr(certificates, "machine_names", lambda: ["198.51.100.7"])
    path = broker_certificate(farm)
    assert path.read_bytes() != before
    assert "198.51.100.7" in names(path)


def test_it_is_renewed_at_half_its_life(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "LIFETIME", certificates.RENEW_BEFORE - timedelta(days=1))
    before = broker_certificate(farm).read_bytes()
    monkeypatch.undo()
    path = broker_certificate(farm)
    assert path.read_bytes() != before
    assert certificate(path).not_valid_after_utc - datetime.now(UTC) > certificates.RENEW_BEFORE


def test_a_running_broker_gets_the_renewed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    farm = make_farm(tmp_path / "farm", free_port(), tls=True)
    where = "127.0.0.1", farm.config.broker.port
    monkeypatch.setattr(certificates, "LIFETIME", certificates.RENEW_BEFORE - timedelta(days=1))
    broker = running._broker(farm)
    monkeypatch.undo()
    broker.start()
    try:
        before = ssl.get_server_certificate(where)
        running._renew_certificate(farm, broker)
        wait_for(lambda: ssl.get_server_certificate(where) != before, "the broker shows the new certificate")
    finally:
        broker.stop()


def test_without_the_authoritys_key_the_old_one_serves_until_its_end(
    farm: Farm, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(certificates, "LIFETIME", timedelta(days=3))
    before = broker_certificate(farm).read_bytes()
    farm.key_file("authority").rename(farm.folder / "elsewhere")
    with caplog.at_level(logging.WARNING, "earmark"):
        assert broker_certificate(farm).read_bytes() == before
    assert "authority.key" in caplog.text
    (farm.folder / "elsewhere").rename(farm.key_file("authority"))
    monkeypatch.setattr(certificates, "LIFETIME", timedelta(seconds=-1))
    broker_certificate(farm)
    farm.key_file("authority").unlink()
    with pytest.raises(ConfigError, match=r"authority\.key"):
        broker_certificate(farm)


def test_a_damaged_certificate_and_one_of_another_authority_are_replaced(farm: Farm, tmp_path: Path) -> None:
    path = broker_certificate(farm)
    path.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    certificate(broker_certificate(farm)).verify_directly_issued_by(certificate(authority_file(farm)))
    other = make_farm(tmp_path / "other", 1883, tls=True)
    path.write_bytes(broker_certificate(other).read_bytes())
    certificate(broker_certificate(farm)).verify_directly_issued_by(certificate(authority_file(farm)))


def test_a_file_that_holds_no_key_is_refused_by_name(farm: Farm) -> None:
    farm.key_file("authority").write_text("nonsense")
    with pytest.raises(ConfigError, match=r"authority\.key does not hold a private key"):
        broker_certificate(farm)


def test_a_key_that_is_not_the_authoritys_is_refused_by_name(farm: Farm, tmp_path: Path) -> None:
    other = make_farm(tmp_path / "other", 1883, tls=True)
    broker_certificate(farm).unlink()
    farm.key_file("authority").write_bytes(other.key_file("authority").read_bytes())
    with pytest.raises(ConfigError, match=r"authority\.key is not the key of .*authority\.pem"):
        broker_certificate(farm)


def test_python_takes_it_in_its_strictest_mode(farm: Farm) -> None:
    context = ssl.create_default_context(cafile=str(authority_file(farm)))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(broker_certificate(farm))
    client = context.wrap_bio(ours, theirs, server_hostname="earmark-home")
    server = serving.wrap_bio(theirs, ours, server_side=True)
    for side in (client, server, client, server, client):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert client.getpeercert()
