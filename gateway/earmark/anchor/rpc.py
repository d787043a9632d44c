"""JSON-RPC 2.0 over HTTP, as Ethereum endpoints speak it."""

import base64
import http.client
import itertools
import json
import time
import urllib.parse
from typing import Any, Protocol

from earmark.errors import AnchorError

MAX_RESPONSE = 32 << 20
"""Bytes: a full mainnet block is below 12 MB as JSON."""

MAX_MESSAGE = 200

METHOD_NOT_FOUND = -32601

_CHUNK = 65_536


class RpcError(AnchorError):
    """The endpoint is there and answered with an error; `code` and `message` are its own words."""

    def __init__(self, method: str, code: int, message: str) -> None:
        super().__init__(f"{method} was refused: {message} (code {code})")
        self.code = code
        self.message = message


class Rpc(Protocol):
    """Anything that answers JSON-RPC calls: an endpoint over HTTP or the development chain."""

    def call(self, method: str, params: list[Any]) -> Any:
        """Return the result; raise `RpcError` for an error answer, `AnchorError` for none."""


class HttpRpc:
    """A JSON-RPC endpoint at an http or https URL.  Thread-safe; a connection for each call.

    The URL may carry secrets (user:password@, an API key in path or query): messages name scheme,
    host and port only.
    Redirects are refused.  `timeout_s` bounds each wait for the network, and the answer as a whole.
    """

    def __init__(self, url: str, timeout_s: float = 15.0) -> None:
        parts, port = _split(url)
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = port
        self._path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            **_authorization(parts),
        }
        self._secrets = [part for part in (self._path, parts.password) if part and len(part) > 1]
        self._timeout_s = timeout_s
        self._ids = itertools.count(1)
        self.endpoint = f"{parts.scheme}://{self._host}" + (f":{port}" if port else "")

    def __repr__(self) -> str:
        return f"HttpRpc({self.endpoint!r})"

    def call(self, method: str, params: list[Any]) -> Any:
        """Return the `result` of one call; `RpcError` for an error answer, `AnchorError` for no answer."""
        number = next(self._ids)
        request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        status, body = self._post(json.dumps(request).encode())
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError) as error:
            message = f"{self.endpoint} answered {method} with HTTP {status} and no JSON: check the URL"
            raise AnchorError(message) from error
        if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
            raise self._refusal(method, answer["error"])
        if status == 200 and isinstance(answer, dict) and answer.get("id") == number and "result" in answer:
            return answer["result"]
        raise AnchorError(f"{self.endpoint} answered {method} with HTTP {status} and no result: check the URL")

    def _refusal(self, method: str, error: dict[str, Any]) -> RpcError:
        code, message = error.get("code"), str(error.get("message"))
        for secret in self._secrets:
            message = message.replace(secret, "[hidden]")
        return RpcError(method, code if isinstance(code, int) else 0, message[:MAX_MESSAGE])

    def _post(self, body: bytes) -> tuple[int, bytes]:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=self._timeout_s)
        deadline = time.monotonic() + self._timeout_s
        try:
            connection.request("POST", self._path, body, self._headers)
            with connection.getresponse() as response:
                if 300 <= response.status < 400:
                    raise AnchorError(f"{self.endpoint} redirects elsewhere: configure the final URL")
                return response.status, self._read(response, deadline)
        except (OSError, http.client.HTTPException) as error:
            message = f"{self.endpoint} is unavailable ({_reason(error)}): is it up, is the URL right?"
            raise AnchorError(message) from None  # the text of the cause may quote the path, and with it a key
        finally:
            connection.close()

    def _read(self, response: http.client.HTTPResponse, deadline: float) -> bytes:
        body = bytearray()
        while chunk := response.read1(_CHUNK):
            body += chunk
            if len(body) > MAX_RESPONSE:
                raise AnchorError(f"{self.endpoint} answered with more than {MAX_RESPONSE} bytes")
            if time.monotonic() > deadline:
                raise TimeoutError
        if response.length:
            raise http.client.IncompleteRead(b"")
        return bytes(body)


def _split(url: str) -> tuple[urllib.parse.SplitResult, int | None]:
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
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


def _reason(error: Exception) -> str:
    """Name an error without its text: http.client's texts may quote the path, and with it a key."""
    if isinstance(error, TimeoutError):
        return "timed out"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
