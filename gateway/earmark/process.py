"""Child processes that do not outlive us."""

import shutil
from collections.abc import Sequence


def bound_to_us(command: Sequence[str]) -> list[str]:
    """Return the command so that the kernel ends it (SIGTERM) with the thread that started it, even if we are killed.

    Done by util-linux's `setpriv`; where there is none, the command is returned as it is.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", *command] if setpriv else list(command)
