"""A block of a public chain: what evidence leads to; and what a time stamp says, in the same form."""

from dataclasses import dataclass

DIGEST_SIZE = 32
MAX_EVIDENCE = 65_536

_CLOCK_ERROR_S = {"bip122": 7_200}
_USUAL_ERROR_S = 60


@dataclass(frozen=True, slots=True)
class ChainBlock:
    """A block of a public chain: what evidence leads to, or what a beacon names.

    `chain` is a CAIP-2 id ("eip155:1"), `hash` 32 bytes as explorers write it, `time_s` the block's own time in Unix
    seconds.  `number` is what the evidence says; only the hash is proven where a header does not hold it (Bitcoin).
    Of a round of drand `hash` is the randomness, which holds neither number nor time.
    Of a time stamp `chain` is the authority's id, `number` its serial number, `hash` that of the token.
    """

    chain: str
    number: int
    hash: bytes
    time_s: int

    @property
    def is_stamp(self) -> bool:
        """Whether an authority says so, and no chain."""
        return self.chain.startswith("tsa:")

    @property
    def is_round(self) -> bool:
        """Whether it is a round of a network of drand, known or not."""
        return self.chain.startswith("drand:")

    @property
    def place(self) -> str:
        """What a verifier gives its hash for: the chain, and of a round its number too, which is not in the hash."""
        return f"{self.chain}/{self.number}" if self.is_round else self.chain

    @property
    def clock_error_s(self) -> int:
        """How far the chain's rules let the block's own time be off, roughly: two hours on Bitcoin."""
        return _CLOCK_ERROR_S.get(self.chain.partition(":")[0], _USUAL_ERROR_S)
