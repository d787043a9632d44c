"""The rules of admission as plain dictionaries: what a log must hold after anything that is told to it.

Written from docs/protocol.md §4 alone; it shares no line with `earmark.log` or `earmark.registry`.
"""

from dataclasses import dataclass, field
from typing import Any

from earmark.statement import NO_ENTRY, REGISTRY

HELD = ("UnknownNode", "FutureTime", "MissingPredecessor")
FORKS = ("Equivocation", "BrokenChain")
MAX_AHEAD_MS = 300_000

Signer = tuple[bytes, str]


@dataclass(frozen=True)
class Said:
    """One signed statement and what its signer said in it; `body` is None for readings."""

    raw: bytes
    entry: bytes
    signer: Signer
    seq: int
    prev: bytes
    issued_at_s: int
    body: dict[int, Any] | None = None


@dataclass
class Model:
    """Leaves in order, each signer's by `seq`, who is enrolled and until when, and why the others are not in the log.

    `bound`, `ended` and `since` are leaves, by key.
    """

    operator: bytes
    gateway: bytes
    now_ms: int
    leaves: list[Said] = field(default_factory=list)
    chains: dict[Signer, dict[int, Said]] = field(default_factory=dict)
    index: dict[bytes, int] = field(default_factory=dict)
    names: dict[bytes, str] = field(default_factory=dict)
    bound: dict[bytes, int] = field(default_factory=dict)
    ended: dict[bytes, int] = field(default_factory=dict)
    since: dict[bytes, int] = field(default_factory=dict)
    released: dict[str, tuple[int, str, bytes]] = field(default_factory=dict)
    reasons: dict[bytes, str] = field(default_factory=dict)

    def refusal(self, said: Said) -> str:
        """Return the error that a statement meets now; empty where it is admitted, or is in the log already."""
        key, sub = said.signer
        if key != self.operator and key not in self.names:
            return "UnknownNode"
        if said.entry in self.index:
            return ""
        if key in self.ended:
            return "RevokedKey"
        rules = said.body is not None and said.body[0] in ("enrolment", "revocation", "rotation", "update")
        if (key == self.operator) != rules or sub != (REGISTRY if key == self.operator else self.names[key]):
            return "WrongSubject"
        if said.seq in self.chains.get(said.signer, {}):
            return "Equivocation"
        if self._is_broken(said):
            return "BrokenChain"
        if said.issued_at_s * 1000 - self.now_ms > MAX_AHEAD_MS:
            return "FutureTime"
        return self._refusal_by_registry(said) if key == self.operator else ""

    def _is_broken(self, said: Said) -> bool:
        chain = self.chains.get(said.signer, {})
        before, after = chain.get(said.seq - 1), chain.get(said.seq + 1)
        if (said.seq == 1) != (said.prev == NO_ENTRY):
            return True
        if (before and before.entry != said.prev) or (after and after.prev != said.entry):
            return True
        return before is None and self.reasons.get(said.prev) in FORKS

    def _refusal_by_registry(self, said: Said) -> str:
        body = said.body or {}
        if said.seq != len(self.chains.get(said.signer, ())) + 1:
            return "MissingPredecessor"
        if body[0] == "update":
            return "" if self._may_update(body) else "WrongRegistry"
        new = body[2] if body[0] == "rotation" else body[1]
        is_new = new not in (self.operator, self.gateway, *self.names)
        if body[0] == "revocation":
            is_fine = body[1] in self.names and self._may_end(body)
        elif body[0] == "rotation":
            is_fine = body[1] in self.names and body[1] not in self.ended and is_new
        elif not self.leaves:
            is_fine = body[2] == "gateway"
        else:
            taken = {name for key, name in self.names.items() if key not in self.ended}
            is_fine = body[2] == "node" and is_new and body[3] not in taken
        return "" if is_fine else "WrongRegistry"

    def _may_update(self, body: dict[int, Any]) -> bool:
        if not self.leaves:
            return False
        release = body[1], body[2], body[4]
        last = self.released.get(body[3], (0, "", b""))
        return body[6] == (self.leaves[0].body or {})[3] and (release == last or body[1] > last[0])

    def _may_end(self, body: dict[int, Any]) -> bool:
        key, here = body[1], len(self.leaves)
        if 3 not in body:
            return key not in self.ended
        highest = min(self.ended.get(key, here), self.since.get(key, here + 1) - 1)
        return self.bound[key] + 1 <= body[3] <= highest

    def counts(self, key: bytes, index: int) -> bool:
        """Say whether what a node's key signed counts at a leaf."""
        below = min(self.ended.get(key, index) + 1, self.since.get(key, index + 1))
        return self.bound[key] < index < below

    def take(self, said: Said) -> tuple[int | None, bool, str]:
        """Admit a statement or note why not: (index, whether it was there before, refusal)."""
        refusal = self.refusal(said)
        if refusal:
            self.reasons[said.entry] = refusal
            return None, False, refusal
        known = self.index.get(said.entry)
        if known is not None:
            return known, True, ""
        body = said.body or {}
        here = len(self.leaves)
        if body.get(0) == "revocation":
            self.ended.setdefault(body[1], here)
            self.since |= {body[1]: body[3]} if 3 in body else {}
        elif body.get(0) == "rotation":
            self.ended[body[1]] = self.bound[body[2]] = here
            self.names[body[2]] = self.names[body[1]]
        elif body.get(0) == "update":
            self.released[body[3]] = body[1], body[2], body[4]
        elif body.get(2) == "node" and body[0] == "enrolment":
            self.names[body[1]], self.bound[body[1]] = body[3], here
        self.reasons.pop(said.entry, None)
        self.chains.setdefault(said.signer, {})[said.seq] = said
        self.index[said.entry] = len(self.leaves)
        self.leaves.append(said)
        return len(self.leaves) - 1, False, ""

    def runs(self, signer: Signer) -> list[tuple[int, int]]:
        """Return the runs of a signer's `seq` that are in the log."""
        found: list[tuple[int, int]] = []
        for seq in sorted(self.chains.get(signer, ())):
            found = [*found[:-1], (found[-1][0], seq)] if found and found[-1][1] == seq - 1 else [*found, (seq, seq)]
        return found
