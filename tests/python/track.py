"""track SERVERS SHIFT_NS SECONDS: watches ntpclock.ntp_now() beside the clock of the server, as tests/c/track.c does."""

import sys
import time

import ntpclock


def track(servers: str, shift: int, seconds: int) -> str:
    ntpclock.start(servers)
    # As in track.c: a program that needs better than a millisecond waits for that bound.
    ntpclock.wait(timeout=40, max_bound_ns=1_000_000)
    errors = []
    outside = backwards = unsynchronized = 0
    last, last_epoch = 0, None
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before = time.time_ns() + shift
        now = ntpclock.ntp_now()
        after = time.time_ns() + shift
        errors.append(max(before - now, now - after, 0))

        opened = time.time_ns() + shift
        reading = ntpclock.read()
        closed = time.time_ns() + shift
        unsynchronized += reading.state != ntpclock.State.SYNCHRONIZED
        if reading.earliest_ns is not None and reading.latest_ns is not None:
            outside += reading.earliest_ns > closed or reading.latest_ns < opened
        backwards += reading.unix_ns < now or (reading.epoch == last_epoch and now < last)
        last, last_epoch = reading.unix_ns, reading.epoch
        time.sleep(0.001)
    ntpclock.stop()
    errors.sort()
    return (
        f"samples={len(errors)} p99_ns={errors[(len(errors) - 1) * 99 // 100]} worst_ns={errors[-1]} "
        f"outside={outside} backwards={backwards} unsynchronized={unsynchronized}"
    )


if __name__ == "__main__":
    print(track(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
