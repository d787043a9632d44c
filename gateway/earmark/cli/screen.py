"""Where a command writes: words for a person on stdout, or one JSON object there; errors and progress on stderr."""

import contextlib
import io
import os
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO

from earmark.cli.text import clean

if TYPE_CHECKING:
    from rich.console import Console

Progress = Callable[[int, int], None]
"""Say how far a work is: done, total."""


class Screen:
    """Words on stdout, or with `as_json` none, and then only what `document` writes.

    Every text is cleaned of what a terminal could obey, and none is read as markup.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")

    @cached_property
    def console(self) -> "Console":
        """The console of words: stdout, or stderr where stdout is for JSON."""
        from rich.console import Console

        return Console(stderr=self.as_json, highlight=False, markup=False, emoji=False)

    def say(self, text: str = "", *, indent: int = 0, style: str = "") -> None:
        """Print a paragraph, wrapped between words; what is longer than a line stays whole, to be copied."""
        if self.as_json:
            return
        room = max(20, self.console.width - indent)
        hang = "  " if text.startswith("- ") else ""
        lines = textwrap.wrap(clean(text), room, subsequent_indent=hang, break_long_words=False, break_on_hyphens=False)
        self.console.print(
            "\n".join(" " * indent + line for line in lines) or "", style=style or None, soft_wrap=True, highlight=False
        )

    def copyable(self, text: str, *, indent: int = 2, style: str = "") -> None:
        """Print a text that is to be copied, such as a did or a command, on one line however long."""
        if not self.as_json:
            self.console.print(" " * indent + clean(text), style=style or None, soft_wrap=True, highlight=False)

    def heading(self, text: str) -> None:
        """Print an empty line and a heading."""
        self.say()
        self.say(text, style="bold")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
        """Print rows under headings, indented; columns named in `right` by position stand to the right."""
        if self.as_json:
            return
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        for place, column in enumerate(columns):
            table.add_column(column, justify="right" if place in right else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(clean(cell), style="yellow" if cell in _LOUD else "") for cell in row))
        with self.console.capture() as captured:
            self.console.print(table, width=self.console.width - 2)
        lines = captured.get().rstrip("\n").split("\n")
        self.console.out("\n".join("  " + line.rstrip() for line in lines), highlight=False)

    @contextlib.contextmanager
    def progress(self, title: str) -> Iterator[Progress]:
        """Give a function to say progress to; a bar on stderr where that is a terminal."""
        if self.as_json or not sys.stderr.isatty():
            yield lambda done, total: None
            return
        from rich.console import Console
        from rich.progress import Progress as Bar

        with Bar(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(title, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)

    def document(self, value: dict[str, Any]) -> None:
        """Write the one JSON object, where JSON was asked for."""
        if self.as_json:
            from earmark.export import to_json

            print(to_json(value), flush=True)

    def error(self, where: str, message: str, **more: Any) -> None:
        """Write one line to stderr, and with JSON an object `error` to stdout too."""
        line = f"{where}: {clean(message)}"
        print(_red(line, sys.stderr), file=sys.stderr)
        self.document({"error": {"message": message} | more})


_LOUD = ("MODELLED", "REPLAYED")


def _red(line: str, stream: TextIO) -> str:
    return f"\x1b[31m{line}\x1b[0m" if stream.isatty() and not os.environ.get("NO_COLOR") else line
