"""JSON-RPC over HTTP, as Ethereum endpoints and Bitcoin nodes speak it."""

import itertools
import json
from decimal import Decimal
from typing import Any, Protocol

from earmark.anchor.http import TIMEOUT_S, Http
from earmark.errors import AnchorError

MAX_RESPONSE = 32 << 20
"""Bytes: a full mainnet block is below 12 MB as JSON."""

MAX_MESSAGE = 200

METHOD_NOT_FOUND = -32601

_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}


class RpcError(AnchorError):
    """The endpoint is there and answered with an error; `code` and `message` are its own words."""

    def __init__(self, method: str, code: int, message: str) -> None:
        super().__init__(f"{method} was refused: {message} (code {code})")
        self.code = code
        self.message = message


class Rpc(Protocol):
    """Anything that answers JSON-RPC calls: an endpoint over HTTP or the development chain."""

    def call(self, method: str, params: list[Any]) -> Any:
        """Return the result; raise `RpcError` for an error answer, `AnchorError` for none.

        Numbers with a point or an exponent are `Decimal`: amounts of money never pass through a float.
        """


class HttpRpc:
    """A JSON-RPC endpoint at an http or https URL.  Thread-safe; a connection for each call.

    The URL may carry secrets, and messages none of them: see `Http`.
    """

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        self._http = Http(url, timeout_s)
        self._ids = itertools.count(1)
        self.endpoint = self._http.endpoint

    def __repr__(self) -> str:
        return f"HttpRpc({self.endpoint!r})"

    def call(self, method: str, params: list[Any]) -> Any:
        """Return the `result` of one call; `RpcError` for an error answer, `AnchorError` for no answer."""
        number = next(self._ids)
        request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        status, body = self._http.post(json.dumps(request).encode(), _HEADERS, MAX_RESPONSE)
        try:
            answer = json.loads(body, parse_float=Decimal)
        except (ValueError, RecursionError) as error:
            cure = "user and password in the URL are not its own" if status == 401 else "check the URL"
            message = f"{self.endpoint} answered {method} with HTTP {status} and no JSON: {cure}"
            raise AnchorError(message) from error
        if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
            raise self._refusal(method, answer["error"])
        if status == 200 and isinstance(answer, dict) and answer.get("id") == number and "result" in answer:
            return answer["result"]
        raise AnchorError(f"{self.endpoint} answered {method} with HTTP {status} and no result: check the URL")

    def _refusal(self, method: str, error: dict[str, Any]) -> RpcError:
        code, message = error.get("code"), self._http.hide(str(error.get("message")))
        return RpcError(method, code if isinstance(code, int) else 0, message[:MAX_MESSAGE])
