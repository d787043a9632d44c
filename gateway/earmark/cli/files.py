"""Files that commands write: whole or not at all."""

import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path

from earmark.errors import ConfigError


def write_whole(path: Path, chunks: Iterable[bytes], may_replace: Callable[[Path], bool] = Path.is_file) -> int:
    """Write a file so that it is there in full, synced, or as it was before; returns its size.

    `may_replace` says whether a file that is there already may go; where not, `ConfigError` and nothing is written.
    """
    if path.exists() and not may_replace(path):
        raise ConfigError(f"{path} is there already and is not overwritten: name another file with -o")
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with part.open("xb") as file:
            size = sum(file.write(chunk) for chunk in chunks)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return size
