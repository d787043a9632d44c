"""The gateway's side: two witnesses, a log that forks, a witness that dies, answers of every kind."""

import contextlib
import http.client
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import Earmark, in_farm
from earmark import cosignature, operator
from earmark.config import open_farm
from earmark.cosigning import Asked, poster
from earmark.errors import EarmarkError, WitnessError
from earmark.metrics import Metrics
from earmark.note import COSIGNATURE, ED25519, VerifierKey, decode_verifier_key
from earmark.settings import WitnessSettings
from earmark.store import AWAY, COSIGNED, SPLIT, SealedBlock, WitnessRow
from earmark.store.sqlite import SqliteStore
from earmark.witness.folder import create_witness
from farm import Bench, Signing, new_store
from services import GatewayProcess, TestNode, free_port, wait_for
from test_witness import FORKED, KEY, ORIGIN, TRUE, History
from watched import Watched

pytest_plugins = ["command_fixtures"]


class WitnessProcess:
    """`earmark witness run` in a folder, knowing some logs; `kill` is a power cut."""

    def __init__(self, folder: Path, name: str, *logs: str) -> None:
        self.port = free_port()
        made = create_witness(folder, name, "127.0.0.1", self.port, None)
        settings = folder / "witness.toml"
        settings.write_text(settings.read_text() + "".join(f'[[log]]\nvkey = "{log}"\n' for log in logs))
        self.folder, self.own = folder, made.own
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def table(self) -> str:
        """What a farm's settings say of it."""
        return f'[[witness]]\nurl = "{self.url}"\nvkey = "{self.own.encode()}"\nevery_s = 0\n'

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            command = [sys.executable, "-m", "earmark", "witness", "run", str(self.folder)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=os.environ)
        wait_for(lambda: self.page() != "", "the witness answers")

    def page(self) -> str:
        """What it says to people; nothing where it does not answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/")
            return connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            return ""
        finally:
            connection.close()

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait(30)

    def stop(self) -> int:
        assert self._process
        self._process.terminate()
        return self._process.wait(30)


# a gateway and its witnesses


def test_two_neighbours_witness_a_farm_and_a_fork_is_caught(tmp_path: Path, earmark: Earmark) -> None:
    site = Watched(tmp_path / "farm", "[beacon]\nevery_s = 0\n")
    gateway = site.farm.signer("gateway")
    log = VerifierKey(f"earmark/home/{gateway.kid.hex()}", ED25519, gateway.key)
    witnesses = [WitnessProcess(tmp_path / name, f"{name}.example/w", log.encode()) for name in ("east", "west")]
    settings = site.farm.folder / "earmark.toml"
    settings.write_text(settings.read_text() + "".join(witness.table for witness in witnesses))
    site.farm = open_farm(site.farm.folder)
    process = GatewayProcess(site.farm)
    node = TestNode(site.farm, site.broker_port, 3, "n1")
    try:
        for witness in witnesses:
            witness.start()
        process.start()
        wait_for(lambda: site.health() == (200, []), "the gateway is well")
        operator.enrol(site.farm, node.signing.key, "n1")
        node.say(node.signing.read(1))
        node.send_until_acknowledged()
        wait_for(lambda: cosigned(site) == [3, 3], "both cosigned the newest block")
        told = in_dir(earmark, site, "witness", "status", "--json").json()
        assert told["vkey"] == log.encode()
        assert [(row["state"], row["cosigned"]["leaves"]) for row in told["witnesses"]] == [("cosigned", 3)] * 2
        proof = tmp_path / "lot.earmark"
        assert in_dir(earmark, site, "prove", "2", "-o", proof).status == 0
        keys = tmp_path / "witnesses"
        keys.write_text("# mine\n" + "".join(f"{witness.own.encode()}\n" for witness in witnesses))
        words = "check", proof, "--operator", site.farm.folder / "operator.did"
        said = earmark(*words, "--witness", keys, "--json").json()
        assert [row["witness"] for row in said["witnessed"]] == ["east.example/w", "west.example/w"]
        shown = earmark(*words, "--witness", witnesses[0].own.encode()).words
        assert "10 Your witnesses: holds" in shown
        assert "witnessed by east.example/w at 20" in shown
        assert "10 Your witnesses: none given" in earmark(*words).words
        node.say(node.signing.read(2))
        node.send_until_acknowledged()
        wait_for(lambda: cosigned(site) == [4, 4], "both cosigned the next block")
        assert site.value("earmark_witness_split", witness="east.example/w") == 0
        assert in_dir(earmark, site, "log", "check").status == 0
    finally:
        node.close()
        assert process.stop() == 0
    assert_a_second_history_is_refused(site, witnesses, earmark)
    for witness in witnesses:
        assert witness.stop() == 0


def assert_a_second_history_is_refused(site: Watched, witnesses: list[WitnessProcess], earmark: Earmark) -> None:
    """Whoever has the gateway's key makes another history of the same log, with as many leaves, and asks both."""
    signer = site.farm.signer("gateway")
    origin = f"earmark/home/{signer.kid.hex()}"
    other = History("forged")
    for size in (4, 9):
        checkpoint = other.checkpoint(size, signer, origin)
        block = SealedBlock(9, size, b"", checkpoint, b"")
        asked = [
            Asked(WitnessSettings(each.url, each.own.encode(), 0), one_block(block), Metrics()) for each in witnesses
        ]
        for each in asked:
            each.step(9, 0.0)
            assert each._said
            assert each._said[0] == SPLIT
    for witness in witnesses:
        assert "SPLIT VIEW" in witness.page()
        told = earmark("witness", "list", witness.folder, "--json").json()
        assert sorted(row["kind"] for row in told["evidence"]) == ["fork", "unproven"]
        assert "SPLIT VIEW" in earmark("witness", "list", witness.folder).out


