"""Synchronised UTC with an honest error bound, from NTP, inside your program.

One clock for the whole process::

    import ntpclock

    ntpclock.start("ntp.example.org")  # or $NTPCLOCK_SERVERS
    ntpclock.wait(timeout=10)
    print(ntpclock.now(), "±", ntpclock.error_bound(), "ns")

or clocks of one's own::

    with ntpclock.Clock(["a.example.org", "b.example.org", "c.example.org"]) as clock:
        clock.wait(timeout=10)
        reading = clock.read()
        assert reading.earliest_ns <= reading.unix_ns <= reading.latest_ns

A background thread talks to the servers; reading takes no lock and makes no system call. The system
clock is left alone.
"""

from ._ntpclock import (
    AlreadyRunningError,
    BadReplyError,
    BoundExceededError,
    Clock,
    ConfigError,
    Deadline,
    Events,
    Flags,
    Leap,
    NotRunningError,
    NotSynchronizedError,
    NtpError,
    NtpOSError,
    NtpTimeoutError,
    QueryResult,
    Reading,
    Relation,
    Report,
    ResolveError,
    Selection,
    Server,
    SourceInfo,
    State,
    Timescale,
    UnconvertibleError,
    UnsupportedError,
    __version__,
    after,
    before,
    convert,
    deadline,
    error_bound,
    event_fd,
    now,
    ntp_now,
    ntp_now_relaxed,
    offset,
    offset_bound,
    on_event,
    query,
    read,
    read_checked,
    read_within,
    report,
    sleep_until,
    sources,
    start,
    status,
    stop,
    take_events,
    time,
    time_ns,
    wait,
    wait_until_past,
)

__all__ = [
    "AlreadyRunningError",
    "BadReplyError",
    "BoundExceededError",
    "Clock",
    "ConfigError",
    "Deadline",
    "Events",
    "Flags",
    "Leap",
    "NotRunningError",
    "NotSynchronizedError",
    "NtpError",
    "NtpOSError",
    "NtpTimeoutError",
    "QueryResult",
    "Reading",
    "Relation",
    "Report",
    "ResolveError",
    "Selection",
    "Server",
    "SourceInfo",
    "State",
    "Timescale",
    "UnconvertibleError",
    "UnsupportedError",
    "__version__",
    "after",
    "before",
    "convert",
    "deadline",
    "error_bound",
    "event_fd",
    "now",
    "ntp_now",
    "ntp_now_relaxed",
    "offset",
    "offset_bound",
    "on_event",
    "query",
    "read",
    "read_checked",
    "read_within",
    "report",
    "sleep_until",
    "sources",
    "start",
    "status",
    "stop",
    "take_events",
    "time",
    "time_ns",
    "wait",
    "wait_until_past",
]
