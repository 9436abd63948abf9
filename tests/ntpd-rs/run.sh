#!/bin/sh
# ntpd-rs' daemon as a client of `ntpclock serve`, plain and with NTS; fails unless it synchronises to both.
# usage: run.sh NTPCLOCK PREFIX   (PREFIX/bin holds ntp-daemon and ntp-ctl)
#
# It may not set this machine's clock: CAP_SYS_TIME is taken from it, and `still.c` tells it that all is well.
set -eu

ntpclock=$1
bin=$2/bin
here=$(dirname "$0")
seconds=120
work=$(mktemp -d)
server= daemons=
end() {
    for process in $daemons $server; do kill "$process" 2>/dev/null || true; done
    rm -rf "$work"
}
trap end EXIT
trap 'exit 1' INT TERM

fail() {
    echo "ntpd-rs: $1" >&2
    cat "$work"/*.log >&2
    exit 1
}

no_clock() { setpriv --bounding-set -sys_time --inh-caps -sys_time -- "$@"; }
rights=$(no_clock sed -n 's/^CapEff:\t//p' /proc/self/status)
[ $((0x$rights >> 25 & 1)) -eq 0 ] || fail 'it could set the clock'
gcc -shared -fPIC -O2 -Wall -Wextra -Werror -o "$work/still.so" "$here/still.c"

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=IP:127.0.0.2 -addext basicConstraints=critical,CA:FALSE \
    -keyout "$work/key.pem" -out "$work/certificate.pem" 2>"$work/openssl.log" || fail 'no certificate'
chmod 600 "$work/key.pem"
# Not at an address of an interface: it takes whoever is there for itself.
"$ntpclock" serve --listen 127.0.0.2:0 --local 3 --root-dispersion 1 \
    --nts-certificate "$work/certificate.pem" --nts-private-key "$work/key.pem" --nts-port 0 \
    --statistics-file "$work/statistics" >"$work/server.log" 2>&1 &
server=$!
address() { sed -n "s/.* \(127\.0\.0\.2:[0-9]*\)\$/\1/p" "$work/server.log" 2>/dev/null | sed -n "$1p"; }
for _ in $(seq 100); do
    [ -n "$(address 2)" ] && break
    sleep 0.1
done
[ -n "$(address 2)" ] || fail 'the server does not start'

# Each by itself: its own offsets, of microseconds, are narrower than what the two differ by.
follow() {
    cat >"$work/$1.toml" <<END
[[source]]
$2

[source-defaults]
poll-interval-limits = { min = 4, max = 4 }

[synchronization]
minimum-agreeing-sources = 1

[observability]
observation-path = "$work/$1"
END
    # Not by the function: its shell would be what is killed in the end.
    setpriv --bounding-set -sys_time --inh-caps -sys_time -- env LD_PRELOAD="$work/still.so" \
        "$bin/ntp-daemon" -c "$work/$1.toml" -l info >"$work/$1.log" 2>&1 &
    daemons="$daemons $!"
}
follow plain "mode = \"server\"
address = \"$(address 1)\""
follow nts "mode = \"nts\"
address = \"$(address 2)\"
certificate-authority = \"$work/certificate.pem\""

# One above ours, by an offset of less than a millisecond: what we serve is the very clock that it reads.
is_synchronized() {
    "$bin/ntp-ctl" -c "$work/$1.toml" status >"$work/$1.status" 2>&1 || return 1
    grep -q 'Stratum:[[:space:]]*4$' "$work/$1.status" && grep -q 'Offset:[[:space:]]*-\{0,1\}0\.000[0-9]*$' "$work/$1.status"
}
for _ in $(seq "$seconds"); do
    sleep 1
    for daemon in $daemons; do
        kill -0 "$daemon" 2>/dev/null || fail 'a daemon has ended'
    done
    if is_synchronized plain && is_synchronized nts; then
        grep -q 'NTS cookies:[[:space:]]*8/8' "$work/nts.status" || fail 'cookies are missing'
        sed -n '/^Sources/,$p' "$work/plain.status" "$work/nts.status"
        echo 'ntpd-rs: synchronised, plain and with NTS'
        exit 0
    fi
done
cat "$work"/*.status >&2
fail "not synchronised after $seconds s"
