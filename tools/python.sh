#!/bin/sh
# Print the absolute path of the Python that Earmark's environment is made with.
#
# $PYTHON decides where it is set; otherwise the first of python3, python3.14 … python3.11 on PATH and in
# /usr/bin that really runs and is new enough.  A pyenv shim whose version is not selected does not run, so
# every candidate is asked, and answers with the path of the interpreter behind it.
set -eu

ask='import sys
if sys.version_info < (3, 11): raise SystemExit(1)
print(sys.executable)'

for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3}; do
    if found=$("$candidate" -c "$ask" 2>/dev/null) && [ -n "$found" ]; then
        echo "$found"
        exit 0
    fi
done

echo "earmark: no Python 3.11 or newer found${PYTHON:+ at PYTHON=$PYTHON}" >&2
exit 1
