"""Proof files whose registry, or whose signers, do not hold: must-reject cases of steps 2 and 6 of §9."""

import hashlib
from collections.abc import Callable
from typing import Any

from actors import CELLAR, GATEWAY, OPERATOR, ORIGIN, STRANGER, T0, TOMATO, operator_says, sign
from refused import UPDATE
from small_log import Log, first_log, flip, pack, single_log
from statements import says

from earmark import cose, statement
from earmark.proof import Proof

Case = tuple[str, int, bytes]


def registries() -> list[Case]:
    """What the operator cannot have said, or not there."""
    log = first_log()
    unsigned = first_log()
    unsigned.statements[8] = flip(unsigned.statements[8], len(unsigned.statements[8]) - 1)
    garbled = first_log()
    garbled.statements[4] = garbled.statements[4][:-1]
    boot = {0: "boot", 1: "power-on", 2: "esp32", 3: []}

    def ending(*more: Callable[[Log], Any]) -> bytes:
        changed = single_log()
        for step in more:
            step(changed)
        return changed.proof([2]).encode()

    def talk(changed: Log, **said: Any) -> None:
        last = hashlib.sha256(changed.statements[1]).digest()
        usual = operator_says(3, last, {})
        changed.registry.append(changed.add(sign(OPERATOR, {**usual, **said})))

    bare = {0: "revocation", 1: TOMATO.key, 2: "x"}

    def revoke(since: int | None = None) -> Callable[[Log], Any]:
        return lambda to: to.operator(bare if since is None else {**bare, 3: since})

    def rotate(old: cose.Signer, new: cose.Signer) -> Callable[[Log], Any]:
        return lambda to: to.operator({0: "rotation", 1: old.key, 2: new.key, 3: "x"})

    def updates(body: dict[int, Any]) -> Callable[[Log], Any]:
        return lambda to: to.operator(body)

    def enrol_cellar(to: Log) -> int:
        return to.enrol(CELLAR.key, "node", "cellar-2")

    def enrol_again(to: Log) -> int:
        return to.enrol(TOMATO.key, "node", "tomato-2")

    def enrol_stranger(to: Log) -> int:
        return to.enrol(STRANGER.key, "node", "tomato-1")

    foreign, late = Log(), Log()
    foreign.enrol(TOMATO.key, "node", "tomato-1")
    late.node(TOMATO, "tomato-1", pack("tomato-1", 1), method=0)
    late.enrol(GATEWAY.key, "gateway", ORIGIN)
    return [
        ("statement 0 left out", 2, log.proof([4], without=[0]).encode()),
        ("a hole in the operator's chain", 2, log.proof([4], without=[1]).encode()),
        ("a statement that is nobody's subject", 2, log.proof([4], also=[7]).encode()),
        ("a signature of the operator's that is none", 2, unsigned.proof([4]).encode()),
        ("a statement that is none", 2, garbled.proof([4]).encode()),
        ("a log that begins with a node", 2, foreign.proof([0]).encode()),
        ("a log that begins with a reading", 2, late.proof([0]).encode()),
        ("a name enrolled twice", 2, ending(lambda to: to.enrol(CELLAR.key, "node", "tomato-1"))),
        ("a key enrolled twice", 2, ending(lambda to: to.enrol(TOMATO.key, "node", "tomato-2"))),
        ("the operator enrolled", 2, ending(lambda to: to.enrol(OPERATOR.key, "node", "operator"))),
        ("the gateway enrolled as a node", 2, ending(lambda to: to.enrol(GATEWAY.key, "node", "gateway"))),
        (
            "a second gateway",
            2,
            ending(lambda to: to.enrol(CELLAR.key, "gateway", statement.origin("hillside", CELLAR.key))),
        ),
        ("a stranger revoked", 2, ending(lambda to: to.operator({0: "revocation", 1: STRANGER.key, 2: "x"}))),
        ("the gateway revoked", 2, ending(lambda to: to.operator({0: "revocation", 1: GATEWAY.key, 2: "x"}))),
        ("a node revoked twice", 2, ending(*[lambda to: to.operator({0: "revocation", 1: TOMATO.key, 2: "x"})] * 2)),
        ("a stranger rotated", 2, ending(rotate(STRANGER, CELLAR))),
        ("the gateway rotated", 2, ending(rotate(GATEWAY, CELLAR))),
        ("a node rotated to itself", 2, ending(rotate(TOMATO, TOMATO))),
        ("a node rotated to the gateway", 2, ending(rotate(TOMATO, GATEWAY))),
        ("a node rotated to the operator", 2, ending(rotate(TOMATO, OPERATOR))),
        ("a node rotated to another node", 2, ending(enrol_cellar, rotate(TOMATO, CELLAR))),
        ("a node rotated twice", 2, ending(rotate(TOMATO, CELLAR), rotate(TOMATO, STRANGER))),
        ("a node rotated back", 2, ending(rotate(TOMATO, CELLAR), rotate(CELLAR, TOMATO))),
        ("a node rotated after its revocation", 2, ending(revoke(), rotate(TOMATO, CELLAR))),
        ("a node revoked after its rotation", 2, ending(rotate(TOMATO, CELLAR), revoke())),
        ("a rotated key enrolled again", 2, ending(rotate(TOMATO, CELLAR), enrol_again)),
        ("a rotated key's name enrolled", 2, ending(rotate(TOMATO, CELLAR), enrol_stranger)),
        ("a key that came by rotation enrolled", 2, ending(rotate(TOMATO, CELLAR), enrol_cellar)),
        ("in other hands from its enrolment's leaf on", 2, ending(revoke(1))),
        ("in other hands from leaf 0 on", 2, ending(revoke(0))),
        ("in other hands from after the revocation on", 2, ending(revoke(5))),
        ("in other hands from after the key's end on", 2, ending(revoke(), revoke(5))),
        ("in other hands from after the key's rotation on", 2, ending(rotate(TOMATO, CELLAR), revoke(5))),
        ("in other hands from the same leaf on again", 2, ending(revoke(3), revoke(3))),
        ("in other hands from a later leaf on than said", 2, ending(revoke(2), revoke(3))),
        ("a stranger in other hands", 2, ending(lambda to: to.operator({**bare, 1: STRANGER.key, 3: 2}))),
        ("the gateway in other hands", 2, ending(lambda to: to.operator({**bare, 1: GATEWAY.key, 3: 2}))),
        *((f"an update {name}", 2, ending(*[updates(each) for each in said])) for name, said in _wrong_updates()),
        ("the operator's boot", 2, ending(lambda to: talk(to, payload=boot, boot_count=1, software="1"))),
        (
            "the operator's readings",
            2,
            ending(lambda to: talk(to, payload=[{-2: "registry/", -3: T0, 2: 1}], boot_count=1, method=0)),
        ),
        ("seq that skips", 2, ending(lambda to: talk(to, seq=4, payload={0: "revocation", 1: TOMATO.key, 2: "x"}))),
        (
            "prev of another statement",
            2,
            ending(lambda to: talk(to, prev=bytes(32), payload={0: "revocation", 1: TOMATO.key, 2: "x"})),
        ),
    ]


