"""What goes onto a board: the loader, and the firmware compiled for it, with no more than the board's own words."""

from earmark.device.build import build, loader, target_of

LEAST_MICROPYTHON = (1, 24)


def release_files(mpy: int) -> dict[str, bytes]:
    """Return the files of a board by path, in the order in which they are to be written; `mpy` is what it reads."""
    files = {f"/a/{path}": content for path, content in build(target_of(mpy)).items()}
    return {**files, "/main.py": loader()}
