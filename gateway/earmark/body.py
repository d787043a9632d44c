"""The bodies of statements: each kind with exactly its labels, docs/protocol.md §3.2; and names (§2)."""

import re
from typing import Any

from earmark import cose
from earmark.errors import EncodingError

KIND = 0
BY_OPERATOR = ("enrolment", "revocation", "rotation", "update")
METHODS = ("measured", "modelled", "replayed")
OUTCOMES = ("downloading", "trial", "confirmed", "returned", "refused")
"""What a node says of an update, in the order in which it may come."""

MAX_SEQ = (1 << 53) - 1
MAX_MANIFEST = 8192
MOST_NAMES = 100

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_ORIGIN = re.compile(rf"earmark/{_NAME.pattern}/[0-9a-f]{{16}}")


def check_name(name: str) -> str:
    """Return the name of a site or node; `EncodingError` unless it is one (§2)."""
    if not _NAME.fullmatch(name):
        raise EncodingError(f"{name[:60]!r} is not a name: 1 to 32 of a-z, 0-9 and -, the first not -")
    return name


def is_origin(origin: Any, key: bytes) -> bool:
    """Say whether this is the origin of the gateway with this key on some site (§2)."""
    return _is_any_origin(origin) and str(origin).endswith("/" + cose.kid(key).hex())


def _is_any_origin(origin: Any) -> bool:
    return type(origin) is str and _ORIGIN.fullmatch(origin) is not None


def check_body(body: Any) -> None:
    """Raise `EncodingError` unless a payload is a body of a known kind with exactly its labels (§3.2)."""
    kind = body.get(KIND) if type(body) is dict else None
    check = _BODIES.get(kind) if type(kind) is str else None
    if check is None:
        raise EncodingError(f"a body of unknown kind {str(kind)[:40]!r}")
    check(body)


def _check_enrolment(body: dict[Any, Any]) -> None:
    check_labels(body, {1, 2, 3})
    if not cose.is_point(typed(body, 1, bytes)):
        raise EncodingError("enrolment of 32 bytes that are not an Ed25519 key")
    if body[2] == "node":
        check_name(typed(body, 3, str))
    elif body[2] != "gateway" or not is_origin(body[3], body[1]):
        raise EncodingError("enrolment with a role or origin that is not of the protocol's form")


def _check_revocation(body: dict[Any, Any]) -> None:
    check_labels(body, {1, 2, 3} if 3 in body else {1, 2})
    octets(body, 1, 32)
    text(body, 2)
    if 3 in body:
        bounded(body, 3, 1 << 53)


def _check_rotation(body: dict[Any, Any]) -> None:
    check_labels(body, {1, 2, 3})
    octets(body, 1, 32)
    if not cose.is_point(typed(body, 2, bytes)):
        raise EncodingError("rotation to 32 bytes that are not an Ed25519 key")
    text(body, 3)


def _check_update(body: dict[Any, Any]) -> None:
    check_labels(body, set(range(1, 8)))
    if bounded(body, 1, 1 << 32) == 0:
        raise EncodingError("an update to release 0; releases count from 1")
    text(body, 2, longest=32)
    check_name(typed(body, 3, str))
    octets(body, 4, 32)
    if bounded(body, 5, MAX_MANIFEST + 1) == 0:
        raise EncodingError("an update by a manifest of no bytes")
    if not _is_any_origin(body[6]):
        raise EncodingError("an update whose origin is not of the protocol's form")
    names = typed(body, 7, list)
    if len(names) > MOST_NAMES or any(type(name) is not str for name in names):
        raise EncodingError(f"an update's nodes are a list of at most {MOST_NAMES} names")
    if sorted(set(map(check_name, names))) != names:
        raise EncodingError("an update's nodes that are not ascending, or twice the same")


def _check_boot(body: dict[Any, Any]) -> None:
    check_labels(body, {1, 2, 3})
    text(body, 1)
    text(body, 2)
    sensors = body[3]
    if type(sensors) is not list or len(sensors) > 32:
        raise EncodingError("a boot statement's sensors are a list of at most 32")
    for sensor in sensors:
        if type(sensor) is not list or len(sensor) != 4:
            raise EncodingError("a sensor is [name, driver, method, detail]")
        row = dict(enumerate(sensor))
        bounded(row, 2, len(METHODS))
        for place, shortest in ((0, 1), (1, 1), (3, 0)):
            text(row, place, shortest)


def _check_gap(body: dict[Any, Any]) -> None:
    check_labels(body, {1, 2, 3})
    if not 1 <= bounded(body, 1, MAX_SEQ) <= bounded(body, 2, MAX_SEQ):
        raise EncodingError("a gap that ends before it begins")
    text(body, 3)


def _check_updated(body: dict[Any, Any]) -> None:
    check_labels(body, set(range(1, 6)))
    octets(body, 1, 32)
    for label in (2, 3):
        bounded(body, label, 1 << 32)
    if typed(body, 4, str) not in OUTCOMES:
        raise EncodingError(f"the outcome of an update is one of {', '.join(OUTCOMES)}")
    text(body, 5, shortest=0)


_BODIES = {
    "enrolment": _check_enrolment,
    "revocation": _check_revocation,
    "rotation": _check_rotation,
    "update": _check_update,
    "boot": _check_boot,
    "gap": _check_gap,
    "updated": _check_updated,
}


def check_labels(body: dict[Any, Any], labels: set[int]) -> None:
    """Refuse a body that has not exactly these labels besides its kind."""
    if set(body) != labels | {KIND}:
        raise EncodingError(f"{body[KIND]} with the labels {sorted(body, key=str)[:8]}; it has 0 and {sorted(labels)}")


def typed(fields: dict[Any, Any], label: int, kind: type) -> Any:
    """Return a field; `EncodingError` unless it is there and of exactly this type."""
    value = fields.get(label)
    if type(value) is not kind:
        raise EncodingError(f"label {label} is {'missing' if value is None else f'not of type {kind.__name__}'}")
    return value


def bounded(fields: dict[Any, Any], label: int, limit: int) -> int:
    """Return an integer field from 0 to below the limit."""
    value: int = typed(fields, label, int)
    if not 0 <= value < limit:
        raise EncodingError(f"label {label} is {value}; it must be 0 to {limit - 1}")
    return value


def octets(fields: dict[Any, Any], label: int, size: int) -> bytes:
    """Return a field of so many bytes."""
    value: bytes = typed(fields, label, bytes)
    if len(value) != size:
        raise EncodingError(f"label {label} has {len(value)} bytes; it has {size}")
    return value


def text(fields: dict[Any, Any], label: int, shortest: int = 1, longest: int = 200) -> str:
    """Return a text field whose UTF-8 has so many bytes."""
    value: str = typed(fields, label, str)
    if not shortest <= len(value.encode()) <= longest:
        raise EncodingError(f"label {label} has {len(value.encode())} bytes of text; it has {shortest} to {longest}")
    return value
