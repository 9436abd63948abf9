#!/bin/sh
# Shows one time, read by a C program, a C++ program and Python at once. `make demo` builds what it needs.
#
# Follows the servers in $SERVERS or $NTPCLOCK_SERVERS; without any, a server of its own on loopback.
set -eu

cd "$(dirname "$0")/.."
out=${CARGO_TARGET_DIR:-target}/release
# For the programs below, which look for the library from wherever they are.
case $out in /*) ;; *) out=$PWD/$out ;; esac
work=$(mktemp -d)
server=
trap 'test -z "$server" || kill "$server"; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

fail() {
    printf 'demo: %s\n' "$1" >&2
    exit 1
}

servers=${SERVERS:-${NTPCLOCK_SERVERS:-}}
if [ -z "$servers" ]; then
    "$out/ntpclock" serve --listen 127.0.0.1:0 --local 1 --root-dispersion 1 >"$work/server" &
    server=$!
    # The line appears once the port is bound; five seconds are ample.
    for _ in $(seq 50); do
        servers=$(sed -n 's/^serving .* on \(127\.0\.0\.1:[0-9]*\)$/\1/p' "$work/server")
        [ -z "$servers" ] || break
        kill -0 "$server" 2>/dev/null || fail 'the server of our own has ended (it says why above)'
        sleep 0.1
    done
    [ -n "$servers" ] || fail 'the server of our own does not say where it listens'
    cat <<END
No server is named (make demo SERVERS=...), so this follows a server of its own, $servers, which gives out this
machine's clock. All below is relative to this machine's clock, and says nothing about how right that is.
END
else
    echo "Following $servers."
fi

cc -std=c11 -O2 -Iinclude bindings/c/now.c -o "$work/now-c" -L"$out" -lntpclock -Wl,-rpath,"$out"
c++ -std=c++17 -O2 -Iinclude -Ibindings/cpp bindings/cpp/now.cpp -o "$work/now-cpp" -L"$out" -lntpclock \
    -Wl,-rpath,"$out"

# Three clocks in three processes, at the same time; each is shown whole, and none is hidden if it fails.
failed=
"$work/now-c" "$servers" >"$work/C" 2>&1 & c=$!
"$work/now-cpp" "$servers" >"$work/C++" 2>&1 & cpp=$!
.venv/bin/python bindings/python/now.py "$servers" >"$work/Python" 2>&1 & python=$!
wait "$c" || failed="$failed C"
wait "$cpp" || failed="$failed C++"
wait "$python" || failed="$failed Python"
for language in C C++ Python; do
    printf '\n%s\n' "--- $language"
    cat "$work/$language"
done
[ -z "$failed" ] || fail "no time in:$failed"
