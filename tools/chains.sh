#!/bin/sh
# Install the chain nodes of the tests into .cache/chains, as tests/chains pins them, and prove that they run.
#
# anvil is an Ethereum node in one executable, bcoin a Bitcoin node in JavaScript.  Both are npm packages, taken from
# the registry that this machine's npm is set up with and held against the hashes in the lock file.  No install script
# of theirs runs: bcoin then goes without compiled parts.  Needs no root and changes nothing outside .cache and npm's
# own cache.  A second call only compares a stamp.
#
# Exit 0: what this machine can have is there (on anything but Debian on x86-64 the rest is named and left out).
# Exit 1: Debian on x86-64, where both are had, and at least one is not there.
set -eu

cd -P "$(dirname "$0")/.."
home=$PWD/.cache/chains
mkdir -p .cache

# Two runs at once take turns; the second finds the work done.
if [ -z "${EARMARK_CHAINS_LOCKED:-}" ] && command -v flock >/dev/null; then
    EARMARK_CHAINS_LOCKED=1 exec flock .cache/chains.lock tools/chains.sh
fi

say() { echo "earmark: $*" >&2; }

distribution=$(sed -n 's/^ID=//p' /etc/os-release 2>/dev/null | tr -d '"')
machine=$(dpkg --print-architecture 2>/dev/null || uname -m)
attempts=3

# Say why a chain node is not had: a failure where it must be, a note elsewhere.
without() {
    if [ "$distribution" = debian ] && [ "$machine" = amd64 ]; then
        say "no $1: $2"
        exit 1
    fi
    say "going without $1: $2"
}

stamp() { cat tests/chains/package.json tests/chains/package-lock.json | sha256sum; }

if [ "$(cat "$home/stamp" 2>/dev/null)" = "$(stamp)" ]; then
    exit 0
fi
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    without "anvil and bcoin" "node or npm is missing: install the packages nodejs and npm"
    exit 0
fi

# npm leaves out an optional package that asks for a newer node than Debian 12 has.  anvil's executables ask for one,
# but need none.
ask_no_node='const fs = require("fs"), lock = JSON.parse(fs.readFileSync("package-lock.json"))
for (const [place, entry] of Object.entries(lock.packages)) if (place.includes("/anvil-")) delete entry.engines
fs.writeFileSync("package-lock.json", JSON.stringify(lock))'

# Install into a folder beside, so that what is at its place is always whole.
new=$home.new
fetch() {
    rm -rf "$new"
    mkdir "$new"
    cp tests/chains/package.json tests/chains/package-lock.json tests/chains/.npmrc "$new"
    (cd "$new" && node -e "$ask_no_node" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) </dev/null >&2
}

say "installing anvil and bcoin into .cache/chains"
attempt=1
until fetch; do
    if [ "$attempt" = "$attempts" ]; then
        rm -rf "$new"
        without "anvil and bcoin" "npm did not install them: see above"
        exit 0
    fi
    sleep $((attempt * 5))
    attempt=$((attempt + 1))
done

modules=$new/node_modules
"$modules"/@foundry-rs/anvil-*/bin/anvil --version >/dev/null 2>&1 ||
    without anvil "there is none for this machine, or it does not run on it"
(cd "$new" && NODE_BACKEND=js node -e 'require("bcoin").FullNode') >/dev/null 2>&1 ||
    without bcoin "it does not run under node $(node --version)"
stamp >"$new/stamp"
rm -rf "$home"
mv "$new" "$home"
