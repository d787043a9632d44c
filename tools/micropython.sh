#!/bin/sh
# Fetch MicroPython for the tests into .cache/micropython/64 and .cache/micropython/32, and prove that it runs.
#
# Boards are 32-bit machines, so both word sizes matter.  Debian packages the two in suites newer than most machines
# run, with a C library newer than theirs: they are therefore unpacked beside that library into a private folder,
# started through its own loader, and never installed.  The mirror is the one that this machine's apt sources name;
# apt verifies its signature against Debian's archive keyring.  Needs no root and changes nothing outside .cache.
#
# Exit 0: what this machine can have is there (on anything but Debian on x86-64 the rest is named and left out).
# Exit 1: Debian on x86-64, where both are had, and at least one is not there.
# shellcheck disable=SC2016  # the $(NAMES) in formats are apt's
set -eu

cd -P "$(dirname "$0")/.."
home=$PWD/.cache/micropython
mkdir -p "$home"

# Two runs at once take turns; the second finds the work done.
if [ -z "${EARMARK_MICROPYTHON_LOCKED:-}" ] && command -v flock >/dev/null; then
    EARMARK_MICROPYTHON_LOCKED=1 exec flock "$home/lock" tools/micropython.sh
fi

say() { echo "earmark: $*" >&2; }

distribution=$(sed -n 's/^ID=//p' /etc/os-release 2>/dev/null | tr -d '"')
machine=$(dpkg --print-architecture 2>/dev/null || uname -m)
attempts=3

# Say why MicroPython of word size $1 is not had: a failure where it must be, a note elsewhere.
without() {
    if [ "$distribution" = debian ] && [ "$machine" = amd64 ]; then
        say "no $1-bit MicroPython: $2"
        exit 1
    fi
    say "going without $1-bit MicroPython: $2"
}

# Does $1 run, with sys.maxsize of word size $2?
runs() {
    [ -x "$1" ] && [ "$("$1" -c 'import sys; print(sys.maxsize)' 2>/dev/null)" = "$(largest "$2")" ]
}

largest() {
    case $1 in
        64) echo 9223372036854775807 ;;
        32) echo 2147483647 ;;
    esac
}

keyring() {
    for file in /usr/share/keyrings/debian-archive-keyring.gpg /usr/share/keyrings/debian-archive-keyring.pgp; do
        if [ -r "$file" ]; then
            echo "$file"
            return
        fi
    done
    return 1
}

# Debian's mirrors among the machine's apt sources, likeliest first.  Before the first `apt-get update` no source says
# whose it is; then each is a candidate, and the keyring admits only Debian's.
mirrors() {
    {
        apt-get indextargets --format '$(ORIGIN)/$(LABEL) $(SITE)' 'Created-By: Packages' |
            sed -n 's|^Debian/Debian ||p'
        apt-get indextargets --no-release-info --format '$(SITE)' 'Created-By: Packages' |
            grep -v security
    } 2>/dev/null | grep -v '^cdrom:' | awk '!seen[$0]++'
}

# Write an apt configuration for suite $2 and architecture $3 of mirror $1, its state all in folder $4.  Of the
# machine's own only what concerns a mirror is taken over (proxies, certificates, how old a release file may be): its
# hooks act on the machine.  Signatures are asked for whatever it says.
configure() {
    mkdir -p "$4/lists/partial" "$4/archives/partial" "$4/empty"
    : >"$4/status"
    echo "deb [signed-by=$(keyring)] $1 $2 main" >"$4/sources.list"
    {
        apt-config dump | grep '^Acquire::' || true
        cat <<END
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::Retries "3";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
Acquire::Languages "none";
APT::Architecture "$3";
APT::Architectures { "$3"; };
APT::Sandbox::User "root";
APT::Get::AllowUnauthenticated "false";
APT::Get::List-Cleanup "false";
Dir::Cache "$4";
Dir::Cache::archives "archives";
Dir::State "$4";
Dir::State::lists "lists";
Dir::State::status "$4/status";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "$4/empty";
Dir::Etc::preferencesparts "$4/empty";
Dir::Etc::preferences "/dev/null";
Dir::Etc::sourcelist "$4/sources.list";
Dir::Etc::sourceparts "$4/empty";
Dir::Log "$4";
END
    } >"$4/apt.conf"
}