def _wrong_updates() -> list[tuple[str, list[dict[int, Any]]]]:
    """Updates of which the last is not one that the registry takes."""
    foreign = statement.origin("hillside", STRANGER.key)
    return [
        ("of another gateway's log", [{**UPDATE, 6: foreign}]),
        ("of another site", [{**UPDATE, 6: ORIGIN.replace("hillside", "seaside")}]),
        ("to a release below the last", [UPDATE, {**UPDATE, 1: 6}]),
        ("to the same release with another manifest", [UPDATE, {**UPDATE, 4: bytes(31) + b"\1"}]),
        ("to the same release with another version", [UPDATE, {**UPDATE, 2: "0.2.1"}]),
    ]


def signers() -> list[Case]:
    """Subjects whose signer cannot have said them there, or whose key was in other hands."""

    def log(*before: Callable[[Log], Any]) -> Log:
        begun = Log()
        begun.enrol(GATEWAY.key, "gateway", ORIGIN)
        for step in before:
            step(begun)
        return begun

    def ending(name: str, begun: Log) -> Case:
        return name, 6, begun.proof([len(begun.statements) - 1]).encode()

    def tomato(to: Log) -> int:
        return to.enrol(TOMATO.key, "node", "tomato-1")

    def reads(to: Log, signer: cose.Signer = TOMATO, name: str = "tomato-1") -> int:
        return to.node(signer, name, pack(name, 215), method=0)

    def revoked(to: Log) -> int:
        return to.operator({0: "revocation", 1: TOMATO.key, 2: "stolen"})

    def rotated(to: Log) -> int:
        return to.operator({0: "rotation", 1: TOMATO.key, 2: CELLAR.key, 3: "x"})

    def stolen(since: int) -> Callable[[Log], int]:
        return lambda to: to.operator({0: "revocation", 1: TOMATO.key, 2: "stolen", 3: since})

    taken = log(tomato, reads, reads, reads, stolen(3))
    again = log(tomato, reads, reads, reads, rotated, stolen(4), stolen(3))
    alone = {**operator_says(1, bytes(32), {0: "rotation", 1: TOMATO.key, 2: CELLAR.key, 3: "x"}), "sub": "tomato-1"}
    later = log(reads, tomato)
    enrols = {0: "enrolment", 1: CELLAR.key, 2: "node", 3: "cellar-2"}
    alike = {**operator_says(1, bytes(32), enrols), "sub": "tomato-1"}
    releases = {**operator_says(1, bytes(32), UPDATE), "sub": "tomato-1"}
    by_operator = log(lambda to: reads(to, OPERATOR, "operator"))
    twice = log(tomato, reads)
    twice.add(sign(TOMATO, says(pack("tomato-1", 216), sub="tomato-1", seq=1, prev=bytes(32), method=0)))
    forked = log(tomato, reads)
    forked.add(sign(TOMATO, says(pack("tomato-1", 216), sub="tomato-1", seq=2, prev=b"\x77" * 32, method=0)))
    anew = log(tomato)
    anew.add(sign(TOMATO, says(pack("tomato-1", 215), sub="tomato-1", seq=7, prev=bytes(32), method=0)))
    return [
        ("a statement that does not follow the one before", 6, forked.proof([2, 3]).encode()),
        ending("a later statement with the zero prev", anew),
        ("two statements with one seq", 6, twice.proof([2, 3]).encode()),
        ("one statement at two leaves", 6, _logged_twice(log(tomato, reads)).encode()),
        ending("a signer that nobody enrolled", log(tomato, lambda to: reads(to, STRANGER))),
        ending("the gateway as a node", log(tomato, lambda to: reads(to, GATEWAY, "hillside"))),
        ("a signer enrolled later", 6, later.proof([1]).encode()),
        ending("a signer revoked before", log(tomato, revoked, reads)),
        ending("a signer rotated before", log(tomato, rotated, reads)),
        (
            "a signer that came by rotation later",
            6,
            log(lambda to: reads(to, CELLAR), tomato, rotated).proof([1]).encode(),
        ),
        ("the new key before its rotation", 6, log(tomato, lambda to: reads(to, CELLAR), rotated).proof([2]).encode()),
        ending("the new key under another name", log(tomato, rotated, lambda to: reads(to, CELLAR, "cellar-2"))),
        ending("a node that rotates", log(tomato, lambda to: to.add(sign(TOMATO, alone)))),
        ("a signer in other hands, at the leaf itself", 6, taken.proof([3]).encode()),
        ("a signer in other hands, above the leaf", 6, taken.proof([4]).encode()),
        ("a signer in other hands, beside what holds", 6, taken.proof([2, 3]).encode()),
        ("a signer in other hands from its first leaf on", 6, log(tomato, reads, stolen(2)).proof([2]).encode()),
        ("a rotated signer in other hands, as said first", 6, again.proof([4]).encode()),
        ("a rotated signer in other hands, as said last", 6, again.proof([3]).encode()),
        ending("a signer in other hands that reads after", log(tomato, reads, stolen(2), reads)),
        ending("a node under another's name", log(tomato, lambda to: reads(to, TOMATO, "cellar-2"))),
        ending("a node that updates", log(tomato, lambda to: to.add(sign(TOMATO, releases)))),
        ending("a node that enrols", log(tomato, lambda to: to.add(sign(TOMATO, alike)))),
        ending("the operator's readings on a chain of its own", by_operator),
        ending(
            "a signature that is none",
            log(tomato, reads, lambda to: to.add(flip(to.statements[2], len(to.statements[2]) - 1))),
        ),
    ]


def _logged_twice(log: Log) -> Proof:
    log.add(log.statements[2])
    return log.proof([2, 3])
