"""The manual of ntpclock. Everything here is used as `ntpclock.<name>`.

Conventions: names end in the unit; an offset is UTC minus the system clock, so *add it to the system clock*;
what is unknown is None. Everything may be called from any number of threads at the same time, in the main interpreter:
in a subinterpreter the import raises ImportError.
"""

import datetime
import enum
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, final

__all__ = [
    "AlreadyRunningError",
    "BadReplyError",
    "BoundExceededError",
    "Clock",
    "ConfigError",
    "Deadline",
    "Events",
    "Flags",
    "KeyExchangeError",
    "Leap",
    "NotRunningError",
    "NotSynchronizedError",
    "NtpError",
    "NtpOSError",
    "NtpTimeoutError",
    "NtsState",
    "QueryResult",
    "Reading",
    "Relation",
    "Report",
    "ResolveError",
    "Role",
    "Selection",
    "Server",
    "ServerStatistics",
    "SourceInfo",
    "State",
    "Timescale",
    "UnconvertibleError",
    "UnsupportedError",
    "__version__",
    "after",
    "before",
    "cli",
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
    "restart",
    "resume_watch_fault",
    "sleep_until",
    "sources",
    "start",
    "state_file_fault",
    "status",
    "stop",
    "take_events",
    "time",
    "time_ns",
    "wait",
    "wait_until_past",
]

__version__: Final[str]

# --- Words ---------------------------------------------------------------------------------------

class State(enum.IntEnum):
    """How far a clock's interval can be trusted."""

    UNSYNCHRONIZED = 0
    """Never synchronised (the reading is the system clock's), or the bound has passed its cap."""
    SYNCHRONIZED = 1
    """Exchanges are fresh and enough sources agree."""
    HOLDOVER = 2
    """No fresh exchange, or no agreement, or a forked child: the interval is valid and growing."""
    DISRUPTED = 3
    """Suspend, migration or a counter fault: not to be trusted until judged anew."""

class Flags(enum.IntFlag):
    """Facts beside the state, one bit each. Expect bits that are not listed here."""

    AUTHENTICATED = 1
    """Interval and estimate rest on authenticated sources alone, whose certificates hold at that very time."""
    PROVISIONAL = 2
    """The time rests on a source whose certificate could be checked at no trustworthy time yet."""
    SLEWING = 4
    """A correction is being slewed in: the rate differs from the oscillator's by up to 500 ppm."""
    LEAP_PENDING = 16
    """The sources announce a leap second."""
    VETOED = 32
    """Other servers of the pools contradict those that are polled: what was published before may be wrong."""

class Leap(enum.IntEnum):
    """The leap indicator of RFC 5905, as the sources agree on it."""

    NONE = 0
    """No leap second is announced."""
    INSERT = 1
    """The last minute of the month has 61 seconds."""
    DELETE = 2
    """The last minute of the month has 59 seconds."""
    UNKNOWN = 3
    """Not synchronised: nothing is known."""

class Selection(enum.IntEnum):
    """What selection thinks of a source."""

    UNREACHABLE = 0
    """It has not answered yet, or no longer answers."""
    TRUECHIMER = 1
    """Its interval overlaps the agreed one: it can be telling the truth."""
    FALSETICKER = 2
    """Its interval misses what the others agree on: it lies."""
    UNUSABLE = 3
    """It answers, but says itself that its time is no good, or denies service."""
    DUPLICATE = 4
    """Another name for a source that is counted already."""
    CANDIDATE = 5
    """It answers, but no agreement has been found."""

class NtsState(enum.IntEnum):
    """What a source has of Network Time Security."""

    OFF = 0
    """Not asked for."""
    NO_KEYS = 1
    """Asked for, and there are no keys: nothing is sent, and nothing believed."""
    PROVISIONAL = 2
    """There are keys. The certificate behind them could be checked at no trustworthy time yet."""
    UNREVIEWED = 3
    """There are keys. The certificate was checked at the system clock's time, not yet at the time obtained."""
    AUTHENTICATED = 4
    """There are keys, and the certificate behind them holds at the time obtained."""

class Relation(enum.IntEnum):
    """How one reading lies to another."""

    BEFORE = -1
    """It is certainly of an earlier instant."""
    OVERLAP = 0
    """It cannot be told, or nothing is known of one of them."""
    AFTER = 1
    """It is certainly of a later instant."""

class Role(enum.IntEnum):
    """Whose work the time is that a clock shows."""

    ALONE = 0
    """The clock's own: it shares no page."""
    LEADER = 1
    """The clock's own, and it writes the page that others share."""
    FOLLOWER = 2
    """That of another clock, which leads; nobody's, where none is left."""

class Timescale(enum.IntEnum):
    """A clock of this machine that stamps are taken on."""

    RAW = 0
    """The raw counter, as in `Reading.raw_ns`."""
    MONOTONIC = 1
    """CLOCK_MONOTONIC: `time.monotonic_ns()`, and the time of asyncio's loops."""
    BOOTTIME = 2
    """CLOCK_BOOTTIME."""
    REALTIME = 3
    """CLOCK_REALTIME, the system clock: `time.time_ns()`, and what the kernel stamps datagrams and files with."""

class Events(enum.IntFlag):
    """What has happened to a clock, one bit each. Expect bits that are not listed here."""

    SYNCHRONIZED = 1
    """The clock became SYNCHRONIZED."""
    LOST = 2
    """The clock is no longer SYNCHRONIZED but in HOLDOVER, or no longer that but UNSYNCHRONIZED; also by its stop."""
    DISRUPTED = 4
    """The clock became DISRUPTED: nothing older is to be trusted."""
    STEPPED = 8
    """A new epoch has begun, and not the first: readings of before and after are not on one line."""

