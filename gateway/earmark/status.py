"""`/health` and `/metrics` over HTTP, for whoever looks after the machine."""

import json
import logging
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from earmark.errors import ConfigError
from earmark.metrics import Metrics
from earmark.process import notify

SILENT_S = 30.0
OVERDUE_S = 15.0
LEAST_FREE = 16 << 20
CONNECTIONS = 8
PATIENCE_S = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reason:
    """What is wrong, as a word for machines and a sentence for people."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Health:
    """Whether statements can be admitted and blocks are sealed on time: where `reasons` is empty.  `warnings` can
    wait.
    """

    reasons: tuple[Reason, ...]
    warnings: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: status, media type, body."""

    status: int
    kind: str
    body: bytes


class Doctor:
    """Tells a gateway's health from what it tells its metrics, from its connection and from the disk.  Any thread may
    ask.
    """

    def __init__(self, metrics: Metrics, folder: Path, seal_every_s: float, is_connected: Callable[[], bool]) -> None:
        self._metrics = metrics
        self._folder = folder
        self._seal_every_s = seal_every_s
        self._is_connected = is_connected

    def examine(self) -> Health:
        """Look at everything once."""
        reasons = [*self._writer(), *self._disk(), *self._blocks()]
        if not self._is_connected():
            reasons.append(Reason("broker-away", "not connected to the broker: no statement arrives"))
        return Health(tuple(reasons), tuple(self._anchors()))

    def _writer(self) -> list[Reason]:
        turned_s, failure = self._metrics.turned_s, self._metrics.store_failure
        if turned_s is None:
            return [Reason("starting", "the log is not being written yet")]
        silent_s = time.monotonic() - turned_s
        if silent_s > SILENT_S:
            return [Reason("writer-silent", f"the writer of the log was last heard {silent_s:.0f} s ago")]
        return [Reason("store-fails", failure)] if failure else []

    def _disk(self) -> list[Reason]:
        try:
            free = shutil.disk_usage(self._folder).free
            is_read_only = os.statvfs(self._folder).f_flag & os.ST_RDONLY
        except OSError as error:
            return [Reason("disk-gone", f"{self._folder}: {error.strerror}")]
        if is_read_only:
            return [Reason("disk-read-only", f"the file system of {self._folder} takes no writes")]
        least = f"{free >> 20} MiB are free; at least {LEAST_FREE >> 20} are needed"
        return [Reason("disk-full", least)] if free < LEAST_FREE else []

    def _blocks(self) -> list[Reason]:
        since_s = self._metrics.unsealed_since_s
        waited_s = time.monotonic() - since_s if since_s is not None else 0.0
        if waited_s <= self._seal_every_s + OVERDUE_S:
            return []
        return [Reason("block-overdue", f"statements wait for a block since {waited_s:.0f} s")]

    def _anchors(self) -> list[Reason]:
        overdue = [
            Reason("anchor-overdue", f"the anchor of block {height} on {chain} is not final: `earmark anchor status`")
            for chain, height in self._metrics.overdue.items()
        ]
        failure = self._metrics.anchoring_failure
        return overdue + ([Reason("no-anchors", failure)] if failure else [])


def routes(metrics: Metrics, doctor: Doctor) -> dict[str, Callable[[], Answer]]:
    """Return what is served: `/metrics` for Prometheus, `/health` for whatever asks whether all is well."""

    def tell_health() -> Answer:
        health = doctor.examine()
        told = {"status": "failing" if health.reasons else "ok"} | asdict(health)
        return Answer(503 if health.reasons else 200, "application/json", json.dumps(told).encode() + b"\n")

    return {
        "/health": tell_health,
        "/metrics": lambda: Answer(200, CONTENT_TYPE_LATEST, generate_latest(metrics.registry)),
    }


@contextmanager
def serving(host: str, port: int, served: Mapping[str, Callable[[], Answer]]) -> Iterator[None]:
    """Listen while the block runs, on no port where it is 0, and tell the service manager that we are ready, or end."""
    listener = Listener(host, port, served) if port else None
    try:
        if listener:
            listener.start()
            _log.info("health and metrics on http://%s:%s", host, port)
        notify("READY=1")
        yield
    finally:
        notify("STOPPING=1")
        if listener:
            listener.stop()


class Listener:
    """Serves GET of a few paths, in threads of its own: at most `CONNECTIONS` at a time, each for one request and at
    most `PATIENCE_S`.
    """

    def __init__(self, host: str, port: int, served: Mapping[str, Callable[[], Answer]]) -> None:
        """Bind the port; `ConfigError` where that does not go."""
        try:
            self._server = _Server(host, port, served)
        except OSError as error:
            raise ConfigError(
                f"nobody can listen on {host}:{port} ({error.strerror}): set another [status] port"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="earmark-status", daemon=True)

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
    request_queue_size = 4 * CONNECTIONS

    def __init__(self, host: str, port: int, served: Mapping[str, Callable[[], Answer]]) -> None:
        self.served = served
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._open: dict[socket.socket, float] = {}
        super().__init__((host, port), _Request)

    def process_request(self, request: Any, client_address: Any) -> None:
        if len(self._open) >= CONNECTIONS:
            self.shutdown_request(request)
            return
        self._open[request] = time.monotonic() + PATIENCE_S
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """End what takes too long; called after each request and twice a second."""
        for request, until_s in list(self._open.items()):
            if time.monotonic() > until_s:
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        _log.debug("a request for the status from %s failed", client_address, exc_info=True)


class _Request(BaseHTTPRequestHandler):
    server: _Server
    server_version = "earmark"
    sys_version = ""

    def do_GET(self) -> None:
        found = self.server.served.get(self.path.partition("?")[0])
        paths = " or ".join(self.server.served)
        answer = found() if found else Answer(404, "text/plain", f"here is {paths}\n".encode())
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        _log.debug("%s " + format, self.client_address[0], *args)
