"""Private keys: sealed, unsealed, refused where others can read them, and seen nowhere."""

import logging
import os
import pty
import re
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import psutil
import pytest

from commands import ROOT, Earmark, in_farm
from earmark import config, cose, keys
from earmark.errors import ConfigError
from farm import Signing
from sample_farm import SampleFarm
from services import GatewayProcess, free_port, make_farm, wait_for

pytest_plugins = ["command_fixtures"]

SEED = bytes(range(32))
PASSPHRASE = "vier Bäume am Bach"
EARMARK = [sys.executable, "-m", "earmark"]


def private(path: Path, text: str) -> Path:
    """A file that only its owner reads."""
    path.write_text(text)
    path.chmod(0o600)
    return path


def sealed(path: Path, passphrase: str = PASSPHRASE) -> Path:
    keys.write_seed(path, SEED, keys.new_passphrase(passphrase))
    return path


def not_asked() -> bytes:
    pytest.fail("a plain key needs no passphrase")


def given() -> bytes:
    return keys.passphrase_bytes(PASSPHRASE)


# the file


def test_a_sealed_key_opens_with_its_passphrase_alone_and_shows_nothing(tmp_path: Path) -> None:
    path = sealed(tmp_path / "gateway.key")
    text = path.read_text()
    assert SEED.hex() not in text
    assert path.stat().st_mode & 0o777 == 0o600
    assert keys.read_seed(path, "the key", given) == SEED
    for wrong in (b"", b"vier Baeume am Bach", PASSPHRASE.encode() + b"\n"):
        with pytest.raises(ConfigError, match=r"the passphrase does not open .*gateway\.key"):
            keys.read_seed(path, "the key", lambda wrong=wrong: wrong)
    assert sealed(tmp_path / "again").read_text() != text


def test_the_format_is_the_documented_one(tmp_path: Path) -> None:
    """docs/security.md holds a sealed file with its passphrase; the fields are the ones it names."""
    words = (ROOT / "docs" / "security.md").read_text()
    [example] = re.findall(r"^earmark-sealed-key-1 .*$", words, re.MULTILINE)
    [passphrase] = re.findall(r"opens with the passphrase `([^`]+)`", words)
    [seed] = re.findall(r"the seed `([0-9a-f]{64})`", words)
    path = private(tmp_path / "key", example + "\n")
    assert keys.read_seed(path, "the key", lambda: keys.passphrase_bytes(passphrase)).hex() == seed
    made = sealed(tmp_path / "made").read_text().split()
    assert [len(field) for field in made] == [len(field) for field in example.split()]
    assert made[2:4] == example.split()[2:4] == [str(keys.PASSES), str(keys.MEMORY_MIB)]


def test_a_passphrase_is_the_same_however_a_keyboard_composes_it(tmp_path: Path) -> None:
    path = sealed(tmp_path / "key", "Ba\u0308ume am Bach")
    assert keys.read_seed(path, "the key", lambda: keys.passphrase_bytes("B\u00e4ume am Bach")) == SEED


@pytest.mark.parametrize("place", [0, 40, 60, 100, 140, 210])
def test_a_changed_character_is_noticed(tmp_path: Path, place: int) -> None:
    path = sealed(tmp_path / "key")
    text = path.read_text()
    changed = "1" if text[place] != "1" else "2"
    private(path, text[:place] + changed + text[place + 1 :])
    with pytest.raises(ConfigError) as refused:
        keys.read_seed(path, "the key", given)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "does not hold a key"),
        ("00" * 31, "does not hold a key"),
        ("00" * 33, "does not hold a key"),
        ("earmark-sealed-key-2 argon2id 4 64 " + "0" * 32 + " " + "0" * 144, "does not hold a key"),
        ("earmark-sealed-key-1 argon2id 4 4096 " + "0" * 32 + " " + "0" * 144, "4096 MiB"),
        ("earmark-sealed-key-1 argon2id 999 64 " + "0" * 32 + " " + "0" * 144, "999 passes"),
        ("x" * 5000, "more than 4,096 bytes"),
    ],
)
def test_what_is_no_key_is_refused_before_any_work_without_being_shown(tmp_path: Path, text: str, what: str) -> None:
    path = private(tmp_path / "key", text)
    with pytest.raises(ConfigError, match=what):
        keys.read_seed(path, "the key", not_asked)


@pytest.mark.parametrize("mode", [0o640, 0o602])
def test_a_key_that_others_can_read_or_write_is_refused_with_the_cure(
    earmark: Earmark, sample: SampleFarm, mode: int
) -> None:
    path = sample.farm.folder / "keys" / "operator.key"
    path.chmod(mode)
    said = in_farm(earmark)("node", "revoke", "shed-2", "--reason", "sold")
    assert said.status == 3
    assert f"is open to other users (mode {mode:04o}): say `chmod 600 " in said.err
    path.chmod(0o600)
    assert in_farm(earmark)("node", "revoke", "shed-2", "--reason", "sold").status == 0