# --- Exceptions ----------------------------------------------------------------------------------

class NtpError(Exception):
    """Whatever ntpclock raises is one of these. Only an argument of the wrong type is a TypeError, as everywhere."""

class ConfigError(NtpError, ValueError):
    """An argument, a file or a server list makes no sense, or no server is named."""

class UnsupportedError(NtpError, NotImplementedError):
    """The thing asked for is not part of this build."""

class AlreadyRunningError(NtpError, RuntimeError):
    """The process-wide clock already runs with another server list, or with other settings."""

class NotRunningError(NtpError, RuntimeError):
    """The clock was never started, or was stopped, perhaps while the call waited."""

class NtpTimeoutError(NtpError, TimeoutError):
    """The time ran out; the message says for each source what it last suffered."""

class NotSynchronizedError(NtpError):
    """No synchronised time is to be had now; the same call may succeed later."""

class BoundExceededError(NtpError):
    """The error bound is larger than the caller allows."""

class UnconvertibleError(NtpError, ValueError):
    """Nothing honest can be said of a stamp; the message says why."""

class ResolveError(NtpError, OSError):
    """A host name has no address, for now at least."""

class NtpOSError(NtpError, OSError):
    """The operating system refused something; `errno` says why."""

class KeyExchangeError(NtpError):
    """A server was to be asked with Network Time Security, and there are no keys to do so."""

class BadReplyError(NtpError):
    """A server's reply could not be used."""

# --- Records -------------------------------------------------------------------------------------

@final
class Reading:
    """One reading of a clock: the time, and the interval that holds UTC. Immutable and hashable.

    While `state` is SYNCHRONIZED or HOLDOVER true UTC lies in [earliest_ns, latest_ns], as long as no more
    sources lie than are assumed to, and the oscillator stays within its limits. Within one `epoch` readings
    of a clock never run backwards.

    It can be copied and pickled: it means the same in another process, but for `raw_ns` also on another host.
    """

    @property
    def unix_ns(self) -> int:
        """UTC, nanoseconds since 1970-01-01T00:00:00Z, leap seconds not counted."""

    @property
    def earliest_ns(self) -> int | None:
        """UTC is not before this; None when unknown."""

    @property
    def latest_ns(self) -> int | None:
        """UTC is not after this; None when unknown."""

    @property
    def error_ns(self) -> int | None:
        """The larger distance from `unix_ns` to either end of the interval, in nanoseconds: UTC lies within ± this."""

    @property
    def raw_ns(self) -> int:
        """The raw counter at the reading, as nanoseconds at its nominal rate; one origin per boot."""

    @property
    def age_ns(self) -> int | None:
        """Nanoseconds since the newest exchange that counted; None before the first."""

    @property
    def epoch(self) -> int:
        """The number of the stretch without a step; 0 before the first synchronisation."""

    @property
    def state(self) -> State:
        """How far the interval can be trusted."""

    @property
    def flags(self) -> Flags:
        """What else is to be known."""

    @property
    def leap(self) -> Leap:
        """What the sources announce for the end of the month."""

    @property
    def tai_minus_utc(self) -> int | None:
        """TAI minus UTC in seconds; None when unknown."""

    def compare(self, other: Reading) -> Relation:
        """Whether this reading is certainly of an earlier or of a later instant than `other`, of whatever clock or host.

        Only the intervals count, and unknown ones overlap with everything.
        """

    def is_after(self, unix_ns: int) -> bool:
        """Whether UTC was certainly after `unix_ns`."""

    def is_before(self, unix_ns: int) -> bool:
        """Whether UTC was certainly before `unix_ns`."""

    def datetime(self) -> datetime.datetime:
        """The time as an aware datetime in UTC. A datetime has microseconds: the nanoseconds are cut off."""

    def to_dict(self) -> dict[str, Any]:
        """The attributes by name, for tables and logs."""

    def __reduce__(self) -> tuple[Any, ...]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

def _reading(
    times: tuple[int, int, int, int, int], epoch: int, words: tuple[int, int, int], tai_minus_utc: int | None
) -> Reading:
    """The reading that was pickled."""

@final
class Deadline:
    """When a clock of the machine will show that some point of UTC has come: its values, not UTC. Immutable."""

    @property
    def stamp_ns(self) -> int:
        """The best guess."""

    @property
    def earliest_ns(self) -> int:
        """Before this UTC has certainly not come there."""

    @property
    def latest_ns(self) -> int:
        """From this on it certainly has."""

    def to_dict(self) -> dict[str, Any]:
        """The attributes by name, for tables and logs."""