class one_block(SqliteStore):  # noqa: N801 - reads as a function
    """A store that has one block of a made-up history, and keeps nothing."""

    def __init__(self, block: SealedBlock) -> None:
        self._block = block

    def newest_cosigned(self, name: str, key_id: bytes) -> None:
        return None

    def block(self, height: int) -> SealedBlock:
        return self._block

    def newest_block(self) -> SealedBlock:
        return self._block

    def witnesses(self) -> list[WitnessRow]:
        return []

    def tile(self, level: int, number: int) -> bytes:
        leaves = [History("forged").subtree(0, index) for index in range(self._block.size)]
        return b"".join(leaves) if (level, number) == (0, 0) else b""

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        yield

    def put_witness(self, row: object) -> None:
        pass


def in_dir(earmark: Earmark, site: Watched, *words: object) -> object:
    return earmark(*words, "--farm", site.farm.folder)


def cosigned(site: Watched) -> list[int]:
    """The leaves under the newest block that each witness cosigned."""
    store = SqliteStore(site.farm.database)
    try:
        found = []
        for settings in site.farm.config.witness:
            key = decode_verifier_key(settings.vkey, COSIGNATURE)
            newest = store.newest_cosigned(key.name, key.id)
            block = store.block(newest[0]) if newest else None
            found.append(block.size if block else 0)
        return found
    finally:
        store.close()


# a witness that dies


def test_a_witness_killed_at_any_moment_never_cosigns_two_histories(tmp_path: Path) -> None:
    """Two histories race for every size while the process is killed and started again."""
    chance = random.Random(7)
    witness = WitnessProcess(tmp_path / "w", "w.example", KEY.encode())
    given: list[tuple[int, bytes]] = []
    ended = threading.Event()

    def press(history: History) -> None:
        post, known, size = poster(witness.url), 0, 0
        while not ended.is_set():
            size = max(size, known) + 1
            try:
                status, body = post(history.asked(known, size))
            except WitnessError:
                size = known
                continue
            if status == 200:
                given.append((size, history.root(size)))
                known = size
            elif status == 409:
                known = int(body)
            else:
                size = known
                time.sleep(0.01)

    threads = [threading.Thread(target=press, args=(history,)) for history in (TRUE, FORKED)]
    try:
        witness.start()
        for thread in threads:
            thread.start()
        for _ in range(8):
            time.sleep(chance.uniform(0.02, 0.4))
            witness.kill()
            witness.start()
            most = max(given, default=(0, b""))[0]
            assert size_of(witness) >= most
    finally:
        ended.set()
        for thread in threads:
            thread.join(30)
        witness.kill()
    assert len(given) > 20
    assert len({size for size, _ in given}) == len(set(given)), "two roots for one size"
    parted = {root for size, root in given if size > 3}
    histories = [h for h in (TRUE, FORKED) if any(h.root(size) in parted for size, _ in given if size > 3)]
    assert len(histories) == 1


def size_of(witness: WitnessProcess) -> int:
    """How many leaves it says it cosigned."""
    [line] = [line for line in witness.page().splitlines() if line.startswith(ORIGIN)]
    words = line.removeprefix(f"{ORIGIN}: ").split()
    return int(words[0]) if words[0].isdigit() else 0


def test_a_witness_killed_after_it_answered_remembers(tmp_path: Path) -> None:
    witness = WitnessProcess(tmp_path / "w", "w.example", KEY.encode())
    known = 0
    for size in (3, 5, 9, 17):
        witness.start()
        assert poster(witness.url)(TRUE.asked(known, size))[0] == 200
        known = size
        witness.kill()
    witness.start()
    assert poster(witness.url)(FORKED.asked(17, 18))[0] == 422
    witness.kill()


# answers of every kind


class Script:
    """A witness that answers what it is told to."""

    def __init__(self, *answers: tuple[int, bytes]) -> None:
        self.answers = list(answers)
        self.asked: list[bytes] = []

    def __call__(self, body: bytes) -> tuple[int, bytes]:
        self.asked.append(body)
        if not self.answers:
            raise WitnessError("it does not answer: refused")
        return self.answers.pop(0)


