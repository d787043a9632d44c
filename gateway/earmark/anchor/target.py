"""What a chain or a calendar offers to the state machine that anchors block hashes.

The life of an anchor, the same for every target, and safe to stop at any point:

    planned    the digest is chosen
    signed     `sign` gave a payload, and the caller has it on disk: nothing is on the wire yet
    broadcast  `send` gave it to the network; repeated with the same bytes whenever `poll` says "unknown"
    mined      `poll` found it in a block, which may still be reorganised away (back to "unknown")
    final      `poll` gave the evidence, which the caller stores for good

After a restart the caller polls every payload that it stored and acts on the answer; it never signs
a second payload for a digest whose first one is not "void", but by `replace`, whose payload holds the
first one too, so that both are looked for and at most one of them is ever mined.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from earmark.errors import AnchorError
from earmark.evidence import ChainBlock

State = Literal["unknown", "pending", "mined", "final", "void"]


class Deferred(AnchorError):
    """Fees above the cap, or a month's budget used up: nothing is signed, and it is tried again."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A payload, and the most that it can cost, in the chain's smallest unit (wei, satoshi); 0 where it is free."""

    payload: bytes
    cost: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a payload has come.

    `state` is "unknown" (the target does not have it: send the same bytes again), "pending" (it has
    it, or what displaced it is not final yet: wait), "mined" (in `block`, not yet final), "final", or
    "void" (something else final took its place, it can never be mined: sign anew).
    `reference` is the transaction hash as the target's users write it.  From "mined" on `block` and
    `evidence` are given, `confirmations` counts the block itself as 1, and `cost` is what was paid.
    `reason` says in words what it waits for, where the target knows.  `payload` is what to keep in place of the one
    that was asked about, where the target learned something that it needs later: a calendar's answer.
    """

    state: State
    reference: str
    block: ChainBlock | None = None
    confirmations: int = 0
    evidence: bytes | None = None
    cost: int = 0
    reason: str = ""
    payload: bytes | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where digests go: what it is called in settings, rows and metrics (unique in a farm), the kind of its evidence
    ("evm", "ots", "rfc3161"), the chain that this leads to (a CAIP-2 id, or an authority's), how many anchors may be
    under way together (1 where a key pays, whose payments follow one another), and whether `head` has blocks for
    beacons.
    """

    name: str
    kind: str
    chain: str
    at_once: int = 1
    has_head: bool = True


class Target(Protocol):
    """A place to anchor a digest.  Methods block on the network: one caller at a time, off the event loop.

    All of them raise `AnchorError` when the target is unavailable, is not the chain it should be, or
    refuses, with a message that says what to do; the caller tries again later.
    """

    @property
    def place(self) -> Place:
        """Where it is."""

    def sign(self, digest: bytes, most: int) -> Signed:
        """Build and sign a payload that carries `digest` (32 bytes) and costs at most `most`.

        Nothing is on the wire.  The caller has the payload on disk before it calls `send`.
        `Deferred` while fees are above the cap, or `most` is less than it may cost.
        """

    def send(self, payload: bytes) -> bytes:
        """Give a stored payload to the network and return the payload to keep in its place.

        Idempotent: a payload that the network already has, or has already mined, is a success.
        A chain returns the same bytes; a calendar adds the answer that it must later be asked with.
        """

    def replace(self, payload: bytes, most: int) -> Signed:
        """Return a stuck payload with a further transaction for the same digest that pays more than those in it.

        At most one of them can be mined.  The caller stores it before sending; `send` sends only the newest, `poll`
        looks for all.  `Deferred` as in `sign`, `most` being for this one whole.  Calendars are given the digest again;
        other free targets give it back as it is.
        """

    def poll(self, payload: bytes) -> Progress:
        """Look up how far a stored payload has come; the caller stores the answer's payload, where it has one."""

    def head(self) -> tuple[ChainBlock, bytes]:
        """Return a new block that will stay, and its header: the public beacon.

        The header's bytes are the beacon's evidence: docs/protocol.md §6.  Not asked where `place.has_head` is false.
        """

    def anchors_left(self) -> int | None:
        """Return how many more anchors its funds are good for at today's fees; None where it costs nothing."""
