"""SenML packs that fit into one statement (protocol.md §3.1)."""

import senml

MAX_SIZE = 7600  # with the envelope a statement stays below 8,192 bytes
_MAX_READINGS = 256


def of_readings(base_name, seconds, readings):
    """Yield SenML packs of the readings, each small enough for a statement."""
    if not readings:
        return
    payload = senml.pack(base_name, seconds, readings) if len(readings) <= _MAX_READINGS else b""
    if payload and (len(payload) <= MAX_SIZE or len(readings) == 1):
        yield payload
        return
    half = len(readings) // 2
    yield from of_readings(base_name, seconds, readings[:half])
    yield from of_readings(base_name, seconds, readings[half:])


def of_rows(base_name, rows):
    """One SenML pack of several rows: the first row's time is the base, the others' are relative to it."""
    first = rows[0][0]
    readings = []
    for seconds, row in rows:
        if seconds == first:
            readings += row
        else:
            readings += [(name, unit, value, seconds - first) for name, unit, value in row]
    return senml.pack(base_name, first, readings)
