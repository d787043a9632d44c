"""The witness: every answer, what it keeps, that it never cosigns two histories."""

import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest

from earmark import block, cosignature, merkle, note, serving
from earmark.block import Header
from earmark.consistency import Continuation, prove_continuation
from earmark.cose import Signer
from earmark.errors import ConfigError
from earmark.note import ED25519, VerifierKey, b64
from earmark.serving import Answer, Listener
from earmark.witness import judge
from earmark.witness.folder import WitnessFolder, create_witness, open_witness, parse_settings
from earmark.witness.judge import MOST_BODY, Witness, origin_hash
from earmark.witness.ledger import Ledger
from earmark.witness.service import CONNECTIONS, routes
from services import free_port, wait_for

LOG = Signer(b"\7" * 32)
ORIGIN = "earmark/home/0123456789abcdef"
KEY = VerifierKey(ORIGIN, ED25519, LOG.key)
NOW_S = 1_790_000_000


class History:
    """A log's leaves; two of them with another `word` have other roots from leaf `parted` on."""

    def __init__(self, word: str = "", parted: int = 0) -> None:
        self._word, self._parted = word, parted

    def subtree(self, level: int, index: int) -> bytes:
        if level == 0:
            word = self._word if index >= self._parted else ""
            return merkle.leaf_hash(f"{word}{index}".encode())
        return merkle.node_hash(self.subtree(level - 1, 2 * index), self.subtree(level - 1, 2 * index + 1))

    def root(self, size: int) -> bytes:
        return merkle.range_hash(0, size, self.subtree)

    def checkpoint(self, size: int, signer: Signer = LOG, origin: str = ORIGIN) -> bytes:
        nothing = bytes(32)
        header = Header(block.origin_hash(origin), size, size, 0, nothing, self.root(size), nothing, bytes(16))
        return block.sign_checkpoint(signer, origin, header)

    def asked(self, old: int, size: int) -> bytes:
        return prove_continuation(old, size, self.checkpoint(size), self.subtree).encode()


TRUE, FORKED = History(), History("other", 3)


@dataclass
class Bench:
    """A witness in a folder, with a clock that is set by hand."""

    folder: WitnessFolder
    ledger: Ledger
    witness: Witness
    now_s: int = NOW_S

    def ask(self, body: bytes) -> tuple[int, bytes]:
        answer = self.witness.add_checkpoint(body)
        return answer.status, answer.body

    def cosigns(self, history: History, old: int, size: int) -> None:
        """Ask, and verify what comes back."""
        status, body = self.ask(history.asked(old, size))
        assert status == 200, body
        found = cosignature.find(body.decode(), self.folder.own)
        assert found
        checkpoint = history.checkpoint(size)
        found.verify(self.folder.own, checkpoint[: checkpoint.index(b"\n\n") + 1])
        assert found.time_s == self.now_s

    def evidence(self) -> list[tuple[str, bytes]]:
        return [(row.kind, row.text) for row in self.ledger.evidence()]


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Bench]:
    """A new witness."""
    folder = create_witness(path, "w.example/one", "127.0.0.1", 8460, None)
    ledger = folder.ledger()
    signer = folder.signer(lambda: b"")
    made = Bench(folder, ledger, Witness(folder.own, signer, {ORIGIN: (KEY,)}, ledger, lambda: made.now_s))
    yield made
    ledger.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with opened(tmp_path / "witness") as made:
        yield made


def test_a_log_is_followed_from_its_first_checkpoint_on(bench: Bench) -> None:
    sizes = [0, 1, 2, 3, 7, 8, 9, 64, 100]
    for old, size in pairwise(sizes):
        bench.cosigns(TRUE, old, size)
        bench.now_s += 1
    [seen] = bench.ledger.all_seen()
    assert (seen.size, seen.root) == (100, TRUE.root(100))
    assert bench.evidence() == []


def test_the_newest_again_is_cosigned_again_and_not_written_for_a_while(bench: Bench) -> None:
    bench.cosigns(TRUE, 0, 5)
    first = bench.ask(TRUE.asked(5, 5))
    bench.now_s += judge.AGAIN_S - 1
    assert bench.ask(TRUE.asked(5, 5)) == first
    bench.now_s += 1
    bench.cosigns(TRUE, 5, 5)


