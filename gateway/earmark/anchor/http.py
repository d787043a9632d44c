"""One bounded exchange over HTTP: so many bytes, so many seconds, no redirect, and no secret in a message."""

import base64
import http.client
import io
import socket
import time
import urllib.parse
from collections.abc import Mapping
from typing import Any

from earmark.errors import AnchorError

TIMEOUT_S = 15.0
_CHUNK = 65_536
_LEAST_SECRET = 8
"""Characters: what is shorter in a path or a query is a name, such as v3."""


class Http:
    """What is behind an http or https URL.  Thread-safe; a connection for each exchange.

    The URL may carry secrets (user:password@, an API key in path or query): messages name scheme, host and port only,
    and `hide` takes them out of what the other end says.
    Redirects are refused.  An exchange ends after `timeout_s`, however its bytes trickle; looking up the host's
    name is the system's.
    """

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        parts, port = _split(url)
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = port
        self._base = parts.path.rstrip("/")
        self._authorization = _authorization(parts)
        own = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        self._timeout_s = timeout_s
        self.own_path = own
        self._secrets = _secrets(parts, own, self._authorization)
        self.endpoint = f"{parts.scheme}://{self._host}" + (f":{port}" if port else "")

    def post(self, body: bytes, headers: Mapping[str, str], most: int, below: str = "") -> tuple[int, bytes]:
        """Send a body to the URL, or to a path below it, and return status and answer of at most `most` bytes.

        `AnchorError` for no whole answer within the bounds, and for a redirect.
        """
        return self._exchange("POST", self._path(below), body, headers, most)

    def get(self, below: str, headers: Mapping[str, str], most: int) -> tuple[int, bytes]:
        """Return status and answer for a path below the URL; bounds and errors as in `post`."""
        return self._exchange("GET", self._path(below), None, headers, most)

    def hide(self, words: str) -> str:
        """Return the other end's words without the secrets of the URL."""
        for secret in self._secrets:
            words = words.replace(secret, "[hidden]")
        return words

    def _path(self, below: str) -> str:
        return self._base + below if below else self.own_path

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], most: int
    ) -> tuple[int, bytes]:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=self._timeout_s)
        deadline = time.monotonic() + self._timeout_s
        try:
            connection.connect()
            connection.sock = _Timed(connection.sock, deadline)
            connection.request(method, path, body, {**headers, **self._authorization})
            with connection.getresponse() as response:
                if 300 <= response.status < 400:
                    raise AnchorError(f"{self.endpoint} redirects elsewhere: configure the final URL")
                return response.status, self._read(response, most)
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: what cannot be sent as it is
            message = f"{self.endpoint} is unavailable ({_reason(error)}): is it up, is the URL right?"
            raise AnchorError(message) from None  # the text of the cause may quote the path, and with it a key
        finally:
            connection.close()

    def _read(self, response: http.client.HTTPResponse, most: int) -> bytes:
        body = bytearray()
        while chunk := response.read1(_CHUNK):
            body += chunk
            if len(body) > most:
                raise AnchorError(f"{self.endpoint} answered with more than {most} bytes")
        if response.length:
            raise http.client.IncompleteRead(b"")
        return bytes(body)


class _Timed:
    """A socket as `http.client` uses it, whose waits all end at one moment: an answer may come byte by byte."""

    def __init__(self, inner: socket.socket, deadline: float) -> None:
        self._inner = inner
        self._deadline = deadline

    def sendall(self, octets: bytes) -> None:
        self._inner.settimeout(_left(self._deadline))
        self._inner.sendall(octets)

    def makefile(self, *_: Any) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._inner, self._deadline))

    def close(self) -> None:
        self._inner.close()


class _TimedReader(io.RawIOBase):
    """The reading end; it keeps the socket open until it is closed itself."""

    def __init__(self, inner: socket.socket, deadline: float) -> None:
        self._inner = inner
        self._raw = inner.makefile("rb", buffering=0)
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._inner.settimeout(_left(self._deadline))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _left(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def _split(url: str) -> tuple[urllib.parse.SplitResult, int | None]:
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
        (parts.hostname or "").encode("idna")  # as the look-up of a name does
    except ValueError:
        raise AnchorError("the endpoint's URL does not parse: it looks like https://host:port/path") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise AnchorError("the endpoint's URL is not like https://host:port/path")
    return parts, port


def _authorization(parts: urllib.parse.SplitResult) -> dict[str, str]:
    if parts.username is None:
        return {}
    pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
    return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def _secrets(parts: urllib.parse.SplitResult, own_path: str, authorization: Mapping[str, str]) -> list[str]:
    """Return what a URL may keep secret, the longest first, each as it stands there and as it is meant."""
    query = [value for pair in parts.query.split("&") for value in (pair, pair.partition("=")[2])]
    within = [part for part in (*parts.path.split("/"), *query) if len(part) >= _LEAST_SECRET]
    tokens = [value.rpartition(" ")[2] for value in authorization.values()]
    written = [part for part in (own_path, parts.username, parts.password, *tokens, *within) if part]
    meant = [decode(part) for part in written for decode in (urllib.parse.unquote, urllib.parse.unquote_plus)]
    return sorted({part for part in (*written, *meant) if len(part) > 1}, key=lambda part: (-len(part), part))


def _reason(error: Exception) -> str:
    """Name an error without its text: http.client's texts may quote the path, and with it a key."""
    if isinstance(error, TimeoutError):
        return "timed out"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
