#!/bin/sh
# The library under Rust's own sanitizers: `sanitizers.sh address` or `sanitizers.sh thread`. They are not stable features of the
# compiler yet, hence RUSTC_BOOTSTRAP; what is built lies apart, below target/address and target/thread.
#
# address   the library's own Rust tests: use after free, overflow, leaks. Without the simulations, which are the same safe code for
#           hours, and without loom's model, which changes stacks in a way of its own.
# thread    C programs with a main of their own (the harness of Rust's tests is not built for it, and would be accused), linked
#           with the library as this sanitizer wants it and with the runtime that belongs to the compiler; sanitizers.supp has what is
#           suppressed, and why. Left out are programs that count threads, for the runtime has
#           one of its own, those that fork with threads, which it does not understand, and those that come before the C library's
#           functions, as it does itself.
#           The standard library comes without instrumentation: what of it is generic is built into ours, the rest synchronises
#           by pthreads, which the runtime understands. It does not understand fences, by which the latch orders its words; but these
#           are atomics all, so that no order makes a data race of them. That their order is right, loom shows.
set -eu

cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
seconds=${STRESS_SECONDS:-10}
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTC_BOOTSTRAP=1

address() {
    RUSTFLAGS=-Zsanitizer=address "$cargo" test --locked --all-features --target "$host" --target-dir target/address --lib -- \
        --skip simulation:: --skip publication::latch::model::
}

# Compiles the program $1 with the flags that follow.
compile() {
    name=$1
    shift
    clang -std=c11 -O1 -g -fsanitize=thread -pthread -Iinclude "$@" -c -o "$out/$name.o" "tests/c/$name.c"
    clang -pthread -rdynamic -o "$out/$name" "$out/$name.o" "$out/libntpclock.a" \
        -Wl,--whole-archive "$runtime" -Wl,--no-whole-archive -lgcc_s -lpthread -ldl -lrt -lm
}

thread() {
    RUSTFLAGS='-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer' "$cargo" rustc --locked --release --lib \
        --features capi,nts --crate-type staticlib --target "$host" --target-dir target/thread
    out=target/thread/$host/release
    runtime=$(rustc --print sysroot)/lib/rustlib/$host/lib/librustc-stable_rt.tsan.a
    # A sanitizer that finds no race where there is one proves nothing by finding none.
    compile stress -DPLANTED_RACE
    if TSAN_OPTIONS=log_path=/dev/null "$out/stress" 1; then
        echo "sanitizers.sh: the planted race was not found" >&2
        exit 1
    fi
    while read -r program arguments; do
        compile "$program"
        echo "$program $arguments"
        # shellcheck disable=SC2086 # several arguments, or none
        TSAN_OPTIONS=halt_on_error=1:history_size=7:suppressions=tests/sanitizers.supp "$out/$program" $arguments
    done <<PROGRAMS
stress $seconds
events alone
moments alone
lifecycle
handles
arguments
errors
PROGRAMS
}

case ${1-} in
address | thread) "$1" ;;
*)
    echo "usage: sanitizers.sh address|thread" >&2
    exit 2
    ;;
esac
