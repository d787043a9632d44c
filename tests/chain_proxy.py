"""A JSON-RPC endpoint in front of another, on loopback, that fails when a test says so."""

import base64
import contextlib
import enum
import http.client
import http.server
import json
import socketserver
import sys
import threading
import urllib.parse
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from services import free_port

CALL_S = 60.0


class Failure(enum.Enum):
    """How the connection of a call ends without an answer."""

    LOST = "before the call is passed on: failed, and not persisted"
    UNANSWERED = "after the call is passed on: failed, but persisted"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error answer in place of the call."""

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class Call:
    """A call as it came; `authorization` is the HTTP header."""

    request: dict[str, Any]
    authorization: str

    @property
    def method(self) -> str:
        return str(self.request["method"])

    @property
    def params(self) -> list[Any]:
        return list(self.request.get("params") or [])


Answer = tuple[int, bytes]


class Unreliable:
    """Passes calls on to the endpoint at a URL, one by one and unchanged, and fails when told to.

    Open for the length of a `with` block, at `url`, with the inner one's credentials in it.  `calls` are the methods in
    the order in which they came, those that failed included.
    """

    error_status = 200

    def __init__(self, inner: str) -> None:
        self._inner = urllib.parse.urlsplit(inner)
        self._port = free_port()
        credentials, at, _ = self._inner.netloc.rpartition("@")
        self.url = self._inner._replace(netloc=f"{credentials}{at}127.0.0.1:{self._port}").geturl()
        self.calls: list[str] = []
        self._failures: dict[str, deque[Failure | Refusal]] = defaultdict(deque)
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.come_up()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_down()

    def fail_next(self, method: str, how: Failure | Refusal, times: int = 1) -> None:
        """Fail in this way the next calls of a method that no earlier `fail_next` is for; the ones after succeed."""
        with self._lock:
            self._failures[method] += [how] * times

    def go_down(self) -> None:
        """Listen no more: connections are refused.  Nothing happens where it is down already."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None

    def come_up(self) -> None:
        """Listen, at the same port as before.  Nothing happens where it is up already."""
        if self._server is None:
            self._server = _Server(self, self._port)
            self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
            self._thread.start()

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Be down for the length of the block."""
        self.go_down()
        try:
            yield
        finally:
            self.come_up()

    def answer(self, call: Call) -> Answer | None:
        """Return HTTP status and body for a call, or None where its connection is to end without."""
        with self._lock:
            self.calls.append(call.method)
            waiting = self._failures[call.method]
            how = waiting.popleft() if waiting else None
        if how is Failure.LOST:
            return None
        if isinstance(how, Refusal):
            return self.refuse(call, how)
        answer = self.pass_on(call)
        return None if how is Failure.UNANSWERED else answer

    def pass_on(self, call: Call) -> Answer:
        """Return what the inner endpoint answers."""
        connection = http.client.HTTPConnection(self._inner.hostname or "", self._inner.port, timeout=CALL_S)
        headers = {"Content-Type": "application/json"}
        if call.authorization:
            headers["Authorization"] = call.authorization
        try:
            connection.request("POST", self._inner.path or "/", json.dumps(call.request).encode(), headers)
            with connection.getresponse() as response:
                return response.status, response.read()
        finally:
            connection.close()

    def refuse(self, call: Call, how: Refusal) -> Answer:
        """Return an error answer."""
        error = {"code": how.code, "message": how.message}
        return self.error_status, json.dumps({"result": None, "error": error, "id": call.request.get("id")}).encode()

    @property
    def authorization(self) -> str:
        """The header that goes with the credentials of `url`; empty where there are none."""
        if self._inner.username is None:
            return ""
        pair = f"{self._inner.username}:{self._inner.password or ''}"
        return "Basic " + base64.b64encode(pair.encode()).decode()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, endpoint: Unreliable, port: int) -> None:
        self.endpoint = endpoint
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a peer that is gone, at either end: the client sees its connection end."""
        if not isinstance(sys.exception(), OSError | http.client.HTTPException):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    """One call a connection, which ends after the answer, or without."""

    server: socketserver.BaseServer
    timeout = CALL_S

    def do_POST(self) -> None:
        assert isinstance(self.server, _Server)
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = self.server.endpoint.answer(Call(request, self.headers.get("Authorization", "")))
        if answer is not None:
            status, body = answer
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""
