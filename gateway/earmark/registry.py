"""The registry: who may sign, replayed from the operator's own statements in the log, docs/protocol.md §4.1.

The gateway and whoever checks a proof run this same code over the same statements.
"""

from dataclasses import dataclass

from earmark.cose import did
from earmark.errors import RevokedKey, UnknownNode, WrongRegistry, WrongSubject
from earmark.statement import BY_OPERATOR, NO_ENTRY, REGISTRY, Claims, Statement


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A node's key under a name, from leaf `enrolled_at` to leaf `revoked_at` (None while it holds)."""

    key: bytes
    name: str
    enrolled_at: int
    revoked_at: int | None = None
    reason: str = ""


class Registry:
    """The keys of one log: the operator's, the gateway's and the nodes', by leaf index.

    `head` is the entry of the statement applied last.
    """

    def __init__(self, operator: bytes) -> None:
        self.operator = operator
        self.gateway = b""
        self.origin = ""
        self.head = NO_ENTRY
        self._nodes: dict[bytes, Enrolment] = {}
        self._by_name: dict[str, Enrolment] = {}

    def nodes(self) -> list[Enrolment]:
        """Return all nodes ever enrolled, in leaf order."""
        return list(self._nodes.values())

    def node(self, key: bytes) -> Enrolment | None:
        """Return the enrolment of a key, whether it still holds or not."""
        return self._nodes.get(key)

    def named(self, name: str) -> Enrolment | None:
        """Return the newest enrolment under a name."""
        return self._by_name.get(name)

    def check(self, statement: Statement) -> None:
        """Raise `WrongRegistry` unless `apply` would accept the operator's statement next (§4.1)."""
        body = statement.body or {}
        key = body.get(1, b"")
        if not self.gateway and not (statement.kind == "enrolment" and body[2] == "gateway"):
            raise WrongRegistry("the registry begins with the enrolment of the gateway")
        if statement.kind == "enrolment":
            self._check_enrolment(key, body[2], body[3])
        elif statement.kind != "revocation":
            raise WrongRegistry(f"{statement.kind!r} on the operator's registry chain; it enrols and revokes")
        else:
            node = self._nodes.get(key)
            if node is None:
                raise WrongRegistry(f"revocation of {did(key)}, which is not an enrolled node")
            if node.revoked_at is not None:
                raise WrongRegistry(f"{did(key)} is revoked already, at leaf {node.revoked_at}")

    def _check_enrolment(self, key: bytes, role: str, name: str) -> None:
        if role == "gateway" and self.gateway:
            raise WrongRegistry("a log has one gateway, and it is enrolled already")
        if key in (self.operator, self.gateway) or key in self._nodes:
            raise WrongRegistry(
                f"{did(key)} has been enrolled before; every node and every new start has a key of its own"
            )
        holder = self._by_name.get(name)
        if holder is not None and holder.revoked_at is None:
            raise WrongRegistry(f"the name {name!r} is {did(holder.key)}'s; revoke that key first or take another name")

    def apply(self, index: int, statement: Statement) -> None:
        """Take in the operator's statement at leaf `index`; raises `WrongRegistry` and changes nothing where
        refused.
        """
        self.check(statement)
        body = statement.body or {}
        key = body[1]
        if statement.kind == "enrolment" and body[2] == "gateway":
            self.gateway, self.origin = key, body[3]
        elif statement.kind == "enrolment":
            self._set(Enrolment(key, body[3], index))
        else:
            node = self._nodes[key]
            self._set(Enrolment(key, node.name, node.enrolled_at, index, body[2]))
        self.head = statement.entry

    def _set(self, node: Enrolment) -> None:
        self._nodes[node.key] = self._by_name[node.name] = node

    def is_registry(self, statement: Statement | Claims) -> bool:
        """Say whether the statement belongs to the operator's registry chain."""
        return statement.key == self.operator and statement.sub == REGISTRY

    def check_known(self, statement: Statement | Claims) -> None:
        """Raise `UnknownNode` unless the signer is the operator or was enrolled, revoked or not."""
        if statement.key != self.operator and statement.key not in self._nodes:
            raise UnknownNode(f"{did(statement.key)}, calling itself {statement.sub!r}, is not enrolled here")

    def check_signer(self, statement: Statement | Claims, index: int | None = None) -> None:
        """Raise unless the signer may say this at leaf `index` (None: at the end of the log).

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
        if index is not None and node.enrolled_at >= index:
            raise UnknownNode(f"{did(node.key)} ({node.name}) is enrolled later, at leaf {node.enrolled_at}")
        if node.revoked_at is not None and (index is None or node.revoked_at < index):
            raise RevokedKey(f"{did(node.key)} ({node.name}) was revoked at leaf {node.revoked_at}: {node.reason}")
        if statement.sub != node.name or of_operator:
            raise WrongSubject(f"{node.name} signed {statement.kind!r} as {statement.sub!r}, which it may not")
