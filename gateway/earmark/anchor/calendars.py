"""Anchoring through OpenTimestamps calendars: no wallet and no fee; others put many digests into one transaction."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from earmark import ots
from earmark.anchor import stamp
from earmark.anchor.headers import Headers, Held
from earmark.anchor.http import Http
from earmark.anchor.pace import Pace
from earmark.anchor.stamp import MAX_ANSWER, MAX_KEPT, Stamp, Ways
from earmark.anchor.target import Place, Progress, Signed, State
from earmark.errors import AnchorError, EncodingError, ProofError
from earmark.evidence.bitcoin import MAINNET, OTS, check_ots, encode_ots
from earmark.evidence.chain import ChainBlock

PUBLIC = (
    "https://a.pool.opentimestamps.org",
    "https://b.pool.opentimestamps.org",
    "https://a.pool.eternitywall.com",
    "https://ots.btc.catallaxy.com",
)
"""The public calendars that a new farm asks."""

PUBLIC_HEADERS = "https://blockstream.info/api", "https://mempool.space/api"
"""Where a new farm has Bitcoin's headers from."""

BEHIND_PUBLIC = (
    "https://alice.btc.calendar.opentimestamps.org",
    "https://bob.btc.calendar.opentimestamps.org",
    "https://finney.calendar.eternitywall.com",
    "https://ots.btc.catallaxy.com",
    "https://btc.calendar.catallaxy.com",
)
"""The addresses that the public calendars answer with: a pool hands a digest on to one of them."""

AT_ONCE = 48
"""Anchors that may be under way together; each takes the hours that a calendar waits for low fees."""

ASK_EVERY_S = 300.0
DEPTH = 6
TIMEOUT_S = 10.0
_MOST_REMEMBERED = 4_096
_HEADERS = {
    "Accept": "application/vnd.opentimestamps.v1",
    "User-Agent": "earmark",
    "Content-Type": "application/x-www-form-urlencoded",
}


@dataclass(frozen=True, slots=True)
class _Connected:
    """A way that leads to a block of the chain, and where more is said of it."""

    way: ots.Branch
    held: Held
    reference: str


@dataclass(frozen=True, slots=True)
class _Asked:
    """When a calendar may be asked for a commitment again, and what was wrong with its last answer."""

    again_s: float
    trouble: str


_NEVER = _Asked(-math.inf, "")


