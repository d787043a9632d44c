"""A log of a few leaves, with the blocks and proofs over it, as a gateway would make them."""

import hashlib
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from actors import CELLAR, GATEWAY, OPERATOR, ORIGIN, T0, TOMATO, operator_says, sign
from evidences import MESSAGE
from statements import says

from earmark import beacon, block, cose, merkle, proof
from earmark.statement import NO_ENTRY


class Log:
    """Statements in leaf order; keeps every signer's chain."""

    def __init__(self, gateway: cose.Signer = GATEWAY, origin: str = ORIGIN) -> None:
        self.gateway, self.origin = gateway, origin
        self.statements: list[bytes] = []
        self.registry: list[int] = []
        self._chains: dict[tuple[bytes, str], tuple[int, bytes]] = {}

    def add(self, raw: bytes) -> int:
        """Append the bytes, whatever they are, and return their index."""
        self.statements.append(raw)
        return len(self.statements) - 1

    def _next(self, signer: cose.Signer, sub: str) -> tuple[int, bytes]:
        return self._chains.get((signer.key, sub), (1, NO_ENTRY))

    def _append(self, signer: cose.Signer, inputs: dict[str, Any]) -> int:
        raw = sign(signer, inputs)
        self._chains[signer.key, inputs["sub"]] = inputs["seq"] + 1, hashlib.sha256(raw).digest()
        return self.add(raw)

    def operator(self, body: dict[int, Any], signer: cose.Signer = OPERATOR) -> int:
        """Append the operator's next statement on the registry chain."""
        self.registry.append(self._append(signer, operator_says(*self._next(signer, "registry"), body)))
        return self.registry[-1]

    def enrol(self, key: bytes, role: str, name: str, signer: cose.Signer = OPERATOR) -> int:
        """Append an enrolment."""
        return self.operator({0: "enrolment", 1: key, 2: role, 3: name}, signer)

    def node(self, signer: cose.Signer, name: str, payload: Any, **changes: Any) -> int:
        """Append a node's next statement."""
        seq, prev = self._next(signer, name)
        return self._append(signer, says(payload, sub=name, seq=seq, prev=prev, **changes))

    def subtree(self, level: int, index: int) -> bytes:
        """The hash of a complete subtree."""
        if level == 0:
            return merkle.leaf_hash(hashlib.sha256(self.statements[index]).digest())
        return merkle.node_hash(self.subtree(level - 1, 2 * index), self.subtree(level - 1, 2 * index + 1))

    def header(self, beacon: bytes = block.NO_BEACON) -> block.Header:
        """The header of a block over all leaves."""
        size = len(self.statements)
        root = merkle.range_hash(0, size, self.subtree)
        registry = hashlib.sha256(self.statements[self.registry[-1]]).digest() if self.registry else NO_ENTRY
        fields = block.origin_hash(self.origin), 7, size, (T0 + 5) * 1000, b"\x11" * 32, root, registry, beacon
        return block.Header(*fields)

    def proof(
        self,
        subjects: Sequence[int],
        *,
        also: Sequence[int] = (),
        without: Sequence[int] = (),
        header: block.Header | None = None,
        beacons: Any = (),
        anchors: Any = (),
    ) -> proof.Proof:
        """The proof of some leaves; `also` and `without` put in, or leave out, what a right proof has not, or has."""
        header = header or self.header()
        indexes = sorted({*self.registry, *subjects, *also} - {*without})
        return proof.Proof(
            header=header.encode(),
            checkpoint=block.sign_checkpoint(self.gateway, self.origin, header),
            receipt=block.sign_receipt(self.gateway, self.origin, header.root),
            statements=tuple((index, self.statements[index]) for index in indexes),
            subjects=tuple(subjects),
            rest=tuple(merkle.prove_leaves(indexes, header.size, self.subtree)),
            beacons=beacons,
            anchors=anchors,
        )


