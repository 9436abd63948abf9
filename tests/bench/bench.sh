#!/bin/sh
# Measures the library beside what others offer; `make bench` builds what it needs. The tables go to standard output, floors
# that are missed make it fail. BENCH_SECONDS is how long the idle clock is watched.
set -eu

cd "$(dirname "$0")/../.."
out=${CARGO_TARGET_DIR:-target}/release
work=$(mktemp -d)
server=
trap 'test -z "$server" || kill "$server"; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

"$out/ntpclock" serve --listen 127.0.0.1:0 --local 1 --root-dispersion 1 >"$work/server" &
server=$!
address=
for _ in $(seq 50); do
    address=$(sed -n 's/^serving .* on \(127\.0\.0\.1:[0-9]*\)$/\1/p' "$work/server")
    [ -z "$address" ] || break
    sleep 0.1
done
[ -n "$address" ] || { echo 'bench: the server of our own does not say where it listens' >&2; exit 1; }

echo "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) processors, Linux $(uname -r)," \
    "clock source $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
missed=0
"$out/ntpclock-bench" "$out/libntpclock.so" "$address" "${BENCH_SECONDS:-256}" || missed=1
.venv/bin/python tests/bench/python.py "$address" || missed=1
exit $missed
