"""A digest and what calendars answered for it: the payload of an anchor by calendars."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from earmark import cbor, ots
from earmark.errors import EncodingError

MAX_ANSWER = 10_000
"""Bytes: what the stock client reads of a calendar's answer."""

MAX_KEPT = 4
"""Ways that are kept of one answer."""

EARLIER = "earlier"
"""Where answers are kept, in place of a calendar's address, once the digest is given to calendars again."""

MAX_EARLIER = 16
"""Ways that are kept of earlier answers."""

Ways = tuple[ots.Branch, ...]


@dataclass(frozen=True, slots=True)
class Stamp:
    """What is kept of each calendar that took the digest, by its address: the ways to addresses where it will say more,
    and those to Bitcoin blocks that were once found to hold them.
    """

    digest: bytes
    answers: Mapping[str, Ways] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the payload: deterministic CBOR of `[digest, [[address, timestamp], …]]`."""
        return cbor.encode([self.digest, [[url, ots.encode(ways)] for url, ways in sorted(self.answers.items())]])

    def pending(self) -> list[tuple[str, ots.Branch]]:
        """Return (who took it, way) of each way that ends in the address of a calendar."""
        return self._ending(ots.PENDING)

    def complete(self) -> list[tuple[str, ots.Branch]]:
        """Return (who took it, way) of each way that ends in a Bitcoin block."""
        return self._ending(ots.BITCOIN)

    def _ending(self, tag: bytes) -> list[tuple[str, ots.Branch]]:
        return [(url, way) for url, ways in self.answers.items() for way in ways if way.attestation.tag == tag]

    def took(self, url: str, ways: Ways) -> "Stamp":
        """Return the stamp with what a calendar answers to the digest."""
        return replace(self, answers={**self.answers, url: ways})

    def completed(self, url: str, way: ots.Branch) -> "Stamp":
        """Return the stamp with a further way of a calendar's."""
        if way in self.answers[url]:
            return self
        return self.took(url, (*self.answers[url], way))

    def without_blocks(self) -> "Stamp":
        """Return the stamp without the ways to blocks, where others are left: the chain has taken those blocks back."""
        left = {url: tuple(way for way in ways if way.attestation.uri) for url, ways in self.answers.items()}
        return replace(self, answers={url: ways for url, ways in left.items() if ways})

    def anew(self) -> "Stamp":
        """Return the stamp as if nobody had taken it, but for the newest ways to addresses, which are still asked."""
        ways = [way for _, way in sorted(self.pending(), key=lambda entry: entry[0] == EARLIER)]
        return Stamp(self.digest, {EARLIER: tuple(ways[:MAX_EARLIER])} if ways else {})


def decode(payload: bytes) -> Stamp:
    """Read back a payload; `EncodingError` for anything else."""
    match cbor.decode(payload):
        case [bytes(digest), [*answers]] if len(digest) == 32:
            return Stamp(digest, dict(map(_answer, answers)))
        case _:
            raise EncodingError("the payload is not a digest with calendars' answers")


def read_answer(octets: bytes, message: bytes) -> Ways:
    """Return the ways from a message that a calendar answers with.

    Only those that lead on: to a Bitcoin block or to a calendar's address, by append, prepend and SHA-256.
    `EncodingError` where there is none, or the answer is not a timestamp within the bounds.
    """
    ways, why = [], "no attestation of Bitcoin or of a calendar"
    for way in ots.decode(octets):
        try:
            ots.commit(message, way.ops)
            if way.attestation.height is not None or way.attestation.uri is not None:
                ways.append(way)
        except EncodingError as error:
            why = str(error)
    if not ways:
        raise EncodingError(f"a timestamp that leads nowhere: {why}")
    return tuple(ways)


def joined(before: tuple[ots.Op, ...], after: ots.Branch) -> ots.Branch:
    """Return the way that goes on where these operations end; `EncodingError` where it becomes too long."""
    way = ots.Branch((*before, *after.ops), after.attestation)
    ots.decode(ots.encode([way]))
    return way


def _answer(entry: object) -> tuple[str, Ways]:
    match entry:
        case [str(url), bytes(timestamp)]:
            return url, tuple(ots.decode(timestamp))
        case _:
            raise EncodingError("the payload's answers are not of calendars")
