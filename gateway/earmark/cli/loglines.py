"""The lines of the gateway's log: words for a person, or JSON objects for a machine."""

import json
import logging
import time

from earmark.cli.text import clean

_OF_EVERY_RECORD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class TextLine(logging.Formatter):
    """`2026-11-23T19:40:00Z WARNING text`, the text on one line and harmless."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_utc(record)}Z {record.levelname:7} {clean(record.getMessage())}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonLine(logging.Formatter):
    """One JSON object in ASCII: `time`, `level`, `logger`, `message`, the event's own fields, and `exception` after a
    fault.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": f"{_utc(record)}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _OF_EVERY_RECORD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


LOG_FORMATS: dict[str, type[logging.Formatter]] = {"text": TextLine, "json": JsonLine}


def _utc(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