SIGNER = Signing(11, "w").signer
OWN = VerifierKey("w.example", COSIGNATURE, SIGNER.key)
SETTINGS = WitnessSettings("http://127.0.0.1:1", OWN.encode(), 5)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return two_blocks(tmp_path)


def two_blocks(tmp_path: Path) -> Bench:
    """A log of two blocks, over 2 and 7 leaves."""
    made = Bench(new_store(tmp_path)).found()
    node = made.enrol(3, "n1")
    made.log.seal(bytes(16))
    made.admit(*[node.read() for _ in range(5)])
    made.log.seal(bytes(16))
    return made


def text_of(bench: Bench) -> bytes:
    newest = bench.store.newest_block()
    assert newest
    return newest.checkpoint[: newest.checkpoint.index(b"\n\n") + 1]


def right(bench: Bench) -> tuple[int, bytes]:
    return 200, cosignature.cosign(SIGNER, OWN.name, text_of(bench), 9).encode().encode()


def test_a_cosignature_is_kept_and_asked_for_no_more(bench: Bench) -> None:
    script = Script((409, b"2\n"), right(bench))
    asked = Asked(SETTINGS, bench.store, Metrics(), script)
    asked.step(1, 100.0)
    assert [body.split(b"\n")[0] for body in script.asked] == [b"old 0", b"old 2"]
    [kept] = bench.store.cosignatures(1)
    assert (kept.name, kept.time_s) == (OWN.name, 9)
    assert bench.store.cosignatures(0) == []
    asked.step(1, 1000.0)
    assert len(script.asked) == 2
    assert [row.state for row in bench.store.witnesses()] == [COSIGNED]
    again = Asked(SETTINGS, bench.store, Metrics(), script)
    again.step(1, 0.0)
    assert len(script.asked) == 2


@pytest.mark.parametrize(
    ("answers", "state", "said"),
    [
        ([], AWAY, "does not answer"),
        ([(500, b"the witness cannot write")], AWAY, "500: the witness cannot write"),
        ([(404, b"")], AWAY, "404: no reason given"),
        ([(403, b"\xff")], AWAY, "403"),
        ([(301, b"")], AWAY, "301"),
        ([(200, b"")], AWAY, "no cosignature"),
        ([(200, b"\xff")], AWAY, "no cosignature"),
        ([(200, "\u2014 other.example AAAAAAA=\n".encode())], AWAY, "no signature line"),
        ([(200, cosignature.cosign(SIGNER, OWN.name, b"x", 9).encode().encode())], AWAY, "does not verify"),
        ([(409, b"x\n")], AWAY, "without the size"),
        ([(409, b"2\n"), (409, b"2\n")], AWAY, "409 to the size"),
        ([(409, b"8\n")], SPLIT, "an older copy"),
        ([(422, b"no")], SPLIT, "another history"),
        ([(409, b"2\n"), (422, b"no")], SPLIT, "another history"),
    ],
)
def test_what_is_not_a_cosignature(bench: Bench, answers: list[tuple[int, bytes]], state: str, said: str) -> None:
    metrics = Metrics()
    asked = Asked(SETTINGS, bench.store, metrics, Script(*answers))
    asked.step(1, 100.0)
    [row] = bench.store.witnesses()
    assert row.state == state
    assert said in row.message
    assert bench.store.cosignatures(1) == []
    assert metrics.registry.get_sample_value("earmark_witness_split", {"witness": OWN.name}) == (state == SPLIT)


def test_a_store_that_fails_keeps_the_witness_for_later(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(right(bench), right(bench))
    asked = Asked(SETTINGS, bench.store, Metrics(), script)

    def fails(*_: object) -> None:
        raise EarmarkError("no room")

    with monkeypatch.context() as broken:
        broken.setattr(SqliteStore, "add_cosignature", fails)
        asked.step(1, 0.0)
    assert bench.store.cosignatures(1) == []
    asked.step(1, time.monotonic() + 100)
    assert len(bench.store.cosignatures(1)) == 1


def test_status_without_witnesses_and_before_any_answer(earmark: Earmark, sample: object) -> None:
    said = in_farm(earmark)("witness", "status")
    assert "No [[witness]] is set" in said.words
    path = Path("farm/earmark.toml")
    path.write_text(path.read_text() + f'[[witness]]\nurl = "http://127.0.0.1:1"\nvkey = "{OWN.encode()}"\n')
    said = in_farm(earmark)("witness", "status", "--json")
    [row] = said.json()["witnesses"]
    assert (row["state"], row["cosigned"]) == (None, None)
    assert "has cosigned nothing yet" in in_farm(earmark)("witness", "status").words
    assert json.loads(said.out)["vkey"].startswith("earmark/home/")
