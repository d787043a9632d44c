"""The registry's rules, §4.1, and who may sign what, §4.2 rules 3 to 5."""

from typing import Any

import pytest

from earmark import cose
from earmark.body import BY_OPERATOR
from earmark.errors import Rejected, RevokedKey, UnknownNode, WrongRegistry, WrongSubject
from earmark.registry import Enrolment, Registry
from earmark.statement import NO_ENTRY, Clock, Statement, decode, origin, sign

OPERATOR, GATEWAY, NODE, OTHER, STRANGER = (cose.Signer(bytes([n]) * 32) for n in range(1, 6))
ORIGIN = origin("hillside", GATEWAY.key)
BOOT = {0: "boot", 1: "power-on", 2: "esp32", 3: []}
READINGS = [{-2: "NAME/", -3: 1_790_000_000, 2: 1}]


def said(signer: cose.Signer, sub: str, payload: Any) -> Statement:
    if isinstance(payload, list):
        payload = [{**payload[0], -2: f"{sub}/"}]
    kind = payload[0] if isinstance(payload, dict) else "readings"
    by_node = kind not in BY_OPERATOR
    raw = sign(
        signer,
        sub,
        2,
        NO_ENTRY,
        payload,
        issued_at_s=1_790_000_000,
        clock=Clock(2, 1, 1),
        boot_count=1 if by_node else None,
        software="1" if kind == "boot" else None,
        method=0 if kind == "readings" else None,
    )
    return decode(raw)


def enrolment(signer: cose.Signer, name: str, role: str = "node") -> Statement:
    return said(OPERATOR, "registry", {0: "enrolment", 1: signer.key, 2: role, 3: name})


def revocation(signer: cose.Signer, since: int | None = None) -> Statement:
    body = {0: "revocation", 1: signer.key, 2: "stolen"} | ({} if since is None else {3: since})
    return said(OPERATOR, "registry", body)


def rotation(signer: cose.Signer, successor: cose.Signer) -> Statement:
    return said(OPERATOR, "registry", {0: "rotation", 1: signer.key, 2: successor.key, 3: "worn out"})


def registry(*more: Statement) -> Registry:
    """A registry with the gateway at leaf 0, and the statements at leaves 10, 20, …"""
    begun = Registry(OPERATOR.key)
    begun.apply(0, enrolment(GATEWAY, ORIGIN, "gateway"))
    for index, statement in enumerate(more, 1):
        begun.apply(10 * index, statement)
    return begun


def test_it_begins_with_the_gateway() -> None:
    assert (registry().gateway, registry().origin, registry().nodes()) == (GATEWAY.key, ORIGIN, [])
    for first in (enrolment(NODE, "tomato-1"), revocation(NODE), rotation(NODE, OTHER)):
        with pytest.raises(WrongRegistry, match="begins"):
            Registry(OPERATOR.key).apply(0, first)


def test_a_node_is_bound_from_its_leaf_on_and_ends_with_its_revocation() -> None:
    begun = registry(enrolment(NODE, "tomato-1"), revocation(NODE))
    reading = said(NODE, "tomato-1", READINGS)
    for index in (0, 9, 10):
        with pytest.raises(UnknownNode):
            begun.check_signer(reading, index)
    for index in (11, 19, 20):
        begun.check_signer(reading, index)
    for end in (21, 1 << 40, None):
        with pytest.raises(RevokedKey, match="leaf 20: stolen"):
            begun.check_signer(reading, end)
    assert begun.node(NODE.key) == Enrolment(NODE.key, "tomato-1", 10, 20, "stolen") == begun.named("tomato-1")


def test_a_revoked_node_leaves_its_name_to_another_key() -> None:
    begun = registry(enrolment(NODE, "tomato-1"), revocation(NODE), enrolment(OTHER, "tomato-1"))
    begun.check_signer(said(OTHER, "tomato-1", READINGS))
    begun.check_signer(said(NODE, "tomato-1", READINGS), 15)
    named = begun.named("tomato-1")
    assert named is not None
    assert named.key == OTHER.key
    assert [node.key for node in begun.nodes()] == [NODE.key, OTHER.key]


