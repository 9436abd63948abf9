#!/bin/sh
# Fuzzes the library by libFuzzer, the compiler's own instrumentation and the address sanitizer; these are no stable features yet,
# hence RUSTC_BOOTSTRAP. What is built lies apart, below target/fuzz, and so does what is found on the way.
#
# fuzz.sh build                 the program, of all targets
# fuzz.sh run [TARGET...]       those targets, or all, FUZZ_SECONDS each (60), FUZZ_JOBS at a time (2); a line each. Where one
#                               fails, the input is named: mended, it belongs into tests/fuzz/crashes, where a test keeps it.
# fuzz.sh minimise [TARGET...]  what was found goes to the corpora: the smallest inputs that reach all that was reached
set -eu

cd "$(dirname "$0")/../.."
cargo=${CARGO:-cargo}
seconds=${FUZZ_SECONDS:-60}
jobs=${FUZZ_JOBS:-2}
host=$(rustc -vV | sed -n 's/^host: //p')
program=target/fuzz/$host/release/ntpclock-fuzz
corpus=tests/fuzz/corpus
crashes=tests/fuzz/crashes
found=target/fuzz/found
# Inputs above this tell no more: no datagram is longer, and files are small.
longest=4096
# A corpus that is committed has no more bytes, and files.
largest=40000
most=150

build() {
    flags='--cfg fuzzing -Zsanitizer=address -Cpasses=sancov-module '
    for flag in level=4 inline-8bit-counters pc-table trace-compares; do
        flags="$flags -Cllvm-args=-sanitizer-coverage-$flag"
    done
    RUSTC_BOOTSTRAP=1 RUSTFLAGS="$flags -Cllvm-args=-simplifycfg-branch-fold-threshold=0" "$cargo" build --quiet --locked \
        --release --manifest-path tests/fuzz/Cargo.toml --target "$host" --target-dir target/fuzz
}

targets() {
    sed -n 's/^    ("\([a-z_]*\)", .*/\1/p' tests/fuzz/targets/mod.rs
}

# Fuzzes target $1.
fuzz() {
    mkdir -p "$found/$1" "$corpus/$1" target/fuzz/crashes/"$1"
    log=target/fuzz/$1.log
    if ! NTPCLOCK_FUZZ=$1 "$program" -max_total_time="$seconds" -max_len=$longest -timeout=20 -rss_limit_mb=2048 \
        -use_value_profile=1 -print_final_stats=1 -artifact_prefix=target/fuzz/crashes/"$1"/ \
        "$found/$1" "$corpus/$1" >"$log" 2>&1; then
        input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -1)
        echo "fuzz.sh: $1 fails with the input ${input:-(none)}:" >&2
        grep -m3 -A3 -e panicked -e ERROR -e SUMMARY "$log" >&2 || tail -5 "$log" >&2
        return 1
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -1)
    printf '%-14s %9s runs in %4s s, %5s edges\n' "$1" "$runs" "$seconds" "$edges"
}

# Every target named, or all of them, some at a time; fails if one of them did.
run() {
    [ $# -gt 0 ] || set -- $(targets)
    printf '%s\n' "$@" | FUZZ_SECONDS=$seconds xargs -P "$jobs" -n 1 tests/fuzz/fuzz.sh one
}

minimise() {
    [ $# -gt 0 ] || set -- $(targets)
    for target in "$@"; do
        mkdir -p "$found/$target" "$corpus/$target"
        least=$(mktemp -d)
        NTPCLOCK_FUZZ=$target "$program" -set_cover_merge=1 -max_len=1024 "$least" "$corpus/$target" "$found/$target" \
            >/dev/null 2>&1
        find "$corpus/$target" -type f ! -name 'seed-*' -delete
        # Names are digests: by their order the choice is a random one.
        for input in "$least"/*; do
            [ "$(cat "$corpus/$target"/* | wc -c)" -lt $largest ] && [ "$(ls "$corpus/$target" | wc -l)" -lt $most ] || break
            cp "$input" "$corpus/$target/"
        done
        rm -r "$least"
        echo "$target: $(ls "$corpus/$target" | wc -l) files, $(cat "$corpus/$target"/* | wc -c) bytes"
    done
}

command=${1-}
[ $# -eq 0 ] || shift
case $command in
build) build ;;
one) fuzz "$1" ;;
run) run "$@" ;;
minimise) minimise "$@" ;;
*)
    sed -n 's/^# \(fuzz.sh\)/usage: \1/p' "$0" >&2
    exit 2
    ;;
esac