def test_the_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up, a sync or a rename that fails, leave the old key; nothing of the new one stays."""
    path = private(tmp_path / "key", SEED.hex() + "\n")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for step in ("fsync", "fchmod", "replace"):
        with monkeypatch.context() as broken:
            broken.setattr(Path if step == "replace" else os, step, fail)
            with pytest.raises(OSError, match="No space left"):
                sealed(path)
        assert path.read_text() == SEED.hex() + "\n"
        assert [found.name for found in tmp_path.iterdir()] == ["key"]


def test_a_key_is_there_at_every_moment_while_it_is_replaced(tmp_path: Path) -> None:
    path = private(tmp_path / "key", SEED.hex() + "\n")
    stop, seen, wrong = threading.Event(), set(), []

    def look() -> None:
        while not stop.is_set():
            try:
                text = path.read_text()
            except OSError as error:
                wrong.append(error)
                return
            seen.add(len(text.split()))

    watcher = threading.Thread(target=look)
    watcher.start()
    for turn in range(6):
        keys.write_seed(path, SEED, None if turn % 2 else keys.new_passphrase(PASSPHRASE))
    stop.set()
    watcher.join(30)
    assert (wrong, seen) == ([], {1, 6})


def test_replacing_follows_a_link_and_keeps_the_owner(tmp_path: Path) -> None:
    target = private(tmp_path / "medium.key", SEED.hex() + "\n")
    if os.geteuid() == 0:
        os.chown(target, 12_345, 12_346)
    link = tmp_path / "operator.key"
    link.symlink_to(target)
    sealed(link)
    assert link.is_symlink()
    assert target.read_text().startswith("earmark-sealed-key-1 ")
    if os.geteuid() == 0:
        assert (target.stat().st_uid, target.stat().st_gid) == (12_345, 12_346)


def test_an_owner_that_is_ours_takes_no_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below packaging/earmark.service a `chown` of any kind fails, even one that changes nothing."""

    def fail(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    for call in ("chown", "fchown", "lchown"):
        monkeypatch.setattr(os, call, fail)
    keys.replace_private(tmp_path / "earmark.checkpoint", "one")
    keys.replace_private(tmp_path / "earmark.checkpoint", "two")
    assert (tmp_path / "earmark.checkpoint").read_text() == "two"


def test_a_link_that_another_put_in_the_way_is_not_followed(tmp_path: Path) -> None:
    """Root writes into folders of the gateway's and Mosquitto's users."""
    victim = private(tmp_path / "victim", "as it was")
    (tmp_path / "passwords.part").symlink_to(victim)
    keys.replace_private(tmp_path / "passwords", "n1:hash")
    assert (victim.read_text(), (tmp_path / "passwords").read_text()) == ("as it was", "n1:hash")
    assert not (tmp_path / "passwords").is_symlink()


def test_all_that_a_farm_begins_with_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[str] = set()
    sync = os.fsync

    def note(number: int) -> None:
        synced.add(Path(os.readlink(f"/proc/self/fd/{number}")).name.removesuffix(".part"))
        sync(number)

    monkeypatch.setattr(os, "fsync", note)
    made = config.create_farm(tmp_path / "farm", '[farm]\nsite = "home"\n')
    assert {path.name for path in made.folder.rglob("*") if path.is_file()} <= synced


# the commands

# the commands


def test_sealing_and_unsealing_by_command(earmark: Earmark, sample: SampleFarm, tmp_path: Path) -> None:
    farm = in_farm(earmark)
    first, second = private(tmp_path / "1", PASSPHRASE + "\n"), private(tmp_path / "2", "eight sheep, two dogs")
    path = sample.farm.key_file("operator")
    plain, did = path.read_text(), sample.did
    said = farm("key", "seal", "operator", "--new-passphrase-file", first, "--json").json()
    assert said == {"role": "operator", "file": "farm/keys/operator.key", "did": did, "sealed": True}
    assert plain.strip() not in path.read_text()
    no_terminal = farm("node", "revoke", "shed-2", "--reason", "sold")
    assert (no_terminal.status, "no terminal to ask on: name a file with --passphrase-file" in no_terminal.err) == (
        3,
        True,
    )
    wrong = farm("node", "revoke", "shed-2", "--reason", "sold", "--passphrase-file", second)
    assert (wrong.status, "the passphrase does not open" in wrong.err) == (3, True)
    assert farm("node", "revoke", "shed-2", "--reason", "sold", "--passphrase-file", first).status == 0
    changed = farm("key", "seal", "operator", "--passphrase-file", first, "--new-passphrase-file", second)
    assert (changed.status, "is sealed" in changed.out) == (0, True)
    assert farm("key", "unseal", "operator", "--passphrase-file", first).status == 3
    said = farm("key", "unseal", "operator", "--passphrase-file", second, "--json").json()
    assert (said["sealed"], path.read_text()) == (False, plain)


@pytest.mark.parametrize(
    ("text", "mode", "what"),
    [
        ("elevenchars", 0o600, "at least 12 characters"),
        ("", 0o600, "does not hold a passphrase"),
        ("first line of it\nsecond line\n", 0o600, "does not hold a passphrase"),
        ("long enough, but open", 0o644, "open to other users"),
    ],
)
def test_poor_passphrases_leave_the_key_as_it_is(
    earmark: Earmark, sample: SampleFarm, tmp_path: Path, text: str, mode: int, what: str
) -> None:
    file = private(tmp_path / "p", text)
    file.chmod(mode)
    before = sample.farm.key_file("gateway").read_text()
    said = in_farm(earmark)("key", "seal", "gateway", "--new-passphrase-file", file)
    assert (said.status, what in said.err) == (3, True)
    assert not text or text.splitlines()[0] not in said.err
    assert sample.farm.key_file("gateway").read_text() == before


def at_terminal(words: list[str], answers: list[str], folder: Path) -> tuple[int, str]:
    """Run a command whose terminal is typed at, an answer a prompt; returns its status and all that was shown."""
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover - another process
        os.chdir(folder)
        os.execv(sys.executable, [*EARMARK, *words])  # noqa: S606 - arguments of our own
    shown, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # Linux says so when the other end is closed
            break
        shown += piece
        if answers and shown.rstrip().endswith(b":"):
            os.write(terminal, answers.pop(0).encode() + b"\n")
            shown += b"<answered>"
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()


def test_a_terminal_is_asked_without_echo(sample: SampleFarm, tmp_path: Path) -> None:
    seal = ["key", "seal", "gateway", "--farm", "farm"]
    status, shown = at_terminal(seal, [PASSPHRASE, PASSPHRASE + "!"], tmp_path)
    assert (status, "the two passphrases differ" in shown) == (3, True)
    status, shown = at_terminal(seal, [PASSPHRASE, PASSPHRASE], tmp_path)
    assert (status, "is sealed" in shown, "Bäume" in shown) == (0, True, False)
    again = at_terminal(["key", "unseal", "gateway", "--farm", "farm"], [PASSPHRASE], tmp_path)
    assert (again[0], "is plain now" in again[1], "Bäume" in again[1]) == (0, True, False)


# the gateway


def test_a_gateway_with_a_sealed_key_runs_by_a_credential_and_shows_it_nowhere(tmp_path: Path) -> None:
    farm = make_farm(tmp_path / "farm", free_port())
    seed = farm.seed("gateway")
    keys.write_seed(farm.key_file("gateway"), seed, keys.new_passphrase(PASSPHRASE))
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "gateway-passphrase").write_text(PASSPHRASE + "\n")
    process = GatewayProcess(farm, environment={"CREDENTIALS_DIRECTORY": str(credentials)})
    process.start()
    try:
        wait_for(lambda: "connected to the broker" in process.said, "the gateway runs")
        ours = psutil.Process(process.pid)
        family = [ours, *ours.children(recursive=True)]
        assert len(family) > 1
        told = " ".join(str(member.cmdline()) + str(member.environ()) for member in family)
    finally:
        assert process.stop() == 0
    everything = told + process.said
    assert not [word for word in (PASSPHRASE, seed.hex(), str(seed)) if word in everything]


