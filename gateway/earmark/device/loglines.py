"""The lines of a node's log on its serial port: the time, what it says, and whether that is good news."""

import re
from dataclasses import dataclass

_LINE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ|up \d+ s)  (.*)")
_FAILURES = "the node cannot run", "node.json:", "Traceback", "Error", "rst:0x", "Guru Meditation", "Brownout"
_TROUBLE = (
    "no reading", "no time", "does not answer", "refuse", "were lost", "given up", "ignored", "not connected",
    "no Wi-Fi", "outbox:", "cannot", "lost", "signs elsewhere",
)  # fmt: skip
_GOOD = "connected", "joined Wi-Fi", "the clock is set", "acknowledged"


@dataclass(frozen=True, slots=True)
class Line:
    """A line: `time` as the board has it (`up 12 s` while its clock is unset), `kind` good, trouble, failure or plain.

    What does not come from the node's log, such as a boot loader's words, has no time.
    """

    time: str | None
    text: str
    kind: str

    @property
    def shown(self) -> str:
        """The line for a person."""
        return f"{self.time or '':>20}  {self.text}" if self.time else self.text


def read_line(text: str) -> Line:
    """Take a line apart."""
    found = _LINE.fullmatch(text)
    said = found[2] if found else text
    return Line(found[1] if found else None, said, _kind(said))


def _kind(text: str) -> str:
    if any(part in text for part in _FAILURES):
        return "failure"
    if any(part in text for part in _TROUBLE):
        return "trouble"
    return "good" if any(part in text for part in _GOOD) else "plain"
