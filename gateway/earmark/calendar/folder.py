"""A calendar's folder: `calendar.toml` and `calendar.db`."""

import fcntl
import json
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from earmark import ots
from earmark.anchor.calendars import PUBLIC, PUBLIC_HEADERS
from earmark.calendar.ledger import Ledger
from earmark.config import read_text, write_private
from earmark.errors import ConfigError, EncodingError
from earmark.evidence import OTS
from earmark.public import place_of
from earmark.settings import AnchorSettings, check_anchor
from earmark.tables import parse_table, read_tables, setting

_TEXT = """\
# The settings of this calendar. What is not set here has the default that docs/operating.md names.

[calendar]
# Its public address. It stands in every answer, for good: whoever was answered asks there for the rest.
url = {url}
listen = {listen}
port = {port}

# Where all digests since the last anchor go together, every so many seconds: to other calendars, or to Bitcoin itself.
[anchor]
calendars = {calendars}
headers = {headers}
every_s = 3600
"""


@dataclass(frozen=True, slots=True)
class CalendarSettings:
    """[calendar]"""

    url: str = setting("", "its public address, which stands in every answer; set by `earmark calendar init`")
    listen: str = setting("127.0.0.1", "address that it listens on, such as behind a proxy that speaks TLS")
    port: int = setting(8470, "port that it listens on")
    round_s: float = setting(1.0, "digests are gathered for so long, and then answered together", "seconds")
    round_most: int = setting(256, "or until there are so many", "digests")
    most_a_minute: int = setting(6000, "digests beyond this are refused until the minute is over", "digests")
    connections: int = setting(64, "connections at a time; more are closed", "connections")


@dataclass(frozen=True, slots=True)
class CalendarFolder:
    """A calendar's folder with its settings."""

    folder: Path
    settings: CalendarSettings
    anchor: AnchorSettings

    @property
    def database(self) -> Path:
        """The ledger's file."""
        return self.folder / "calendar.db"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the right to run it while the block runs; `ConfigError` where another process has it."""
        with (self.folder / "calendar.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError(f"another process runs the calendar in {self.folder}") from None
            yield


def open_calendar(folder: Path) -> CalendarFolder:
    """Read a calendar's settings; `ConfigError` where there are none or they are wrong."""
    path = folder / "calendar.toml"
    if not path.is_file():
        raise ConfigError(f"no calendar in {folder}: run `earmark calendar init`")
    return _parse(folder, read_text(path, "the calendar's settings"), str(path))


def create_calendar(folder: Path, url: str, listen: str, port: int) -> CalendarFolder:
    """Make a calendar's folder; refuses one that has a calendar."""
    given = {"url": url, "listen": listen, "port": port, "calendars": list(PUBLIC), "headers": list(PUBLIC_HEADERS)}
    text = _TEXT.format(**{name: json.dumps(value, ensure_ascii=False) for name, value in given.items()})
    made = _parse(folder, text, "the new settings")
    if (folder / "calendar.toml").exists():
        raise ConfigError(f"{folder} is a calendar already; what it owes is not overwritten")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    Ledger(made.database, create=True).close()
    write_private(folder / "calendar.toml", text)
    return made


def _parse(folder: Path, text: str, where: str) -> CalendarFolder:
    tables = read_tables(text, where, {"calendar", "anchor"}, "calendar and anchor")
    settings: CalendarSettings = parse_table(CalendarSettings, "calendar", tables.get("calendar", {}), where)
    anchor: AnchorSettings = parse_table(AnchorSettings, "anchor", tables.get("anchor", {}), where)
    _check(settings, where)
    check_anchor(anchor, where)
    if anchor.tsa_url or place_of(folder, anchor).kind != OTS:
        raise ConfigError(
            f"{where}: a calendar anchors on Bitcoin, or through other calendars; {anchor.called} is neither"
        )
    if settings.url.rstrip("/") in {url.rstrip("/") for url in anchor.calendars}:
        raise ConfigError(f"{where}: the calendar would anchor through itself; name others in anchor.calendars")
    return CalendarFolder(folder, settings, anchor)


def _check(settings: CalendarSettings, where: str) -> None:
    if not _is_root(settings.url):
        said = "it is like https://calendar.example, without a path, since clients ask at the root"
        raise ConfigError(f"{where}: calendar.url is {settings.url[:100]!r}; {said}")
    if not 1 <= settings.port <= 65_535:
        raise ConfigError(f"{where}: calendar.port is {settings.port}; it is 1 to 65535")
    for name in ("round_most", "most_a_minute", "connections"):
        if getattr(settings, name) < 1:
            raise ConfigError(f"{where}: calendar.{name} is 0; it is at least 1")
    if not 0 < settings.round_s <= 3 or settings.round_most > 4096:
        raise ConfigError(f"{where}: calendar.round_s is above 0 and at most 3, round_most at most 4096")


def _is_root(url: str) -> bool:
    """Say whether it leads to the root of a host, in characters that an answer may have."""
    try:
        ots.pending(url)
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except (EncodingError, ValueError):
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0 and parts.path in ("", "/")
