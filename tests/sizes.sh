#!/bin/sh
# How large the stripped library is, with NTS and without; fails above what is promised (docs/performance.md).
# usage: sizes.sh LIBRARY LIBRARY-WITHOUT-NTS
set -eu

with_nts=2200000
without_nts=600000

measure() {
    copy=$(mktemp)
    strip -o "$copy" "$1"
    size=$(wc -c <"$copy")
    rm -f "$copy"
    printf '%s %s: %d bytes stripped, at most %d\n' "$1" "$2" "$size" "$3"
    [ "$size" -le "$3" ]
}

failed=0
measure "$1" 'with NTS' "$with_nts" || failed=1
measure "$2" 'without NTS' "$without_nts" || failed=1
exit $failed