@pytest.mark.parametrize(
    "wrong",
    [
        enrolment(NODE, "tomato-2"),
        enrolment(OTHER, "tomato-1"),
        enrolment(OPERATOR, "operator"),
        enrolment(GATEWAY, "gateway"),
        enrolment(GATEWAY, ORIGIN, "gateway"),
        enrolment(STRANGER, origin("hillside", STRANGER.key), "gateway"),
        revocation(STRANGER),
        revocation(GATEWAY),
        revocation(OPERATOR),
        revocation(STRANGER, 20),
        revocation(GATEWAY, 20),
        revocation(NODE, 0),
        revocation(NODE, 10),
        revocation(NODE, 31),
        rotation(STRANGER, OTHER),
        rotation(GATEWAY, OTHER),
        rotation(NODE, NODE),
        rotation(NODE, GATEWAY),
        rotation(NODE, OPERATOR),
        said(OPERATOR, "registry", BOOT),
        said(OPERATOR, "registry", READINGS),
        said(OPERATOR, "registry", {0: "gap", 1: 1, 2: 1, 3: "x"}),
    ],
    ids=range(22),
)
def test_what_the_registry_cannot_follow_changes_nothing(wrong: Statement) -> None:
    begun = registry(enrolment(NODE, "tomato-1"))
    before = begun.nodes(), begun.gateway, begun.origin
    with pytest.raises(WrongRegistry):
        begun.apply(30, wrong)
    assert (begun.nodes(), begun.gateway, begun.origin) == before


@pytest.mark.parametrize("ending", [revocation(NODE), rotation(NODE, OTHER)])
@pytest.mark.parametrize(
    "again",
    [
        enrolment(NODE, "tomato-1"),
        enrolment(NODE, "tomato-2"),
        revocation(NODE),
        rotation(NODE, STRANGER),
        rotation(NODE, OTHER),
    ],
)
def test_a_key_that_ended_never_comes_back(ending: Statement, again: Statement) -> None:
    with pytest.raises(WrongRegistry):
        registry(enrolment(NODE, "tomato-1"), ending).check(30, again)


def counts(begun: Registry, signer: cose.Signer, *leaves: int) -> list[bool]:
    def at(index: int) -> bool:
        try:
            begun.check_signer(said(signer, "tomato-1", READINGS), index)
        except (UnknownNode, RevokedKey):
            return False
        return True

    return [at(index) for index in leaves]


def test_a_rotation_leaves_no_moment_with_neither_key_or_with_both() -> None:
    begun = registry(enrolment(NODE, "tomato-1"), rotation(NODE, OTHER))
    assert counts(begun, NODE, 10, 11, 19, 20, 21, 99) == [False, True, True, True, False, False]
    assert counts(begun, OTHER, 10, 11, 19, 20, 21, 99) == [False, False, False, False, True, True]
    begun.check_signer(said(OTHER, "tomato-1", READINGS))
    with pytest.raises(RevokedKey, match=r"gave its name to did:key:\S+ at leaf 20: worn out"):
        begun.check_signer(said(NODE, "tomato-1", READINGS))
    old = Enrolment(NODE.key, "tomato-1", 10, None, "worn out", 20, OTHER.key)
    assert begun.nodes() == [old, Enrolment(OTHER.key, "tomato-1", 20)]
    assert begun.named("tomato-1") == begun.node(OTHER.key)


def test_keys_are_rotated_in_a_row_and_the_name_is_the_last_ones() -> None:
    begun = registry(
        enrolment(NODE, "tomato-1"), rotation(NODE, OTHER), rotation(OTHER, STRANGER), revocation(STRANGER)
    )
    assert counts(begun, OTHER, 20, 21, 30, 31) == [False, True, True, False]
    assert counts(begun, STRANGER, 30, 31, 40, 41) == [False, True, True, False]
    begun.apply(50, enrolment(cose.Signer(bytes([9]) * 32), "tomato-1"))
    for used in (NODE, OTHER, STRANGER):
        with pytest.raises(WrongRegistry):
            begun.check(60, enrolment(used, "tomato-2"))


