"""The command `earmark`: reads its arguments, runs one command, and turns what happened into words and an exit status.

0: it holds, or is done.  1: a proof or the log does not hold.  2: the command was called wrongly.  3: it could not run.
"""

import contextlib
import os
import sys
from collections.abc import Sequence

from earmark.cli.parser import UsageError, build_parser
from earmark.cli.screen import Screen
from earmark.errors import EarmarkError, ProofError

HOLDS, DOES_NOT_HOLD, WRONG_USE, COULD_NOT_RUN, INTERRUPTED = 0, 1, 2, 3, 130


def main(given: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, by default the process's own, and return its exit status."""
    words = list(sys.argv[1:] if given is None else given)
    screen = Screen(as_json="--json" in words)
    try:
        args = build_parser().parse_args(words)
        return int(args.run(args, screen))
    except SystemExit as end:  # argparse's, after --help or --version; or rich's with 1, where stdout's reader is gone
        return COULD_NOT_RUN if end.code else HOLDS
    except UsageError as error:
        return _fail(screen, error.command, error, WRONG_USE)
    except BrokenPipeError:
        _let_go_of_stdout()
        return COULD_NOT_RUN
    except (KeyboardInterrupt, EOFError):  # the latter where Ctrl-D answers a question
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except ProofError as error:
        return _fail(screen, "earmark", error, DOES_NOT_HOLD)
    except (EarmarkError, OSError) as error:
        return _fail(screen, "earmark", error, COULD_NOT_RUN)


def _fail(screen: Screen, command: str, error: Exception, status: int) -> int:
    message = str(error)
    if isinstance(error, OSError):
        message = f"{error.filename or 'the system'}: {error.strerror or error}"
    with contextlib.suppress(OSError):  # such as a full disk under stdout: the status says it
        screen.error(command, message, kind=type(error).__name__, status=status)
    return status


def _let_go_of_stdout() -> None:
    """Point stdout elsewhere: whoever read it is gone, and the interpreter would complain when it flushes."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