@final
class Report:
    """The state of a whole clock in numbers; those of the clock that leads, where a page is shared. Immutable."""

    @property
    def state(self) -> State:
        """As a reader would have seen it when the report was made."""

    @property
    def epoch(self) -> int:
        """The epoch of the published model; 0 before the first synchronisation."""

    @property
    def steps(self) -> int:
        """Steps since the start: epochs begun after the first."""

    @property
    def configured(self) -> int:
        """Sources configured, usable pool members included, duplicates counted once."""

    @property
    def answering(self) -> int:
        """Sources that answer."""

    @property
    def agreeing(self) -> int:
        """The most sources whose intervals have one point in common."""

    @property
    def fault_limit(self) -> int:
        """Sources assumed to lie at most."""

    @property
    def faults_exceeded(self) -> bool:
        """More than `fault_limit` sources lie: the interval rests on a strict majority only."""

    @property
    def frequency_ppb(self) -> float:
        """Frequency of UTC against the raw counter, parts per 10^9; positive: UTC gains."""

    @property
    def estimated_error_ns(self) -> int | None:
        """Standard deviation of the reading as estimated: a statistical figure, not a bound; None when unknown."""

    @property
    def bound_ns(self) -> int | None:
        """The error bound when the report was made; None when unknown."""

    @property
    def stratum(self) -> int:
        """One below the source that is followed most, or 16."""

    @property
    def root_delay_ns(self) -> int | None:
        """Round trip to the root of the source that is followed most."""

    @property
    def root_dispersion_ns(self) -> int | None:
        """What a client of ours must allow for beside half the root delay; None when unknown."""

    @property
    def reference_id(self) -> int:
        """Reference id of that source as RFC 5905 defines it for the next stratum."""

    @property
    def reference_time_ns(self) -> int | None:
        """UTC of the newest exchange that counted; None before the first."""

    @property
    def leap(self) -> Leap:
        """The announced leap second."""

    @property
    def exchanges(self) -> int:
        """Exchanges that counted, since the start."""

    @property
    def rejected(self) -> int:
        """Replies refused, since the start."""

    @property
    def flags(self) -> Flags:
        """Of what was published last: Flags.AUTHENTICATED, Flags.VETOED."""

    @property
    def role(self) -> Role:
        """Whether the clock shares a page, and whether it leads."""

    @property
    def leader_pid(self) -> int | None:
        """The process that leads; None if none does, or it is not known."""

    def to_dict(self) -> dict[str, Any]:
        """The attributes by name, for tables and logs."""

@final
class SourceInfo:
    """One source as the clock sees it. Immutable; measured figures are None before the first exchange."""

    @property
    def name(self) -> str:
        """The entry of the server list it comes from."""

    @property
    def address(self) -> str | None:
        """Its address and port, once resolved."""

    @property
    def selection(self) -> Selection:
        """What selection thinks of it."""

    @property
    def reach(self) -> int:
        """Of the last eight polls, which were answered; the newest is bit 0."""

    @property
    def poll_exponent(self) -> int:
        """The poll interval is 2^this seconds."""

    @property
    def stratum(self) -> int | None:
        """Distance from a reference clock; None before the first reply."""

    @property
    def leap(self) -> Leap:
        """Its leap indicator."""

    @property
    def offset_ns(self) -> int | None:
        """Its time minus ours; None while it tells no time, or we have none."""

    @property
    def delay_ns(self) -> int | None:
        """Round trip of the newest exchange; None without one."""

    @property
    def estimated_error_ns(self) -> int | None:
        """Standard deviation of its offset as estimated: a statistical figure, not a bound; None while it tells no time."""

    @property
    def bound_ns(self) -> int | None:
        """Half the width of its correctness interval now; None when it has none."""

    @property
    def root_delay_ns(self) -> int | None:
        """The round trip to its own root that it claims."""

    @property
    def root_dispersion_ns(self) -> int | None:
        """The root dispersion it claims."""

    @property
    def reference_id(self) -> int | None:
        """Its reference id."""

    @property
    def age_ns(self) -> int | None:
        """Nanoseconds since its newest exchange that counted."""

    @property
    def exchanges(self) -> int:
        """Exchanges that counted."""

    @property
    def rejected(self) -> int:
        """Replies refused."""

    @property
    def restarts(self) -> int:
        """Times it contradicted itself and was begun anew."""

    @property
    def nts(self) -> NtsState:
        """What it has of Network Time Security."""

    @property
    def nts_algorithm(self) -> int | None:
        """The cipher, by its number among AEAD algorithms: 15, 17 or 30; None without keys."""

    @property
    def nts_cookies(self) -> int:
        """Cookies left: so many requests can be made without an answer."""

    @property
    def nts_key_exchanges(self) -> int:
        """Key exchanges that brought keys."""

    @property
    def nts_naks(self) -> int:
        """Answers that said the keys are not known to the server; whoever sees a request can send them."""

    @property
    def nts_fault(self) -> str | None:
        """Why the last key exchange brought no keys, or why they were given up."""

    @property
    def fault(self) -> str | None:
        """What is wrong with it: why it is not believed, else its last fault since it last answered well, else why it
        is believed and yet not used."""

    @property
    def authenticated(self) -> bool:
        """Whether its answers are authenticated; others are refused."""

    @property
    def key(self) -> int | None:
        """The id of its key."""

    @property
    def require(self) -> bool:
        """Nothing is published unless at least one of the required sources agrees with it."""

    @property
    def prefer(self) -> bool:
        """As long as preferred sources are believed, the others have no part in the estimate."""

    @property
    def trust(self) -> bool:
        """As long as trusted sources answer, they alone say where UTC lies."""

    @property
    def refusals(self) -> dict[str, int]:
        """How often it, or an answer of it, was refused, by reason: every reason that there is, most of them 0.

        malformed, origin (no answer to our request: forged, old, or a second one), authentication, nak, rate, deny, kiss,
        unsynchronized, loop, no_timestamp, root_distance, hold, negative_delay, late; and silence, network, contradiction
        (of its own exchanges), falseticker (the others agree on another time), no_cookie (none was left for a request).
        """

    def to_dict(self) -> dict[str, Any]:
        """The attributes by name, for tables and logs."""

