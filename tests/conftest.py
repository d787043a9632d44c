"""Fixtures that several test files use."""

from pathlib import Path

import pytest

import interpreters
from fault_report import counts, pytest_addoption, pytest_configure  # noqa: F401

_SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


def shared_path(relative: str = "") -> Path:
    """A file or folder of the vectors and recordings kept beside the repository, in shared/.

    Skips the test, or the whole file when called while one is imported, where it is not there.
    """
    path = _SHARED / relative
    if not path.exists():
        pytest.skip(f"no {path}: vectors and recordings are kept apart", allow_module_level=True)
    return path


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of public vectors and recordings beside the repository; skips where it is not there."""
    return shared_path()


@pytest.fixture(scope="session", params=interpreters.NAMES)
def interpreter(request: pytest.FixtureRequest) -> list[str]:
    """The command of each interpreter in turn; a missing one fails where it is required, else skips."""
    try:
        return interpreters.command(request.param)
    except interpreters.MissingInterpreter as missing:
        if interpreters.required():
            pytest.fail(str(missing))
        pytest.skip(str(missing))
