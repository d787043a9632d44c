"""A calendar of our own that runs in a thread, for tests."""

import contextlib
import dataclasses
import http.client
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from calendar_fakes import DIGEST, Chain, MiningTarget
from earmark import ots
from earmark.anchor.target import Target
from earmark.calendar import service
from earmark.calendar.folder import CalendarFolder, create_calendar, open_calendar
from services import free_port, wait_for


class Running:
    """A calendar that runs in a thread, over a chain."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        port = free_port()
        create_calendar(folder, f"http://127.0.0.1:{port}", "127.0.0.1", port)
        given = open_calendar(folder)
        quick = dataclasses.replace(given.settings, **({"round_s": 0.1} | settings))
        anchor = dataclasses.replace(given.anchor, every_s=0.0)
        self.calendar = CalendarFolder(folder, quick, anchor)
        self.chain = Chain()
        self.target = MiningTarget(self.chain)
        self.url, self.port = given.settings.url, port

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes, str | None]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.read(), response.headers["Cache-Control"]

    def submit(self, digest: bytes = DIGEST) -> bytes:
        """Give a digest and return its commitment."""
        status, body, _ = self.ask("POST", "/digest", digest)
        assert status == 200, body
        [branch] = ots.decode(body)
        assert branch.attestation.uri == self.url
        return ots.commit(digest, branch.ops)

    def rest(self, commitment: bytes) -> tuple[int, bytes, str | None]:
        return self.ask("GET", f"/timestamp/{commitment.hex()}")

    def is_complete(self, commitment: bytes) -> bool:
        self.chain.mine()
        return self.rest(commitment)[0] == 200


@contextlib.contextmanager
def serve(made: Running, monkeypatch: pytest.MonkeyPatch, target: Target | None = None) -> Iterator[None]:
    """Run it for the length of the block, over a target of its own unless one is given."""
    monkeypatch.setattr(service, "STEP_S", 0.05)
    stop = threading.Event()
    failures: list[Exception] = []

    def run() -> None:
        try:
            service.run(made.calendar, stop, target or made.target)
        except Exception as error:  # noqa: BLE001 - told below
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        wait_for(lambda: answers(made), "the calendar answers")
        yield
    finally:
        stop.set()
        thread.join()
    assert failures == []


def answers(made: Running) -> bool:
    with contextlib.suppress(OSError):
        return made.ask("GET", "/")[0] == 200
    return False