def test_a_gateway_without_the_passphrase_says_so_and_ends(tmp_path: Path) -> None:
    farm = make_farm(tmp_path / "farm", free_port())
    keys.write_seed(farm.key_file("gateway"), farm.seed("gateway"), keys.new_passphrase(PASSPHRASE))
    process = GatewayProcess(farm)
    process.start()
    assert process.wait() == 3
    assert "the gateway's key is sealed, and there is no terminal to ask on" in process.said
    assert "Traceback" not in process.said
    wrong = private(tmp_path / "wrong", "not the passphrase")
    run = subprocess.run(
        [*EARMARK, "run", "--farm", str(farm.folder), "--passphrase-file", str(wrong)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 3
    assert run.stderr.endswith(
        f"earmark: the passphrase does not open {farm.key_file('gateway')}, or the file is damaged\n"
    )


def test_no_text_of_a_signer_a_farm_or_an_error_shows_a_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = make_farm(tmp_path / "farm", free_port())
    seed = made.seed("gateway")
    farm = config.open_farm(made.folder, lambda role: b"a passphrase not to be seen")
    signer = farm.signer("gateway")
    keys.write_seed(farm.key_file("gateway"), seed, given())
    with caplog.at_level(logging.DEBUG):
        try:
            farm.signer("gateway")
            pytest.fail("another passphrase opened it")
        except ConfigError:
            logging.getLogger("earmark").exception("%s %r %s", signer, signer, farm)
            told = traceback.format_exc() + caplog.text
    told += f"{signer}{signer!r}{[signer]}{farm!r}{Signing(3, 'n').signer}"
    for secret in (seed, SEED, b"a passphrase not to be seen", given()):
        assert secret.hex() not in told
        assert repr(secret)[2:-1] not in told
    assert repr(signer) == f"Signer({cose.did(signer.key)})"
