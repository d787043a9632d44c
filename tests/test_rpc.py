"""JSON-RPC over HTTP on loopback."""

import http.server
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from earmark.anchor import rpc
from earmark.anchor.devchain import DEVELOPMENT_CHAIN, DEVELOPMENT_KEY, DevChain
from earmark.anchor.evm import EvmTarget
from earmark.anchor.rpc import HttpRpc, RpcError
from earmark.errors import AnchorError
from earmark.evidence.evm import check_evm
from evm_fakes import DIGEST, sign

pytest_plugins = ["evm_fixtures"]


class Endpoint(http.server.ThreadingHTTPServer):
    """A loopback JSON-RPC endpoint; `respond` may be replaced to answer in other ways."""

    daemon_threads = True

    def __init__(self, inner: rpc.Rpc) -> None:
        super().__init__(("127.0.0.1", 0), _Exchange)
        self.inner = inner
        self.respond: Callable[[dict[str, Any]], tuple[int, bytes]] = self.answer
        self.headers: dict[str, str] = {}
        self.claimed_length: int | None = None
        self.requests: list[tuple[str, str | None]] = []

    def answer(self, request: dict[str, Any]) -> tuple[int, bytes]:
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"]}
        try:
            answer["result"] = self.inner.call(request["method"], request["params"])
        except RpcError as error:
            answer["error"] = {"code": error.code, "message": error.message}
        return 200, json.dumps(answer).encode()

    def handle_error(self, *_: Any) -> None:
        """A client that gave up waiting is no error here."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Exchange(http.server.BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, self.headers["Authorization"]))
        status, body = self.server.respond(request)
        self.send_response(status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(self.server.claimed_length or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def endpoint(chain: DevChain) -> Iterator[Endpoint]:
    with Endpoint(chain) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_an_anchor_over_http(chain: DevChain, endpoint: Endpoint) -> None:
    target = EvmTarget(HttpRpc(endpoint.url), DEVELOPMENT_CHAIN, DEVELOPMENT_KEY)
    payload = sign(target, DIGEST)
    for _ in range(2):
        target.send(payload)
    for _ in range(3):
        chain.mine()
    target.send(payload)
    progress = target.poll(payload)
    assert progress.state == "final"
    assert progress.evidence is not None
    assert check_evm(DEVELOPMENT_CHAIN, progress.evidence, DIGEST) == progress.block


def test_an_endpoint_that_is_down_is_named_without_its_secrets() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    target = EvmTarget(
        HttpRpc(f"http://me:hush@127.0.0.1:{port}/v3/secret?k=hidden"), DEVELOPMENT_CHAIN, DEVELOPMENT_KEY
    )
    for use in (target.check_chain, target.head, lambda: sign(target, DIGEST)):
        with pytest.raises(AnchorError, match=f"http://127.0.0.1:{port} is unavailable") as failure:
            use()
        _assert_silent(failure.value)


def _assert_silent(error: BaseException | None) -> None:
    """Neither the error nor what it was raised from tells a secret."""
    while error is not None:
        assert not re.search("hush|secret|hidden", f"{error} {error!r}".replace("[hidden]", ""))
        error = error.__cause__


@pytest.mark.parametrize(
    ("status", "body", "complaint"),
    [
        (500, b"<html>/v3/secret", "HTTP 500 and no JSON"),
        (200, b"\xff\xfe", "HTTP 200 and no JSON"),
        (200, b"[" * 100_000, "HTTP 200 and no JSON"),
        (200, b"[]", "HTTP 200 and no result"),
        (200, b'{"jsonrpc":"2.0","id":77,"result":"0x1"}', "HTTP 200 and no result"),
        (200, b'{"jsonrpc":"2.0","id":1}', "HTTP 200 and no result"),
        (403, b'{"jsonrpc":"2.0","id":1,"result":"0x1"}', "HTTP 403 and no result"),
        (307, b"", "redirects elsewhere"),
        (200, b"0" * 5000, "more than 4096 bytes"),
        (401, b'{"error":{"code":-32001,"message":"bad key /v3/secret?k=hidden of hush"}}', "of \\[hidden\\]"),
        (200, b'{"error":{"code":"x","message":null}}', "None \\(code 0\\)"),
    ],
)
def test_answers_that_are_none_are_refused(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, complaint: str
) -> None:
    monkeypatch.setattr(rpc, "MAX_RESPONSE", 4096 if body.startswith(b"0") else 1 << 20)
    endpoint.respond = lambda _: (status, body)
    endpoint.headers = {"Location": "http://127.0.0.1:1/"}
    client = HttpRpc(endpoint.url.replace("//", "//me:hush@") + "/v3/secret?k=hidden")
    with pytest.raises(AnchorError, match=complaint) as failure:
        client.call("eth_chainId", [])
    _assert_silent(failure.value)
    assert endpoint.requests == [("/v3/secret?k=hidden", "Basic bWU6aHVzaA==")]
    assert "hush" not in repr(client)


SECRET_URL = "//my%40name:p%40ss+word@", "/v3/0123456789abcdef/eth/ab%2Fcd%2Fefgh?apikey=fedcba98&k=%31%32345678"


@pytest.mark.parametrize(
    "secret",
    [
        "/v3/0123456789abcdef/eth/ab%2Fcd%2Fefgh?apikey=fedcba98&k=%31%32345678",
        "/v3/0123456789abcdef",
        "0123456789abcdef",
        "ab%2Fcd%2Fefgh",
        "ab/cd/efgh",
        "fedcba98",
        "%31%32345678",
        "12345678",
        "my%40name",
        "my@name",
        "p%40ss+word",
        "p@ss+word",
        "p@ss word",
        "bXlAbmFtZTpwQHNzK3dvcmQ=",
    ],
)
def test_no_part_of_the_url_is_in_what_an_endpoint_says(endpoint: Endpoint, secret: str) -> None:
    """The key, the user or the password alone, as it stands in the URL or as it is meant."""
    before, after = SECRET_URL
    client = HttpRpc(endpoint.url.replace("//", before) + after)
    body = json.dumps({"error": {"code": 1, "message": f"project <{secret}> of v3 is over its quota"}}).encode()
    endpoint.respond = lambda _: (403, body)
    with pytest.raises(RpcError, match=r"project <(/v3/)?\[hidden\]> of v3 is over its quota \(code 1\)"):
        client.call("eth_chainId", [])


def test_an_answer_that_breaks_off_is_refused(endpoint: Endpoint) -> None:
    endpoint.claimed_length = 10_000
    with pytest.raises(AnchorError, match=r"is unavailable \(IncompleteRead\)"):
        HttpRpc(endpoint.url).call("eth_chainId", [])


def test_an_endpoint_that_never_answers_times_out(endpoint: Endpoint) -> None:
    is_over = threading.Event()
    endpoint.respond = lambda _: (200, b"{}" if is_over.wait(30) else b"")
    try:
        with pytest.raises(AnchorError, match=r"is unavailable \(timed out\)"):
            HttpRpc(endpoint.url, timeout_s=0.1).call("eth_chainId", [])
    finally:
        is_over.set()


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8545", "ftp://host", "http://", "http://host:port", "http://[::1", "http://a..b"]
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(AnchorError, match="https://host:port/path"):
        HttpRpc(url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/\u00e9", "http://127.0.0.1:1/a b"])
def test_a_path_that_cannot_be_sent_is_an_endpoint_that_is_unavailable(endpoint: Endpoint, url: str) -> None:
    with pytest.raises(AnchorError, match="is unavailable"):
        HttpRpc(url.replace("http://127.0.0.1:1", endpoint.url)).call("eth_chainId", [])


def test_bitcoin_core_answers_errors_with_http_500(endpoint: Endpoint) -> None:
    client = HttpRpc(endpoint.url.replace("//", "//me:hush@"))
    endpoint.respond = lambda request: (500, json.dumps(answer(request, None, {"code": -5, "message": "no"})).encode())
    with pytest.raises(RpcError, match=r"getblock was refused: no \(code -5\)") as failure:
        client.call("getblock", [])
    assert failure.value.code == -5
    endpoint.respond = lambda request: (200, json.dumps(answer(request, 7, None)).encode())
    assert client.call("getblockcount", []) == 7
    endpoint.respond = lambda _: (401, b"")
    with pytest.raises(AnchorError, match="HTTP 401 and no JSON: user and password in the URL are not its own"):
        client.call("getblockcount", [])
    assert {authorization for _, authorization in endpoint.requests} == {"Basic bWU6aHVzaA=="}


def answer(request: dict[str, Any], result: Any, error: Any) -> dict[str, Any]:
    """An answer in the form of Bitcoin Core, which has both fields always."""
    return {"result": result, "error": error, "id": request["id"]}


def test_amounts_are_not_read_as_floats(endpoint: Endpoint) -> None:
    endpoint.respond = lambda request: (200, b'{"result": [0.1, 1e-5, 20999999.99999999], "error": null, "id": 1}')
    assert HttpRpc(endpoint.url).call("x", []) == [Decimal("0.1"), Decimal("0.00001"), Decimal("20999999.99999999")]