def single_log(message: bytes = MESSAGE) -> Log:
    """One node that said one thing after a beacon, at leaf 2 of 4: the smallest proof."""
    log = Log()
    log.enrol(GATEWAY.key, "gateway", ORIGIN)
    log.enrol(TOMATO.key, "node", "tomato-1")
    log.node(TOMATO, "tomato-1", pack("tomato-1", 215), method=0, beacon=beacon.nonce(message))
    log.node(TOMATO, "tomato-1", pack("tomato-1", 216), method=0)
    return log


def first_log() -> Log:
    """Two nodes, their boots and readings, and the revocation of the second; subjects are leaves 4 and 6."""
    nonce = beacon.nonce(MESSAGE)
    log = Log()
    log.enrol(GATEWAY.key, "gateway", ORIGIN)
    log.enrol(TOMATO.key, "node", "tomato-1")
    log.enrol(CELLAR.key, "node", "cellar-2")
    boot = {0: "boot", 1: "power-on", 2: "esp32", 3: [["air", "sht31", 0, ""]]}
    log.node(TOMATO, "tomato-1", boot, software="0.1.0")
    log.node(TOMATO, "tomato-1", pack("tomato-1", 215), method=0, beacon=nonce)
    log.node(CELLAR, "cellar-2", boot, software="0.1.0")
    log.node(CELLAR, "cellar-2", pack("cellar-2", 48), method=1, beacon=nonce)
    log.node(TOMATO, "tomato-1", pack("tomato-1", 214), method=0)
    log.operator({0: "revocation", 1: CELLAR.key, 2: "stolen"})
    return log


def rotated_log() -> Log:
    """tomato-1 under two keys: the first at leaves 2 and 3, rotated at leaf 4, the second at leaves 5 and 6."""
    log = Log()
    log.enrol(GATEWAY.key, "gateway", ORIGIN)
    log.enrol(TOMATO.key, "node", "tomato-1")
    log.node(TOMATO, "tomato-1", pack("tomato-1", 215), method=0)
    log.node(TOMATO, "tomato-1", pack("tomato-1", 216), method=0)
    log.operator({0: "rotation", 1: TOMATO.key, 2: CELLAR.key, 3: "a new board"})
    log.node(CELLAR, "tomato-1", pack("tomato-1", 217), method=0)
    log.node(CELLAR, "tomato-1", pack("tomato-1", 218), method=0)
    return log


def stolen_log() -> Log:
    """The same, and at leaf 7 the word that the first key was in other hands from leaf 3 on."""
    log = rotated_log()
    log.operator({0: "revocation", 1: TOMATO.key, 2: "the old board was stolen", 3: 3})
    return log


def updated_log() -> Log:
    """An update for another node at leaf 2, for all at leaf 3, what the node says of it, and the next release."""
    log = Log()
    log.enrol(GATEWAY.key, "gateway", ORIGIN)
    log.enrol(TOMATO.key, "node", "tomato-1")
    update = {0: "update", 1: 7, 2: "0.2.0", 3: "esp32", 4: b"\x22" * 32, 5: 3900, 6: ORIGIN, 7: ["cellar-2"]}
    log.operator(update)
    log.operator({**update, 7: []})
    entry = hashlib.sha256(log.statements[3]).digest()
    log.node(TOMATO, "tomato-1", {0: "updated", 1: entry, 2: 6, 3: 7, 4: "confirmed", 5: ""})
    log.operator({**update, 1: 2, 3: "rp2350"})
    log.operator({**update, 1: 8, 2: "0.3.0", 4: b"\x33" * 32})
    return log


def pack(name: str, tenths: int) -> list[dict[int, Any]]:
    """One temperature."""
    return [{-2: f"{name}/", -3: T0, 0: "air", 1: "Cel", 2: Decimal(tenths).scaleb(-1)}]


def flip(octets: bytes, at: int) -> bytes:
    """The same bytes with one bit flipped."""
    return octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :]
