#!/bin/sh
# Resolve the dependencies of pyproject.toml into requirements/*.lock: exact versions with the hashes of every file of
# theirs, for Python 3.11 and later on any platform.
#
# Usage: tools/lock.sh [--upgrade]
# Without --upgrade a version stays as long as pyproject.toml admits it.  dev.lock holds what run.lock holds, in the
# same versions.  The files name no index, no host and no path of the machine that wrote them.
set -eu

cd -P "$(dirname "$0")/.."
python=.venv/bin/python
"$python" -m pip install -qq --disable-pip-version-check 'uv>=0.8,<0.14'

resolve() {
    lock=$1
    shift
    "$python" -m uv pip compile --no-config --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --no-header --output-file "requirements/$lock" "$@" >/dev/null
    echo "earmark: wrote requirements/$lock" >&2
}

resolve run.lock pyproject.toml --extra demo --group build "$@"
resolve dev.lock pyproject.toml --extra demo --extra bitcoin --group dev \
    --constraint requirements/run.lock "$@"
resolve source.lock --group source "$@"
resolve stubs.lock --group stubs "$@"
