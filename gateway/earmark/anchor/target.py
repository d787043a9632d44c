"""What a chain or a calendar offers to the state machine that anchors block hashes.

The life of an anchor, the same for every target, and safe to stop at any point:

    planned    the digest is chosen
    signed     `sign` gave a payload, and the caller has it on disk: nothing is on the wire yet
    broadcast  `send` gave it to the network; repeated with the same bytes whenever `poll` says "unknown"
    mined      `poll` found it in a block, which may still be reorganised away (back to "unknown")
    final      `poll` gave the evidence, which the caller stores for good

After a restart the caller polls every payload that it stored and acts on the answer; it never signs
a second payload for a digest whose first one is not "void".
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from earmark.evidence import ChainBlock

State = Literal["unknown", "pending", "mined", "final", "void"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a payload has come.

    `state` is "unknown" (the target does not have it: send the same bytes again), "pending" (it has
    it, or what displaced it is not final yet: wait), "mined" (in `block`, not yet final), "final", or
    "void" (something else final took its place, it can never be mined: sign anew).
    `reference` is the transaction hash as the target's users write it.  From "mined" on `block` and
    `evidence` are given, and `confirmations` counts the block itself as 1.
    """

    state: State
    reference: str
    block: ChainBlock | None = None
    confirmations: int = 0
    evidence: bytes | None = None


class Target(Protocol):
    """A place to anchor a digest.  Methods block on the network: one caller at a time, off the event loop.

    All of them raise `AnchorError` when the target is unavailable, is not the chain it should be, or
    refuses, with a message that says what to do; the caller tries again later.
    """

    @property
    def name(self) -> str:
        """The CAIP-2 id of a chain, such as "eip155:1"."""

    @property
    def kind(self) -> str:
        """The kind of the evidence, as in proof files: "evm"."""

    def sign(self, digest: bytes) -> bytes:
        """Build and sign a payload that carries `digest` (32 bytes).

        Nothing is on the wire.  The caller has the payload on disk before it calls `send`, and keeps
        one payload in flight for a key: the next `sign` is due when this one is final or void.
        Defers (`AnchorError`) while fees are above the cap.
        """

    def send(self, payload: bytes) -> bytes:
        """Give a stored payload to the network and return the payload to keep in its place.

        Idempotent: a payload that the network already has, or has already mined, is a success.
        A chain returns the same bytes; a calendar adds the answer that it must later be asked with.
        """

    def replace(self, payload: bytes) -> bytes:
        """Sign a payload for the same digest that competes with a stuck one: at most one of them is mined.

        The caller stores it before sending, keeps and polls both, and sends only the newest again.
        Defers (`AnchorError`) when the higher fee would pass the cap.
        """

    def poll(self, payload: bytes) -> Progress:
        """Look up how far a stored payload has come."""

    def head(self) -> tuple[ChainBlock, bytes]:
        """Return the newest block and its header, the public beacon.

        The header's bytes are the beacon's evidence: docs/protocol.md §6.
        """
