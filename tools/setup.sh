#!/bin/sh
# Check for the system packages that `make demo`, `make check` or `make test` needs, and install what is missing.
#
# Usage: tools/setup.sh demo|check|test
# Installs with apt-get as root or through a sudo that asks for no password; otherwise prints the one command to
# run and exits 3.  Prints nothing where all is there already.
set -eu

purpose=${1:?usage: tools/setup.sh demo|check|test}
tools=$(dirname "$0")
# Debian keeps the broker outside an ordinary user's PATH.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

say() { echo "earmark: $*" >&2; }

can_make_environments() { "$1" -c 'import venv; from ensurepip import bootstrap' 2>/dev/null; }

# The package that gives interpreter $1 its venv module: Debian ships that apart from the interpreter.
venv_package() {
    if [ "$(readlink -f "$1")" = "$(readlink -f /usr/bin/python3)" ]; then
        echo python3-venv
    else
        "$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'
    fi
}

is_from_debian() {
    case $(readlink -f "$1") in
        /usr/bin/*) return 0 ;;
        *) return 1 ;;
    esac
}

# The packages that are still missing, one a line.
missing_packages() {
    if python=$("$tools/python.sh" 2>/dev/null); then
        if ! can_make_environments "$python" && is_from_debian "$python"; then
            venv_package "$python"
        fi
    elif [ -z "${PYTHON:-}" ]; then
        printf '%s\n' python3 python3-venv
    fi
    if [ "$purpose" = test ] && ! command -v mosquitto >/dev/null; then
        echo mosquitto
    fi
    # For the faults: a clock that steps, system calls that fail.
    if [ "$purpose" = test ] && ! ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1; then
        echo libfaketime
    fi
    if [ "$purpose" = test ] && ! command -v strace >/dev/null; then
        echo strace
    fi
    # An authority for time stamps, and what verifies ours.
    if [ "$purpose" = test ] && ! command -v openssl >/dev/null; then
        echo openssl
    fi
    # Draws the pictures of the kits, for WireViz.
    if [ "$purpose" = test ] && ! command -v dot >/dev/null; then
        echo graphviz
    fi
    # For the chain nodes, tools/chains.sh.
    if [ "$purpose" = test ] && ! command -v node >/dev/null; then
        echo nodejs
    fi
    if [ "$purpose" = test ] && ! command -v npm >/dev/null; then
        echo npm
    fi
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

can_install() {
    command -v apt-get >/dev/null || return 1
    [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null
}

apt() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" </dev/null >&2; }

# Package lists may be absent or name files that the mirror has dropped since: refresh them once, then again try.
install() {
    apt install -y --no-install-recommends "$@" && return
    apt update && apt install -y --no-install-recommends "$@"
}

require() {
    python=$("$tools/python.sh") || exit 3
    if ! can_make_environments "$python"; then
        say "$python lacks venv or ensurepip: install them for it, or name another Python, as in"
        say "    make $purpose PYTHON=/usr/bin/python3"
        exit 3
    fi
    left=$(missing_packages | tr '\n' ' ')
    [ -z "$left" ] || { say "still missing after the installation: $left"; exit 3; }
}

missing=$(missing_packages | tr '\n' ' ')
missing=${missing% }
if [ -n "$missing" ]; then
    if ! can_install; then
        say "missing: $missing.  On Debian, Ubuntu and Raspberry Pi OS run this, then again make $purpose:"
        say "    sudo apt-get update && sudo apt-get install -y --no-install-recommends $missing"
        exit 3
    fi
    say "installing $missing"
    # shellcheck disable=SC2086  # package names, one word each
    install $missing || { say "apt-get could not install $missing: see above"; exit 3; }
fi
require