@final
class QueryResult:
    """What one exchange with a server told. Immutable."""

    @property
    def address(self) -> str:
        """The address and port that answered."""

    @property
    def offset_ns(self) -> int:
        """UTC minus the system clock: add it to the system clock."""

    @property
    def bound_ns(self) -> int | None:
        """The offset is within ± this if the server's own root distance is true; None when unknown."""

    @property
    def delay_ns(self) -> int:
        """Round trip less the server's time in between."""

    @property
    def unix_ns(self) -> int:
        """The server's UTC when the reply arrived."""

    @property
    def stratum(self) -> int:
        """Distance from a reference clock."""

    @property
    def version(self) -> int:
        """NTP version of the reply."""

    @property
    def leap(self) -> Leap:
        """The leap indicator."""

    @property
    def precision(self) -> int:
        """The server's precision as an exponent of 2, in seconds."""

    @property
    def root_delay_ns(self) -> int:
        """The server's round trip to its root."""

    @property
    def root_dispersion_ns(self) -> int:
        """The server's root dispersion."""

    @property
    def reference_id(self) -> int:
        """The server's reference id."""

    @property
    def reference_time_ns(self) -> int | None:
        """When the server's clock was last set; None if it does not say."""

    @property
    def kernel_timestamp(self) -> bool:
        """Whether the kernel stamped the arrival."""

    @property
    def authenticated(self) -> bool:
        """Whether the answer was authenticated, by a server whose certificate holds at the time it tells."""

    def to_dict(self) -> dict[str, Any]:
        """The attributes by name, for tables and logs."""

# --- The process-wide clock ----------------------------------------------------------------------

def start(
    servers: str | Iterable[str | tuple[str, Mapping[str, int | bool]]] | None = None,
    *,
    poll: tuple[int, int] | None = None,
    fault_limit: int | None = None,
    min_agreeing: int | None = None,
    step_threshold_ns: int | None = None,
    bound_cap_ns: int | None = None,
    frequency_limit_ppm: float | None = None,
    drift_limit: tuple[float, float, float] | None = None,
    state_file: str | os.PathLike[str] | None = None,
    trusted_certificates: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
    platform_trust: bool = True,
    keys: str | os.PathLike[str] | None = None,
    authentication: str | None = None,
    khronos: bool = False,
    restart_after_fork: bool = False,
    interleaved: bool = False,
) -> None:
    """Starts the process-wide clock; returns at once, before anything was heard from the network.

    `servers` is a comma-separated list, or several of them: `host`, `host:port`, `[v6]:port`, and `pool:host`
    for up to four sources from one name; with ` nts` behind it keys are exchanged first, and what they do not
    authenticate is never believed. None takes the list of $NTPCLOCK_SERVERS. No server is used that
    nobody named. The other arguments are those of `Clock`, which alone can share a page with other processes.

    The same again is harmless, and so are the same servers without other arguments while the clock runs: starts are
    counted, and the last `stop()` ends the clock.

    With `restart_after_fork`, a child of `os.fork()` or of `multiprocessing` (start method "fork") does what `restart()` does
    before its fork returns. `subprocess` is left alone, unless it is given a `preexec_fn`.

    Raises ConfigError, AlreadyRunningError with other servers or arguments, NtpOSError.
    """

def state_file_fault() -> str | None:
    """Why the state file was refused at the start, or could not be written last; None if all is well."""

def resume_watch_fault() -> str | None:
    """Why the clock's thread is not woken when the machine resumes; None if all is well."""

def restart() -> None:
    """In a forked child: makes the thread of the process-wide clock anew, as often as it is started.

    A forked child has no threads of its parent's. It reads on, on the same line and in the same epoch, in HOLDOVER; after
    this it is on its way to SYNCHRONIZED. Where the thread runs, this does nothing. The callback of `on_event()` and servers
    have to be set and started anew. For servers that fork workers: gunicorn's `post_fork`, uWSGI's `postfork`.

    Raises NotRunningError if the clock was not started, or is stopped; NtpOSError.
    """

def stop() -> None:
    """Undoes one `start()`; harmless without one. Reading goes on, in holdover."""

def wait(timeout: float | None = None, max_bound_ns: int | None = None) -> None:
    """Waits until the process-wide clock is SYNCHRONIZED, and its error bound at most `max_bound_ns` if given.

    `timeout` is in seconds; None waits for ever. Other threads run meanwhile, and a signal handler that
    raises (Ctrl-C) ends the wait within 50 ms.

    Raises NtpTimeoutError, and NotRunningError if the clock is not running or is stopped meanwhile.
    """

def ntp_now() -> int:
    """UTC, nanoseconds since 1970-01-01T00:00:00Z, leap seconds not counted.

    Never fails and never blocks: before the first synchronisation it is the system clock's time.
    """

def ntp_now_relaxed() -> int:
    """The same as `ntp_now()`, a little quicker where the processor's own counter can be read: but it may be taken some
    microseconds before the call. For the intervals of one thread: compared with what another thread has read, or with
    `ntp_now()`, it may be earlier than a value already seen.
    """

def time_ns() -> int:
    """The same as `ntp_now()`, under the name of the standard library's `time.time_ns()`."""

def time() -> float:
    """UTC in seconds since 1970-01-01T00:00:00Z, as the standard library's `time.time()`.

    A float is good to some 240 ns only; `ntp_now()` is exact.
    """

def now() -> datetime.datetime:
    """UTC as an aware datetime. A datetime has microseconds: the nanoseconds are cut off."""

def read() -> Reading:
    """The time together with the interval that holds UTC. Never fails; look at `Reading.state`.

    When the machine resumes from a suspend, the clock's thread is woken and makes the clock DISRUPTED. A reading cannot see
    the suspend before that thread has run, usually for a millisecond or two. Where the thread cannot be woken, that lasts a
    poll interval at most; where there is none (after a stop, in a forked child until it restarts the clock, on a shared page
    whose leader's process is stopped) it has no end. `read_checked()` has no such window.
    """

def read_checked() -> Reading:
    """As `read()`, but DISRUPTED if the machine was suspended and the clock's thread has not run since.

    It costs two readings of the system's clocks more, and finds every suspend that is longer than the time this very call
    was held up for.
    """

def read_within(max_bound_ns: int) -> Reading:
    """As `read()`, for a caller that needs an error bound of at most `max_bound_ns`.

    Raises BoundExceededError, and NotSynchronizedError if there is no bound.
    """

