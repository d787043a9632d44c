"""Packages that only some installations have."""

import importlib
import sys
from typing import Any

from earmark.errors import AnchorError


def import_extra(module: str, extra: str) -> Any:
    """Import and return `module`; without it raise `AnchorError` naming the extra of Earmark to install.

    Keeps the recursion limit: Ethereum's packages set 100,000, and with that a deeply nested JSON
    text ends the process where it should raise `RecursionError`.
    """
    limit = sys.getrecursionlimit()
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise AnchorError(f"{error.name or module} is not installed: pip install 'earmark[{extra}]'") from error
    finally:
        sys.setrecursionlimit(limit)
