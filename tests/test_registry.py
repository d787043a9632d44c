"""The registry's rules, §4.1, and who may sign what, §4.2 rules 3 to 5."""

from typing import Any

import pytest

from earmark import cose
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
    by_node = kind not in ("enrolment", "revocation")
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


def revocation(signer: cose.Signer) -> Statement:
    return said(OPERATOR, "registry", {0: "revocation", 1: signer.key, 2: "stolen"})


def registry(*more: Statement) -> Registry:
    """A registry with the gateway at leaf 0, and the statements at leaves 10, 20, …"""
    begun = Registry(OPERATOR.key)
    begun.apply(0, enrolment(GATEWAY, ORIGIN, "gateway"))
    for index, statement in enumerate(more, 1):
        begun.apply(10 * index, statement)
    return begun


def test_it_begins_with_the_gateway() -> None:
    assert (registry().gateway, registry().origin, registry().nodes()) == (GATEWAY.key, ORIGIN, [])
    for first in (enrolment(NODE, "tomato-1"), revocation(NODE)):
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
        said(OPERATOR, "registry", BOOT),
        said(OPERATOR, "registry", READINGS),
        said(OPERATOR, "registry", {0: "gap", 1: 1, 2: 1, 3: "x"}),
    ],
    ids=range(12),
)
def test_what_the_registry_cannot_follow_changes_nothing(wrong: Statement) -> None:
    begun = registry(enrolment(NODE, "tomato-1"))
    before = begun.nodes(), begun.gateway, begun.origin
    with pytest.raises(WrongRegistry):
        begun.apply(30, wrong)
    assert (begun.nodes(), begun.gateway, begun.origin) == before


@pytest.mark.parametrize("again", [enrolment(NODE, "tomato-1"), enrolment(NODE, "tomato-2"), revocation(NODE)])
def test_a_revoked_key_never_comes_back(again: Statement) -> None:
    with pytest.raises(WrongRegistry):
        registry(enrolment(NODE, "tomato-1"), revocation(NODE)).check(again)


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
        (said(NODE, "tomato-1", {0: "revocation", 1: NODE.key, 2: "x"}), WrongSubject),
        (said(NODE, "registry", {0: "enrolment", 1: OTHER.key, 2: "node", 3: "x"}), WrongSubject),
        (said(OPERATOR, "tomato-1", READINGS), WrongSubject),
        (said(OPERATOR, "registry", BOOT), WrongSubject),
        (said(OPERATOR, "farm", {0: "revocation", 1: NODE.key, 2: "x"}), WrongSubject),
    ],
    ids=range(14),
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