def after(unix_ns: int) -> bool:
    """Whether UTC is certainly after `unix_ns`; False also when nothing is known."""

def before(unix_ns: int) -> bool:
    """Whether UTC is certainly before `unix_ns`; False also when nothing is known."""

def wait_until_past(unix_ns: int, timeout: float | None = None) -> None:
    """Commit wait: returns when UTC is certainly after `unix_ns`. `timeout` is in seconds; None waits for ever.

    Give an event the time `latest_ns` of a reading, and make it known only after this wait for it: then no event that
    anybody begins after that, on whatever host with an honest clock, gets an earlier time. The wait goes on through steps,
    disruptions and losses of synchronisation. Other threads run meanwhile, and Ctrl-C ends it within 50 ms.

    Raises NtpTimeoutError, NotSynchronizedError if nothing was known of UTC when the time ran out, and NotRunningError if
    the clock is stopped meanwhile, or is not running and has no interval.
    """

def sleep_until(unix_ns: int) -> None:
    """Returns when the clock shows `unix_ns` or later; it aims anew whenever the clock is corrected or stepped.

    Before the first synchronisation that is the system clock's time. Other threads run meanwhile, and Ctrl-C ends it
    within 50 ms.

    Raises NotRunningError if the clock is stopped meanwhile.
    """

def convert(timescale: int, stamp_ns: int) -> Reading:
    """Where UTC was when a clock of this machine (a `Timescale`) showed `stamp_ns`, with all that is known by now.

    Stamps may be older than the first synchronisation. Those of RAW, MONOTONIC and BOOTTIME may be older than the clock's
    start, and may lie ahead, as long as the machine is not suspended. The interval includes what the kernel may have
    slewed its clocks between the moments at which the clock's thread looked at them: 0.1 % of the time to the nearest one,
    and 12.5 % where these moments show that somebody slewed them faster.

    Raises NotSynchronizedError, and UnconvertibleError if the machine was suspended or the clock disrupted after the stamp,
    or the system clock was stepped around it.
    """

def deadline(timescale: int, unix_ns: int) -> Deadline:
    """When a clock of this machine (a `Timescale`, but not REALTIME) will show that UTC is `unix_ns`: for timers.

    Holds as long as the machine is not suspended until then.

    Raises NotSynchronizedError, ConfigError, and UnconvertibleError for a past after which the machine was suspended.
    """

def event_fd() -> int:
    """A descriptor that is readable while there are events to take: for `selectors`, and asyncio's `loop.add_reader`.

    One for each clock, which keeps it: do not read or close it. Everything that has happened since the start of the clock
    is pending at first. In a forked child call this again: the number stays, but nothing of the parent's is pending.

    Raises NtpOSError.
    """

def take_events() -> Events:
    """What has happened since it was last asked; it may be nothing. The descriptor is unreadable until something happens.

    What came and went between two calls is told, its order is not: `status()` tells the state.
    """

def on_event(callback: Callable[[Events], object] | None) -> None:
    """Has `callback` called with whatever happens, on a thread of the library's; None takes it back.

    First it is told what happened last to the state, if anything: SYNCHRONIZED, LOST or DISRUPTED. There is one callback for
    each clock: another one replaces it. When this returns, the former one is not running and will not be called again; so
    do not call it while holding a lock that the callback waits for. A callback may block, stop the clock, and replace or
    take back itself; in that case it is not waited for. What it raises goes to `sys.unraisablehook`. It is not called any
    more when the interpreter ends, nor in a forked child until it is given again. A child that is forked in a callback ends
    when that returns there, with exit code 0 and without Python's exit handlers: flush what it has written. Where a clock was
    restarted in it, as by `restart_after_fork`, it has that one's thread and lives on: end it by `os._exit()`. In asyncio,
    `event_fd()` needs no thread.

    Raises NtpOSError if the thread cannot be made.
    """

def offset() -> int:
    """UTC minus the system clock, ns: add it to the system clock. 0 before the first synchronisation."""

def offset_bound() -> int | None:
    """The true offset lies within ± this many nanoseconds; None when unknown."""

def error_bound() -> int | None:
    """UTC lies within ± this many nanoseconds of the reading; None when unknown."""

def status() -> State:
    """How far the process-wide clock can be trusted now."""

def report() -> Report:
    """The state of the process-wide clock in numbers."""

def sources() -> list[SourceInfo]:
    """One entry a source of the process-wide clock."""

# --- Clocks, servers, queries --------------------------------------------------------------------

