"""Time stamps: openssl's authority, one that lies, the state machine, and a proof file with a token."""

import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.append(str(Path(__file__).resolve().parent / "vectors"))

import rfc3161_client
import stamps
from cryptography import x509

import chain
from calendar_fakes import Clock, Reply, Server
from commands import Earmark, in_farm
from earmark import beacon, der
from earmark.anchor.target import Place
from earmark.anchor.tsa import TsaTarget
from earmark.anchoring import UNLIMITED, Anchoring, Plan
from earmark.errors import AnchorError, ConfigError, EncodingError, ProofError
from earmark.evidence import RFC3161
from earmark.evidence.rfc3161 import check_stamp, read_authorities
from earmark.metrics import Metrics
from earmark.public import Public, open_target, place_of
from earmark.settings import AnchorSettings, parse_config
from earmark.store import AnchorRow
from earmark.store.sqlite import SqliteStore
from farm import Bench, new_store
from pinned import named, vectors
from sample_farm import SampleFarm
from tsa_fakes import Openssl, granting, openssl, pem, response, root_file

pytest_plugins = ["command_fixtures"]

needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
DIGEST, ROOT, OTHER = stamps.DIGEST, stamps.ROOT.authority, stamps.OTHER_ROOT.authority
Respond = Callable[[str, str, bytes], Reply]


@contextmanager
def serving(respond: Respond) -> Iterator[Server]:
    server = Server(respond)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def target_at(server: Server, authority: object = ROOT, clock: Clock | None = None) -> TsaTarget:
    return TsaTarget(server.url + "/tsr", authority, name="tsa", timeout_s=0.5, clock=clock or Clock())  # type: ignore[arg-type]


def honest(digest: bytes, nonce: int) -> stamps.Stamp:
    return stamps.Stamp(digest=digest, nonce=nonce)


@needs_openssl
def test_a_stamp_of_openssl_s_authority_checks_here_and_ours_there(tmp_path: Path) -> None:
    with serving(Openssl(tmp_path)) as server:
        target = target_at(server)
        payload = target.send(target.sign(DIGEST, UNLIMITED).payload)
    assert [path for _, path, _ in server.requests] == ["/tsr"]
    assert server.requests[0][2]["Content-Type"] == "application/timestamp-query"
    progress = target.poll(payload)
    assert (progress.state, progress.confirmations) == ("final", 1)
    assert progress.evidence and progress.block
    assert check_stamp(ROOT, progress.evidence, DIGEST) == progress.block
    for name, token in (("theirs", progress.evidence), ("ours", stamps.RIGHT), ("deeper", stamps.THROUGH)):
        path = tmp_path / name
        path.write_bytes(token)
        root = root_file(tmp_path)
        said = openssl("ts", "-verify", "-digest", DIGEST.hex(), "-in", path, "-token_in", "-CAfile", root)
        assert said.returncode == 0, said.stderr


@pytest.mark.parametrize("row", **named(vectors("stamp")["valid"]))
def test_another_implementation_takes_what_we_take(row: dict[str, str]) -> None:
    token, certificate = bytes.fromhex(row["bytes"]), x509.load_der_x509_certificate(bytes.fromhex(row["certificate"]))
    verifier = rfc3161_client.VerifierBuilder().add_root_certificate(certificate).build()
    if certificate.subject == certificate.issuer:  # it knows roots only
        answer = rfc3161_client.decode_timestamp_response(response(token))
        assert verifier.verify(answer, DIGEST)


