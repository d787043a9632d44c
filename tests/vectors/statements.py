"""statement.json: what the protocol admits (§3)."""

from decimal import Decimal
from typing import Any

import refused
from actors import (
    CELLAR,
    GATEWAY,
    KEPT,
    NTP,
    OPERATOR,
    ORIGIN,
    T0,
    TOMATO,
    case,
    enrolment,
    operator_says,
)

from earmark import cose
from earmark.body import MAX_SEQ, OUTCOMES
from earmark.statement import NO_ENTRY, Clock

MEASURED, MODELLED, REPLAYED = range(3)
PREV = bytes(range(32))
BEACON = bytes(range(16))


def says(payload: Any, **changes: Any) -> dict[str, Any]:
    """The inputs of a node's statement, with changes to the usual ones."""
    usual = {
        "sub": "tomato-1",
        "seq": 2,
        "prev": PREV,
        "payload": payload,
        "issued_at_s": T0 + 1,
        "clock": Clock(NTP, 1, 60),
        "boot_count": 1,
    }
    return usual | changes


def _readings(name: str, payload: Any, method: int = MEASURED, **changes: Any) -> dict[str, Any]:
    return case(name, TOMATO, says(payload, method=method, **changes))


def _longest_text() -> list[dict[int, Any]]:
    """A pack that makes a statement of exactly 8,192 bytes."""
    empty = len(case("", TOMATO, says([_text("x" * 7000)], method=MEASURED))["bytes"]) // 2 - 7000
    return [_text("x" * (8192 - empty))]


def _text(text: str) -> dict[int, Any]:
    return {-2: "tomato-1/", -3: T0, 0: "note", 3: text}


def _packs() -> list[dict[str, Any]]:
    one = {-2: "tomato-1/", -3: T0, 0: "air", 1: "Cel", 2: Decimal("21.50")}
    several = [one, *({0: "air", 1: "Cel", 2: Decimal("21.4"), 6: 60 * n} for n in (1, 2, 3))]
    rebased = [{-2: "tomato-1/", -3: T0, -4: "Cel", 0: "air", 2: 21}, {-3: T0 + 300, -4: "%RH", 0: "rh", 2: 80}]
    kinds = [one, {0: "door", 4: True}, {0: "lamp", 4: False}, {0: "note", 3: "Blätter"}, {0: "n", 3: ""}]
    edges = [
        {-2: "tomato-1/", -3: Decimal("1790000000.250"), 0: "zero", 2: Decimal("0.00")},
        {0: "low", 2: Decimal("-0.5"), 6: Decimal("-0.125")},
        {0: "fine", 2: Decimal(1 - (1 << 53)).scaleb(-18)},
        {0: "most", 2: (1 << 53) - 1},
        {0: "least", 2: 1 - (1 << 53)},
        {2: 24},
        {0: "a" * 87, 2: 255},
        {0: "a/B:c.d_e-9", 2: 65536, 6: 0},
    ]
    unset = says([{-2: "tomato-1/", 0: "air", 2: 21}], issued_at_s=0, clock=Clock(0, 0, 5), method=MEASURED)
    return [
        _readings("one measured reading", [one]),
        _readings("modelled, with a beacon", [one], MODELLED, beacon=BEACON),
        _readings("replayed, at four times", several, REPLAYED, clock=Clock(KEPT, 30, 7)),
        _readings("base time and unit change", rebased),
        _readings("numbers, truths and texts", kinds),
        _readings("numbers, times and names at their bounds", edges),
        _readings("256 records", [one, *({0: "air", 2: n} for n in range(255))], beacon=BEACON),
        _readings("8,192 bytes", _longest_text()),
        _readings(
            "largest counters", [one], seq=MAX_SEQ, boot_count=(1 << 32) - 1, clock=Clock(4, *[(1 << 32) - 1] * 2)
        ),
        case("clock unset", TOMATO, unset),
        case("alg -19", TOMATO, says([one], method=MEASURED), cose.ED25519),
    ]


def _bodies() -> list[dict[str, Any]]:
    sensors = [["air", "sht31", 0, ""], ["rh", "greenhouse", 1, "a model"], ["co2", "csv", 2, "lot 7, 2022"]]
    boot = {0: "boot", 1: "power-on", 2: "esp32", 3: sensors}
    gap = {0: "gap", 1: 3, 2: 40, 3: "the flash was full"}
    bare = {0: "boot", 1: "x", 2: "y", 3: []}
    revoked = {0: "revocation", 1: CELLAR.key, 2: "the board was stolen"}
    stolen = {**revoked, 3: 17}
    rotated = {0: "rotation", 1: TOMATO.key, 2: CELLAR.key, 3: "a new board"}
    node = CELLAR.key, "node", "cellar-2"
    update = {0: "update", 1: 7, 2: "0.2.0", 3: "esp32", 4: PREV, 5: 3900, 6: ORIGIN, 7: ["cellar-2", "tomato-1"]}
    most = {**update, 1: (1 << 32) - 1, 2: "x" * 32, 5: 8192, 7: [f"{number:032}" for number in range(100)]}
    updated = {0: "updated", 1: PREV, 2: 6, 3: 7, 4: "confirmed", 5: ""}
    returned = {**updated, 4: "returned", 5: "no acknowledgement from the gateway in 3 starts"}
    return [
        case("boot", TOMATO, says(boot, seq=1, prev=NO_ENTRY, software="0.1.0")),
        case("boot without sensors", TOMATO, says(bare, software="x" * 32, beacon=BEACON)),
        case("gap", TOMATO, says(gap, seq=41)),
        case("enrolment of the gateway", OPERATOR, enrolment(1, NO_ENTRY, GATEWAY.key, "gateway", ORIGIN)),
        case("enrolment of a node", OPERATOR, enrolment(2, PREV, *node)),
        case("revocation", OPERATOR, operator_says(3, PREV, revoked)),
        case("revocation of a key that was in other hands", OPERATOR, operator_says(3, PREV, stolen)),
        case(
            "revocation, in other hands from the last leaf on", OPERATOR, operator_says(3, PREV, {**stolen, 3: MAX_SEQ})
        ),
        case("rotation", OPERATOR, operator_says(3, PREV, rotated)),
        case("update", OPERATOR, operator_says(4, PREV, update)),
        case("update of all nodes of a target", OPERATOR, operator_says(4, PREV, {**update, 1: 1, 5: 1, 7: []})),
        case("update, largest", OPERATOR, operator_says(4, PREV, most)),
        *(case(f"updated: {outcome}", TOMATO, says({**updated, 4: outcome})) for outcome in OUTCOMES),
        case("updated: returned, with its reason", TOMATO, says(returned)),
        case("updated, from no release", TOMATO, says({**updated, 2: 0, 3: (1 << 32) - 1})),
    ]


def vectors() -> dict[str, Any]:
    """The content of statement.json."""
    return {"valid": [*_packs(), *_bodies()], "must_reject": refused.cases()}