@final
class Clock:
    """A running clock with servers and settings of its own; as a context manager it stops at the end.

    `servers` is as for `start()`; an entry may also be a pair of it and of options by name, as in
    `[("192.0.2.1", {"key": 5, "trust": True}), "pool:pool.example.org"]`. `key` is the id of the symmetric key (AES-CMAC,
    RFC 8573) that its answers must be authenticated by. Of the *required* sources at least one must agree, or nothing new
    is published; as long as *trusted* ones answer, they alone say where UTC lies; as long as *preferred* ones are believed,
    the others have no part in the estimate. `keys` names the file with the keys, which nobody else may read: lines of id,
    type (AES128, AES256) and key (HEX: and its digits). `authentication` says what authenticated servers are to the
    others: "mix" (required and trusted where there are both kinds), "require" (the others have no say), "ignore". With `khronos` a dozen other servers of the pools are asked once an hour;
    when they contradict what the polled ones agree on, the clock is in HOLDOVER, with Flags.VETOED. `poll` is the shortest and the longest poll interval, as exponents of 2 in
    seconds (default 4 and 10: 16 s and 17 min). `fault_limit` says how many sources may lie (default: a
    third of them, exactly ⌊(n-1)/3⌋), `min_agreeing` how many must agree (1). Corrections above
    `step_threshold_ns` (100 ms) step instead of slewing; with an error bound above `bound_cap_ns` (1 s) the clock
    counts as unsynchronised. `frequency_limit_ppm` (200) is the largest frequency error of the raw counter.
    `drift_limit` (2, 1000, 15) is how much its frequency changes at most: ppm within so many seconds, and ppm over any time.
    With `interleaved` servers are asked when their last reply really left (RFC 9769).

    `state_file` names a file from which the clock starts warm, and in which it saves its state at the stop and every
    10 minutes: in the same boot it reads with a bound from the first moment, in HOLDOVER, and after any boot it expects
    the frequency that it had. A file that cannot be trusted is refused, and `state_file_fault` tells why. Clocks that
    follow different servers, or trust them differently, need a file each. A relative path of it, or of `shared_page`, is
    in the working directory at the start.

    `trusted_certificates` names files (PEM) whose certificates vouch for servers with ` nts`, beside those that the
    platform trusts; with `platform_trust=False` instead of them.

    With `restart_after_fork`, a child of `os.fork()` or of `multiprocessing` (start method "fork") does what `restart()` does
    before its fork returns. `subprocess` is left alone, unless it is given a `preexec_fn`.

    `shared_page` names a page that processes of this host share: all read it, one of them asks the servers, and another
    takes over when that one ends (docs/shared-page.md). A page, or a lock file beside it, that cannot be trusted raises
    NtpOSError. All should have the same settings.

    It runs as soon as it exists, and nothing has been heard from the network by then: see `wait()`.

    Raises ConfigError, NtpOSError.
    """

    def __new__(
        cls,
        servers: str | Iterable[str | tuple[str, Mapping[str, int | bool]]] | None = None,
        *,
        poll: tuple[int, int] | None = None,
        fault_limit: int | None = None,
        min_agreeing: int | None = None,
        step_threshold_ns: int | None = None,
        bound_cap_ns: int | None = None,
        frequency_limit_ppm: float | None = None,
        drift_limit: tuple[float, float, float] | None = None,
        state_file: str | os.PathLike[str] | None = None,
        trusted_certificates: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
        platform_trust: bool = True,
        keys: str | os.PathLike[str] | None = None,
        authentication: str | None = None,
        khronos: bool = False,
        shared_page: str | os.PathLike[str] | None = None,
        restart_after_fork: bool = False,
        interleaved: bool = False,
    ) -> Clock: ...

    @property
    def servers(self) -> str:
        """The servers it was started with, in canonical form."""

    @property
    def state_file_fault(self) -> str | None:
        """Why the state file was refused at the start, or could not be written last; None if all is well."""

    @property
    def shared_page_fault(self) -> str | None:
        """Why the shared page cannot be used, or is not where it was; None if all is well. The clock goes on with what it
        has, and clocks that are started later share another page."""

    @property
    def resume_watch_fault(self) -> str | None:
        """Why the clock's thread is not woken when the machine resumes from a suspend; None if all is well.

        It then finds out when it runs next, and `read_checked()` at once.
        """

    def wait(self, timeout: float | None = None, max_bound_ns: int | None = None) -> None:
        """Waits until the clock is SYNCHRONIZED, and its error bound at most `max_bound_ns` if given.

        `timeout` is in seconds; None waits for ever. Other threads run meanwhile, and a signal handler that
        raises (Ctrl-C) ends the wait within 50 ms.

        Raises NtpTimeoutError, and NotRunningError if the clock is not running or is stopped meanwhile.
        """

    def ntp_now(self) -> int:
        """UTC, nanoseconds since 1970-01-01T00:00:00Z, leap seconds not counted.

        Never fails and never blocks: before the first synchronisation it is the system clock's time.
        """

    def ntp_now_relaxed(self) -> int:
        """The same as `ntp_now()`, a little quicker where the processor's own counter can be read: but it may be taken
        some microseconds before the call. For the intervals of one thread: compared with what another thread has read, or
        with `ntp_now()`, it may be earlier than a value already seen.
        """

    def time_ns(self) -> int:
        """The same as `ntp_now()`, under the name of the standard library's `time.time_ns()`."""

    def time(self) -> float:
        """UTC in seconds since 1970-01-01T00:00:00Z, as the standard library's `time.time()`.

        A float is good to some 240 ns only; `ntp_now()` is exact.
        """

    def now(self) -> datetime.datetime:
        """UTC as an aware datetime. A datetime has microseconds: the nanoseconds are cut off."""

    def read(self) -> Reading:
        """The time together with the interval that holds UTC. Never fails; look at `Reading.state`.

        When the machine resumes from a suspend, the clock's thread is woken and makes the clock DISRUPTED. A reading cannot see
        the suspend before that thread has run, usually for a millisecond or two. Where the thread cannot be woken, that lasts a
        poll interval at most; where there is none (after a stop, in a forked child until it restarts the clock, on a shared page
        whose leader's process is stopped) it has no end. `read_checked()` has no such window.
        """

    def read_checked(self) -> Reading:
        """As `read()`, but DISRUPTED if the machine was suspended and the clock's thread has not run since.

        It costs two readings of the system's clocks more, and finds every suspend that is longer than the time this very call
        was held up for.
        """

    def read_within(self, max_bound_ns: int) -> Reading:
        """As `read()`, for a caller that needs an error bound of at most `max_bound_ns`.

        Raises BoundExceededError, and NotSynchronizedError if there is no bound.
        """

    def after(self, unix_ns: int) -> bool:
        """Whether UTC is certainly after `unix_ns`; False also when nothing is known."""

    def before(self, unix_ns: int) -> bool:
        """Whether UTC is certainly before `unix_ns`; False also when nothing is known."""

    def wait_until_past(self, unix_ns: int, timeout: float | None = None) -> None:
        """Commit wait: returns when UTC is certainly after `unix_ns`. `timeout` is in seconds; None waits for ever.

        Give an event the time `latest_ns` of a reading, and make it known only after this wait for it: then no event that
        anybody begins after that, on whatever host with an honest clock, gets an earlier time. The wait goes on through steps,
        disruptions and losses of synchronisation. Other threads run meanwhile, and Ctrl-C ends it within 50 ms.

        Raises NtpTimeoutError, NotSynchronizedError if nothing was known of UTC when the time ran out, and NotRunningError if
        the clock is stopped meanwhile, or is not running and has no interval.
        """

    def sleep_until(self, unix_ns: int) -> None:
        """Returns when the clock shows `unix_ns` or later; it aims anew whenever the clock is corrected or stepped.

        Before the first synchronisation that is the system clock's time. Other threads run meanwhile, and Ctrl-C ends it
        within 50 ms.

        Raises NotRunningError if the clock is stopped meanwhile.
        """

    def convert(self, timescale: int, stamp_ns: int) -> Reading:
        """Where UTC was when a clock of this machine (a `Timescale`) showed `stamp_ns`, with all that is known by now.

        Stamps may be older than the first synchronisation. Those of RAW, MONOTONIC and BOOTTIME may be older than the clock's
        start, and may lie ahead, as long as the machine is not suspended. The interval includes what the kernel may have
        slewed its clocks between the moments at which the clock's thread looked at them: 0.1 % of the time to the nearest one,
        and 12.5 % where these moments show that somebody slewed them faster.

        Raises NotSynchronizedError, and UnconvertibleError if the machine was suspended or the clock disrupted after the stamp,
        or the system clock was stepped around it.
        """

    def deadline(self, timescale: int, unix_ns: int) -> Deadline:
        """When a clock of this machine (a `Timescale`, but not REALTIME) will show that UTC is `unix_ns`: for timers.

        Holds as long as the machine is not suspended until then.

        Raises NotSynchronizedError, ConfigError, and UnconvertibleError for a past after which the machine was suspended.
        """

    def event_fd(self) -> int:
        """A descriptor that is readable while there are events to take: for `selectors`, and asyncio's `loop.add_reader`.

        One for each clock, which keeps it: do not read or close it. Everything that has happened since the start of the clock
        is pending at first. In a forked child call this again: the number stays, but nothing of the parent's is pending.

        Raises NtpOSError.
        """

    def take_events(self) -> Events:
        """What has happened since it was last asked; it may be nothing. The descriptor is unreadable until something happens.

        What came and went between two calls is told, its order is not: `status()` tells the state.
        """

    def on_event(self, callback: Callable[[Events], object] | None) -> None:
        """Has `callback` called with whatever happens, on a thread of the library's; None takes it back.

        First it is told what happened last to the state, if anything: SYNCHRONIZED, LOST or DISRUPTED. There is one callback for
        each clock: another one replaces it. When this returns, the former one is not running and will not be called again; so
        do not call it while holding a lock that the callback waits for. A callback may block, stop the clock, and replace or
        take back itself; in that case it is not waited for. What it raises goes to `sys.unraisablehook`. It is not called any
        more when the interpreter ends, nor in a forked child until it is given again. A child that is forked in a callback ends
        when that returns there, with exit code 0 and without Python's exit handlers: flush what it has written. Where a clock was
        restarted in it, as by `restart_after_fork`, it has that one's thread and lives on: end it by `os._exit()`. In asyncio,
        `event_fd()` needs no thread. A callback does not keep its clock: one that only its callback refers to is garbage.

        Raises NtpOSError if the thread cannot be made.
        """

    def fileno(self) -> int:
        """The same as `event_fd()`, for selectors and event loops that take objects."""

    def offset(self) -> int:
        """UTC minus the system clock, ns: add it to the system clock. 0 before the first synchronisation."""

    def offset_bound(self) -> int | None:
        """The true offset lies within ± this many nanoseconds; None when unknown."""

    def error_bound(self) -> int | None:
        """UTC lies within ± this many nanoseconds of the reading; None when unknown."""

    def status(self) -> State:
        """How far the clock can be trusted now."""

    def report(self) -> Report:
        """The state of the clock in numbers."""

    def sources(self) -> list[SourceInfo]:
        """One entry a source of the clock."""

    def restart(self) -> None:
        """In a forked child: makes the clock's thread anew. See `ntpclock.restart()`.

        Raises NotRunningError if the clock is stopped; NtpOSError.
        """

    def stop(self) -> None:
        """Stops the clock's thread; reading goes on, in holdover. Stopping twice is harmless."""

    def close(self) -> None:
        """The same as `stop()`, for `contextlib.closing()`."""

    def __enter__(self) -> Clock: ...
    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
        /,
    ) -> None: ...

