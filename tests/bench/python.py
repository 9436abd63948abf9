"""Python's functions beside the standard library's, interleaved: `python.py SERVER`. Exits with 1 if a floor is missed."""

import statistics
import sys
import time
from timeit import Timer

import ntpclock

ROUNDS, CALLS = 61, 20_000

# Ours, what it is compared with, and the most it may take of that; None: shown only.
PAIRS = [
    ("ntpclock.time_ns", ntpclock.time_ns, "time.time_ns", time.time_ns, 1.0),
    ("ntpclock.time", ntpclock.time, "time.time", time.time, 0.95),
    ("ntpclock.ntp_now_relaxed", ntpclock.ntp_now_relaxed, "time.time_ns", time.time_ns, None),
    ("ntpclock.read", ntpclock.read, "time.time_ns", time.time_ns, None),
]


def main() -> int:
    ntpclock.start(sys.argv[1])
    ntpclock.wait(timeout=10)
    # The opening burst is over then, and so are its corrections.
    time.sleep(13)
    while ntpclock.Flags.SLEWING in ntpclock.read().flags:
        time.sleep(0.05)
    functions = {name: function for pair in PAIRS for name, function in (pair[:2], pair[2:4])}
    times: dict[str, list[float]] = {name: [] for name in functions}
    names = list(functions)
    for turn in range(ROUNDS):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            timer = Timer("function()", globals={"function": functions[name]})
            times[name].append(timer.timeit(CALLS) / CALLS * 1e9)
    print(f"\n| Python {sys.version.split()[0]} | ns | beside | ns | ratio | floor |\n|---|---|---|---|---|---|")
    missed = []
    for ours, _, theirs, _, floor in PAIRS:
        ratio = statistics.median(a / b for a, b in zip(times[ours], times[theirs]))
        a, b = statistics.median(times[ours]), statistics.median(times[theirs])
        print(f"| {ours} | {a:.1f} | {theirs} | {b:.1f} | {ratio:.2f} | {floor or ''} |")
        if floor is not None and ratio > floor:
            missed.append(f"{ours}: {ratio:.3f} × {theirs}, at most {floor} is allowed")
    for fault in missed:
        print(f"\nMISSED: {fault}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
