"""A small HTTP server: a few paths, few connections at a time, and none that a slow or silent client keeps."""

import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from earmark.errors import ConfigError
from earmark.process import notify

CONNECTIONS = 8
PATIENCE_S = 5.0
SILENT_S = 0.5
"""A connection without a whole request by then makes room for another one where there is none left."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: status, media type, body, and what caches on the way may do with it."""

    status: int
    kind: str
    body: bytes
    caching: str = "no-store"


@dataclass(frozen=True, slots=True)
class Served:
    """What is answered to GET, by path, and to POST, by path and with the body; called in any thread.

    `below` answers GET of all paths that begin so, with the rest of the path.

    A POST of more than `most_body` bytes, or one that does not say how many, is answered 400 unread.  Where
    `most_a_second` is not 0, connections beyond it wait to be taken up.
    """

    get: Mapping[str, Callable[[], Answer]]
    post: Mapping[str, Callable[[bytes], Answer]] = field(default_factory=dict)
    most_body: int = 0
    connections: int = CONNECTIONS
    below: Mapping[str, Callable[[str], Answer]] = field(default_factory=dict)
    most_a_second: int = 0


@contextmanager
def listening(host: str, port: int, served: Served, what: str) -> Iterator[None]:
    """Listen while the block runs, on no port where it is 0.  `what` says what is served, for the log."""
    if not port:
        yield
        return
    listener = Listener(host, port, served)
    listener.start()
    _log.info("%s on http://%s:%s", what, host, port)
    try:
        yield
    finally:
        listener.stop()


@contextmanager
def serving(host: str, port: int, served: Served, what: str) -> Iterator[None]:
    """As `listening`, and tell the service manager that we are ready, or end."""
    with listening(host, port, served, what):
        try:
            notify("READY=1")
            yield
        finally:
            notify("STOPPING=1")


class Listener:
    """Serves in threads of its own: a few connections at a time, each for one request and at most `PATIENCE_S`."""

    def __init__(self, host: str, port: int, served: Served) -> None:
        """Bind the port; `ConfigError` where that does not go."""
        try:
            self._server = _Server(host, port, served)
        except OSError as error:
            raise ConfigError(
                f"nobody can listen on {host}:{port} ({error.strerror}): set another address or port in the settings"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="earmark-http", daemon=True)

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(PATIENCE_S)
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """Threads, but only so many of them, and none that a slow or silent client keeps."""

    block_on_close = False

    def __init__(self, host: str, port: int, served: Served) -> None:
        self.served = served
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.request_queue_size = 4 * served.connections
        self._open: dict[socket.socket, float] = {}
        self._silent: dict[socket.socket, float] = {}
        self._next_s = 0.0
        super().__init__((host, port), _Request)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._pace()
        if len(self._open) >= self.served.connections and not self._make_room():
            self.shutdown_request(request)
            return
        self._open[request] = time.monotonic() + PATIENCE_S
        self._silent[request] = time.monotonic() + SILENT_S
        super().process_request(request, client_address)

    def _pace(self) -> None:
        """Wait until the next connection may be taken up."""
        if self.served.most_a_second:
            time.sleep(max(0.0, self._next_s - time.monotonic()))
            self._next_s = time.monotonic() + 1 / self.served.most_a_second

    def _make_room(self) -> bool:
        """End the oldest connection that has had time for a request and sent none whole, if there is one."""
        request, until_s = next(iter(self._silent.items()), (None, 0.0))
        if request is None or time.monotonic() < until_s:
            return False
        self._silent.pop(request, None)
        self._open.pop(request, None)
        _end(request)
        return True

    def heard(self, request: socket.socket) -> None:
        """A connection has sent a whole request: it keeps its place until it is answered."""
        self._silent.pop(request, None)

    def shutdown_request(self, request: Any) -> None:
        self._open.pop(request, None)
        self._silent.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """End what takes too long; called after each request and twice a second."""
        for request, until_s in list(self._open.items()):
            if time.monotonic() > until_s:
                _end(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        is_lost = isinstance(sys.exc_info()[1], OSError)  # the client went away, or was too slow
        level = logging.DEBUG if is_lost else logging.ERROR
        _log.log(level, "a request from %s failed", client_address, exc_info=True)


def _end(request: socket.socket) -> None:
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _Request(BaseHTTPRequestHandler):
    server: _Server
    server_version = "earmark"
    sys_version = ""

    def do_GET(self) -> None:
        self.server.heard(self.connection)
        found = self.server.served.get.get(self._path())
        self._answer(self._made(found) if found else self._below())

    def _below(self) -> Answer:
        path = self._path()
        for begin, found in self.server.served.below.items():
            if path.startswith(begin):
                return self._made(partial(found, path.removeprefix(begin)))
        return self._nothing()

    def _made(self, found: Callable[[], Answer]) -> Answer:
        """Return an answer; a fault of whoever makes it is our own, and the client hears of it."""
        try:
            return found()
        except Exception:  # noqa: BLE001 - an answer's fault must not end the others
            _log.exception("answering %s %.100r failed", self.command, self.path)
            return text(500, "this cannot be answered: whoever runs it finds the reason in its log")

    def do_POST(self) -> None:
        if not self.server.served.post:
            self.send_error(501, "here is nothing to POST to")
            return
        found = self.server.served.post.get(self._path())
        self._answer(self._post(found) if found else self._nothing())

    def _post(self, found: Callable[[bytes], Answer]) -> Answer:
        said, most = self.headers.get("Content-Length", ""), self.server.served.most_body
        if not (said.isascii() and said.isdecimal() and len(said) < 10 and int(said) <= most):
            return text(400, f"a body of at most {most} bytes, its length said beforehand, is taken")
        body = self.rfile.read(int(said))
        self.server.heard(self.connection)
        return self._made(partial(found, body)) if len(body) == int(said) else text(400, "the body ended too early")

    def _path(self) -> str:
        return self.path.partition("?")[0]

    def _nothing(self) -> Answer:
        served = self.server.served
        return text(404, f"here is {' or '.join([*served.get, *served.post, *served.below][:8])}")

    def _answer(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", answer.caching)
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        _log.debug("%s " + format, self.client_address[0], *args)


def text(status: int, said: str) -> Answer:
    """Return an answer in words."""
    return Answer(status, "text/plain; charset=utf-8", said.encode() + b"\n")
