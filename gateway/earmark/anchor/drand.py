"""Rounds of drand from its HTTP relays, each verified before anybody sees it, docs/protocol.md §6.1."""

import json
import time
from collections.abc import Callable, Sequence

from earmark.anchor.http import Http
from earmark.anchor.pace import Pace
from earmark.errors import AnchorError, ConfigError
from earmark.evidence.chain import ChainBlock
from earmark.evidence.drand import MOST_ROUND, QUICKNET, SIGNATURE_SIZE, Network, can_verify, make_round, verify

PUBLIC = "https://api.drand.sh", "https://api2.drand.sh", "https://api3.drand.sh", "https://drand.cloudflare.com"
"""The relays that a new farm asks."""

TIMEOUT_S = 10.0
LATE_S = 60
"""A relay's newest round that is older than this, by the gateway's clock, sends it to the next relay."""

_MOST_ANSWER = 2_000

Round = tuple[ChainBlock, bytes]
"""A round and its signature, which is its evidence."""


class Relays:
    """A network of drand as several relays show it; one caller at a time.

    A relay can withhold rounds, and nothing else: what it answers is verified under the network's key.  So they are
    asked in turn, until one has a new round; where all are late the newest of theirs will do, since the clock may be
    what is wrong.
    """

    def __init__(
        self,
        urls: Sequence[str],
        network: Network = QUICKNET,
        clock: Callable[[], float] = time.monotonic,
        unix_time: Callable[[], float] = time.time,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        if not can_verify():
            raise ConfigError(
                "beacon.drand is set, and this installation lacks py_arkworks_bls12381, which verifies drand's rounds: "
                "pip install it, or leave beacon.drand out"
            )
        self.network = network
        self._unix_time = unix_time
        self._relays = [(Http(url, timeout_s), Pace(clock)) for url in urls]
        self._newest: Round | None = None

    def head(self) -> Round:
        """Return the newest round, never an older one than before; `AnchorError` where no relay has one."""
        troubles, found = [], []
        for http, pace in self._relays:
            if pace.is_resting:
                troubles.append(pace.trouble or f"{http.endpoint} is slow, and is not asked for a while")
                continue
            try:
                got = pace.judge(lambda relay=http: self._ask(relay))  # type: ignore[misc]
            except AnchorError as error:
                troubles.append(str(error))
                continue
            found.append(got)
            late_s = self._unix_time() - got[0].time_s
            if late_s <= LATE_S:
                break
            troubles.append(f"the newest round of {http.endpoint} is {late_s:.0f} s old, by this machine's clock")
        return self._newer(found, troubles)

    def _newer(self, found: Sequence[Round], troubles: Sequence[str]) -> Round:
        newest = max(found, key=lambda each: each[0].number, default=None)
        if newest is None or (self._newest and newest[0].number < self._newest[0].number):
            raise AnchorError("; ".join(dict.fromkeys(troubles)) or "the relays of drand show rounds older than before")
        self._newest = newest
        return newest

    def _ask(self, relay: Http) -> Round:
        path = f"/{self.network.hash.hex()}/public/latest"
        status, body = relay.get(path, {"Accept": "application/json", "User-Agent": "earmark"}, _MOST_ANSWER)
        if status != 200:
            raise AnchorError(f"{relay.endpoint} answered {path} with HTTP {status}")
        number, signature = _read(body, relay.endpoint)
        verify(self.network, [(number, signature)])
        return make_round(self.network, number, signature), signature


def _read(body: bytes, endpoint: str) -> tuple[int, bytes]:
    """Return the number and signature of an answer; its randomness is made anew of the signature."""
    try:
        answer = json.loads(body)
        number, signature = answer["round"], bytes.fromhex(answer["signature"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise AnchorError(f"{endpoint} answered with what is no round of drand") from None
    if type(number) is not int or not 1 <= number < MOST_ROUND or len(signature) != SIGNATURE_SIZE:
        raise AnchorError(f"{endpoint} answered with a round of drand whose number or signature is of another form")
    return number, signature