def test_no_flipped_bit_changes_what_a_token_says() -> None:
    right = check_stamp(ROOT, stamps.RIGHT, DIGEST)
    for bit in range(8 * len(stamps.RIGHT)):
        octets = bytearray(stamps.RIGHT)
        octets[bit // 8] ^= 1 << bit % 8
        try:
            found = check_stamp(ROOT, bytes(octets), DIGEST)
        except ProofError:
            continue
        assert (found.number, found.time_s) == (right.number, right.time_s)


def signer(name: str, *extensions: tuple[x509.ExtensionType, bool], **how: object) -> Respond:
    made = stamps.make(name, stamps.ROOT, extensions, **how)  # type: ignore[arg-type]
    return granting(lambda digest, nonce: stamps.Stamp(made, digest, nonce=nonce))


TEXT = der.encode(der.SEQUENCE, der.encode(0x0C, b"no more today"))
BAD_CLOCK = der.encode(0x03, b"\1\0\2")
FOREIGN = stamps.make("tsa foreign", stamps.OTHER_ROOT, [stamps.purposes()])
LIES: dict[str, tuple[Respond, str]] = {
    "wrong imprint": (
        granting(lambda _, nonce: stamps.Stamp(digest=bytes(32), nonce=nonce)),
        "not of the block's hash",
    ),
    "wrong nonce": (granting(lambda digest, nonce: stamps.Stamp(digest=digest, nonce=nonce + 2)), "another request"),
    "no nonce": (granting(lambda digest, _: stamps.Stamp(digest=digest, nonce=None)), "another request"),
    "refused": (lambda *_: Reply(200, response(b"", 2, TEXT)), "refuses to stamp .status 2.: no more today"),
    "no clock": (lambda *_: Reply(200, response(b"", 2, BAD_CLOCK)), "its clock is not available"),
    "refused with a token": (lambda *_: Reply(200, response(stamps.RIGHT, 2)), "refuses"),
    "granted without a token": (lambda *_: Reply(200, response(b"")), "refuses to stamp .status 0"),
    "expired": (signer("tsa over", stamps.purposes(), years=(2020, 2026)), "valid from 2020-01-01 to 2026-01-01"),
    "no purpose": (signer("tsa purposeless"), "not for time stamps alone"),
    "another authority": (
        granting(lambda digest, nonce: stamps.Stamp(FOREIGN, digest, nonce=nonce)),
        "does not lead to your certificate",
    ),
    "truncated": (lambda *_: Reply(200, response(stamps.RIGHT)[:-9]), "no TimeStampResp"),
    "cut off": (lambda *_: Reply(200, response(stamps.RIGHT), length=5000), "unavailable"),
    "not a response": (lambda *_: Reply(200, b"<html>"), "no TimeStampResp"),
    "empty": (lambda *_: Reply(200, b""), "no TimeStampResp"),
    "huge": (lambda *_: Reply(200, bytes(70_000)), "more than 65536 bytes"),
    "slow": (lambda *_: Reply(200, response(stamps.RIGHT), drip_s=0.05), "timed out"),
    "redirect": (lambda *_: Reply(302, b"", {"Location": "http://127.0.0.1:1/"}), "redirects elsewhere"),
    "no such page": (lambda *_: Reply(404, b"no"), "HTTP 404"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_not_kept_and_named(name: str) -> None:
    respond, why = LIES[name]
    clock = Clock()
    with serving(respond) as server:
        target = target_at(server, clock=clock)
        payload = target.sign(DIGEST, UNLIMITED).payload
        with pytest.raises(AnchorError, match=why):
            target.send(payload)
        assert target.poll(payload).state == "unknown"
        asked = len(server.requests)
        with pytest.raises(AnchorError, match=why):  # it rests
            target.send(payload)
        assert len(server.requests) == asked
        server.respond = granting(honest)
        clock.now_s += 61
        assert target.poll(target.send(payload)).state == "final"


def test_a_key_in_the_address_is_not_in_a_refusal() -> None:
    said = der.encode(der.SEQUENCE, der.encode(0x0C, b"0123456789ab is over its quota"))
    with serving(lambda *_: Reply(200, response(b"", 2, said))) as server:
        target = TsaTarget(f"{server.url}/tsr?key=0123456789ab", ROOT, name="tsa")
        with pytest.raises(AnchorError, match=r"status 2.: \[hidden\] is over its quota"):
            target.send(target.sign(DIGEST, 0).payload)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(new_store(tmp_path)).found()
    bench.log.seal()
    return bench


def machine(bench: Bench, target: TsaTarget) -> Anchoring:
    return Anchoring(bench.store, target, Plan(60), lambda: bench.now_ms)


def row(bench: Bench) -> AnchorRow:
    [found] = bench.store.anchor_rows()
    return found


def crash(*_: object) -> Reply:
    raise ConnectionError("gone on purpose")


@pytest.mark.parametrize("is_lost_late", [False, True])
def test_the_state_machine_ends_with_one_token_whatever_was_lost(bench: Bench, is_lost_late: bool) -> None:
    answered = []

    def late(method: str, path: str, body: bytes) -> Reply:
        answered.append(granting(honest)(method, path, body))
        raise ConnectionError("stamped, and the answer lost")

    with serving(late if is_lost_late else crash) as server:
        machine(bench, target_at(server)).step()
        before = row(bench)
        assert (before.state, before.kind, before.chain) == ("signed", RFC3161, ROOT.id)
        assert "unavailable" in before.reason
        server.respond = granting(honest)
        bench.now_ms += 61_000
        machine(bench, target_at(server)).step()  # as after a restart
        assert row(bench).state == "broadcast"
        machine(bench, target_at(server)).step()
    done = row(bench)
    assert (done.state, done.reason, done.cost) == ("final", "", 0)
    assert check_stamp(ROOT, done.evidence, done.block_hash).number == 0x42
    machine(bench, target_at(server)).step()  # looked at again, without asking anybody
    assert row(bench) == done


def test_another_authority_in_the_settings_stamps_what_the_first_did_not(bench: Bench) -> None:
    with serving(crash) as server:
        machine(bench, target_at(server)).step()
        assert row(bench).chain == ROOT.id
        server.respond = granting(lambda digest, nonce: stamps.Stamp(FOREIGN, digest, nonce=nonce))
        for _ in range(4):
            bench.now_ms += 61_000
            machine(bench, target_at(server, OTHER)).step()
        done = row(bench)
        assert (done.state, done.chain) == ("final", OTHER.id)
        check_stamp(OTHER, done.evidence, done.block_hash)
        bench.now_ms += 1000
        machine(bench, target_at(server)).step()  # back again: what is final stays what it is
        assert row(bench).evidence == done.evidence


def test_a_target_has_no_beacon_and_refuses_what_is_none(tmp_path: Path) -> None:
    settings = AnchorSettings(tsa_url="https://tsa.example/tsr", tsa_certificate="root.pem")
    root_file(tmp_path)
    target = open_target(tmp_path, settings, None)
    assert target.place == place_of(tmp_path, settings)
    assert (target.place.name, target.place.chain, target.place.has_head) == ("tsa.example", ROOT.id, False)
    with pytest.raises(AnchorError, match="no blocks"):
        target.head()
    with pytest.raises(EncodingError, match="31 bytes"):
        target.sign(bytes(31), UNLIMITED)
    with pytest.raises(EncodingError, match="payload"):
        target.poll(b"\x80")
    signed = target.sign(DIGEST, UNLIMITED)
    assert target.replace(signed.payload, UNLIMITED).payload == signed.payload
    assert target.sign(DIGEST, UNLIMITED) != signed


@pytest.mark.parametrize(
    ("octets", "why"),
    [(None, "No such file"), (b"x", "no certificates in PEM"), (pem(stamps.ROOT) + pem(stamps.SIGNER), "holds 2")],
)
def test_a_certificate_file_that_is_none_is_named(tmp_path: Path, octets: bytes | None, why: str) -> None:
    if octets is not None:
        (tmp_path / "root.pem").write_bytes(octets)
    with pytest.raises(ConfigError, match=why):
        place_of(tmp_path, AnchorSettings(tsa_url="https://tsa.example", tsa_certificate="root.pem"))


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ('tsa_url = "ftp://tsa.example"\ntsa_certificate = "x"', "it is like https"),
        ('tsa_certificate = "x"', "it is like https"),
        ('tsa_url = "https://tsa.example"', "needs tsa_certificate"),
        ('tsa_url = "https://tsa.example"\ntsa_certificate = "x"\nchain = "eip155:1"', "table of its own"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(table: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse_config(f'[farm]\nsite = "home"\n[[anchor]]\n{table}\n', "earmark.toml")


def stamped(sample: SampleFarm) -> SampleFarm:
    """Stamp the sample's newest block as well."""
    header = sample.seal()
    token = stamps.Stamp(digest=header.hash).encode()
    row = AnchorRow("tsa", RFC3161, ROOT.id, header.height, header.hash, "final", evidence=token)
    sample.put(lambda store: store.put_anchor(row))
    return sample


def test_a_proof_with_a_token_counts_for_whoever_brings_the_certificate(
    earmark: Earmark, sample: SampleFarm, tmp_path: Path
) -> None:
    stamped(sample)
    said = in_farm(earmark)("prove", "13", "-o", "one.earmark")
    assert said.status == 0, said.err
    assert f"stamped by the authority {ROOT.id}" in said.words
    words = "check", "one.earmark", "--operator", sample.did
    without = earmark(*words)
    assert without.status == 0
    assert "8 Not after: NOT PROVEN" in without.words
    assert ROOT.id in without.out
    assert "--tsa FILE" in without.words
    root = root_file(tmp_path)
    with_it = earmark(*words, "--tsa", root)
    assert with_it.status == 0
    assert "8 Not after: holds" in with_it.words
    assert "existed before 2026-09-21 14:13:21 UTC (the authority" in with_it.words
    assert "the time rests on its word" in with_it.words
    found = earmark(*words, "--tsa", root, "--json").json()
    assert found["not_after"]["chain"] == ROOT.id
    assert found["stamps"] == [{"authority": ROOT.id, "proven": True, "stamp": found["not_after"]}]
    other = tmp_path / "other.pem"
    other.write_bytes(pem(stamps.OTHER_ROOT))
    strange = earmark(*words, "--tsa", other)
    assert strange.status == 0
    assert "no time stamp by CN=another tsa root" in strange.words
    renewed = tmp_path / "renewed.pem"
    renewed.write_bytes(pem(stamps.RENEWED))
    assert earmark(*words, "--tsa", renewed, "--json").json()["step"] == 8
    assert earmark(*words, "--tsa", renewed, "--tsa", root).status == 0
    assert earmark(*words, "--tsa", tmp_path / "none.pem").status != 0
    status = in_farm(earmark)("anchor", "status")
    assert status.status == 0
    assert "stamped before 2026-09-21 14:13:21 UTC, by the authority" in status.words
    assert in_farm(earmark)("log", "check").status == 0


def test_one_block_may_have_an_anchor_and_a_stamp(earmark: Earmark, sample: SampleFarm, tmp_path: Path) -> None:
    header = sample.seal()
    sample.anchor(header)
    token = stamps.Stamp(digest=header.hash, time=b"20260921140000Z").encode()
    stamp = AnchorRow("tsa", RFC3161, ROOT.id, header.height, header.hash, "final", evidence=token)
    sample.put(lambda store: store.put_anchor(stamp))
    assert in_farm(earmark)("prove", "13", "-o", "two.earmark").status == 0
    block = f"{sample.anchored.chain}=0x{sample.anchored.hash.hex()}"
    said = earmark("check", "two.earmark", "--operator", sample.did, "--tsa", root_file(tmp_path), "--block", block)
    assert said.status == 0
    assert "existed before 2026-09-21 14:00:01 UTC (the authority" in said.words
    assert "Without that authority's word: before" in said.words


def test_beacons_are_asked_of_chains_alone(sample: SampleFarm, caplog: pytest.LogCaptureFixture) -> None:
    published: list[bytes] = []
    public = Public(sample.farm, published.append, Metrics())
    assert not TsaTarget("http://127.0.0.1:1", ROOT, name="tsa").place.has_head
    head = (chain.BEACON.block, chain.BEACON.header)
    mining = SimpleNamespace(name="dev", target=SimpleNamespace(place=Place("dev", "evm", "x"), head=lambda: head))
    store = SqliteStore(sample.farm.database)
    public._look_at_head(mining, store, 600.0)  # type: ignore[arg-type]
    store.close()
    assert [len(beacon.decode(message)) for message in published] == [1]
    assert caplog.text == ""


def test_a_chain_s_anchor_goes_before_an_authority_s(earmark: Earmark, sample: SampleFarm) -> None:
    stamped(sample)
    found = in_farm(earmark)("prove", "3", "-o", "early.earmark", "--json").json()
    assert (found["block"], found["stamps"]) == (0, [])


@needs_openssl
def test_what_unpack_writes_is_what_openssl_verifies(earmark: Earmark, sample: SampleFarm, tmp_path: Path) -> None:
    stamped(sample)
    assert in_farm(earmark)("prove", "13", "-o", "one.earmark").status == 0
    assert earmark("unpack", "one.earmark", "parts").status == 0
    files = "-data", "parts/header.bin", "-in", "parts/header.bin.tst", "-token_in"
    said = openssl("ts", "-verify", *files, "-CAfile", root_file(tmp_path))
    assert said.returncode == 0, said.stderr
    other = tmp_path / "other.pem"
    other.write_bytes(pem(stamps.OTHER_ROOT))
    assert openssl("ts", "-verify", *files, "-CAfile", other).returncode != 0


def test_a_file_of_authorities_has_certificates() -> None:
    assert read_authorities(pem(stamps.ROOT) + pem(stamps.OTHER_ROOT)) == [ROOT, OTHER]
    for octets in (b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\xff" * 99):
        with pytest.raises(EncodingError):
            read_authorities(octets)