def flipped(body: bytes, at: int) -> bytes:
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


STRANGER = Signer(b"\x09" * 32)
UNKNOWN = "earmark/elsewhere/0123456789abcdef"


def with_forged_line() -> bytes:
    """A second line under the log's name and key id that is not the log's."""
    body = TRUE.asked(4, 6)
    return body + note.encode_line(ORIGIN, KEY.id + bytes(64)).encode()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"old 4\n", 400),
        (b"\xff" * 100, 400),
        (TRUE.asked(4, 6).replace(b"old 4", b"old 04"), 400),
        (TRUE.asked(4, 6).replace(b"old 4", b"size 4"), 400),
        (TRUE.asked(4, 6)[:-1], 400),
        (TRUE.asked(4, 6).replace(b"\n6\n", b"\n06\n"), 400),
        (TRUE.asked(4, 6).replace(b"\n6\n", b"\n9223372036854775808\n"), 400),
        (Continuation(4, (bytes(32),) * 64, TRUE.checkpoint(6)).encode(), 400),
        (Continuation(7, (), TRUE.checkpoint(6)).encode(), 400),
        (Continuation(4, (), TRUE.checkpoint(6) + b"x" * 100).encode(), 400),
        (Continuation(4, (), TRUE.checkpoint(6, LOG, UNKNOWN)).encode(), 404),
        (Continuation(4, (), TRUE.checkpoint(6, STRANGER)).encode(), 403),
        (TRUE.asked(4, 6).replace(b"\n6\n", b"\n7\n"), 403),
        (with_forged_line(), 403),
        (TRUE.asked(0, 6), 409),
        (TRUE.asked(3, 6), 409),
        (TRUE.asked(5, 6), 409),
        (TRUE.asked(3, 3), 409),
        (Continuation(4, (), TRUE.checkpoint(6)).encode(), 422),
        (Continuation(4, (bytes(32),), TRUE.checkpoint(6)).encode(), 422),
        (Continuation(4, (bytes(32),), TRUE.checkpoint(4)).encode(), 422),
        (FORKED.asked(4, 6), 422),
        (FORKED.asked(4, 4), 422),
    ],
)
def test_what_is_refused_and_how(bench: Bench, body: bytes, status: int) -> None:
    bench.cosigns(TRUE, 0, 4)
    found, said = bench.ask(body)
    assert found == status
    assert b"\xe2\x80\x94" not in said
    answer = bench.witness.add_checkpoint(body)
    if status == 409:
        assert (answer.kind, answer.body) == ("text/x.tlog.size", b"4\n")
    bench.cosigns(TRUE, 4, 6)


def test_an_empty_tree(bench: Bench) -> None:
    def asked(root: bytes) -> bytes:
        text = f"{ORIGIN}\n0\n{b64(root)}\n".encode()
        return b"old 0\n\n" + text + b"\n" + note.encode_line(ORIGIN, KEY.id + LOG.sign(text)).encode()

    assert bench.ask(asked(bytes(32)))[0] == 422
    assert bench.ask(asked(merkle.EMPTY_ROOT))[0] == 200
    assert bench.ask(Continuation(0, (bytes(32),), TRUE.checkpoint(4)).encode())[0] == 422
    bench.cosigns(TRUE, 0, 4)


def test_signatures_of_others_are_passed_over(bench: Bench) -> None:
    others = "".join(note.encode_line(f"other.example/{n}", bytes([n]) * 2424) for n in range(16))
    assert bench.ask(TRUE.asked(0, 4) + others.encode())[0] == 200


