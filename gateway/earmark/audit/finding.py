"""What a check of the log finds."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

MOST_CONTRADICTIONS = 20

Note = Callable[[str, str], None]
"""Take in a contradiction: where it stands, and what is wrong."""


@dataclass(frozen=True, slots=True)
class Contradiction:
    """One thing in the store that does not fit: where it stands, and what is wrong."""

    where: str
    what: str


@dataclass(slots=True)
class Audit:
    """What a check of the whole log found.

    `sealed` leaves are under the newest block that holds; `kinds` counts statements by method or kind, and
    `not_counting` those that were signed in other hands (§4.1); `missing` are
    the `seq` that nodes used and the log has not, `explained` those of them that a `gap` statement explains;
    `anchored` maps a chain to the size of the tree that is final there; `is_cut` says that more contradictions were
    found than are collected.
    """

    size: int = 0
    blocks: int = 0
    sealed: int = 0
    nodes: int = 0
    origin: str = ""
    kinds: Counter[str] = field(default_factory=Counter)
    not_counting: int = 0
    missing: int = 0
    explained: int = 0
    quarantined: int = 0
    anchored: dict[str, int] = field(default_factory=dict)
    contradictions: list[Contradiction] = field(default_factory=list)
    is_cut: bool = False

    @property
    def holds(self) -> bool:
        """Whether nothing contradicts."""
        return not self.contradictions

    def note(self, where: str, what: str) -> None:
        """Take in a contradiction; ends the check after `MOST_CONTRADICTIONS`."""
        if len(self.contradictions) == MOST_CONTRADICTIONS:
            self.is_cut = True
            raise Enough
        self.contradictions.append(Contradiction(where, what))


class Enough(Exception):
    """There is nothing to be gained from looking on."""
