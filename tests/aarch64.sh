#!/bin/sh
# The library on AArch64, on a machine that is none: built by a cross compiler, run by QEMU's emulation of one process. Compiler,
# standard library and QEMU are those of Debian's next release, in a root of its own below target/aarch64, which takes root to
# make and enter.
#
# Run are the library's Rust tests, but for the simulations and loom's model, which take hours here, and for those that need what the emulation does
# not pass on (the kernel's stamps of datagrams, signals that are waited for); and C programs that use the library from many threads. The emulated
# counter has microseconds, not ticks: that the processor's counter is read is seen by a test of the Rust tests, while the clocks of all tests
# read CLOCK_MONOTONIC_RAW.
set -eu

cd "$(dirname "$0")/.."
suite=forky
target=aarch64-unknown-linux-gnu
below=$PWD/target/aarch64
root=$below/debian
cargo=${CARGO:-cargo}
# Tests that wait for the kernel's stamps, or for a signal that the emulation has taken already.
unheard=$(printf -- '--skip %s ' t1_and_t4_are_the_kernels_stamps what_the_network_tells_late_of_a_request_is_passed_on \
    word_of_a_departure_wakes_once a_datagram_arrives_with_its_sender_and_a_stamp_of_the_kernel ipv6_works_alike \
    the_kernel_tells_once_when_a_datagram_left_and_not_what_was_in_it a_signal_that_asks_to_end_is_waited_for)

fail() {
    printf 'tests/aarch64.sh: %s\n' "$*" >&2
    exit 1
}

# Runs $1 by the shell in the root, where the tree is /tree, what cargo has fetched /root/.cargo/registry, and what is built
# /built.
inside() {
    unshare -m sh -euc '
        for place in proc dev tree built root/.cargo/registry; do
            mkdir -p "$0/$place"
        done
        mount --bind /proc "$0/proc"
        mount --bind /dev "$0/dev"
        mount --bind "$1" "$0/tree"
        mount --bind "$2" "$0/built"
        mount --bind "$3/registry" "$0/root/.cargo/registry"
        exec chroot "$0" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive \
            CARGO_TARGET_DIR=/built CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
            CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc sh -euc "cd /tree; $4"
    ' "$root" "$PWD" "$below/built" "${CARGO_HOME:-$HOME/.cargo}" "$1"
}

[ "$(id -u)" = 0 ] || fail "it takes root to make and enter a root of its own"
mkdir -p "$below/built"
if [ ! -e "$root/.complete" ]; then
    command -v debootstrap >/dev/null || apt-get install -y -q debootstrap
    rm -rf "$root"
    # Every release is made as the one that never is.
    debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" http://deb.debian.org/debian \
        /usr/share/debootstrap/scripts/sid
    cp /etc/resolv.conf /etc/hosts "$root/etc/"
    # A release in the making has lists that expire.
    echo 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/99-expired"
    inside 'dpkg --add-architecture arm64
        apt-get update -q
        apt-get install -y -q --no-install-recommends rustc cargo libstd-rust-dev:arm64 gcc gcc-aarch64-linux-gnu \
            libc6-dev:arm64 qemu-user'
    touch "$root/.complete"
fi

"$cargo" fetch --locked
inside "
    emulated='qemu-aarch64 -L /usr/aarch64-linux-gnu'
    cargo test --locked --offline --target $target --lib --features capi,cli,nts --no-run
    cargo rustc --locked --offline --target $target --release --lib --features capi,nts --crate-type cdylib
    # The newest, if there are several.
    tests=\$(find /built/$target/debug/deps -name 'ntpclock-*' -type f -executable -printf '%T@ %p\n' | sort -n | tail -1 | cut -d' ' -f2)
    \$emulated \$tests --skip simulation:: --skip publication::latch::model:: $unheard
    built=/built/$target/release
    while read -r program arguments; do
        echo \"\$program \$arguments\"
        aarch64-linux-gnu-gcc -std=c11 -O1 -pthread -Iinclude tests/c/\$program.c -o /built/\$program \
            -L\$built -lntpclock -Wl,-rpath,\$built
        \$emulated /built/\$program \$arguments
    done <<PROGRAMS
stress 10
events alone
moments alone
lifecycle
handles
arguments
errors
PROGRAMS
"
