"""Bitcoin headers from sources that lie, lag and fail; HTTP that trickles."""

import socket
import threading
import time
from typing import Any

import pytest

import calendar_fakes as fakes
from calendar_fakes import Chain, ChainSource, Clock, Reply, Server
from earmark.anchor.headers import CoreHeaders, EsploraHeaders, Headers
from earmark.anchor.http import Http
from earmark.anchor.rpc import RpcError
from earmark.errors import AnchorError
from earmark.evidence.bitcoin import MAINNET, REGTEST, double_sha256, merkle_root


class Core:
    """What Bitcoin Core answers, over a chain."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.answers: dict[str, Any] = {}

    def call(self, method: str, params: list[Any]) -> Any:
        if method in self.answers:
            return self.answers[method]
        match method, params:
            case "getblockcount", []:
                return self.chain.height
            case "getblockhash", [int(height)] if height <= self.chain.height:
                return double_sha256(self.chain.headers[height])[::-1].hex()
            case "getblockheader", [str(block), False]:
                return next(h.hex() for h in self.chain.headers if double_sha256(h)[::-1].hex() == block)
        raise RpcError(method, -8, "Block height out of range")


@pytest.fixture
def chain() -> Chain:
    return Chain(5)


def root(chain: Chain, height: int) -> bytes:
    return merkle_root(chain.headers[height])


def test_core_and_an_explorer_say_the_same(chain: Chain) -> None:
    explorer = fakes.explorer(chain)
    with fakes.serving(explorer):
        for source in (
            CoreHeaders(Core(chain), "node"),
            EsploraHeaders(explorer.url),
            EsploraHeaders(explorer.url + "/"),
        ):
            headers = Headers(REGTEST, [source])
            block, header = headers.head()
            assert (block.number, header) == (3, chain.headers[3])
            held = headers.holding(2, root(chain, 2))
            assert held is not None
            assert (held.depth, held.header, held.block.hash) == (
                4,
                chain.headers[2],
                double_sha256(chain.headers[2])[::-1],
            )
            assert headers.holding(2, root(chain, 3)) is None
            with pytest.raises(AnchorError, match="knows no block 6"):
                headers.holding(6, root(chain, 5))


def test_a_source_that_is_days_behind_does_not_hold_the_beacon_back(chain: Chain) -> None:
    chain.mine(count=40)
    behind, good = ChainSource(chain, "behind"), ChainSource(chain, "good")
    behind.behind = 30
    for sources in ([behind, good], [good, behind]):
        assert Headers(REGTEST, sources).head()[0].number == chain.height - 2
    behind.behind = 3  # half an hour: the block that both have will do
    assert Headers(REGTEST, [behind, good]).head()[0].number == chain.height - 5


def test_an_old_block_that_is_called_a_high_one_does_not_turn_the_beacon_back(chain: Chain) -> None:
    chain.mine(count=40)
    liar, good = ChainSource(chain, "liar"), ChainSource(chain, "good")
    liar.behind = -1_000
    liar.hash = lambda height: double_sha256(chain.headers[min(height, 7)])[::-1]  # type: ignore[method-assign]
    liar.header = lambda _: chain.headers[7]  # type: ignore[method-assign]
    assert Headers(REGTEST, [good, liar]).head()[0].number == chain.height - 2
    liar.hash = lambda height: double_sha256(chain.headers[min(height, 7) if height else 0])[::-1]  # type: ignore[method-assign]
    for sources in ([good, liar], [liar, good]):
        assert Headers(REGTEST, sources).head()[1] == chain.headers[chain.height - 2]


def test_a_new_block_that_is_called_a_low_one_does_not_turn_the_beacon_back(chain: Chain) -> None:
    chain.mine(count=40)
    liar, good, other = (ChainSource(chain, name) for name in ("liar", "good", "other"))
    newest = chain.headers[chain.height - 2]
    liar.behind = chain.height - 3  # its tip is 3, and whatever it has above block 0 is the newest
    liar.hash = lambda height: double_sha256(newest if height else chain.headers[0])[::-1]  # type: ignore[method-assign]
    liar.header = lambda _: newest  # type: ignore[method-assign]
    for sources in ([good, liar], [liar, good], [liar, good, other], [good, other, liar]):
        assert Headers(REGTEST, sources).head()[1] == newest


def test_of_two_chains_that_of_most_sources_is_believed(chain: Chain) -> None:
    other = Chain(5)
    one, two, alone = ChainSource(chain, "one"), ChainSource(chain, "two"), ChainSource(other, "alone")
    for sources in ([alone, one, two], [one, alone, two], [one, two, alone]):
        assert Headers(REGTEST, sources).head()[1] == chain.headers[3]
    assert Headers(REGTEST, [one, alone]).head()[1] == chain.headers[3]
    assert Headers(REGTEST, [alone, one]).head()[1] == other.headers[3]


def test_the_next_source_answers_where_one_is_down_and_the_first_rests(chain: Chain) -> None:
    clock = Clock()
    first, second = ChainSource(chain, "first"), ChainSource(chain, "second")
    headers = Headers(REGTEST, [first, second], clock)
    first.down = True
    assert headers.head()[0].number == 3
    calls = first.calls
    clock.now_s += 59
    headers.head()
    assert first.calls == calls
    second.down = True
    clock.now_s += 61
    with pytest.raises(AnchorError, match=r"first is unavailable .*; second is unavailable"):
        headers.head()
    first.down = False
    clock.now_s += 121
    assert headers.head()[0].number == 3


def test_a_block_counts_where_all_sources_that_answer_agree(chain: Chain) -> None:
    forked = Chain(0)
    forked.headers = [*chain.headers[:3]]
    forked.mine(count=3)
    clock = Clock()
    first, second = ChainSource(forked, "first"), ChainSource(chain, "second")
    headers = Headers(REGTEST, [first, second], clock)
    for told in (chain, forked):
        with pytest.raises(AnchorError, match=r"(first and second|second and first) have different blocks 4"):
            headers.holding(4, root(told, 4))
    assert headers.holding(4, bytes(32)) is None
    assert headers.holding(2, root(chain, 2))
    first.down = True
    clock.now_s += 61
    held = headers.holding(4, root(chain, 4))
    assert held is not None
    assert held.depth == 2


@pytest.mark.parametrize("is_first", [True, False])
def test_a_source_that_lies_about_its_newest_block_makes_nothing_deep(chain: Chain, is_first: bool) -> None:
    class Boaster(ChainSource):
        def tip(self) -> int:
            return super().tip() + 1_000

    sources = [Boaster(chain, "boaster"), ChainSource(chain, "honest")]
    honest = sources[1]
    clock = Clock()
    headers = Headers(REGTEST, sources if is_first else sources[::-1], clock)

    def depth(height: int) -> int:
        held = headers.holding(height, root(chain, height))
        assert held is not None
        return held.depth

    assert [depth(height) for height in (5, 2)] == [1, 4]
    honest.behind = 2
    clock.now_s += 61
    assert [depth(height) for height in (5, 2)] == [1, 2]
    honest.down = True
    clock.now_s += 61
    assert depth(5) == 1_001


def test_answers_are_kept_for_a_minute(chain: Chain) -> None:
    clock, source = Clock(), ChainSource(chain)
    headers = Headers(REGTEST, [source], clock)
    headers.holding(4, root(chain, 4))
    calls = source.calls
    for _ in range(10):
        headers.holding(4, root(chain, 4))
    assert source.calls == calls
    before = root(chain, 4)
    chain.drop(2)
    chain.mine(count=4)
    clock.now_s += 61
    assert headers.holding(4, before) is None


def workless(chain: Chain) -> bytes:
    """The first header but for a nonce that does not do."""
    heads = (chain.headers[1][:-4] + nonce.to_bytes(4, "little") for nonce in range(100))
    return next(header for header in heads if double_sha256(header)[31] > 0x7F)


@pytest.mark.parametrize("fault", ["79 bytes", "no work", "too easy", "no hex", "nothing"])
def test_a_header_that_is_none_is_refused(chain: Chain, fault: str) -> None:
    header = chain.headers[1]
    answer, complaint = {
        "79 bytes": (header[:79].hex(), "80 bytes in hexadecimal digits should be"),
        "no work": (workless(chain).hex(), "block 1: a Bitcoin header without the work"),
        "too easy": ((header[:72] + b"\xff\xff\x7f\x21" + header[76:]).hex(), "not in its usual form"),
        "no hex": ("x" * 160, "80 bytes"),
        "nothing": (None, "80 bytes"),
    }[fault]
    core = Core(chain)
    core.answers["getblockheader"] = answer
    with pytest.raises(AnchorError, match=complaint):
        Headers(REGTEST, [CoreHeaders(core, "node")]).holding(1, bytes(32))


def test_a_header_of_another_block_is_refused(chain: Chain) -> None:
    core = Core(chain)
    core.answers["getblockheader"] = chain.headers[2].hex()
    with pytest.raises(AnchorError, match="another block's header for its block 1"):
        Headers(REGTEST, [CoreHeaders(core, "node")]).holding(1, bytes(32))


def test_a_source_of_another_chain_is_refused(chain: Chain) -> None:
    with pytest.raises(AnchorError, match="does not serve bip122:000000000019d668"):
        Headers(MAINNET, [ChainSource(chain)]).head()
    with pytest.raises(AnchorError, match="no source"):
        Headers(REGTEST, [])


@pytest.mark.parametrize("answer", [None, "5", -1, 2.0, 1 << 40, True, [1]])
def test_a_height_that_is_none_is_refused(chain: Chain, answer: Any) -> None:
    core = Core(chain)
    core.answers["getblockcount"] = answer
    with pytest.raises(AnchorError, match="where the height of a Bitcoin block should be"):
        Headers(REGTEST, [CoreHeaders(core, "node")]).head()


@pytest.mark.parametrize("answer", [b"", b"\xff\xfe", b"9" * 30, b"<html>", b"1" * 2000, b"-1"])
def test_an_explorer_that_answers_something_else_is_refused(chain: Chain, answer: bytes) -> None:
    server = Server(lambda *_: Reply(200, answer))
    with fakes.serving(server), pytest.raises(AnchorError, match=r"should be|more than 1000 bytes"):
        Headers(REGTEST, [EsploraHeaders(server.url)]).head()


# the exchange itself


@pytest.mark.parametrize("where", ["head", "body"])
def test_an_answer_that_trickles_ends_on_time(where: str) -> None:
    """Each byte comes within the time of a wait, and all of them would take a minute."""
    is_over = threading.Event()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 600\r\n" + b"X: y\r\n" * 90 + b"\r\n"

    def trickle() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            octets = head if where == "head" else b"x" * 600
            if where == "body":
                connection.sendall(head)
            for octet in octets:
                if is_over.wait(0.1):
                    return
                connection.sendall(bytes([octet]))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=trickle)
        thread.start()
        began_s = time.monotonic()
        with pytest.raises(AnchorError, match="timed out"):
            Http(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.5).get("/x", {}, 1000)
        assert time.monotonic() - began_s < 5
        is_over.set()
        thread.join()


def test_a_body_as_long_as_allowed_is_read_and_one_byte_more_is_not() -> None:
    server = Server(lambda *_: Reply(200, bytes(1000)))
    with fakes.serving(server):
        assert Http(server.url).get("/x", {}, 1000) == (200, bytes(1000))
        with pytest.raises(AnchorError, match="more than 999 bytes"):
            Http(server.url).get("/x", {}, 999)
