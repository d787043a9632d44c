"""What a check that held established, as values for whoever shows it, docs/protocol.md §9."""

from dataclasses import dataclass

from earmark.block import Header
from earmark.body import METHODS
from earmark.cosignature import Cosignature
from earmark.evidence import ChainBlock
from earmark.registry import Enrolment, Registry
from earmark.statement import Claims, Statement, decode

TITLES = (
    "",
    "File",
    "Registry",
    "Checkpoint",
    "Block",
    "Log",
    "Signer",
    "Not before",
    "Not after",
    "Your block hashes",
    "Your witnesses",
)


@dataclass(slots=True)  # not frozen: a file may have 100,000, and each takes three times as long
class Subject:
    """One proven statement: where it stands, who signed it, and the newest trusted block or round before it."""

    index: int
    raw: bytes
    claims: Claims
    signer: Enrolment | None
    not_before: ChainBlock | None

    @property
    def method(self) -> str:
        """`measured`, `modelled` or `replayed`; empty for what is not a reading."""
        return "" if self.claims.method is None else METHODS[self.claims.method]

    @property
    def statement(self) -> Statement:
        """All that it says, decoded when it is asked for."""
        return decode(self.raw)


@dataclass(frozen=True, slots=True)
class Step:
    """One numbered step of §9: what it established, or, where `proven` is false, what is missing."""

    number: int
    proven: bool
    finding: str

    @property
    def title(self) -> str:
        """The step's name in §9."""
        return TITLES[self.number]


@dataclass(frozen=True, slots=True)
class Report:
    """What a check that held established.

    `blocks` are the chain blocks and rounds of known networks that the file leads to, by beacon or anchor; `rounds` are
    those whose signatures verified; `tighter` are the beacons' sources that would show more than what counts, were
    their hashes the verifier's; `anchors` pairs each anchor's block with whether the verifier vouches for it;
    `stamps` pairs the id of each time stamp's authority with what the token says, None where the verifier brought no
    certificate of it; `not_after` is the earliest of the vouched blocks and the stamps with a certificate, None where
    there is none; `witnessed` are the cosignatures of the verifier's witnesses.
    """

    registry: Registry
    header: Header
    steps: tuple[Step, ...]
    subjects: tuple[Subject, ...]
    blocks: tuple[ChainBlock, ...]
    rounds: frozenset[ChainBlock]
    tighter: frozenset[ChainBlock]
    anchors: tuple[tuple[ChainBlock, bool], ...]
    stamps: tuple[tuple[str, ChainBlock | None], ...]
    not_after: ChainBlock | None
    witnessed: tuple[Cosignature, ...]
    not_established: tuple[str, ...]

    @property
    def not_before(self) -> ChainBlock | None:
        """The block or round that every subject was signed after; None where one has none."""
        known = [subject.not_before for subject in self.subjects if subject.not_before]
        return min(known, key=lambda block: block.time_s) if len(known) == len(self.subjects) else None

    def misdated(self) -> list[Subject]:
        """Return the subjects whose own times cannot be: signed before their beacon, or after they existed already.

        By more than the error that their clock states and the chain's own.
        """
        return [subject for subject in self.subjects if _is_misdated(subject, self.not_after)]

    def to_compare(self) -> list[ChainBlock]:
        """Return the blocks that would show more if the verifier vouched for them: anchors' first, then by time."""
        anchors = [block for block, is_vouched in self.anchors if not is_vouched]
        left = [block for block in self.blocks if block in anchors or block in self.tighter]
        return sorted(left, key=lambda block: (block not in anchors, block.time_s))


def _is_misdated(subject: Subject, not_after: ChainBlock | None) -> bool:
    not_before = subject.not_before
    source, error_s = subject.claims.clock
    if source == 0 or not (not_before or not_after):
        return False
    statement = subject.statement
    latest = max(statement.issued_at_s, *(reading.taken_at_s for reading in statement.readings), 0)
    if not_before and statement.issued_at_s + error_s + not_before.clock_error_s < not_before.time_s:
        return True
    return not_after is not None and latest - error_s - not_after.clock_error_s > not_after.time_s