@final
class ServerStatistics:
    """What a server has done since its start. Immutable."""

    @property
    def requests(self) -> int:
        """Datagrams received, whatever they were."""

    @property
    def replies(self) -> int:
        """Replies sent, kisses included."""

    @property
    def interleaved(self) -> int:
        """Replies in interleaved mode (RFC 9769)."""

    @property
    def kisses(self) -> int:
        """Clients that were told to ask less (`RATE`)."""

    @property
    def leaked(self) -> int:
        """Requests beyond the rate limit that were answered all the same."""

    @property
    def malformed(self) -> int:
        """Dropped: no NTP header, or no sender."""

    @property
    def wrong_version(self) -> int:
        """Dropped: of another version than 1 to 4."""

    @property
    def wrong_mode(self) -> int:
        """Dropped: no request of a client."""

    @property
    def denied(self) -> int:
        """Dropped: of a client that is denied, or sent to a broadcast or multicast address."""

    @property
    def limited(self) -> int:
        """Dropped: beyond the rate limit."""

    @property
    def unsynchronized(self) -> int:
        """Dropped: there was no time to give."""

    @property
    def unsent(self) -> int:
        """Replies that the system would not send."""

    @property
    def unstamped(self) -> int:
        """Requests answered that had no receive stamp of the kernel that could be used: their times are a little late."""

    @property
    def overflowed(self) -> int:
        """Datagrams that the kernel dropped since the receive buffer was full."""

    @property
    def requests_per_second(self) -> float:
        """Datagrams received in a second, lately."""

    @property
    def replies_per_second(self) -> float:
        """Replies sent in a second, lately."""

    @property
    def threads(self) -> int:
        """Threads that serve."""

    @property
    def receive_buffer_bytes(self) -> int:
        """The smallest receive buffer of a socket, in bytes as the kernel counts them."""

    @property
    def nts_requests(self) -> int:
        """Requests with NTS whose fields made sense."""

    @property
    def nts_replies(self) -> int:
        """Replies that were authenticated."""

    @property
    def nts_naks(self) -> int:
        """Clients that were told to exchange keys anew: their cookies were too old, or nobody's."""

    @property
    def nts_malformed(self) -> int:
        """Dropped: of NTS, with fields that made no sense, or left no room for a reply."""

    @property
    def key_exchanges(self) -> int:
        """Key exchanges that gave keys."""

    @property
    def key_exchange_failures(self) -> int:
        """Key exchanges that gave none: too slow, too long, refused, or no TLS at all."""

    @property
    def cookie_key_faults(self) -> int:
        """How often the file of cookie keys had changed and was of no use."""

    def to_dict(self) -> dict[str, Any]:
        """The attributes by name, for tables and logs."""