class CalendarsTarget:
    """A `Target` that gives a digest to several calendars, and takes the way to a Bitcoin block from the first that has
    one.

    A payload is a `Stamp`.  Calendars are believed nothing: an answer counts once its operations lead from the digest
    to the Merkle root in a header that `headers` has at that height.  Addresses in answers are followed only where they
    are among `calendars` and `BEHIND_PUBLIC`.  One calendar's failure is named in `Progress.reason`, and is in no
    other's way.  Each is asked for the same thing, and given the same digest, at most once in `ask_every_s`.
    """

    def __init__(
        self,
        calendars: Sequence[str],
        headers: Headers,
        *,
        chain: str = MAINNET,
        name: str = "calendars",
        confirmations: int = DEPTH,
        ask_every_s: float = ASK_EVERY_S,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` gives seconds that only go forward.  `AnchorError` for an address that cannot be a calendar's."""
        self.place = Place(name, OTS, chain, AT_ONCE)
        self._headers = headers
        self._confirmations = confirmations
        self._ask_every_s = ask_every_s
        self._clock = clock
        own = [_plain(url) for url in calendars]
        known = {url: _Calendar(url, clock, timeout_s) for url in (*own, *BEHIND_PUBLIC)}
        self._calendars = [known[url] for url in dict.fromkeys(own)]
        self._followed = known
        self._asked: dict[tuple[str, bytes], _Asked] = {}

    def __repr__(self) -> str:
        return f"CalendarsTarget({self.place.name!r}, {[calendar.url for calendar in self._calendars]})"

    def sign(self, digest: bytes, most: int) -> Signed:
        """Return the payload without an answer yet; see `Target.sign`."""
        if len(digest) != 32:
            raise EncodingError(f"a digest of {len(digest)} bytes cannot be anchored: 32 are")
        return Signed(Stamp(digest).encode())

    def replace(self, payload: bytes, most: int) -> Signed:
        """Return a payload for which every calendar is given the digest again; see `Target.replace`.

        They may have forgotten it.  The newest of what they answered before is asked for as well.
        """
        return Signed(stamp.decode(payload).anew().encode())

    def send(self, payload: bytes) -> bytes:
        """Give the digest to every calendar that has not taken it, and return the payload with their answers.

        `AnchorError` where none has it then.  Given twice to a calendar, it has it twice, which costs nobody anything.
        """
        kept, troubles = self._hand_out(stamp.decode(payload))
        if not kept.answers:
            raise AnchorError(f"no calendar took it: {_listed(troubles)}")
        return kept.encode()

    def poll(self, payload: bytes) -> Progress:
        """Look for the way to a block, where there is none yet by asking the calendars; see `Target.poll`.

        The payload in the result holds what they answered.
        """
        before = stamp.decode(payload)
        if not before.answers:
            return Progress("unknown", "")
        connected, unsure = self._earliest(before)
        if connected:
            return self._found(before, connected, payload)
        kept, troubles = self._hand_out(before if unsure else before.without_blocks())
        kept, refused = self._ask(kept)
        connected, _ = self._earliest(kept)
        if connected:
            return self._found(kept, connected, payload)
        if unsure:  # what was found may still be there
            raise AnchorError(unsure)
        return self._waiting(kept, troubles | refused, payload)

    def head(self) -> tuple[ChainBlock, bytes]:
        """Return a block two below Bitcoin's newest, and its header; see `Target.head`."""
        return self._headers.head()

    def anchors_left(self) -> int | None:
        """Return None: it costs nothing."""
        return None

    def _hand_out(self, kept: Stamp) -> tuple[Stamp, dict[str, str]]:
        """Give the digest to those that have not taken it, and return what is kept then, and who failed how."""
        troubles = {}
        for calendar in self._calendars:
            if calendar.url in kept.answers:
                continue
            try:
                kept = kept.took(calendar.url, self._submit(kept.digest, calendar))
            except AnchorError as error:
                troubles[calendar.url] = str(error)
        return kept, troubles

    def _submit(self, digest: bytes, calendar: "_Calendar") -> Ways:
        """Give the digest to one calendar, and return the ways of its answer that are worth keeping.

        `AnchorError` where there is none, also until it is given the same again.
        """
        question = f"{calendar.url}/digest", digest
        asked = self._asked.get(question, _NEVER)
        if calendar.pace.is_resting or self._clock() < asked.again_s:
            raise AnchorError(calendar.pace.trouble or asked.trouble or "is asked again later")
        ways = calendar.submit(digest, self._is_followed)
        connecting, trouble = self._connecting((), ways, digest)
        pending = [way for way in ways if way.attestation.uri]
        kept = (*([connecting] if connecting else []), *pending)[:MAX_KEPT]
        self._remember(question, "" if kept else trouble)
        if not kept:
            raise AnchorError(trouble)
        return kept

    def _is_followed(self, way: ots.Branch) -> bool:
        uri = way.attestation.uri
        return uri is None or uri.rstrip("/") in self._followed

    def _ask(self, kept: Stamp) -> tuple[Stamp, dict[str, str]]:
        """Ask for the rest of each way, and return what is kept then, and who answers wrongly."""
        troubles = {}
        for taker, way in kept.pending():
            calendar = self._followed.get((way.attestation.uri or "").rstrip("/"))
            if calendar is None:  # it was once in the settings
                continue
            try:
                found = self._complete(kept.digest, way, calendar)
            except AnchorError as error:
                troubles[calendar.url] = str(error)
            else:
                kept = kept.completed(taker, found) if found else kept
        return kept, troubles

    def _complete(self, digest: bytes, way: ots.Branch, calendar: "_Calendar") -> ots.Branch | None:
        """Return the way on to a block that holds it; None while its calendar has no more to say.

        `AnchorError` where that fails, or says something that is not so, also until it is asked again.
        """
        commitment = ots.commit(digest, way.ops)
        question = f"{calendar.url}/timestamp", commitment
        asked = self._asked.get(question, _NEVER)
        if calendar.pace.is_resting or self._clock() < asked.again_s:
            if calendar.pace.trouble or asked.trouble:
                raise AnchorError(calendar.pace.trouble or asked.trouble)
            return None
        rest = calendar.pace.judge(lambda: calendar.rest(commitment))
        found, trouble = self._connecting(way.ops, rest, digest)
        self._remember(question, trouble)
        if trouble:
            raise AnchorError(trouble)
        return found

    def _connecting(self, before: tuple[ots.Op, ...], rest: Ways, digest: bytes) -> tuple[ots.Branch | None, str]:
        """Return the first way on that a block holds, or what is wrong with those that a calendar gave."""
        why = "answers without a Bitcoin block" if rest else ""
        for after in [after for after in rest if after.attestation.height is not None][:MAX_KEPT]:
            height = after.attestation.height
            try:
                whole = stamp.joined(before, after)
                if self._connect(whole, digest):
                    return whole, ""
                why = f"says that Bitcoin block {height} holds it, which does not"
            except (AnchorError, EncodingError) as error:
                why = f"says that Bitcoin block {height} holds it, which cannot be confirmed: {error}"
        return None, why

    def _remember(self, question: tuple[str, bytes], trouble: str) -> None:
        now_s = self._clock()
        if len(self._asked) >= _MOST_REMEMBERED:
            self._asked = {key: asked for key, asked in self._asked.items() if asked.again_s > now_s}
        self._asked[question] = _Asked(now_s + self._ask_every_s, trouble)

    def _connect(self, way: ots.Branch, digest: bytes) -> Held | None:
        """Return the block that holds a way's end, None where that block does not.

        `AnchorError` where nobody can say, or where nobody who checks the evidence would read it.
        """
        held = self._headers.holding(way.attestation.height or 0, ots.commit(digest, way.ops))
        if held:
            try:
                check_ots(self.place.chain, encode_ots(way, held.header), digest)
            except ProofError as error:
                raise AnchorError(str(error)) from error
        return held

    def _earliest(self, kept: Stamp) -> tuple[_Connected | None, str]:
        """Return the way to the lowest block that holds it, and why there is none where nobody can say of some way."""
        found, troubles = [], []
        for taker, way in kept.complete():
            try:
                held = self._connect(way, kept.digest)
            except AnchorError as error:
                troubles.append(str(error))
                continue
            if held:
                found.append(_Connected(way, held, self._reference(kept, taker, way)))
        earliest = min(found, key=lambda one: (one.held.block.number, ots.encode([one.way])), default=None)
        return earliest, "" if earliest else "; ".join(dict.fromkeys(troubles))

    def _reference(self, kept: Stamp, taker: str, way: ots.Branch) -> str:
        """Return where anybody can ask for the way to the block, or at least who gave it."""
        for url, before in kept.pending():
            if url == taker and way.ops[: len(before.ops)] == before.ops:
                uri = (before.attestation.uri or "").rstrip("/")
                return f"{uri}/timestamp/{ots.commit(kept.digest, before.ops).hex()}"
        return taker

    def _found(self, kept: Stamp, connected: _Connected, payload: bytes) -> Progress:
        held, evidence = connected.held, encode_ots(connected.way, connected.held.header)
        new = _changed(kept, payload)
        state: State = "final" if held.depth >= self._confirmations else "mined"
        return Progress(state, connected.reference, held.block, held.depth, evidence, payload=new)

    def _waiting(self, kept: Stamp, troubles: dict[str, str], payload: bytes) -> Progress:
        count = sum(calendar.url in kept.answers for calendar in self._calendars)
        takers = f"{count} of {len(self._calendars)} calendars have it, none in a Bitcoin block yet"
        reason = f"{takers}; {_listed(troubles)}" if troubles else takers
        return Progress("pending", "", reason=reason, payload=_changed(kept, payload))


class _Calendar:
    """One calendar: the two questions of its protocol."""

    def __init__(self, url: str, clock: Callable[[], float], timeout_s: float) -> None:
        self.url = url
        self.pace = Pace(clock)
        self._http = Http(url, timeout_s)

    def submit(self, digest: bytes, is_followed: Callable[[ots.Branch], bool]) -> Ways:
        """Give it the digest and return the ways that its answer has; `AnchorError` where none can be followed."""

        def ask() -> Ways:
            status, body = self._http.post(digest, _HEADERS, MAX_ANSWER, "/digest")
            if status != 200:
                raise AnchorError(f"answers HTTP {status}")
            ways = stamp.read_answer(body, digest)
            followed = tuple(way for way in ways if is_followed(way))
            if not followed:
                strange = ways[0].attestation.uri
                raise AnchorError(f"names {strange} as its address: set that in `calendars` to have it followed")
            return followed

        return self.pace.judge(ask)

    def rest(self, commitment: bytes) -> Ways:
        """Return the ways on from a commitment, none while it waits; `AnchorError` for a wrong answer or none."""
        status, body = self._http.get(f"/timestamp/{commitment.hex()}", _HEADERS, MAX_ANSWER)
        if status == 404:
            return ()
        if status != 200:
            raise AnchorError(f"answers HTTP {status}")
        return stamp.read_answer(body, commitment)


def _plain(url: str) -> str:
    """Return a calendar's address as attestations can name it; `AnchorError` where they cannot."""
    try:
        ots.pending(url)
    except EncodingError:
        raise AnchorError(f"{url[:100]!r} cannot be a calendar's address: it is like https://host/path") from None
    return url.rstrip("/")


def _listed(troubles: dict[str, str]) -> str:
    return "; ".join(why if why.startswith(url) else f"{url}: {why}" for url, why in troubles.items())


def _changed(kept: Stamp, payload: bytes) -> bytes | None:
    encoded = kept.encode()
    return encoded if encoded != payload else None