# Every package that micropython depends on, itself included, one name a line.
closure() {
    apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
        --no-enhances micropython | sed -n 's/^\([a-z0-9][a-z0-9.+-]*\).*/\1/p' | sort -u
}

# Download micropython and what it needs, of suite $1 and architecture $2, into folder $3.
download() {
    for mirror in $(mirrors); do
        rm -rf "$3"
        configure "$mirror" "$1" "$2" "$3"
        # shellcheck disable=SC2086  # package names, one word each
        if (
            export APT_CONFIG="$3/apt.conf"
            apt-get -q update -o APT::Update::Error-Mode=any && cd "$3/archives" && packages=$(closure) &&
                [ -n "$packages" ] && apt-get -q download $packages
        ) >>"$3.log" 2>&1 </dev/null; then
            return 0
        fi
    done
    return 1
}

# The packages of suite $1 and architecture $2 in .cache/micropython/debs/$2, complete or not there at all.
fetch() {
    debs=$home/debs/$2
    [ ! -d "$debs" ] || return 0
    work=$home/fetch-$2
    : >"$work.log"
    attempt=1
    until download "$1" "$2" "$work"; do
        [ "$attempt" -lt "$attempts" ] || return 1
        sleep $((attempt * 5))
        attempt=$((attempt + 1))
    done
    mkdir -p "$home/debs"
    rm -rf "$work/archives/partial"
    mv "$work/archives" "$debs"
    rm -rf "$work" "$work.log"
}

# A script in folder $1 that starts the interpreter with the loader and library beside it, wherever the folder is moved.
wrap() {
    loader=$(cd "$1" && find root -name 'ld-linux*.so.[0-9]' -type f | head -n 1)
    libc=$(cd "$1" && find root -name 'libc.so.6' | head -n 1)
    [ -n "$loader" ] && [ -n "$libc" ] || return 1
    cat >"$1/micropython" <<END
#!/bin/sh
here=\$(dirname "\$(readlink -f "\$0")")
exec "\$here/$loader" --library-path "\$here/$(dirname "$libc")" "\$here/root/usr/bin/micropython" "\$@"
END
    chmod +x "$1/micropython"
}

# Unpack the packages of architecture $1 into folder $2.
unpack() {
    rm -rf "$2"
    mkdir -p "$2/root"
    for package in "$home/debs/$1"/*.deb; do
        dpkg-deb -x "$package" "$2/root" || return 1
    done
    rm -rf "$2/root/usr/share" "$2/root/usr/lib"/*/gconv
    wrap "$2"
}

# What this machine lacks to fetch anything at all; empty where nothing.
lacking() {
    if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
        echo "apt-get and dpkg-deb are needed to fetch it"
    elif ! keyring >/dev/null; then
        echo "Debian's archive keyring is missing: sudo apt-get install debian-archive-keyring"
    elif [ -z "$(mirrors)" ]; then
        echo "no mirror is named in this machine's apt sources"
    elif [ "$distribution" != debian ] && ! apt-get indextargets --format '$(ORIGIN)' | grep -qx Debian; then
        echo "no Debian mirror among the apt sources of this machine ($distribution)"
    fi
}

# Provide word size $1 from suite $2, architecture $3.
provide() {
    if runs "$home/$1/micropython" "$1"; then
        return
    fi
    reason=$(lacking)
    if [ -n "$reason" ]; then
        without "$1" "$reason"
        return
    fi
    say "fetching $1-bit MicroPython (Debian $2, $3)"
    if ! fetch "$2" "$3"; then
        tail -n 5 "$home/fetch-$3.log" >&2
        without "$1" "$attempts tries at this machine's apt sources failed; the record is $home/fetch-$3.log"
        return
    fi
    new=$home/new-$1
    if ! unpack "$3" "$new" || ! runs "$new/micropython" "$1"; then
        rm -rf "$new" "$home/debs/$3"
        without "$1" "what was fetched does not run (i386 programs need a kernel with CONFIG_IA32_EMULATION)"
        return
    fi
    rm -rf "${home:?}/$1"
    mv "$new" "$home/$1"
}

case $machine in
    amd64)
        provide 64 trixie amd64
        provide 32 forky i386
        ;;
    arm64)
        provide 64 trixie arm64
        without 32 "an arm64 machine does not run i386 programs"
        ;;
    *)
        without 64 "it is fetched for amd64 and arm64 only, this machine is $machine"
        without 32 "it is fetched on amd64 only, this machine is $machine"
        ;;
esac