@pytest.mark.parametrize("since", [11, 15, 20])
def test_what_a_thief_signed_before_the_revocation_does_not_count(since: int) -> None:
    begun = registry(enrolment(NODE, "tomato-1"), revocation(NODE, since))
    assert counts(begun, NODE, *range(9, 23)) == [10 < index < since for index in range(9, 23)]
    if since < 20:
        with pytest.raises(RevokedKey, match=f"said at leaf 20 that this key was in other hands from leaf {since} on"):
            begun.check_signer(said(NODE, "tomato-1", READINGS), since)


@pytest.mark.parametrize("ending", [revocation(NODE), rotation(NODE, OTHER)])
def test_a_theft_that_becomes_known_after_the_key_ended(ending: Statement) -> None:
    begun = registry(enrolment(NODE, "tomato-1"), ending)
    for wrong in (0, 10, 21, 30):
        with pytest.raises(WrongRegistry, match="say a leaf above 10"):
            begun.check(30, revocation(NODE, wrong))
    holder = begun.named("tomato-1")
    begun.apply(30, revocation(NODE, 18))
    assert counts(begun, NODE, 17, 18, 20, 21, 30) == [True, False, False, False, False]
    for wrong in (18, 19):
        with pytest.raises(WrongRegistry, match="can only say an earlier one"):
            begun.check(40, revocation(NODE, wrong))
    begun.apply(40, revocation(NODE, 13))
    assert counts(begun, NODE, 11, 12, 13) == [True, True, False]
    node = begun.node(NODE.key)
    assert node is not None
    assert (node.ended_at, node.since, node.said_at, node.told_at) == (20, 13, 40, 40)
    named = begun.named("tomato-1")
    assert named is not None
    assert holder is not None
    assert named.key == holder.key


def test_the_operator_cannot_be_the_gateway() -> None:
    body = {0: "enrolment", 1: OPERATOR.key, 2: "gateway", 3: origin("hillside", OPERATOR.key)}
    with pytest.raises(WrongRegistry):
        Registry(OPERATOR.key).apply(0, said(OPERATOR, "registry", body))


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        (said(NODE, "tomato-1", READINGS), None),
        (said(NODE, "tomato-1", BOOT), None),
        (said(NODE, "tomato-1", {0: "gap", 1: 1, 2: 1, 3: "full"}), None),
        (enrolment(STRANGER, "x"), None),
        (revocation(STRANGER), None),
        (said(STRANGER, "tomato-1", READINGS), UnknownNode),
        (said(GATEWAY, "tomato-1", READINGS), UnknownNode),
        (said(NODE, "tomato-2", READINGS), WrongSubject),
        (said(NODE, "registry", READINGS), WrongSubject),
        (rotation(STRANGER, OTHER), None),
        (said(NODE, "tomato-1", {0: "revocation", 1: NODE.key, 2: "x"}), WrongSubject),
        (said(NODE, "tomato-1", {0: "rotation", 1: NODE.key, 2: OTHER.key, 3: "x"}), WrongSubject),
        (said(NODE, "registry", {0: "enrolment", 1: OTHER.key, 2: "node", 3: "x"}), WrongSubject),
        (said(OPERATOR, "tomato-1", READINGS), WrongSubject),
        (said(OPERATOR, "registry", BOOT), WrongSubject),
        (said(OPERATOR, "farm", {0: "revocation", 1: NODE.key, 2: "x"}), WrongSubject),
    ],
    ids=range(16),
)
def test_who_may_say_what(statement: Statement, error: type[Rejected] | None) -> None:
    begun = registry(enrolment(NODE, "tomato-1"))
    if error is None:
        begun.check_signer(statement)
        begun.check_signer(statement, 11)
    else:
        with pytest.raises(error):
            begun.check_signer(statement)


def test_is_registry() -> None:
    begun = registry()
    assert begun.is_registry(enrolment(NODE, "x"))
    assert not begun.is_registry(said(OPERATOR, "farm", READINGS))
    assert not begun.is_registry(said(NODE, "registry", READINGS))