@final
class Server:
    """A running NTP server; as a context manager it stops at the end.

    `listen` is `address`, `address:port`, `[v6]:port` (a link-local one with its interface, `[fe80::1%eth0]:123`), or several of
    them; port 0 picks a free one. It serves the
    time of `clock`, of the process-wide clock if that is None, or with `local=(stratum, root_dispersion_ns)`
    the *system clock*, without any upstream: for islands and demonstrations. The dispersion is your claim, and
    clients rely on it.

    `allow` and `deny` are prefixes, `address/length`, of which the longest that holds a client's address counts; who is
    in none is answered, unless anything at all is allowed. `rate_limit=(per_second, burst)` is what one address gets
    (of IPv6: a network of 64 bits), (16, 64) unless set and then not for loopback addresses, and (0, 1) for no limit; of what is beyond, a random quarter is
    answered all the same, and some are told to ask less. `threads` is one for each processor unless set. While the
    clock is not synchronised clients are told so, or nothing at all.

    With `nts=(certificate, private_key)`, two files in PEM, it serves Network Time Security (RFC 8915) beside plain NTP. Both
    have to be ours or root's, and not for others to write; the private key is not for everybody to read. They are read at the
    start: restart the server when they are renewed. Keys are exchanged at every address of `listen`, at `nts_port`; 0 picks a
    free one. Cookies are sealed with the keys in the file `nts_cookie_keys`, which several servers may share and which
    is read again when it changes (it is made if it is not there; `ntpclock cookie-keys FILE` changes its keys: have that done once
    a day), or else with the server's own, made anew every day. A line of the file has an id and `HEX:` with 64
    digits; the newest comes first, for others to know, the second seals, and all of them open; nobody but its owner may read
    or write it.

    Raises ConfigError, and NtpOSError if an address cannot be bound or a file cannot be read.
    """

    def __new__(
        cls,
        listen: str | Iterable[str],
        clock: Clock | None = None,
        *,
        local: tuple[int, int] | None = None,
        allow: str | Iterable[str] | None = None,
        deny: str | Iterable[str] | None = None,
        rate_limit: tuple[int, int] | None = None,
        threads: int | None = None,
        silent_unless_synchronized: bool = False,
        nts: tuple[str | os.PathLike[str], str | os.PathLike[str]] | None = None,
        nts_port: int = 4460,
        nts_cookie_keys: str | os.PathLike[str] | None = None,
    ) -> Server: ...

    @property
    def addresses(self) -> list[str]:
        """The addresses served, with the ports that were picked; each may stand in a server list."""

    @property
    def key_exchange_addresses(self) -> list[str]:
        """Where keys are exchanged for NTS, with the ports that were picked; with ` nts` behind, each may stand in a server
        list. Empty unless NTS is served."""

    def statistics(self) -> ServerStatistics:
        """What it has done since its start; also once it is stopped. What its threads have not told yet, for a second at
        most, is missing.
        """

    def stop(self) -> None:
        """Stops answering. Stopping twice is harmless."""

    def close(self) -> None:
        """The same as `stop()`, for `contextlib.closing()`."""

    def __enter__(self) -> Server: ...
    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
        /,
    ) -> None: ...

def query(
    server: str,
    timeout: float = 3.0,
    *,
    trusted_certificates: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
    platform_trust: bool = True,
) -> QueryResult:
    """Asks one server once: no clock, nothing kept. `timeout` is in seconds.

    With ` nts` behind the server keys are exchanged first; for certificates see `Clock`.

    Other threads run meanwhile, and Ctrl-C ends it within 50 ms.

    Raises ConfigError, ResolveError, KeyExchangeError, NtpTimeoutError, BadReplyError, NtpOSError.
    """

def cli(argv: Sequence[str | os.PathLike[str]]) -> int:
    """Runs the command line `argv`, the program's name first, and returns its exit code.

    While `serve` or `record` runs, the signals that ask to end are held back from the calling thread alone: to be ended by
    them it has to be the program's only one.
    """
