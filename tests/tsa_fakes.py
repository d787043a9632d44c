"""Time-stamping authorities on loopback: openssl's own, and one of ours that can lie."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent / "vectors"))

import stamps
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from calendar_fakes import Reply
from earmark import der

CONFIG = """\
[tsa]
default_tsa = here
[here]
serial = {folder}/serial
signer_cert = {folder}/signer.pem
signer_key = {folder}/signer.key
signer_digest = sha256
default_policy = 1.3.6.1.4.1.99999.1
digests = sha256
accuracy = secs:2
ess_cert_id_alg = sha256
"""
TYPE = {"Content-Type": "application/timestamp-reply"}


def pem(made: stamps.Made) -> bytes:
    """A certificate as a file has it."""
    return made.certificate.public_bytes(Encoding.PEM)


def root_file(folder: Path, made: stamps.Made = stamps.ROOT) -> Path:
    """A file with an authority's certificate."""
    path = folder / "root.pem"
    path.write_bytes(pem(made))
    return path


def openssl(*words: str | Path, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run openssl, for ten seconds at most."""
    return subprocess.run(["openssl", *map(str, words)], input=given, capture_output=True, timeout=10)


class Openssl:
    """What `openssl ts -reply` answers, signed by `stamps.SIGNER`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answered = 0
        key = stamps.SIGNER.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for name, octets in (("signer.pem", pem(stamps.SIGNER)), ("signer.key", key), ("serial", b"01\n")):
            (folder / name).write_bytes(octets)
        (folder / "ts.conf").write_text(CONFIG.format(folder=folder))

    def __call__(self, method: str, path: str, body: bytes) -> Reply:
        self.answered += 1
        asked, answer = self.folder / "asked.tsq", self.folder / "answer.tsr"
        asked.write_bytes(body)
        found = openssl("ts", "-reply", "-config", self.folder / "ts.conf", "-queryfile", asked, "-out", answer)
        assert found.returncode == 0, found.stderr
        return Reply(200, answer.read_bytes(), TYPE)


def asked(body: bytes) -> tuple[bytes, int]:
    """The digest and the nonce of a request."""
    fields = der.Fields(der.value(body, der.SEQUENCE).content)
    assert der.number(fields.take(der.INTEGER)) == 1
    imprint = der.Fields(fields.take(der.SEQUENCE).content)
    imprint.take(der.SEQUENCE)
    nonce = der.number(fields.take(der.INTEGER))
    assert fields.take(der.BOOLEAN).content == b"\xff"
    fields.end()
    return imprint.take(der.OCTETS).content, nonce


def response(token: bytes, status: int = 0, *more: bytes) -> bytes:
    """A TimeStampResp."""
    return der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, der.integer(status), *more), token)


def granting(stamp: Callable[[bytes, int], stamps.Stamp]) -> Callable[[str, str, bytes], Reply]:
    """An authority that answers with what `stamp` makes of digest and nonce."""
    return lambda method, path, body: Reply(200, response(stamp(*asked(body)).encode()), TYPE)
