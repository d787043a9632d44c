"""The log in other forms: JSON lines, CSV of readings, or the raw COSE statements; streaming, and digit by digit.

Decimal fractions are written with the digits that the node signed, never through binary floating point.
"""

import csv
import io
import json
from collections.abc import Generator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from earmark import cose
from earmark.body import METHODS
from earmark.senml import Reading
from earmark.statement import CLOCK_SOURCES, Statement, decode
from earmark.store import Store

CSV_COLUMNS = (
    "index",
    "node",
    "signer",
    "seq",
    "issued_at",
    "received_at",
    "taken_at",
    "reading",
    "value",
    "unit",
    "method",
    "clock",
    "clock_error_s",
    "counts",
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_S = 253_402_300_799
_FORMULA = ("=", "+", "-", "@")

Row = tuple[int, int, Statement]
"""A leaf: its index, when the gateway received it (Unix milliseconds), and its statement."""

Since = Mapping[bytes, int]
"""The first leaf from which on what a key signed does not count, of keys that were in other hands."""

NEVER: Since = MappingProxyType({})


def rows(store: Store, node: str | None = None, start: int = 0, stop: int | None = None) -> Iterator[Row]:
    """Give leaves start … stop−1 in order: all, or those of the node of one name, whatever its keys were.

    Nothing is verified; `earmark.audit` does that.  Raises `EncodingError` for a statement that is none.
    """
    keys = None if node is None else [cose.did(chain.key).encode() for chain in store.chains() if chain.sub == node]
    for index, received_at_ms, raw in store.statements(start, store.size() if stop is None else stop):
        if keys is not None and not any(key in raw for key in keys):
            continue
        statement = decode(raw)
        if node in (None, statement.sub):
            yield index, received_at_ms, statement


def newest_rows(store: Store, most: int, node: str | None = None, step: int = 4096) -> list[Row]:
    """Return the last `most` leaves in order, of all or of one node; reads backwards, `step` leaves at a time."""
    found: list[Row] = []
    stop = store.size()
    while stop and len(found) < most:
        start = max(0, stop - (step if node else min(step, most - len(found))))
        found = [*rows(store, node, start, stop), *found]
        stop = start
    return found[-most:] if most else []


def json_lines(store: Store, node: str | None = None, since: Since = NEVER) -> Generator[bytes]:
    """Give one line of JSON for each statement; it says whether the statement counts."""
    for index, received_at_ms, statement in rows(store, node):
        told = describe(index, statement, received_at_ms) | {"counts": counts(index, statement, since)}
        yield to_json(told).encode() + b"\n"


def csv_lines(store: Store, node: str | None = None, since: Since = NEVER) -> Generator[bytes]:
    """Give a heading and one line of CSV (RFC 4180) for each reading; it says whether its statement counts.

    In texts control characters are written as escapes, and one that a spreadsheet would run as a formula gets an
    apostrophe before it; numbers are never changed.
    """
    yield _csv_line(CSV_COLUMNS)
    for index, received_at_ms, statement in rows(store, node):
        head = index, statement.sub, cose.did(statement.key), statement.seq
        times = _clock_time(statement) or "", iso_ms(received_at_ms) or ""
        clock = CLOCK_SOURCES[statement.clock.source], statement.clock.error_s if statement.clock.source else ""
        for reading in statement.readings:
            does_count = "true" if counts(index, statement, since) else "false"
            yield _csv_line((*head, *times, *_cells(reading), _method(statement), *clock, does_count))


def cose_sequence(store: Store, node: str | None = None, since: Since = NEVER) -> Generator[bytes]:
    """Give the statements as they were received, which joined are a CBOR sequence (RFC 8742), whether they count or
    not: the operator's own among them say that.
    """
    for _, _, statement in rows(store, node):
        yield statement.raw


def counts(index: int, statement: Statement, since: Since) -> bool:
    """Say whether a statement in the log counts (protocol §4.1): none does that was signed in other hands."""
    return index < since.get(statement.key, index + 1)


def describe(index: int, statement: Statement, received_at_ms: int | None = None) -> dict[str, Any]:
    """Return a statement as JSON says it; times that the signer's clock could not tell are null."""
    fields: dict[str, Any] = {
        "index": index,
        "entry": statement.entry.hex(),
        "signer": cose.did(statement.key),
        "name": statement.sub,
        "kind": statement.kind,
        "seq": statement.seq,
        "issued_at": _clock_time(statement),
        "issued_at_s": statement.issued_at_s if statement.clock.source else None,
        "method": _method(statement) or None,
        "boot": statement.boot_count,
        "clock": {
            "source": CLOCK_SOURCES[statement.clock.source],
            "error_s": statement.clock.error_s if statement.clock.source else None,
            "uptime_s": statement.clock.uptime_s,
        },
        "beacon": statement.beacon.hex() if statement.beacon else None,
    }
    if received_at_ms is not None:
        fields["received_at"] = iso_ms(received_at_ms)
    if statement.body is None:
        return fields | {"readings": [describe_reading(reading) for reading in statement.readings]}
    return fields | {"body": describe_body(statement)}


def describe_reading(reading: Reading) -> dict[str, Any]:
    """Return a reading as JSON says it, the value with its own digits."""
    is_dated = bool(reading.taken_at_s)
    return {
        "name": reading.name,
        "unit": reading.unit,
        "value": reading.value,
        "taken_at": iso(reading.taken_at_s) if is_dated else None,
        "taken_at_s": reading.taken_at_s if is_dated else None,
    }


def describe_body(statement: Statement) -> dict[str, Any]:
    """Return a body (protocol §3.2) with its labels as words."""
    body = statement.body or {}
    match statement.kind:
        case "enrolment":
            return {"key": cose.did(body[1]), "role": body[2], "name": body[3]}
        case "revocation":
            since = {"since": body[3]} if 3 in body else {}
            return {"key": cose.did(body[1]), "reason": body[2]} | since
        case "rotation":
            return {"key": cose.did(body[1]), "successor": cose.did(body[2]), "reason": body[3]}
        case "update":
            about = {"number": body[1], "version": body[2], "target": body[3], "manifest": body[4].hex()}
            return about | {"manifest_size": body[5], "origin": body[6], "nodes": body[7]}
        case "updated":
            about = {"update": body[1].hex(), "from": body[2], "to": body[3]}
            return about | {"outcome": body[4], "reason": body[5]}
        case "gap":
            return {"first": body[1], "last": body[2], "reason": body[3]}
    sensors = [
        {"name": name, "driver": driver, "method": METHODS[method], "detail": detail}
        for name, driver, method, detail in body[3]
    ]
    return {"cause": body[1], "board": body[2], "software": statement.software, "sensors": sensors}


def to_json(value: Any) -> str:
    """Return JSON on one line, in ASCII; `Decimal` is written as a number with exactly its digits."""
    match value:
        case Decimal():
            return format(value, "f")
        case dict():
            return "{" + ", ".join(f"{json.dumps(key)}: {to_json(item)}" for key, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(to_json, value)) + "]"
    return json.dumps(value)


def iso(seconds: int | float | Decimal) -> str | None:
    """Return Unix seconds as RFC 3339 in UTC, with milliseconds where there are any; None beyond the year 9999."""
    if not 0 <= seconds <= _LAST_S:
        return None
    time = _EPOCH + timedelta(milliseconds=int(seconds * 1000))
    return time.isoformat(timespec="milliseconds" if time.microsecond else "seconds").replace("+00:00", "Z")


def iso_ms(milliseconds: int) -> str | None:
    """Return Unix milliseconds likewise."""
    return iso(Decimal(milliseconds) / 1000)


def _clock_time(statement: Statement) -> str | None:
    return iso(statement.issued_at_s) if statement.clock.source else None


def _method(statement: Statement) -> str:
    return "" if statement.method is None else METHODS[statement.method]


def _cells(reading: Reading) -> tuple[str, str, str, str]:
    taken_at = iso(reading.taken_at_s) or str(reading.taken_at_s) if reading.taken_at_s else ""
    match reading.value:
        case bool():
            value = "true" if reading.value else "false"
        case str():
            value = _harmless(reading.value)
        case Decimal():
            value = format(reading.value, "f")
        case _:
            value = str(reading.value)
    return taken_at, reading.name, value, _harmless(reading.unit)


def _harmless(text: str) -> str:
    printable = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return f"'{printable}" if printable.startswith(_FORMULA) else printable


def _csv_line(cells: tuple[object, ...]) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue().encode()
