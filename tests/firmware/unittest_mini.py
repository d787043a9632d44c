"""As much of unittest as the firmware's cases need, for interpreters that have none; CPython runs the same.

`main()` ends with one line, "N passed, M failed", and exit status 1 if anything failed or nothing ran.
tests/test_firmware.py runs the files with firmware/ on the path; by hand, PYTHONPATH or MICROPYPATH does that.
"""

import sys


class _Raises:
    """The context of `assertRaises`; `exception` is what was raised."""

    def __init__(self, expected):
        self._expected = expected
        self.exception = None

    def __enter__(self):
        return self

    def __exit__(self, kind, exception, traceback):
        if kind is None:
            raise AssertionError("nothing was raised; expected %s" % self._expected.__name__)
        if not issubclass(kind, self._expected):
            return False
        self.exception = exception
        return True


class TestCase:
    """Cases are the methods named test_…; `setUp` and `tearDown` go around each."""

    def setUp(self):
        """Run before each case."""

    def tearDown(self):
        """Run after each case, failed or not."""

    def assertEqual(self, first, second, message=""):  # noqa: N802
        """Fail unless the two are equal."""
        if not first == second:
            raise AssertionError("%r is not %r %s" % (first, second, message))

    def assertTrue(self, value, message=""):  # noqa: N802
        """Fail unless the value is true."""
        if not value:
            raise AssertionError("%r is not true %s" % (value, message))

    def assertFalse(self, value, message=""):  # noqa: N802
        """Fail if the value is true."""
        if value:
            raise AssertionError("%r is not false %s" % (value, message))

    def assertRaises(self, expected):  # noqa: N802
        """Return a context that fails unless its body raises this exception."""
        return _Raises(expected)


def main():
    """Run every case of the program's own module, report each failure with its traceback, and exit."""
    module = __import__("__main__")
    passed = failed = 0
    for name in sorted(dir(module)):
        cases = getattr(module, name)
        if not (isinstance(cases, type) and issubclass(cases, TestCase)):
            continue
        for method in sorted(dir(cases)):
            if not method.startswith("test"):
                continue
            if _run(cases, method):
                passed += 1
            else:
                failed += 1
    print("%d passed, %d failed" % (passed, failed))
    sys.exit(1 if failed or not passed else 0)


def _run(cases, method):
    try:
        case = cases()
        case.setUp()
        try:
            getattr(case, method)()
        finally:
            case.tearDown()
    except Exception as failure:  # noqa: BLE001 - whatever a case raises is its failure
        print("FAILED %s.%s" % (cases.__name__, method))
        _print_traceback(failure)
        return False
    return True


def _print_traceback(failure):
    if hasattr(sys, "print_exception"):
        sys.print_exception(failure, sys.stdout)
        return
    import traceback

    traceback.print_exception(failure, file=sys.stdout)
