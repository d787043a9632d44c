"""The registry: who may sign, replayed from the operator's own statements in the log, docs/protocol.md §4.1.

The gateway and whoever checks a proof run this same code over the same statements.
"""

from dataclasses import dataclass, replace
from typing import Any

from earmark.body import BY_OPERATOR
from earmark.cose import did
from earmark.errors import RevokedKey, UnknownNode, WrongRegistry, WrongSubject
from earmark.statement import NO_ENTRY, REGISTRY, Claims, Statement


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A node's key under a name, from above leaf `enrolled_at` up to leaf `ended_at`, and below leaf `since`.

    `rotated_at` is the leaf where `successor` took its name, `revoked_at` that of its first revocation, `said_at` that
    of the one that said `since`: the first leaf at which the key was in other hands.  `reason` is the newest.
    """

    key: bytes
    name: str
    enrolled_at: int
    revoked_at: int | None = None
    reason: str = ""
    rotated_at: int | None = None
    successor: bytes = b""
    since: int | None = None
    said_at: int | None = None

    @property
    def ended_at(self) -> int | None:
        """The leaf above which nothing of the key is admitted; None while it holds."""
        return self.revoked_at if self.rotated_at is None else self.rotated_at

    @property
    def told_at(self) -> int | None:
        """The leaf of the newest revocation of the key; None where there is none."""
        return self.revoked_at if self.said_at is None else self.said_at

    def check_counts(self, index: int) -> None:
        """Raise unless what the key signed counts at a leaf: `UnknownNode` or `RevokedKey` (§4.1)."""
        who = f"{did(self.key)} ({self.name})"
        if self.enrolled_at >= index:
            raise UnknownNode(f"{who} is enrolled later, at leaf {self.enrolled_at}")
        if self.ended_at is not None and self.ended_at < index:
            raise RevokedKey(self._end(who))
        if self.since is not None and self.since <= index:
            raise RevokedKey(
                f"the operator said at leaf {self.said_at} that this key was in other hands from leaf {self.since} on, "
                f"and what it signed there does not count: {who}, {self.reason}"
            )

    def check_holds(self) -> None:
        """Raise `RevokedKey` where the key has ended."""
        if self.ended_at is not None:
            raise RevokedKey(self._end(f"{did(self.key)} ({self.name})"))

    def _end(self, who: str) -> str:
        if self.rotated_at is not None:
            return f"{who} gave its name to {did(self.successor)} at leaf {self.rotated_at}: {self.reason}"
        return f"{who} was revoked at leaf {self.revoked_at}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Update:
    """What the operator said at leaf `index`: release `number` for the nodes of a target, by its manifest.

    `entry` names the statement; `digest` (SHA-256) and `size` are the manifest's; `nodes` is empty for all of the
    target.
    """

    index: int
    entry: bytes
    number: int
    version: str
    target: str
    digest: bytes
    size: int
    nodes: tuple[str, ...]

    def is_for(self, name: str) -> bool:
        """Say whether a node of this name is meant, if it is of the target."""
        return not self.nodes or name in self.nodes


class Registry:
    """The keys of one log, the operator's, the gateway's and the nodes', by leaf index, and the updates.

    `head` is the entry of the statement applied last.
    """

    def __init__(self, operator: bytes) -> None:
        self.operator = operator
        self.gateway = b""
        self.origin = ""
        self.head = NO_ENTRY
        self._nodes: dict[bytes, Enrolment] = {}
        self._by_name: dict[str, bytes] = {}
        self._updates: list[Update] = []

    def nodes(self) -> list[Enrolment]:
        """Return all keys of nodes ever enrolled, in leaf order."""
        return list(self._nodes.values())

    def node(self, key: bytes) -> Enrolment | None:
        """Return the enrolment of a key, whether it still holds or not."""
        return self._nodes.get(key)

    def updates(self) -> list[Update]:
        """Return all updates, in leaf order."""
        return list(self._updates)

    def update_for(self, name: str, target: str, above: int) -> Update | None:
        """Return the newest update of a target that is for a node of this name, if its release is above a number."""
        meant = (each for each in reversed(self._updates) if each.target == target and each.is_for(name))
        newest = next(meant, None)
        return newest if newest and newest.number > above else None

    def in_other_hands(self) -> dict[bytes, int]:
        """Return, of each key of which the operator said so, the first leaf from which on it does not count."""
        return {node.key: node.since for node in self._nodes.values() if node.since is not None}

    def named(self, name: str) -> Enrolment | None:
        """Return the newest enrolment under a name."""
        key = self._by_name.get(name)
        return None if key is None else self._nodes[key]

    def check(self, index: int, statement: Statement) -> None:
        """Raise `WrongRegistry` unless `apply` would accept the operator's statement at leaf `index` (§4.1)."""
        body = statement.body or {}
        key = body.get(1, b"")
        if not self.gateway and not (statement.kind == "enrolment" and body[2] == "gateway"):
            raise WrongRegistry("the registry begins with the enrolment of the gateway")
        if statement.kind == "enrolment":
            self._check_role(body[2], body[3])
            self._check_new(key)
        elif statement.kind == "rotation":
            self._check_ending(key, "rotation")
            self._check_new(body[2])
        elif statement.kind == "revocation":
            self._check_revocation(key, index, body.get(3))
        elif statement.kind == "update":
            self._check_update(body)
        else:
            raise WrongRegistry(
                f"{statement.kind!r} on the operator's registry chain; it enrols, rotates, revokes and updates"
            )

    def _check_update(self, body: dict[int, Any]) -> None:
        number, version, target, digest = body[1], body[2], body[3], body[4]
        if body[6] != self.origin:
            raise WrongRegistry(f"an update of {body[6]}; this log is {self.origin}")
        before = next((each for each in reversed(self._updates) if each.target == target), None)
        if before is None or number > before.number:
            return
        if number < before.number:
            raise WrongRegistry(
                f"release {number} for {target} after release {before.number}, at leaf {before.index}: "
                "releases only go up; give it a higher number"
            )
        if (version, digest) != (before.version, before.digest):
            raise WrongRegistry(
                f"release {number} for {target} is another one at leaf {before.index}: give it a number of its own"
            )

    def _check_new(self, key: bytes) -> None:
        if key in (self.operator, self.gateway) or key in self._nodes:
            raise WrongRegistry(
                f"{did(key)} has been enrolled before; every node and every new start has a key of its own"
            )

    def _check_role(self, role: str, name: str) -> None:
        if role == "gateway" and self.gateway:
            raise WrongRegistry("a log has one gateway, and it is enrolled already")
        holder = self.named(name)
        if holder is not None and holder.ended_at is None:
            raise WrongRegistry(
                f"the name {name!r} is {did(holder.key)}'s; rotate or revoke that key, or take another name"
            )

    def _check_ending(self, key: bytes, what: str) -> Enrolment:
        """Return the enrolment of a key that may end now."""
        node = self._known(key, what)
        if node.ended_at is not None:
            how = "revoked" if node.rotated_at is None else "rotated"
            raise WrongRegistry(f"{did(key)} is {how} already, at leaf {node.ended_at}")
        return node

    def _check_revocation(self, key: bytes, index: int, since: int | None) -> None:
        if since is None:
            self._check_ending(key, "revocation")
            return
        node = self._known(key, "revocation")
        if not node.enrolled_at < since <= (index if node.ended_at is None else node.ended_at):
            end = "this statement" if node.ended_at is None else f"leaf {node.ended_at}, which ended it"
            raise WrongRegistry(
                f"{did(key)} in other hands from leaf {since} on: say a leaf above {node.enrolled_at}, where it was "
                f"enrolled, and not above {end}"
            )
        if node.since is not None and node.since <= since:
            raise WrongRegistry(
                f"{did(key)} was said at leaf {node.said_at} to be in other hands from leaf {node.since} on already; "
                "another revocation can only say an earlier one"
            )

    def _known(self, key: bytes, what: str) -> Enrolment:
        node = self._nodes.get(key)
        if node is None:
            raise WrongRegistry(f"{what} of {did(key)}, which is not an enrolled node")
        return node

    def apply(self, index: int, statement: Statement) -> None:
        """Take in the operator's statement at leaf `index`; raises `WrongRegistry` and changes nothing where
        refused.
        """
        self.check(index, statement)
        body = statement.body or {}
        key = body[1]
        if statement.kind == "enrolment" and body[2] == "gateway":
            self.gateway, self.origin = key, body[3]
        elif statement.kind == "enrolment":
            self._bind(Enrolment(key, body[3], index))
        elif statement.kind == "rotation":
            node = self._nodes[key]
            self._nodes[key] = replace(node, rotated_at=index, successor=body[2], reason=body[3])
            self._bind(Enrolment(body[2], node.name, index))
        elif statement.kind == "update":
            _, number, version, target, digest, size, _, nodes = (body[label] for label in range(8))
            self._updates.append(Update(index, statement.entry, number, version, target, digest, size, tuple(nodes)))
        else:
            self._revoke(self._nodes[key], index, body[2], body.get(3))
        self.head = statement.entry

    def _revoke(self, node: Enrolment, index: int, reason: str, since: int | None) -> None:
        revoked_at = index if node.revoked_at is None else node.revoked_at
        node = replace(node, revoked_at=revoked_at, reason=reason)
        self._nodes[node.key] = node if since is None else replace(node, since=since, said_at=index)

    def _bind(self, node: Enrolment) -> None:
        self._nodes[node.key] = node
        self._by_name[node.name] = node.key

    def is_registry(self, statement: Statement | Claims) -> bool:
        """Say whether the statement belongs to the operator's registry chain."""
        return statement.key == self.operator and statement.sub == REGISTRY

    def check_known(self, statement: Statement | Claims) -> None:
        """Raise `UnknownNode` unless the signer is the operator or was enrolled, whether its key has ended or not."""
        if statement.key != self.operator and statement.key not in self._nodes:
            raise UnknownNode(f"{did(statement.key)}, calling itself {statement.sub!r}, is not enrolled here")

    def check_signer(self, statement: Statement | Claims, index: int | None = None) -> None:
        """Raise unless the signer may say this now, or, with an `index`, said it at that leaf and it counts.

        `UnknownNode`, `RevokedKey` or `WrongSubject`: rules 3, 5 and 6 of protocol §4.2.  No signature is verified.
        """
        of_operator = statement.kind in BY_OPERATOR
        if statement.key == self.operator:
            if not of_operator or statement.sub != REGISTRY:
                raise WrongSubject(
                    f"the operator says {statement.kind!r} on chain {statement.sub!r}; known is {REGISTRY!r}"
                )
            return
        self.check_known(statement)
        node = self._nodes[statement.key]
        if index is None:
            node.check_holds()
        else:
            node.check_counts(index)
        if statement.sub != node.name or of_operator:
            raise WrongSubject(f"{node.name} signed {statement.kind!r} as {statement.sub!r}, which it may not")
