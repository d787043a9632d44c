#!/bin/sh
# Make or complete the virtual environment .venv from one of the lock files, and install Earmark into it, editable.
#
# Usage: tools/venv.sh run|dev
# `dev` holds all of `run`, and the MicroPython stubs in .venv/micropython-stubs.  A stamp in .venv names what was
# installed and from where, so that a second call only compares; an environment that no longer runs, or was made
# elsewhere (its scripts hold absolute paths), is made anew.
set -eu

flavour=${1:?usage: tools/venv.sh run|dev}
cd -P "$(dirname "$0")/.."
case $flavour in
    run) locks=requirements/run.lock ;;
    dev) locks="requirements/dev.lock requirements/source.lock requirements/stubs.lock" ;;
    *) echo "earmark: no such environment: $flavour (run or dev)" >&2; exit 2 ;;
esac

# Two calls at once take turns.
if [ -z "${EARMARK_VENV_LOCKED:-}" ] && command -v flock >/dev/null; then
    mkdir -p .cache
    EARMARK_VENV_LOCKED=1 exec flock .cache/venv.lock tools/venv.sh "$flavour"
fi

python=.venv/bin/python

# The version of the environment's interpreter; empty where there is none that runs.
version() { "$python" -c 'import sys; print(sys.version)' 2>/dev/null || true; }

# Whether the environment runs and was made in this very folder.
is_sound() { [ -n "$(version)" ] && [ "$(cat .venv/place 2>/dev/null)" = "$PWD" ]; }

# shellcheck disable=SC2086  # file names of ours, one word each
stamp_of() { { version; cat $1 pyproject.toml; } | sha256sum; }

is_done() { [ -f ".venv/$1.stamp" ] && [ "$(cat ".venv/$1.stamp")" = "$(stamp_of "$2")" ]; }

pip() { "$python" -m pip --disable-pip-version-check --no-input "$@"; }

if ! is_sound; then
    echo "earmark: making .venv" >&2
    rm -rf .venv
    "$(tools/python.sh)" -m venv .venv
    echo "$PWD" >.venv/place
elif is_done "$flavour" "$locks"; then
    exit 0
fi

echo "earmark: installing the $flavour environment into .venv" >&2
rm -f .venv/*.stamp
# What comes as source is built with what the lock files name, too.
isolation=
if [ "$flavour" = dev ]; then
    pip install -qq --no-deps --require-hashes -r requirements/source.lock
    isolation=--no-build-isolation
fi
# shellcheck disable=SC2086  # an option or nothing
pip install -qq --no-deps --require-hashes $isolation -r "requirements/$flavour.lock"
pip install -qq --no-deps --no-build-isolation -e .
if [ "$flavour" = dev ]; then
    rm -rf .venv/micropython-stubs
    pip install -qq --no-deps --require-hashes --target .venv/micropython-stubs -r requirements/stubs.lock
    stamp_of requirements/run.lock >.venv/run.stamp
fi
stamp_of "$locks" >".venv/$flavour.stamp"