def test_of_racing_requests_one_history_wins(bench: Bench) -> None:
    """Half of them for one, half for the other, all from the same size."""
    bench.cosigns(TRUE, 0, 3)
    gate = threading.Barrier(16)

    def one(number: int) -> int:
        history = (TRUE, FORKED)[number % 2]
        gate.wait()
        status, _ = bench.ask(history.asked(3, 4 + number // 2 % 4))
        return status

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(one, range(16)))
    assert found.count(200) >= 1
    winners = {number % 2 for number, status in enumerate(found) if status == 200}
    assert len(winners) == 1
    [seen] = bench.ledger.all_seen()
    assert seen.root == (TRUE, FORKED)[winners.pop()].root(seen.size)


def test_two_processes_on_one_ledger_do_not_both_win(bench: Bench) -> None:
    """The lock of the folder forbids it; the transaction does so too."""
    other = bench.folder.ledger()
    twin = replace(bench, ledger=other)
    twin.witness = Witness(bench.folder.own, bench.folder.signer(lambda: b""), {ORIGIN: (KEY,)}, other, lambda: NOW_S)
    bench.cosigns(TRUE, 0, 5)
    assert twin.ask(FORKED.asked(0, 5))[0] == 409
    other.close()


def test_a_full_disk_under_the_ledger(bench: Bench) -> None:
    """SQLite itself says that there is no room: for evidence here."""
    bench.cosigns(TRUE, 0, 4)
    pages = bench.ledger._all("PRAGMA page_count")[0][0]
    bench.ledger._all(f"PRAGMA max_page_count={pages}")
    answers = [bench.ask(FORKED.asked(4, size)) for size in range(5, 30)]
    assert {status for status, _ in answers} <= {422, 500}
    assert answers[-1][0] == 500
    assert not any(b"\xe2\x80\x94" in said for _, said in answers)
    bench.ledger._all("PRAGMA max_page_count=100000")
    bench.cosigns(TRUE, 4, 6)


# the folder


def test_a_folder_is_made_once_and_its_key_is_private(tmp_path: Path) -> None:
    folder = create_witness(tmp_path / "w", "farm.example/w", "127.0.0.1", 9000, b"a long passphrase")
    assert open_witness(tmp_path / "w") == folder
    assert folder.settings.port == 9000
    for name in ("witness.key", "witness.db"):
        assert (tmp_path / "w" / name).stat().st_mode & 0o777 == 0o600
    assert folder.signer(lambda: b"a long passphrase").key == folder.own.key
    with pytest.raises(ConfigError, match="does not open"):
        folder.signer(lambda: b"another passphrase")
    with pytest.raises(ConfigError, match="a witness already"):
        create_witness(tmp_path / "w", "farm.example/w", "127.0.0.1", 9000, None)
    for name in ("https://farm.example", "a b", "", "a+b"):
        with pytest.raises(ConfigError, match="name"):
            create_witness(tmp_path / "x", name, "127.0.0.1", 9000, None)
    with pytest.raises(ConfigError, match="earmark witness init"):
        open_witness(tmp_path / "x")


def test_an_interrupted_beginning_is_begun_anew(tmp_path: Path) -> None:
    create_witness(tmp_path / "w", "farm.example/w", "127.0.0.1", 9000, None)
    (tmp_path / "w" / "witness.key").unlink()
    again = create_witness(tmp_path / "w", "farm.example/w", "127.0.0.1", 9000, None)
    again.ledger().close()


def test_a_witness_without_its_memory_or_with_another_s_does_not_run(tmp_path: Path) -> None:
    folder = create_witness(tmp_path / "w", "farm.example/w", "127.0.0.1", 9000, None)
    create_witness(tmp_path / "v", "farm.example/v", "127.0.0.1", 9000, None)
    ledger = tmp_path / "w" / "witness.db"
    ledger.write_bytes((tmp_path / "v" / "witness.db").read_bytes())
    with pytest.raises(ConfigError, match=r"belongs to the witness farm\.example/v"):
        folder.ledger()
    ledger.unlink()
    with pytest.raises(ConfigError, match="could cosign a second history"):
        folder.ledger()
    (tmp_path / "w" / "witness.key").write_bytes((tmp_path / "v" / "witness.key").read_bytes())
    with pytest.raises(ConfigError, match="is not the key"):
        folder.signer(lambda: b"")
    with folder.lock(), pytest.raises(ConfigError, match="already runs"), folder.lock():
        pass


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x", "not TOML"),
        ("[farm]", "unknown table"),
        ("[witness]\nport = 0", "witness.port"),
        ("[witness]\nprot = 1", "unknown setting"),
        ("[log]\nvkey = 'x'", r"\[\[log\]\]"),
        ("[[log]]\nvkey = 'x'", "log.vkey"),
        ("[[log]]\n", "log.vkey"),
    ],
)
def test_wrong_settings_are_named(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_settings(text, "witness.toml")


def test_a_log_may_have_two_keys_under_one_origin() -> None:
    other = VerifierKey("old.example/name", ED25519, STRANGER.key)
    rows = f'[[log]]\nvkey = "{KEY.encode()}"\n[[log]]\nvkey = "{other.encode()}"\norigin = "{ORIGIN}"\n'
    assert parse_settings(rows, "x")[1] == {ORIGIN: (KEY, other)}


# over HTTP


@pytest.fixture
def port(bench: Bench) -> Iterator[int]:
    number = free_port()
    listener = Listener("127.0.0.1", number, routes(bench.witness))
    listener.start()
    yield number
    listener.stop()


def sent(port: int, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers["Content-Type"], answer.read())
    finally:
        connection.close()


def test_the_paths_of_a_witness(bench: Bench, port: int) -> None:
    monitored = f"/{origin_hash(ORIGIN)}/checkpoint"
    assert sent(port, "GET", monitored).status == 404
    assert sent(port, "POST", "/add-checkpoint", TRUE.asked(0, 4)).status == 200
    conflict = sent(port, "POST", "/add-checkpoint", TRUE.asked(0, 5))
    assert (conflict.status, conflict.kind, conflict.body) == (409, "text/x.tlog.size", b"4\n")
    found = sent(port, "GET", monitored)
    assert found.status == 200
    kept, [cosigned] = cosignature.split(found.body)
    assert kept == TRUE.checkpoint(4)
    assert cosigned.name == bench.folder.own.name
    page = sent(port, "GET", "/")
    assert page.status == 200
    assert f"{ORIGIN}: 4 leaves, cosigned 2026-09-21 14:13:20 UTC" in page.body.decode()
    assert sent(port, "POST", "/add-checkpoint", FORKED.asked(4, 4)).status == 422
    assert "SPLIT VIEW" in sent(port, "GET", "/").body.decode()
    assert sent(port, "GET", "/add-checkpoint").status == 404
    assert sent(port, "POST", "/", b"x").status == 404


def refused(send: Callable[[], Answer]) -> bool:
    """Whether a request gets 400, or its connection is closed while it still sends."""
    try:
        return send().status == 400
    except (OSError, http.client.HTTPException):
        return True


def test_huge_bodies_are_not_read(bench: Bench, port: int) -> None:
    body = TRUE.asked(0, 4) + b"x" * MOST_BODY
    assert refused(lambda: sent(port, "POST", "/add-checkpoint", body))
    for length in ("99999999999999999999", "-1", "1e3", "\u00b2", ""):
        given = {"Content-Length": length}
        assert refused(lambda given=given: sent(port, "POST", "/add-checkpoint", b"", **given)), length
    assert refused(lambda: sent(port, "POST", "/add-checkpoint", b"0\r\n\r\n", **{"Transfer-Encoding": "chunked"}))
    assert sent(port, "POST", "/add-checkpoint", TRUE.asked(0, 4)).status == 200


def test_slow_and_silent_clients_are_let_go(bench: Bench, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each holds a connection with half a request, until there is none left for others."""
    monkeypatch.setattr(serving, "PATIENCE_S", 0.5)
    body = TRUE.asked(0, 4)
    head = f"POST /add-checkpoint HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    slow = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(CONNECTIONS)]
    try:
        for connection in slow:
            connection.sendall(head + body[:-1])
        wait_for(lambda: answers(port, body) == 200, "there is room again", 20)
        for connection in slow:
            assert b"200" not in connection.recv(4096).partition(b"\r\n")[0]
    finally:
        for connection in slow:
            connection.close()


def answers(port: int, body: bytes) -> int:
    """The status of an answer, 0 where there is none."""
    try:
        return sent(port, "POST", "/add-checkpoint", body).status
    except (OSError, http.client.HTTPException):
        return 0
