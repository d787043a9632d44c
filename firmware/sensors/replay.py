"""A recorded CSV, read again row by row: every reading with the time that its row was recorded, taken as UTC.

The position in the file is the caller's to keep: he stores it with the statement that the rows went into (outbox.py,
mark), so that after a power cut the next row is the first that no stored statement has.
"""

import hashlib

import senml
from sensors import REPLAYED, REQUIRED, SensorError
from sensors.rowtime import FORMATS, parse

SETTINGS = {
    "file": REQUIRED,
    "columns": REQUIRED,
    "time_column": REQUIRED,
    "time_format": "iso",
    "from": "",
    "days": 0,
    "rows_per_statement": 1,
    "pause_ms": 0,
}
_MAX_LINE = 8192
_DAY_S = 86400
_BLOCK = 4096


class Replay:
    """A recording.  `key` (a number) names its content, so that a kept position is never used in another file."""

    driver = "replay"
    method = REPLAYED

    def __init__(self, name, settings):
        self.name = name
        self.path = settings["file"]
        self.rows_per_statement = settings["rows_per_statement"]
        self.pause_ms = settings["pause_ms"]
        digest = _digest(self.path)
        self.key = int.from_bytes(digest[:6], "big")
        self.detail = "recording %s, sha256 %s, its times taken as UTC" % (
            self.path.rsplit("/", 1)[-1][-60:],
            "".join("%02x" % byte for byte in digest),
        )
        self._format = settings["time_format"]
        with open(self.path, "rb") as stream:
            header = _cells(_line(stream, self.path, 0))
            self.start = stream.tell()
        self._time_at = _column(header, settings["time_column"])
        self._columns = [
            (_column(header, column), column, name, unit) for column, name, unit in _mapping(settings["columns"])
        ]
        self.quantities = [column[2] for column in self._columns]
        self._span = self._days(settings["from"], settings["days"])

    def _days(self, first_day, days):
        """(first, last + 1) Unix second to be replayed, None where there is no bound."""
        if not first_day and not days:
            return None
        if first_day:
            first = parse(first_day, "iso")
        else:
            with open(self.path, "rb") as stream:
                stream.seek(self.start)
                first = self._time(_cells(_line(stream, self.path, self.start)))
            first -= first % _DAY_S
        return first, first + days * _DAY_S if days else 2**53

    def rows(self, position, most, say):
        """Read on from `position` (bytes; `start` for the first row): ([(time_s, [reading, …]), …], new position, end).

        At most `most` rows with readings; also returns after 256 rows that are outside the days or empty.  `end` is
        True once the recording is finished.  A cell that is no decimal number and a row without a time are left
        out and told to `say(text)`.
        """
        result = []
        with open(self.path, "rb") as stream:
            stream.seek(position)
            for _ in range(256):
                line = stream.readline(_MAX_LINE + 1)
                if not line:
                    return result, position, True
                row = None
                if len(line) <= _MAX_LINE:
                    row = self._row(line, position, say)
                else:
                    _skip_line(stream, line)
                    said = (self.name, position, _MAX_LINE)
                    say("%s: the row at byte %d is left out: it is longer than %d bytes" % said)
                position = stream.tell()
                if row:
                    result.append(row)
                if len(result) >= most:
                    break
        return result, position, False

    def _row(self, line, position, say):
        try:
            cells = _cells(line)
            if cells == [""]:
                return None
            time_s = self._time(cells)
        except ValueError as wrong:
            say("%s: the row at byte %d is left out: %s" % (self.name, position, wrong))
            return None
        if self._span and not self._span[0] <= time_s < self._span[1]:
            return None
        readings = self._readings(cells, position, say)
        return (time_s, readings) if readings else None

    def _time(self, cells):
        if self._time_at >= len(cells):
            raise ValueError("it has no time")
        return parse(cells[self._time_at], self._format)

    def _readings(self, cells, position, say):
        readings = []
        for at, column, name, unit in self._columns:
            text = cells[at] if at < len(cells) else ""
            if text:
                try:
                    readings.append((name, unit, senml.fraction(text)))
                except ValueError:
                    said = (self.name, column, position, text[:40])
                    say("%s: column %s of the row at byte %d is left out: '%s' is no decimal number" % said)
        return readings


def _digest(path):
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while True:
            block = stream.read(_BLOCK)
            if not block:
                return digest.digest()
            digest.update(block)


def _skip_line(stream, line):
    """Read on to the end of a line of which `line` is the beginning."""
    while line and not line.endswith(b"\n"):
        line = stream.readline(_BLOCK)


def _line(stream, path, position):
    line = stream.readline(_MAX_LINE + 1)
    if len(line) > _MAX_LINE:
        raise SensorError(
            "bad-frame", "the line at byte %d of %s is longer than %d bytes" % (position, path, _MAX_LINE)
        )
    return line


def _cells(line):
    """The cells of a line of CSV, without blanks around them; a cell may stand in double quotes on one line."""
    text = str(line, "utf-8").strip("\r\n").lstrip("\ufeff")
    if '"' not in text:
        return [cell.strip() for cell in text.split(",")]
    cells = [""]
    quoted = False
    for at, character in enumerate(text):
        if character == '"':
            if not quoted and at and text[at - 1] == '"':
                cells[-1] += '"'
            quoted = not quoted
        elif character == "," and not quoted:
            cells.append("")
        else:
            cells[-1] += character
    return [cell.strip() for cell in cells]


def _column(header, name):
    if name not in header:
        raise ValueError("there is no column '%s'; the columns are %s" % (name, ", ".join(header)))
    return header.index(name)


def _mapping(columns):
    """(column, SenML name, unit or None) of the setting {column: {"name": …, "unit": …}}."""
    if not isinstance(columns, dict) or not columns:
        raise ValueError('columns must say which are replayed: {"Tair": {"name": "temperature", "unit": "Cel"}, …}')
    result = []
    for column, target in sorted(columns.items()):
        if (
            not isinstance(target, dict)
            or not set(target) <= {"name", "unit"}
            or not isinstance(target.get("name"), str)
        ):
            raise ValueError('columns: "%s" needs {"name": …, "unit": …}, the unit only where there is one' % column)
        unit = target.get("unit")
        if unit is not None and not isinstance(unit, str):
            raise ValueError('columns: the unit of "%s" must be a text' % column)
        result.append((column, target["name"], unit))
    return result


def make(name, settings, clock, buses):
    """The recording, checked as far as its header; reads the whole file once for its digest."""
    rows = settings["rows_per_statement"]
    if settings["time_format"] not in FORMATS:
        raise ValueError("time_format must be one of " + ", ".join(FORMATS))
    if not isinstance(rows, int) or rows < 1 or rows * len(settings["columns"]) > 256:
        raise ValueError("rows_per_statement times the number of columns must be from 1 to 256")
    if not isinstance(settings["pause_ms"], int) or settings["pause_ms"] < 0:
        raise ValueError("pause_ms must be a whole number of milliseconds")
    if not isinstance(settings["days"], int) or settings["days"] < 0:
        raise ValueError("days must be a whole number, 0 for all")
    try:
        return Replay(name, settings)
    except (OSError, SensorError) as failure:
        raise ValueError("the recording cannot be read: %s" % failure)
